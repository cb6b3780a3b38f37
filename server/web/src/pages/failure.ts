/** What is shown instead of a page that could not be loaded. */

import { ApiError } from '../api.ts';
import { h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import type { PageContext } from '../router.ts';
import { saysMore, sentenceForRequest } from '../sentences.ts';
import { openShells } from '../shells.ts';
import { loginAddress, signInOnce } from '../signin.ts';

export function notFoundPage(context: PageContext): void {
  context.title('Not found');
  showCrumbs([]);
  context.root.append(
    h(
      'section',
      { class: 'notice' },
      h('h1', {}, 'There is no such page'),
      h('p', {}, 'The address may be mistyped or from an older version.'),
      h('p', {}, h('a', { class: 'button primary', href: '/' }, 'Go to the clusters')),
    ),
  );
}

export function failurePage(root: HTMLElement, error: unknown): void {
  if (error instanceof ApiError && error.status === 401) {
    if (error.detail.login === undefined) {
      root.replaceChildren(secretAddress());
      return;
    }
    // Nothing here could be lost on the way, except what is on terminals, even if their shells have ended.
    if (openShells().length === 0 && signInOnce()) {
      root.replaceChildren(h('p', { class: 'pill busy loading' }, 'Going to the login…'));
      return;
    }
  }
  root.replaceChildren(failure(error));
}

function secretAddress(): HTMLElement {
  return h(
    'section',
    { class: 'notice', role: 'alert' },
    h('h1', {}, 'This page needs its secret address'),
    h('p', {}, 'This gateway has no login of its own. Open the address it printed when it started, with the token in it; this browser then remembers it.'),
  );
}

/** The error, what it means, and the way on. */
export function failure(error: unknown): HTMLElement {
  const again = h('button', { class: 'button', type: 'button', onclick: () => location.reload() }, 'Try again');
  if (!(error instanceof ApiError)) {
    return h(
      'section',
      { class: 'notice', role: 'alert' },
      h('h1', {}, 'The gateway does not answer'),
      h('p', {}, 'Check your network or VPN, then try again.'),
      h('p', { class: 'quiet' }, error instanceof Error ? error.message : String(error)),
      h('p', {}, again),
    );
  }
  const sentence = sentenceForRequest(error.detail);
  return h(
    'section',
    { class: 'notice', role: 'alert' },
    h('h1', {}, sentence.title),
    h('p', {}, sentence.advice),
    h('p', { class: 'quiet' }, h('code', {}, error.detail.code), saysMore(error.detail.message, sentence) ? ` ${error.detail.message}` : ''),
    h('p', { class: 'row' }, error.detail.code === 'E_AUTH' ? h('a', { class: 'button primary', href: loginAddress() }, error.detail.login?.provider ? `Sign in with ${error.detail.login.provider}` : 'Sign in') : again, error.status === 404 ? h('a', { class: 'button', href: '/' }, 'Go to the clusters') : ''),
  );
}
