/**
 * A shell as the page sees it: attempts, their sockets, input, flow control and reconnecting. It knows
 * no DOM; sockets, timers and the dry run come from outside, so that tests can play all of them.
 */

import { ConsoleSession, encodeFrame, type End, type GatewayError, type Hello } from '../protocol.ts';
import { nextAttempt } from '../reconnect.ts';
import { HiddenTimer } from './hidden.ts';
import { StdinQueue, Unanswered, together, type LostInput } from './stdin.ts';

/** The part of WebSocket that is used, so that a test can stand in for it. */
export interface ShellSocket {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: Event) => unknown) | null;
  onmessage: ((event: MessageEvent) => unknown) | null;
  onclose: ((event: CloseEvent) => unknown) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

/** What the same request answers without an upgrade. `reached` is false when nothing answered at all. */
export interface DryRun {
  reached: boolean;
  error: GatewayError | null;
}

export interface ShellHost {
  /** Opens a socket for a terminal of this size. */
  openSocket(cols: number, rows: number): ShellSocket;
  dryRun(): Promise<DryRun>;
  /** Draws output; `done` is called once the terminal has digested it. */
  write(bytes: Uint8Array, done: () => void): void;
  /** Something in `state` changed. */
  changed(): void;
  now(): number;
  after(milliseconds: number, action: () => void): () => void;
}

export interface ShellOptions {
  cols: number;
  rows: number;
  ownCommand: boolean;
  /** Asked anew each time, because the user may change it while the shell runs. */
  hiddenSeconds: () => number;
}

/** An end, and what the gateway said of the shell when it was open; null where it never was. */
export interface Told {
  end: End;
  hello: Hello | null;
}

export type Stage = 'connecting' | 'starting' | 'open' | 'waiting' | 'ended';

/** How often input that the socket had no room for is tried again; there is no event for it. */
const PUMP_MILLISECONDS = 10;

/** How long the gateway may take to say goodbye after we did. It answers within three seconds. */
const GOODBYE_MILLISECONDS = 4_000;

export class Shell {
  /** The current attempt, or the last one. */
  session = new ConsoleSession();
  /** When the next automatic attempt is due, while `stage` is `waiting`. */
  retryAt: number | null = null;
  /** What was typed or pasted and may never have reached a shell that ended. Kept until the user has taken note. */
  lost: LostInput | null = null;

  readonly #host: ShellHost;
  readonly #options: ShellOptions;
  readonly #stdin = new StdinQueue();
  readonly #unanswered = new Unanswered();
  readonly #hidden: HiddenTimer;
  #socket: ShellSocket | null = null;
  #made = 0;
  #cols: number;
  #rows: number;
  #sentCols = 0;
  #sentRows = 0;
  #stopRetry: (() => void) | null = null;
  #stopPump: (() => void) | null = null;
  #stopHidden: (() => void) | null = null;
  #stopGoodbye: (() => void) | null = null;
  #disposed = false;
  #lastByte = 0;
  /** Set once we asked to end the shell, so that its end is not taken for a drop. */
  #leaving: 'user_close' | 'hidden' | null = null;
  /** How the last shell that was open ended, until the user asks for another. */
  #cause: Told | null = null;

  constructor(host: ShellHost, options: ShellOptions) {
    this.#host = host;
    this.#options = options;
    this.#cols = options.cols;
    this.#rows = options.rows;
    this.#hidden = new HiddenTimer(options.hiddenSeconds, host.now());
  }

  get stage(): Stage {
    if (this.retryAt !== null) return 'waiting';
    return this.session.phase;
  }

  get end(): End | null {
    return this.session.end;
  }

  /** The end to tell of: while attempts go on by themselves, why they have to, not how the latest of them failed. */
  get told(): Told | null {
    if (this.stage === 'waiting' && this.#cause !== null) return this.#cause;
    const { end, hello } = this.session;
    return end === null ? null : { end, hello };
  }

  /** Whether the attempts to open a lost shell again met a login that was gone, as after a restart of the gateway. */
  get waitsForLogin(): boolean {
    const isAuth = (end: End | null): boolean => end?.error?.code === 'E_AUTH';
    return this.stage === 'ended' && isAuth(this.end) && this.#cause !== null && !isAuth(this.#cause.end);
  }

  /** Typed or pasted bytes that have not been handed to the socket. */
  get pendingInputBytes(): number {
    return this.#stdin.pendingBytes;
  }

  /** Whether there is a shell, or one on its way, that leaving would end. */
  get alive(): boolean {
    return this.stage !== 'ended';
  }

  /** When the gateway will end this shell unless a byte passes, or null where nothing is known about that. */
  get idleDeadline(): number | null {
    const { session } = this;
    if (session.phase !== 'open' || session.hello === null || session.hello.idleSeconds <= 0) return null;
    return session.idleDeadline ?? this.#lastByte + session.hello.idleSeconds * 1000;
  }

  /** Opens the shell, now, because the page or the user asked for it. */
  connect(): void {
    this.#made = 0;
    this.#cause = null;
    this.#attempt();
  }

  /** Takes input. It is kept while the shell starts; without a shell to come it is refused. */
  input(bytes: Uint8Array<ArrayBuffer>): boolean {
    if (this.stage === 'ended' || this.stage === 'waiting') return false;
    this.#stdin.push(bytes);
    this.#pump();
    return true;
  }

  resize(cols: number, rows: number): void {
    this.#cols = cols;
    this.#rows = rows;
    this.#announceSize();
  }

  visibility(hidden: boolean): void {
    this.#hidden.visibility(hidden, this.#host.now());
    this.#watchHidden();
  }

  /** Ends the shell on the user's wish and does not open it again. */
  disconnect(reason: 'user' | 'hidden' = 'user'): void {
    this.#cancelRetry();
    this.#leaving = reason === 'hidden' ? 'hidden' : 'user_close';
    const socket = this.#socket;
    if (socket === null || this.session.phase === 'connecting') {
      this.#leave(this.session);
      return;
    }
    socket.send(encodeFrame({ type: 'close', reason }));
    const session = this.session;
    this.#stopGoodbye ??= this.#host.after(GOODBYE_MILLISECONDS, () => {
      this.#leave(session);
    });
  }

  /** The page goes away: say goodbye without waiting for the answer. */
  dispose(): void {
    this.#disposed = true;
    if (this.#socket !== null && (this.session.phase === 'starting' || this.session.phase === 'open')) {
      this.#socket.send(encodeFrame({ type: 'close', reason: 'user' }));
    }
    this.#cancelRetry();
    this.#drop();
  }

  #leave(session: ConsoleSession): void {
    this.#drop();
    session.left(this.#leaving ?? 'user_close');
    this.#ended(session);
    this.#host.changed();
  }

  #attempt(): void {
    this.#cancelRetry();
    this.#drop();
    this.#leaving = null;
    this.#stdin.discard();
    this.#unanswered.forget();
    const session = new ConsoleSession();
    this.session = session;
    this.#sentCols = this.#cols;
    this.#sentRows = this.#rows;
    const socket = this.#host.openSocket(this.#cols, this.#rows);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      session.socketOpened();
      this.#announceSize();
      this.#pump();
      this.#host.changed();
    };
    socket.onmessage = (event) => {
      this.#receive(session, event.data);
    };
    socket.onclose = () => {
      this.#socketClosed(session);
    };
    this.#host.changed();
  }

  #receive(session: ConsoleSession, data: unknown): void {
    const now = this.#host.now();
    if (typeof data === 'string') {
      const before = session.phase;
      session.receiveText(data, now);
      if (before !== 'open') this.#lastByte = now;
      if (session.phase === 'ended') this.#ended(session);
      else this.#watchHidden();
      // `hello` and `ack` make room.
      this.#pump();
      this.#host.changed();
      return;
    }
    if (!(data instanceof ArrayBuffer)) return;
    this.#hidden.activity(now);
    this.#lastByte = now;
    this.#unanswered.forget();
    const bytes = new Uint8Array(data);
    this.#host.write(bytes, () => {
      if (this.session !== session) return;
      const total = session.consumed(bytes.byteLength);
      if (total !== undefined) this.#socket?.send(encodeFrame({ type: 'ack', bytes: total }));
    });
  }

  #socketClosed(session: ConsoleSession): void {
    if (session.phase === 'ended') return;
    this.#drop();
    if (this.#leaving !== null) {
      this.#leave(session);
      return;
    }
    if (session.reachedGateway) {
      session.socketLost();
      this.#ended(session);
      this.#host.changed();
      return;
    }
    // The browser does not tell why a handshake failed, so ask again without the upgrade.
    this.#host.dryRun().then(
      (answer) => {
        this.#refused(session, answer);
      },
      () => {
        this.#refused(session, { reached: false, error: null });
      },
    );
  }

  #refused(session: ConsoleSession, answer: DryRun): void {
    if (this.session !== session || session.phase === 'ended' || this.#disposed) return;
    if (answer.error !== null) session.fail('refused', answer.error);
    else session.fail(answer.reached ? 'websocket_blocked' : 'gateway_unreachable', null);
    this.#ended(session);
    this.#host.changed();
  }

  #ended(session: ConsoleSession): void {
    const end = session.end;
    if (end === null || this.#disposed) return;
    this.#drop();
    if (session.hello !== null) this.#cause = { end, hello: session.hello };
    this.lost = together(this.lost, this.#unanswered.lostBy(end, this.#stdin));
    const now = this.#host.now();
    const next = nextAttempt(end, {
      made: this.#made,
      upMilliseconds: session.openedAt === null ? 0 : now - session.openedAt,
      reachedGateway: session.reachedGateway,
      ownCommand: this.#options.ownCommand,
    });
    if (next === null || this.#leaving !== null) return;
    this.#made = next.made;
    this.retryAt = now + next.delay;
    this.#stopRetry = this.#host.after(next.delay, () => {
      this.#attempt();
    });
  }

  #announceSize(): void {
    if (this.#socket === null || this.session.phase === 'connecting' || this.session.phase === 'ended') return;
    if (this.#cols === this.#sentCols && this.#rows === this.#sentRows) return;
    this.#sentCols = this.#cols;
    this.#sentRows = this.#rows;
    this.#socket.send(encodeFrame({ type: 'resize', cols: this.#cols, rows: this.#rows }));
  }

  #pump(): void {
    const socket = this.#socket;
    if (socket === null || (this.session.phase !== 'starting' && this.session.phase !== 'open')) return;
    if (this.#stdin.pendingBytes === 0) return;
    this.#lastByte = this.#host.now();
    this.#hidden.activity(this.#lastByte);
    const { session } = this;
    const noted = this.#unanswered.noting(socket, (bytes) => session.stdinSent(bytes));
    if (this.#stdin.pump(noted, () => session.stdinRoom) || this.#stopPump !== null) return;
    this.#stopPump = this.#host.after(PUMP_MILLISECONDS, () => {
      this.#stopPump = null;
      this.#pump();
    });
  }

  #watchHidden(): void {
    this.#stopHidden?.();
    this.#stopHidden = null;
    const deadline = this.#hidden.deadline();
    if (deadline === null || this.session.phase !== 'open') return;
    const now = this.#host.now();
    if (this.#hidden.due(now)) {
      this.disconnect('hidden');
      return;
    }
    this.#stopHidden = this.#host.after(deadline - now, () => {
      this.#watchHidden();
    });
  }

  #cancelRetry(): void {
    this.#stopRetry?.();
    this.#stopRetry = null;
    this.retryAt = null;
  }

  /** Lets go of the socket, if there is one, and hears nothing more from it. */
  #drop(): void {
    for (const stop of [this.#stopPump, this.#stopHidden, this.#stopGoodbye]) stop?.();
    this.#stopPump = this.#stopHidden = this.#stopGoodbye = null;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }
}
