/** Every way to a shell and out of it, one test each. Against the fake gateway. */
import assert from 'node:assert/strict';
import { type, until, waitForOpen, waitForScreen } from './browser.mjs';

const exec = (pod, container = 'app', namespace = 'faults') => `/clusters/modern/pods/${namespace}/${pod}/exec?container=${container}`;

/** Codes a request is refused with: status, and the sentence a person reads. */
const REFUSED = {
  E_AUTH: [401, 'You are signed out'],
  E_FORBIDDEN: [403, 'You may not open a shell here'],
  E_EXEC_DISABLED: [403, 'Shells are switched off for this cluster'],
  E_ORIGIN: [403, 'This page has the wrong address'],
  E_INVALID_REQUEST: [400, 'The request was not accepted'],
  E_NOT_FOUND: [404, 'The pod or container is not there'],
  E_CLUSTER_UNREACHABLE: [502, 'The cluster does not answer'],
  E_DRAIN: [503, 'The gateway is restarting'],
  E_AUDIT: [503, 'The audit log cannot be written'],
  E_INTERNAL: [500, 'Something is wrong on the gateway’s side'],
  E_RATE_LIMIT: [429, 'Too many shells in a short time'],
};

/** Ends of sessions: reason, detail, code, the sentence. */
const ENDED = [
  ['forced_close', 'heartbeat_lost', 'E_HEARTBEAT', 'The connection went silent'],
  ['forced_close', 'stalled', 'E_HEARTBEAT', 'This browser stopped taking output'],
  ['forced_close', 'pod_gone', 'E_CLUSTER_UNREACHABLE', 'The pod is gone'],
  ['forced_close', 'transport_error', 'E_CLUSTER_UNREACHABLE', 'The cluster does not answer'],
  ['forced_close', 'protocol_error', 'E_PROTOCOL', 'did not understand each other'],
  ['forced_close', 'audit', 'E_AUDIT', 'The audit log cannot be written'],
  ['forced_close', 'internal', 'E_INTERNAL', 'Something is wrong on the gateway’s side'],
  ['forced_close', 'auth_expired', 'E_AUTH', 'You are signed out'],
  ['forced_close', 'admin_kill', null, 'An administrator ended this session'],
  ['server_idle', 'idle', 'E_IDLE', 'Closed because nothing happened'],
  ['forced_close', 'forbidden', 'E_FORBIDDEN', 'You may not open a shell here'],
  ['forced_close', 'not_found', 'E_NOT_FOUND', 'The pod or container is not there'],
  ['forced_close', 'rejected', 'E_INVALID_REQUEST', 'The request was not accepted'],
  ['forced_close', 'unreachable', 'E_CLUSTER_UNREACHABLE', 'The cluster does not answer'],
  ['forced_close', 'drain', 'E_DRAIN', 'The gateway is restarting'],
  ['client_close', 'user_close', null, 'You disconnected'],
  ['client_close', 'tab_gone', null, 'The tab was closed'],
];

export function lifecycle(state) {
  state('the way to a shell is shown step by step when it takes a moment', {}, async (page, go, shot, gateway) => {
    await go(exec('slow'));
    await page.locator('.steps [aria-current=step]').getByText('The cluster').waitFor();
    await page.locator('#status').getByText('Starting the shell').waitFor();
    await page.waitForFunction(() => getComputedStyle(document.querySelector('.steps')).opacity === '1');
    await shot('connecting');
    // What is typed meanwhile is kept for the shell.
    await page.keyboard.type('echo early-$((1+1))\n');
    gateway.release();
    await waitForOpen(page);
    await waitForScreen(page, (text) => /^early-2\s*$/m.test(text), 'what was typed early');
    await page.locator('.steps').waitFor({ state: 'detached' });
  });
  state('the pill tells uptime and the time until the idle end', {}, async (page, go) => {
    await page.clock.install();
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.locator('#status').getByText('closes in 10m if idle').waitFor();
    await page.clock.fastForward(185_000);
    await page.locator('#status').getByText(/^Open 3m\d+s$/).waitFor();
    await page.locator('#status').getByText('closes in 7m if idle').waitFor();
    await type(page, 'echo alive-$((1+1))');
    await page.locator('#status').getByText('closes in 10m if idle').waitFor();
  });
  state(
    'every code a shell can be refused with has a sentence of its own, and only passing ones are tried again',
    { pods: Object.fromEntries(Object.entries(REFUSED).map(([code, [status]]) => [code, { refusal: [status, { error: code, message: 'in the gateway’s words' }, { 'Retry-After': '40' }] }])) },
    async (page, go, shot) => {
      for (const [code, [, sentence]] of Object.entries(REFUSED)) {
        await go(exec(code));
        const banner = page.locator('.panel:not([hidden]) .end-banner');
        await banner.getByRole('heading', { name: sentence }).waitFor();
        await banner.getByText(code, { exact: true }).waitFor();
        const passing = ['E_RATE_LIMIT', 'E_CLUSTER_UNREACHABLE', 'E_DRAIN', 'E_AUDIT'].includes(code);
        await banner.getByRole('button', { name: passing ? 'Reconnect now' : /^(Try again|Reconnect)$/ }).waitFor();
        await shot(`refused-${code.slice(2).toLowerCase().replaceAll('_', '-')}`, { judge: code === 'E_AUTH' || code === 'E_DRAIN' });
        if (passing) await banner.getByRole('button', { name: 'Stop' }).click();
      }
    },
  );
  state(
    'every way a shell can end has its sentence, reason and code',
    {
      pods: Object.fromEntries(
        ENDED.map(([reason, detail, code]) => [`ends-${detail.replace('_', '-')}`, { end: { closed: { reason, detail, truncated: false }, error: code === null ? null : { code, message: '' } } }]),
      ),
    },
    async (page, go, shot) => {
      for (const [reason, detail, code, sentence] of ENDED) {
        await go(exec(`ends-${detail.replace('_', '-')}`));
        const banner = page.locator('.panel:not([hidden]) .end-banner');
        await banner.getByRole('heading', { name: sentence }).waitFor();
        await banner.getByText(`${reason}/${detail}`).waitFor();
        if (code !== null) await banner.getByText(code, { exact: true }).waitFor();
        assert.equal(await banner.getByText('output').count(), detail === 'stalled' ? 2 : 0, 'nothing is said to be missing that is not');
        // Where another try would end the same way, the way back comes first, to where there is something.
        const gone = ['pod_gone', 'not_found'].includes(detail);
        const back = banner.getByRole('link', { name: gone ? 'Back to the pods' : 'Back to the pod', exact: true });
        assert.equal(await back.getAttribute('href'), gone ? '/clusters/modern/namespaces/faults' : `/clusters/modern/pods/faults/ends-${detail.replace('_', '-')}`);
        assert.equal(await back.and(page.locator('.primary')).count(), gone || ['forbidden', 'rejected'].includes(detail) ? 1 : 0);
        await shot(`end-${detail.replace('_', '-')}`, { judge: false });
      }
    },
  );
  state('a full cluster: the dialog tells one’s own shells from the others', { seed: 5, cluster: true }, async (page, go, shot, gateway) => {
    await go(exec('shell', 'shell', 'default'));
    const dialog = page.getByRole('dialog');
    await dialog.getByText('45 more belong to other people.').waitFor();
    await dialog.getByText('The limit of 50 shells for this cluster is reached.').waitFor();
    await shot('cap-cluster-dialog');
    await page.getByRole('button', { name: /^Disconnect worker-0/ }).click();
    await waitForOpen(page);
    assert.equal(gateway.sessions.size, 5);
  });
  state('typed text that a broken connection may have swallowed is given back', { page: { permissions: ['clipboard-read', 'clipboard-write'] } }, async (page, go, shot) => {
    await go(exec('dies'));
    await waitForOpen(page);
    await page.keyboard.type('half a thought, lost');
    await page.getByText('you typed or pasted may not have reached the shell').waitFor();
    await shot('lost-input');
    // By the keyboard, too, although the shell below keeps Tab for itself.
    await page.keyboard.press('Control+Shift+E');
    for (let i = 0; i < 20 && (await page.evaluate(() => document.activeElement.textContent)) !== 'Copy it'; i++) await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /thought, lost/);
    await page.getByRole('button', { name: 'Dismiss' }).click();
    await page.getByText('you typed or pasted').waitFor({ state: 'detached' });
  });
  state('keys after the end are not swallowed in silence', {}, async (page, go, shot) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await type(page, 'exit 0');
    await page.locator('.end-banner').waitFor();
    await page.keyboard.type('echo');
    await page.locator('.notices').getByText('This shell has ended, so what you type goes nowhere.').waitFor();
    await shot('keys-after-the-end');
    await page.keyboard.press('Enter');
    await waitForOpen(page);
    await page.locator('.notices p').waitFor({ state: 'detached' });
  });
  state('without a shell Tab leads from the terminal to what one can do about it', {}, async (page, go, _shot, gateway) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'TEXTAREA', 'the shell has Tab while it lives');
    await type(page, 'exit 0');
    await page.locator('.end-banner').waitFor();
    await page.keyboard.press('Tab');
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    assert.equal(await focused(), 'Reconnect');
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Back to the pod');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Enter');
    await waitForOpen(page);
    assert.equal(gateway.sessions.size, 1);
    assert.equal(await page.locator('.notices p').count(), 0, 'Tab was no key pressed in vain');
  });
  state('the session id is copied with a click', { page: { permissions: ['clipboard-read', 'clipboard-write'] } }, async (page, go, _shot, gateway) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.getByRole('button', { name: 'This session, its keys and settings' }).click();
    await page.getByRole('button', { name: 'Copy session id' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), [...gateway.sessions.keys()][0]);
  });
  state('leaving the page ends its shells', {}, async (page, go, _shot, gateway) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.goto('about:blank');
    await until(() => gateway.sessions.size === 0, 'the end of the session');
    await go('/');
    await page.getByRole('link', { name: 'modern', exact: true }).waitFor();
  });
}
