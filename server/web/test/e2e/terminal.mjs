/** What the terminal itself can do, one test each. Against the fake gateway. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { frontTerminal, paste, screenText, type, until, waitForOpen, waitForScreen } from './browser.mjs';

const SHELL = '/clusters/modern/pods/default/shell/exec?container=shell';

async function open(page, go) {
  await go(SHELL);
  await waitForOpen(page);
  await waitForScreen(page, (text) => /\$\s*$/.test(text.trimEnd()), 'the prompt');
}

/** The middle of the first cell of a word on the screen, and of its last. */
function wordOnScreen(page, word) {
  return page.evaluate((wanted) => {
    const host = document.querySelector('.panel:not([hidden]) .terminal');
    const { terminal } = host;
    const { width, height, left, top } = host.querySelector('.xterm-screen').getBoundingClientRect();
    const cell = { width: width / terminal.cols, height: height / terminal.rows };
    for (let row = 0; row < terminal.rows; row++) {
      const column = terminal.buffer.active.getLine(terminal.buffer.active.viewportY + row)?.translateToString(true).indexOf(wanted) ?? -1;
      if (column < 0) continue;
      const y = top + (row + 0.5) * cell.height;
      return { y, from: left + (column + 0.2) * cell.width, to: left + (column + wanted.length - 0.2) * cell.width };
    }
    throw new Error(`${wanted} is not on the screen`);
  }, word);
}

export function terminals(state) {
  state('what is selected is copied', { page: { permissions: ['clipboard-read', 'clipboard-write'] } }, async (page, go) => {
    await open(page, go);
    await type(page, 'echo select-$((40+2))-me');
    await waitForScreen(page, (text) => /^select-42-me\s*$/m.test(text), 'the word');
    const { y, from, to } = await wordOnScreen(page, 'select-42-me');
    await page.mouse.move(from, y);
    await page.mouse.down();
    await page.mouse.move((from + to) / 2, y);
    await page.mouse.move(to, y);
    await page.mouse.up();
    await until(async () => (await page.evaluate(() => navigator.clipboard.readText())) === 'select-42-me', 'the word in the clipboard');
  });
  state('a web link opens in a tab of its own, without a way back to ours', {}, async (page, go) => {
    await open(page, go);
    const { y, from } = await wordOnScreen(page, 'https://example.com/docs');
    await page.context().route('https://example.com/**', (route) => route.fulfill({ body: 'elsewhere' }));
    await page.mouse.move(from, y);
    const [popup] = await Promise.all([page.waitForEvent('popup'), page.mouse.click(from + 20, y)]);
    await popup.waitForURL('https://example.com/docs');
    assert.equal(await popup.evaluate(() => window.opener), null);
  });
  state('text composed with an input method arrives once and whole', {}, async (page, go) => {
    await open(page, go);
    await page.locator('.panel:not([hidden]) .terminal textarea').focus();
    await page.keyboard.type('echo ');
    const cdp = await page.context().newCDPSession(page);
    for (const text of ['に', 'にほ', 'にほん', '日本']) {
      await cdp.send('Input.imeSetComposition', { text, selectionStart: text.length, selectionEnd: text.length });
    }
    await cdp.send('Input.insertText', { text: '日本' });
    await waitForScreen(page, (text) => /\$ echo 日本\s*$/.test(text.trimEnd()), 'the composed word, once');
    await page.keyboard.press('Enter');
    await waitForScreen(page, (text) => /^日本\s*$/m.test(text), 'its echo');
  });
  state('the text grows and shrinks, and stays so', {}, async (page, go) => {
    await open(page, go);
    const before = await frontTerminal(page);
    for (let i = 0; i < 3; i++) await page.getByRole('button', { name: 'Larger text' }).click();
    await page.waitForFunction((cols) => document.querySelector('.panel:not([hidden]) .terminal').terminal.cols < cols, before.cols);
    const larger = await frontTerminal(page);
    await page.reload();
    await waitForOpen(page);
    assert.equal((await frontTerminal(page)).cols, larger.cols);
  });
  state('the colours follow the system while the shell runs', {}, async (page, go) => {
    await open(page, go);
    const background = () => page.evaluate(() => document.querySelector('.panel:not([hidden]) .terminal').terminal.options.theme.background);
    const seen = [];
    for (const media of [{ colorScheme: 'light' }, { colorScheme: 'dark' }, { colorScheme: 'dark', contrast: 'more' }]) {
      await page.emulateMedia(media);
      await until(async () => !seen.includes(await background()), 'another background');
      seen.push(await background());
    }
    assert.equal(seen[2], '#000000');
    assert.equal(await page.evaluate(() => document.querySelector('.panel:not([hidden]) .terminal').terminal.options.minimumContrastRatio), 7);
  });
  state('the bell can be seen', {}, async (page, go, _shot, gateway) => {
    await open(page, go);
    await page.evaluate(() => {
      globalThis.rings = 0;
      new MutationObserver(() => (globalThis.rings += document.querySelectorAll('.rung').length)).observe(document.querySelector('.terminal-box'), { attributes: true });
    });
    await type(page, 'later bell');
    gateway.release();
    await page.waitForFunction(() => globalThis.rings > 0);
  });
  state('the scrollback is downloaded as text', {}, async (page, go) => {
    await open(page, go);
    await type(page, 'seq 500');
    await waitForScreen(page, (text) => /^500\s*$/m.test(text), '500');
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download the scrollback' }).click()]);
    assert.equal(download.suggestedFilename(), 'shell.txt');
    const lines = (await readFile(await download.path(), 'utf8')).split('\n');
    for (let i = 1; i <= 500; i++) assert.ok(lines.includes(String(i)), `line ${i}`);
  });
  state('screen reader mode puts the screen’s lines where a screen reader finds them', {}, async (page, go, shot) => {
    await open(page, go);
    await page.getByRole('button', { name: 'This session, its keys and settings' }).click();
    await page.getByLabel('Screen reader mode').check();
    await page.getByRole('button', { name: 'Close', exact: true }).click();
    await type(page, 'echo read-$((1+1))');
    await page.locator('.xterm-accessibility-tree').getByText('read-2', { exact: true }).waitFor();
    await shot('screen-reader');
  });
  state('the time until a hidden shell is closed can be set, and keeps to what makes sense', {}, async (page, go) => {
    await open(page, go);
    await page.getByRole('button', { name: 'This session, its keys and settings' }).click();
    const field = page.getByLabel('Close a shell whose tab has been hidden');
    await field.fill('120');
    await field.press('Tab');
    assert.equal(await page.evaluate(() => JSON.parse(localStorage.getItem('periscope.settings')).hiddenSeconds), 120);
    await field.fill('0');
    await field.press('Tab');
    assert.equal(await field.inputValue(), '120');
  });
  state('a paste cannot end its own bracket', {}, async (page, go) => {
    await open(page, go);
    await page.waitForFunction(() => document.querySelector('.panel:not([hidden]) .terminal').terminal.modes.bracketedPasteMode);
    await paste(page, 'echo harmless\x1b[201~\recho evil-$((1+1))\r');
    await waitForScreen(page, (text) => text.includes('echo evil'), 'the pasted text');
    assert.doesNotMatch(await screenText(page), /^evil-2/m);
  });
  state('on a phone a shell is opened, typed into, pasted into and closed', { page: { width: 390, height: 760, hasTouch: true, isMobile: true, permissions: ['clipboard-read', 'clipboard-write'] } }, async (page, go, shot, gateway) => {
    await go('/clusters/modern/pods/default/sidecar');
    await page.locator('#open-shell').tap();
    await waitForOpen(page);
    await type(page, 'ls');
    await waitForScreen(page, (text) => text.includes('README'), 'README');
    await page.evaluate(() => navigator.clipboard.writeText('echo pasted-$((1+1))'));
    await page.getByRole('button', { name: 'Paste' }).tap();
    await waitForScreen(page, (text) => text.includes('echo pasted-'), 'the pasted text');
    await page.keyboard.press('Enter');
    await waitForScreen(page, (text) => /^pasted-2\s*$/m.test(text), 'its echo');
    // A key with Ctrl, from the bar: the fake shell drops its line.
    await page.keyboard.type('echo never');
    await page.getByRole('button', { name: 'Ctrl', exact: true }).tap();
    await page.keyboard.type('c');
    await waitForScreen(page, (text) => /echo never\^C/.test(text), '^C');
    assert.equal(await page.getByRole('button', { name: 'Ctrl', exact: true }).getAttribute('aria-pressed'), 'false');
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, 'nothing is wider than the phone');
    await shot('phone-keys');
    await page.getByRole('button', { name: 'Close sidecar · app' }).tap();
    await page.getByRole('button', { name: 'End the shell' }).tap();
    await page.getByRole('heading', { name: 'sidecar', level: 1 }).waitFor();
    await until(() => gateway.sessions.size === 0, 'the end of the session');
  });
  state('where the clipboard is not handed over a phone still pastes, into a field', { page: { width: 390, height: 760, hasTouch: true, isMobile: true } }, async (page, go, shot) => {
    await page.addInitScript(() => Object.defineProperty(Clipboard.prototype, 'readText', { value: () => Promise.reject(new Error('no')) }));
    await open(page, go);
    await page.getByRole('button', { name: 'Paste' }).tap();
    await page.getByLabel('Text to paste').fill('echo by-hand-$((1+1))');
    await shot('phone-paste');
    await page.getByRole('button', { name: 'Send to the shell' }).tap();
    await waitForScreen(page, (text) => text.includes('echo by-hand-'), 'the pasted text');
  });
}
