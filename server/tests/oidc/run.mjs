/**
 * Logs into `periscope serve` through a real provider with a real browser, opens a shell, and leaves again.
 *
 *     PERISCOPE_PROGRAM=…/periscope PERISCOPE_CHROMIUM=/usr/bin/chromium npm test
 *
 * Exits with 1 at the first thing that is not as it should be.
 */
import assert from 'node:assert/strict';
import { openBrowser, type, waitForOpen, waitForScreen } from '../../web/test/e2e/browser.mjs';
import { PATIENCE, eventually, freePort, startGateway, startSandbox } from './gateway.mjs';
import { startProvider } from './provider.mjs';

const program = process.env.PERISCOPE_PROGRAM;
assert.ok(program, 'PERISCOPE_PROGRAM names the program');
const clientSecret = 'canary-client-secret';
const port = await freePort();
const postLogoutRedirect = `http://127.0.0.1:${port}/signed-out`;
const provider = await startProvider({ clientSecret, redirectUrl: `http://127.0.0.1:${port}/api/auth/callback`, postLogoutRedirect });
const sandbox = await startSandbox(program);
const settings = { port, issuer: provider.issuer, kubeconfig: sandbox.kubeconfig, clientSecret, postLogoutRedirect };
let gateway = await startGateway(program, settings);
const browser = await openBrowser();
const everything = [];

async function step(name, action) {
  const started = Date.now();
  try {
    await action();
    console.log(`ok   ${name} (${Date.now() - started} ms)`);
  } catch (error) {
    console.log(`FAIL ${name}`);
    console.error(gateway.said().split('\n').slice(-40).join('\n'));
    throw error;
  }
}

async function newPage() {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  return { context, page };
}

/** At the provider's door: says a name and comes back. */
async function sayName(page, name) {
  await page.getByLabel('Name').fill(name);
  await page.getByRole('button', { name: 'Log in' }).click();
}

/** A fresh browser that has logged in. */
async function logIn(name) {
  const { context, page } = await newPage();
  await page.goto(`${gateway.url}/api/auth/login`);
  await sayName(page, name);
  await page.waitForURL(`${gateway.url}/`);
  return { context, page };
}

/** An answer of the gateway in this browser: status and JSON. */
function api(page, path) {
  return page.evaluate(async (path) => {
    const answer = await fetch(path);
    return { status: answer.status, body: await answer.json() };
  }, path);
}

try {
  const { context, page } = await newPage();
  await step('a page leads to the provider and, after the login, back to where one was going', async () => {
    await page.goto(`${gateway.url}/clusters/modern/pods/default/shell`);
    await page.waitForURL(`${provider.issuer}/**`);
    await sayName(page, 'ann');
    await page.waitForURL(`${gateway.url}/clusters/modern/pods/default/shell`);
    await page.getByText('ann@example.com').first().waitFor();
    const { body } = await api(page, '/api/auth/whoami');
    assert.deepEqual({ ...body, expiresAt: null }, { sub: 'ann', email: 'ann@example.com', groups: ['devs'], tier: 'admin', auditScope: 'self', mode: 'tier', expiresAt: null });
  });
  await step('a shell opens under that identity', async () => {
    await page.locator('#open-shell').click();
    await waitForOpen(page);
    await type(page, 'echo canary-$((40+2))');
    await waitForScreen(page, (text) => /^canary-42\s*$/m.test(text), 'canary-42', PATIENCE);
    const start = await eventually('the start record', () => gateway.rows().find((row) => row.verb === 'pod.exec.session_start'));
    assert.equal(start.actor.sub, 'ann');
    assert.deepEqual([start.k8s_identity.user, start.k8s_identity.groups], ['ann', ['periscope-tier:admin']]);
  });
  let copied = '';
  await step('Sign out ends the shell, and the login at the provider', async () => {
    copied = (await context.cookies(gateway.url)).map(({ name, value }) => `${name}=${value}`).join('; ');
    await page.getByRole('button', { name: 'Sign out' }).first().click();
    await page.getByRole('dialog').getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Leave the provider' }).click();
    await page.waitForURL(postLogoutRedirect);
    const end = await eventually('the end record', () => gateway.rows().find((row) => row.verb === 'pod.exec.session_end'));
    assert.deepEqual([end.close_detail, end.ended_by], ['auth_expired', 'ann']);
    // Without its login at the provider the browser is asked for a name again.
    await page.goto(`${gateway.url}/api/auth/login`);
    await page.getByLabel('Name').waitFor();
  });
  await step('a copy of the cookie is worth nothing after that', async () => {
    assert.match(copied, /periscope_/);
    const answer = await fetch(`${gateway.url}/api/auth/whoami`, { headers: { Cookie: copied } });
    assert.equal(answer.status, 401);
    assert.equal((await answer.json()).error, 'E_AUTH');
  });
  await step('an answer with a state of somebody else is a page that says so', async () => {
    const answer = await page.goto(`${gateway.url}/api/auth/callback?code=x&state=${'0'.repeat(64)}`);
    assert.equal(answer.status(), 400);
    await page.getByText('login_not_begun').waitFor();
    await page.getByRole('link', { name: 'Log in again' }).click();
    await sayName(page, 'nobody');
    await page.getByText('refused_by_provider').waitFor();
    assert.ok(!(await page.content()).includes('canary'), 'the words of the provider are not shown');
  });
  await step('who is in no allowed group does not come in', async () => {
    const { context, page } = await newPage();
    await page.goto(`${gateway.url}/api/auth/login`);
    await sayName(page, 'stranger');
    await page.getByText('group_not_allowed').waitFor();
    await context.close();
  });
  await step('three hundred groups are one login', async () => {
    const { context, page } = await logIn('many');
    const { body } = await api(page, '/api/auth/whoami');
    assert.equal(body.groups.length, 300);
    assert.equal(body.tier, 'admin');
    assert.equal((await api(page, '/api/clusters/modern/namespaces')).status, 200);
    await context.close();
  });
  await step('a restart of the gateway costs one silent trip to the provider', async () => {
    const { context, page } = await logIn('ann');
    everything.push(gateway.said());
    assert.equal(await gateway.stop(), 0);
    gateway = await startGateway(program, settings);
    await page.goto(`${gateway.url}/clusters/modern`);
    await page.getByText('ann@example.com').first().waitFor();
    assert.equal(new URL(page.url()).origin, gateway.url);
    await context.close();
  });
  await step('new keys of the provider are found', async () => {
    provider.rotate();
    const { context } = await logIn('ann');
    await context.close();
  });
  await step('a token of the issuer is a login for programs, until somebody has touched it', async () => {
    const ask = async (resource) => {
      const body = new URLSearchParams({ grant_type: 'client_credentials', resource });
      const answer = await fetch(`${provider.issuer}/token`, { method: 'POST', body, headers: { Authorization: `Basic ${btoa('robot:robot-secret')}` } });
      const { access_token: token } = await answer.json();
      assert.ok(token, 'the provider gives a token');
      return token;
    };
    const status = async (token) => (await fetch(`${gateway.url}/api/clusters`, { headers: { Authorization: `Bearer ${token}` } })).status;
    const good = await ask('urn:periscope');
    assert.equal(await status(good), 200);
    assert.equal(await status(await ask('urn:other')), 401, 'for somebody else');
    const [header, claims] = good.split('.');
    assert.equal(await status(`${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.`), 401);
    assert.equal(await status(`${header}.${claims}.AAAA`), 401);
  });
  await step('neither secrets nor tokens nor what was typed is in anything the gateway wrote', async () => {
    everything.push(gateway.said());
    const said = everything.join('\n');
    assert.match(said, /login\.ok/);
    for (const secret of ['canary', 'eyJ', copied.split('=')[1]]) assert.ok(!said.includes(secret), `${secret} was written`);
  });
} finally {
  await browser.close();
  const code = await gateway.stop();
  provider.close();
  await sandbox.stop();
  assert.equal(code, 0, 'the gateway ends well');
}
