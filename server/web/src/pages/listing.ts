/** A list one can filter and walk through with the keyboard: `/`, arrows, Home, End, Enter, Escape. */

import { h, icon } from '../dom.ts';

/** More rows than this are not drawn; nobody reads them, and the filter finds the rest. */
const DRAWN_ROWS = 500;

export interface Column<T> {
  title: string;
  /** Extra class of the cells, such as `number` or `wide-only`. */
  kind?: string;
  cell(item: T): Node | string;
}

export interface Listing<T> {
  /** What the rows are, in the plural, for labels: `pods`. */
  noun: string;
  columns: Column<T>[];
  href(item: T): string;
  /** What the filter looks at; the first column's link carries `name`. */
  name(item: T): string;
  text?(item: T): string;
  empty: string;
  refresh?: () => void;
}

export interface ListingView<T> {
  element: HTMLElement;
  show(items: T[]): void;
  focus(): void;
}

export function listing<T>(spec: Listing<T>, signal: AbortSignal): ListingView<T> {
  let items: T[] = [];
  const input = h('input', {
    type: 'search',
    placeholder: `Filter ${spec.noun}`,
    'aria-label': `Filter ${spec.noun}`,
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    oninput: () => draw(),
    onkeydown: (event: KeyboardEvent) => fromFilter(event),
  });
  const count = h('p', { class: 'count', 'aria-live': 'polite' });
  const body = h('tbody', { onkeydown: (event: KeyboardEvent) => fromRow(event) });
  const table = h(
    'table',
    { class: 'listing' },
    h('thead', {}, h('tr', {}, ...spec.columns.map((column) => h('th', { scope: 'col', class: column.kind }, column.title)))),
    body,
  );
  const nothing = h('p', { class: 'empty', hidden: true });
  const refresh =
    spec.refresh === undefined
      ? null
      : h('button', { class: 'button', type: 'button', onclick: spec.refresh }, icon('refresh'), 'Refresh');

  document.addEventListener(
    'keydown',
    (event) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
      const elsewhere = event.target instanceof HTMLInputElement && event.target !== input;
      if (elsewhere) return;
      // Names hold no slash, so the key always means "let me type a filter".
      event.preventDefault();
      input.focus();
      input.select();
    },
    { signal },
  );

  function matching(): T[] {
    const words = input.value.toLowerCase().split(/\s+/).filter((word) => word !== '');
    return items.filter((item) => {
      const text = (spec.text?.(item) ?? spec.name(item)).toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  function draw(): void {
    const found = matching();
    const drawn = found.slice(0, DRAWN_ROWS);
    body.replaceChildren(...drawn.map(row));
    table.hidden = drawn.length === 0;
    nothing.hidden = drawn.length > 0;
    nothing.textContent = items.length === 0 ? spec.empty : `No ${spec.noun} match this filter.`;
    count.textContent =
      found.length > DRAWN_ROWS
        ? `The first ${DRAWN_ROWS} of ${found.length}; filter to see the others`
        : found.length === items.length
          ? `${items.length} ${items.length === 1 ? spec.noun.replace(/s$/, '') : spec.noun}`
          : `${found.length} of ${items.length} ${spec.noun}`;
  }

  function row(item: T): HTMLTableRowElement {
    const link = h('a', { class: 'row-link', href: spec.href(item) }, spec.name(item));
    const cells = spec.columns.map((column, index) =>
      h(
        index === 0 ? 'th' : 'td',
        { class: column.kind, scope: index === 0 ? 'row' : null, 'data-title': column.title },
        index === 0 ? link : column.cell(item),
      ),
    );
    return h('tr', {}, ...cells);
  }

  function links(): HTMLAnchorElement[] {
    return [...body.querySelectorAll<HTMLAnchorElement>('a.row-link')];
  }

  function fromFilter(event: KeyboardEvent): void {
    const first = links()[0];
    if (event.key === 'ArrowDown') first?.focus();
    else if (event.key === 'Enter') first?.click();
    else if (event.key === 'Escape' && input.value !== '') {
      input.value = '';
      draw();
    } else return;
    event.preventDefault();
  }

  function fromRow(event: KeyboardEvent): void {
    const all = links();
    const at = all.indexOf(document.activeElement as HTMLAnchorElement);
    if (at < 0) return;
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === 'Escape') input.focus();
    else if (next === undefined) return;
    else if (next < 0) input.focus();
    else all[next]?.focus();
    event.preventDefault();
  }

  return {
    element: h(
      'div',
      { class: 'listing-box' },
      h(
        'div',
        { class: 'listing-bar' },
        h('label', { class: 'filter' }, icon('search'), input, h('kbd', { 'aria-hidden': 'true' }, '/')),
        count,
        refresh,
      ),
      table,
      nothing,
    ),
    show(next: T[]): void {
      items = next;
      draw();
    },
    focus(): void {
      // On a phone the keyboard would cover the list one came to see.
      if (matchMedia('(pointer: fine)').matches) input.focus({ preventScroll: true });
    },
  };
}
