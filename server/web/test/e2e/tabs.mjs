/** Tabs: several shells on one page, and what the page does for them. Against the fake gateway. */
import assert from 'node:assert/strict';
import { screenText, type, until, waitForOpen, waitForScreen } from './browser.mjs';

const SHELL = '/clusters/modern/pods/default/shell/exec?container=shell';
const tab = (page, name) => page.locator('.tab-name', { hasText: name });

export function tabs(state) {
  state('a shell goes on while one looks around, and is one click away', {}, async (page, go, shot, gateway) => {
    await go(SHELL);
    await waitForOpen(page);
    await type(page, 'echo before-$((1+1))');
    await waitForScreen(page, (text) => /^before-2\s*$/m.test(text), 'before-2');
    await page.getByRole('link', { name: 'default', exact: true }).click();
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    assert.equal(gateway.sessions.size, 1);
    await shot('pods-with-shell');
    await page.getByRole('link', { name: '1 shell' }).click();
    await type(page, 'echo after-$((1+1))');
    const text = await waitForScreen(page, (screen) => /^after-2\s*$/m.test(screen), 'after-2');
    assert.match(text, /before-2/);
    assert.equal(gateway.sessions.size, 1);
  });
  state('Open Shell on another pod adds a tab, and Back and Forward lead to the right ones', {}, async (page, go, shot, gateway) => {
    await go(SHELL);
    await waitForOpen(page);
    await page.getByRole('link', { name: 'Open a shell in another pod' }).click();
    await page.getByRole('link', { name: 'sidecar', exact: true }).click();
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    assert.deepEqual(await page.locator('.tab-text').allInnerTexts(), ['shell', 'sidecar · app']);
    await type(page, 'colours');
    await waitForScreen(page, (text) => text.includes('curly'), 'the colours');
    await shot('tabs');
    for (let i = 0; i < 3; i++) await page.goBack();
    await page.locator('.tab:has([aria-current]) .tab-text', { hasText: /^shell$/ }).waitFor();
    for (let i = 0; i < 3; i++) await page.goForward();
    await page.locator('.tab:has([aria-current]) .tab-text', { hasText: 'sidecar' }).waitFor();
    assert.match(await screenText(page), /curly/);
    assert.equal(gateway.sessions.size, 2);
  });
  state('a tab is duplicated, and the keyboard leads from one to the other', {}, async (page, go, _shot, gateway) => {
    await go(SHELL);
    await waitForOpen(page);
    await type(page, 'echo first-$((1+1))');
    await waitForScreen(page, (text) => /^first-2\s*$/m.test(text), 'first-2');
    await page.keyboard.press('Control+Shift+D');
    await tab(page, 'shell 2').waitFor();
    await waitForOpen(page);
    assert.equal(gateway.sessions.size, 2);
    assert.doesNotMatch(await screenText(page), /first-2/);
    await page.keyboard.press('Control+Shift+ArrowLeft');
    await waitForScreen(page, (text) => text.includes('first-2'), 'the first shell');
    await type(page, 'echo still-$((1+1))');
    await waitForScreen(page, (text) => /^still-2\s*$/m.test(text), 'still-2');
  });
  state('two shells stand side by side, by the keyboard alone, and each has the size of its half', {}, async (page, go, shot, gateway) => {
    await go(SHELL);
    await waitForOpen(page);
    const panels = page.locator('.panel:not([hidden])');
    const columns = () => page.evaluate(() => [...document.querySelectorAll('.panel:not([hidden]) .terminal-box > .terminal')].map((host) => host.terminal.cols));
    const focused = () => page.evaluate(() => document.activeElement.closest('.panel')?.ariaLabel);
    const [whole] = await columns();
    // With one shell the other half is a new one; that is where the keys go.
    await page.keyboard.press('Control+Shift+Backslash');
    await until(() => gateway.sessions.size === 2, 'the second session');
    await waitForOpen(page);
    assert.equal(await panels.count(), 2);
    await page.waitForFunction((whole) => [...document.querySelectorAll('.panel:not([hidden]) .terminal-box > .terminal')].every((host) => host.terminal.cols < whole / 2), whole);
    assert.equal(await focused(), 'Shell shell 2');
    await page.keyboard.type('stty size\n');
    const screen = (at) => page.evaluate((at) => {
      const { buffer } = [...document.querySelectorAll('.panel:not([hidden]) .terminal-box > .terminal')][at].terminal;
      return Array.from({ length: buffer.active.length }, (_, row) => buffer.active.getLine(row).translateToString(true)).join('\n');
    }, at);
    await until(async () => new RegExp(`^\\d+ ${(await columns())[1]}$`, 'm').test(await screen(1)), 'the size of the right half');
    await page.keyboard.press('Control+Shift+ArrowLeft');
    assert.equal(await focused(), 'Shell shell');
    assert.equal(await panels.count(), 2, 'both stay');
    await page.keyboard.type('stty size\n');
    await until(async () => new RegExp(`^\\d+ ${(await columns())[0]}$`, 'm').test(await screen(0)), 'the size of the left half');
    await page.waitForFunction(() => document.title === 'shell · Periscope');
    await shot('split');
    // A click is enough, too.
    await panels.nth(1).locator('.xterm-screen').click();
    await page.waitForFunction(() => document.title === 'shell 2 · Periscope');
    await page.setViewportSize({ width: 800, height: 760 });
    await page.waitForFunction((cols) => [...document.querySelectorAll('.panel:not([hidden]) .terminal-box > .terminal')].every((host) => host.terminal.cols > cols), (await columns())[0]);
    await shot('split-narrow');
    await page.setViewportSize({ width: 1180, height: 760 });
    await page.keyboard.press('Control+Shift+Backslash');
    assert.equal(await panels.count(), 1);
    await page.waitForFunction((whole) => document.querySelector('.panel:not([hidden]) .terminal').terminal.cols === whole, whole);
    assert.equal(gateway.sessions.size, 2, 'the other shell goes on behind');
    assert.equal(await focused(), 'Shell shell 2');
  });
  state('the half that stays takes the whole when the other is closed', {}, async (page, go, _shot, gateway) => {
    await go(SHELL);
    await waitForOpen(page);
    for (const name of ['shell 2', 'shell 3']) {
      await page.keyboard.press('Control+Shift+D');
      await tab(page, name).waitFor();
      await waitForOpen(page);
    }
    await tab(page, /^shell$/).click();
    await page.getByRole('button', { name: 'Two shells side by side' }).click();
    await page.keyboard.press('Control+Shift+ArrowRight');
    assert.equal(await page.locator('.panel:not([hidden])').count(), 2);
    await page.keyboard.type('exit 4\n');
    await page.locator('.end-banner').getByText('exited with code 4').waitFor();
    await page.getByRole('button', { name: 'Close shell 2', exact: true }).click();
    await page.locator('.tab').nth(2).waitFor({ state: 'detached' });
    assert.deepEqual(await page.locator('.panel:not([hidden])').evaluateAll((all) => all.map((one) => one.ariaLabel)), ['Shell shell']);
    await type(page, 'echo alone-$((1+1))');
    await waitForScreen(page, (text) => /^alone-2\s*$/m.test(text), 'alone-2');
    assert.equal(gateway.sessions.size, 2);
    assert.equal(await page.getByRole('button', { name: 'Two shells side by side' }).getAttribute('aria-pressed'), 'false');
  });
  state('a tab is renamed with F2, and its name is the window’s', {}, async (page, go, shot) => {
    await go(SHELL);
    await waitForOpen(page);
    await page.keyboard.press('Control+Shift+E');
    await page.keyboard.press('F2');
    await page.getByLabel('Name of the tab').fill('db migration');
    await shot('rename-dialog');
    await page.keyboard.press('Enter');
    await tab(page, 'db migration').waitFor();
    await page.waitForFunction(() => document.title === 'db migration · Periscope');
    await type(page, 'echo typed-$((1+1))');
    await waitForScreen(page, (text) => /^typed-2\s*$/m.test(text), 'the focus back in the terminal');
  });
  state('a tab behind another shows output and the bell', {}, async (page, go, _shot, gateway) => {
    await go(SHELL);
    await waitForOpen(page);
    await type(page, 'later echo\nlater bell');
    await page.keyboard.press('Control+Shift+D');
    await tab(page, 'shell 2').waitFor();
    await waitForOpen(page);
    gateway.release();
    await page.locator('.tab.bell .tab-text', { hasText: /^shell$/ }).waitFor();
    await tab(page, /^shell$/).click();
    await page.locator('.tab.bell').waitFor({ state: 'detached' });
  });
  state('a terminal without any room keeps the size it had, behind other pages and in a window that is too low', {}, async (page, go, _shot) => {
    const sizes = [];
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => typeof payload === 'string' && payload.includes('resize') && sizes.push(payload));
    });
    await go(SHELL);
    await waitForOpen(page);
    await page.getByRole('link', { name: 'default', exact: true }).click();
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    await page.getByRole('link', { name: '1 shell' }).click();
    await type(page, 'echo back-$((1+1))');
    await waitForScreen(page, (text) => /^back-2\s*$/m.test(text), 'back-2');
    assert.deepEqual(sizes, []);
    // As on a phone whose keyboard leaves nothing but the bars.
    await page.setViewportSize({ width: 1180, height: 90 });
    await page.waitForFunction(() => document.querySelector('.panel:not([hidden]) .terminal').clientHeight === 0);
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 400)));
    await page.setViewportSize({ width: 1180, height: 760 });
    await page.waitForFunction(() => document.querySelector('.panel:not([hidden]) .terminal').clientHeight > 0);
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 400)));
    assert.deepEqual(sizes, []);
  });
  state('Back leads to a shell’s end as it was left, and Open Shell to a new shell', {}, async (page, go, _shot, gateway) => {
    await go('/clusters/modern/pods/default/shell');
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    await type(page, 'exit 5');
    await page.locator('.end-banner').getByText('exited with code 5').waitFor();
    await page.goBack();
    await page.locator('#open-shell').waitFor();
    await page.goForward();
    await page.locator('.end-banner').getByText('exited with code 5').waitFor();
    assert.equal(gateway.sessions.size, 0);
    await page.goBack();
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    assert.equal(await page.locator('.tab').count(), 1);
  });
  state('a reload ends the shells, keeps the tabs and opens only the one in front', {}, async (page, go, _shot, gateway) => {
    await go(SHELL);
    await waitForOpen(page);
    await page.keyboard.press('Control+Shift+D');
    await tab(page, 'shell 2').waitFor();
    await waitForOpen(page);
    await page.reload();
    await waitForOpen(page);
    assert.deepEqual(await page.locator('.tab-text').allInnerTexts(), ['shell', 'shell 2']);
    await until(() => gateway.sessions.size === 1, 'one session');
    await tab(page, /^shell$|^shell 2$/).and(page.locator(':not([aria-current])')).click();
    await waitForOpen(page);
    await until(() => gateway.sessions.size === 2, 'the second session');
  });
  state('a command in an address runs only after a yes', {}, async (page, go, shot, gateway) => {
    const command = Buffer.from(JSON.stringify(['rm', '-rf', '/data; true'])).toString('base64url');
    await go(`${SHELL}&command=${command}`);
    await page.getByRole('dialog').getByText("rm -rf '/data; true'").waitFor();
    await shot('command-dialog');
    assert.equal(gateway.sessions.size, 0);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('heading', { name: 'shell', level: 1 }).waitFor();
    assert.equal(gateway.sessions.size, 0);
    await go(`${SHELL}&command=${command}`);
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await waitForOpen(page);
    assert.equal(gateway.sessions.size, 1);
  });
}
