/** The bar on top: the product, where one is, what is open, and who one is. Under it, what the login has to say. */

import { ApiError, logout, onUnauthorized, whoami } from './api.ts';
import { openDialog } from './dialog.ts';
import { announce, duration, h, icon } from './dom.ts';
import { LoginWatch } from './login.ts';
import { letPageGo, onOpenShells, openShells, type OpenShell } from './shells.ts';
import { SIGNED_IN_PATH, loginAddress, onSignedIn } from './signin.ts';

export interface Crumb {
  text: string;
  href?: string;
}

let crumbs: HTMLElement | null = null;
const who = h('div', { class: 'who' });
const shells = h('a', { class: 'shells-link', href: '/', hidden: true });
const notice = h('div', { class: 'login-notice', role: 'status', hidden: true });
/** Whether this page has ever been logged in; before that the pages themselves say what is wrong. */
let wasIn = false;

/** The login of this page. */
export const login = new LoginWatch({
  whoami: () => whoami(new AbortController().signal),
  isSignedOut: (error) => error instanceof ApiError && error.status === 401,
  changed: () => showLogin(),
  now: () => Date.now(),
  after: (milliseconds, action) => {
    const timer = window.setTimeout(action, milliseconds);
    return () => window.clearTimeout(timer);
  },
});

export function showHeader(): void {
  const header = document.getElementById('header');
  if (header === null) return;
  crumbs = h('ol', {});
  header.replaceChildren(
    h('a', { class: 'brand', href: '/', 'aria-label': 'Periscope' }, h('img', { src: '/icon.svg', alt: '', width: 22, height: 22 }), h('span', {}, 'Periscope')),
    h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, crumbs),
    h(
      'nav',
      { class: 'places', 'aria-label': 'Periscope' },
      shells,
      h('a', { href: '/sessions' }, 'Sessions'),
      h('a', { href: '/audit' }, 'Audit'),
    ),
    who,
  );
  header.after(notice);
  onOpenShells(showShells);
  onUnauthorized(() => login.signedOut());
  onSignedIn(() => void login.ask());
  window.addEventListener('focus', () => {
    if (login.state === 'out' || login.state === 'ending') void login.ask();
  });
  window.setInterval(() => {
    if (login.state === 'ending') showNotice();
  }, 1000);
  void login.ask();
}

/** The way from the list of clusters to here; the last one is where one is. */
export function showCrumbs(way: Crumb[]): void {
  crumbs?.replaceChildren(
    ...way.map((crumb, index) => {
      const here = index === way.length - 1;
      return h(
        'li',
        {},
        crumb.href === undefined || here
          ? h('span', { 'aria-current': here ? 'page' : null }, crumb.text)
          : h('a', { href: crumb.href }, crumb.text),
      );
    }),
  );
}

function showShells(open: readonly OpenShell[]): void {
  const alive = open.filter((one) => one.alive);
  const last = alive.at(-1);
  shells.hidden = last === undefined;
  if (last === undefined) return;
  shells.href = last.href;
  shells.replaceChildren(icon('terminal'), `${alive.length} ${alive.length === 1 ? 'shell' : 'shells'}`);
}

function showLogin(): void {
  const { identity, state } = login;
  if (state === 'in' || state === 'ending') wasIn = true;
  if (identity === null || state === 'out') {
    who.replaceChildren();
  } else {
    const name = identity.email ?? identity.sub;
    const title = identity.tier ? `${name}, tier ${identity.tier}` : name;
    who.replaceChildren(
      h('span', { title }, name),
      // Only a login that ends can be ended.
      login.endsAt === null ? '' : h('button', { type: 'button', class: 'button bare text', onclick: () => void signOut() }, 'Sign out'),
    );
  }
  showNotice();
}

function showNotice(): void {
  const { state, endsAt } = login;
  const alive = openShells().some((one) => one.alive);
  const tabs = openShells().length > 0;
  let text = '';
  if (state === 'ending' && endsAt !== null) {
    const left = duration(endsAt - Date.now());
    const time = new Date(endsAt).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    text = `Your login ends in ${left}, at ${time}.${alive ? ' Open shells end with it, so save your work.' : ''}`;
  } else if (state === 'out' && wasIn) {
    text = `You are signed out.${tabs ? ' What is on your terminals stays here.' : ''}`;
  }
  const appeared = notice.hidden && text !== '';
  notice.hidden = text === '';
  notice.classList.toggle('bad', state === 'out');
  // The countdown would be read aloud each second.
  notice.ariaLive = state === 'ending' ? 'off' : 'polite';
  if (text === '') {
    notice.replaceChildren();
    return;
  }
  if (appeared) announce(text);
  const said = notice.querySelector('span');
  if (said !== null && notice.dataset['state'] === `${state} ${tabs}`) {
    if (said.textContent !== text) said.textContent = text;
    return;
  }
  notice.dataset['state'] = `${state} ${tabs}`;
  // With terminals on the page the login happens in a tab of its own, because a page that goes away takes them along.
  const link = tabs
    ? h('a', { class: 'button', href: loginAddress(SIGNED_IN_PATH), target: '_blank', rel: 'noopener' }, 'Sign in in a new tab')
    : h('a', { class: 'button', href: loginAddress() }, state === 'out' ? 'Sign in' : 'Sign in again');
  notice.replaceChildren(icon('info'), h('span', {}, text), link);
}

async function signOut(): Promise<void> {
  const alive = openShells().filter((one) => one.alive);
  if (alive.length > 0) {
    const names = alive.map((one) => one.name).join(', ');
    const dialog = openDialog<boolean>(
      'Sign out and end your shells?',
      [h('p', {}, `Signing out ends ${alive.length === 1 ? 'your open shell' : `your ${alive.length} open shells`}: ${names}.`)],
      [
        { text: 'Stay', value: false, focus: true },
        { text: 'Sign out', value: true, primary: true },
      ],
    );
    if ((await dialog.answer) !== true) return;
  }
  let elsewhere: string | null;
  try {
    elsewhere = await logout();
  } catch (error) {
    announce('Signing out did not work');
    openDialog<null>('Signing out did not work', [h('p', {}, error instanceof Error ? error.message : String(error))], [{ text: 'Close', value: null, primary: true }]);
    return;
  }
  wasIn = false;
  login.signedOut();
  if (elsewhere !== null) {
    letPageGo();
    location.assign(elsewhere);
    return;
  }
  // Not a load of the page: the terminals stay to be read.
  history.pushState(null, '', '/signed-out');
  window.dispatchEvent(new PopStateEvent('popstate'));
}
