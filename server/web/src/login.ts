/**
 * How long the login lasts and what keeps it alive. Pure but for the host it is given.
 *
 * The gateway forgets a login nobody uses. A shell's bytes do not count as use there, so while somebody types, this asks
 * `whoami`, which does. The absolute end cannot be moved; it is announced before it comes.
 */

import type { Identity } from './api.ts';

/** How often typing renews the login, at most. */
export const RENEW_MILLISECONDS = 60_000;

/** How long before its end the login says so. */
export const ANNOUNCE_MILLISECONDS = 300_000;

/** Browsers count timers in 31 bits; a long wait is made of short ones. */
const LONGEST_TIMER_MILLISECONDS = 3_600_000;

/** `unknown` until the first answer; `ending` during the last five minutes. */
export type LoginState = 'unknown' | 'in' | 'ending' | 'out';

export interface LoginHost {
  whoami(): Promise<Identity>;
  /** Whether this error says that nobody is logged in. */
  isSignedOut(error: unknown): boolean;
  changed(): void;
  now(): number;
  after(milliseconds: number, action: () => void): () => void;
}

export class LoginWatch {
  identity: Identity | null = null;
  state: LoginState = 'unknown';
  readonly #host: LoginHost;
  #asked = 0;
  #stopTimer: (() => void) | null = null;

  constructor(host: LoginHost) {
    this.#host = host;
  }

  /** When the login ends whatever one does, on the host's clock; null in modes without an end. */
  get endsAt(): number | null {
    const time = this.identity?.expiresAt ? Date.parse(this.identity.expiresAt) : NaN;
    return Number.isNaN(time) ? null : time;
  }

  /** Asks who one is. Errors other than being signed out leave everything as it was. */
  async ask(): Promise<void> {
    this.#asked = this.#host.now();
    try {
      this.identity = await this.#host.whoami();
    } catch (error) {
      if (this.#host.isSignedOut(error)) this.signedOut();
      return;
    }
    this.#follow(true);
  }

  /** Somebody typed into an open shell. */
  typed(): void {
    if (this.state === 'out' || this.#host.now() - this.#asked < RENEW_MILLISECONDS) return;
    void this.ask();
  }

  /** The gateway has said that nobody is logged in. */
  signedOut(): void {
    this.#stopTimer?.();
    this.#stopTimer = null;
    this.#become('out');
  }

  #follow(answered = false): void {
    this.#stopTimer?.();
    this.#stopTimer = null;
    const end = this.endsAt;
    const left = end === null ? Infinity : end - this.#host.now();
    if (left <= 0 && !answered) {
      // Our clock may be wrong; the gateway's is not.
      void this.ask();
      return;
    }
    this.#become(left <= ANNOUNCE_MILLISECONDS ? 'ending' : 'in');
    if (left === Infinity) return;
    // An end that has passed by our clock and not by the gateway's is asked about again, without haste.
    const next = left > ANNOUNCE_MILLISECONDS ? left - ANNOUNCE_MILLISECONDS : left > 0 ? left : RENEW_MILLISECONDS;
    this.#stopTimer = this.#host.after(Math.min(next, LONGEST_TIMER_MILLISECONDS), () => this.#follow());
  }

  #become(state: LoginState): void {
    this.state = state;
    this.#host.changed();
  }
}
