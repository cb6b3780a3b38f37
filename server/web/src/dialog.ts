/** Modal dialogs on the browser's own `<dialog>`, which keeps the focus inside and closes on Escape. */

import { h, type Child } from './dom.ts';

export interface Choice<T> {
  text: string;
  value: T | null;
  primary?: boolean;
  /** Has the focus at first; without one it is the primary choice. */
  focus?: boolean;
}

export interface Dialog<T> {
  element: HTMLDialogElement;
  /** What was chosen, or null if the dialog was closed without a choice. */
  answer: Promise<T | null>;
  close(value: T | null): void;
}

let numbered = 0;

export function openDialog<T>(title: string, body: Child[], choices: Choice<T>[]): Dialog<T> {
  numbered += 1;
  const id = `dialog-${numbered}`;
  let settle: (value: T | null) => void = () => undefined;
  const answer = new Promise<T | null>((resolve) => {
    settle = resolve;
  });
  const buttons = choices.map((choice) =>
    h(
      'button',
      {
        type: 'button',
        class: choice.primary === true ? 'button primary' : 'button',
        autofocus: choice.focus ?? choice.primary === true,
        onclick: () => close(choice.value),
      },
      choice.text,
    ),
  );
  const element = h(
    'dialog',
    { 'aria-labelledby': id, onclose: () => close(null) },
    h('h2', { id }, title),
    ...body,
    h('div', { class: 'dialog-buttons' }, ...buttons),
  );
  const before = document.activeElement;

  function close(value: T | null): void {
    settle(value);
    if (element.open) element.close();
    if (!element.isConnected) return;
    element.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  }

  document.body.append(element);
  element.showModal();
  return { element, answer, close };
}
