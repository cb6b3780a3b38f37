import { listPods, type Pod } from '../api.ts';
import { age, h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import { clusterPage, podPage, podsPage } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { askName, isForbidden } from './byname.ts';
import { listing, type Column } from './listing.ts';

export async function podsListPage(context: PageContext): Promise<void> {
  const cluster = context.params['cluster'] ?? '';
  const namespace = context.params['namespace'] ?? '';
  await podsPageOf(context, cluster, namespace);
}

/** The pods of all namespaces, for those who know the pod but not where it runs. */
export async function allPodsPage(context: PageContext): Promise<void> {
  await podsPageOf(context, context.params['cluster'] ?? '', null);
}

async function podsPageOf({ root, signal, title }: PageContext, cluster: string, namespace: string | null): Promise<void> {
  const heading = namespace ?? 'All pods';
  title(`${heading} · ${cluster}`);
  showCrumbs([{ text: 'Clusters', href: '/' }, { text: cluster, href: clusterPage(cluster) }, { text: heading }]);
  let now = Date.now();
  const trouble = h('p', { class: 'trouble', role: 'alert', hidden: true });
  const columns: Column<Pod>[] = [
    { title: 'Pod', cell: (pod) => pod.name },
    { title: 'Namespace', cell: (pod) => pod.namespace },
    { title: 'Status', cell: (pod) => phaseTag(pod) },
    { title: 'Ready', cell: (pod) => readyCount(pod), kind: 'number ready' },
    { title: 'Restarts', cell: (pod) => String(restarts(pod)), kind: 'number' },
    { title: 'Age', cell: (pod) => age(pod.createdAt, now), kind: 'number' },
    { title: 'Node', cell: (pod) => pod.node || '–', kind: 'wide-only' },
  ];
  const list = listing<Pod>(
    {
      noun: 'pods',
      columns: namespace === null ? columns : columns.filter((column) => column.title !== 'Namespace'),
      href: (pod) => podPage(cluster, pod.namespace, pod.name),
      name: (pod) => pod.name,
      text: (pod) => `${pod.name} ${namespace === null ? pod.namespace : ''} ${pod.phase} ${pod.reason ?? ''} ${pod.node ?? ''}`,
      empty: namespace === null ? 'There is no pod in this cluster.' : 'There is no pod in this namespace.',
      refresh: () => void refresh(),
    },
    signal,
  );
  async function load(): Promise<void> {
    const pods = await listPods(cluster, namespace, signal);
    now = Date.now();
    list.show(pods.toSorted((a, b) => a.name.localeCompare(b.name)));
  }
  async function refresh(): Promise<void> {
    try {
      await load();
      trouble.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      trouble.hidden = false;
      trouble.textContent = `The list could not be read again: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  root.append(h('h1', {}, heading));
  try {
    await load();
  } catch (error) {
    if (!isForbidden(error)) throw error;
    const known = namespace === null ? askName('namespace', error, (name) => podsPage(cluster, name)) : askName('pod', error, (name) => podPage(cluster, namespace, name));
    root.append(known);
    return;
  }
  root.append(trouble, list.element);
  list.focus();
}

/** The phase, or the reason that says more, with a colour that never stands alone. */
export function phaseTag(pod: Pod): HTMLElement {
  const text = pod.reason || pod.phase;
  const good = pod.phase === 'Running' || pod.phase === 'Succeeded';
  const kind = pod.reason || pod.phase === 'Failed' ? 'bad' : good ? 'good' : 'wait';
  return h('span', { class: `tag ${kind}` }, text);
}

function readyCount(pod: Pod): string {
  const main = pod.containers.filter((container) => container.kind === 'container');
  return `${main.filter((container) => container.ready).length}/${main.length}`;
}

function restarts(pod: Pod): number {
  return pod.containers.reduce((sum, container) => sum + container.restarts, 0);
}
