/** The terminal page: one shell, what surrounds it, and what happens when it ends. */

import { dryRunExec } from '../api.ts';
import { announce, h, icon } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import { clusterPage, execPath, podPage, podsPage, type ExecTarget } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { sentenceForEnd } from '../sentences.ts';
import { FONT_SIZES, readSettings, writeSettings, type Settings } from '../settings.ts';
import { capDialog, infoDialog, leaveDialog, linkDialog, noShellDialog, pasteDialog } from '../terminal/dialogs.ts';
import type { Screen } from '../terminal/screen.ts';
import { searchBar, type SearchBar } from '../terminal/searchbar.ts';
import { Shell, type ShellHost, type ShellSocket } from '../terminal/shell.ts';
import { banner, notices, pill } from '../terminal/status.ts';

export async function execShellPage(context: PageContext): Promise<void> {
  const page = new ExecPage(context);
  await page.start();
}

class ExecPage {
  readonly #context: PageContext;
  readonly #target: ExecTarget;
  readonly #settings: Settings = readSettings();
  readonly #pill = h('span', { class: 'pill', id: 'status', role: 'status' });
  readonly #notices = h('div', { class: 'notices', 'aria-live': 'polite' });
  readonly #end = h('div', { class: 'end-place' });
  readonly #terminal = h('div', { class: 'terminal', id: 'terminal' });
  readonly #box = h('div', { class: 'terminal-box' }, this.#terminal, this.#notices);
  #disconnect: HTMLButtonElement | null = null;
  #shell: Shell | null = null;
  #screen: Screen | null = null;
  #search: SearchBar | null = null;
  /** The end that has been shown and announced, so that the ticking clock does not repeat it. */
  #shownEnd: object | null = null;
  #shownStage = '';

  constructor(context: PageContext) {
    this.#context = context;
    const { params, query } = context;
    this.#target = {
      cluster: params['cluster'] ?? '',
      namespace: params['namespace'] ?? '',
      pod: params['pod'] ?? '',
      container: query.get('container') ?? '',
      command: query.get('command') ?? '',
    };
  }

  async start(): Promise<void> {
    const { root, signal, title } = this.#context;
    const { cluster, namespace, pod, container } = this.#target;
    title(container === '' ? pod : `${pod} · ${container}`);
    showCrumbs([
      { text: 'Clusters', href: '/' },
      { text: cluster, href: clusterPage(cluster) },
      { text: namespace, href: podsPage(cluster, namespace) },
      { text: pod, href: podPage(cluster, namespace, pod) },
      { text: container === '' ? 'shell' : container },
    ]);
    root.className = 'exec';
    root.append(this.#toolbar(), this.#box, this.#end);
    this.#pill.className = 'pill busy';
    this.#pill.textContent = 'Loading the terminal…';
    const { Screen } = await import('../terminal/screen.ts');
    if (signal.aborted) return;
    const screen = new Screen(this.#terminal, this.#settings, {
      input: (bytes) => this.#input(bytes),
      resized: (cols, rows) => this.#shell?.resize(cols, rows),
      escaped: () => this.#leaveTerminal(),
      search: () => this.#search?.open(),
      bell: () => this.#bell(),
      confirmPaste: pasteDialog,
      confirmLink: linkDialog,
    }, signal);
    await screen.ready(signal);
    if (signal.aborted) return;
    this.#screen = screen;
    this.#search = searchBar(screen.search, () => screen.focus());
    this.#box.append(this.#search.element);
    const shell = new Shell(this.#host(screen), {
      cols: screen.cols,
      rows: screen.rows,
      ownCommand: this.#target.command !== '',
      hiddenSeconds: this.#settings.hiddenSeconds,
    });
    this.#shell = shell;
    this.#listen(shell);
    screen.focus();
    shell.connect();
  }

  #toolbar(): HTMLElement {
    const { pod, container } = this.#target;
    this.#disconnect = tool('unplug', 'Disconnect', () => this.#shell?.disconnect());
    return h(
      'div',
      { class: 'toolbar', role: 'group', 'aria-label': 'Terminal' },
      h('h1', {}, pod, container === '' ? '' : h('span', { class: 'quiet' }, ` · ${container}`)),
      this.#pill,
      h('span', { class: 'spacer' }),
      tool('search', 'Find in the scrollback (Ctrl+Shift+F)', () => this.#search?.open()),
      tool('smaller', 'Smaller text', () => this.#fontSize(-1)),
      tool('larger', 'Larger text', () => this.#fontSize(1)),
      tool('download', 'Download the scrollback', () => this.#download()),
      tool('info', 'This session and its keys', () => this.#info()),
      this.#disconnect,
    );
  }

  #host(screen: Screen): ShellHost {
    const base = location.origin.replace(/^http/, 'ws');
    const target = this.#target;
    return {
      openSocket: (cols, rows): ShellSocket => new WebSocket(base + execPath(target, cols, rows)),
      dryRun: async () => {
        try {
          return { reached: true, error: await dryRunExec(execPath(target, screen.cols, screen.rows)) };
        } catch {
          return { reached: false, error: null };
        }
      },
      write: (bytes, done) => screen.write(bytes, done),
      changed: () => this.#render(),
      now: () => Date.now(),
      after: (milliseconds, action) => {
        const timer = window.setTimeout(action, milliseconds);
        return () => window.clearTimeout(timer);
      },
    };
  }

  #listen(shell: Shell): void {
    const { signal } = this.#context;
    const clock = window.setInterval(() => this.#render(), 1000);
    document.addEventListener('visibilitychange', () => shell.visibility(document.hidden), { signal });
    // A slip such as Ctrl+W, which deletes a word in a shell, must not end it without a question.
    window.addEventListener(
      'beforeunload',
      (event) => {
        if (shell.stage === 'open') event.preventDefault();
      },
      { signal },
    );
    signal.addEventListener('abort', () => {
      window.clearInterval(clock);
      shell.dispose();
    });
    shell.visibility(document.hidden);
    this.#context.guard(async () => shell.stage !== 'open' || (await leaveDialog()));
  }

  #input(bytes: Uint8Array<ArrayBuffer>): void {
    const shell = this.#shell;
    if (shell === null || shell.input(bytes)) return;
    const enter = bytes.byteLength === 1 && bytes[0] === 0x0d;
    if (enter) this.#reconnect();
  }

  #reconnect(): void {
    this.#shell?.connect();
    this.#screen?.focus();
  }

  #render(): void {
    const shell = this.#shell;
    if (shell === null) return;
    const now = Date.now();
    const state = pill(shell, now);
    const kind = `pill ${state.kind}`;
    if (this.#pill.className !== kind) this.#pill.className = kind;
    // A screen reader would read every second of the uptime, so only the stages are announced.
    this.#pill.ariaLive = state.kind === 'good' ? 'off' : 'polite';
    if (this.#pill.textContent !== state.text) this.#pill.textContent = state.text;
    this.#renderNotices(notices(shell, now));
    if (this.#disconnect !== null) this.#disconnect.disabled = shell.stage === 'ended';
    if (this.#shownStage !== shell.stage) this.#stageChanged(shell, now);
    const retry = this.#end.querySelector('#retry-text');
    if (retry !== null && retry.textContent !== state.text) retry.textContent = state.text;
  }

  #renderNotices(texts: string[]): void {
    const old = [...this.#notices.children].map((child) => child.textContent);
    if (old.length === texts.length && old.every((text, index) => text === texts[index])) return;
    this.#notices.replaceChildren(...texts.map((text) => h('p', {}, text)));
  }

  #stageChanged(shell: Shell, now: number): void {
    const before = this.#shownStage;
    this.#shownStage = shell.stage;
    const end = shell.end;
    if (end === null || (shell.stage !== 'ended' && shell.stage !== 'waiting')) {
      this.#end.replaceChildren();
      if (shell.stage === 'connecting' && before !== '') this.#screen?.separate('new shell');
      if (shell.stage === 'open') announce('The shell is open');
      return;
    }
    const { cluster, namespace, pod } = this.#target;
    this.#end.replaceChildren(
      banner(shell, end, now, {
        reconnect: () => this.#reconnect(),
        stop: () => shell.disconnect(),
        back: podPage(cluster, namespace, pod),
        login: `/api/auth/login?returnTo=${encodeURIComponent(location.pathname + location.search)}`,
      }),
    );
    if (this.#shownEnd === end) return;
    this.#shownEnd = end;
    const sentence = sentenceForEnd(end);
    announce(`${sentence.title}. ${sentence.advice}`);
    void this.#askAboutEnd(shell);
  }

  /** Some ends have a way out that a sentence alone cannot offer. */
  async #askAboutEnd(shell: Shell): Promise<void> {
    const error = shell.end?.error;
    if (error === null || error === undefined) return;
    if ((error.code === 'E_CAP_USER' || error.code === 'E_CAP_CLUSTER') && error.activeSessions !== undefined) {
      if (await capDialog(error)) this.#reconnect();
    } else if (error.code === 'E_NO_SHELL' && this.#target.command === '') {
      const container = shell.session.hello?.container || this.#target.container;
      const path = await noShellDialog(this.#target, container);
      if (path === null || this.#context.signal.aborted) return;
      this.#context.go(path);
    }
  }

  #fontSize(step: number): void {
    const size = Math.min(FONT_SIZES.largest, Math.max(FONT_SIZES.smallest, this.#settings.fontSize + step));
    this.#settings.fontSize = size;
    writeSettings(this.#settings);
    this.#screen?.fontSize(size);
    announce(`Text size ${size}`);
  }

  #leaveTerminal(): void {
    this.#context.root.querySelector<HTMLElement>('.toolbar button')?.focus();
    announce('You left the terminal. Tab moves on; Shift+Tab moves back.');
  }

  #bell(): void {
    this.#box.classList.add('rung');
    window.setTimeout(() => this.#box.classList.remove('rung'), 150);
  }

  #download(): void {
    const screen = this.#screen;
    if (screen === null) return;
    const address = URL.createObjectURL(new Blob([screen.text()], { type: 'text/plain' }));
    h('a', { href: address, download: `${this.#target.pod}.txt` }).click();
    URL.revokeObjectURL(address);
  }

  #info(): void {
    const shell = this.#shell;
    if (shell === null) return;
    infoDialog(
      shell,
      h(
        'div',
        {},
        h('h3', {}, 'Keys'),
        h(
          'dl',
          { class: 'facts-list' },
          ...KEYS.flatMap(([key, meaning]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, meaning)]),
        ),
        this.#option('screenReader', 'Screen reader mode', (on) => this.#screen?.screenReader(on)),
        this.#option('copyOnSelect', 'Copy what is selected', () => undefined),
      ),
    );
  }

  #option(name: 'screenReader' | 'copyOnSelect', text: string, changed: (on: boolean) => void): HTMLElement {
    const box = h('input', { type: 'checkbox', checked: this.#settings[name] });
    box.addEventListener('change', () => {
      this.#settings[name] = box.checked;
      writeSettings(this.#settings);
      changed(box.checked);
    });
    return h('label', { class: 'choice' }, box, text);
  }
}

const KEYS: readonly [string, string][] = [
  ['Ctrl+Shift+E', 'leave the terminal, so that Tab moves through the page again'],
  ['Ctrl+Shift+F', 'find in the scrollback'],
  ['Ctrl+Shift+C', 'copy the selection'],
  ['Ctrl+Shift+V', 'paste'],
  ['Enter', 'after the end: reconnect'],
];

function tool(name: Parameters<typeof icon>[0], label: string, action: () => void): HTMLButtonElement {
  return h('button', { type: 'button', class: 'button bare', 'aria-label': label, title: label, onclick: action }, icon(name));
}
