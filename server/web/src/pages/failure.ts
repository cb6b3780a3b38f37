/** What is shown instead of a page that could not be loaded. */

import { ApiError } from '../api.ts';
import { h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import type { PageContext } from '../router.ts';
import { sentenceForRequest } from '../sentences.ts';

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
  root.replaceChildren(failure(error));
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
  const login = `/api/auth/login?returnTo=${encodeURIComponent(location.pathname + location.search)}`;
  return h(
    'section',
    { class: 'notice', role: 'alert' },
    h('h1', {}, sentence.title),
    h('p', {}, sentence.advice),
    h('p', { class: 'quiet' }, h('code', {}, error.detail.code), error.detail.message === '' ? '' : ` ${error.detail.message}`),
    h('p', {}, error.detail.code === 'E_AUTH' ? h('a', { class: 'button primary', href: login }, 'Sign in') : again),
  );
}
