/** The gateway's JSON API, from the same origin. */

import type { ActiveSession, GatewayError } from './protocol.ts';
import { isTransientCode } from './reconnect.ts';

export interface Cluster {
  name: string;
  backend: string;
  region?: string | null;
  arn?: string | null;
  execEnabled: boolean;
}

export interface ClusterDetail extends Cluster {
  reachable: boolean;
  serverVersion?: string | null;
}

export interface Namespace {
  name: string;
}

export interface Container {
  name: string;
  image: string;
  kind: 'container' | 'init' | 'ephemeral';
  state: string;
  ready: boolean;
  restarts: number;
}

export interface Pod {
  name: string;
  namespace: string;
  phase: string;
  reason?: string | null;
  node?: string | null;
  createdAt?: string | null;
  containers: Container[];
}

export interface PodDetail extends Pod {
  defaultContainer?: string | null;
}

export interface LiveSession extends ActiveSession {
  actor: string;
  transport: string | null;
  state: string;
  idleSeconds: number | null;
}

export interface Identity {
  sub: string;
  email?: string | null;
  groups: string[];
  tier?: string | null;
  auditScope: string;
  mode: string;
  expiresAt?: string | null;
}

/** A refusal of the gateway, or `E_GATEWAY` when what answered was not the gateway's JSON. */
export class ApiError extends Error {
  readonly status: number;
  readonly detail: GatewayError;

  constructor(status: number, detail: GatewayError) {
    super(detail.message);
    this.name = 'ApiError';
    this.status = status;
    this.detail = detail;
  }
}

const part = encodeURIComponent;

let unauthorized = (): void => undefined;

/** Calls back whenever the gateway answers that nobody is logged in. */
export function onUnauthorized(action: () => void): void {
  unauthorized = action;
}

export function listClusters(signal: AbortSignal): Promise<Cluster[]> {
  return getItems<Cluster>('/api/clusters', signal);
}

export function getCluster(cluster: string, signal: AbortSignal): Promise<ClusterDetail> {
  return request<ClusterDetail>('GET', `/api/clusters/${part(cluster)}`, { signal });
}

export function listNamespaces(cluster: string, signal: AbortSignal): Promise<Namespace[]> {
  return getItems<Namespace>(`/api/clusters/${part(cluster)}/namespaces`, signal);
}

/** The pods of a namespace, or of all of them. */
export function listPods(cluster: string, namespace: string | null, signal: AbortSignal): Promise<Pod[]> {
  const query = namespace === null ? '' : `?namespace=${part(namespace)}`;
  return getItems<Pod>(`/api/clusters/${part(cluster)}/pods${query}`, signal);
}

export function getPod(cluster: string, namespace: string, pod: string, signal?: AbortSignal): Promise<PodDetail> {
  return request<PodDetail>('GET', podPath(cluster, namespace, pod), signal === undefined ? {} : { signal });
}

/** Whether the user may open a shell in this namespace, as the cluster's own access review says. */
export function mayExec(
  cluster: string,
  namespace: string,
  signal: AbortSignal,
): Promise<{ allowed: boolean; reason?: string | null }> {
  const body = { verb: 'create', resource: 'pods/exec', namespace };
  return request('POST', `/api/clusters/${part(cluster)}/can-i`, { signal, body });
}

export function whoami(signal: AbortSignal): Promise<Identity> {
  return request<Identity>('GET', '/api/auth/whoami', { signal });
}

/** The sessions one may see: one's own, or everybody's for audit administrators. */
export function listSessions(signal: AbortSignal): Promise<LiveSession[]> {
  return getItems<LiveSession>('/api/sessions', signal);
}

/** Ends a session. One that is already gone counts as ended. */
export async function endSession(id: string): Promise<void> {
  try {
    await request('DELETE', `/api/sessions/${part(id)}`, {});
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

/** Ends this login, and with it its shells. Resolves to where the provider's own login is ended, if there is such a place. */
export async function logout(): Promise<string | null> {
  const { logoutUrl } = await request<{ logoutUrl: string | null }>('POST', '/api/auth/logout', { body: {} });
  return logoutUrl;
}

export function podPath(cluster: string, namespace: string, pod: string): string {
  return `/api/clusters/${part(cluster)}/pods/${part(namespace)}/${part(pod)}`;
}

/** What the exec request would be answered, as far as the gateway can tell without opening a shell. */
export async function dryRunExec(path: string): Promise<GatewayError | null> {
  try {
    await request('GET', path, {});
    return null;
  } catch (error) {
    if (error instanceof ApiError) return error.detail;
    throw error;
  }
}

async function getItems<T>(path: string, signal: AbortSignal): Promise<T[]> {
  const list = await request<{ items: T[] }>('GET', path, { signal });
  return list.items;
}

async function request<T>(method: string, path: string, options: RequestOptions): Promise<T> {
  const response = await answer(method, path, options);
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

interface RequestOptions {
  signal?: AbortSignal;
  body?: unknown;
}

/** The answer, if it is a good one; every other is thrown as an `ApiError`. */
export async function answer(method: string, path: string, options: RequestOptions): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  const init: RequestInit = { method, headers, credentials: 'same-origin', cache: 'no-store' };
  if (options.signal !== undefined) init.signal = options.signal;
  if (options.body !== undefined) {
    headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  const response = await fetch(path, init);
  if (response.ok) return response;
  if (response.status === 401) unauthorized();
  throw await refusal(response);
}

async function refusal(response: Response): Promise<ApiError> {
  const text = await response.text();
  let body: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) body = value as Record<string, unknown>;
  } catch {
    // A proxy's page. The status is all there is to tell.
  }
  return new ApiError(response.status, gatewayError(response.status, body, response.headers.get('Retry-After')));
}

/** The error in a JSON body. Exported for tests. */
export function gatewayError(
  status: number,
  body: Record<string, unknown>,
  retryAfter: string | null,
): GatewayError {
  const known = typeof body['error'] === 'string';
  const code = known ? (body['error'] as string) : 'E_GATEWAY';
  const error: GatewayError = {
    code,
    message: typeof body['message'] === 'string' ? body['message'] : known ? '' : `HTTP status ${status}`,
    retryable: isTransientCode(code),
  };
  const seconds = retryAfter === null ? NaN : Number(retryAfter);
  if (Number.isFinite(seconds) && seconds >= 0) error.retryAfterSeconds = seconds;
  if (typeof body['limit'] === 'number') error.limit = body['limit'];
  if (typeof body['otherSessions'] === 'number') error.otherSessions = body['otherSessions'];
  const login = body['login'];
  if (typeof login === 'object' && login !== null) {
    const { provider } = login as { provider?: unknown };
    error.login = { provider: typeof provider === 'string' ? provider : null };
  }
  if (Array.isArray(body['activeSessions'])) error.activeSessions = body['activeSessions'] as ActiveSession[];
  return error;
}
