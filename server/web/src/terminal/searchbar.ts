/** Finding text in the scrollback. */

import type { SearchAddon } from '@xterm/addon-search';
import { h, icon } from '../dom.ts';

export interface SearchBar {
  element: HTMLElement;
  open(): void;
}

const DECORATIONS = {
  matchBackground: '#7a5d00',
  matchOverviewRuler: '#b58900',
  activeMatchBackground: '#b45309',
  activeMatchColorOverviewRuler: '#f59e0b',
};

export function searchBar(addon: SearchAddon, closed: () => void): SearchBar {
  const input = h('input', { type: 'search', 'aria-label': 'Find in the scrollback', placeholder: 'Find', spellcheck: 'false' });
  const count = h('span', { class: 'count', role: 'status' });
  const element = h(
    'div',
    { class: 'searchbar', role: 'search', hidden: true },
    input,
    count,
    button('up', 'Previous match (Shift+Enter)', () => find(false)),
    button('down', 'Next match (Enter)', () => find(true)),
    button('close', 'Close (Escape)', close),
  );

  function find(forward: boolean, incremental = false): void {
    if (input.value === '') {
      addon.clearDecorations();
      count.textContent = '';
      return;
    }
    const options = { decorations: DECORATIONS, incremental };
    if (forward) addon.findNext(input.value, options);
    else addon.findPrevious(input.value, options);
  }

  function close(): void {
    element.hidden = true;
    addon.clearDecorations();
    closed();
  }

  addon.onDidChangeResults(({ resultIndex, resultCount }) => {
    if (input.value === '') return;
    count.textContent = resultCount === 0 ? 'no match' : resultIndex < 0 ? `${resultCount}+` : `${resultIndex + 1} of ${resultCount}`;
  });
  input.addEventListener('input', () => find(false, true));
  element.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close();
    else if (event.key === 'Enter' && event.target === input) find(!event.shiftKey);
    else return;
    event.preventDefault();
  });
  return {
    element,
    open(): void {
      element.hidden = false;
      input.focus();
      input.select();
    },
  };
}

function button(name: Parameters<typeof icon>[0], label: string, action: () => void): HTMLButtonElement {
  return h('button', { type: 'button', class: 'button bare', 'aria-label': label, title: label, onclick: action }, icon(name));
}
