/** What a test on `periscope serve` needs around it: a provider and a gateway of its own, and people with browsers. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accessibilityFindings, openPage } from '../../web/test/e2e/browser.mjs';
import { PATIENCE, freePort, startGateway } from './gateway.mjs';
import { startProvider } from './provider.mjs';

/** What the tests type into every shell, so that its answer differs from it; and what the shells answer. */
const TYPED = '$((1+1))';
const PRINTED = ['busy-2', 'alive-2', 'kept-2', 'before-2', 'during-2', 'after-2', 'by-hand-2', 'still-2', 'typed-0-2'];

const CLIENT_SECRET = 'only-a-test';

/** Who may do what. The group `visitors` comes in and has no tier. */
const AUTHORIZATION = {
  mode: 'tier',
  allowedGroups: ['devs', 'readers', 'visitors'],
  groupTiers: { devs: 'admin', readers: 'read' },
  auditAdminGroups: ['auditors'],
};

/**
 * Runs `action` with a stage that is taken down afterwards. `dev`: no login. `session` and `env` are the gateway's. The pages of
 * everybody on it must neither have a script error nor violate the policy.
 */
export async function onStage({ program, kubeconfig, browser, dev = false, session, env = {} }, action) {
  const folder = mkdtempSync(join(tmpdir(), 'periscope-serve-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const provider = dev ? null : await startProvider({ clientSecret: CLIENT_SECRET, redirectUrl: `${url}/api/auth/callback`, postLogoutRedirect: `${url}/signed-out` });
  const start = () =>
    startGateway(program, {
      port,
      issuer: provider?.issuer,
      kubeconfig,
      clientSecret: CLIENT_SECRET,
      postLogoutRedirect: `${url}/signed-out`,
      session,
      authorization: AUTHORIZATION,
      env: { PERISCOPE_AUDIT_ENABLED: 'true', PERISCOPE_AUDIT_DB_PATH: join(folder, 'audit.db'), ...env },
      folder,
    });
  const opened = [];
  const gateways = [await start()];
  const stage = {
    url,
    gateway: gateways[0],
    /** A new process in the place of one that has ended. */
    async restart() {
      stage.gateway = await start();
      gateways.push(stage.gateway);
    },
    /** Somebody's page; in oidc mode after the login. `path` is where the login leads to. */
    async person(name, path = '/', options = {}) {
      const one = await openPage(browser, options);
      one.page.setDefaultTimeout(PATIENCE);
      opened.push(one);
      await one.page.goto(url + path);
      if (!dev) {
        await one.page.waitForURL(`${provider.issuer}/**`);
        await sayName(one.page, name);
        await one.page.waitForURL(url + path);
      }
      return one.page;
    },
  };
  try {
    await action(stage);
    for (const { page, troubles } of opened) {
      if (!page.isClosed()) assert.deepEqual(await accessibilityFindings(page), []);
      assert.deepEqual(troubles, []);
    }
  } catch (error) {
    error.stack += `\nThe gateway said:\n${stage.gateway.said().split('\n').filter((line) => !/level=(trace|debug)/.test(line)).slice(-25).join('\n')}`;
    throw error;
  } finally {
    for (const { context } of opened) await context.close();
    const code = stage.gateway.ended() ? 0 : await stage.gateway.stop();
    provider?.close();
    const written = [...gateways.map((gateway) => gateway.said()), ...readdirSync(folder).map((name) => readFileSync(join(folder, name), 'latin1'))].join('\n');
    rmSync(folder, { recursive: true });
    assert.equal(code, 0, 'the gateway ends well');
    keepsToItself(written);
  }
}

/** Nothing that went through a shell is in the logs at level trace, the audit rows, the database or its journal. */
function keepsToItself(written) {
  for (const known of ['level=info msg=serve.listening', 'SQLite format 3']) assert.ok(written.includes(known), `what was written is all here: ${known}`);
  for (const payload of [TYPED, ...PRINTED]) assert.ok(!written.includes(payload), `${payload} was written`);
}

/** At the provider's door: says a name and comes back. */
async function sayName(page, name) {
  await page.getByLabel('Name').fill(name);
  await page.getByRole('button', { name: 'Log in' }).click();
}

/** An answer of the gateway in this browser: status and JSON. */
export function api(page, path, method = 'GET') {
  return page.evaluate(
    async ({ path, method }) => {
      const answer = await fetch(path, { method });
      return { status: answer.status, body: answer.status === 204 ? null : await answer.json() };
    },
    { path, method },
  );
}
