/** When a lost shell is opened again without being asked. Pure: no timer, no socket. */

import type { End } from './protocol.ts';

/** Waits before the first, second, … automatic attempt, in milliseconds. After the last, the user decides. */
export const BACKOFF_MILLISECONDS: readonly number[] = [0, 1_000, 3_000, 8_000];

/**
 * A shell that stayed up this long was a good one, so the next drop starts the waits from the beginning.
 * Without this a shell that dies right after its greeting would be opened for ever.
 */
export const STABLE_MILLISECONDS = 10_000;

/** A Retry-After longer than this is not worth waiting for in front of a screen. */
const LONGEST_WAIT_MILLISECONDS = 60_000;

/** Codes whose cause passes by itself. The frame's or the body's `retryable` must agree. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set([
  'E_RATE_LIMIT',
  'E_CLUSTER_UNREACHABLE',
  'E_DRAIN',
  'E_AUDIT',
  'E_HEARTBEAT',
]);

/** Whether a status body without a `retryable` of its own describes something that passes by itself. */
export function isTransientCode(code: string): boolean {
  return TRANSIENT_CODES.has(code);
}

export interface Attempt {
  /** Automatic attempts already made since the last stable shell or the last click. */
  made: number;
  /** How long the shell that just ended was usable, in milliseconds; 0 if it never was. */
  upMilliseconds: number;
  /** Whether the socket opened, which is when a command may have run. */
  reachedGateway: boolean;
  /** Whether the user gave a command of their own instead of the default shell. */
  ownCommand: boolean;
}

/** The wait before the next automatic attempt and its number, or null: only a click reopens this shell. */
export function nextAttempt(end: End, attempt: Attempt): { delay: number; made: number } | null {
  if (!isTransient(end, attempt)) return null;
  const made = attempt.upMilliseconds >= STABLE_MILLISECONDS ? 0 : attempt.made;
  const backoff = BACKOFF_MILLISECONDS[made];
  if (backoff === undefined) return null;
  const asked = (end.error?.retryAfterSeconds ?? 0) * 1000;
  if (asked > LONGEST_WAIT_MILLISECONDS) return null;
  return { delay: Math.max(backoff, asked), made: made + 1 };
}

function isTransient(end: End, attempt: Attempt): boolean {
  if (end.error !== null) return end.error.retryable && TRANSIENT_CODES.has(end.error.code);
  if (end.reason !== 'lost' || end.detail === 'refused') return false;
  // A lost connection says nothing about the command, and running somebody's command twice may do harm.
  return !(attempt.ownCommand && attempt.reachedGateway);
}
