import { beforeEach, describe, expect, test } from 'vitest';
import type { Identity } from '../src/api.ts';
import { ANNOUNCE_MILLISECONDS, LoginWatch, RENEW_MILLISECONDS } from '../src/login.ts';

const START = Date.parse('2026-01-01T00:00:00Z');
const SIGNED_OUT = new Error('401');

class Host {
  time = START;
  asked = 0;
  answer: Identity | Error = who(null);
  timers: { at: number; action: () => void }[] = [];
  watch = new LoginWatch({
    whoami: () => {
      this.asked += 1;
      return this.answer instanceof Error ? Promise.reject(this.answer) : Promise.resolve(this.answer);
    },
    isSignedOut: (error) => error === SIGNED_OUT,
    changed: () => undefined,
    now: () => this.time,
    after: (milliseconds, action) => {
      const timer = { at: this.time + milliseconds, action };
      this.timers.push(timer);
      return () => {
        this.timers = this.timers.filter((one) => one !== timer);
      };
    },
  });

  /** Lets time pass, timers fire and answers arrive. */
  async pass(milliseconds: number): Promise<void> {
    const until = this.time + milliseconds;
    for (;;) {
      const due = this.timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.time = due.at;
      this.timers = this.timers.filter((one) => one !== due);
      due.action();
      await settled();
    }
    this.time = until;
    await settled();
  }
}

function who(lifetime: number | null): Identity {
  const expiresAt = lifetime === null ? null : new Date(START + lifetime).toISOString();
  return { sub: 'ann', groups: [], auditScope: 'self', mode: 'tier', expiresAt };
}

async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await Promise.resolve();
}

let host: Host;
beforeEach(() => {
  host = new Host();
});

describe('renewal', () => {
  test('typing asks whoami, at most once a minute', async () => {
    await host.watch.ask();
    for (let i = 0; i < 50; i++) host.watch.typed();
    expect(host.asked).toBe(1);
    await host.pass(RENEW_MILLISECONDS);
    for (let i = 0; i < 50; i++) host.watch.typed();
    expect(host.asked).toBe(2);
    await host.pass(RENEW_MILLISECONDS - 1);
    host.watch.typed();
    expect(host.asked).toBe(2);
  });

  test('without typing nothing is renewed', async () => {
    host.answer = who(8 * 3_600_000);
    await host.watch.ask();
    await host.pass(2 * 3_600_000);
    expect(host.asked).toBe(1);
  });

  test('a gateway that does not answer leaves the login as it was', async () => {
    host.answer = who(3_600_000);
    await host.watch.ask();
    host.answer = new Error('no network');
    await host.pass(RENEW_MILLISECONDS);
    host.watch.typed();
    await settled();
    expect(host.watch.state).toBe('in');
  });

  test('a renewal that is refused says that one is signed out', async () => {
    await host.watch.ask();
    host.answer = SIGNED_OUT;
    await host.pass(RENEW_MILLISECONDS);
    host.watch.typed();
    await settled();
    expect(host.watch.state).toBe('out');
    host.watch.typed();
    expect(host.asked).toBe(2);
  });
});

describe('the end of the login', () => {
  test('is announced five minutes before, not earlier', async () => {
    host.answer = who(8 * 3_600_000);
    await host.watch.ask();
    await host.pass(8 * 3_600_000 - ANNOUNCE_MILLISECONDS - 1);
    expect(host.watch.state).toBe('in');
    await host.pass(1);
    expect(host.watch.state).toBe('ending');
  });

  test('is asked for when it has come, because the gateway’s clock counts', async () => {
    host.answer = who(3_600_000);
    await host.watch.ask();
    await host.pass(3_600_000 - 1);
    expect(host.asked).toBe(1);
    host.answer = SIGNED_OUT;
    await host.pass(1);
    expect(host.asked).toBe(2);
    expect(host.watch.state).toBe('out');
    expect(host.timers).toEqual([]);
  });

  test('moves when one logs in again elsewhere', async () => {
    host.answer = who(ANNOUNCE_MILLISECONDS);
    await host.watch.ask();
    expect(host.watch.state).toBe('ending');
    host.answer = who(8 * 3_600_000);
    await host.watch.ask();
    expect(host.watch.state).toBe('in');
  });

  test('a clock that is far ahead does not make a storm of questions', async () => {
    host.answer = who(-3_600_000);
    await host.watch.ask();
    await host.pass(10 * RENEW_MILLISECONDS);
    expect(host.asked).toBeLessThanOrEqual(11);
  });
});
