import { listClusters, type Cluster } from '../api.ts';
import { h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import { clusterPage } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { listing } from './listing.ts';

export async function clustersPage({ root, signal, title }: PageContext): Promise<void> {
  title('Clusters');
  showCrumbs([]);
  const clusters = await listClusters(signal);
  const list = listing<Cluster>(
    {
      noun: 'clusters',
      columns: [
        { title: 'Cluster', cell: (cluster) => cluster.name },
        { title: 'Backend', cell: (cluster) => cluster.backend, kind: 'wide-only' },
        { title: 'Region', cell: (cluster) => cluster.region || '–', kind: 'wide-only' },
        { title: 'Shells', cell: (cluster) => execState(cluster) },
      ],
      href: (cluster) => clusterPage(cluster.name),
      name: (cluster) => cluster.name,
      text: (cluster) => `${cluster.name} ${cluster.region ?? ''} ${cluster.backend}`,
      empty: 'No cluster is registered. The operator lists them in clusters.yaml.',
    },
    signal,
  );
  root.append(h('h1', {}, 'Clusters'), list.element);
  list.show(clusters);
  list.focus();
}

function execState(cluster: Cluster): HTMLElement {
  return cluster.execEnabled
    ? h('span', { class: 'tag good' }, 'enabled')
    : h('span', { class: 'tag' }, 'disabled');
}
