/** What was typed or pasted: what has not left yet, and what nothing has answered. */

import type { End } from '../protocol.ts';

/** Far under the gateway's 1 MiB limit on a message, and small enough that a resize gets in between. */
export const CHUNK_BYTES = 32 * 1024;

/** How much the socket may hold before we wait: enough to keep it busy, not a second copy of a paste. */
export const BUFFERED_BYTES = 256 * 1024;

export interface StdinSocket {
  readonly bufferedAmount: number;
  send(data: Uint8Array<ArrayBuffer>): void;
}

/** Keeps order, loses nothing, and never hands the socket more than `BUFFERED_BYTES` beyond one chunk. */
export class StdinQueue {
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  #offset = 0;
  #bytes = 0;

  get pendingBytes(): number {
    return this.#bytes;
  }

  push(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.byteLength === 0) return;
    this.#pieces.push(bytes);
    this.#bytes += bytes.byteLength;
  }

  /** Sends what the socket and the gateway have room for. Returns true when everything has been handed over. */
  pump(socket: StdinSocket, room: () => number = () => Infinity): boolean {
    while (socket.bufferedAmount < BUFFERED_BYTES) {
      const chunk = this.#takeChunk(Math.min(room(), CHUNK_BYTES));
      if (chunk === undefined) break;
      socket.send(chunk);
    }
    return this.#bytes === 0;
  }

  /** Forgets everything, because the shell it was meant for is gone. Returns what was in it. */
  discard(): Uint8Array<ArrayBuffer>[] {
    const [first, ...rest] = this.#pieces;
    const lost = first === undefined ? [] : [first.subarray(this.#offset), ...rest];
    this.#pieces.length = 0;
    this.#offset = 0;
    this.#bytes = 0;
    return lost;
  }

  #takeChunk(bytes: number): Uint8Array<ArrayBuffer> | undefined {
    const piece = this.#pieces[0];
    if (piece === undefined || bytes <= 0) return undefined;
    const chunk = piece.subarray(this.#offset, this.#offset + bytes);
    this.#offset += chunk.byteLength;
    this.#bytes -= chunk.byteLength;
    if (this.#offset >= piece.byteLength) {
      this.#pieces.shift();
      this.#offset = 0;
    }
    return chunk;
  }
}

/** Input that may not have arrived. `certain` when it never left this browser. */
export interface LostInput {
  bytes: number;
  certain: boolean;
  text: string;
}

/** Two losses, told as one. */
export function together(a: LostInput | null, b: LostInput | null): LostInput | null {
  if (a === null || b === null) return a ?? b;
  return { bytes: a.bytes + b.bytes, certain: a.certain && b.certain, text: a.text + b.text };
}

/** How much sent input is kept to be given back. A line somebody typed fits many times over. */
export const UNANSWERED_BYTES = 64 * 1024;

/** Ends at which everything sent before them had its chance to be read. */
const ORDERLY: ReadonlySet<string> = new Set(['process_exit', 'user_close', 'hidden', 'idle']);

/**
 * What was sent since the last output. A shell echoes what one types, so when the connection breaks this is what it
 * may never have seen, and the only copy of it.
 */
export class Unanswered {
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  #kept = 0;
  #sent = 0;

  forget(): void {
    this.#pieces.length = 0;
    this.#kept = 0;
    this.#sent = 0;
  }

  /** The socket, with everything it is given noted here, and told to `sent`. */
  noting(socket: StdinSocket, sent: (bytes: number) => void): StdinSocket {
    return {
      get bufferedAmount() {
        return socket.bufferedAmount;
      },
      send: (data) => {
        socket.send(data);
        sent(data.byteLength);
        this.#note(data);
      },
    };
  }

  /** Takes what is left of both; null if the end cost nothing. */
  lostBy(end: End, queue: StdinQueue): LostInput | null {
    const unsent = queue.discard();
    const unsure = ORDERLY.has(end.detail) ? [] : this.#pieces.splice(0);
    const bytes = unsent.reduce((sum, piece) => sum + piece.byteLength, unsure.length === 0 ? 0 : this.#sent);
    this.forget();
    if (bytes === 0) return null;
    const decoder = new TextDecoder();
    const text = [...unsure, ...unsent].map((piece) => decoder.decode(piece, { stream: true })).join('') + decoder.decode();
    return { bytes, certain: unsure.length === 0, text };
  }

  #note(piece: Uint8Array<ArrayBuffer>): void {
    this.#pieces.push(piece);
    this.#kept += piece.byteLength;
    this.#sent += piece.byteLength;
    while (this.#kept > UNANSWERED_BYTES && this.#pieces.length > 1) {
      this.#kept -= this.#pieces.shift()?.byteLength ?? 0;
    }
  }
}
