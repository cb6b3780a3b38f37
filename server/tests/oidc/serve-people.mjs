/** Who may what on the web UI of `periscope serve`: shells, sessions and records of several people. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { type, until, waitForOpen, waitForScreen } from '../../web/test/e2e/browser.mjs';
import { api } from './stage.mjs';

const SHELL = '/clusters/modern/pods/default/shell/exec';

export function people(scene) {
  scene('with the keyboard alone from the login to a pod, into a shell, out of it, and to its two records', {}, async ({ person }, shoot) => {
    const page = await person('olga');
    const { keyboard } = page;
    const walkTo = async (name) => {
      for (let i = 0; i < 40; i++) {
        if (await page.evaluate((name) => (document.activeElement.ariaLabel ?? document.activeElement.textContent).trim() === name, name)) return;
        await keyboard.press('Tab');
      }
      throw new Error(`Tab never comes to ${name}`);
    };
    await page.getByRole('link', { name: 'modern', exact: true }).waitFor();
    await keyboard.press('Enter');
    await page.getByRole('link', { name: 'default', exact: true }).waitFor();
    await keyboard.type('default');
    await keyboard.press('Enter');
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    await keyboard.press('/');
    await keyboard.type('side');
    await keyboard.press('ArrowDown');
    await keyboard.press('Enter');
    await page.locator('#open-shell').waitFor();
    // The way on has the focus already.
    await keyboard.press('Enter');
    await waitForOpen(page);
    await waitForScreen(page, (text) => /[$#]\s*$/.test(text.trimEnd()), 'a prompt');
    await keyboard.type('echo by-hand-$((1+1))\n');
    await waitForScreen(page, (text) => /^by-hand-2\s*$/m.test(text), 'by-hand-2');
    await keyboard.type('exit 3\n');
    await page.locator('.end-banner').getByText('exited with code 3').waitFor();
    await keyboard.press('Control+Shift+E');
    await walkTo('Back to the pod');
    await keyboard.press('Enter');
    await page.getByRole('heading', { name: 'sidecar', level: 1 }).waitFor();
    await walkTo('Audit');
    await keyboard.press('Enter');
    await page.getByText('You see everybody’s records, because you are an audit administrator.').waitFor();
    await shoot(page, 'audit');
    const rows = page.locator('.audit tbody tr');
    assert.equal(await rows.count(), 2);
    assert.match(await rows.nth(0).innerText(), /session_end[\s\S]*success[\s\S]*olga@example\.com[\s\S]*sidecar[\s\S]*process_exit · exit 3/);
    assert.match(await rows.nth(1).innerText(), /session_start[\s\S]*success[\s\S]*olga@example\.com[\s\S]*sidecar/);
    await walkTo('Session');
    await keyboard.press('Enter');
    const card = page.locator('.card');
    await card.getByText('olga, periscope-tier:admin').waitFor();
    await card.getByText('ws (v5.channel.k8s.io)').waitFor();
  });

  scene('who may only read sees the pod, no button, and why', {}, async ({ person }, shoot) => {
    const page = await person('rita', '/clusters/modern/pods/default/shell');
    await page.locator('.why-not').getByText('You lack the right to create pods/exec in this namespace.').waitFor();
    await page.getByRole('row', { name: /app.*running/i }).waitFor();
    assert.equal(await page.locator('#open-shell').count(), 0);
    await shoot(page, 'read-only');
    // The address of a shell does not help.
    await page.goto(new URL(SHELL, page.url()).href);
    await page.locator('.end-banner').getByText('You may not open a shell here').waitFor();
    await page.locator('.end-banner').getByText('E_FORBIDDEN', { exact: true }).waitFor();
    assert.equal((await api(page, '/api/sessions')).body.items.length, 0);
  });

  scene('who has no tier sees why there is nothing to see', {}, async ({ person }, shoot) => {
    const page = await person('nils', '/clusters/modern/pods/default/shell');
    await page.locator('.why-not').getByText('none of your groups gives you access to clusters here').waitFor();
    await shoot(page, 'no-tier');
    assert.equal(await page.locator('#open-shell').count(), 0);
    await page.goto(new URL('/clusters/modern', page.url()).href);
    await page.getByText('none of your groups gives you access to clusters here').waitFor();
    assert.equal(await page.getByRole('link', { name: 'default', exact: true }).count(), 0);
  });

  scene('an administrator ends somebody’s shell: its tab says so, and the record says who', {}, async ({ person }, shoot) => {
    const victim = await person('ann', SHELL);
    await waitForOpen(victim);
    await type(victim, 'echo busy-$((1+1))');
    await waitForScreen(victim, (text) => /^busy-2\s*$/m.test(text), 'busy-2');
    const admin = await person('olga', '/sessions');
    await admin.getByText('You see everybody’s sessions').waitFor();
    await admin.getByRole('row', { name: /shell.*ann/ }).locator('.tag.good').getByText('open · ws').waitFor();
    await shoot(admin, 'sessions');
    await admin.getByRole('button', { name: 'End the session in shell of ann', exact: true }).click();
    await admin.getByRole('dialog').getByText('End the shell of ann?').waitFor();
    await admin.getByRole('button', { name: 'End it' }).click();
    await admin.getByText('No shell is open.').waitFor();
    const banner = victim.locator('.end-banner');
    await banner.getByText('An administrator ended this session').waitFor();
    await banner.getByText('forced_close/admin_kill').waitFor();
    assert.equal(await banner.getByRole('button', { name: 'Stop' }).count(), 0, 'it is not tried again');
    await shoot(victim, 'admin-kill');
    await admin.goto(new URL('/audit?verb=pod.exec.session_end', admin.url()).href);
    await admin.getByRole('row', { name: /ann@example\.com.*admin_kill/ }).getByRole('link', { name: 'Session', exact: true }).click();
    await admin.locator('.card dt:text-is("Ended by") + dd:text-is("olga")').waitFor();
  });

  scene('sessions and records of others are hidden from all but administrators', {}, async ({ person }) => {
    const ann = await person('ann', SHELL);
    await waitForOpen(ann);
    const bob = await person('bob', '/sessions');
    await bob.getByText('You see your own sessions.').waitFor();
    await bob.getByText('No shell is open.').waitFor();
    const { items } = (await api(ann, '/api/sessions')).body;
    assert.equal(items.length, 1);
    const refused = await api(bob, `/api/sessions/${items[0].id}`, 'DELETE');
    assert.deepEqual([refused.status, refused.body.error], [404, 'E_NOT_FOUND']);
    await type(ann, 'echo alive-$((1+1))');
    await waitForScreen(ann, (text) => /^alive-2\s*$/m.test(text), 'alive-2');
    await until(async () => (await api(ann, '/api/audit')).body.total === 1, 'the record of the start');
    await bob.getByRole('link', { name: 'Audit' }).click();
    await bob.getByText('You see the records of bob@example.com alone.').waitFor();
    await bob.getByText('No record matches.').waitFor();
    await bob.goto(new URL('/audit?actor=ann', bob.url()).href);
    await bob.getByText('No record matches.').waitFor();
    const olga = await person('olga', '/sessions');
    await olga.getByRole('row', { name: /shell.*ann/ }).waitFor();
  });

  scene('signing out in one tab of the browser ends the login’s shells in another, and their tab says so', {}, async ({ person }, shoot) => {
    const shell = await person('ann', SHELL);
    await waitForOpen(shell);
    await type(shell, 'echo kept-$((1+1))');
    await waitForScreen(shell, (text) => /^kept-2\s*$/m.test(text), 'kept-2');
    const other = await shell.context().newPage();
    await other.goto(new URL('/sessions', shell.url()).href);
    await other.getByRole('row', { name: /shell.*ann/ }).waitFor();
    await other.getByRole('button', { name: 'Sign out' }).click();
    await other.getByRole('button', { name: 'Leave the provider' }).waitFor();
    const banner = shell.locator('.end-banner');
    await banner.getByText('You are signed out').waitFor();
    await banner.getByText('forced_close/auth_expired').waitFor();
    await shell.locator('.login-notice').getByText('What is on your terminals stays here.').waitFor();
    await waitForScreen(shell, (text) => text.includes('kept-2'), 'the old screen');
    await shell.keyboard.type('x');
    await shell.locator('.notices').getByText('what you type goes nowhere').waitFor();
    await shoot(shell, 'signed-out-elsewhere');
    const olga = await person('olga', '/audit?actor=ann&verb=pod.exec.session_end');
    await olga.getByRole('row', { name: /ann@example\.com.*auth_expired/ }).waitFor();
  });

  scene('CSV and JSON exports hold what the API says, row by row and field by field', {}, async ({ person }) => {
    const rita = await person('rita', SHELL);
    await rita.locator('.end-banner').getByText('E_FORBIDDEN').waitFor();
    const ann = await person('ann', SHELL);
    await waitForOpen(ann);
    await type(ann, 'exit 130');
    await ann.locator('.end-banner').getByText('exited with code 130').waitFor();
    const page = await person('olga', '/audit?cluster=modern');
    const api500 = async () => (await api(page, '/api/audit?cluster=modern&limit=500')).body;
    await until(async () => (await api500()).total === 3, 'three records');
    await page.reload();
    await page.getByText('1 to 3 of 3').waitFor();
    const { items } = await api500();
    assert.deepEqual(items.map((row) => row.verb.replace('pod.exec.session_', '')), ['end', 'start', 'denied']);
    const json = JSON.parse(await exported(page, 'JSON'));
    assert.deepEqual(json, items);
    const [columns, ...lines] = readCsv(await exported(page, 'CSV'));
    assert.equal(new Set(columns).size, columns.length);
    assert.equal(lines.length, items.length);
    for (const [index, line] of lines.entries()) {
      assert.equal(line.length, columns.length);
      const cells = Object.fromEntries(columns.map((column, at) => [column, line[at]]).filter(([, cell]) => cell !== ''));
      assert.deepEqual(cells, flat(items[index]));
    }
  });
}

async function exported(page, kind) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: `Export ${kind}` }).click()]);
  return readFile(await download.path(), 'utf8');
}

/** RFC 4180, read by its grammar and not by the code that wrote it. */
function readCsv(text) {
  const lines = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    lines.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === '\r\n') lines.push([]);
  }
  assert.deepEqual(lines.pop(), [], 'the last line is ended, too');
  return lines;
}

/** A record as a line of cells: objects by dots, lists as JSON, what is not there left out. */
function flat(row, prefix = '') {
  return Object.entries(row).reduce((cells, [key, value]) => {
    const list = Array.isArray(value);
    if (value === null || (list && value.length === 0)) return cells;
    if (typeof value === 'object' && !list) return { ...cells, ...flat(value, `${prefix}${key}.`) };
    return { ...cells, [`${prefix}${key}`]: list ? JSON.stringify(value) : String(value) };
  }, {});
}
