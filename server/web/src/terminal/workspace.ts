/** All shells of this page: the strip of tabs, the tools, and which one is in front. They outlive the page's routes. */

import { announce, h, icon } from '../dom.ts';
import { login } from '../header.ts';
import type { ExecTarget } from '../paths.ts';
import { podPage, podsPage } from '../paths.ts';
import { FONT_SIZES, readSettings, writeSettings, type Settings } from '../settings.ts';
import { pageMayGo, setOpenShells } from '../shells.ts';
import { onSignedIn } from '../signin.ts';
import { closeDialog, renameDialog } from './dialogs.ts';
import { infoDialog } from './info.ts';
import { Tab, tool } from './tab.ts';

export interface WorkspaceHost {
  go(path: string): void;
  /** Another tab is in front, or the one in front has another name. */
  front(tab: Tab): void;
}

const STORE = 'periscope.tabs';

/** More shells than anybody's limit allows would only be a list of refusals. */
const RESTORED_TABS = 20;

export class Workspace {
  readonly element = h('div', { id: 'workspace', hidden: true });
  readonly #settings: Settings = readSettings();
  readonly #tabs: Tab[] = [];
  readonly #strip = h('ul', { class: 'tabs', 'aria-label': 'Shells' });
  readonly #heading = h('h1', { class: 'visually-hidden' });
  readonly #add = h('a', { class: 'button bare add', 'aria-label': 'Open a shell in another pod', title: 'Open a shell in another pod' }, icon('plus'));
  readonly #status = h('span', { class: 'pill', id: 'status', role: 'status' }, h('span'), h('span', { class: 'idle' }));
  readonly #panels = h('div', { class: 'panels' });
  readonly #disconnect: HTMLButtonElement;
  readonly #splitter: HTMLButtonElement;
  readonly #duplicator: HTMLButtonElement;
  #front: Tab | null = null;
  /** The other shell on the screen, in a split view. */
  #beside: Tab | null = null;
  #host: WorkspaceHost = { go: () => undefined, front: () => undefined };
  #nextId = 1;
  #stripShown = '';

  constructor() {
    this.#splitter = tool('split', 'Two shells side by side (Ctrl+Shift+\\)', () => this.#split());
    this.#splitter.classList.add('splitter');
    this.#duplicator = tool('duplicate', 'Duplicate this shell (Ctrl+Shift+D)', () => this.#duplicate());
    this.#duplicator.classList.add('duplicate');
    this.#disconnect = tool('unplug', 'Disconnect', () => this.#front?.shell?.disconnect());
    this.element.append(this.#heading, this.#toolbar(), this.#panels);
    this.#restore();
    window.setInterval(() => this.#render(), 1000);
    onSignedIn(() => {
      for (const tab of this.#tabs) tab.signedIn();
    });
    // A slip such as Ctrl+W, which deletes a word in a shell, must not end it without a question.
    window.addEventListener('beforeunload', (event) => {
      if (!pageMayGo() && this.#tabs.some((tab) => tab.alive)) event.preventDefault();
    });
  }

  /** Puts the shell of this address in front, and opens it where there is none. `id` names a tab that is known to be meant. */
  enter(target: ExecTarget, id: number | null, host: WorkspaceHost): void {
    this.#host = host;
    this.element.hidden = false;
    const same = this.#tabs.filter((tab) => sameTarget(tab.target, target));
    const tab = same.find((one) => one.id === id) ?? same.find((one) => one.alive) ?? same[0] ?? this.#create(target);
    this.#activate(tab);
    // Back leads to a shell's end as it was left; Open Shell wants a new one.
    if (tab.id !== id || tab.shell === null) void tab.open();
  }

  /** The page shows something else; the shells go on. */
  leave(): void {
    this.element.hidden = true;
    this.#front?.show(false);
    this.#beside?.show(false);
    this.#host = { go: () => undefined, front: () => undefined };
  }

  #toolbar(): HTMLElement {
    return h(
      'div',
      { class: 'toolbar', role: 'group', 'aria-label': 'Terminal' },
      this.#strip,
      this.#add,
      h('span', { class: 'spacer' }),
      this.#status,
      tool('search', 'Find in the scrollback (Ctrl+Shift+F)', () => this.#front?.find()),
      tool('smaller', 'Smaller text', () => this.#fontSize(-1)),
      tool('larger', 'Larger text', () => this.#fontSize(1)),
      this.#duplicator,
      this.#splitter,
      tool('download', 'Download the scrollback', () => this.#front?.download()),
      tool('info', 'This session, its keys and settings', () => this.#info()),
      this.#disconnect,
    );
  }

  #create(target: ExecTarget, name = this.#freeName(target)): Tab {
    const tab: Tab = new Tab(this.#nextId++, target, name, {
      settings: this.#settings,
      changed: () => this.#render(),
      go: (path) => this.#host.go(path),
      declined: (declined) => this.#remove(declined),
      escaped: () => this.#leaveTerminal(),
      step: (by) => this.#step(by),
      duplicate: () => this.#duplicate(),
      split: () => this.#split(),
      entered: (entered) => {
        if (entered === this.#beside) this.#bringToFront(entered);
      },
      typed: () => login.typed(),
      signedOut: () => void login.ask(),
      loginEndsAt: () => login.endsAt,
    });
    this.#tabs.push(tab);
    this.#panels.append(tab.element);
    return tab;
  }

  /** `pod`, `pod · container` where that says more, with a number from the second on. */
  #freeName(target: ExecTarget): string {
    const { pod, container } = target;
    const plain = container === '' || container === pod ? pod : `${pod} · ${container}`;
    const taken = new Set(this.#tabs.map((tab) => tab.name));
    for (let number = 1; ; number++) {
      const name = number === 1 ? plain : `${plain} ${number}`;
      if (!taken.has(name)) return name;
    }
  }

  #activate(tab: Tab): void {
    this.#bringToFront(tab);
    tab.focus();
  }

  /** Makes this tab the one that the tools and the address speak of. In a split view it takes the place of the one in front. */
  #bringToFront(tab: Tab): void {
    if (tab === this.#beside) this.#beside = this.#front;
    this.#front = tab;
    for (const one of this.#tabs) one.show((one === tab || one === this.#beside) && !this.element.hidden);
    this.#panels.classList.toggle('split', this.#beside !== null);
    this.#splitter.ariaPressed = String(this.#beside !== null);
    this.#add.href = podsPage(tab.target.cluster, tab.target.namespace);
    this.#host.front(tab);
    this.#render();
  }

  /** Puts another shell beside the one in front, a new one where there is no other; or takes it behind again. */
  #split(): void {
    const front = this.#front;
    if (front === null) return;
    if (this.#beside !== null) {
      this.#beside = null;
      this.#activate(front);
      announce('One shell on the screen');
      return;
    }
    const at = this.#tabs.indexOf(front);
    const other = this.#tabs[at + 1] ?? this.#tabs[at - 1];
    if (other === undefined) {
      this.#beside = front;
      this.#duplicate();
    } else {
      this.#beside = other;
      this.#activate(front);
      if (other.shell === null) void other.open();
    }
    announce('Two shells side by side');
  }

  /** A tab chosen by hand: one restored after a reload opens now. */
  #choose(tab: Tab): void {
    this.#activate(tab);
    if (tab.shell === null) void tab.open();
  }

  #step(by: number): void {
    const at = this.#front === null ? 0 : this.#tabs.indexOf(this.#front);
    const next = this.#tabs[(at + by + this.#tabs.length) % this.#tabs.length];
    if (next === undefined || next === this.#front) return;
    this.#choose(next);
    announce(next.name);
  }

  #duplicate(): void {
    if (this.#front === null) return;
    const tab = this.#create(this.#front.target);
    this.#activate(tab);
    void tab.open(true);
  }

  async #rename(tab: Tab): Promise<void> {
    const name = await renameDialog(tab.name);
    if (name === null) return;
    tab.name = name === '' ? this.#freeName(tab.target) : name;
    tab.element.ariaLabel = `Shell ${tab.name}`;
    if (tab === this.#front) this.#host.front(tab);
    this.#render();
    tab.focus();
  }

  async #close(tab: Tab): Promise<void> {
    if (tab.alive && !(await closeDialog(tab.name))) return;
    this.#remove(tab);
  }

  #remove(tab: Tab): void {
    const at = this.#tabs.indexOf(tab);
    if (at < 0) return;
    this.#tabs.splice(at, 1);
    tab.dispose();
    const beside = this.#beside;
    if (tab === beside && this.#front !== null) {
      this.#beside = null;
      this.#activate(this.#front);
    } else if (tab === this.#front) {
      const { cluster, namespace, pod } = tab.target;
      this.#front = null;
      this.#beside = null;
      const next = beside ?? this.#tabs[Math.min(at, this.#tabs.length - 1)];
      if (next === undefined) this.#host.go(podPage(cluster, namespace, pod));
      else this.#choose(next);
    }
    this.#render();
  }

  #render(): void {
    const now = Date.now();
    const open = this.#tabs.map(({ id, name, href, alive }) => ({ id, name, href, alive }));
    setOpenShells(open);
    this.#renderStrip(now);
    const front = this.#front;
    if (front === null || this.element.hidden) return;
    front.render();
    this.#beside?.render();
    this.#heading.textContent = front.name;
    const { kind, text, idle = '' } = front.pill(now);
    const className = `pill ${kind}`;
    if (this.#status.className !== className) this.#status.className = className;
    // A screen reader would read every second of the uptime, so only the stages are announced.
    this.#status.ariaLive = kind === 'good' ? 'off' : 'polite';
    const [main, rest] = this.#status.children;
    if (main !== undefined && main.textContent !== text) main.textContent = text;
    if (rest !== undefined && rest.textContent !== idle) rest.textContent = idle;
    this.#disconnect.disabled = !front.alive;
  }

  #renderStrip(now: number): void {
    const looks = this.#tabs.map((tab) => ({ tab, kind: tab.pill(now).kind, front: tab === this.#front, beside: tab === this.#beside }));
    const shown = JSON.stringify(looks.map(({ tab, kind, front, beside }) => [tab.id, tab.name, tab.unseen, kind, front, beside]));
    if (shown === this.#stripShown) return;
    this.#stripShown = shown;
    this.#store();
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset['tab'] : undefined;
    this.#strip.replaceChildren(...looks.map(({ tab, kind, front, beside }) => this.#item(tab, kind, front, beside)));
    if (focused !== undefined) this.#strip.querySelector<HTMLElement>(`[data-tab="${focused}"]`)?.focus();
    this.#strip.querySelector('[aria-current]')?.closest('li')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }

  #item(tab: Tab, kind: string, front: boolean, beside: boolean): HTMLElement {
    const states: Readonly<Record<string, string>> = { good: 'open', busy: 'connecting', warn: 'needs attention', off: 'ended' };
    const where = beside ? ', on the screen' : '';
    const unseen = tab.unseen === 'bell' ? ', rang the bell' : tab.unseen === 'output' ? ', new output' : '';
    return h(
      'li',
      { class: `tab ${kind} ${tab.unseen ?? ''} ${beside ? 'beside' : ''}` },
      h(
        'button',
        {
          type: 'button',
          class: 'tab-name',
          'data-tab': tab.id,
          'aria-current': front ? 'true' : null,
          'aria-label': `${tab.name}, ${states[kind] ?? kind}${where}${unseen}`,
          title: `${tab.target.cluster} / ${tab.target.namespace} / ${tab.target.pod}\nDouble click or F2 to rename`,
          onclick: () => this.#choose(tab),
          ondblclick: () => void this.#rename(tab),
          onkeydown: (event: KeyboardEvent) => this.#stripKey(event, tab),
        },
        h('span', { class: 'dot', 'aria-hidden': 'true' }),
        h('span', { class: 'tab-text' }, tab.name),
      ),
      h('button', { type: 'button', class: 'tab-close', 'aria-label': `Close ${tab.name}`, title: 'Close', onclick: () => void this.#close(tab) }, icon('close')),
    );
  }

  #stripKey(event: KeyboardEvent, tab: Tab): void {
    const at = this.#tabs.indexOf(tab);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.#tabs.length - 1 }[event.key];
    if (event.key === 'F2') void this.#rename(tab);
    else if (event.key === 'Delete') void this.#close(tab);
    else if (next !== undefined) {
      this.#strip.querySelectorAll<HTMLElement>('.tab-name')[Math.min(Math.max(next, 0), this.#tabs.length - 1)]?.focus();
    } else return;
    event.preventDefault();
  }

  #fontSize(step: number): void {
    const size = Math.min(FONT_SIZES.largest, Math.max(FONT_SIZES.smallest, this.#settings.fontSize + step));
    this.#settings.fontSize = size;
    writeSettings(this.#settings);
    for (const tab of this.#tabs) tab.screen?.fontSize(size);
    announce(`Text size ${size}`);
  }

  #leaveTerminal(): void {
    this.#strip.querySelector<HTMLElement>('[aria-current]')?.focus();
    announce('You left the terminal. Tab moves on; Shift+Tab moves back.');
  }

  #info(): void {
    const front = this.#front;
    if (front?.shell === null || front === null) return;
    infoDialog(front.shell, this.#settings, {
      screenReader: (on) => {
        for (const tab of this.#tabs) tab.screen?.screenReader(on);
      },
      rename: () => void this.#rename(front),
    });
  }

  /** Where the shells were, for the next load of this browser tab. What ran in them does not outlive the page. */
  #store(): void {
    const tabs = this.#tabs.map(({ target, name }) => ({ ...target, name }));
    try {
      sessionStorage.setItem(STORE, JSON.stringify(tabs));
    } catch {
      // Without storage a reload starts with the shell of its address alone.
    }
  }

  #restore(): void {
    let stored: unknown = null;
    try {
      stored = JSON.parse(sessionStorage.getItem(STORE) ?? '[]');
    } catch {
      return;
    }
    if (!Array.isArray(stored)) return;
    for (const one of stored.slice(0, RESTORED_TABS) as unknown[]) {
      if (typeof one !== 'object' || one === null) continue;
      const field = one as Record<string, unknown>;
      const text = (key: string): string => (typeof field[key] === 'string' ? field[key] : '');
      const target = { cluster: text('cluster'), namespace: text('namespace'), pod: text('pod'), container: text('container'), command: text('command') };
      if (target.cluster !== '' && target.namespace !== '' && target.pod !== '') this.#create(target, text('name') || this.#freeName(target));
    }
  }
}

function sameTarget(a: ExecTarget, b: ExecTarget): boolean {
  return a.cluster === b.cluster && a.namespace === b.namespace && a.pod === b.pod && a.container === b.container && a.command === b.command;
}

let workspace: Workspace | null = null;

/** The one of this page, put on it at first use. */
export function theWorkspace(): Workspace {
  if (workspace === null) {
    workspace = new Workspace();
    document.getElementById('main')?.append(workspace.element);
  }
  return workspace;
}
