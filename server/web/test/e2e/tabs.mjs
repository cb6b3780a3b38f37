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
  state('a hidden terminal keeps the size it had', {}, async (page, go, _shot) => {
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
