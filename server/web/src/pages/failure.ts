/** What is shown instead of a page that could not be loaded. */

import { ApiError } from '../api.ts';
import { h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import type { PageContext } from '../router.ts';
import { sentenceForRequest } from '../sentences.ts';
import { openShells } from '../shells.ts';
import { hasLogin, loginAddress, signInOnce } from '../signin.ts';

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
    void signInPage(root, error);
    return;
  }
  root.replaceChildren(failure(error));
}

/** Goes to the login at once where that is possible, for there is nothing here that could be lost; else says what is to be done. */
async function signInPage(root: HTMLElement, error: ApiError): Promise<void> {
  root.replaceChildren(h('p', { class: 'pill busy loading' }, 'Going to the login…'));
  let reachable = true;
  try {
    // With shells on the page, or after their end, leaving it would lose what they show.
    if (openShells().length === 0 && (await signInOnce())) return;
    reachable = await hasLogin();
  } catch {
    // No answer from the login either; the button below tries again.
  }
  if (reachable) root.replaceChildren(failure(error));
  else {
    root.replaceChildren(
      h(
        'section',
        { class: 'notice', role: 'alert' },
        h('h1', {}, 'This page needs its secret address'),
        h('p', {}, 'This gateway has no login of its own. Open the address it printed when it started, with the token in it; this browser then remembers it.'),
      ),
    );
  }
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
    h('p', { class: 'quiet' }, h('code', {}, error.detail.code), error.detail.message === '' ? '' : ` ${error.detail.message}`),
    h('p', {}, error.detail.code === 'E_AUTH' ? h('a', { class: 'button primary', href: loginAddress() }, 'Sign in') : again),
  );
}
