/** What is known about a session, the keys, and the settings. */

import { openDialog } from '../dialog.ts';
import { h } from '../dom.ts';
import { writeSettings, type Settings } from '../settings.ts';
import { copyText } from './clipboard.ts';
import { quoted } from './paste.ts';
import type { Shell } from './shell.ts';

const KEYS: readonly [string, string][] = [
  ['Ctrl+Shift+E', 'leave the terminal, so that Tab moves through the page again'],
  ['Ctrl+Shift+F', 'find in the scrollback'],
  ['Ctrl+Shift+C', 'copy the selection'],
  ['Ctrl+Shift+V', 'paste'],
  ['Ctrl+Shift+D', 'duplicate this shell in a new tab'],
  ['Ctrl+Shift+\\', 'two shells side by side, and back to one'],
  ['Ctrl+Shift+← →', 'the tab before, the next tab'],
  ['F2, Delete', 'on a tab: rename it, close it'],
  ['Enter', 'after the end: reconnect'],
];

export interface InfoActions {
  screenReader(on: boolean): void;
  rename(): void;
}

export function infoDialog(shell: Shell, settings: Settings, actions: InfoActions): void {
  const { hello } = shell.session;
  const facts: [string, string][] =
    hello === null
      ? [['Session', 'not open yet']]
      : [
          ['Session id', hello.sessionId],
          ['Identity', [hello.identity.user, ...hello.identity.groups].join(', ') || 'the gateway’s own'],
          ['Target', `${hello.cluster} / ${hello.namespace} / ${hello.pod} / ${hello.container || 'chosen by the cluster'}`],
          ['Command', hello.command.map(quoted).join(' ')],
          ['Transport', `${hello.transport} (${hello.subprotocol})`],
          ['Ends when idle for', `${hello.idleSeconds} s, with a warning ${hello.idleWarnSeconds} s before`],
          ['Heartbeat', `every ${hello.heartbeatSeconds} s`],
        ];
  const copy = h('button', { type: 'button', class: 'button', autofocus: true }, 'Copy session id');
  copy.addEventListener('click', () => {
    void copyText(hello?.sessionId ?? '').then((copied) => {
      copy.textContent = copied ? 'Copied' : 'Copying was refused';
    });
  });
  const rename = h('button', { type: 'button', class: 'button' }, 'Rename this tab');
  const dialog = openDialog<null>(
    'This session',
    [
      definitions(facts),
      h('div', { class: 'row' }, hello === null ? null : copy, rename),
      h('h3', {}, 'Keys'),
      definitions(KEYS.map(([key, meaning]) => [h('kbd', {}, key), meaning])),
      h('h3', {}, 'Settings'),
      option(settings, 'copyOnSelect', 'Copy what is selected', () => undefined),
      option(settings, 'screenReader', 'Screen reader mode', actions.screenReader),
      hiddenField(settings),
    ],
    [{ text: 'Close', value: null, primary: true, focus: hello === null }],
  );
  rename.addEventListener('click', () => {
    dialog.close(null);
    actions.rename();
  });
}

function definitions(rows: [Node | string, string][]): HTMLElement {
  return h('dl', { class: 'facts-list' }, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

function option(settings: Settings, name: 'screenReader' | 'copyOnSelect', text: string, changed: (on: boolean) => void): HTMLElement {
  const box = h('input', { type: 'checkbox', checked: settings[name] });
  box.addEventListener('change', () => {
    settings[name] = box.checked;
    writeSettings(settings);
    changed(box.checked);
  });
  return h('label', { class: 'choice' }, box, text);
}

function hiddenField(settings: Settings): HTMLElement {
  const field = h('input', { type: 'number', class: 'field short', min: 10, max: 86_400, step: 10, value: settings.hiddenSeconds });
  field.addEventListener('change', () => {
    const seconds = Number(field.value);
    // What cannot be meant is put back, so that the field always shows what holds.
    if (Number.isFinite(seconds) && seconds >= 10 && seconds <= 86_400) {
      settings.hiddenSeconds = Math.round(seconds);
      writeSettings(settings);
    }
    field.value = String(settings.hiddenSeconds);
  });
  return h('label', { class: 'choice' }, 'Close a shell whose tab has been hidden and silent for', field, 'seconds');
}
