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
const SIGNED_OUT = { error: 'E_AUTH', message: 'log in first', login: { url: '/api/auth/login', provider: 'Example ID' } };
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
  ...['idle', 'drain', 'drop', 'dies', 'slow', 'forbidden', 'unreachable', 'refused', 'killed'].map((name) => pod(name, [container('app')], { namespace: 'faults' })),
];

/**
 * Starts it on a port (0: any free one). `seed` sessions are there already; `cluster` makes them the cluster's, not the user's.
 * `login` plays a login, or `{demo: true}` the lack of one, with an end and a way to log in: its `expiresAt` and `signedIn` may be changed while it runs, and its
 * `asked` counts whoami. `audit` false: no persistence; `auditScope` is what the audit log says of itself.
 * `startMilliseconds` is how long a shell takes to start. `pods` adds pods of the namespace `faults` by name, each with a `refusal` or an `end`, which comes before or after `hello`.
 */
export async function startFakeGateway({ port = 0, seed = 0, cluster: capCluster = false, login = null, audit = true, auditScope = 'all', pods = {}, startMilliseconds = 150 } = {}) {
  const sessions = new Map();
  const rows = auditRows();
  /** What was typed into the pod `dies`. */
  const typed = [];
  /** What waits for the test to say go on: the pod `slow` with its shell, `drain` and `idle` with their ends, `later` with its output. */
  let release = () => {};
  const released = new Promise((resolve) => (release = resolve));
  const violations = [];
  const opens = new Map();
  let totalSent = 0;
  for (let i = 0; i < seed; i++) {
    const id = randomUUID();
    sessions.set(id, { id, cluster: 'old', namespace: 'default', pod: `worker-${i}`, container: 'app', startedAt: ago(600 * (i + 1)), actor: i % 2 === 0 ? 'dev@localhost' : 'auth0|5f7c8ec7c33c6c004bbafe82', transport: 'ws', state: 'open', idleSeconds: 7 * i, end() {} });
  }

  /** The refusal for this exec request, as [status, body, headers], or null. */
  function admission(match) {
    const [, cluster, namespace, name] = match;
    if (login?.signedIn === false) return [401, SIGNED_OUT];
    const entry = CLUSTERS.find((one) => one.name === cluster);
    if (entry === undefined) return [404, { error: 'E_NOT_FOUND', message: `no cluster ${cluster}` }];
    if (!entry.execEnabled) return [403, { error: 'E_EXEC_DISABLED' }];
    if (sessions.size >= PER_USER) {
      const activeSessions = [...sessions.values()].map(({ id, cluster, namespace, pod, container, startedAt }) => ({ id, cluster, namespace, pod, container, startedAt }));
      if (capCluster) return [429, { error: 'E_CAP_CLUSTER', message: 'the cluster is full', limit: 50, activeSessions, otherSessions: 50 - activeSessions.length }];
      return [429, { error: 'E_CAP_USER', message: 'too many sessions', limit: PER_USER, activeSessions }];
    }
    if (pods[name] !== undefined) return pods[name].refusal ?? null;
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

  function auditPage(response, query) {
    if (!audit) return json(response, 404, { error: 'E_NOT_FOUND', message: 'audit persistence is off' });
    const known = ['verb', 'actor', 'outcome', 'cluster', 'namespace', 'pod', 'session', 'from', 'to', 'limit', 'offset'];
    for (const key of query.keys()) if (!known.includes(key)) violations.push(`audit was asked with ${key}`);
    const limit = Number(query.get('limit') ?? 100);
    const offset = Number(query.get('offset') ?? 0);
    if (!(limit >= 1 && limit <= 500)) return json(response, 400, { error: 'E_INVALID_REQUEST', message: `limit ${limit}` });
    if (query.has('from') && Number.isNaN(Date.parse(query.get('from')))) return json(response, 400, { error: 'E_INVALID_REQUEST', message: '`from` is no RFC 3339 time' });
    const is = (name, value) => !query.has(name) || query.get(name) === value;
    const found = rows.filter(
      (row) =>
        is('verb', row.verb) && is('outcome', row.outcome) && is('actor', row.actor.sub) && is('cluster', row.cluster) && is('namespace', row.namespace) &&
        is('pod', row.pod) && is('session', row.session_id) && (auditScope === 'all' || row.actor.sub === 'dev@localhost') &&
        (!query.has('from') || Date.parse(row.timestamp) >= Date.parse(query.get('from'))) && (!query.has('to') || Date.parse(row.timestamp) < Date.parse(query.get('to'))),
    );
    return json(response, 200, { items: found.slice(offset, offset + limit), total: found.length, limit, offset }, { 'X-Audit-Scope': auditScope });
  }

  function api(request, response, url) {
    const path = url.pathname;
    if (request.method !== 'GET' && request.headers.origin !== `http://${request.headers.host}`) {
      violations.push(`${request.method} ${path} came with the Origin ${request.headers.origin}`);
      return json(response, 403, { error: 'E_ORIGIN', message: 'wrong origin' });
    }
    if (path === '/api/auth/login' && login !== null) {
      login.logins = (login.logins ?? 0) + 1;
      if (login.works !== false) login.signedIn = true;
      const to = url.searchParams.get('returnTo') ?? '/';
      response.writeHead(302, { Location: /^\/(?![\/\\])/.test(to) ? to : '/' });
      return response.end();
    }
    if (login?.demo) return json(response, 401, { error: 'E_AUTH', message: 'the token is missing' });
    if (login !== null && login.signedIn === false) return json(response, 401, SIGNED_OUT);
    if (path === '/api/auth/logout' && login !== null) {
      login.signedIn = false;
      for (const session of sessions.values()) session.end('auth_expired');
      return json(response, 200, { logoutUrl: login.logoutUrl ?? null });
    }
    if (path === '/api/auth/whoami') {
      if (login !== null) login.asked = (login.asked ?? 0) + 1;
      return json(response, 200, { sub: 'dev@localhost', email: 'dev@localhost', groups: [], tier: null, auditScope, mode: 'shared', expiresAt: login?.expiresAt ?? null });
    }
    if (path === '/api/audit') return auditPage(response, url.searchParams);
    if (path === '/api/sessions') {
      const mine = [...sessions.values()].filter((one) => auditScope === 'all' || one.actor === 'dev@localhost');
      return json(response, 200, { items: mine.map(({ end: _, ...facts }) => facts) });
    }
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
    if (rest === '/pods') return json(response, 200, { items: PODS.filter((one) => !url.searchParams.has('namespace') || one.namespace === url.searchParams.get('namespace')) });
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
    const flow = ['ack', 'both'].find((known) => known === query.get('flow')) ?? 'none';
    let received = 0;
    let taken = 0;
    /** Input goes on to the shell; who asked for `flow=both` is told how much. */
    const goOn = async (data) => {
      await shell.input(data);
      taken += data.length;
      if (flow === 'both') say({ type: 'ack', bytes: taken });
    };
    const waiting = [];
    const room = () => {
      for (const go of waiting.splice(0)) go();
    };
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
    const fault = pods[name]?.end;
    sessions.set(id, {
      ...facts, actor: 'dev@localhost', transport: 'ws', state: 'open', idleSeconds: 0,
      end: (detail = 'user_close') =>
        detail === 'auth_expired'
          ? end({ reason: 'forced_close', detail, truncated: false }, { code: 'E_AUTH', message: 'the login has ended' }, 1008)
          : end({ detail }),
    });
    if (fault?.before) return end(fault.closed, fault.error, fault.code);
    const gone = name === 'distroless' && facts.container === 'distroless';
    if (gone) return end({ reason: 'forced_close', detail: 'no_shell' }, { code: 'E_NO_SHELL', message: 'exec: "sh": executable file not found in $PATH' }, 1011);
    if (name === 'unreachable') return end({ reason: 'forced_close', detail: 'unreachable' }, { code: 'E_CLUSTER_UNREACHABLE', message: 'dial timed out', retryable: true }, 1011);

    const io = {
      alive: () => !over,
      released,
      size: () => size,
      exit: (code) => end({ exitCode: code }),
      async print(data) {
        const bytes = Buffer.from(data);
        for (let at = 0; at < bytes.length && !over; at += 16_384) {
          while (!over && flow !== 'none' && sent - acknowledged >= WINDOW) await new Promise((resolve) => waiting.push(resolve));
          const piece = bytes.subarray(at, at + 16_384);
          sent += piece.length;
          totalSent += piece.length;
          await new Promise((resolve) => ws.send(piece, { binary: true }, resolve));
        }
      },
    };
    let shell = null;
    const early = [];
    let clearIdle = () => {};
    ws.on('message', (data, binary) => {
      if (binary) {
        // A gateway that has gone deaf: it takes what is typed, and nothing comes of it.
        if (name === 'dies') {
          typed.push(data.toString());
          if (typed.join('').includes('lost')) ws.terminate();
          return;
        }
        clearIdle();
        if (data.length > 32 * 1024) violations.push(`a message of ${data.length} bytes`);
        received += data.length;
        if (flow === 'both' && received - taken >= 64 * 1024) violations.push(`${received - taken} bytes of stdin on their way`);
        if (shell === null) early.push(data);
        else void goOn(data);
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
    (name === 'slow' ? released : new Promise((resolve) => setTimeout(resolve, startMilliseconds))).then(() => {
      say({
        type: 'hello', sessionId: id, cluster, namespace, pod: name, container: facts.container,
        command: ['sh', '-c', 'command -v bash >/dev/null 2>&1 && exec bash; exec sh'], tty: true,
        transport: cluster === 'old' ? 'spdy' : 'ws', subprotocol: cluster === 'old' ? 'v4.channel.k8s.io' : 'v5.channel.k8s.io',
        idleSeconds: 600, idleWarnSeconds: 30, heartbeatSeconds: 20, flow,
        identity: { user: 'dev@localhost', groups: [] },
      });
      const motd = name === 'flood' ? '' : `Welcome to \x1b[1m${name}\x1b[0m, a container that is not there.\r\nSee https://example.com/docs for nothing at all.\r\n`;
      shell = new FakeShell(io, motd);
      for (const data of early) void goOn(data);
      if (name === 'flood') void shell.input(Buffer.from('yes\r'));
      if (fault) setTimeout(() => end(fault.closed, fault.error, fault.code), 300);
      if (name === 'exits') setTimeout(() => end({ exitCode: 3, truncated: null }), 800);
      if (name === 'killed') setTimeout(() => end({ reason: 'forced_close', detail: 'admin_kill', truncated: true }), 800);
      if (name === 'drop') setTimeout(() => ws.terminate(), 800);
      if (name === 'drain') {
        say({ type: 'drain', secondsRemaining: 10 });
        void released.then(() => end({ reason: 'forced_close', detail: 'drain' }, { code: 'E_DRAIN', message: 'the gateway restarts', retryable: true }, 1001));
      }
      if (name === 'idle') {
        say({ type: 'idle_warn', secondsRemaining: 30 });
        void released.then(() => end({ reason: 'server_idle', detail: 'idle' }, { code: 'E_IDLE', message: 'no byte for 600 s' }));
        clearIdle = () => {
          say({ type: 'idle_clear' });
          clearIdle = () => {};
        };
      }
    });
  }

  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    sessions,
    violations,
    /** Lets go on what waits for it. */
    release: () => release(),
    /** Terminal bytes handed to all sockets so far. */
    sent: () => totalSent,
    close: () => {
      for (const client of sockets.clients) client.terminate();
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Sixty sessions of three people, some refused, newest first. */
function auditRows() {
  const people = ['dev@localhost', 'auth0|5f7c8ec7c33c6c004bbafe82', 'google-oauth2|117'];
  const rows = [];
  for (let i = 0; i < 60; i++) {
    const sub = people[i % 3];
    const start = {
      timestamp: ago(3600 * i + 900), verb: 'pod.exec.session_start', outcome: 'success', session_id: `0198c0de-0000-7000-8000-${String(i).padStart(12, '0')}`, request_id: `req-${i}`,
      actor: { sub, email: i % 3 === 2 ? null : `${sub.slice(0, 3)}@example.com`, groups: ['sre'] }, cluster: i % 2 ? 'old' : 'modern', namespace: 'default', pod: i % 5 ? 'shell' : 'sidecar', container: 'app',
      command: ['sh', '-c', 'exec bash'], tty: true, transport: i % 2 ? 'spdy' : 'ws', subprotocol: i % 2 ? 'v4.channel.k8s.io' : 'v5.channel.k8s.io', k8s_identity: { user: sub, groups: ['periscope-tier:write'], base: 'periscope' },
    };
    if (i % 7 === 6) {
      rows.push({ ...start, verb: 'pod.exec.session_denied', outcome: i % 2 ? 'denied' : 'failure', code: i % 2 ? 'E_FORBIDDEN' : 'E_CLUSTER_UNREACHABLE', count: i % 2 ? 4 : 1 });
      continue;
    }
    const killed = i % 11 === 5;
    rows.push({
      ...start, timestamp: ago(3600 * i), verb: 'pod.exec.session_end', started_at: start.timestamp, ended_at: ago(3600 * i), duration_ms: 900_000, exit_code: killed ? null : i % 3 === 1 ? 130 : 0,
      bytes_stdin: 120 + i, bytes_stdout: 34_567 + i, close_reason: killed ? 'forced_close' : 'client_close', close_detail: killed ? 'admin_kill' : 'process_exit', ended_by: killed ? 'dev@localhost' : null,
    });
    rows.push(start);
  }
  return rows.sort((a, b) => b.timestamp.localeCompare(a.timestamp));
}

const EXEC = /^\/api\/clusters\/([^/]+)\/pods\/([^/]+)\/([^/]+)\/exec$/;

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const gateway = await startFakeGateway({ port: Number(process.env.PORT ?? 8090) });
  console.log(gateway.url);
}
