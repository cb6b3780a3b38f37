import { beforeEach, describe, expect, test } from 'vitest';
import { ACK_EVERY_BYTES, STDIN_AHEAD_BYTES } from '../src/protocol.ts';
import { Shell, type DryRun, type ShellSocket } from '../src/terminal/shell.ts';
import { BUFFERED_BYTES, CHUNK_BYTES } from '../src/terminal/stdin.ts';
import { HELLO } from './hello.ts';

class FakeSocket implements ShellSocket {
  binaryType = '';
  bufferedAmount = 0;
  onopen: ShellSocket['onopen'] = null;
  onmessage: ShellSocket['onmessage'] = null;
  onclose: ShellSocket['onclose'] = null;
  readonly texts: { type: string; [key: string]: unknown }[] = [];
  readonly bytes: Uint8Array[] = [];
  closed = false;
  readonly size: [number, number];

  constructor(size: [number, number]) {
    this.size = size;
  }
  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (typeof data === 'string') this.texts.push(JSON.parse(data));
    else {
      this.bytes.push(data);
      this.bufferedAmount += data.byteLength;
    }
  }
  close(): void {
    this.closed = true;
  }
  open(): void {
    this.onopen?.(new Event('open'));
  }
  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) } as MessageEvent);
  }
  output(bytes: number): void {
    this.onmessage?.({ data: new ArrayBuffer(bytes) } as MessageEvent);
  }
  /** The socket is gone, as the browser tells it: with no reason worth having. */
  vanish(): void {
    this.onclose?.(new Event('close') as CloseEvent);
  }
}

/** A page with a clock that only moves when told to. */
class Stage {
  time = 0;
  sockets: FakeSocket[] = [];
  timers: { at: number; action: () => void }[] = [];
  digested: (() => void)[] = [];
  answer: DryRun = { reached: true, error: null };
  shell: Shell;

  constructor(ownCommand = false) {
    this.shell = new Shell(
      {
        openSocket: (cols, rows) => {
          const socket = new FakeSocket([cols, rows]);
          this.sockets.push(socket);
          return socket;
        },
        dryRun: () => Promise.resolve(this.answer),
        write: (_bytes, done) => this.digested.push(done),
        changed: () => undefined,
        now: () => this.time,
        after: (milliseconds, action) => {
          const timer = { at: this.time + milliseconds, action };
          this.timers.push(timer);
          return () => {
            this.timers = this.timers.filter((one) => one !== timer);
          };
        },
      },
      { cols: 100, rows: 30, ownCommand, hiddenSeconds: () => 300 },
    );
  }
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error('no socket was opened');
    return socket;
  }
  up(): void {
    this.socket.open();
    this.socket.say(HELLO);
  }
  pass(milliseconds: number): void {
    const until = this.time + milliseconds;
    for (;;) {
      const next = this.timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== next);
      this.time = next.at;
      next.action();
    }
    this.time = until;
  }
  /** Lets promises that are already resolved reach their listeners. */
  async settle(): Promise<void> {
    for (let i = 0; i < 5; i++) await Promise.resolve();
  }
}

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
  stage.shell.connect();
});

function sent(socket: FakeSocket): number {
  return socket.bytes.reduce((sum, piece) => sum + piece.byteLength, 0);
}

describe('opening', () => {
  test('asks for the size of the terminal and shows each step', () => {
    expect(stage.socket.size).toEqual([100, 30]);
    expect(stage.shell.stage).toBe('connecting');
    stage.socket.open();
    expect(stage.shell.stage).toBe('starting');
    stage.socket.say(HELLO);
    expect(stage.shell.stage).toBe('open');
    expect(stage.socket.texts).toEqual([]);
  });

  test('tells a size that changed while the socket was opening', () => {
    stage.shell.resize(90, 20);
    stage.socket.open();
    expect(stage.socket.texts).toEqual([{ type: 'resize', cols: 90, rows: 20 }]);
  });

  test('a refused handshake is explained by the dry run and not retried', async () => {
    stage.answer = { reached: true, error: { code: 'E_CAP_USER', message: '', retryable: false, limit: 5, activeSessions: [] } };
    stage.socket.vanish();
    await stage.settle();
    expect(stage.shell.stage).toBe('ended');
    expect(stage.shell.end).toMatchObject({ detail: 'refused', error: { code: 'E_CAP_USER', limit: 5 } });
  });

  test('a refusal that passes is retried after Retry-After', async () => {
    stage.answer = { reached: true, error: { code: 'E_RATE_LIMIT', message: '', retryable: true, retryAfterSeconds: 4 } };
    stage.socket.vanish();
    await stage.settle();
    expect(stage.shell.stage).toBe('waiting');
    stage.pass(3999);
    expect(stage.sockets).toHaveLength(1);
    stage.pass(1);
    expect(stage.sockets).toHaveLength(2);
  });

  test('a refused WebSocket that the dry run would accept is told apart from a gateway that is gone', async () => {
    stage.socket.vanish();
    await stage.settle();
    expect(stage.shell.end?.detail).toBe('websocket_blocked');
    stage.answer = { reached: false, error: null };
    stage.pass(0);
    stage.socket.vanish();
    await stage.settle();
    expect(stage.shell.end?.detail).toBe('gateway_unreachable');
  });
});

describe('input', () => {
  test('is cut into messages of at most 32 KiB, in order, without a byte lost', () => {
    stage.up();
    const text = Uint8Array.from({ length: 3 * CHUNK_BYTES + 17 }, (_, index) => index % 251);
    stage.shell.input(text);
    expect(stage.socket.bytes.map((piece) => piece.byteLength)).toEqual([CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, 17]);
    expect(Buffer.concat(stage.socket.bytes).equals(Buffer.from(text))).toBe(true);
  });

  test('waits while the socket is full and arrives whole', () => {
    stage.up();
    const total = 10 * 1024 * 1024;
    stage.shell.input(new Uint8Array(total));
    expect(sent(stage.socket)).toBeLessThanOrEqual(BUFFERED_BYTES + CHUNK_BYTES);
    for (let i = 0; i < 1000 && sent(stage.socket) < total; i++) {
      expect(stage.socket.bufferedAmount).toBeLessThanOrEqual(BUFFERED_BYTES + CHUNK_BYTES);
      stage.socket.bufferedAmount = 0;
      stage.pass(10);
    }
    expect(sent(stage.socket)).toBe(total);
    expect(stage.shell.pendingInputBytes).toBe(0);
  });

  test('waits for the gateway to pass on what was sent before, and arrives whole', () => {
    stage.socket.open();
    const total = 1024 * 1024;
    stage.shell.input(new Uint8Array(total));
    expect(sent(stage.socket)).toBe(STDIN_AHEAD_BYTES);
    stage.socket.say({ ...HELLO, flow: 'both' });
    stage.socket.bufferedAmount = 0;
    stage.pass(1_000);
    expect(sent(stage.socket)).toBe(STDIN_AHEAD_BYTES);
    let taken = 0;
    while (taken < total) {
      taken += 10_000;
      stage.socket.bufferedAmount = 0;
      stage.socket.say({ type: 'ack', bytes: Math.min(taken, sent(stage.socket)) });
      expect(sent(stage.socket)).toBeLessThanOrEqual(taken + STDIN_AHEAD_BYTES);
    }
    expect(sent(stage.socket)).toBe(total);
  });

  test('a resize overtakes a paste that waits', () => {
    stage.up();
    stage.shell.input(new Uint8Array(1024 * 1024));
    stage.shell.resize(50, 10);
    expect(stage.socket.texts).toEqual([{ type: 'resize', cols: 50, rows: 10 }]);
  });

  test('typed ahead is kept until the socket opens', () => {
    expect(stage.shell.input(new Uint8Array([108, 115]))).toBe(true);
    expect(stage.socket.bytes).toEqual([]);
    stage.socket.open();
    expect(sent(stage.socket)).toBe(2);
  });

  test('meant for a shell that died never reaches the next one', () => {
    stage.up();
    stage.socket.bufferedAmount = BUFFERED_BYTES;
    stage.shell.input(new Uint8Array([1, 2, 3]));
    stage.socket.vanish();
    expect(stage.shell.input(new Uint8Array([4]))).toBe(false);
    stage.pass(0);
    stage.up();
    expect(stage.socket.bytes).toEqual([]);
  });
});

describe('output', () => {
  test('is acknowledged only once the terminal has digested it', () => {
    stage.up();
    stage.socket.output(ACK_EVERY_BYTES);
    expect(stage.socket.texts).toEqual([]);
    stage.digested.shift()?.();
    expect(stage.socket.texts).toEqual([{ type: 'ack', bytes: ACK_EVERY_BYTES }]);
  });

  test('of an old shell, digested late, is not acknowledged to the new one', () => {
    stage.up();
    stage.socket.output(ACK_EVERY_BYTES);
    stage.socket.vanish();
    stage.pass(0);
    stage.up();
    stage.digested.shift()?.();
    expect(stage.socket.texts).toEqual([]);
  });
});

describe('the end', () => {
  test('of the process is final', () => {
    stage.up();
    stage.socket.say({ type: 'closed', reason: 'client_close', detail: 'process_exit', exitCode: 7, truncated: false });
    stage.pass(60_000);
    expect(stage.shell.stage).toBe('ended');
    expect(stage.shell.end?.exitCode).toBe(7);
    expect(stage.sockets).toHaveLength(1);
    expect(stage.socket.closed).toBe(true);
  });

  test('by a lost connection leads to attempts after 0, 1, 3 and 8 seconds, then to none', async () => {
    stage.up();
    stage.answer = { reached: false, error: null };
    const opened: number[] = [];
    stage.socket.vanish();
    for (const wait of [0, 1000, 3000, 8000]) {
      stage.pass(wait);
      opened.push(stage.time);
      stage.socket.vanish();
      await stage.settle();
    }
    stage.pass(600_000);
    expect(opened).toEqual([0, 1000, 4000, 12_000]);
    expect(stage.sockets).toHaveLength(5);
    expect(stage.shell.stage).toBe('ended');
  });

  test('of a caller’s own command by a lost connection is left to the user', () => {
    stage = new Stage(true);
    stage.shell.connect();
    stage.up();
    stage.socket.vanish();
    stage.pass(60_000);
    expect(stage.sockets).toHaveLength(1);
    stage.shell.connect();
    expect(stage.sockets).toHaveLength(2);
  });

  test('on the user’s wish is asked for politely and never taken for a drop', () => {
    stage.up();
    stage.shell.disconnect();
    expect(stage.socket.texts).toEqual([{ type: 'close', reason: 'user' }]);
    stage.socket.vanish();
    stage.pass(60_000);
    expect(stage.shell.end?.detail).toBe('user_close');
    expect(stage.sockets).toHaveLength(1);
  });

  test('on the user’s wish comes even if the gateway does not answer', () => {
    stage.up();
    stage.shell.disconnect();
    stage.pass(4_000);
    expect(stage.shell.stage).toBe('ended');
    expect(stage.socket.closed).toBe(true);
  });

  test('a click stops the waiting for the next attempt', async () => {
    stage.answer = { reached: true, error: { code: 'E_DRAIN', message: '', retryable: true, retryAfterSeconds: 5 } };
    stage.socket.vanish();
    await stage.settle();
    expect(stage.shell.stage).toBe('waiting');
    stage.shell.disconnect();
    stage.pass(60_000);
    expect(stage.shell.stage).toBe('ended');
    expect(stage.sockets).toHaveLength(1);
  });

  test('is told with its reason while attempts go on, and only at last with why they failed', async () => {
    stage.up();
    stage.socket.say({ type: 'error', code: 'E_DRAIN', message: '', retryable: true });
    stage.socket.say({ type: 'closed', reason: 'forced_close', detail: 'drain', exitCode: null, truncated: false });
    stage.answer = { reached: false, error: null };
    for (const wait of [0, 1_000, 3_000, 8_000]) {
      expect(stage.shell.stage).toBe('waiting');
      expect(stage.shell.told).toMatchObject({ end: { detail: 'drain' }, hello: { sessionId: HELLO.sessionId } });
      stage.pass(wait);
      stage.socket.vanish();
      await stage.settle();
    }
    expect(stage.shell.stage).toBe('ended');
    expect(stage.shell.told).toMatchObject({ end: { detail: 'gateway_unreachable' }, hello: null });
    // What the user asks for afterwards has no old reason.
    stage.shell.connect();
    stage.socket.vanish();
    await stage.settle();
    expect(stage.shell.stage).toBe('waiting');
    expect(stage.shell.told).toMatchObject({ end: { detail: 'gateway_unreachable' }, hello: null });
  });

  test('waits for a login only where an attempt of its own met none', async () => {
    const signedOut = { reached: true, error: { code: 'E_AUTH', message: '', retryable: false } };
    stage.up();
    stage.pass(20_000);
    stage.answer = signedOut;
    stage.socket.vanish();
    expect([stage.shell.stage, stage.shell.waitsForLogin]).toEqual(['waiting', false]);
    stage.pass(0);
    stage.socket.vanish();
    await stage.settle();
    expect([stage.shell.stage, stage.shell.waitsForLogin]).toEqual(['ended', true]);
    // Asked for by a click, the same refusal is final.
    stage.shell.connect();
    stage.socket.vanish();
    await stage.settle();
    expect([stage.shell.stage, stage.shell.waitsForLogin]).toEqual(['ended', false]);
  });

  test('does not come back by itself after the end of its own login', () => {
    stage.up();
    stage.socket.say({ type: 'error', code: 'E_AUTH', message: '', retryable: false });
    stage.socket.say({ type: 'closed', reason: 'forced_close', detail: 'auth_expired', exitCode: null, truncated: false });
    expect([stage.shell.stage, stage.shell.waitsForLogin]).toEqual(['ended', false]);
  });

  test('leaving the page says goodbye and hears nothing more', () => {
    stage.up();
    stage.shell.dispose();
    expect(stage.socket.texts).toEqual([{ type: 'close', reason: 'user' }]);
    expect(stage.socket.closed).toBe(true);
    expect(stage.socket.onclose).toBeNull();
    expect(stage.timers).toEqual([]);
  });
});

describe('a hidden tab', () => {
  test('ends its shell after 300 s hidden and silent', () => {
    stage.up();
    stage.shell.visibility(true);
    stage.pass(299_999);
    expect(stage.socket.texts).toEqual([]);
    stage.pass(1);
    expect(stage.socket.texts).toEqual([{ type: 'close', reason: 'hidden' }]);
  });

  test('stays open as long as output comes', () => {
    stage.up();
    stage.shell.visibility(true);
    for (let i = 0; i < 10; i++) {
      stage.pass(200_000);
      stage.socket.output(1);
    }
    expect(stage.socket.texts).toEqual([]);
    stage.pass(300_000);
    expect(stage.socket.texts).toEqual([{ type: 'close', reason: 'hidden' }]);
  });

  test('that is seen again starts from the beginning', () => {
    stage.up();
    stage.shell.visibility(true);
    stage.pass(299_000);
    stage.shell.visibility(false);
    stage.pass(600_000);
    expect(stage.socket.texts).toEqual([]);
  });
});

describe('input that may be lost', () => {
  const line = new TextEncoder().encode('rm -r old\r');

  test('typed since the last output is given back when the connection breaks', () => {
    stage.up();
    stage.shell.input(line);
    stage.socket.vanish();
    expect(stage.shell.lost).toEqual({ bytes: line.byteLength, certain: false, text: 'rm -r old\r' });
  });

  test('that was answered is not called lost', () => {
    stage.up();
    stage.shell.input(line);
    stage.socket.output(1);
    stage.socket.vanish();
    expect(stage.shell.lost).toBeNull();
  });

  test('that never left is lost for certain, also at an orderly end', () => {
    stage.up();
    stage.socket.bufferedAmount = BUFFERED_BYTES;
    stage.shell.input(line);
    stage.socket.say({ type: 'closed', reason: 'client_close', detail: 'process_exit', exitCode: 0, truncated: false });
    expect(stage.shell.lost).toEqual({ bytes: line.byteLength, certain: true, text: 'rm -r old\r' });
  });

  test('of an orderly end is not doubted', () => {
    stage.up();
    stage.shell.input(line);
    stage.socket.say({ type: 'closed', reason: 'client_close', detail: 'process_exit', exitCode: 0, truncated: false });
    expect(stage.shell.lost).toBeNull();
  });

  test('is told until the user has taken note, whatever is opened meanwhile', async () => {
    stage.up();
    stage.shell.input(line);
    stage.socket.vanish();
    stage.pass(1_000);
    stage.up();
    expect(stage.shell.lost?.bytes).toBe(line.byteLength);
    stage.shell.input(line);
    stage.socket.vanish();
    expect(stage.shell.lost?.text).toBe('rm -r old\rrm -r old\r');
  });

  test('of any size is counted, and kept only in part', () => {
    stage.up();
    for (let i = 0; i < 20; i++) {
      stage.shell.input(new Uint8Array(CHUNK_BYTES));
      stage.socket.bufferedAmount = 0;
    }
    stage.socket.vanish();
    expect(stage.shell.lost?.bytes).toBe(20 * CHUNK_BYTES);
    expect(stage.shell.lost?.text.length).toBeLessThanOrEqual(64 * 1024);
  });
});

describe('the idle countdown', () => {
  test('starts at hello and anew with every byte, up or down', () => {
    stage.up();
    expect(stage.shell.idleDeadline).toBe(HELLO.idleSeconds * 1000);
    stage.pass(100_000);
    expect(stage.shell.idleDeadline).toBe(HELLO.idleSeconds * 1000);
    stage.socket.output(1);
    expect(stage.shell.idleDeadline).toBe(100_000 + HELLO.idleSeconds * 1000);
    stage.pass(50_000);
    stage.shell.input(new Uint8Array(1));
    expect(stage.shell.idleDeadline).toBe(150_000 + HELLO.idleSeconds * 1000);
  });

  test('follows the gateway’s warning, which knows better', () => {
    stage.up();
    stage.socket.say({ type: 'idle_warn', secondsRemaining: 30 });
    expect(stage.shell.idleDeadline).toBe(30_000);
  });
});
