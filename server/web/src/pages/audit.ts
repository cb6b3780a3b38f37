/** The audit log: who opened which shell, when, and how it ended. Filters live in the address, so that a view can be shared. */

import { ApiError } from '../api.ts';
import { collect, EXPORT_ROWS, FILTERS, PAGE_ROWS, queryAudit, toCsv, type AuditPage, type AuditQuery, type AuditRow } from '../audit.ts';
import { openDialog } from '../dialog.ts';
import { announce, duration, h, icon } from '../dom.ts';
import { login, showCrumbs } from '../header.ts';
import type { PageContext } from '../router.ts';

const VERBS = ['pod.exec.session_start', 'pod.exec.session_end', 'pod.exec.session_denied', 'pod.exec.session_intent', 'audit.gap', 'audit.checkpoint'];
const OUTCOMES = ['success', 'denied', 'failure'];

/** Time ranges one click away, in hours. */
const RANGES: readonly [string, number][] = [
  ['Last hour', 1],
  ['Last day', 24],
  ['Last week', 168],
];

export async function auditPage({ root, query, signal, title, go }: PageContext): Promise<void> {
  const filter = readFilter(query);
  const offset = Math.max(0, Math.trunc(Number(query.get('offset') ?? 0)) || 0);
  title(filter.session === undefined ? 'Audit' : 'Audit of one session');
  showCrumbs(filter.session === undefined ? [{ text: 'Audit' }] : [{ text: 'Audit', href: '/audit' }, { text: 'One session' }]);
  let page: AuditPage;
  try {
    page = await queryAudit(filter, PAGE_ROWS, offset, signal);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404) root.append(h('h1', {}, 'Audit'), notKept());
    else if (error.status === 400) root.append(h('h1', {}, 'Audit'), filterForm(filter, go), h('p', { class: 'trouble', role: 'alert' }, `The gateway does not accept this filter: ${error.detail.message}`));
    else throw error;
    return;
  }
  const status = h('p', { class: 'count', role: 'status' });
  const exports = h(
    'div',
    { class: 'row' },
    ...(['csv', 'json'] as const).map((kind) =>
      h('button', { type: 'button', class: 'button', onclick: (event: Event) => void save(kind, filter, event.currentTarget as HTMLButtonElement, status, signal) }, icon('download'), `Export ${kind.toUpperCase()}`),
    ),
  );
  const parts = [
    h('h1', {}, filter.session === undefined ? 'Audit' : 'One session'),
    scopeBanner(page.scope),
    filter.session === undefined ? filterForm(filter, go) : sessionCard(filter.session, page.items),
    h('div', { class: 'listing-bar' }, status, exports),
    page.items.length === 0 ? h('p', { class: 'empty' }, 'No record matches.') : table(page.items, filter),
    pager(page, filter),
  ];
  root.append(...parts.filter((part) => part !== null));
  const first = page.total === 0 ? 0 : page.offset + 1;
  status.textContent = `${first.toLocaleString()} to ${(page.offset + page.items.length).toLocaleString()} of ${page.total.toLocaleString()}`;
}

function readFilter(query: URLSearchParams): AuditQuery {
  const filter: AuditQuery = {};
  for (const name of [...FILTERS, 'from', 'to'] as const) {
    const value = query.get(name)?.trim() ?? '';
    if (value !== '') filter[name] = value;
  }
  return filter;
}

function address(filter: AuditQuery, offset = 0): string {
  const parameters = new URLSearchParams(filter as Record<string, string>);
  if (offset > 0) parameters.set('offset', String(offset));
  const text = parameters.toString();
  return text === '' ? '/audit' : `/audit?${text}`;
}

function notKept(): HTMLElement {
  return h(
    'section',
    { class: 'notice' },
    h('h2', {}, 'The audit log is not kept here'),
    h('p', {}, 'This gateway writes its audit records to its standard output only, so there is nothing to search. Its operator can turn persistence on with PERISCOPE_AUDIT_ENABLED=true.'),
  );
}

function scopeBanner(scope: string): HTMLElement | null {
  if (scope === '') return null;
  const name = login.identity?.email ?? login.identity?.sub ?? 'you';
  return h('p', { class: 'scope' }, icon('info'), scope === 'all' ? 'You see everybody’s records, because you are an audit administrator.' : `You see the records of ${name} alone.`);
}

function filterForm(filter: AuditQuery, go: (path: string) => void): HTMLElement {
  const fields = new Map<string, HTMLInputElement | HTMLSelectElement>();
  const field = (name: keyof AuditQuery, label: string, control: HTMLInputElement | HTMLSelectElement): HTMLElement => {
    fields.set(name, control);
    control.classList.add('field');
    return h('label', {}, label, control);
  };
  const choice = (name: 'verb' | 'outcome', options: string[]): HTMLSelectElement => {
    const known = filter[name] === undefined || options.includes(filter[name]) ? options : [...options, filter[name]];
    return h('select', {}, h('option', { value: '' }, 'any'), ...known.map((one) => h('option', { value: one, selected: filter[name] === one }, one)));
  };
  const text = (name: keyof AuditQuery): HTMLInputElement => h('input', { type: 'text', value: filter[name] ?? '', autocomplete: 'off', spellcheck: 'false' });
  const time = (name: 'from' | 'to'): HTMLInputElement => h('input', { type: 'datetime-local', step: 1, value: localTime(filter[name]) });
  const chosen = (): AuditQuery => {
    const next: AuditQuery = {};
    for (const [name, control] of fields) {
      const value = control.value.trim();
      if (value === '') continue;
      next[name as keyof AuditQuery] = name === 'from' || name === 'to' ? new Date(value).toISOString() : value;
    }
    return next;
  };
  return h(
    'form',
    {
      class: 'filters',
      'aria-label': 'Filter',
      onsubmit: (event: Event) => {
        event.preventDefault();
        go(address(chosen()));
      },
    },
    field('verb', 'Record', choice('verb', VERBS)),
    field('outcome', 'Outcome', choice('outcome', OUTCOMES)),
    field('actor', 'Subject', text('actor')),
    field('cluster', 'Cluster', text('cluster')),
    field('namespace', 'Namespace', text('namespace')),
    field('pod', 'Pod', text('pod')),
    field('from', 'From', time('from')),
    field('to', 'Before', time('to')),
    h(
      'div',
      { class: 'row filter-buttons' },
      h('button', { type: 'submit', class: 'button primary' }, 'Search'),
      ...RANGES.map(([label, hours]) =>
        h(
          'button',
          {
            type: 'button',
            class: 'button',
            onclick: () => {
              const { to: _, ...rest } = chosen();
              go(address({ ...rest, from: new Date(Date.now() - hours * 3_600_000).toISOString() }));
            },
          },
          label,
        ),
      ),
      h('a', { class: 'button', href: '/audit' }, 'Clear'),
    ),
  );
}

/** An RFC 3339 time as a date field wants it: local, without a zone. */
function localTime(text: string | undefined): string {
  const time = new Date(text ?? '');
  if (Number.isNaN(time.getTime())) return '';
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function table(rows: AuditRow[], filter: AuditQuery): HTMLElement {
  return h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Audit records' },
    h(
      'table',
      { class: 'listing audit' },
      h('thead', {}, h('tr', {}, ...['Time', 'Record', 'Outcome', 'Subject', 'Target', 'How it ended', 'Details'].map((text) => h('th', { scope: 'col' }, text)))),
      h('tbody', {}, ...rows.map((row) => tableRow(row, filter))),
    ),
  );
}

function tableRow(row: AuditRow, filter: AuditQuery): HTMLTableRowElement {
  const narrow = (name: 'actor' | 'cluster' | 'namespace' | 'pod', value: string | null | undefined, shown = value): HTMLElement | string =>
    value ? h('a', { class: 'narrow', href: address({ ...filter, [name]: value }), title: `Only ${name} ${value}` }, shown || value) : '–';
  const target = [narrow('cluster', row.cluster), ' / ', narrow('namespace', row.namespace), ' / ', narrow('pod', row.pod), row.container ? ` · ${row.container}` : ''];
  const kind = row.outcome === 'success' ? 'good' : row.outcome === 'denied' ? 'bad' : 'wait';
  return h(
    'tr',
    {},
    h('th', { scope: 'row' }, h('time', { datetime: row.timestamp, title: row.timestamp }, localTime(row.timestamp).replace('T', ' ') || row.timestamp)),
    h('td', {}, row.verb.replace(/^pod\.exec\./, '')),
    h('td', {}, h('span', { class: `tag ${kind}` }, row.outcome)),
    h('td', { class: 'breakable subject' }, narrow('actor', row.actor?.sub, row.actor?.email)),
    h('td', { class: 'breakable target' }, ...(row.cluster ? target : ['–'])),
    h('td', {}, ending(row)),
    h(
      'td',
      { class: 'actions' },
      row.session_id && filter.session === undefined ? h('a', { class: 'button small', href: address({ session: row.session_id }) }, 'Session') : null,
      h('button', { type: 'button', class: 'button small', onclick: () => details(row) }, 'Fields'),
    ),
  );
}

function ending(row: AuditRow): string {
  const parts = [];
  if (row.code) parts.push(row.count && row.count > 1 ? `${row.code} × ${row.count}` : row.code);
  else if (row.verb === 'audit.gap') parts.push(`${row.count ?? '?'} records lost`);
  if (row.close_detail) parts.push(row.close_detail);
  if (typeof row.exit_code === 'number') parts.push(`exit ${row.exit_code}`);
  if (typeof row.duration_ms === 'number') parts.push(duration(row.duration_ms));
  return parts.length === 0 ? '–' : parts.join(' · ');
}

function details(row: AuditRow): void {
  openDialog<null>(row.verb, [h('pre', { class: 'preview tall', tabindex: 0, 'aria-label': 'All fields of the record' }, JSON.stringify(row, null, 2))], [{ text: 'Close', value: null, primary: true }]);
}

/** What the records of one session say together: newest first, so the start is the last of its kind. */
function sessionCard(id: string, rows: AuditRow[]): HTMLElement {
  const start = rows.findLast((row) => row.verb === 'pod.exec.session_start' || row.verb === 'pod.exec.session_intent');
  const end = rows.find((row) => row.verb === 'pod.exec.session_end');
  const one = end ?? start;
  const identity = one?.['k8s_identity'] as { user?: string; groups?: string[] } | undefined;
  const facts: [string, string][] = [['Session id', id]];
  const add = (name: string, value: unknown): void => {
    if (value !== undefined && value !== null && value !== '') facts.push([name, String(value)]);
  };
  const size = (value: unknown): string | null => (typeof value === 'number' ? `${value.toLocaleString()} bytes` : null);
  add('Subject', one?.actor?.sub);
  add('Identity in the cluster', identity === undefined ? null : [identity.user ?? '', ...(identity.groups ?? [])].filter((part) => part !== '').join(', '));
  add('Target', one === undefined ? null : [one.cluster, one.namespace, one.pod, one.container].filter(Boolean).join(' / '));
  add('Command', one?.command?.join(' '));
  add('Transport', one?.['transport'] ? `${one['transport']} (${one['subprotocol'] ?? 'unknown'})` : null);
  add('Started', start === undefined ? null : localTime(start.timestamp).replace('T', ' '));
  add('Ended', end === undefined ? (start === undefined ? null : 'no record of an end') : `${localTime(end.timestamp).replace('T', ' ')}, ${ending(end)}`);
  add('Ended by', end?.['ended_by']);
  add('Typed', size(end?.['bytes_stdin']));
  add('Printed', size(end?.['bytes_stdout']));
  return h('dl', { class: 'facts-list card' }, ...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

function pager(page: AuditPage, filter: AuditQuery): HTMLElement | null {
  const last = page.offset + page.items.length;
  if (page.offset === 0 && last >= page.total) return null;
  return h(
    'nav',
    { class: 'row pager', 'aria-label': 'Pages' },
    page.offset > 0 ? h('a', { class: 'button', href: address(filter, Math.max(0, page.offset - PAGE_ROWS)) }, 'Newer') : null,
    last < page.total ? h('a', { class: 'button', href: address(filter, last) }, 'Older') : null,
  );
}

async function save(kind: 'csv' | 'json', filter: AuditQuery, button: HTMLButtonElement, status: HTMLElement, signal: AbortSignal): Promise<void> {
  button.disabled = true;
  try {
    const { rows, total } = await collect(filter, signal, (have, all) => {
      status.textContent = `Exporting: ${have.toLocaleString()} of ${all.toLocaleString()}`;
    });
    const blob = kind === 'csv' ? new Blob([toCsv(rows)], { type: 'text/csv' }) : new Blob([JSON.stringify(rows, null, 2), '\n'], { type: 'application/json' });
    const url = URL.createObjectURL(blob);
    h('a', { href: url, download: `periscope-audit-${new Date().toISOString().slice(0, 10)}.${kind}` }).click();
    URL.revokeObjectURL(url);
    status.textContent =
      total > rows.length
        ? `The newest ${EXPORT_ROWS.toLocaleString()} of ${total.toLocaleString()} records were exported; narrow the filter for the rest.`
        : `${rows.length.toLocaleString()} records exported`;
    announce(status.textContent);
  } catch (error) {
    if (!signal.aborted) status.textContent = `The export failed: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    button.disabled = false;
  }
}
