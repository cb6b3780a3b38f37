/**
 * A gateway made of make-believe, for working on the UI without a cluster: the routes the UI uses, the
 * frames of the exec endpoint, flow control that is checked, and pods that provoke every state.
 *
 *     npm run build && npm run fake-gateway        # http://127.0.0.1:8090
 *
 * It proves nothing about the real gateway. Development and tests only.
 */
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { WebSocketServer } from 'ws';
import { FakeShell } from './fake-shell.mjs';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "font-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const WINDOW = 256 * 1024;
const PER_USER = 5;

const now = Date.now();
const ago = (seconds) => new Date(now - seconds * 1000).toISOString();
const container = (name, more = {}) => ({ name, image: `registry.example/${name}:1.4.2`, kind: 'container', state: 'running', ready: true, restarts: 0, ...more });
const pod = (name, containers, more = {}) => ({ name, namespace: 'default', phase: 'Running', reason: null, node: 'node-a', createdAt: ago(93_784), containers, ...more });

const CLUSTERS = [
  { name: 'modern', backend: 'kubeconfig', region: null, arn: null, execEnabled: true },
  { name: 'old', backend: 'eks', region: 'eu-central-1', arn: 'arn:aws:eks:eu-central-1:123:cluster/old', execEnabled: true },
  { name: 'noexec', backend: 'in-cluster', region: null, arn: null, execEnabled: false },
];
const PODS = [
  pod('shell', [container('shell')]),
  { ...pod('sidecar', [container('app'), container('proxy', { restarts: 3 }), container('init', { kind: 'init', state: 'terminated', ready: false })]), defaultContainer: 'app' },
  pod('distroless', [container('distroless'), container('tools')]),
  pod('flood', [container('flood')]),
  pod('exits', [container('exits', { restarts: 41 })], { createdAt: ago(3_700) }),
  pod('pending', [container('pending', { state: 'waiting', ready: false })], { phase: 'Pending', reason: 'ImagePullBackOff', node: null, createdAt: ago(75) }),
  // Faults, one pod each.
  ...['idle', 'drain', 'drop', 'forbidden', 'unreachable', 'refused', 'killed'].map((name) => pod(name, [container('app')], { namespace: 'faults' })),
];

/** Starts it on a port (0: any free one). Resolves to `{url, sessions, violations, sent(), close()}`. */
export async function startFakeGateway({ port = 0, seed = 0 } = {}) {
  const sessions = new Map();
  const violations = [];
  const opens = new Map();
  let totalSent = 0;
  for (let i = 0; i < seed; i++) {
    const id = randomUUID();
    sessions.set(id, { id, cluster: 'old', namespace: 'default', pod: `worker-${i}`, container: 'app', startedAt: ago(600 * (i + 1)), end() {} });
  }

  /** The refusal for this exec request, as [status, body, headers], or null. */
  function admission(match) {
    const [, cluster, namespace, name] = match;
    const entry = CLUSTERS.find((one) => one.name === cluster);
    if (entry === undefined) return [404, { error: 'E_NOT_FOUND', message: `no cluster ${cluster}` }];
    if (!entry.execEnabled) return [403, { error: 'E_EXEC_DISABLED' }];
    if (sessions.size >= PER_USER) {
      const activeSessions = [...sessions.values()].map(({ end: _, ...facts }) => facts);
      return [429, { error: 'E_CAP_USER', message: 'too many sessions', limit: PER_USER, activeSessions }];
    }
    if (name === 'forbidden') return [403, { error: 'E_FORBIDDEN', message: 'pods/exec is forbidden' }];
    if (name === 'refused') {
      const times = (opens.get(name) ?? 0) + 1;
      opens.set(name, times);
      if (times < 5) return [429, { error: 'E_RATE_LIMIT', message: 'slow down' }, { 'Retry-After': '1' }];
    }
    if (namespace !== 'secret' && !PODS.some((one) => one.name === name && one.namespace === namespace)) return [404, { error: 'E_NOT_FOUND', message: `pod ${name} not found` }];
    return null;
  }

  const json = (response, status, body, headers = {}) => {
    response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
    response.end(status === 204 ? '' : JSON.stringify(body));
  };

  function api(request, response, url) {
    const path = url.pathname;
    if (request.method !== 'GET' && request.headers.origin !== `http://${request.headers.host}`) {
      violations.push(`${request.method} ${path} came with the Origin ${request.headers.origin}`);
      return json(response, 403, { error: 'E_ORIGIN', message: 'wrong origin' });
    }
    if (path === '/api/auth/whoami') return json(response, 200, { sub: 'dev@localhost', email: 'dev@localhost', groups: [], tier: null, auditScope: 'all', mode: 'shared', expiresAt: null });
    if (path === '/api/clusters') return json(response, 200, { items: CLUSTERS });
    let match = /^\/api\/sessions\/([^/]+)$/.exec(path);
    if (match && request.method === 'DELETE') {
      const session = sessions.get(match[1]);
      if (!session) return json(response, 404, { error: 'E_NOT_FOUND', message: 'no such session' });
      sessions.delete(match[1]);
      session.end();
      return json(response, 204, null);
    }
    match = EXEC.exec(path);
    if (match) {
      const refusal = admission(match);
      return refusal ? json(response, ...refusal) : json(response, 200, { ok: true });
    }
    match = /^\/api\/clusters\/([^/]+)(\/.*)?$/.exec(path);
    const cluster = CLUSTERS.find((one) => one.name === match?.[1]);
    if (!cluster) return json(response, 404, { error: 'E_NOT_FOUND', message: 'no such cluster' });
    const rest = match[2] ?? '';
    if (rest === '') return json(response, 200, { ...cluster, reachable: true, serverVersion: 'v1.36.0' });
    if (rest === '/namespaces') return json(response, 200, { items: ['default', 'faults', 'kube-system', 'secret'].map((name) => ({ name })) });
    if (rest === '/can-i') return json(response, 200, { allowed: cluster.execEnabled, reason: '' });
    if (path.includes('/pods/secret/') || url.searchParams.get('namespace') === 'secret') {
      return json(response, 403, { error: 'E_FORBIDDEN', message: 'pods is forbidden' });
    }
    if (rest === '/pods') return json(response, 200, { items: PODS.filter((one) => one.namespace === url.searchParams.get('namespace')) });
    match = /^\/pods\/([^/]+)\/([^/]+)$/.exec(rest);
    const found = PODS.find((one) => one.namespace === match?.[1] && one.name === match?.[2]);
    return found ? json(response, 200, found) : json(response, 404, { error: 'E_NOT_FOUND', message: 'no such pod' });
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://fake');
    if (url.pathname.startsWith('/api/')) return api(request, response, url);
    let file = normalize(join(DIST, url.pathname));
    if (!file.startsWith(DIST) || extname(file) === '' || !existsSync(file)) file = join(DIST, 'index.html');
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream', 'Content-Security-Policy': POLICY, 'Referrer-Policy': 'no-referrer' });
    createReadStream(file).pipe(response);
  });

  const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024 * 1024, perMessageDeflate: false });
  server.on('upgrade', (request, socket, head) => {
    const url = new URL(request.url, 'http://fake');
    const match = EXEC.exec(url.pathname);
    const refusal = match ? admission(match) : [404, {}];
    if (refusal || request.headers.origin !== `http://${request.headers.host}`) {
      const status = refusal ? refusal[0] : 403;
      socket.end(`HTTP/1.1 ${status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => serve(ws, match, url.searchParams));
  });

  function serve(ws, [, cluster, namespace, name], query) {
    const id = randomUUID();
    const size = { cols: Number(query.get('cols') ?? 80), rows: Number(query.get('rows') ?? 24) };
    const facts = { id, cluster, namespace, pod: name, container: query.get('container') ?? 'app', startedAt: new Date().toISOString() };
    const say = (frame) => ws.readyState === ws.OPEN && ws.send(JSON.stringify(frame));
    let sent = 0;
    let acknowledged = 0;
    let room = () => {};
    let over = false;

    const end = (closed, error, code = 1000) => {
      if (over) return;
      over = true;
      sessions.delete(id);
      room();
      if (error) say({ type: 'error', retryable: false, message: '', ...error });
      say({ type: 'closed', reason: 'client_close', detail: 'process_exit', exitCode: null, truncated: false, ...closed });
      ws.close(code);
    };
    sessions.set(id, { ...facts, end: () => end({ detail: 'user_close' }) });
    const gone = name === 'distroless' && facts.container === 'distroless';
    if (gone) return end({ reason: 'forced_close', detail: 'no_shell' }, { code: 'E_NO_SHELL', message: 'exec: "sh": executable file not found in $PATH' }, 1011);
    if (name === 'unreachable') return end({ reason: 'forced_close', detail: 'unreachable' }, { code: 'E_CLUSTER_UNREACHABLE', message: 'dial timed out', retryable: true }, 1011);

    const io = {
      alive: () => !over,
      size: () => size,
      exit: (code) => end({ exitCode: code }),
      async print(data) {
        const bytes = Buffer.from(data);
        for (let at = 0; at < bytes.length && !over; at += 16_384) {
          while (!over && query.get('flow') === 'ack' && sent - acknowledged >= WINDOW) await new Promise((resolve) => (room = resolve));
          const piece = bytes.subarray(at, at + 16_384);
          sent += piece.length;
          totalSent += piece.length;
          await new Promise((resolve) => ws.send(piece, { binary: true }, resolve));
        }
      },
    };
    let shell = null;
    let clearIdle = () => {};
    ws.on('message', (data, binary) => {
      if (binary) {
        clearIdle();
        if (data.length > 32 * 1024) violations.push(`a message of ${data.length} bytes`);
        void shell?.input(data);
        return;
      }
      const frame = JSON.parse(data.toString());
      if (frame.type === 'resize') Object.assign(size, { cols: frame.cols, rows: frame.rows });
      else if (frame.type === 'close') end({ detail: frame.reason === 'hidden' ? 'hidden' : 'user_close' });
      else if (frame.type === 'ack') {
        if (frame.bytes > sent) violations.push(`ack of ${frame.bytes}, sent ${sent}`);
        acknowledged = Math.max(acknowledged, frame.bytes);
        room();
      }
    });
    ws.on('close', () => {
      over = true;
      room();
      sessions.delete(id);
    });
    setTimeout(() => {
      say({
        type: 'hello', sessionId: id, cluster, namespace, pod: name, container: facts.container,
        command: ['sh', '-c', 'command -v bash >/dev/null 2>&1 && exec bash; exec sh'], tty: true,
        transport: cluster === 'old' ? 'spdy' : 'ws', subprotocol: cluster === 'old' ? 'v4.channel.k8s.io' : 'v5.channel.k8s.io',
        idleSeconds: 600, idleWarnSeconds: 30, heartbeatSeconds: 20, flow: query.get('flow') === 'ack' ? 'ack' : 'none',
        identity: { user: 'dev@localhost', groups: [] },
      });
      const motd = name === 'flood' ? '' : `Welcome to \x1b[1m${name}\x1b[0m, a container that is not there.\r\nSee https://example.com/docs for nothing at all.\r\n`;
      shell = new FakeShell(io, motd);
      if (name === 'flood') void shell.input(Buffer.from('yes\r'));
      if (name === 'exits') setTimeout(() => end({ exitCode: 3, truncated: null }), 800);
      if (name === 'killed') setTimeout(() => end({ reason: 'forced_close', detail: 'admin_kill', truncated: true }), 800);
      if (name === 'drop') setTimeout(() => ws.terminate(), 800);
      if (name === 'drain') {
        say({ type: 'drain', secondsRemaining: 4 });
        setTimeout(() => end({ reason: 'forced_close', detail: 'drain' }, { code: 'E_DRAIN', message: 'the gateway restarts', retryable: true }, 1001), 4000);
      }
      if (name === 'idle') {
        say({ type: 'idle_warn', secondsRemaining: 6 });
        const timer = setTimeout(() => end({ reason: 'server_idle', detail: 'idle' }, { code: 'E_IDLE', message: 'no byte for 600 s' }), 6000);
        clearIdle = () => {
          clearTimeout(timer);
          say({ type: 'idle_clear' });
          clearIdle = () => {};
        };
      }
    }, 150);
  }

  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    sessions,
    violations,
    /** Terminal bytes handed to all sockets so far. */
    sent: () => totalSent,
    close: () => {
      for (const client of sockets.clients) client.terminate();
      server.closeAllConnections();
      server.close();
    },
  };
}

const EXEC = /^\/api\/clusters\/([^/]+)\/pods\/([^/]+)\/([^/]+)\/exec$/;

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const gateway = await startFakeGateway({ port: Number(process.env.PORT ?? 8090) });
  console.log(gateway.url);
}
