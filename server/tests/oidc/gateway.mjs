/** A sandbox apiserver and `periscope serve` in front of it, as processes of their own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How long anything here may take. */
export const PATIENCE = 60_000;

/** Who may do what, unless a test says otherwise: the developers everything. */
const ADMINS = { mode: 'tier', allowedGroups: ['devs'], groupTiers: { devs: 'admin' } };

/** A port that is free right now. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export async function eventually(what, test) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await test();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`${what} did not happen in ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

class Process {
  constructor(program, args, env) {
    this.stdout = [];
    this.stderr = [];
    this.child = spawn(program, args, { env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface({ input: this.child.stdout }).on('line', (line) => this.stdout.push(line));
    createInterface({ input: this.child.stderr }).on('line', (line) => this.stderr.push(line));
    this.ended = once(this.child, 'exit');
  }

  /** Whether it has ended; if so, what it said is of interest. */
  check(what) {
    if (this.child.exitCode !== null) throw new Error(`${what} ended with ${this.child.exitCode}:\n${this.stderr.join('\n')}`);
  }

  /** Sends a signal and waits for the end: the exit code, or null where the signal itself was the end. */
  async stop(signal = 'SIGTERM') {
    this.child.kill(signal);
    const [code] = await this.ended;
    return code;
  }
}

/** `periscope demo`, of which only the apiservers are used. */
export async function startSandbox(program) {
  const demo = new Process(program, ['demo', '--listen', '127.0.0.1:0'], {});
  const line = await eventually('the start of the sandbox', () => {
    demo.check('periscope demo');
    return demo.stdout.find((said) => said.startsWith('export KUBECONFIG='));
  });
  return { kubeconfig: line.slice('export KUBECONFIG='.length), stop: () => demo.stop() };
}

/**
 * `periscope serve` on this port, with a login through this provider; without an `issuer`, in dev mode. `session` and
 * `authorization` are those parts of auth.yaml, `env` adds variables. Its files go into `folder`, which a later process may be given
 * again; without one it has its own for as long as it lives.
 */
export async function startGateway(program, { port, issuer, kubeconfig, clientSecret, postLogoutRedirect, session, authorization = ADMINS, env = {}, folder }) {
  const home = folder ?? mkdtempSync(join(tmpdir(), 'periscope-oidc-'));
  const clusters = join(home, 'clusters.yaml');
  const auth = join(home, 'auth.yaml');
  // JSON is YAML.
  writeFileSync(clusters, JSON.stringify({ clusters: [{ name: 'modern', backend: 'kubeconfig', kubeconfigPath: kubeconfig, kubeconfigContext: 'modern' }] }));
  const oidc = {
    issuer,
    clientID: 'periscope',
    clientSecret: '${OIDC_CLIENT_SECRET}',
    redirectURL: `http://127.0.0.1:${port}/api/auth/callback`,
    scopes: ['openid', 'email', 'groups'],
    audience: 'urn:periscope',
    postLogoutRedirect,
    providerName: 'The Provider',
  };
  if (issuer !== undefined) writeFileSync(auth, JSON.stringify({ oidc, session, authorization }));
  const login = issuer === undefined ? { PERISCOPE_AUTH_MODE: 'dev' } : { PERISCOPE_AUTH_MODE: 'oidc', PERISCOPE_AUTH_FILE: auth, OIDC_CLIENT_SECRET: clientSecret };
  const serve = new Process(program, ['serve'], {
    PERISCOPE_LISTEN: '127.0.0.1',
    PORT: String(port),
    PERISCOPE_CLUSTERS_FILE: clusters,
    PERISCOPE_LOG_LEVEL: 'trace',
    ...login,
    ...env,
  });
  const url = `http://127.0.0.1:${port}`;
  await eventually('the start of the gateway', async () => {
    serve.check('periscope serve');
    return fetch(`${url}/readyz`).then((answer) => answer.ok, () => false);
  });
  return {
    url,
    /** The audit rows so far. */
    rows: () => serve.stdout.map((line) => JSON.parse(line)),
    /** Everything it wrote. */
    said: () => [...serve.stdout, ...serve.stderr].join('\n'),
    ended: () => serve.child.exitCode !== null || serve.child.signalCode !== null,
    async stop(signal) {
      const code = await serve.stop(signal);
      if (folder === undefined) rmSync(home, { recursive: true });
      return code;
    },
  };
}
