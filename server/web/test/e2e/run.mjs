/**
 * The UI in a real browser, one named test per promise.
 *
 *     PERISCOPE_URL='http://127.0.0.1:8080/?token=…' npm run e2e      # against a running `periscope demo`
 *     npm run build && npm run e2e                                    # against the fake gateway
 *
 * The URL may carry the demo's token. `npm run e2e -- WORDS` runs only the tests whose name holds the words.
 * Screenshots go to PERISCOPE_SCREENSHOTS, or nowhere. Exits with 1 if one test failed.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { startFakeGateway } from '../fake-gateway.mjs';
import { openBrowser } from './browser.mjs';
import { Suite } from './harness.mjs';
import { journey } from './journey.mjs';
import { real } from './real.mjs';
import { states } from './states.mjs';

const shots = process.env.PERISCOPE_SCREENSHOTS ?? '';
if (shots !== '') mkdirSync(shots, { recursive: true });

async function shoot(page, name) {
  if (shots !== '') await page.screenshot({ path: join(shots, `${name}.png`), caret: 'initial' });
}

const suite = new Suite(process.argv.slice(2).join(' '));
const browser = await openBrowser();
const url = process.env.PERISCOPE_URL;
let failed;
try {
  if (url !== undefined) {
    real(suite, browser, url, shoot);
    // One person's shells share one limit, so these take turns.
    failed = await suite.run(1);
  } else {
    for (const dark of [false, true]) {
      suite.test(`${dark ? 'dark' : 'light'}: the journey from the clusters to an exit code and back`, async () => {
        const gateway = await startFakeGateway();
        try {
          await journey(browser, gateway.url, dark, shoot);
          assert.deepEqual(gateway.violations, []);
        } finally {
          gateway.close();
        }
      });
    }
    states(suite, browser, shoot);
    failed = await suite.run();
  }
} finally {
  await browser.close();
}
process.exitCode = failed.length === 0 ? 0 : 1;
