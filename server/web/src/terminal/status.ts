/** What the page says about a shell: the pill, the notices over the terminal and the banner at the end. */

import { duration, h, icon } from '../dom.ts';
import type { End } from '../protocol.ts';
import { sentenceForEnd, truncatedNote } from '../sentences.ts';
import type { Shell } from './shell.ts';

export interface Pill {
  kind: 'busy' | 'good' | 'warn' | 'off';
  text: string;
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
      return { kind: 'good', text: `Open ${duration(now - (session.openedAt ?? now))}` };
  }
}

function waitingText(shell: Shell, now: number): string {
  const left = Math.ceil(((shell.retryAt ?? now) - now) / 1000);
  return left <= 0 ? 'Reconnecting…' : `Reconnecting in ${left} s`;
}

function seconds(deadline: number, now: number): string {
  return `${Math.max(0, Math.ceil((deadline - now) / 1000))}\u00a0s`;
}

/** Notices that float over the terminal, because moving it would resize the container's terminal. */
export function notices(shell: Shell, now: number): string[] {
  const session = shell.session;
  const found: string[] = [];
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
  back: string;
  login: string;
}

/** How the shell ended, why, and what to do about it. */
export function banner(shell: Shell, end: End, now: number, actions: BannerActions): HTMLElement {
  const sentence = sentenceForEnd(end);
  const waiting = shell.stage === 'waiting';
  const clean = end.detail === 'process_exit' && end.exitCode === 0;
  const element = h('section', { class: `end-banner ${clean ? 'calm' : 'stark'}`, 'aria-label': 'How the shell ended' });
  const wasOpen = shell.session.hello !== null;
  const facts = h('p', { class: 'end-facts' }, ...factLine(end, wasOpen));
  const buttons = waiting
    ? [
        h('span', { class: 'retry', id: 'retry-text' }, waitingText(shell, now)),
        button('Reconnect now', true, actions.reconnect),
        button('Stop', false, actions.stop),
      ]
    : [
        end.error?.code === 'E_AUTH'
          ? h('a', { class: 'button primary', href: actions.login }, 'Sign in')
          : button(wasOpen ? 'Reconnect' : 'Try again', true, actions.reconnect, 'refresh'),
        h('a', { class: 'button', href: actions.back }, 'Back to the pod'),
      ];
  const note = truncatedNote(end);
  element.append(
    h(
      'div',
      { class: 'end-text' },
      h('h2', {}, sentence.title),
      sentence.advice === '' ? '' : h('p', {}, sentence.advice),
      end.error !== null && end.error.message !== '' ? h('p', { class: 'quiet' }, end.error.message) : '',
      note === '' ? '' : h('p', { class: 'truncated' }, icon('info'), note),
      facts,
    ),
    h('div', { class: 'end-buttons' }, ...buttons),
  );
  return element;
}

/** The gateway's own words, for those who read logs: reason, detail, code, exit code. */
function factLine(end: End, wasOpen: boolean): HTMLElement[] {
  const facts: [string, string][] = [];
  if (end.detail !== 'refused') facts.push(['reason', `${end.reason}/${end.detail}`]);
  if (end.error !== null) facts.push(['error', end.error.code]);
  if (wasOpen) facts.push(['exit code', end.exitCode === null ? 'unknown' : String(end.exitCode)]);
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
