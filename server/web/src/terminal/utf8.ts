/**
 * Keeps a character whose bytes came in two messages in one piece.
 *
 * xterm.js joins such bytes itself, but takes a continuation byte of 0x80 for one that has not come yet, and so
 * loses dashes, quotes and joined emoji that were cut behind it.
 */
export class Utf8Joiner {
  #held: Uint8Array = new Uint8Array(0);

  /** The bytes held back last time and these, without the start of a character that is still incomplete. */
  join(bytes: Uint8Array): Uint8Array {
    let whole = bytes;
    if (this.#held.byteLength > 0) {
      whole = new Uint8Array(this.#held.byteLength + bytes.byteLength);
      whole.set(this.#held);
      whole.set(bytes, this.#held.byteLength);
    }
    const end = whole.byteLength - incompleteBytes(whole);
    this.#held = whole.slice(end);
    return whole.subarray(0, end);
  }

  /** Forgets the start of a character that will never be completed. */
  reset(): void {
    this.#held = new Uint8Array(0);
  }
}

/** How many bytes at the end begin a character that needs more of them: 0 to 3. */
function incompleteBytes(bytes: Uint8Array): number {
  for (let have = 1; have <= 3 && have <= bytes.byteLength; have++) {
    const byte = bytes[bytes.byteLength - have] ?? 0;
    const continuation = (byte & 0xc0) === 0x80;
    if (continuation) continue;
    return have < sequenceLength(byte) ? have : 0;
  }
  return 0;
}

/** The length of the sequence a byte begins; 1 for ASCII and for bytes that begin none. */
function sequenceLength(lead: number): number {
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 1;
}
