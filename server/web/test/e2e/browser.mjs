/** What the end-to-end tests share: a browser, a page that reports what went wrong, and the screen's text. */
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** With `webgl` a processor may play the graphics card; the UI takes it for one only when it is told to. */
export async function openBrowser({ webgl = false } = {}) {
  return chromium.launch({
    executablePath: process.env.PERISCOPE_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', ...(webgl ? ['--enable-unsafe-swiftshader'] : [])],
  });
}

/** A page of its own context. `troubles` collects script errors and every violation of the policy. */
export async function openPage(browser, { dark = false, width = 1180, height = 760, ...more } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const troubles = [];
  page.on('pageerror', (error) => troubles.push(`script error: ${error.message}`));
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) troubles.push(message.text());
  });
  page.on('dialog', (dialog) => dialog.accept());
  return { context, page, troubles };
}

/** Waits until `test` says yes. For what happens outside the page. */
export async function until(test, what, milliseconds = 30_000) {
  const deadline = Date.now() + milliseconds;
  while (!(await test())) {
    if (Date.now() > deadline) throw new Error(`never seen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Everything on the screen and above it, as xterm's own buffer has it. */
export function screenText(page) {
  return page.evaluate(() => {
    const terminal = document.querySelector('.panel:not([hidden]) .terminal')?.terminal;
    if (terminal === undefined) return '';
    const buffer = terminal.buffer.active;
    const lines = [];
    for (let i = 0; i < buffer.length; i++) {
      const line = buffer.getLine(i);
      const text = line.translateToString(true);
      if (line.isWrapped && lines.length > 0) lines[lines.length - 1] += text;
      else lines.push(text);
    }
    return lines.join('\n');
  });
}

/** Size and modes of the terminal in front. */
export function frontTerminal(page) {
  return page.evaluate(() => {
    const { cols, rows, modes } = document.querySelector('.panel:not([hidden]) .terminal').terminal;
    return { cols, rows, modes: { ...modes } };
  });
}

/** Waits until the screen's text satisfies `test`; the error shows the screen. */
export async function waitForScreen(page, test, what, milliseconds = 30_000) {
  const deadline = Date.now() + milliseconds;
  let text = '';
  while (Date.now() < deadline) {
    text = await screenText(page);
    if (test(text)) return text;
    await page.waitForTimeout(50);
  }
  throw new Error(`the screen never showed ${what}; its end:\n${text.trimEnd().split('\n').slice(-40).join('\n')}`);
}

export async function waitForOpen(page) {
  await page.locator('#status.good').waitFor();
}

export async function type(page, line) {
  await page.locator('.panel:not([hidden]) .terminal textarea').focus();
  await page.keyboard.type(`${line}\n`);
}

/** The rows and columns `stty size` reports, asked with a mark that cannot be taken for an older answer. */
export async function sttySize(page, mark) {
  // Not typed ahead: what is typed while a command writes stands in the middle of what it writes.
  await type(page, `echo ${mark}`);
  await waitForScreen(page, (screen) => new RegExp(`^${mark}\\s*$`, 'm').test(screen), `the mark ${mark}`);
  await type(page, 'stty size');
  const pattern = new RegExp(`^${mark}\\s*\\n(?:.*\\n)*?(\\d+) (\\d+)\\s*$`, 'm');
  const text = await waitForScreen(page, (screen) => pattern.test(screen), `the answer to stty size after ${mark}`);
  const [, rows, cols] = pattern.exec(text);
  return { rows: Number(rows), cols: Number(cols) };
}

/** Pastes as a person would: through the browser's paste event. */
export function paste(page, text) {
  return page.evaluate((pasted) => {
    const data = new DataTransfer();
    data.setData('text/plain', pasted);
    const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
    document.querySelector('.panel:not([hidden]) .terminal textarea').dispatchEvent(event);
  }, text);
}

/** The serious and critical findings of axe on the page as it is, one line each. */
export async function accessibilityFindings(page) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => `${one.id}: ${one.nodes.map((node) => `${node.target} (${node.any.map((check) => check.message)})`).join('; ')}`);
}
