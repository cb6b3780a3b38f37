/** What was typed or pasted and has not left yet. */

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

  /** Sends what the socket has room for. Returns true when everything has been handed over. */
  pump(socket: StdinSocket): boolean {
    while (socket.bufferedAmount < BUFFERED_BYTES) {
      const chunk = this.#takeChunk();
      if (chunk === undefined) return true;
      socket.send(chunk);
    }
    return this.#bytes === 0;
  }

  /** Forgets everything, because the shell it was meant for is gone. Returns how many bytes were lost. */
  discard(): number {
    const lost = this.#bytes;
    this.#pieces.length = 0;
    this.#offset = 0;
    this.#bytes = 0;
    return lost;
  }

  #takeChunk(): Uint8Array<ArrayBuffer> | undefined {
    const piece = this.#pieces[0];
    if (piece === undefined) return undefined;
    const chunk = piece.subarray(this.#offset, this.#offset + CHUNK_BYTES);
    this.#offset += chunk.byteLength;
    this.#bytes -= chunk.byteLength;
    if (this.#offset >= piece.byteLength) {
      this.#pieces.shift();
      this.#offset = 0;
    }
    return chunk;
  }
}
