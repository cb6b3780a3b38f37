#!/usr/bin/env node
/**
 * Every test that docs/guide-coverage.md names has run and passed in the parts whose output is in a folder: a test that exists, but is
 * skipped, filtered out or no longer called by any part, shows nothing. Exits with 1 at any finding.
 *
 * Usage: check-ran.mjs FOLDER, the folder that run-parts.sh wrote.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { page, rows } from './guide-coverage.mjs';

const folder = resolve(process.argv[2] ?? '');
if (process.argv.length !== 3 || !existsSync(folder)) {
  console.error(`guide: ${folder} holds no output of a run; \`make test\` writes it`);
  process.exit(2);
}
process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'));

const passed = new Set();
const parts = readdirSync(folder).filter((name) => name.endsWith('.log'));
for (const part of parts) {
  const text = readFileSync(join(folder, part), 'utf8').replace(/\u001b\[[0-9;]*m/g, '');
  for (const line of text.split('\n')) passed.add(testOf(line));
  // With `--nocapture` what a test prints stands between its name and its verdict.
  for (const [, name, verdict] of text.matchAll(/^test (\S+) \.\.\. (?!ok$|FAILED$|ignored)[\s\S]*?^(ok|FAILED)$/gm)) {
    if (verdict === 'ok') passed.add(lastOf(name));
  }
}
passed.delete(undefined);

const findings = [];
let count = 0;
for (const { promise, names } of rows()) {
  for (const name of names) {
    count += 1;
    if (!passed.has(name)) findings.push(`${page}: \`${name}\` did not pass in this run, and is to show "${promise}"`);
  }
}
if (count === 0) findings.push(`${page}: names no test`);
for (const finding of findings) console.error(finding);
console.log(`guide: ${count - findings.length} of ${count} named tests passed in this run (${passed.size} tests of ${parts.length} parts)`);
process.exit(findings.length === 0 ? 0 : 1);

/** The test that this line of output says has passed. */
function testOf(line) {
  const rust = /^test (\S+)(?: - should panic)? \.\.\. ok$/.exec(line);
  if (rust !== null) return lastOf(rust[1]);
  // Vitest: ` ✓ test/utf8.test.ts > suite > name 3ms`; the suites of the UI, the login and the chart: `ok name (12 ms)`.
  const vitest = /^ *✓ (?:.* > )?(.+?)(?: \d+ms)?$/.exec(line);
  if (vitest !== null) return vitest[1];
  return /^ok +(.+?)(?: \(\d+ ms\))?$/.exec(line)?.[1];
}

function lastOf(path) {
  return path.split('::').at(-1);
}
