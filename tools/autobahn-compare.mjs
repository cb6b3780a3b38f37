#!/usr/bin/env node
/**
 * autobahn-compare.mjs REPORTS [--write]: compares the verdicts in REPORTS/{client,server}/index.json with
 * tools/autobahn-expected.json, or writes that file. A verdict is the case's behaviour, then how it closed where that
 * differs. A better verdict than expected is a finding too: write it down.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [reports, option] = process.argv.slice(2);
const page = join(dirname(fileURLToPath(import.meta.url)), 'autobahn-expected.json');
const ROLES = ['client', 'server'];

const found = Object.fromEntries(ROLES.map((role) => [role, verdicts(role)]));
if (option === '--write') {
  writeFileSync(page, `${JSON.stringify(found, null, 1)}\n`);
  process.exit(0);
}
const expected = JSON.parse(readFileSync(page, 'utf8'));
let findings = 0;
for (const role of ROLES) {
  const cases = new Set([...Object.keys(expected[role]), ...Object.keys(found[role])]);
  const tally = new Map();
  for (const id of cases) {
    const verdict = found[role][id] ?? 'not run';
    tally.set(verdict, (tally.get(verdict) ?? 0) + 1);
    if (verdict !== expected[role][id]) {
      findings += 1;
      console.error(`${role} ${id}: ${verdict}, expected ${expected[role][id] ?? 'no such case'}`);
    }
  }
  console.log(`autobahn, our ${role}: ${[...tally].map(([verdict, count]) => `${count} ${verdict}`).join(', ')}`);
}
console.log(`autobahn: ${findings} finding(s)`);
process.exit(findings === 0 ? 0 : 1);

function verdicts(role) {
  const index = JSON.parse(readFileSync(join(reports, role, 'index.json'), 'utf8'));
  const agents = Object.values(index);
  if (agents.length !== 1) throw new Error(`${role}: ${agents.length} agents in the report`);
  const numbers = (id) => id.split('.').map(Number);
  const order = ([left], [right]) => {
    const [a, b] = [numbers(left), numbers(right)];
    return a.map((part, index) => part - (b[index] ?? 0)).find((difference) => difference !== 0) ?? a.length - b.length;
  };
  const entries = Object.entries(agents[0]).map(([id, { behavior, behaviorClose }]) => [
    id,
    behavior === behaviorClose ? behavior : `${behavior}, closing ${behaviorClose}`,
  ]);
  return Object.fromEntries(entries.sort(order));
}
