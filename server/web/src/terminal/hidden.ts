/** Decides when a shell in a tab nobody looks at has been forgotten. Pure: the caller owns clock and timer. */

/** Default of the time a tab must be hidden and its shell silent before the shell is closed. */
export const HIDDEN_SECONDS = 300;

export class HiddenTimer {
  readonly #limit: () => number;
  #hiddenSince: number | null = null;
  #lastByte: number;

  constructor(limitSeconds: () => number, now: number) {
    this.#limit = limitSeconds;
    this.#lastByte = now;
  }

  /** A byte went either way, so somebody or something still works here. */
  activity(now: number): void {
    this.#lastByte = now;
  }

  visibility(hidden: boolean, now: number): void {
    if (!hidden) this.#hiddenSince = null;
    else this.#hiddenSince ??= now;
  }

  /** When the shell is to be closed if nothing changes, or null while the tab can be seen. */
  deadline(): number | null {
    if (this.#hiddenSince === null) return null;
    return Math.max(this.#hiddenSince, this.#lastByte) + this.#limit() * 1000;
  }

  due(now: number): boolean {
    const deadline = this.deadline();
    return deadline !== null && now >= deadline;
  }
}
