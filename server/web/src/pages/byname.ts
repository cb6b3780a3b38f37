/** The way on for somebody who may use a thing but not list its kind, which is common in shared clusters. */

import { ApiError } from '../api.ts';
import { h } from '../dom.ts';

/** The names Kubernetes allows for namespaces and pods. */
const NAME = '[a-z0-9]([-a-z0-9.]*[a-z0-9])?';

export function isForbidden(error: unknown): error is ApiError {
  return error instanceof ApiError && error.detail.code === 'E_FORBIDDEN';
}

/** Says what may not be listed and asks for a name instead. */
export function askName(kind: string, error: ApiError, go: (name: string) => string): HTMLElement {
  const link = h('a', { class: 'button primary', 'aria-disabled': 'true' }, 'Open');
  const input = h('input', {
    type: 'text',
    id: 'by-name',
    pattern: NAME,
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    oninput: () => {
      const valid = input.value !== '' && input.checkValidity();
      if (valid) link.href = go(input.value);
      else link.removeAttribute('href');
      link.ariaDisabled = String(!valid);
    },
    onkeydown: (event: KeyboardEvent) => {
      if (event.key === 'Enter') link.click();
    },
  });
  return h(
    'section',
    { class: 'notice' },
    h('h2', {}, `You may not list the ${kind}s here`),
    h('p', {}, `Your account lacks the right to list ${kind}s in this cluster. Ask whoever manages access there.`),
    error.detail.message === '' ? null : h('p', { class: 'quiet' }, error.detail.message),
    h('label', { for: 'by-name' }, `If you know the name of the ${kind}, go there directly:`),
    h('div', { class: 'by-name' }, input, link),
  );
}
