/** Where a login and a logout come back to. */

import { h } from '../dom.ts';
import { login, showCrumbs } from '../header.ts';
import type { PageContext } from '../router.ts';
import { loginAddress, tellSignedIn } from '../signin.ts';

/** The end of a login made in a tab of its own, beside terminals that wait for it. */
export async function signedInPage({ root, title }: PageContext): Promise<void> {
  title('Signed in');
  showCrumbs([]);
  await login.ask();
  if (login.state === 'out') {
    root.append(notice('You are not signed in', 'The login did not come to an end.', h('a', { class: 'button primary', href: loginAddress() }, 'Sign in')));
    return;
  }
  tellSignedIn();
  root.append(
    notice('You are signed in', 'Your other tabs know. Close this one and go on where you were.', h('a', { class: 'button primary', href: '/' }, 'Go to the clusters')),
  );
}

export function signedOutPage({ root, title }: PageContext): void {
  title('Signed out');
  showCrumbs([]);
  root.append(
    notice('You are signed out', 'Your shells have ended with your login.', h('a', { class: 'button primary', href: loginAddress('/') }, 'Sign in')),
  );
}

function notice(heading: string, text: string, action: HTMLElement): HTMLElement {
  return h('section', { class: 'notice' }, h('h1', {}, heading), h('p', {}, text), h('p', {}, action));
}
