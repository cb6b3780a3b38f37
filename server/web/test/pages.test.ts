import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gatewayError } from '../src/api.ts';
import { duration } from '../src/dom.ts';
import { execPath } from '../src/paths.ts';
import type { End } from '../src/protocol.ts';
import { match } from '../src/router.ts';
import { CODES, saysMore, sentenceForEnd, truncatedNote } from '../src/sentences.ts';
import { commandWords, countLines, quoted, runsLines, withoutEscapes } from '../src/terminal/paste.ts';

const END: End = { reason: 'client_close', detail: 'process_exit', exitCode: 0, truncated: false, error: null };

describe('addresses', () => {
  test('a pattern gives its parameters, decoded', () => {
    expect(match(['clusters', '{c}', 'pods', '{ns}', '{pod}'], '/clusters/a%20b/pods/x/y')).toEqual({ c: 'a b', ns: 'x', pod: 'y' });
    expect(match(['clusters', '{c}'], '/clusters')).toBeNull();
    expect(match(['clusters', '{c}'], '/other/x')).toBeNull();
    expect(match(['{c}'], '/%zz')).toBeNull();
  });

  test('the exec request carries size, flow control and what was asked for', () => {
    const target = { cluster: 'c/1', namespace: 'n', pod: 'p', container: 'app', command: 'WyJscyJd' };
    expect(execPath(target, 120, 40)).toBe('/api/clusters/c%2F1/pods/n/p/exec?container=app&command=WyJscyJd&cols=120&rows=40&flow=both');
    expect(execPath({ ...target, container: '', command: '' }, 80, 24)).toBe('/api/clusters/c%2F1/pods/n/p/exec?cols=80&rows=24&flow=both');
  });
});

describe('refusals', () => {
  test('the bare body of a disabled cluster is understood', () => {
    expect(gatewayError(403, { error: 'E_EXEC_DISABLED' }, null)).toEqual({ code: 'E_EXEC_DISABLED', message: '', retryable: false });
  });

  test('a cap brings its limit and sessions along', () => {
    const activeSessions = [{ id: '1' }];
    expect(gatewayError(429, { error: 'E_CAP_CLUSTER', message: 'm', limit: 50, activeSessions, otherSessions: 49 }, null)).toMatchObject({
      limit: 50,
      activeSessions,
      otherSessions: 49,
    });
  });

  test('a proxy’s page is not taken for the gateway', () => {
    expect(gatewayError(502, {}, 'Wed, 21 Oct 2026 07:28:00 GMT')).toEqual({ code: 'E_GATEWAY', message: 'HTTP status 502', retryable: false });
  });
});

describe('sentences', () => {
  test('every error code of the gateway has one of its own', () => {
    const all = 'AUTH FORBIDDEN EXEC_DISABLED ORIGIN INVALID_REQUEST PROTOCOL NOT_FOUND CAP_USER CAP_CLUSTER RATE_LIMIT CLUSTER_UNREACHABLE DRAIN AUDIT INTERNAL NO_SHELL IDLE HEARTBEAT';
    for (const code of all.split(' ')) expect(CODES).toContain(`E_${code}`);
    const titles = CODES.map((code) => sentenceForEnd({ ...END, detail: 'x', error: { code, message: '', retryable: false } }).title);
    expect(new Set(titles).size).toBe(CODES.length);
  });

  test('the gateway’s words are shown where they add something', () => {
    const sentence = { title: 'The gateway is restarting', advice: '' };
    expect(saysMore('The gateway is restarting. Connect again in a moment.', sentence)).toBe(false);
    expect(saysMore('', sentence)).toBe(false);
    expect(saysMore('no such container', sentence)).toBe(true);
  });

  test('an exit code is named', () => {
    expect(sentenceForEnd({ ...END, exitCode: 7 }).title).toContain('7');
    expect(sentenceForEnd({ ...END, exitCode: 130 }).advice).toContain('signal 2');
  });

  test('output that is or may be missing is said so, and only then', () => {
    expect(truncatedNote(END)).toBe('');
    expect(truncatedNote({ ...END, truncated: true })).toContain('missing');
    expect(truncatedNote({ ...END, truncated: null })).toContain('may be missing');
  });
});

describe('pasting', () => {
  test('lines are held back unless the program brackets them', () => {
    expect(runsLines('ls', false)).toBe(false);
    expect(runsLines('ls\n', false)).toBe(true);
    expect(runsLines('a\rb', false)).toBe(true);
    expect(runsLines('a\nb', true)).toBe(false);
  });

  test('text cannot end its own bracket', () => {
    expect(withoutEscapes('a\x1b[201~b')).not.toContain('\x1b');
  });

  test('lines are counted as a person would', () => {
    expect(countLines('a\r\nb\n')).toBe(2);
    expect(countLines('a')).toBe(1);
  });
});

describe('a command in an address', () => {
  const encoded = (value: unknown): string => btoa(JSON.stringify(value)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

  test('is read, in both alphabets of base64', () => {
    expect(commandWords(encoded(['ls', '-l', '/?>']))).toEqual(['ls', '-l', '/?>']);
    expect(commandWords('WyJscyJd')).toEqual(['ls']);
  });

  test.each(['%%%', encoded('ls'), encoded([1]), encoded({})])('that is none (%s) is not guessed at', (text) => {
    expect(commandWords(text)).toBeNull();
  });

  test('hides nothing when it is shown', () => {
    expect(quoted('/bin/ls')).toBe('/bin/ls');
    expect(quoted("a b'c")).toBe("'a b'\\''c'");
    expect(quoted('')).toBe("''");
  });
});

test.each([
  [0, '0s'],
  [59_000, '59s'],
  [61_000, '1m1s'],
  [600_000, '10m'],
  [3_600_000, '1h'],
  [93_784_000, '1d2h'],
  [864_000_000, '10d'],
])('%i ms is told as %s', (milliseconds, text) => {
  expect(duration(milliseconds)).toBe(text);
});

test('no source file is longer than 400 lines', () => {
  const src = new URL('../src', import.meta.url).pathname;
  for (const file of readdirSync(src, { recursive: true, encoding: 'utf8' })) {
    if (!/\.(ts|css)$/.test(file)) continue;
    expect(readFileSync(join(src, file), 'utf8').split('\n').length, file).toBeLessThanOrEqual(401);
  }
});
