/** Who has a shell in what, and a way to end one. */

import { endSession, listSessions, type LiveSession } from '../api.ts';
import { openDialog } from '../dialog.ts';
import { age, announce, duration, h } from '../dom.ts';
import { login, showCrumbs } from '../header.ts';
import { podPage } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { listing } from './listing.ts';

/** How often the list is read anew while somebody looks at it. */
const REFRESH_MILLISECONDS = 5_000;

export async function sessionsPage({ root, signal, title }: PageContext): Promise<void> {
  title('Sessions');
  showCrumbs([{ text: 'Sessions' }]);
  const trouble = h('p', { class: 'trouble', role: 'alert', hidden: true });
  const scope = h('p', { class: 'scope', hidden: true });
  let now = Date.now();
  const list = listing<LiveSession>(
    {
      noun: 'sessions',
      columns: [
        { title: 'Pod', cell: (session) => session.pod },
        { title: 'Container', cell: (session) => session.container || '–', kind: 'wide-only' },
        { title: 'Where', cell: (session) => `${session.cluster} / ${session.namespace}`, kind: 'wide-only' },
        { title: 'Who', cell: (session) => h('span', { class: 'breakable' }, session.actor) },
        { title: 'State', cell: (session) => stateTag(session), kind: 'wide-only' },
        { title: 'Open for', cell: (session) => age(session.startedAt, now), kind: 'number' },
        { title: 'Silent for', cell: (session) => (session.idleSeconds === null ? '–' : duration(session.idleSeconds * 1000)), kind: 'number wide-only' },
        { title: 'End', cell: (session) => endButton(session), kind: 'number' },
      ],
      href: (session) => podPage(session.cluster, session.namespace, session.pod),
      name: (session) => session.pod,
      text: (session) => `${session.pod} ${session.container} ${session.cluster} ${session.namespace} ${session.actor} ${session.state} ${session.id}`,
      empty: 'No shell is open.',
      refresh: () => void refresh(),
    },
    signal,
  );

  function endButton(session: LiveSession): HTMLElement {
    const own = session.actor === login.identity?.sub;
    return h(
      'button',
      { type: 'button', class: 'button small', 'data-session': session.id, 'aria-label': `End the session in ${session.pod} of ${session.actor}`, onclick: () => void end(session, own) },
      'End',
    );
  }

  async function end(session: LiveSession, own: boolean): Promise<void> {
    const dialog = openDialog<boolean>(
      own ? 'End your shell?' : `End the shell of ${session.actor}?`,
      [
        h('p', {}, `The shell in ${session.pod} and what runs in it end at once. ${own ? '' : 'Its user is told that an administrator ended it, and the audit log names you.'}`),
        h('p', { class: 'quiet' }, `${session.cluster} / ${session.namespace} / ${session.pod} / ${session.container}`),
      ],
      [
        { text: 'Keep it', value: false, focus: true },
        { text: 'End it', value: true, primary: true },
      ],
    );
    if ((await dialog.answer) !== true) return;
    try {
      await endSession(session.id);
      announce(`The session in ${session.pod} has ended`);
    } catch (error) {
      fail('The session could not be ended', error);
      return;
    }
    await refresh();
  }

  function fail(what: string, error: unknown): void {
    if (signal.aborted) return;
    trouble.hidden = false;
    trouble.textContent = `${what}: ${error instanceof Error ? error.message : String(error)}`;
  }

  async function load(): Promise<void> {
    const sessions = await listSessions(signal);
    now = Date.now();
    const all = login.identity?.auditScope === 'all';
    scope.hidden = login.identity === null;
    scope.textContent = all ? 'You see everybody’s sessions, because you are an audit administrator.' : 'You see your own sessions.';
    // The focus would be lost with the button it is on.
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset['session'] : undefined;
    list.show(sessions.toSorted((a, b) => b.startedAt.localeCompare(a.startedAt)));
    if (focused !== undefined) root.querySelector<HTMLElement>(`[data-session="${CSS.escape(focused)}"]`)?.focus();
  }

  async function refresh(): Promise<void> {
    try {
      await load();
      trouble.hidden = true;
    } catch (error) {
      fail('The list could not be read again, so it may be out of date', error);
    }
  }

  await load();
  root.append(h('h1', {}, 'Sessions'), scope, trouble, list.element);
  list.focus();
  const timer = window.setInterval(() => {
    if (!document.hidden && document.querySelector('dialog[open]') === null) void refresh();
  }, REFRESH_MILLISECONDS);
  signal.addEventListener('abort', () => window.clearInterval(timer));
}

/** The gateway's finer states in words for people; what it may add later is shown as it is. */
const STATES: Readonly<Record<string, string>> = {
  admitting: 'opening',
  dialing: 'opening',
  settling: 'opening',
  open: 'open',
  doubt: 'ending',
  flushing: 'ending',
  closing: 'ending',
  over: 'ending',
};

function stateTag(session: LiveSession): HTMLElement {
  const transport = session.transport === null || session.transport === '' ? '' : ` · ${session.transport}`;
  const state = STATES[session.state] ?? session.state;
  return h('span', { class: `tag ${state === 'open' ? 'good' : 'wait'}`, title: session.state }, `${state}${transport}`);
}
