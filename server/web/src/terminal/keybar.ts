/** The keys a phone's keyboard lacks. Shown on touch screens only. */

import { openDialog } from '../dialog.ts';
import { h } from '../dom.ts';
import type { Screen, TouchKey } from './screen.ts';

const KEYS: readonly [TouchKey, string, string][] = [
  ['Esc', 'Esc', 'Escape'],
  ['Tab', 'Tab', 'Tab'],
  ['Up', '↑', 'Up'],
  ['Down', '↓', 'Down'],
  ['Left', '←', 'Left'],
  ['Right', '→', 'Right'],
  ['|', '|', 'Vertical bar'],
  ['/', '/', 'Slash'],
  ['-', '-', 'Hyphen'],
  ['~', '~', 'Tilde'],
];

export function keyBar(screen: Screen): HTMLElement {
  const control = key('Ctrl', 'Ctrl, for the next key', () => hold(control.ariaPressed !== 'true'));
  control.ariaPressed = 'false';

  function hold(on: boolean): void {
    control.ariaPressed = String(on);
    screen.control(on ? () => (control.ariaPressed = 'false') : null);
  }

  const keys = KEYS.map(([name, text, label]) => key(text, label, () => screen.press(name)));
  const paste = key('Paste', 'Paste', () => void pasteByTouch(screen));
  return h('div', { class: 'key-bar', role: 'group', 'aria-label': 'Keys' }, keys[0], control, keys[1], paste, ...keys.slice(2));
}

function key(text: string, label: string, action: () => void): HTMLButtonElement {
  return h(
    'button',
    {
      type: 'button',
      class: 'button key',
      // Words are their own names; signs need one.
      'aria-label': /^\w/.test(text) ? null : label,
      title: label,
      // The terminal keeps the focus, and the phone its keyboard.
      onpointerdown: (event: PointerEvent) => event.preventDefault(),
      onclick: action,
    },
    text,
  );
}

/** From the clipboard where the browser lets us read it; else from a field one can paste into. */
async function pasteByTouch(screen: Screen): Promise<void> {
  let text: string | null = null;
  try {
    text = await navigator.clipboard.readText();
  } catch {
    const area = h('textarea', { class: 'field', rows: 5, 'aria-label': 'Text to paste', autofocus: true });
    const dialog = openDialog<true>(
      'Paste here',
      [h('p', {}, 'The browser does not hand over the clipboard. Hold a finger on the field to paste into it.'), area],
      [
        { text: 'Cancel', value: null },
        { text: 'Send to the shell', value: true, primary: true, focus: false },
      ],
    );
    area.focus();
    if ((await dialog.answer) === true) text = area.value;
  }
  if (text !== null && text !== '') await screen.pasteText(text);
}
