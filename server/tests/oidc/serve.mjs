/**
 * The web UI on `periscope serve`: real logins, a real database of audit records, real shells, processes that are stopped and killed.
 *
 *     PERISCOPE_PROGRAM=…/periscope PERISCOPE_CHROMIUM=/usr/bin/chromium npm run serve [-- WORDS]
 *
 * WORDS: only the tests whose name holds them. PERISCOPE_SCREENSHOTS names a folder for pictures. Exits with 1 if one test failed.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openBrowser } from '../../web/test/e2e/browser.mjs';
import { Suite } from '../../web/test/e2e/harness.mjs';
import { startSandbox } from './gateway.mjs';
import { endings } from './serve-endings.mjs';
import { lifetimes } from './serve-lifetimes.mjs';
import { people } from './serve-people.mjs';
import { onStage } from './stage.mjs';

const program = process.env.PERISCOPE_PROGRAM;
assert.ok(program, 'PERISCOPE_PROGRAM names the program');
const shots = process.env.PERISCOPE_SCREENSHOTS ?? '';
if (shots !== '') mkdirSync(shots, { recursive: true });

const suite = new Suite(process.argv.slice(2).join(' '));
const sandbox = await startSandbox(program);
const browser = await openBrowser();

/** Adds one test with a stage of its own. */
function scene(name, options, action) {
  suite.test(`serve: ${name}`, () => onStage({ program, kubeconfig: sandbox.kubeconfig, browser, ...options }, (stage) => action(stage, shoot)));
}

async function shoot(page, name) {
  if (shots === '') return;
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: join(shots, `serve-${name}-${colorScheme}.png`), caret: 'initial' });
  }
}

let failed;
try {
  people(scene);
  lifetimes(scene);
  endings(scene);
  failed = await suite.run();
} finally {
  await browser.close();
  await sandbox.stop();
}
process.exitCode = failed.length === 0 ? 0 : 1;
