/** Building elements. Text always becomes a text node, so nothing a cluster says can become markup. */

export type Child = Node | string | null | undefined | false;

type Attribute = string | number | boolean | null | undefined | ((event: never) => void);

/** `onclick` and friends become listeners; `true` is a bare attribute; null, undefined and `false` are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Attribute> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

/** A line icon from the sprite below, drawn with the colour of the text around it. */
export function icon(name: keyof typeof ICONS): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

const ICONS = {
  terminal: 'M2.5 4.5 6 8l-3.5 3.5M8 12h5.5',
  search: 'M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.6 10.6 14 14',
  refresh: 'M13.5 8A5.5 5.5 0 1 1 11.6 3.8M13.5 2v3h-3',
  info: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 7.5v3.5M8 5v.2',
  close: 'M4 4l8 8M12 4l-8 8',
  plus: 'M8 3v10M3 8h10',
  duplicate: 'M5.5 5.5h8v8h-8zM10.5 2.5h-8v8',
  split: 'M2.5 3h11v10h-11zM8 3v10',
  up: 'M4 10l4-4 4 4',
  down: 'M4 6l4 4 4-4',
  copy: 'M6 6h7v7H6zM10 3H3v7',
  download: 'M8 2v8M4.5 7 8 10.5 11.5 7M3 13.5h10',
  unplug: 'M5 2v3M11 2v3M3.5 5h9v2.5a4.5 4.5 0 0 1-9 0zM8 12v2',
  smaller: 'M2 12.5 5.5 4h.5l3.5 8.5M3.4 9.5h4.7M11 8.5h4',
  larger: 'M2 12.5 5.5 4h.5l3.5 8.5M3.4 9.5h4.7M11 8.5h4M13 6.5v4',
} as const;

/** Tells screen readers, without moving the focus. */
export function announce(text: string): void {
  const announcer = document.getElementById('announcer');
  if (announcer !== null) announcer.textContent = text;
}

/** `3d`, `4h12m`, `7m`, `12s`: the two largest units that matter, as kubectl users read them. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days >= 10) return `${days}d`;
  if (days > 0) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`;
  if (hours > 0) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (minutes > 0) return seconds % 60 === 0 || minutes >= 10 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  return `${seconds}s`;
}

/** The age of something created at an RFC 3339 time, with the time itself to hover over. */
export function age(createdAt: string | null | undefined, now: number): HTMLElement {
  const created = createdAt === null || createdAt === undefined ? NaN : Date.parse(createdAt);
  if (Number.isNaN(created)) return h('span', {}, '–');
  return h('time', { datetime: createdAt, title: new Date(created).toLocaleString() }, duration(now - created));
}
