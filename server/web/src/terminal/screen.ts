/** The terminal on the page: xterm.js, its add-ons, keys, paste and colours. A chunk of its own. */

import '@xterm/xterm/css/xterm.css';
import { ClipboardAddon } from '@xterm/addon-clipboard';
import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { UnicodeGraphemesAddon } from '@xterm/addon-unicode-graphemes';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal } from '@xterm/xterm';
import type { Settings } from '../settings.ts';
import { copyText } from './clipboard.ts';
import { runsLines, withoutEscapes } from './paste.ts';
import { drawThroughCssom } from './stylesheet.ts';
import { appearance, onAppearanceChange } from './theme.ts';
import { Utf8Joiner } from './utf8.ts';

export interface ScreenEvents {
  input(bytes: Uint8Array<ArrayBuffer>): void;
  resized(cols: number, rows: number): void;
  /** The key that leaves the terminal was pressed. */
  escaped(): void;
  search(): void;
  /** To the next tab (1) or the one before (-1). */
  step(by: number): void;
  duplicate(): void;
  split(): void;
  bell(): void;
  /** Asks before text with line ends goes to a program that would run them at once. */
  confirmPaste(text: string): Promise<boolean>;
  confirmLink(address: string): Promise<boolean>;
}

/** Keys of the bar for touch screens, by what they are called; every other text is sent as it is. */
export type TouchKey = 'Esc' | 'Tab' | 'Up' | 'Down' | 'Left' | 'Right' | '|' | '/' | '-' | '~';

const SENT: Readonly<Record<string, string>> = { Esc: '\x1b', Tab: '\t' };

/** How long the window must keep still before the container hears of its size. */
const RESIZE_MILLISECONDS = 100;

const SCROLLBACK_LINES = 10_000;

/** Puts modes a dead program may have left behind back to what a shell expects, and keeps the scrollback. */
const LEAVE_OLD_SHELL = '\x18\x1b[!p\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?25h\x1b[0m';

export class Screen {
  readonly search = new SearchAddon();
  readonly #terminal: Terminal;
  readonly #fit = new FitAddon();
  readonly #host: HTMLElement;
  readonly #events: ScreenEvents;
  readonly #settings: Settings;
  readonly #encoder = new TextEncoder();
  readonly #joiner = new Utf8Joiner();
  /** Whether Tab is the shell's. Without a shell it moves through the page, as it does everywhere else. */
  takesTab = true;
  #resizeTimer = 0;
  #control: (() => void) | null = null;

  constructor(host: HTMLElement, settings: Settings, events: ScreenEvents, signal: AbortSignal) {
    this.#host = host;
    this.#events = events;
    this.#settings = settings;
    const { theme, minimumContrastRatio } = appearance();
    this.#terminal = new Terminal({
      allowProposedApi: true,
      cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
      fontFamily: 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace',
      fontSize: settings.fontSize,
      lineHeight: 1.15,
      linkHandler: { activate: (_event, address) => this.#follow(address, true) },
      minimumContrastRatio,
      screenReaderMode: settings.screenReader,
      scrollback: SCROLLBACK_LINES,
      theme,
    });
    this.#load();
    drawThroughCssom();
    this.#terminal.open(host);
    // Tests and assistive scripts read the screen through this; the pixels of a renderer tell them nothing.
    Object.defineProperty(host, 'terminal', { value: this.#terminal, configurable: true });
    this.fit();
    this.#listen(signal);
  }

  /** Chooses what draws. The size is only right afterwards, because renderers measure cells differently. */
  async ready(signal: AbortSignal): Promise<void> {
    if (wantsWebgl(this.#settings)) await this.#accelerate(signal);
    if (!signal.aborted) this.fit();
  }

  /** Takes the size of the place it has; a tab behind another has none, and keeps the one it had. */
  fit(): void {
    if (this.#host.clientHeight > 0) this.#fit.fit();
  }

  get cols(): number {
    return this.#terminal.cols;
  }

  get rows(): number {
    return this.#terminal.rows;
  }

  /** Draws terminal bytes; a character that is cut between two calls is drawn whole. */
  write(bytes: Uint8Array, done: () => void): void {
    this.#terminal.write(this.#joiner.join(bytes), done);
  }

  /** A line of our own between two shells on one screen. */
  separate(text: string): void {
    this.#joiner.reset();
    const buffer = this.#terminal.buffer.active;
    // Leaving the alternate screen also restores a cursor, so it must not be asked for in vain.
    const leave = buffer.type === 'alternate' ? '\x1b[?1049l\r\n' : buffer.cursorX > 0 ? '\r\n' : '';
    this.#terminal.write(this.#encoder.encode(`${LEAVE_OLD_SHELL}${leave}\x1b[90m── ${text} ──\x1b[0m\r\n`));
  }

  focus(): void {
    this.#terminal.focus();
  }

  fontSize(size: number): void {
    this.#terminal.options.fontSize = size;
    this.fit();
  }

  /** Sends a key that a phone's keyboard lacks. */
  press(key: TouchKey): void {
    const arrow = { Up: 'A', Down: 'B', Right: 'C', Left: 'D' }[key as string];
    const application = this.#terminal.modes.applicationCursorKeysMode;
    const text = arrow === undefined ? (SENT[key] ?? key) : `\x1b${application ? 'O' : '['}${arrow}`;
    this.#terminal.input(text);
    this.focus();
  }

  /** The next character comes with Ctrl; `used` is told when it has come. */
  control(used: (() => void) | null): void {
    this.#control = used;
    this.focus();
  }

  screenReader(on: boolean): void {
    this.#terminal.options.screenReaderMode = on;
  }

  /** Everything on the screen and above it, as text. */
  text(): string {
    const buffer = this.#terminal.buffer.normal;
    const lines: string[] = [];
    for (let index = 0; index < buffer.length; index++) {
      const line = buffer.getLine(index);
      if (line === undefined) continue;
      const text = line.translateToString(true);
      if (line.isWrapped && lines.length > 0) lines[lines.length - 1] += text;
      else lines.push(text);
    }
    return `${lines.join('\n').trimEnd()}\n`;
  }

  #load(): void {
    const terminal = this.#terminal;
    terminal.loadAddon(this.#fit);
    terminal.loadAddon(this.search);
    terminal.loadAddon(new UnicodeGraphemesAddon());
    terminal.loadAddon(new WebLinksAddon((_event, address) => this.#follow(address, false)));
    // A program in the container may offer text to copy (OSC 52). It may never read the clipboard.
    terminal.loadAddon(
      new ClipboardAddon(undefined, {
        readText: () => '',
        writeText: async (_selection, text) => {
          await copyText(text);
        },
      }),
    );
  }

  /** Draws on the graphics card; whatever goes wrong there, the DOM renderer goes on. */
  async #accelerate(signal: AbortSignal): Promise<void> {
    try {
      const { WebglAddon } = await import('@xterm/addon-webgl');
      if (signal.aborted) return;
      const addon = new WebglAddon();
      addon.onContextLoss(() => {
        addon.dispose();
        delete this.#host.dataset['renderer'];
        this.fit();
      });
      this.#terminal.loadAddon(addon);
      this.#host.dataset['renderer'] = 'webgl';
    } catch (error) {
      console.info('The terminal is drawn without WebGL:', error);
    }
  }

  #listen(signal: AbortSignal): void {
    const terminal = this.#terminal;
    terminal.onData((text) => {
      this.#events.input(this.#encoder.encode(this.#withControl(text)));
    });
    terminal.onBinary((text) => {
      this.#events.input(Uint8Array.from(text, (char) => char.charCodeAt(0)));
    });
    terminal.onResize(({ cols, rows }) => {
      this.#events.resized(cols, rows);
    });
    terminal.onBell(() => {
      this.#events.bell();
    });
    terminal.attachCustomKeyEventHandler((event) => this.#key(event));
    this.#host.addEventListener('paste', (event) => this.#paste(event), { capture: true, signal });
    this.#host.addEventListener('mouseup', () => this.#copySelection(), { signal });
    const observer = new ResizeObserver(() => {
      window.clearTimeout(this.#resizeTimer);
      this.#resizeTimer = window.setTimeout(() => this.fit(), RESIZE_MILLISECONDS);
    });
    observer.observe(this.#host);
    onAppearanceChange(() => Object.assign(terminal.options, appearance()), signal);
    signal.addEventListener('abort', () => {
      window.clearTimeout(this.#resizeTimer);
      observer.disconnect();
      terminal.dispose();
    });
  }

  /** Returns false for keys the terminal must not see. */
  #key(event: KeyboardEvent): boolean {
    if (event.code === 'Tab' && !this.takesTab) return false;
    const find = event.metaKey && !event.ctrlKey && !event.altKey && event.code === 'KeyF';
    if (!find && !(event.ctrlKey && event.shiftKey && !event.altKey && !event.metaKey)) return true;
    const action = find ? () => this.#events.search() : this.#shortcut(event.code);
    if (action === undefined) return true;
    // Paste is the browser's own; it then reaches us as a paste event.
    if (event.code === 'KeyV') return false;
    event.preventDefault();
    if (event.type === 'keydown') action();
    return false;
  }

  #shortcut(code: string): (() => void) | undefined {
    switch (code) {
      case 'KeyF':
        return () => this.#events.search();
      case 'KeyE':
        return () => this.#events.escaped();
      case 'KeyD':
        return () => this.#events.duplicate();
      case 'Backslash':
        return () => this.#events.split();
      case 'ArrowLeft':
        return () => this.#events.step(-1);
      case 'ArrowRight':
        return () => this.#events.step(1);
      case 'KeyC':
        return () => void copyText(this.#terminal.getSelection());
      case 'KeyV':
        return () => undefined;
      default:
        return undefined;
    }
  }

  #withControl(text: string): string {
    const used = this.#control;
    if (used === null || text.length !== 1) return text;
    this.#control = null;
    used();
    const code = text.toUpperCase().charCodeAt(0);
    return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : text;
  }

  #paste(event: ClipboardEvent): void {
    const text = event.clipboardData?.getData('text/plain') ?? '';
    event.preventDefault();
    event.stopPropagation();
    if (text === '') return;
    void this.pasteText(text);
  }

  async pasteText(text: string): Promise<void> {
    const bracketed = this.#terminal.modes.bracketedPasteMode;
    if (runsLines(text, bracketed) && !(await this.#events.confirmPaste(text))) {
      this.focus();
      return;
    }
    this.#terminal.paste(bracketed ? withoutEscapes(text) : text);
    this.focus();
  }

  #copySelection(): void {
    if (!this.#settings.copyOnSelect) return;
    const text = this.#terminal.getSelection();
    if (text !== '') void copyText(text);
  }

  #follow(address: string, hidden: boolean): void {
    let url: URL;
    try {
      url = new URL(address);
    } catch {
      return;
    }
    if (url.protocol !== 'http:' && url.protocol !== 'https:') return;
    const open = () => window.open(url.href, '_blank', 'noopener,noreferrer');
    // A link whose text is chosen by a program may lie about where it leads.
    if (!hidden) open();
    else void this.#events.confirmLink(url.href).then((yes) => (yes ? open() : null));
  }
}

/** How those call themselves that draw for WebGL without a graphics card. */
const BY_PROCESSOR = /swiftshader|llvmpipe|softpipe|software|basic render/i;

/** WebGL made by the processor is slower than the DOM, so it has to be a real graphics card. Some browsers do not count that as a caveat. */
function wantsWebgl(settings: Settings): boolean {
  if (settings.renderer !== 'auto') return settings.renderer === 'webgl';
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('webgl2', { failIfMajorPerformanceCaveat: true });
  if (context === null) return false;
  const names = context.getExtension('WEBGL_debug_renderer_info');
  const drawer: unknown = names === null ? '' : context.getParameter(names.UNMASKED_RENDERER_WEBGL);
  // Browsers allow a page few contexts, and every terminal asks.
  context.getExtension('WEBGL_lose_context')?.loseContext();
  return !BY_PROCESSOR.test(String(drawer));
}
