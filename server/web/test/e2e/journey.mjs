/** The journey of a newcomer: clusters, pods, Open Shell, a command, a resize, an exit code, Reconnect. On any gateway. */
import assert from 'node:assert/strict';
import { frontTerminal, openPage, screenText, sttySize, type, waitForOpen, waitForScreen } from './browser.mjs';

export async function journey(browser, url, dark, shoot) {
  const look = dark ? 'dark' : 'light';
  const { context, page, troubles } = await openPage(browser, { dark });
  try {
    await page.goto(url);
    await page.getByRole('link', { name: 'modern', exact: true }).waitFor();
    await shoot(page, `clusters-${look}`);

    await page.getByRole('link', { name: 'modern', exact: true }).click();
    await page.getByRole('link', { name: 'default', exact: true }).click();
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    await shoot(page, `pods-${look}`);
    await page.locator('h1').click();
    await page.keyboard.press('/');
    await page.keyboard.type('she');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'shell', level: 1 }).waitFor();

    await page.goto(new URL('/clusters/modern/pods/default/sidecar', url).href);
    await page.locator('#open-shell').waitFor();
    assert.equal(await page.locator('input[name=container]:checked').inputValue(), 'app');
    await shoot(page, `pod-${look}`);
    await page.goto(new URL('/clusters/modern/pods/default/shell', url).href);

    await page.locator('#open-shell').click();
    await waitForOpen(page);
    await waitForScreen(page, (text) => text.trim() !== '', 'a prompt');
    const { rows, cols } = await frontTerminal(page);
    assert.deepEqual(await sttySize(page, 'first'), { rows, cols }, 'the prompt has the right size from the start');

    await type(page, 'echo hello-$((40+2))');
    await waitForScreen(page, (text) => /^hello-42\s*$/m.test(text), 'hello-42');
    await shoot(page, `terminal-${look}`);

    const before = await sttySize(page, 'before');
    await page.setViewportSize({ width: 900, height: 620 });
    await page.waitForFunction((old) => document.querySelector('.panel:not([hidden]) .terminal').terminal.cols !== old, before.cols);
    // The message follows the resize of the page at once; the container may take a moment.
    let after = before;
    for (let i = 0; i < 20 && after.cols === before.cols; i++) after = await sttySize(page, `after${i}`);
    assert.notDeepEqual(after, before, 'the container hears of a new window size');
    assert.equal(after.cols, (await frontTerminal(page)).cols);

    await type(page, 'exit 7');
    const banner = page.locator('.end-banner');
    await banner.getByText('exited with code 7').waitFor();
    const text = await banner.innerText();
    assert.match(text, /client_close\/process_exit/);
    assert.match(text, /exit code 7/);
    await page.setViewportSize({ width: 1180, height: 760 });
    await shoot(page, `exit-${look}`);

    await page.getByRole('button', { name: 'Reconnect' }).click();
    await waitForOpen(page);
    await type(page, 'echo again-$((1+1))');
    await waitForScreen(page, (screen) => /^again-2\s*$/m.test(screen), 'again-2');
    assert.match(await screenText(page), /hello-42/, 'the scrollback survives a reconnect');
    await page.getByRole('button', { name: 'Disconnect', exact: true }).click();
    await page.locator('.end-banner').getByText('You disconnected').waitFor();
    assert.deepEqual(troubles, [], 'no script error and no violation of the policy');
  } finally {
    await context.close();
  }
}
