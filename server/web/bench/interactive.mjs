/**
 * How long a person waits: from a cold page to the echo of the first typed character, and from a key to its echo.
 *
 *     PERISCOPE_URL='http://127.0.0.1:8080/?token=…' node bench/interactive.mjs [PAGE]
 *
 * The gateway is that of a running `periscope demo`: TLS to its apiserver, access review, audit record, a real shell on a real
 * terminal. The reference is the same page on the fake gateway of the tests, which answers by itself. Both take turns, each time in a
 * browser without cache; the clock is the page's own. PERISCOPE_BENCH_ROUNDS (30) says how often. PAGE: where the table goes.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { openBrowser, openPage } from '../test/e2e/browser.mjs';
import { startFakeGateway } from '../test/fake-gateway.mjs';

const ROUNDS = Number(process.env.PERISCOPE_BENCH_ROUNDS ?? 30);
const KEYS = 40;
const BEGIN = '<!-- page: written by `make bench` -->';
const END = '<!-- page: end -->';
const url = process.env.PERISCOPE_URL;
assert.ok(url, 'PERISCOPE_URL is the address a demo prints');

/** Runs in the page, from its first moment on. Every time is in milliseconds since the navigation began. */
function watch(keys) {
  const { promise, resolve } = Promise.withResolvers();
  globalThis.measured = promise;
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const found = () => {
    const terminal = document.querySelector('.terminal-box > .terminal')?.terminal;
    if (terminal === undefined) requestAnimationFrame(found);
    else void measure(terminal).then(resolve);
  };
  async function measure(terminal) {
    const line = () => {
      const { active } = terminal.buffer;
      return active.getLine(active.baseY + active.cursorY)?.translateToString(true) ?? '';
    };
    /** When the terminal has taken in what makes this true. */
    const until = (test) =>
      new Promise((done) => {
        const look = () => {
          if (!test()) return;
          listener.dispose();
          done(performance.now());
        };
        const listener = terminal.onWriteParsed(look);
        look();
      });
    const prompt = await until(() => /[$#]\s*$/.test(line()));
    const before = terminal.buffer.active.cursorX;
    terminal.input('x');
    await until(() => terminal.buffer.active.cursorX === before + 1);
    // What is in the terminal's buffer is on the screen with the frame that follows.
    await new Promise((drawn) => requestAnimationFrame(drawn));
    const interactive = performance.now();
    const echoes = [];
    for (let key = 0; key < keys; key++) {
      await pause(15);
      const { cursorX } = terminal.buffer.active;
      const pressed = performance.now();
      terminal.input('x');
      echoes.push((await until(() => terminal.buffer.active.cursorX === cursorX + 1)) - pressed);
    }
    return { prompt, interactive, echoes };
  }
  found();
}

async function round(browser, { address, path }) {
  const { context, page } = await openPage(browser);
  try {
    // The cookie, without anything in the browser's cache.
    await context.request.get(address);
    await page.addInitScript(watch, KEYS);
    await page.goto(new URL(path, address).href);
    const { prompt, interactive, echoes } = await page.evaluate(() => globalThis.measured);
    return { prompt, interactive, echo: quantile(echoes, 0.5), slowEcho: quantile(echoes, 0.95) };
  } finally {
    await page.close();
    await context.close();
  }
}

function quantile(values, part) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

const gateway = await startFakeGateway({ startMilliseconds: 0 });
const browser = await openBrowser();
const peers = {
  periscope: { address: url, path: '/clusters/modern/pods/default/shell/exec', rounds: [] },
  reference: { address: gateway.url, path: '/clusters/modern/pods/default/shell/exec?container=shell', rounds: [] },
};
try {
  // The first round of each warms the browser, not the page.
  for (const peer of Object.values(peers)) await round(browser, peer);
  for (let n = 0; n < ROUNDS; n++) {
    for (const peer of Object.values(peers)) peer.rounds.push(await round(browser, peer));
  }
} finally {
  await browser.close();
  gateway.close();
}

const text = `## A page and its keys

From a cold page (no cache, the browser running) to a shell in Chromium ${browser.version()}, ${ROUNDS} rounds, both gateways by turns on one machine:
\`periscope demo\` with its apiserver behind TLS, access review, audit record and a real shell, and as the reference the same page on the fake
gateway of the tests, which answers by itself. Milliseconds; the difference is that of each round, its median and its range.

Machine: ${cpus()[0].model.trim()}, ${cpus().length} cores visible, Linux ${release()}, shared with other work while this ran.

| | periscope p50 | p95 | reference p50 | p95 | difference |
|---|--:|--:|--:|--:|--:|
${row('page to prompt', 'prompt')}
${row('page to the echo of the first key, drawn', 'interactive')}
${row('key to its echo in the terminal, median of a round', 'echo', 2)}
${row('the same, 95th percentile of a round', 'slowEcho', 2)}
`;
console.log(text);
const [, , file] = process.argv;
if (file !== undefined) {
  const [before, rest] = readFileSync(file, 'utf8').split(BEGIN);
  const after = rest?.split(END)[1];
  assert.ok(after !== undefined, `${file} has no marks`);
  writeFileSync(file, `${before}${BEGIN}\n\n${text}\n${END}${after}`);
}

function row(title, name, digits = 0) {
  const [ours, theirs] = Object.values(peers).map((peer) => peer.rounds.map((one) => one[name]));
  const difference = ours.map((value, n) => value - theirs[n]);
  const at = (values, part) => quantile(values, part).toFixed(digits);
  return `| ${title} | ${at(ours, 0.5)} | ${at(ours, 0.95)} | ${at(theirs, 0.5)} | ${at(theirs, 0.95)} | ${at(difference, 0.5)} (${at(difference, 0)} to ${at(difference, 1)}) |`;
}
