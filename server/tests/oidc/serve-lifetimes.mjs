/** How long a login lasts on `periscope serve`, and what the page says and does about it. */
import assert from 'node:assert/strict';
import { type, until, waitForOpen, waitForScreen } from '../../web/test/e2e/browser.mjs';
import { api } from './stage.mjs';

const SHELL = '/clusters/modern/pods/default/shell/exec';

export function lifetimes(scene) {
  scene('the end of the login is announced five minutes before, and not earlier', { session: { absoluteTimeout: '318s' } }, async ({ person }) => {
    const page = await person('ann', SHELL);
    await waitForOpen(page);
    const left = () => page.evaluate(async () => Date.parse((await (await fetch('/api/auth/whoami')).json()).expiresAt) - Date.now());
    const notice = page.locator('.login-notice');
    if ((await left()) > 301_000) assert.equal(await notice.isVisible(), false);
    await notice.getByText(/Your login ends in (5m|4m5\ds)/).waitFor();
    const said = await left();
    assert.ok(said <= 300_000 && said > 290_000, `${said} ms before the end`);
    await notice.getByText('Open shells end with it, so save your work.').waitFor();
  });

  scene('a shell ends with its login, says so, keeps its screen, and opens again after a login beside it', { session: { absoluteTimeout: '18s' } }, async ({ person }, shoot) => {
    const page = await person('ann', SHELL);
    await waitForOpen(page);
    await page.locator('.login-notice').getByText(/Your login ends in \d+s/).waitFor();
    await type(page, 'echo kept-$((1+1))');
    await waitForScreen(page, (text) => /^kept-2\s*$/m.test(text), 'kept-2');
    await page.keyboard.type('half a th');
    const banner = page.locator('.end-banner');
    await banner.getByText('You are signed out').waitFor();
    await banner.getByText('forced_close/auth_expired').waitFor();
    await banner.getByText('E_AUTH', { exact: true }).waitFor();
    await page.keyboard.type('ought');
    await page.locator('.notices').getByText('what you type goes nowhere').waitFor();
    await shoot(page, 'login-ended');
    // The provider still knows her, so the way through it is silent.
    const [beside] = await Promise.all([page.waitForEvent('popup'), banner.getByRole('link', { name: 'Sign in in a new tab' }).click()]);
    await beside.getByText('You are signed in').waitFor();
    await beside.close();
    await page.getByRole('button', { name: 'Reconnect' }).click();
    await waitForOpen(page);
    await waitForScreen(page, (text) => /kept-2[\s\S]*half a th[\s\S]*── new shell ──/.test(text), 'the old screen above the new shell');
    const { body } = await api(page, '/api/audit?verb=pod.exec.session_end');
    assert.deepEqual(body.items.map((row) => row.close_detail), ['auth_expired']);
  });

  scene('typing keeps a login that would go idle; who does not type is told, and loses no shell', { session: { idleTimeout: '10s' } }, async ({ person, url }) => {
    const busy = await person('ann', SHELL);
    const quiet = await person('bob', SHELL);
    const cookies = async (page) => (await page.context().cookies(url)).map(({ name, value }) => `${name}=${value}`).join('; ');
    const copied = { busy: await cookies(busy), quiet: await cookies(quiet) };
    for (const page of [busy, quiet]) {
      await waitForOpen(page);
      await page.clock.install();
    }
    for (let time = 0; time < 5; time++) {
      await new Promise((resolve) => setTimeout(resolve, 2600));
      // The page asks at most once a minute, so its minutes are made short.
      await busy.clock.fastForward(61_000);
      await type(busy, `echo typed-${time}-$((1+1))`);
      await waitForScreen(busy, (text) => new RegExp(`^typed-${time}-2\\s*$`, 'm').test(text), `typed-${time}-2`);
    }
    const status = async (cookie) => (await fetch(`${url}/api/auth/whoami`, { headers: { Cookie: cookie } })).status;
    assert.equal(await status(copied.busy), 200, 'thirteen seconds later, ten being the limit');
    assert.equal(await status(copied.quiet), 401);
    assert.equal(await busy.locator('.login-notice').isVisible(), false);
    await quiet.clock.fastForward(61_000);
    await type(quiet, 'echo still-$((1+1))');
    await waitForScreen(quiet, (text) => /^still-2\s*$/m.test(text), 'still-2');
    await quiet.locator('.login-notice').getByText('You are signed out.').waitFor();
    assert.equal(await quiet.locator('.end-banner').count(), 0, 'a shell does not end with an idle login');
    // A login beside it is enough.
    const [beside] = await Promise.all([quiet.waitForEvent('popup'), quiet.locator('.login-notice').getByRole('link').click()]);
    await beside.getByText('You are signed in').waitFor();
    await beside.close();
    await until(async () => !(await quiet.locator('.login-notice').isVisible()), 'the end of the notice');
  });
}
