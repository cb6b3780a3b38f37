/** One pod: its containers, and the way into one of them or the reason why there is none. */

import { ApiError, getPod, listClusters, mayExec, type Container, type PodDetail } from '../api.ts';
import { age, h, icon } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import { clusterPage, execPage, podsPage } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { isForbidden } from './byname.ts';
import { phaseTag } from './pods.ts';

export async function podDetailPage({ root, params, signal, title }: PageContext): Promise<void> {
  const cluster = params['cluster'] ?? '';
  const namespace = params['namespace'] ?? '';
  const name = params['pod'] ?? '';
  title(name);
  showCrumbs([
    { text: 'Clusters', href: '/' },
    { text: cluster, href: clusterPage(cluster) },
    { text: namespace, href: podsPage(cluster, namespace) },
    { text: name },
  ]);
  const [found, refusal] = await Promise.all([
    getPod(cluster, namespace, name, signal).catch((error: unknown) => {
      // Whoever may open a shell need not be allowed to look at the pod; then the cluster chooses the container.
      if (!isForbidden(error)) throw error;
      return null;
    }),
    whyNoShell(cluster, namespace, signal),
  ]);
  if (found === null) {
    const hidden = h('p', { class: 'quiet' }, 'You may not see this pod, so its containers are not listed.');
    const open = h('div', { class: 'open-shell' }, refusal === null ? openLink(execPage(cluster, namespace, name, '')) : whyNot(refusal));
    root.append(h('h1', {}, name), hidden, open);
    focusOn(open);
    return;
  }
  const pod: PodDetail = found;
  const open = h('div', { class: 'open-shell' });
  const radios = pod.containers.map((container) => containerRow(container, pod, () => offer()));

  function chosen(): Container | undefined {
    const value = root.querySelector<HTMLInputElement>('input[name=container]:checked')?.value;
    return pod.containers.find((container) => container.name === value);
  }

  function offer(): void {
    const container = chosen();
    const reason = refusal ?? notRunning(container);
    if (reason !== null || container === undefined) {
      open.replaceChildren(whyNot(reason ?? 'This pod has no container.'));
      return;
    }
    open.replaceChildren(
      openLink(execPage(cluster, namespace, name, container.name)),
      h('span', { class: 'quiet' }, 'in ', h('strong', {}, container.name)),
    );
  }

  root.append(
    h('h1', {}, name),
    h(
      'p',
      { class: 'facts' },
      phaseTag(pod),
      h('span', {}, 'Age ', age(pod.createdAt, Date.now())),
      pod.node ? h('span', {}, `Node ${pod.node}`) : '',
    ),
    open,
    h(
      'table',
      { class: 'listing containers' },
      h('caption', { class: 'visually-hidden' }, 'Containers of this pod'),
      h(
        'thead',
        {},
        h('tr', {}, ...['Container', 'Kind', 'State', 'Ready', 'Restarts', 'Image'].map((text) => h('th', { scope: 'col', class: COLUMN_KINDS[text] }, text))),
      ),
      h('tbody', {}, ...radios),
    ),
  );
  offer();
  focusOn(open);
  // The terminal is what comes next; fetch it while the user looks at the containers.
  if (refusal === null) void import('../terminal/screen.ts').catch(() => undefined);
}

/** Whoever came by the keyboard goes on by it: Enter opens the shell. */
function focusOn(open: HTMLElement): void {
  if (matchMedia('(pointer: fine)').matches) open.querySelector('a')?.focus({ preventScroll: true });
}

function openLink(href: string): HTMLElement {
  return h('a', { class: 'button primary', id: 'open-shell', href }, icon('terminal'), 'Open Shell');
}

function whyNot(reason: string): HTMLElement {
  return h('p', { class: 'why-not' }, icon('info'), reason);
}

const COLUMN_KINDS: Readonly<Record<string, string>> = {
  Ready: 'number wide-only',
  Restarts: 'number',
  Image: 'wide-only',
};

function containerRow(container: Container, pod: PodDetail, changed: () => void): HTMLTableRowElement {
  const byDefault = (pod.defaultContainer ?? pod.containers.find((one) => one.kind === 'container')?.name) === container.name;
  const radio = h('input', {
    type: 'radio',
    name: 'container',
    value: container.name,
    checked: byDefault,
    onchange: changed,
  });
  const state = container.state.toLowerCase();
  const kind = state.startsWith('running') ? 'good' : state.startsWith('waiting') ? 'wait' : '';
  return h(
    'tr',
    {
      onclick: () => {
        radio.checked = true;
        changed();
      },
    },
    h('th', { scope: 'row' }, h('label', { class: 'choice' }, radio, container.name)),
    h('td', {}, container.kind === 'container' ? 'container' : h('span', { class: 'tag' }, container.kind)),
    h('td', {}, h('span', { class: `tag ${kind}` }, container.state)),
    h('td', { class: 'number wide-only' }, container.ready ? 'yes' : 'no'),
    h('td', { class: 'number' }, String(container.restarts)),
    h('td', { class: 'image wide-only' }, container.image),
  );
}

/** Why no shell can be opened in this namespace, in one line, or null where one can. */
async function whyNoShell(cluster: string, namespace: string, signal: AbortSignal): Promise<string | null> {
  const [registry, review] = await Promise.allSettled([
    listClusters(signal),
    mayExec(cluster, namespace, signal),
  ]);
  const entry = registry.status === 'fulfilled' ? registry.value.find((one) => one.name === cluster) : undefined;
  if (entry !== undefined && !entry.execEnabled) {
    return 'Shells are switched off for this cluster by its operator.';
  }
  if (review.status === 'rejected') {
    // Without an answer the gateway decides when the shell is opened, except where it has just said no.
    if (!(review.reason instanceof ApiError)) return null;
    const { code, message } = review.reason.detail;
    const why = message === '' ? '' : ` The gateway says: ${message}`;
    return code === 'E_EXEC_DISABLED' || code === 'E_FORBIDDEN' ? `You may not open a shell in this namespace.${why}` : null;
  }
  if (review.value.allowed) return null;
  const why = review.value.reason ? ` The cluster says: ${review.value.reason}` : '';
  return `You lack the right to create pods/exec in this namespace.${why}`;
}

function notRunning(container: Container | undefined): string | null {
  if (container === undefined) return null;
  const state = container.state.toLowerCase();
  if (state.startsWith('waiting')) return `Container ${container.name} has not started yet, so there is nothing to open a shell in.`;
  if (state.startsWith('terminated')) return `Container ${container.name} has ended, so there is nothing to open a shell in.`;
  return null;
}
