#!/usr/bin/env node
/**
 * Keeps the pages honest, and exits with 1 at any finding:
 *  - every direct dependency of every Cargo.toml, package.json and go.mod has its row in docs/dependencies.md, and no row is left over;
 *  - every error code and every close detail of core/src/code.rs is explained in docs/;
 *  - the README's example is the one in core/src/lib.rs, which the compiler checks;
 *  - every relative link in a Markdown file leads to a file, and every `#anchor` to a heading.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

import { page, rows } from './guide-coverage.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const findings = [];
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' })
  .split('\n')
  .filter((path) => path !== '' && existsSync(path));
const read = (path) => readFileSync(path, 'utf8');

checkDependencies();
checkCodes();
checkExample();
checkLinks();
checkCoverage();
for (const finding of findings) console.error(finding);
console.log(`docs: ${findings.length} finding(s)`);
process.exit(findings.length === 0 ? 0 : 1);

function checkDependencies() {
  const page = 'docs/dependencies.md';
  const rows = new Map();
  for (const line of read(page).split('\n')) {
    const row = /^\| `([^`]+)` \| (.+) \|$/.exec(line);
    if (row === null) continue;
    if (rows.has(row[1])) findings.push(`${page}: \`${row[1]}\` has two rows`);
    rows.set(row[1], row[2].trim());
  }
  const wanted = new Map();
  for (const manifest of tracked.filter((path) => /(^|\/)Cargo\.toml$/.test(path))) {
    // A crate outside the workspace (a fuzz crate) has its own metadata; `--no-deps` never resolves or downloads anything.
    const metadata = JSON.parse(
      execFileSync('cargo', ['metadata', '--no-deps', '--format-version', '1', '--offline', '--manifest-path', manifest], { encoding: 'utf8', maxBuffer: 1 << 26 }),
    );
    for (const { manifest_path, dependencies } of metadata.packages) {
      for (const { name, path } of dependencies) {
        if (path === undefined || path === null) wanted.set(name, manifest_path.slice(root.length + 1));
      }
    }
  }
  for (const manifest of tracked.filter((path) => /(^|\/)package\.json$/.test(path))) {
    const { dependencies = {}, devDependencies = {}, optionalDependencies = {} } = JSON.parse(read(manifest));
    for (const name of Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })) wanted.set(name, manifest);
  }
  for (const manifest of tracked.filter((path) => /(^|\/)go\.mod$/.test(path))) {
    for (const [, name] of read(manifest).matchAll(/^(?:require )?\t?([a-z][^\s()]*\.[^\s()]+) v\S+$/gm)) wanted.set(name, manifest);
  }
  for (const [name, manifest] of wanted) {
    if (!rows.has(name)) findings.push(`${page}: no reason is given for \`${name}\` (${manifest})`);
  }
  for (const [name, reason] of rows) {
    if (!wanted.has(name)) findings.push(`${page}: \`${name}\` is no longer a dependency`);
    if (reason.length < 10) findings.push(`${page}: the reason for \`${name}\` says nothing`);
  }
}

function checkCodes() {
  const text = tracked.filter((path) => /^docs\/.*\.md$/.test(path)).map(read).join('\n');
  const code = read('core/src/code.rs').split('#[cfg(test)]')[0];
  const names = new Set([...code.matchAll(/=>\s+\(?"(E_[A-Z_]+|[a-z]+(?:_[a-z]+)*)"/g)].map((match) => match[1]));
  if (names.size < 20) findings.push('core/src/code.rs: its codes are no longer found by tools/check-docs.mjs');
  for (const name of names) {
    if (!text.includes(`\`${name}\``)) findings.push(`docs/: \`${name}\` of core/src/code.rs is not explained`);
  }
}

function checkExample() {
  const documented = /^\/\/! ```\n([\s\S]*?)^\/\/! ```$/m.exec(read('core/src/lib.rs'))?.[1].replace(/^\/\/! ?/gm, '');
  const shown = /^```rust\n([\s\S]*?)^```$/m.exec(read('README.md'))?.[1];
  if (documented === undefined || documented !== shown) findings.push('README.md: its example is not the one in core/src/lib.rs');
}

function checkCoverage() {
  const rust = new Set();
  for (const path of tracked.filter((path) => /^(server|core|runtime-[a-z]+|fuzz)\/.*\.rs$/.test(path))) {
    // An attribute, perhaps more of them, and the function below: a helper that is no test proves nothing.
    for (const [, name] of read(path).matchAll(/#\[(?:tokio::)?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)/g)) rust.add(name);
  }
  const web = new Set();
  for (const path of tracked.filter((path) => /^server\/web\/test\/.*\.(ts|mjs)$/.test(path))) {
    for (const [, , name] of read(path).matchAll(/\b(?:it|test|state|suite\.test)\(\s*(['"`])(.+?)\1\s*,/g)) web.add(name);
  }
  for (const [, name] of read('tools/test-chart.mjs').matchAll(/^ *'([^']+)'\(\) \{$/gm)) web.add(name);
  const promises = rows();
  for (const { promise, names, isShown } of promises) {
    if (names.length === 0 && isShown) findings.push(`${page}: no test is named for "${promise}"`);
    for (const name of names) {
      if (!(name.includes(' ') ? web : rust).has(name)) findings.push(`${page}: there is no test \`${name}\``);
    }
  }
  if (promises.length < 40) findings.push(`${page}: its rows are no longer found by tools/check-docs.mjs`);
}

function checkLinks() {
  for (const page of tracked.filter((path) => path.endsWith('.md'))) {
    const prose = read(page).replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path, anchor] = target.split('#');
      const file = path === '' ? page : normalize(join(dirname(page), path));
      if (!existsSync(file)) findings.push(`${page}: the link ${target} leads nowhere`);
      else if (anchor !== undefined && file.endsWith('.md') && !anchors(read(file)).has(anchor)) findings.push(`${page}: ${target} has no such heading`);
    }
  }
}

function anchors(markdown) {
  const headings = [...markdown.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm)];
  return new Set(headings.map(([, heading]) => heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')));
}
