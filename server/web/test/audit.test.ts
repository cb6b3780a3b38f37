import { afterEach, describe, expect, test, vi } from 'vitest';
import { BATCH_ROWS, EXPORT_ROWS, collect, toCsv, type AuditRow } from '../src/audit.ts';

const ROW: AuditRow = { timestamp: '2026-01-01T00:00:00.000Z', verb: 'pod.exec.session_end', outcome: 'success', actor: { sub: 'ann', groups: ['a', 'b'] }, pod: 'web-0' };

describe('CSV', () => {
  test('has one column per field, objects by dots, and fields of any row', () => {
    const [head, first, second] = toCsv([ROW, { ...ROW, exit_code: -1 }]).split('\r\n');
    expect(head).toMatch(/^timestamp,verb,outcome,actor\.sub,/);
    expect(head?.split(',')).toContain('exit_code');
    expect(first?.split(',').length).toBeGreaterThan(10);
    expect(first).toContain('"[""a"",""b""]"');
    expect(second).toMatch(/,-1$/);
  });

  test.each(['=1+1', '+1;cmd', '-2+3', '@SUM(A1)', '\tx', '\rx'])('a name such as %j cannot become a formula', (name) => {
    const cell = toCsv([{ ...ROW, pod: name }]).split('\r\n').slice(1).join('\r\n');
    expect(cell).toContain(`'${name}`);
  });

  test('quotes and line ends stay inside their cell', () => {
    expect(toCsv([{ ...ROW, pod: 'a"b\nc' }])).toContain('"a""b\nc"');
  });
});

describe('an export', () => {
  afterEach(() => vi.unstubAllGlobals());

  function gateway(total: number): URLSearchParams[] {
    const asked: URLSearchParams[] = [];
    vi.stubGlobal('fetch', (path: string) => {
      const query = new URL(path, 'http://x').searchParams;
      asked.push(query);
      const offset = Number(query.get('offset'));
      const items = Array.from({ length: Math.min(Number(query.get('limit')), Math.max(0, total - offset)) }, () => ROW);
      return Promise.resolve(new Response(JSON.stringify({ items, total, limit: BATCH_ROWS, offset })));
    });
    return asked;
  }

  test('takes every page, the others no further than the newest row of the first, whatever the browser’s clock says', async () => {
    const asked = gateway(1201);
    const { rows, total } = await collect({ pod: 'web-0' }, new AbortController().signal, () => undefined);
    expect([rows.length, total]).toEqual([1201, 1201]);
    expect(asked.map((query) => query.get('offset'))).toEqual(['0', '500', '1000']);
    expect(asked.map((query) => query.get('to'))).toEqual([null, '2026-01-01T00:00:00.001Z', '2026-01-01T00:00:00.001Z']);
    expect(asked.every((query) => query.get('pod') === 'web-0')).toBe(true);
  });

  test('ends at its limit and tells how much there would be', async () => {
    gateway(EXPORT_ROWS + 5_000);
    const { rows, total } = await collect({}, new AbortController().signal, () => undefined);
    expect([rows.length, total]).toEqual([EXPORT_ROWS, EXPORT_ROWS + 5_000]);
  });
});
