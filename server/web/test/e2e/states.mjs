/** States that only the fake gateway can be made to show, each with its screenshot in light and dark. */
import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { startFakeGateway } from '../fake-gateway.mjs';
import { accessibilityFindings, openBrowser, openPage, paste, screenText, sttySize, type, until, waitForOpen, waitForScreen } from './browser.mjs';
import { lifecycle } from './lifecycle.mjs';
import { logins } from './login.mjs';
import { records } from './records.mjs';
import { tabs } from './tabs.mjs';
import { terminals } from './terminal.mjs';

const exec = (pod, container = 'app', namespace = 'faults') =>
  `/clusters/modern/pods/${namespace}/${pod}/exec?container=${container}`;

export function states(suite, browser, shoot) {
  /** Adds one state, on a gateway and a page of its own. Its pictures are taken, and judged by axe, in light and in dark. */
  const state = (name, options, action) =>
    suite.test(name, async () => {
      const gateway = await startFakeGateway(options);
      const own = options.webgl === true ? await openBrowser({ webgl: true }) : null;
      const { context, page, troubles } = await openPage(own ?? browser, options.page);
      let judged = false;
      try {
        const shot = async (shotName, { judge = true } = {}) => {
          judged ||= judge;
          for (const colorScheme of ['dark', 'light']) {
            await page.emulateMedia({ colorScheme });
            if (judge) assert.deepEqual(await accessibilityFindings(page), [], `axe has no serious finding in ${shotName}, ${colorScheme}`);
            await shoot(page, `${shotName}-${colorScheme}`);
          }
        };
        await action(page, (path) => page.goto(gateway.url + path), shot, gateway);
        if (!judged) assert.deepEqual(await accessibilityFindings(page), [], 'axe has no serious finding');
        assert.deepEqual(troubles, []);
        assert.deepEqual(gateway.violations, []);
      } finally {
        await context.close();
        await own?.close();
        gateway.close();
      }
    });
  lists(state);
  phone(state);
  ends(state);
  dialogs(state);
  terminal(state);
  bulk(state);
  terminals(state);
  lifecycle(state);
  tabs(state);
  records(state);
  logins(state);
}

function lists(state) {
  state('a cluster without exec says so in one line', {}, async (page, go, shot) => {
    await go('/clusters/noexec/pods/default/shell');
    await page.getByText('Shells are switched off').waitFor();
    assert.equal(await page.locator('#open-shell').count(), 0);
    await shot('pod-disabled');
  });
  state('a pending pod says why it has no shell', {}, async (page, go, shot) => {
    await go('/clusters/modern/pods/default/pending');
    await page.getByText('has not started yet').waitFor();
    assert.equal(await page.locator('#open-shell').count(), 0);
    await shot('pod-pending');
  });
  state('the chosen container is the one that is opened', {}, async (page, go) => {
    await go('/clusters/modern/pods/default/sidecar');
    await page.getByLabel('proxy').check();
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    assert.equal(new URL(page.url()).searchParams.get('container'), 'proxy');
  });
  state('an unknown cluster is an error one can act on', {}, async (page, go, shot) => {
    await go('/clusters/nowhere');
    await page.getByRole('alert').waitFor();
    await shot('not-found');
  });
  state('who may not list pods can go to one by name, and open a shell unseen', {}, async (page, go, shot) => {
    await go('/clusters/modern/namespaces/secret');
    await page.getByLabel('If you know the name').fill('hidden-pod');
    await shot('by-name');
    await page.keyboard.press('Enter');
    await page.getByText('You may not see this pod').waitFor();
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    assert.equal(new URL(page.url()).search, '');
  });
  state('a pod is found without knowing its namespace', {}, async (page, go, shot) => {
    await go('/clusters/modern');
    await page.getByRole('link', { name: 'Search the pods of all namespaces' }).click();
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('faults kill');
    await page.getByText('1 of').waitFor();
    await shot('all-pods');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'killed', level: 1 }).waitFor();
  });
  state('a list is walked with the arrows, Home and End, and Escape leads back to the filter', {}, async (page, go) => {
    await go('/clusters/modern/namespaces/default');
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    await page.keyboard.press('/');
    await page.keyboard.press('ArrowDown');
    assert.equal(await focused(), 'distroless');
    await page.keyboard.press('ArrowDown');
    assert.equal(await focused(), 'exits');
    await page.keyboard.press('End');
    assert.equal(await focused(), 'sidecar');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowUp');
    assert.equal(await page.evaluate(() => document.activeElement.type), 'search');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement.type), 'search');
  });
  state('the pods’ restarts and ages are told, and the containers’ too', {}, async (page, go) => {
    await go('/clusters/modern/namespaces/default');
    const row = page.getByRole('row', { name: /^exits/ });
    await row.getByText('41', { exact: true }).waitFor();
    await row.getByText(/^1h/).waitFor();
    await page.getByRole('link', { name: 'sidecar', exact: true }).click();
    await page.getByRole('row', { name: /proxy/ }).getByText('3', { exact: true }).waitFor();
    await page.getByText('Age 1d2h').waitFor();
  });
  state('a phone shows the list and the terminal', { page: { width: 390, height: 760, hasTouch: true, isMobile: true } }, async (page, go, shot) => {
    await go('/clusters/modern/namespaces/default');
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    await shot('phone-pods');
    await go('/clusters/modern/pods/default/sidecar');
    await page.locator('#open-shell').waitFor();
    await shot('phone-pod');
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    await type(page, 'ls');
    await waitForScreen(page, (text) => text.includes('README'), 'README');
    await shot('phone-terminal');
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, 'nothing is wider than the phone');
    await type(page, 'exit 1');
    await page.locator('.end-banner').waitFor();
    await shot('phone-end');
  });
}

function phone(state) {
  state('on a phone warnings, dialogs, sessions and records keep inside its width', { seed: 5, page: { width: 390, height: 760, hasTouch: true, isMobile: true } }, async (page, go, shot, gateway) => {
    const fits = async (name) => {
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, `${name} is wider than the phone`);
      await shot(`phone-${name}`);
    };
    await go('/sessions');
    await page.getByRole('row', { name: /worker-1/ }).waitFor();
    await fits('sessions');
    await go('/audit');
    await page.getByText('1 to 100 of 112').waitFor();
    await fits('audit');
    await go(exec('shell', 'shell', 'default'));
    await page.getByRole('dialog').getByText('already exec’d into').waitFor();
    await fits('cap-dialog');
    await page.getByRole('button', { name: 'Cancel' }).click();
    gateway.sessions.clear();
    await go(exec('idle'));
    await page.getByText('Press any key within').waitFor();
    await fits('idle-warning');
    await go(exec('unreachable'));
    await page.locator('.retry').waitFor();
    await fits('reconnecting');
    await go('/');
    await page.getByRole('link', { name: 'modern', exact: true }).waitFor();
    await fits('clusters');
  });
}

function ends(state) {
  state('an idle warning counts down and any key clears it', {}, async (page, go, shot) => {
    await go(exec('idle'));
    await page.getByText('Press any key within').waitFor();
    await shot('idle-warning');
    await page.keyboard.press('a');
    await page.getByText('Press any key within').waitFor({ state: 'detached' });
    await waitForOpen(page);
  });
  state('an idle end is final', {}, async (page, go, shot, gateway) => {
    await go(exec('idle'));
    await page.getByText('Press any key within').waitFor();
    gateway.release();
    await page.locator('.end-banner').getByText('Closed because nothing happened').waitFor();
    await shot('end-idle');
    assert.equal(gateway.sessions.size, 0);
    await page.getByRole('button', { name: 'Reconnect', exact: true }).waitFor();
  });
  state('a drain is counted down and followed by a reconnect', {}, async (page, go, shot, gateway) => {
    await go(exec('drain'));
    await page.getByText('This shell ends in').waitFor();
    await shot('drain');
    gateway.release();
    await waitForScreen(page, (text) => text.includes('── new shell ──'), 'a second shell');
  });
  state('attempts wait 0, 1, 3 and 8 s, and then for a click', {}, async (page, go, shot) => {
    let attempts = 0;
    page.on('websocket', () => attempts++);
    await page.clock.install();
    await go(exec('unreachable'));
    // The first follows at once.
    for (const [made, wait] of [[2, 1], [3, 3], [4, 8]]) {
      await page.locator('.retry').getByText(`Reconnecting in ${wait} s`).waitFor();
      assert.equal(attempts, made);
      if (wait === 8) await shot('reconnecting');
      await page.clock.fastForward(wait * 1000);
    }
    await page.getByRole('button', { name: 'Try again' }).waitFor();
    assert.equal(attempts, 5);
    assert.equal(await page.evaluate(() => document.querySelector('.panel:not([hidden]) .terminal-box > .terminal').terminal.buffer.active.getLine(0).translateToString(true)), '', 'attempts leave no trace on the screen');
  });
  state('a dropped connection is taken up again, with waits', {}, async (page, go) => {
    await go(exec('drop'));
    await page.getByText('Reconnecting in').first().waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('button', { name: 'Reconnect', exact: true }).waitFor();
  });
  state('Enter reconnects after the end', {}, async (page, go) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await type(page, 'exit 0');
    await page.locator('.end-banner').waitFor();
    await page.keyboard.press('Enter');
    await waitForOpen(page);
  });
  state('a final error is shown and not retried', {}, async (page, go, shot) => {
    let requests = 0;
    page.on('websocket', () => requests++);
    await go(exec('forbidden'));
    await page.locator('.end-banner').getByText('You may not open a shell here').waitFor();
    await shot('end-forbidden');
    await page.waitForTimeout(1500);
    assert.equal(requests, 1);
  });
  state('a rate limit is waited out by Retry-After', {}, async (page, go) => {
    await go(exec('refused'));
    await page.locator('.end-banner').getByText('Too many shells in a short time').waitFor();
    await waitForOpen(page);
  });
  state('an administrator’s end says that output is missing', {}, async (page, go, shot) => {
    await go(exec('killed'));
    await page.locator('.end-banner').getByText('An administrator ended this session').waitFor();
    await page.locator('.end-banner').getByText('The last part of the output is missing.').waitFor();
    await shot('end-killed');
  });
  state('an end that cannot know about lost output says so', {}, async (page, go, shot) => {
    await go(exec('exits', 'exits', 'default'));
    await page.locator('.end-banner').getByText('exited with code 3').waitFor();
    await page.locator('.end-banner').getByText('may be missing').waitFor();
    await shot('end-unsure');
  });
  state('a hidden and silent tab lets its shell go', {}, async (page, go, shot) => {
    await page.addInitScript(() => localStorage.setItem('periscope.settings', '{"hiddenSeconds":1}'));
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { value: true, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await page.locator('.end-banner').getByText('Closed while the tab was hidden').waitFor();
    await shot('end-hidden');
  });
}

function dialogs(state) {
  state('closing the tab of an open shell is a question first', {}, async (page, go, shot, gateway) => {
    await go('/clusters/modern/pods/default/shell');
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    await page.getByRole('button', { name: 'Close shell', exact: true }).click();
    await page.getByRole('dialog').getByText('end its shell?').waitFor();
    await shot('close-dialog');
    await page.getByRole('button', { name: 'Keep it' }).click();
    assert.equal(gateway.sessions.size, 1);
    await page.getByRole('button', { name: 'Close shell', exact: true }).click();
    await page.getByRole('button', { name: 'End the shell' }).click();
    await page.getByRole('heading', { name: 'shell', level: 1 }).waitFor();
    await until(() => gateway.sessions.size === 0, 'the end of the session');
  });
  state('too many shells: the dialog lists them and Disconnect makes room', { seed: 5 }, async (page, go, shot, gateway) => {
    await go(exec('shell', 'shell', 'default'));
    await page.getByRole('dialog').getByText('already exec’d into').waitFor();
    await shot('cap-dialog');
    await page.getByRole('button', { name: /^Disconnect worker-3/ }).click();
    await waitForOpen(page);
    assert.deepEqual([...gateway.sessions.values()].map((one) => one.pod).sort(), ['shell', 'worker-0', 'worker-1', 'worker-2', 'worker-4']);
  });
  state('no shell: the dialog offers the other container', {}, async (page, go, shot) => {
    await go(exec('distroless', 'distroless', 'default'));
    await page.getByRole('dialog').getByText('has no shell').waitFor();
    await shot('no-shell-dialog');
    await page.getByRole('button', { name: 'Open tools' }).click();
    await waitForOpen(page);
    assert.equal(new URL(page.url()).searchParams.get('container'), 'tools');
  });
  state('the session’s facts and keys are a click away', {}, async (page, go, shot, gateway) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.getByRole('button', { name: 'This session, its keys and settings' }).click();
    await page.getByRole('dialog').getByText([...gateway.sessions.keys()][0]).waitFor();
    await shot('session-info');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  });
  state('lines that would run at once are asked about', {}, async (page, go, shot) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await type(page, 'nobracket');
    await page.waitForFunction(() => !document.querySelector('.panel:not([hidden]) .terminal').terminal.modes.bracketedPasteMode);
    await paste(page, 'echo one\necho two\n');
    await page.getByRole('dialog').getByText('Paste 2 lines?').waitFor();
    await shot('paste-dialog');
    await page.getByRole('button', { name: 'Cancel' }).click();
    await paste(page, 'echo three\necho four\n');
    await page.getByRole('button', { name: 'Paste', exact: true }).click();
    const text = await waitForScreen(page, (screen) => /^four\s*$/m.test(screen), 'four');
    assert.doesNotMatch(text, /^two\s*$/m);
  });
}

/** In which cells the letters of a word that has a row for itself are drawn, measured on the page; null until it is drawn. */
function drawnCells(page, word) {
  return page.evaluate((wanted) => {
    const host = document.querySelector('.panel:not([hidden]) .terminal-box > .terminal');
    const screen = host.querySelector('.xterm-screen').getBoundingClientRect();
    const cell = screen.width / host.terminal.cols;
    const row = [...host.querySelectorAll('.xterm-rows > div')].find((one) => one.textContent.trim() === wanted);
    if (row === undefined) return null;
    const letters = [];
    const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      for (let at = 0; at < node.data.length; at++) {
        if (!wanted.includes(node.data[at])) continue;
        const range = document.createRange();
        range.setStart(node, at);
        range.setEnd(node, at + 1);
        const { left, right } = range.getBoundingClientRect();
        letters.push([node.data[at], Math.floor(((left + right) / 2 - screen.left) / cell)]);
      }
    }
    return [...wanted].map((letter) => letters.find(([one]) => one === letter)?.[1]);
  }, word);
}

function terminal(state) {
  state('wide, joined and right-to-left characters survive being cut anywhere', {}, async (page, go, shot) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await type(page, 'wide');
    await waitForScreen(page, (text) => text.includes('grüße 日本語 👩‍👩‍👧 עברית ✓'), 'the characters');
    await type(page, 'colours');
    await waitForScreen(page, (text) => text.includes('curly'), 'the colours');
    await shot('characters');
  });
  state('right-to-left letters are drawn in the cells where the buffer has them', {}, async (page, go) => {
    // What a graphics card draws cannot be measured; it is drawn cell by cell anyway.
    await page.addInitScript(() => localStorage.setItem('periscope.settings', '{"renderer":"dom"}'));
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    // Hebrew letters come from a font with widths of its own, Arabic ones from the terminal's.
    for (const word of ['עברית', 'سلامت']) {
      await type(page, `echo ${word}`);
      await waitForScreen(page, (text) => new RegExp(`^${word}\\s*$`, 'm').test(text), word);
      await until(async () => (await drawnCells(page, word)) !== null, `${word} on the page`);
      assert.deepEqual(await drawnCells(page, word), [...word].map((_, index) => index));
    }
  });
  state('text is found in the scrollback', {}, async (page, go, shot) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await type(page, 'seq 300');
    await waitForScreen(page, (text) => /^300\s*$/m.test(text), '300');
    await page.keyboard.press('Control+Shift+F');
    await page.keyboard.type('123');
    await page.getByText('1 of 1').waitFor();
    await shot('search');
    await page.keyboard.press('Escape');
    await page.keyboard.type('x');
    await waitForScreen(page, (text) => /\$ x\s*$/.test(text.trimEnd()), 'the focus back in the terminal');
  });
  state('a key leads out of the terminal', {}, async (page, go) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'TEXTAREA', 'Tab belongs to the shell');
    await page.keyboard.press('Control+Shift+E');
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'BUTTON');
  });
}

function bulk(state) {
  state('a flood leaves the page responsive and Ctrl-C ends it', {}, async (page, go, _shot, gateway) => {
    await go(exec('flood', 'flood', 'default'));
    await waitForOpen(page);
    for (let click = 1; click <= 6; click++) {
      const sent = gateway.sent();
      await page.getByRole('button', { name: click % 2 ? 'Larger text' : 'Smaller text' }).click();
      await until(() => gateway.sent() > sent + 1024 * 1024, 'another MiB after the click');
    }
    await page.locator('.panel:not([hidden]) .terminal textarea').focus();
    const before = gateway.sent();
    await page.keyboard.press('Control+C');
    await waitForScreen(page, (text) => /demo:\/app\$\s*$/.test(text.trimEnd()), 'the prompt after Ctrl-C');
    const after = gateway.sent() - before;
    assert.ok(after <= 4 * 1024 * 1024, `${after} bytes were sent after Ctrl-C`);
  });
  state('a paste of 2 MB arrives whole', {}, async (page, go) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.waitForFunction(() => document.querySelector('.panel:not([hidden]) .terminal').terminal.modes.bracketedPasteMode);
    await paste(page, `count ${'x'.repeat(2_000_000)}`);
    await type(page, '');
    await waitForScreen(page, (text) => /^2000000\s*$/m.test(text), 'the number of bytes', 60_000);
    assert.match(await screenText(page), /demo/);
  });
  state('more contrast is given where it is asked for', { page: { contrast: 'more' } }, async (page, go, shot) => {
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await type(page, 'colours');
    await waitForScreen(page, (text) => text.includes('curly'), 'the colours');
    await shot('contrast');
  });
  state('the graphics card may draw, too, and the first size is right', { webgl: true }, async (page, go, shot) => {
    await page.addInitScript(() => localStorage.setItem('periscope.settings', '{"renderer":"webgl"}'));
    const resizes = [];
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => typeof payload === 'string' && payload.includes('resize') && resizes.push(payload));
    });
    await go(exec('shell', 'shell', 'default'));
    await waitForOpen(page);
    await page.locator('[data-renderer=webgl]').waitFor();
    const { cols } = await sttySize(page, 'size');
    assert.equal(cols, await page.evaluate(() => document.querySelector('.panel:not([hidden]) .terminal').terminal.cols));
    assert.deepEqual(resizes, [], 'the size in the request was right already');
    await type(page, 'colours');
    await waitForScreen(page, (text) => text.includes('curly'), 'the colours');
    await shot('webgl');
  });
  state('the first load stays small', {}, async (page, go) => {
    const sizes = [];
    page.on('response', async (response) => {
      if (/\.(js|css|svg)$|\/$/.test(new URL(response.url()).pathname)) sizes.push(response.body().then((body) => gzipSync(body).length));
    });
    await go('/');
    await page.getByRole('link', { name: 'modern', exact: true }).waitFor();
    const total = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    console.log(`     first load: ${(total / 1024).toFixed(1)} KB gzipped in ${sizes.length} files`);
    assert.ok(total <= 200 * 1024);
  });
}
