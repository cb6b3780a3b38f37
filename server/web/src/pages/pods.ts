import { listPods, type Pod } from '../api.ts';
import { age, h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import { clusterPage, podPage } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { askName, isForbidden } from './byname.ts';
import { listing } from './listing.ts';

export async function podsListPage({ root, params, signal, title }: PageContext): Promise<void> {
  const cluster = params['cluster'] ?? '';
  const namespace = params['namespace'] ?? '';
  title(`${namespace} · ${cluster}`);
  showCrumbs([
    { text: 'Clusters', href: '/' },
    { text: cluster, href: clusterPage(cluster) },
    { text: namespace },
  ]);
  let now = Date.now();
  const list = listing<Pod>(
    {
      noun: 'pods',
      columns: [
        { title: 'Pod', cell: (pod) => pod.name },
        { title: 'Status', cell: (pod) => phaseTag(pod) },
        { title: 'Ready', cell: (pod) => readyCount(pod), kind: 'number ready' },
        { title: 'Restarts', cell: (pod) => String(restarts(pod)), kind: 'number wide-only' },
        { title: 'Age', cell: (pod) => age(pod.createdAt, now), kind: 'number' },
        { title: 'Node', cell: (pod) => pod.node || '–', kind: 'wide-only' },
      ],
      href: (pod) => podPage(cluster, namespace, pod.name),
      name: (pod) => pod.name,
      text: (pod) => `${pod.name} ${pod.phase} ${pod.reason ?? ''} ${pod.node ?? ''}`,
      empty: 'There is no pod in this namespace.',
      refresh: () => {
        void load().catch(() => location.reload());
      },
    },
    signal,
  );
  async function load(): Promise<void> {
    const pods = await listPods(cluster, namespace, signal);
    now = Date.now();
    list.show(pods.toSorted((a, b) => a.name.localeCompare(b.name)));
  }
  root.append(h('h1', {}, namespace));
  try {
    await load();
  } catch (error) {
    if (!isForbidden(error)) throw error;
    root.append(askName('pod', error, (name) => podPage(cluster, namespace, name)));
    return;
  }
  root.append(list.element);
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
