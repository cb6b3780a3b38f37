/**
 * The journey of a newcomer through a real browser: clusters, pods, Open Shell, a command, a resize, an
 * exit code, Reconnect.
 *
 *     PERISCOPE_URL='http://127.0.0.1:8080/?token=…' npm run e2e      # against a running `periscope demo`
 *     npm run build && npm run e2e                                    # against the fake gateway
 *
 * The URL may carry the demo's token. Screenshots go to PERISCOPE_SCREENSHOTS, or nowhere. Exits with 1
 * at the first thing that is not as it should be.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { startFakeGateway } from '../fake-gateway.mjs';
import { openBrowser, openPage, screenText, sttySize, type, waitForOpen, waitForScreen } from './browser.mjs';
import { states } from './states.mjs';

const shots = process.env.PERISCOPE_SCREENSHOTS ?? '';
if (shots !== '') mkdirSync(shots, { recursive: true });

async function shoot(page, name) {
  if (shots !== '') await page.screenshot({ path: join(shots, `${name}.png`), caret: 'initial' });
}

/** `npm run e2e -- WORDS` runs only the states whose name holds the words; the journey is one piece. */
const only = process.argv.slice(2).join(' ');

async function step(name, action) {
  const started = Date.now();
  try {
    await action();
    console.log(`ok   ${name} (${Date.now() - started} ms)`);
  } catch (error) {
    console.log(`FAIL ${name}`);
    throw error;
  }
}

async function journey(browser, url, dark) {
  const look = dark ? 'dark' : 'light';
  const { context, page, troubles } = await openPage(browser, { dark });
  try {
    await step(`${look}: the clusters are listed`, async () => {
      await page.goto(url);
      await page.getByRole('link', { name: 'modern', exact: true }).waitFor();
      await shoot(page, `clusters-${look}`);
    });
    await step(`${look}: a pod is found with the keyboard alone`, async () => {
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
    });
    await step(`${look}: the pod page offers its default container`, async () => {
      await page.goto(new URL('/clusters/modern/pods/default/sidecar', url).href);
      await page.locator('#open-shell').waitFor();
      assert.equal(await page.locator('input[name=container]:checked').inputValue(), 'app');
      await shoot(page, `pod-${look}`);
      await page.goto(new URL('/clusters/modern/pods/default/shell', url).href);
    });
    await step(`${look}: Open Shell gives a prompt of the right size`, async () => {
      await page.locator('#open-shell').click();
      await waitForOpen(page);
      await waitForScreen(page, (text) => text.trim() !== '', 'a prompt');
      const own = await page.evaluate(() => {
        const { cols, rows } = document.getElementById('terminal').terminal;
        return { rows, cols };
      });
      assert.deepEqual(await sttySize(page, 'first'), own);
    });
    await step(`${look}: a command runs and its output appears`, async () => {
      await type(page, 'echo hello-$((40+2))');
      await waitForScreen(page, (text) => /^hello-42\s*$/m.test(text), 'hello-42');
      await shoot(page, `terminal-${look}`);
    });
    await step(`${look}: the container hears of a new window size`, async () => {
      const before = await sttySize(page, 'before');
      await page.setViewportSize({ width: 900, height: 620 });
      await page.waitForFunction((cols) => document.getElementById('terminal').terminal.cols !== cols, before.cols);
      // The message follows the resize of the page at once; the container may take a moment.
      let after = before;
      for (let i = 0; i < 20 && after.cols === before.cols; i++) after = await sttySize(page, `after${i}`);
      assert.notDeepEqual(after, before);
      assert.equal(after.cols, await page.evaluate(() => document.getElementById('terminal').terminal.cols));
    });
    await step(`${look}: exit 7 shows the code and the reason`, async () => {
      await type(page, 'exit 7');
      const banner = page.locator('.end-banner');
      await banner.getByText('exited with code 7').waitFor();
      const text = await banner.innerText();
      assert.match(text, /client_close\/process_exit/);
      assert.match(text, /exit code 7/);
      await page.setViewportSize({ width: 1180, height: 760 });
      await shoot(page, `exit-${look}`);
    });
    await step(`${look}: Reconnect gives a prompt again`, async () => {
      await page.getByRole('button', { name: 'Reconnect' }).click();
      await waitForOpen(page);
      await type(page, 'echo again-$((1+1))');
      await waitForScreen(page, (text) => /^again-2\s*$/m.test(text), 'again-2');
      assert.match(await screenText(page), /hello-42/, 'the scrollback survives a reconnect');
      await page.getByRole('button', { name: 'Disconnect', exact: true }).click();
      await page.locator('.end-banner').getByText('You disconnected').waitFor();
    });
    assert.deepEqual(troubles, [], 'no script error and no violation of the policy');
  } finally {
    await context.close();
  }
}

const browser = await openBrowser();
const fake = process.env.PERISCOPE_URL === undefined ? await startFakeGateway() : null;
try {
  const url = process.env.PERISCOPE_URL ?? fake.url;
  if (only === '') {
    await journey(browser, url, false);
    await journey(browser, url, true);
  }
  const some = async (name, action) => {
    if (name.includes(only)) await step(name, action);
  };
  if (fake !== null) await states(browser, { step: some, shoot });
  if (fake !== null) assert.deepEqual(fake.violations, []);
} finally {
  fake?.close();
  await browser.close();
}
