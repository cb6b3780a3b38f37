/** The audit log as the gateway tells it, and its forms for spreadsheets and programs. */

import { answer } from './api.ts';

/** A row, with the names it has in the log. Unknown keys are kept: an export leaves nothing out. */
export interface AuditRow {
  timestamp: string;
  verb: string;
  outcome: string;
  session_id?: string | null;
  request_id?: string | null;
  actor?: { sub: string; email?: string | null; groups?: string[] } | null;
  cluster?: string | null;
  namespace?: string | null;
  pod?: string | null;
  container?: string | null;
  command?: string[] | null;
  duration_ms?: number | null;
  exit_code?: number | null;
  close_reason?: string | null;
  close_detail?: string | null;
  code?: string | null;
  count?: number | null;
  [key: string]: unknown;
}

export interface AuditPage {
  items: AuditRow[];
  total: number;
  limit: number;
  offset: number;
  /** Whose rows these are; what the gateway says in its header. */
  scope: string;
}

export const FILTERS = ['verb', 'outcome', 'actor', 'cluster', 'namespace', 'pod', 'session'] as const;
export type FilterName = (typeof FILTERS)[number];

/** `from` is inclusive, `to` exclusive; both RFC 3339. Absent keys do not filter. */
export type AuditQuery = Partial<Record<FilterName | 'from' | 'to', string>>;

export const PAGE_ROWS = 100;

/** The most rows the gateway gives at once. */
export const BATCH_ROWS = 500;

/** An export ends here and says so: what is larger is a matter for `periscope audit query`. */
export const EXPORT_ROWS = 50_000;

export async function queryAudit(query: AuditQuery, limit: number, offset: number, signal: AbortSignal): Promise<AuditPage> {
  const parameters = new URLSearchParams(query as Record<string, string>);
  parameters.set('limit', String(limit));
  parameters.set('offset', String(offset));
  const response = await answer('GET', `/api/audit?${parameters.toString()}`, { signal });
  const page = (await response.json()) as Omit<AuditPage, 'scope'>;
  return { ...page, scope: response.headers.get('X-Audit-Scope') ?? '' };
}

export interface Export {
  rows: AuditRow[];
  /** How many there are in all; more than `rows` when the export was cut. */
  total: number;
}

/**
 * All rows that match. Rows written meanwhile would shift the pages, so the time range of the others ends with the newest row
 * of the first page: by the gateway's clock, as a browser's may be slow and would leave the newest rows out. `progress` hears
 * how many have come.
 */
export async function collect(query: AuditQuery, signal: AbortSignal, progress: (rows: number, total: number) => void): Promise<Export> {
  let fixed = query;
  const rows: AuditRow[] = [];
  for (;;) {
    const page = await queryAudit(fixed, BATCH_ROWS, rows.length, signal);
    rows.push(...page.items);
    if (fixed.to === undefined && page.items.length > 0) {
      const newest = Math.max(...page.items.map((row) => Date.parse(row.timestamp)));
      fixed = { ...query, to: new Date(newest + 1).toISOString() };
    }
    progress(rows.length, page.total);
    if (page.items.length === 0 || rows.length >= page.total || rows.length >= EXPORT_ROWS) return { rows, total: page.total };
  }
}

/** The columns that come first, in the order people ask for them; every other key of the rows follows by name. */
const FIRST_COLUMNS = ['timestamp', 'verb', 'outcome', 'actor.sub', 'actor.email', 'actor.groups', 'cluster', 'namespace', 'pod', 'container', 'command', 'session_id'];

/** The rows as RFC 4180 has them, one column per field, objects flattened by dots. */
export function toCsv(rows: readonly AuditRow[]): string {
  const flat = rows.map((row) => flatten(row));
  const keys = new Set(flat.flatMap((row) => [...row.keys()]));
  const columns = [...FIRST_COLUMNS, ...[...keys].filter((key) => !FIRST_COLUMNS.includes(key)).sort()];
  const lines = [columns, ...flat.map((row) => columns.map((column) => row.get(column) ?? ''))];
  return lines.map((line) => `${line.map(csvCell).join(',')}\r\n`).join('');
}

function flatten(value: object, prefix = '', into = new Map<string, string>()): Map<string, string> {
  for (const [key, field] of Object.entries(value)) {
    const name = `${prefix}${key}`;
    if (field === null || field === undefined) continue;
    if (Array.isArray(field)) into.set(name, field.length === 0 ? '' : JSON.stringify(field));
    else if (typeof field === 'object') flatten(field as object, `${name}.`, into);
    else into.set(name, String(field));
  }
  return into;
}

/**
 * Names in the log come from clusters and identity providers. A spreadsheet would run a cell that begins like a formula, so
 * such a cell gets an apostrophe in front, which spreadsheets take for "this is text". Numbers stay numbers.
 */
function csvCell(text: string): string {
  const formula = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text);
  const safe = formula ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
