/** The bar on top: the product, where one is, and who one is. */

import { whoami } from './api.ts';
import { h } from './dom.ts';

export interface Crumb {
  text: string;
  href?: string;
}

let crumbs: HTMLElement | null = null;

export function showHeader(): void {
  const header = document.getElementById('header');
  if (header === null) return;
  crumbs = h('ol', {});
  const who = h('span', { class: 'who' });
  header.replaceChildren(
    h('a', { class: 'brand', href: '/' }, h('img', { src: '/icon.svg', alt: '', width: 22, height: 22 }), 'Periscope'),
    h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, crumbs),
    who,
  );
  whoami(new AbortController().signal).then(
    (identity) => {
      const name = identity.email ?? identity.sub;
      who.textContent = name;
      who.title = identity.tier ? `${name}, tier ${identity.tier}` : name;
    },
    // Without it the pages still work, and what they load says what is wrong.
    () => {
      who.textContent = '';
    },
  );
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
