/** The sessions page and the audit page. Against the fake gateway. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { until } from './browser.mjs';

export function records(state) {
  state('the sessions page shows who is in what and ends one', { seed: 4 }, async (page, go, shot, gateway) => {
    await go('/sessions');
    await page.getByText('You see everybody’s sessions').waitFor();
    const row = page.getByRole('row', { name: /worker-1/ });
    await row.getByText('auth0|5f7c8ec7c33c6c004bbafe82').waitFor();
    await shot('sessions');
    await page.getByRole('button', { name: /^End the session in worker-1 / }).click();
    await page.getByText('the audit log names you').waitFor();
    await shot('session-end-dialog');
    await page.getByRole('button', { name: 'Keep it' }).click();
    assert.equal(gateway.sessions.size, 4);
    await page.getByRole('button', { name: /^End the session in worker-1 / }).click();
    await page.getByRole('button', { name: 'End it' }).click();
    await row.waitFor({ state: 'detached' });
    assert.equal(gateway.sessions.size, 3);
  });
  state('the sessions page follows what happens, and says so when it cannot', { seed: 1 }, async (page, go, shot, gateway) => {
    await go('/sessions');
    await page.getByText('1 session', { exact: true }).waitFor();
    gateway.sessions.clear();
    await page.getByText('No shell is open.').waitFor();
    await page.route('**/api/sessions', (route) => route.abort());
    await page.getByRole('button', { name: 'Refresh' }).click();
    await page.getByText('may be out of date').waitFor();
    await shot('sessions-stale');
  });
  state('one’s own sessions are called one’s own', { seed: 2, auditScope: 'self' }, async (page, go) => {
    await go('/sessions');
    await page.getByText('You see your own sessions.').waitFor();
    await page.getByText('1 session', { exact: true }).waitFor();
  });
  state('the audit page filters, pages, and keeps the filter in its address', {}, async (page, go, shot) => {
    await go('/audit');
    await page.getByText('1 to 100 of 112').waitFor();
    await page.getByText('You see everybody’s records').waitFor();
    await shot('audit');
    await page.getByRole('link', { name: 'Older' }).click();
    await page.getByText('101 to 112 of 112').waitFor();
    await page.getByLabel('Outcome').selectOption('denied');
    await page.getByLabel('Pod', { exact: true }).fill('shell');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByText('E_FORBIDDEN × 4').first().waitFor();
    const { searchParams } = new URL(page.url());
    assert.deepEqual(Object.fromEntries(searchParams), { outcome: 'denied', pod: 'shell' });
    assert.equal(await page.locator('.audit tbody tr').count(), await page.locator('.audit .tag.bad').count());
    await page.reload();
    assert.equal(await page.getByLabel('Outcome').inputValue(), 'denied');
  });
  state('the audit page takes a time range, by hand or by a click', {}, async (page, go) => {
    await go('/audit');
    await page.getByRole('button', { name: 'Last day' }).click();
    await page.waitForFunction(() => new URL(location.href).searchParams.has('from'));
    await page.getByText(/^1 to \d+ of \d\d$/).waitFor();
    const from = Date.parse(new URL(page.url()).searchParams.get('from'));
    for (const time of await page.locator('.audit tbody time').all()) {
      assert.ok(Date.parse(await time.getAttribute('datetime')) >= from);
    }
    await page.getByLabel('Before').fill('2020-01-01T00:00:00');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByText('No record matches.').waitFor();
    assert.match(new URL(page.url()).searchParams.get('to'), /^(2019-12-31|2020-01-01)T.*Z$/);
  });
  state('one session is told from its start to its end', {}, async (page, go, shot) => {
    await go('/audit');
    await page.getByRole('link', { name: 'Session', exact: true }).first().click();
    await page.getByRole('heading', { name: 'One session' }).waitFor();
    await page.getByText('1 to 2 of 2').waitFor();
    await page.locator('.card').getByText('periscope-tier:write').waitFor();
    await page.locator('.card').getByText(/process_exit · exit 0 · 15m/).waitFor();
    await shot('audit-session');
    await page.getByRole('button', { name: 'Fields' }).first().click();
    await page.getByRole('dialog').getByText('"bytes_stdin": 120').waitFor();
    await shot('audit-fields');
  });
  for (const kind of ['csv', 'json']) {
    state(`the audit log is exported as ${kind.toUpperCase()}, with every row the filter matches`, {}, async (page, go) => {
      await go('/audit?cluster=modern');
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: `Export ${kind.toUpperCase()}` }).click()]);
      assert.match(download.suggestedFilename(), new RegExp(`^periscope-audit-.*\\.${kind}$`));
      const text = await readFile(await download.path(), 'utf8');
      const count = Number(/ of (\d+)/.exec(await page.locator('.listing-bar').innerText())?.[1] ?? /^(\d+) records/.exec(await page.locator('.count').innerText())?.[1]);
      const rows = kind === 'json' ? JSON.parse(text) : text.trimEnd().split('\r\n').slice(1);
      assert.ok(rows.length > 20);
      await until(async () => (await page.locator('.count').innerText()) === `${rows.length} records exported`, `the count ${count}`);
    });
  }
  state('who sees only themselves is told so', { auditScope: 'self' }, async (page, go, shot) => {
    await go('/audit');
    await page.getByText('You see the records of dev@localhost alone.').waitFor();
    await shot('audit-self');
  });
  state('without persistence the audit page says what is missing', { audit: false }, async (page, go, shot) => {
    await go('/audit');
    await page.getByText('The audit log is not kept here').waitFor();
    await shot('audit-off');
  });
  state('a filter the gateway does not take is an error beside the form', {}, async (page, go) => {
    await go('/audit?from=yesterday');
    await page.getByText('The gateway does not accept this filter').waitFor();
    await page.getByRole('button', { name: 'Search' }).waitFor();
  });
}
