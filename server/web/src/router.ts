/** Addresses and the pages behind them, on the history API. */

export interface Route {
  params: Record<string, string>;
  query: URLSearchParams;
}

/** What a page is given. `signal` is aborted when the user goes elsewhere. */
export interface PageContext extends Route {
  root: HTMLElement;
  signal: AbortSignal;
  title(text: string): void;
  go(path: string): void;
}

export type Page = (context: PageContext) => void | Promise<void>;

interface Entry {
  pattern: string[];
  load: () => Promise<Page>;
}

/** The parameters in `path` if it has the shape of `pattern`, whose `{name}` parts match any one part. */
export function match(pattern: string[], path: string): Record<string, string> | null {
  const parts = path.split('/').filter((part) => part !== '');
  if (parts.length !== pattern.length) return null;
  const params: Record<string, string> = {};
  for (const [index, expected] of pattern.entries()) {
    let actual: string;
    try {
      actual = decodeURIComponent(parts[index] ?? '');
    } catch {
      return null;
    }
    if (expected.startsWith('{')) params[expected.slice(1, -1)] = actual;
    else if (expected !== actual) return null;
  }
  return params;
}

export class Router {
  readonly #root: HTMLElement;
  readonly #entries: Entry[] = [];
  readonly #notFound: Page;
  readonly #failed: (root: HTMLElement, error: unknown) => void;
  #leave = new AbortController();

  constructor(root: HTMLElement, notFound: Page, failed: (root: HTMLElement, error: unknown) => void) {
    this.#root = root;
    this.#notFound = notFound;
    this.#failed = failed;
  }

  add(pattern: string, load: () => Promise<Page>): void {
    this.#entries.push({ pattern: pattern.split('/').filter((part) => part !== ''), load });
  }

  start(): void {
    document.addEventListener('click', (event) => {
      const path = internalLink(event);
      if (path === null) return;
      event.preventDefault();
      void this.go(path);
    });
    window.addEventListener('popstate', () => void this.#show());
    void this.#show();
  }

  async go(path: string): Promise<void> {
    history.pushState(null, '', path);
    window.scrollTo(0, 0);
    await this.#show();
  }

  async #show(): Promise<void> {
    this.#leave.abort();
    const leave = new AbortController();
    this.#leave = leave;
    let page: Page = this.#notFound;
    let params: Record<string, string> = {};
    try {
      for (const entry of this.#entries) {
        const found = match(entry.pattern, location.pathname);
        if (found === null) continue;
        params = found;
        page = await entry.load();
        break;
      }
      if (leave.signal.aborted) return;
      this.#root.replaceChildren();
      this.#root.className = '';
      await page({
        params,
        query: new URLSearchParams(location.search),
        root: this.#root,
        signal: leave.signal,
        title: (text) => {
          document.title = text === '' ? 'Periscope' : `${text} · Periscope`;
        },
        go: (path) => void this.go(path),
      });
    } catch (error) {
      if (!leave.signal.aborted) this.#failed(this.#root, error);
    }
  }
}

function internalLink(event: MouseEvent): string | null {
  if (event.defaultPrevented || event.button !== 0) return null;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return null;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (link === null || link.target !== '' || link.hasAttribute('download')) return null;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || url.pathname.startsWith('/api/')) return null;
  // A link into the same page, such as the skip link, is the browser's business.
  if (url.hash !== '' && url.pathname === location.pathname) return null;
  return url.pathname + url.search;
}
