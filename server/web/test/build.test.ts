import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';

/** Everything but what is fetched once a terminal is wanted: all pages together, though a visitor needs one or two. */
const FIRST_LOAD_BYTES = 200 * 1024;

const TERMINAL = /^(screen|workspace|addon-webgl)-/;

const dist = new URL('../dist/', import.meta.url);

test('what comes before the terminal weighs at most 200 KB gzipped', () => {
  expect(existsSync(dist), 'dist/ is missing: run `npm run build` first').toBe(true);
  const assets = readdirSync(new URL('assets/', dist));
  for (const part of ['screen', 'workspace', 'addon-webgl']) {
    expect(assets.some((name) => name.startsWith(`${part}-`)), `${part} is a chunk of its own`).toBe(true);
  }
  const files = ['index.html', 'icon.svg', ...assets.filter((name) => !TERMINAL.test(name)).map((name) => `assets/${name}`)];
  const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(new URL(name, dist))).length, 0);
  expect(bytes).toBeLessThanOrEqual(FIRST_LOAD_BYTES);
});

test('the page itself asks for nothing of the terminal', () => {
  const html = readFileSync(new URL('index.html', dist), 'utf8');
  const entry = /assets\/(index-[\w-]+\.js)/.exec(html)?.[1];
  expect(entry).toBeDefined();
  const script = readFileSync(new URL(`assets/${entry}`, dist), 'utf8');
  const imported = [...script.matchAll(/(?:^|;)import[^"']*["']\.\/([\w-]+)\.js["']/g)].map((match) => match[1] ?? '');
  expect(imported.filter((name) => TERMINAL.test(name))).toEqual([]);
});
