/** What the page says about a shell: the pill, the notices over the terminal and the banner at the end. */

import { duration, h, icon } from '../dom.ts';
import { copyText } from './clipboard.ts';
import type { End, Hello } from '../protocol.ts';
import { isFinal, saysMore, sentenceForEnd, truncatedNote } from '../sentences.ts';
import type { Shell, Told } from './shell.ts';
import type { LostInput } from './stdin.ts';

export interface Pill {
  kind: 'busy' | 'good' | 'warn' | 'off';
  text: string;
  /** What is said beside it where there is room. */
  idle?: string;
}

export function pill(shell: Shell, now: number): Pill {
  const session = shell.session;
  switch (shell.stage) {
    case 'connecting':
      return { kind: 'busy', text: 'Connecting to the gateway…' };
    case 'starting':
      return { kind: 'busy', text: 'Starting the shell…' };
    case 'waiting':
      return { kind: 'warn', text: waitingText(shell, now) };
    case 'ended':
      return { kind: 'off', text: 'Ended' };
    case 'open':
      if (session.drainDeadline !== null) return { kind: 'warn', text: `Closing in ${seconds(session.drainDeadline, now)}` };
      if (session.idleDeadline !== null) return { kind: 'warn', text: `Idle, closing in ${seconds(session.idleDeadline, now)}` };
      return { kind: 'good', text: `Open ${duration(now - (session.openedAt ?? now))}`, idle: idleText(shell, now) };
  }
}

/** How long the gateway waits for a byte, in whole minutes while there are several. */
function idleText(shell: Shell, now: number): string {
  const deadline = shell.idleDeadline;
  if (deadline === null) return '';
  const left = Math.max(0, deadline - now);
  return `closes in ${left > 120_000 ? `${Math.ceil(left / 60_000)}m` : duration(left)} if idle`;
}

/** The way to a shell, step by step, while one is on it. It shows itself only when that takes a moment. */
export function steps(stage: Shell['stage']): HTMLElement[] {
  if (stage !== 'connecting' && stage !== 'starting') return [];
  const now = stage === 'connecting' ? 0 : 1;
  const texts = ['The gateway: may you, is there room', 'The cluster: finding the container', 'The shell'];
  return [
    h(
      'ol',
      { class: 'steps', 'aria-label': 'Connecting' },
      ...texts.map((text, index) =>
        h('li', { class: index < now ? 'done' : index === now ? 'now' : '', 'aria-current': index === now ? 'step' : null }, text),
      ),
    ),
  ];
}

function waitingText(shell: Shell, now: number): string {
  const left = Math.ceil(((shell.retryAt ?? now) - now) / 1000);
  return left <= 0 ? 'Reconnecting…' : `Reconnecting in ${left} s`;
}

function seconds(deadline: number, now: number): string {
  return `${Math.max(0, Math.ceil((deadline - now) / 1000))}\u00a0s`;
}

/** Notices that float over the terminal, because moving it would resize the container's terminal. */
export function notices(shell: Shell, now: number, vainKeys: number, loginEndsAt: number | null): string[] {
  const session = shell.session;
  const found: string[] = [];
  if (shell.stage === 'open' && loginEndsAt !== null) {
    found.push(`This shell belongs to your earlier login and ends with it in ${seconds(loginEndsAt, now)}. Save your work and open a new one.`);
  }
  if (vainKeys > 0 && shell.stage === 'ended') found.push('This shell has ended, so what you type goes nowhere. Enter opens a new one.');
  if (vainKeys > 0 && shell.stage === 'waiting') found.push('There is no shell right now, so what you type goes nowhere.');
  if (shell.stage === 'open' && session.drainDeadline !== null) {
    found.push(`The gateway is restarting. This shell ends in ${seconds(session.drainDeadline, now)}; save your work.`);
  }
  if (shell.stage === 'open' && session.idleDeadline !== null) {
    found.push(`Nothing has happened for a while. Press any key within ${seconds(session.idleDeadline, now)} to keep this shell.`);
  }
  const pending = shell.pendingInputBytes;
  if (pending > 64 * 1024) found.push(`Sending your paste: ${(pending / 1_048_576).toFixed(1)} MiB to go.`);
  return found;
}

export interface BannerActions {
  reconnect(): void;
  stop(): void;
  back: { text: string; href: string };
  login: string;
}

/** How the shell ended, why, and what to do about it. */
export function banner(shell: Shell, { end, hello }: Told, now: number, actions: BannerActions): HTMLElement {
  const sentence = sentenceForEnd(end);
  const waiting = shell.stage === 'waiting';
  const clean = (end.detail === 'process_exit' && end.exitCode === 0) || end.detail === 'user_close';
  const final = isFinal(end);
  const element = h('section', { class: `end-banner ${clean ? 'calm' : 'stark'}`, 'aria-label': 'How the shell ended' });
  const facts = h('p', { class: 'end-facts' }, ...factLine(end, hello));
  const buttons = waiting
    ? [
        h('span', { class: 'retry', id: 'retry-text' }, waitingText(shell, now)),
        button('Reconnect now', true, actions.reconnect),
        button('Stop', false, actions.stop),
      ]
    : [
        end.error?.code === 'E_AUTH'
          ? h('a', { class: 'button primary', href: actions.login, target: '_blank', rel: 'noopener' }, 'Sign in in a new tab')
          : null,
        end.error?.code === 'E_AUTH'
          ? button('Reconnect', false, actions.reconnect, 'refresh')
          : button(hello !== null ? 'Reconnect' : 'Try again', !final, actions.reconnect, 'refresh'),
        h('a', { class: final ? 'button primary' : 'button', href: actions.back.href }, actions.back.text),
      ];
  const note = truncatedNote(end);
  element.append(
    h(
      'div',
      { class: 'end-text' },
      h('h2', {}, sentence.title),
      sentence.advice === '' ? '' : h('p', {}, sentence.advice),
      end.error !== null && saysMore(end.error.message, sentence) ? h('p', { class: 'quiet' }, end.error.message) : '',
      note === '' ? '' : h('p', { class: 'truncated' }, icon('info'), note),
      facts,
    ),
    h('div', { class: 'end-buttons' }, ...buttons),
  );
  return element;
}

/** Input that an end may have swallowed is never lost in silence, and stays until somebody has taken note. */
export function lostNote(lost: LostInput, dismiss: () => void): HTMLElement {
  const characters = [...lost.text].length;
  const size = lost.bytes < 10_240 ? `${characters} ${characters === 1 ? 'character' : 'characters'}` : `${(lost.bytes / 1_048_576).toFixed(1)} MiB`;
  const what = lost.certain ? 'did not reach the shell' : 'may not have reached the shell';
  const copy = button('Copy it', false, () => {
    void copyText(lost.text).then((copied) => {
      copy.textContent = copied ? 'Copied' : 'Copying was refused';
    });
  });
  return h('div', { class: 'lost', role: 'status' }, h('span', {}, `The last ${size} you typed or pasted ${what}.`), copy, button('Dismiss', false, dismiss));
}

/** The gateway's own words, for those who read logs: reason, detail, code, exit code, session. */
function factLine(end: End, hello: Hello | null): HTMLElement[] {
  const facts: [string, string][] = [];
  if (end.detail !== 'refused') facts.push(['reason', `${end.reason}/${end.detail}`]);
  if (end.error !== null) facts.push(['error', end.error.code]);
  if (hello !== null) {
    facts.push(['exit code', end.exitCode === null ? 'unknown' : String(end.exitCode)]);
    facts.push(['session', hello.sessionId]);
  }
  return facts.map(([name, value]) => h('span', {}, `${name} `, h('code', {}, value)));
}

export function button(text: string, primary: boolean, action: () => void, name?: Parameters<typeof icon>[0]): HTMLButtonElement {
  return h(
    'button',
    { type: 'button', class: primary ? 'button primary' : 'button', onclick: action },
    name === undefined ? null : icon(name),
    text,
  );
}
