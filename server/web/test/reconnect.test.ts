import { describe, expect, test } from 'vitest';
import type { End } from '../src/protocol.ts';
import { BACKOFF_MILLISECONDS, nextAttempt, STABLE_MILLISECONDS, type Attempt } from '../src/reconnect.ts';

const LOST: End = { reason: 'lost', detail: 'connection_lost', exitCode: null, truncated: true, error: null };
const FIRST: Attempt = { made: 0, upMilliseconds: 0, reachedGateway: true, ownCommand: false };

function failed(code: string, retryable: boolean, retryAfterSeconds?: number): End {
  const error = { code, message: '', retryable, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) };
  return { reason: 'forced_close', detail: 'x', exitCode: null, truncated: null, error };
}

describe('an automatic reconnect', () => {
  test('waits 0, 1, 3 and 8 seconds and then leaves it to the user', () => {
    const delays: number[] = [];
    let made = 0;
    for (let next = nextAttempt(LOST, FIRST); next !== null; next = nextAttempt(LOST, { ...FIRST, made })) {
      delays.push(next.delay);
      made = next.made;
    }
    expect(delays).toEqual([0, 1000, 3000, 8000]);
    expect(delays).toEqual(BACKOFF_MILLISECONDS);
  });

  test('starts over after a shell that had been up for a while', () => {
    expect(nextAttempt(LOST, { ...FIRST, made: 4, upMilliseconds: STABLE_MILLISECONDS })).toEqual({ delay: 0, made: 1 });
    expect(nextAttempt(LOST, { ...FIRST, made: 4, upMilliseconds: STABLE_MILLISECONDS - 1 })).toBeNull();
  });

  test.each(['E_RATE_LIMIT', 'E_CLUSTER_UNREACHABLE', 'E_DRAIN', 'E_AUDIT', 'E_HEARTBEAT'])('follows %s when it is retryable', (code) => {
    expect(nextAttempt(failed(code, true), FIRST)).not.toBeNull();
    expect(nextAttempt(failed(code, false), FIRST)).toBeNull();
  });

  test.each(['E_AUTH', 'E_FORBIDDEN', 'E_EXEC_DISABLED', 'E_ORIGIN', 'E_INVALID_REQUEST', 'E_PROTOCOL', 'E_NOT_FOUND', 'E_CAP_USER', 'E_CAP_CLUSTER', 'E_INTERNAL', 'E_NO_SHELL', 'E_IDLE'])(
    'never follows %s, whatever it claims',
    (code) => {
      expect(nextAttempt(failed(code, true), FIRST)).toBeNull();
    },
  );

  test('waits as long as Retry-After asks, but not for minutes', () => {
    expect(nextAttempt(failed('E_RATE_LIMIT', true, 5), FIRST)?.delay).toBe(5000);
    expect(nextAttempt(failed('E_RATE_LIMIT', true, 2), { ...FIRST, made: 3 })?.delay).toBe(8000);
    expect(nextAttempt(failed('E_RATE_LIMIT', true, 600), FIRST)).toBeNull();
  });

  test.each(['process_exit', 'user_close', 'hidden', 'admin_kill'])('never follows %s', (detail) => {
    expect(nextAttempt({ reason: 'client_close', detail, exitCode: null, truncated: false, error: null }, FIRST)).toBeNull();
  });

  test('does not run the caller’s own command twice after a lost connection', () => {
    expect(nextAttempt(LOST, { ...FIRST, ownCommand: true })).toBeNull();
    expect(nextAttempt({ ...LOST, detail: 'gateway_unreachable' }, { ...FIRST, ownCommand: true, reachedGateway: false })).not.toBeNull();
  });
});
