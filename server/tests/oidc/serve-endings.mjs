/** What becomes of shells, on the page and in the records, when `periscope serve` is stopped or killed under them. */
import assert from 'node:assert/strict';
import { screenText, type, until, waitForOpen, waitForScreen } from '../../web/test/e2e/browser.mjs';
import { api } from './stage.mjs';

const SHELL = '/clusters/modern/pods/default/shell/exec';

async function echo(page, word) {
  await type(page, `echo ${word}-$((1+1))`);
  await waitForScreen(page, (text) => new RegExp(`^${word}-2\\s*$`, 'm').test(text), `${word}-2`);
}

async function openShell(page, word) {
  await waitForOpen(page);
  await echo(page, word);
}

export function endings(scene) {
  scene('SIGTERM: a countdown, an end that says why, and a new shell from the next process', { dev: true, env: { PERISCOPE_DRAIN_SECONDS: '4' } }, async (stage, shoot) => {
    const page = await stage.person('dev', SHELL);
    await openShell(page, 'before');
    const stopped = stage.gateway.stop();
    const notice = page.locator('.notices').getByText(/The gateway is restarting. This shell ends in \d+\u00a0s; save your work\./);
    await notice.waitFor();
    await page.locator('#status').getByText(/^Closing in \d+\u00a0s$/).waitFor();
    await shoot(page, 'drain');
    // Until then it is a shell like any other.
    await echo(page, 'during');
    assert.equal(await stopped, 0);
    // The reason stays, although nobody answers the attempts that follow.
    await page.locator('.retry').getByText(/Reconnecting in [23] s/).waitFor();
    await page.locator('.end-banner').getByText('The gateway is restarting', { exact: true }).waitFor();
    await page.locator('.end-banner').getByText('forced_close/drain').waitFor();
    await stage.restart();
    await waitForScreen(page, (text) => /during-2[\s\S]*── new shell ──/.test(text), 'the new shell below the old one');
    await openShell(page, 'after');
    await page.goto(`${stage.url}/audit`);
    await page.getByRole('row', { name: /session_end.*shell.*drain/ }).waitFor();
  });

  scene('kill -9: the page waits and tries again, and the next process writes the end that was lost', { dev: true }, async (stage, shoot) => {
    const page = await stage.person('dev', SHELL);
    await openShell(page, 'before');
    const [{ id }] = (await api(page, '/api/sessions')).body.items;
    await until(async () => (await api(page, '/api/audit')).body.total === 1, 'the record of the start');
    assert.equal(await stage.gateway.stop('SIGKILL'), null);
    await page.locator('.end-banner').getByText('The connection to the gateway was lost').waitFor();
    await page.locator('.retry').getByText(/Reconnecting in \d s/).waitFor();
    await shoot(page, 'gateway-killed');
    await stage.restart();
    await waitForScreen(page, (text) => text.includes('── new shell ──'), 'a new shell, without a click');
    await openShell(page, 'after');
    assert.equal((await screenText(page)).split('── new shell ──').length, 2, 'attempts in vain leave no trace on the screen');
    await page.goto(`${stage.url}/audit?session=${id}`);
    await page.getByText('1 to 2 of 2').waitFor();
    await page.locator('.audit').getByRole('row', { name: /session_end.*gateway_crash/ }).waitFor();
    await shoot(page, 'gateway-crash');
  });

  scene('a login that went with its process is made again beside the terminals', {}, async (stage) => {
    const page = await stage.person('ann', SHELL);
    await openShell(page, 'before');
    await stage.gateway.stop('SIGKILL');
    await page.locator('.retry').getByText(/Reconnecting/).waitFor();
    await stage.restart();
    const banner = page.locator('.end-banner');
    await banner.getByText('You are signed out').waitFor();
    const [beside] = await Promise.all([page.waitForEvent('popup'), banner.getByRole('link', { name: 'Sign in in a new tab' }).click()]);
    await beside.getByText('You are signed in').waitFor();
    await beside.close();
    // What the page had begun it now finishes by itself.
    await waitForScreen(page, (text) => /before-2[\s\S]*── new shell ──/.test(text), 'the old screen above the new shell');
    await openShell(page, 'after');
    const { items } = (await api(page, '/api/audit?verb=pod.exec.session_end')).body;
    assert.deepEqual(items.map((row) => [row.actor.sub, row.close_reason, row.close_detail]), [['ann', 'forced_close', 'gateway_crash']]);
  });
}
