import { describe, expect, test } from 'vitest';
import { Utf8Joiner } from '../src/terminal/utf8.ts';

const TEXT = 'a grüße — “日本語” 👩‍👩‍👧 עברית \u0800\u1000\u{10000}\u{40000} z';
const BYTES = new TextEncoder().encode(TEXT);

/** Decodes each piece by itself and refuses a piece that is not complete. */
function decoded(pieces: Uint8Array[]): string {
  return pieces.map((piece) => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(piece)).join('');
}

describe('text cut between messages', () => {
  test('comes out in whole characters wherever one cut is', () => {
    for (let cut = 0; cut <= BYTES.length; cut++) {
      const joiner = new Utf8Joiner();
      expect(decoded([joiner.join(BYTES.subarray(0, cut)), joiner.join(BYTES.subarray(cut))])).toBe(TEXT);
    }
  });

  test('comes out in whole characters when every byte comes alone', () => {
    const joiner = new Utf8Joiner();
    expect(decoded([...BYTES].map((byte) => joiner.join(Uint8Array.of(byte))))).toBe(TEXT);
  });

  test('loses no byte, valid or not, but the last incomplete character', () => {
    const bytes = Uint8Array.from({ length: 4096 }, (_, index) => (index * 167 + (index >> 5)) & 0xff);
    for (const size of [1, 2, 3, 5, 64]) {
      const joiner = new Utf8Joiner();
      const out: number[] = [];
      for (let at = 0; at < bytes.length; at += size) out.push(...joiner.join(bytes.subarray(at, at + size)));
      expect(bytes.length - out.length).toBeLessThanOrEqual(3);
      expect(out).toEqual([...bytes.subarray(0, out.length)]);
    }
  });

  test('is forgotten when the shell it came from is gone', () => {
    const joiner = new Utf8Joiner();
    expect(joiner.join(Uint8Array.of(0xe2, 0x80))).toHaveLength(0);
    joiner.reset();
    expect(decoded([joiner.join(Uint8Array.of(0x61))])).toBe('a');
  });
});
