/**
 * Against a real gateway, that of `periscope demo`, whose containers are processes of this machine: what only a real
 * shell behind a real terminal can prove.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { accessibilityFindings, frontTerminal, openPage, paste, screenText, sttySize, type, until, waitForOpen, waitForScreen } from './browser.mjs';
import { journey } from './journey.mjs';

/** What a page may still draw after Ctrl-C: the window, the gateway's queue, and what the sockets and the container hold. */
const AFTER_CTRL_C_BYTES = 4 * 1024 * 1024;

/** What a page may take of a flood for each frame that it comes to draw, on the average: a few windows of what may be on the way to it. */
const BYTES_PER_FRAME = 1024 * 1024;

/** How long the flood lasts, at least eight clicks; a minute or more for a measurement. */
const FLOOD_SECONDS = Number(process.env.PERISCOPE_FLOOD_SECONDS ?? 0);

/** Runs in the page: how many bytes have come, how many are known to be drawn, and how many were when Ctrl-C left. */
function countBytes() {
  const counted = { received: 0, drawn: 0, drawnAtCtrlC: 0 };
  globalThis.counted = counted;
  globalThis.WebSocket = class extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      this.addEventListener('message', ({ data }) => {
        if (typeof data !== 'string') counted.received += data.byteLength;
      });
    }
    send(data) {
      super.send(data);
      // The page acknowledges what its terminal has digested.
      if (typeof data === 'string') counted.drawn = JSON.parse(data).bytes ?? counted.drawn;
      else if (data.byteLength === 1 && data[0] === 3) counted.drawnAtCtrlC = counted.drawn;
    }
  };
}

/** Runs in the page: how often it comes to draw a frame, what keeps it from that, and how long a click waits for its effect. */
function watchFrames() {
  const gaps = [];
  const tasks = [];
  const clicks = [];
  let drawnBefore = 0;
  let mostBetweenFrames = 0;
  let last = 0;
  let began = 0;
  let drawnAtStart = 0;
  const frame = (now) => {
    gaps.push(now - last);
    mostBetweenFrames = Math.max(mostBetweenFrames, globalThis.counted.drawn - drawnBefore);
    last = now;
    drawnBefore = globalThis.counted.drawn;
    requestAnimationFrame(frame);
  };
  const sorted = (list) => list.toSorted((a, b) => a - b).map(Math.round);
  const spread = (list) => {
    const all = sorted(list);
    return `p50 ${all[all.length >> 1] ?? 0}, p95 ${all[Math.floor(all.length * 0.95)] ?? 0}, most ${all.at(-1) ?? 0} ms`;
  };
  globalThis.frames = {
    start() {
      new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration))).observe({ type: 'longtask' });
      new PerformanceObserver((list) => clicks.push(...list.getEntries().filter((one) => one.name === 'click').map((one) => one.duration))).observe({ type: 'event', durationThreshold: 16 });
      began = last = performance.now();
      drawnAtStart = drawnBefore = globalThis.counted.drawn;
      requestAnimationFrame(frame);
    },
    seen() {
      const seconds = ((performance.now() - began) / 1000).toFixed(0);
      const mib = ((globalThis.counted.drawn - drawnAtStart) / 1_048_576).toFixed(1);
      return {
        frames: gaps.length,
        bytes: globalThis.counted.drawn - drawnAtStart,
        text: `${seconds} s, ${mib} MiB drawn, at most ${(mostBetweenFrames / 1024).toFixed(0)} KiB between two frames; ${gaps.length} frames apart ${spread(gaps)}; ${tasks.length} tasks over 50 ms (${spread(tasks)}); ${clicks.length} clicks felt after ${spread(clicks)}`,
      };
    },
  };
}

export function real(suite, browser, url, shoot) {
  for (const dark of [false, true]) {
    suite.test(`${dark ? 'dark' : 'light'}: the journey from the clusters to an exit code and back`, () => journey(browser, url, dark, shoot));
  }
  /** Adds one test with a page of its own, already known to the gateway. */
  const test = (name, options, action) =>
    suite.test(name, async () => {
      const { context, page, troubles } = await openPage(browser, options);
      try {
        await page.goto(url);
        await page.getByRole('link', { name: 'modern', exact: true }).waitFor();
        // The shells of the test before count against the same limit until they have ended.
        const open = () => page.evaluate(async () => (await (await fetch('/api/sessions')).json()).items.length);
        await until(async () => (await open()) === 0, 'the end of earlier shells');
        await action(page, (path) => page.goto(new URL(path, url).href));
        assert.deepEqual(await accessibilityFindings(page), []);
        assert.deepEqual(troubles, []);
      } finally {
        await context.close();
      }
    });
  const open = async (page, go, pod = 'shell', cluster = 'modern') => {
    await go(`/clusters/${cluster}/pods/default/${pod}/exec`);
    await waitForOpen(page);
    await waitForScreen(page, (text) => /[$#]\s*$/.test(text.trimEnd()), 'a prompt');
  };

  test('10 MB of pasted lines arrive whole, by their checksum in the container', {}, async (page, go) => {
    await open(page, go);
    const line = 'Zürich 東京 👩‍👩‍👧 0123456789 abcdefghijklmnopqrstuvwxyz';
    const lines = Math.ceil(10_000_000 / (Buffer.byteLength(line) + 8));
    const text = Array.from({ length: lines }, (_, i) => `${String(i).padStart(6, '0')} ${line}`).join('\n');
    // A terminal sends Enter for each line's end.
    const arriving = Buffer.from(text.replaceAll('\n', '\r'));
    assert.ok(arriving.length >= 10_000_000);
    await type(page, `stty raw -echo; echo go-$((1+1)); head -c ${arriving.length} | sha256sum; stty sane`);
    await waitForScreen(page, (screen) => /^\s*go-2/m.test(screen), 'the sink');
    await paste(page, text);
    const { modes } = await frontTerminal(page);
    if (!modes.bracketedPasteMode) await page.getByRole('button', { name: 'Paste', exact: true }).click();
    const expected = createHash('sha256').update(arriving).digest('hex');
    await waitForScreen(page, (screen) => /[0-9a-f]{64}/.test(screen), 'a checksum', 180_000);
    assert.equal(/[0-9a-f]{64}/.exec(await screenText(page))[0], expected);
    await type(page, 'echo usable-$((1+1))');
    await waitForScreen(page, (screen) => /^\s*usable-2\s*$/m.test(screen), 'a usable shell');
  });

  test('a paste into a command that prints all it reads arrives whole, and its output too', {}, async (page, go) => {
    await open(page, go);
    const text = Array.from({ length: 60_000 }, (_, i) => `${String(i).padStart(6, '0')} both directions at once, and neither waits`).join('\n');
    const arriving = Buffer.from(text.replaceAll('\n', '\r'));
    await type(page, `stty raw -echo; echo go-$((1+1)); head -c ${arriving.length} | tee /dev/stderr | sha256sum; stty sane`);
    await waitForScreen(page, (screen) => /^\s*go-2/m.test(screen), 'the command');
    await paste(page, text);
    const { modes } = await frontTerminal(page);
    if (!modes.bracketedPasteMode) await page.getByRole('button', { name: 'Paste', exact: true }).click();
    const expected = createHash('sha256').update(arriving).digest('hex');
    await waitForScreen(page, (screen) => screen.includes(expected), 'the checksum of the paste', 120_000);
    await type(page, 'echo usable-$((1+1))');
    await waitForScreen(page, (screen) => /^\s*usable-2\s*$/m.test(screen), 'a usable shell');
  });

  test('yes leaves the page responsive, and after Ctrl-C at most 4 MiB more are drawn', {}, async (page, go) => {
    await page.addInitScript(countBytes);
    await page.addInitScript(watchFrames);
    await open(page, go);
    const drawn = () => page.evaluate(() => globalThis.counted.drawn);
    await type(page, 'yes');
    await until(async () => (await drawn()) > 512 * 1024, 'the flood');
    await page.evaluate(() => globalThis.frames.start());
    const began = Date.now();
    for (let click = 1; click <= 8 || Date.now() - began < FLOOD_SECONDS * 1000; click++) {
      const before = await drawn();
      const { cols } = await frontTerminal(page);
      await page.getByRole('button', { name: click % 2 ? 'Larger text' : 'Smaller text' }).click();
      await page.waitForFunction((old) => document.querySelector('.panel:not([hidden]) .terminal').terminal.cols !== old, cols);
      await until(async () => (await drawn()) > before + 256 * 1024, 'more output after the click');
    }
    const seen = await page.evaluate(() => globalThis.frames.seen());
    await page.locator('.panel:not([hidden]) .terminal textarea').focus();
    await page.keyboard.press('Control+C');
    await waitForScreen(page, (text) => /\^C[\s\S]*[$#]\s*$/.test(text.trimEnd()), 'the prompt after Ctrl-C', 60_000);
    const more = await page.evaluate(() => globalThis.counted.received - globalThis.counted.drawnAtCtrlC);
    console.log(`     ${seen.text}; ${(more / 1024).toFixed(0)} KiB were drawn after Ctrl-C`);
    // Counted, not timed: the page comes to draw a frame, and to hear its user, before it has taken much more of the flood.
    assert.ok(seen.bytes > 1024 * 1024 && seen.bytes / seen.frames <= BYTES_PER_FRAME, `${seen.bytes} bytes and ${seen.frames} frames`);
    assert.ok(more > 0 && more <= AFTER_CTRL_C_BYTES, `${more} bytes`);
  });

  for (const cluster of ['modern', 'legacy']) {
    test(`wide, joined and right-to-left text is in the terminal cell by cell, cut anywhere, on ${cluster}`, {}, async (page, go) => {
      await open(page, go, 'shell', cluster);
      const text = 'a日本👩‍👩‍👧שלום e\u0301ü✓';
      const bytes = [...Buffer.from(text)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`);
      // One write of the container per byte, so that most characters are cut.
      await type(page, `clear; for b in ${bytes.map((byte) => `'${byte}'`).join(' ')}; do printf "$b"; done; echo; echo done-$((1+1))`);
      await waitForScreen(page, (screen) => /^done-2\s*$/m.test(screen), 'the end of the text');
      const cells = await page.evaluate(() => {
        const { buffer } = document.querySelector('.panel:not([hidden]) .terminal').terminal;
        const end = buffer.active.length;
        for (let row = 0; row < end; row++) {
          const line = buffer.active.getLine(row);
          if (!line.translateToString(true).startsWith('a日')) continue;
          const found = [];
          for (let x = 0; x < line.length; x++) {
            const cell = line.getCell(x);
            if (cell.getWidth() > 0 && cell.getChars() !== '') found.push([cell.getChars(), cell.getWidth()]);
          }
          return found;
        }
        return [];
      });
      const narrow = (chars) => [...chars].map((char) => [char, 1]);
      assert.deepEqual(cells, [['a', 1], ['日', 2], ['本', 2], ['👩‍👩‍👧', 2], ...narrow('שלום'), [' ', 1], ['e\u0301', 1], ['ü', 1], ['✓', 1]]);
    });
  }

  test('the first size is right on the old transport, too', {}, async (page, go) => {
    await open(page, go, 'shell', 'legacy');
    const { rows, cols } = await frontTerminal(page);
    assert.deepEqual(await sttySize(page, 'first'), { rows, cols });
    await page.getByRole('button', { name: 'This session, its keys and settings' }).click();
    await page.getByRole('dialog').getByText(/^spdy \(v4\.channel\.k8s\.io\)$/).waitFor();
    await page.keyboard.press('Escape');
  });

  test('on a phone a shell is opened, typed into, pasted into and closed', { width: 390, height: 760, hasTouch: true, isMobile: true, permissions: ['clipboard-read', 'clipboard-write'] }, async (page, go) => {
    await go('/clusters/modern/pods/default/sidecar');
    await page.locator('#open-shell').tap();
    await waitForOpen(page);
    await type(page, 'echo typed-$((1+1))');
    await waitForScreen(page, (text) => /^typed-2\s*$/m.test(text), 'typed-2');
    await page.evaluate(() => navigator.clipboard.writeText('echo pasted-$((1+1))'));
    await page.getByRole('button', { name: 'Paste' }).tap();
    await waitForScreen(page, (text) => text.includes('echo pasted-'), 'the pasted text');
    await page.keyboard.press('Enter');
    await waitForScreen(page, (text) => /^pasted-2\s*$/m.test(text), 'pasted-2');
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390);
    await shoot(page, 'real-phone');
    await page.getByRole('button', { name: 'Close sidecar · app' }).tap();
    await page.getByRole('button', { name: 'End the shell' }).tap();
    await page.getByRole('heading', { name: 'sidecar', level: 1 }).waitFor();
  });

  test('the sixth shell is refused with a list, and its Disconnect makes room', {}, async (page, go) => {
    await open(page, go);
    for (let i = 2; i <= 5; i++) {
      await page.keyboard.press('Control+Shift+D');
      await page.locator('.tab-name', { hasText: `shell ${i}` }).waitFor();
      await waitForOpen(page);
    }
    await page.keyboard.press('Control+Shift+D');
    await page.getByRole('dialog').getByText('already exec’d into shell').waitFor();
    await shoot(page, 'real-cap-dialog');
    await page.getByRole('button', { name: /^Disconnect shell/ }).first().click();
    await waitForOpen(page);
    await type(page, 'echo sixth-$((1+1))');
    await waitForScreen(page, (text) => /^sixth-2\s*$/m.test(text), 'the sixth shell');
  });

  test('the sessions page lists the shell and ends it, and its tab says so', {}, async (page, go) => {
    await open(page, go, 'sidecar');
    await page.getByRole('link', { name: 'Sessions' }).click();
    await page.getByRole('button', { name: /^End the session in sidecar/ }).first().click();
    await page.getByRole('button', { name: 'End it' }).click();
    await page.getByRole('row', { name: /sidecar/ }).waitFor({ state: 'detached' });
    await page.goBack();
    await page.locator('.end-banner').getByText('client_close/user_close').waitFor();
  });

  test('a container without a shell leads to the dialog', {}, async (page, go) => {
    await go('/clusters/modern/pods/default/distroless/exec');
    await page.getByRole('dialog').getByText('has no shell').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.locator('.end-banner').getByText('E_NO_SHELL').waitFor();
  });

  test('a cluster without exec says so in one line, and its deep link, too', {}, async (page, go) => {
    await go('/clusters/locked/pods/default/shell');
    await page.getByText('Shells are switched off').waitFor();
    assert.equal(await page.locator('#open-shell').count(), 0);
    await go('/clusters/locked/pods/default/shell/exec');
    await page.locator('.end-banner').getByText('E_EXEC_DISABLED').waitFor();
  });

  test('the audit page tells of the shell just opened, or that no records are kept', {}, async (page, go) => {
    const kept = (await page.evaluate(async () => (await fetch('/api/audit?limit=1')).status)) === 200;
    if (!kept) {
      await go('/audit');
      await page.getByText('The audit log is not kept here').waitFor();
      return;
    }
    await open(page, go, 'sidecar');
    const records = () => page.evaluate(async () => (await (await fetch('/api/audit?verb=pod.exec.session_start&pod=sidecar')).json()).items.length);
    await until(async () => (await records()) > 0, 'the record of the start');
    await page.getByRole('link', { name: 'Audit' }).click();
    await page.getByRole('row', { name: /session_start.*sidecar/ }).first().waitFor();
    await page.getByText('You see everybody’s records').waitFor();
    await shoot(page, 'real-audit');
    await page.getByRole('link', { name: 'Session', exact: true }).first().click();
    await page.locator('.card').getByText('v5.channel.k8s.io').waitFor();
  });
}
