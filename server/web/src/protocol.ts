/**
 * The conversation with the gateway over one WebSocket, without a socket, a clock or a DOM.
 *
 * Binary messages are terminal bytes. Text messages are one JSON object with a string `type`. Unknown
 * types and broken JSON are ignored, so that a newer gateway can say more than this client understands.
 */

export interface Hello {
  type: 'hello';
  sessionId: string;
  cluster: string;
  namespace: string;
  pod: string;
  container: string;
  command: string[];
  tty: boolean;
  transport: string;
  subprotocol: string;
  idleSeconds: number;
  idleWarnSeconds: number;
  heartbeatSeconds: number;
  flow: string;
  identity: { user: string; groups: string[] };
}

export interface ErrorFrame {
  type: 'error';
  code: string;
  message: string;
  retryable: boolean;
}

export interface Closed {
  type: 'closed';
  reason: string;
  detail: string;
  exitCode: number | null;
  truncated: boolean | null;
}

export type DownFrame =
  | Hello
  | ErrorFrame
  | Closed
  | { type: 'idle_warn'; secondsRemaining: number }
  | { type: 'idle_clear' }
  | { type: 'ack'; bytes: number }
  | { type: 'drain'; secondsRemaining: number };

export type UpFrame =
  | { type: 'resize'; cols: number; rows: number }
  | { type: 'close'; reason: 'user' | 'hidden' }
  | { type: 'ack'; bytes: number }
  | { type: 'eof' };

export function encodeFrame(frame: UpFrame): string {
  return JSON.stringify(frame);
}

/** The frame in a text message, or undefined for anything this client has no use for. */
export function decodeFrame(text: string): DownFrame | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const field = value as Record<string, unknown>;
  switch (field['type']) {
    case 'hello':
      return decodeHello(field);
    case 'idle_warn':
    case 'drain': {
      const secondsRemaining = number(field['secondsRemaining']);
      return secondsRemaining === null ? undefined : { type: field['type'], secondsRemaining };
    }
    case 'idle_clear':
      return { type: 'idle_clear' };
    case 'ack': {
      const bytes = number(field['bytes']);
      return bytes === null ? undefined : { type: 'ack', bytes };
    }
    case 'error':
      return {
        type: 'error',
        code: string(field['code']),
        message: string(field['message']),
        retryable: field['retryable'] === true,
      };
    case 'closed':
      return {
        type: 'closed',
        reason: string(field['reason']),
        detail: string(field['detail']),
        exitCode: number(field['exitCode']),
        truncated: typeof field['truncated'] === 'boolean' ? field['truncated'] : null,
      };
    default:
      return undefined;
  }
}

function decodeHello(field: Record<string, unknown>): Hello | undefined {
  if (typeof field['sessionId'] !== 'string') return undefined;
  const identity = (field['identity'] ?? {}) as Record<string, unknown>;
  return {
    type: 'hello',
    sessionId: field['sessionId'],
    cluster: string(field['cluster']),
    namespace: string(field['namespace']),
    pod: string(field['pod']),
    container: string(field['container']),
    command: strings(field['command']),
    tty: field['tty'] !== false,
    transport: string(field['transport']),
    subprotocol: string(field['subprotocol']),
    idleSeconds: number(field['idleSeconds']) ?? 0,
    idleWarnSeconds: number(field['idleWarnSeconds']) ?? 0,
    heartbeatSeconds: number(field['heartbeatSeconds']) ?? 0,
    flow: string(field['flow']),
    identity: { user: string(identity['user']), groups: strings(identity['groups']) },
  };
}

function string(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

/**
 * How many consumed bytes may go unannounced. An eighth of the gateway's 256 KiB window: seldom enough
 * to cost nothing, often enough that the window never closes on a terminal that keeps up.
 */
export const ACK_EVERY_BYTES = 32 * 1024;

/**
 * How much input may be on its way to the container. The gateway holds 64 KiB of it and then reads nothing more from
 * this browser, not even that output was digested: below that it always hears us, and a program that prints what it
 * reads cannot bring both directions to a stop.
 */
export const STDIN_AHEAD_BYTES = 48 * 1024;

/** `connecting`: no socket yet. `starting`: the gateway is on its way to the container. */
export type Phase = 'connecting' | 'starting' | 'open' | 'ended';

/** What went wrong, from an `error` frame or from the body of a refused request. */
export interface GatewayError {
  code: string;
  message: string;
  retryable: boolean;
  retryAfterSeconds?: number;
  limit?: number;
  activeSessions?: ActiveSession[];
  otherSessions?: number;
  /** Where a login begins, and at whom; absent where there is none, as in the demo. */
  login?: { provider: string | null };
}

export interface ActiveSession {
  id: string;
  cluster: string;
  namespace: string;
  pod: string;
  container: string;
  startedAt: string;
}

/** How an attempt ended. `reason` and `detail` are the gateway's, or `lost` with a detail of our own. */
export interface End {
  reason: string;
  detail: string;
  exitCode: number | null;
  truncated: boolean | null;
  error: GatewayError | null;
}

/** Details of the reason `lost`: ends the gateway had no chance to announce. */
export type LostDetail = 'connection_lost' | 'websocket_blocked' | 'gateway_unreachable' | 'refused';

/** One attempt at one shell. Tell it what the socket did; read what that means. */
export class ConsoleSession {
  phase: Phase = 'connecting';
  hello: Hello | null = null;
  /** When the session became usable, on the caller's clock, in milliseconds. */
  openedAt: number | null = null;
  /** When the gateway will end the session for idleness, while it is warning about that. */
  idleDeadline: number | null = null;
  /** When the gateway will stop, while it is draining. */
  drainDeadline: number | null = null;
  end: End | null = null;

  #error: GatewayError | null = null;
  #consumed = 0;
  #acknowledged = 0;
  #stdinSent = 0;
  #stdinTaken = 0;

  /** True once the socket has opened: from then on a command may have run. */
  get reachedGateway(): boolean {
    return this.#reachedGateway;
  }
  #reachedGateway = false;

  socketOpened(): void {
    if (this.phase !== 'connecting') return;
    this.#reachedGateway = true;
    this.phase = 'starting';
  }

  receiveText(text: string, now: number): void {
    const frame = decodeFrame(text);
    if (frame === undefined || this.phase === 'ended') return;
    switch (frame.type) {
      case 'hello':
        this.hello = frame;
        this.openedAt = now;
        this.phase = 'open';
        break;
      case 'idle_warn':
        this.idleDeadline = now + frame.secondsRemaining * 1000;
        break;
      case 'idle_clear':
        this.idleDeadline = null;
        break;
      case 'ack':
        this.#stdinTaken = Math.max(this.#stdinTaken, frame.bytes);
        break;
      case 'drain':
        this.drainDeadline = now + frame.secondsRemaining * 1000;
        break;
      case 'error':
        // Not fatal by itself: `closed` says when it is over, and the last error names the cause.
        this.#error = { code: frame.code, message: frame.message, retryable: frame.retryable };
        break;
      case 'closed':
        this.#finish({
          reason: frame.reason,
          detail: frame.detail,
          exitCode: frame.exitCode,
          truncated: frame.truncated,
          error: this.#error,
        });
        break;
    }
  }

  /** The terminal has digested `bytes` more. Returns the total to acknowledge, when it is time to. */
  consumed(bytes: number): number | undefined {
    this.#consumed += bytes;
    if (this.phase !== 'open' || (this.hello?.flow !== 'both' && this.hello?.flow !== 'ack')) return undefined;
    if (this.#consumed - this.#acknowledged < ACK_EVERY_BYTES) return undefined;
    this.#acknowledged = this.#consumed;
    return this.#consumed;
  }

  /** How much input may be sent now. Until `hello` says otherwise the gateway is taken to tell what it passed on. */
  get stdinRoom(): number {
    if (this.hello !== null && this.hello.flow !== 'both') return Infinity;
    return STDIN_AHEAD_BYTES - (this.#stdinSent - this.#stdinTaken);
  }

  stdinSent(bytes: number): void {
    this.#stdinSent += bytes;
  }

  /** The socket is gone after it had been open. Says nothing new if `closed` came first. */
  socketLost(): void {
    this.fail('connection_lost', this.#error);
  }

  /** The attempt ended without a `closed` frame. */
  fail(detail: LostDetail, error: GatewayError | null): void {
    if (this.phase === 'ended') return;
    // Only a shell that was up had output to lose.
    const truncated = this.phase === 'open' ? true : null;
    this.#finish({ reason: 'lost', detail, exitCode: null, truncated, error });
  }

  /** We said goodbye and the gateway did not answer. */
  left(detail: 'user_close' | 'hidden'): void {
    if (this.phase === 'ended') return;
    this.#finish({ reason: 'client_close', detail, exitCode: null, truncated: null, error: null });
  }

  #finish(end: End): void {
    this.phase = 'ended';
    this.idleDeadline = null;
    this.drainDeadline = null;
    this.end = end;
  }
}
