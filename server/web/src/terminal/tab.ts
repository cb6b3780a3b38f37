/** One shell with its terminal, what floats over it, and what happens when it ends. */

import { dryRunExec } from '../api.ts';
import { announce, h, icon } from '../dom.ts';
import { execPage, execPath, podPage, podsPage, type ExecTarget } from '../paths.ts';
import { isGone, sentenceForEnd } from '../sentences.ts';
import type { Settings } from '../settings.ts';
import { loginAddress, SIGNED_IN_PATH } from '../signin.ts';
import { capDialog, commandDialog, linkDialog, noShellDialog, pasteDialog } from './dialogs.ts';
import { keyBar } from './keybar.ts';
import { Screen } from './screen.ts';
import { searchBar, type SearchBar } from './searchbar.ts';
import { Shell, type ShellHost, type ShellSocket } from './shell.ts';
import { banner, lostNote, notices, pill, steps, type Pill } from './status.ts';

export interface TabHost {
  settings: Settings;
  /** Something of this tab that others show has changed. */
  changed(): void;
  go(path: string): void;
  /** The user declined to run what the address asked for. */
  declined(tab: Tab): void;
  /** Out of the terminal, to the page's own controls. */
  escaped(): void;
  /** To the next tab (1) or the one before (-1). */
  step(by: number): void;
  duplicate(): void;
  split(): void;
  /** The keyboard or the pointer came into this tab's panel. */
  entered(tab: Tab): void;
  /** Bytes went into an open shell. */
  typed(): void;
  /** The gateway ended a shell because its login has ended. */
  signedOut(): void;
  /** When the login that opens shells now ends. */
  loginEndsAt(): number | null;
}

export class Tab {
  readonly id: number;
  readonly target: ExecTarget;
  readonly element: HTMLElement;
  name: string;
  /** What has happened here since anybody looked. */
  unseen: 'output' | 'bell' | null = null;
  shell: Shell | null = null;
  screen: Screen | null = null;

  readonly #host: TabHost;
  readonly #leave = new AbortController();
  readonly #terminal = h('div', { class: 'terminal' });
  readonly #notices = h('div', { class: 'notices', 'aria-live': 'polite' });
  readonly #lost = h('div', {});
  readonly #steps = h('div', { class: 'steps-place' });
  readonly #end = h('div', { class: 'end-place' });
  // What floats over the terminal comes before it, where Tab reaches it although the terminal keeps Tab to itself.
  readonly #box = h('div', { class: 'terminal-box' }, h('div', { class: 'floating' }, this.#notices, this.#lost), this.#terminal, this.#steps);
  #search: SearchBar | null = null;
  #opening = false;
  /** The end that has been shown and announced, so that the ticking clock does not repeat it. */
  #shownEnd: object | null = null;
  #shownStage = '';
  #wasOpen = false;
  /** When the login this shell was opened under ends. */
  #loginEndsAt: number | null = null;
  #shownLost: object | null = null;
  /** Keys pressed after the end, which went nowhere. */
  #vainKeys = 0;

  constructor(id: number, target: ExecTarget, name: string, host: TabHost) {
    this.id = id;
    this.target = target;
    this.name = name;
    this.#host = host;
    this.element = h('section', { class: 'panel', hidden: true, 'aria-label': `Shell ${name}` }, this.#box, this.#end);
    this.element.addEventListener('focusin', () => host.entered(this));
  }

  get href(): string {
    const { cluster, namespace, pod, container, command } = this.target;
    const page = execPage(cluster, namespace, pod, container);
    return command === '' ? page : `${page}${container === '' ? '?' : '&'}command=${encodeURIComponent(command)}`;
  }

  get alive(): boolean {
    return this.shell?.alive ?? this.#opening;
  }

  get visible(): boolean {
    return !this.element.hidden;
  }

  /** Builds the terminal and opens the shell, the first time; later only the shell, if it has ended. */
  async open(trusted = false): Promise<void> {
    if (this.#opening) return;
    if (this.shell !== null) {
      if (this.shell.stage === 'ended') this.#reconnect();
      return;
    }
    this.#opening = true;
    try {
      // An address can come from anybody; nothing runs on the strength of a link alone.
      if (this.target.command !== '' && !trusted && !(await commandDialog(this.target))) {
        this.#host.declined(this);
        return;
      }
      await this.#start();
    } finally {
      this.#opening = false;
      this.#host.changed();
    }
  }

  show(visible: boolean): void {
    this.element.hidden = !visible;
    if (!visible) return;
    this.unseen = null;
    this.screen?.fit();
    this.render();
  }

  /** Somebody has signed in beside this page: goes on with what only a login was missing for. */
  signedIn(): void {
    if (this.shell?.waitsForLogin === true) this.#reconnect();
  }

  focus(): void {
    this.screen?.focus();
  }

  find(): void {
    this.#search?.open();
  }

  /** Ends the shell and takes the terminal off the page. */
  dispose(): void {
    this.#leave.abort();
    this.shell?.dispose();
    this.element.remove();
  }

  pill(now: number): Pill {
    if (this.shell !== null) return pill(this.shell, now);
    return this.#opening ? { kind: 'busy', text: 'Loading the terminal…' } : { kind: 'off', text: 'Not open' };
  }

  render(): void {
    const { shell } = this;
    if (shell === null) return;
    const now = Date.now();
    this.#renderNotices(notices(shell, now, this.#vainKeys, this.#earlierLogin(now)));
    this.#renderLost(shell);
    if (this.#shownStage !== shell.stage) this.#stageChanged(shell, now);
    const retry = this.#end.querySelector('#retry-text');
    const text = pill(shell, now).text;
    if (retry !== null && retry.textContent !== text) retry.textContent = text;
  }

  download(): void {
    if (this.screen === null) return;
    const address = URL.createObjectURL(new Blob([this.screen.text()], { type: 'text/plain' }));
    h('a', { href: address, download: `${this.name.replaceAll(/[^\w.-]+/g, '-')}.txt` }).click();
    URL.revokeObjectURL(address);
  }

  async #start(): Promise<void> {
    const { signal } = this.#leave;
    const screen = new Screen(this.#terminal, this.#host.settings, {
      input: (bytes) => this.#input(bytes),
      resized: (cols, rows) => this.shell?.resize(cols, rows),
      escaped: () => this.#host.escaped(),
      search: () => this.find(),
      step: (by) => this.#host.step(by),
      duplicate: () => this.#host.duplicate(),
      split: () => this.#host.split(),
      bell: () => this.#bell(),
      confirmPaste: pasteDialog,
      confirmLink: linkDialog,
    }, signal);
    await screen.ready(signal);
    if (signal.aborted) return;
    this.screen = screen;
    this.#search = searchBar(screen.search, () => screen.focus());
    this.#box.append(this.#search.element);
    this.#box.after(keyBar(screen));
    screen.fit();
    const shell = new Shell(this.#shellHost(screen), {
      cols: screen.cols,
      rows: screen.rows,
      ownCommand: this.target.command !== '',
      hiddenSeconds: () => this.#host.settings.hiddenSeconds,
    });
    this.shell = shell;
    document.addEventListener('visibilitychange', () => shell.visibility(document.hidden), { signal });
    shell.visibility(document.hidden);
    if (this.visible) screen.focus();
    this.#loginEndsAt = this.#host.loginEndsAt();
    shell.connect();
  }

  #shellHost(screen: Screen): ShellHost {
    const base = location.origin.replace(/^http/, 'ws');
    const { target } = this;
    return {
      openSocket: (cols, rows): ShellSocket => new WebSocket(base + execPath(target, cols, rows)),
      dryRun: async () => {
        try {
          return { reached: true, error: await dryRunExec(execPath(target, screen.cols, screen.rows)) };
        } catch {
          return { reached: false, error: null };
        }
      },
      write: (bytes, done) => {
        if (!this.visible && this.unseen === null) {
          this.unseen = 'output';
          this.#host.changed();
        }
        screen.write(bytes, done);
      },
      changed: () => {
        this.render();
        this.#host.changed();
      },
      now: () => Date.now(),
      after: (milliseconds, action) => {
        const timer = window.setTimeout(action, milliseconds);
        return () => window.clearTimeout(timer);
      },
    };
  }

  #input(bytes: Uint8Array<ArrayBuffer>): void {
    const { shell } = this;
    if (shell === null) return;
    if (shell.input(bytes)) {
      if (shell.stage === 'open') this.#host.typed();
      return;
    }
    const enter = bytes.byteLength === 1 && bytes[0] === 0x0d;
    if (enter) {
      this.#reconnect();
      return;
    }
    this.#vainKeys += 1;
    if (this.#vainKeys === 1) announce('The shell has ended. What you type goes nowhere; Enter opens a new shell.');
    this.render();
  }

  #reconnect(): void {
    this.#loginEndsAt = this.#host.loginEndsAt();
    this.shell?.connect();
    if (this.visible) this.screen?.focus();
  }

  /** The end of the login this shell hangs on, when a newer login hides it. */
  #earlierLogin(now: number): number | null {
    const end = this.#loginEndsAt;
    if (end === null || end === this.#host.loginEndsAt() || end - now > 300_000) return null;
    return end;
  }

  #renderNotices(texts: string[]): void {
    const old = [...this.#notices.children].map((child) => child.textContent);
    if (old.length === texts.length && old.every((text, index) => text === texts[index])) return;
    this.#notices.replaceChildren(...texts.map((text) => h('p', {}, text)));
  }

  #renderLost(shell: Shell): void {
    const { lost } = shell;
    if (lost === this.#shownLost) return;
    this.#shownLost = lost;
    if (lost === null) {
      this.#lost.replaceChildren();
      return;
    }
    const dismiss = (): void => {
      shell.lost = null;
      this.render();
      this.focus();
    };
    this.#lost.replaceChildren(lostNote(lost, dismiss));
  }

  #stageChanged(shell: Shell, now: number): void {
    this.#shownStage = shell.stage;
    const { told } = shell;
    if (this.screen !== null) this.screen.takesTab = shell.stage !== 'ended' && shell.stage !== 'waiting';
    this.#steps.replaceChildren(...steps(shell.stage));
    if (told === null || (shell.stage !== 'ended' && shell.stage !== 'waiting')) {
      this.#end.replaceChildren();
      this.#vainKeys = 0;
      if (shell.stage === 'open') this.#opened();
      return;
    }
    const { cluster, namespace, pod } = this.target;
    const { end } = told;
    this.#end.replaceChildren(
      banner(shell, told, now, {
        reconnect: () => this.#reconnect(),
        stop: () => shell.disconnect(),
        back: isGone(end) ? { text: 'Back to the pods', href: podsPage(cluster, namespace) } : { text: 'Back to the pod', href: podPage(cluster, namespace, pod) },
        login: loginAddress(SIGNED_IN_PATH),
      }),
    );
    if (this.#shownEnd === end) return;
    this.#shownEnd = end;
    if (end.error?.code === 'E_AUTH') this.#host.signedOut();
    const sentence = sentenceForEnd(end);
    announce(`${this.name}: ${sentence.title}. ${sentence.advice}`);
    if (this.visible) void this.#askAboutEnd(shell);
  }

  /** A line of our own parts a new shell from what an earlier one left on the screen. */
  #opened(): void {
    if (this.#wasOpen) this.screen?.separate('new shell');
    this.#wasOpen = true;
    announce(`The shell in ${this.name} is open`);
  }

  /** Some ends have a way out that a sentence alone cannot offer. */
  async #askAboutEnd(shell: Shell): Promise<void> {
    const error = shell.end?.error;
    if (error === null || error === undefined) return;
    if ((error.code === 'E_CAP_USER' || error.code === 'E_CAP_CLUSTER') && error.activeSessions !== undefined) {
      if (await capDialog(error)) this.#reconnect();
    } else if (error.code === 'E_NO_SHELL' && this.target.command === '') {
      const container = shell.session.hello?.container || this.target.container;
      const path = await noShellDialog(this.target, container);
      if (path === null || this.#leave.signal.aborted) return;
      this.#host.go(path);
    }
  }

  #bell(): void {
    if (!this.visible || document.hidden) this.unseen = 'bell';
    this.#box.classList.add('rung');
    window.setTimeout(() => this.#box.classList.remove('rung'), 150);
    this.#host.changed();
  }
}

export function tool(name: Parameters<typeof icon>[0], label: string, action: () => void): HTMLButtonElement {
  return h('button', { type: 'button', class: 'button bare', 'aria-label': label, title: label, onclick: action }, icon(name));
}
