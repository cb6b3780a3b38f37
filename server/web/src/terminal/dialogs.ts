/** The questions the terminal page asks. */

import { endSession, getPod, type Container } from '../api.ts';
import { openDialog, type Dialog } from '../dialog.ts';
import { age, h } from '../dom.ts';
import { execPage, type ExecTarget } from '../paths.ts';
import type { ActiveSession, GatewayError } from '../protocol.ts';
import { sentenceForError } from '../sentences.ts';
import { commandWords, countLines, quoted } from './paste.ts';

/** Which shells are open, each with a working Disconnect. Resolves to true once one was ended. */
export async function capDialog(error: GatewayError): Promise<boolean> {
  const sessions = error.activeSessions ?? [];
  const own = error.code === 'E_CAP_USER';
  const where = [...new Set(sessions.map((session) => session.pod))];
  const title = own && where.length > 0 ? `You’re already exec’d into ${listed(where)}` : sentenceForError(error).title;
  const trouble = h('p', { class: 'trouble', role: 'alert', hidden: true });
  const now = Date.now();
  const rows = sessions.map((session) => {
    const button = h('button', { type: 'button', class: 'button' }, 'Disconnect');
    button.setAttribute('aria-label', `Disconnect ${session.pod}, container ${session.container}`);
    button.addEventListener('click', () => {
      button.disabled = true;
      button.textContent = 'Disconnecting…';
      endSession(session.id).then(
        () => dialog.close(true),
        (reason: unknown) => {
          button.disabled = false;
          button.textContent = 'Disconnect';
          trouble.hidden = false;
          trouble.textContent = `That did not work: ${reason instanceof Error ? reason.message : String(reason)}`;
        },
      );
    });
    return h('li', {}, sessionLine(session, now), button);
  });
  const others = error.otherSessions ?? 0;
  const dialog: Dialog<boolean> = openDialog<boolean>(
    title,
    [
      h('p', {}, limitLine(error, own)),
      sessions.length > 0 ? h('ul', { class: 'session-list' }, ...rows) : h('p', {}, 'None of them is yours.'),
      others > 0 ? h('p', { class: 'quiet' }, `${others} more ${others === 1 ? 'belongs' : 'belong'} to other people.`) : null,
      trouble,
    ],
    [{ text: 'Cancel', value: false, focus: true }],
  );
  return (await dialog.answer) === true;
}

function limitLine(error: GatewayError, own: boolean): string {
  const limit = error.limit === undefined ? 'The limit' : `The limit of ${error.limit}`;
  return own
    ? `${limit} shells per person is reached, counted over all clusters. Disconnect one to open this one.`
    : `${limit} shells for this cluster is reached. Disconnect one of yours, or wait for somebody to leave.`;
}

function sessionLine(session: ActiveSession, now: number): HTMLElement {
  return h(
    'div',
    {},
    h('strong', {}, session.pod),
    session.container === '' ? '' : ` · ${session.container}`,
    h('br'),
    h('span', { class: 'quiet' }, `${session.cluster} / ${session.namespace}, open for `, age(session.startedAt, now)),
  );
}

function listed(names: string[]): string {
  if (names.length <= 1) return names[0] ?? '';
  if (names.length > 3) return `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`;
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

/** Offers the pod's other containers. Resolves to the address to go to, or null. */
export async function noShellDialog(target: ExecTarget, container: string): Promise<string | null> {
  let others: Container[] = [];
  let trouble = '';
  try {
    const pod = await getPod(target.cluster, target.namespace, target.pod);
    others = pod.containers.filter((one) => one.name !== container && one.state.toLowerCase().startsWith('running'));
  } catch (reason) {
    trouble = `The other containers could not be listed: ${reason instanceof Error ? reason.message : String(reason)}`;
  }
  const name = container === '' ? 'This container' : `Container ${container}`;
  const body =
    others.length > 0
      ? 'Its image holds neither bash nor sh. Another container of this pod may have one.'
      : `Its image holds neither bash nor sh, and no other container of this pod is running. ${trouble}`;
  const debug = `kubectl debug -it -n ${target.namespace} ${target.pod} \\\n  --image=busybox --target=${container || 'CONTAINER'}`;
  const hint = [h('p', { class: 'quiet' }, 'From a terminal, this brings a shell along:'), h('pre', { class: 'preview', tabindex: 0 }, debug)];
  const dialog = openDialog<string>(
    `${name} has no shell`,
    [h('p', {}, body), ...hint],
    [
      { text: 'Cancel', value: '' },
      ...others.map((one, index) => ({
        text: `Open ${one.name}`,
        value: execPage(target.cluster, target.namespace, target.pod, one.name),
        primary: index === 0,
      })),
    ],
  );
  return (await dialog.answer) || null;
}

/** How much of a paste is shown before it is sent. */
const PREVIEW_CHARACTERS = 600;

export async function pasteDialog(text: string): Promise<boolean> {
  const lines = countLines(text);
  const preview = text.length > PREVIEW_CHARACTERS ? `${text.slice(0, PREVIEW_CHARACTERS)}…` : text;
  const dialog = openDialog<boolean>(
    lines === 1 ? 'Paste a line and run it?' : `Paste ${lines.toLocaleString()} lines?`,
    [
      h('p', {}, 'The program in front does not hold pasted text back, so each line runs as soon as it arrives.'),
      h('pre', { class: 'preview', tabindex: 0 }, preview),
    ],
    [
      { text: 'Cancel', value: false },
      { text: 'Paste', value: true, primary: true },
    ],
  );
  return (await dialog.answer) === true;
}

export async function linkDialog(address: string): Promise<boolean> {
  const dialog = openDialog<boolean>(
    'Open this link?',
    [h('p', {}, 'A program in the container made this link. It leads to:'), h('pre', { class: 'preview' }, address)],
    [
      { text: 'Cancel', value: false },
      { text: 'Open', value: true, primary: true },
    ],
  );
  return (await dialog.answer) === true;
}

/** Closing a tab ends its shell, which a stray click should not do. */
export async function closeDialog(name: string): Promise<boolean> {
  const dialog = openDialog<boolean>(
    `Close “${name}” and end its shell?`,
    [h('p', {}, 'The shell and what runs in it end with the tab. To look around meanwhile, just go elsewhere in Periscope: the shell stays.')],
    [
      { text: 'Keep it', value: false, focus: true },
      { text: 'End the shell', value: true, primary: true },
    ],
  );
  return (await dialog.answer) === true;
}

/** Resolves to the new name, an empty string for the usual one, or null to leave it. */
export async function renameDialog(name: string): Promise<string | null> {
  const input = h('input', { type: 'text', class: 'field', value: name, maxlength: 60, 'aria-label': 'Name of the tab', autocomplete: 'off', autofocus: true });
  const dialog = openDialog<true>(
    'Rename this tab',
    [input],
    [
      { text: 'Cancel', value: null },
      { text: 'Rename', value: true, primary: true, focus: false },
    ],
  );
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') dialog.close(true);
  });
  input.select();
  return (await dialog.answer) === true ? input.value.trim() : null;
}

/** Asks before a command runs that came with an address. */
export async function commandDialog(target: ExecTarget): Promise<boolean> {
  const words = commandWords(target.command);
  const dialog = openDialog<boolean>(
    `Run this in the pod ${target.pod}?`,
    [
      h('p', {}, 'The address you followed does not ask for a shell but for a command of its own. Run it only if you know where the address is from.'),
      h('pre', { class: 'preview', tabindex: 0 }, words === null ? target.command : words.map(quoted).join(' ')),
      h('p', { class: 'quiet' }, `${target.cluster} / ${target.namespace} / ${target.pod}${target.container === '' ? '' : ` / ${target.container}`}`),
    ],
    [
      { text: 'Cancel', value: false, focus: true },
      { text: 'Run', value: true, primary: true },
    ],
  );
  return (await dialog.answer) === true;
}
