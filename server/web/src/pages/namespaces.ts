import { getCluster, listNamespaces, type Namespace } from '../api.ts';
import { h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import { allPodsPath, podsPage } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { askName, isForbidden } from './byname.ts';
import { listing } from './listing.ts';

export async function namespacesPage({ root, params, signal, title }: PageContext): Promise<void> {
  const cluster = params['cluster'] ?? '';
  title(cluster);
  showCrumbs([{ text: 'Clusters', href: '/' }, { text: cluster }]);
  const facts = h('p', { class: 'facts' });
  const list = listing<Namespace>(
    {
      noun: 'namespaces',
      columns: [{ title: 'Namespace', cell: (namespace) => namespace.name }],
      href: (namespace) => podsPage(cluster, namespace.name),
      name: (namespace) => namespace.name,
      empty: 'You can see no namespace in this cluster.',
    },
    signal,
  );
  const namespaces = listNamespaces(cluster, signal);
  // The facts are an extra: their failure is told in their place, the list's failure takes the page.
  getCluster(cluster, signal).then(
    (detail) => {
      facts.replaceChildren(
        detail.reachable
          ? h('span', { class: 'tag good' }, 'reachable')
          : h('span', { class: 'tag bad' }, 'not reachable'),
        detail.serverVersion ? h('span', {}, `Kubernetes ${detail.serverVersion}`) : '',
        detail.execEnabled ? '' : h('span', { class: 'tag' }, 'shells disabled'),
      );
    },
    () => {
      facts.textContent = 'The state of the cluster could not be read.';
    },
  );
  root.append(h('h1', {}, cluster), facts);
  let items: Namespace[];
  try {
    items = await namespaces;
  } catch (error) {
    if (!isForbidden(error)) throw error;
    root.append(askName('namespace', error, (name) => podsPage(cluster, name)));
    return;
  }
  root.append(h('p', { class: 'aside' }, h('a', { href: allPodsPath(cluster) }, 'Search the pods of all namespaces')), list.element);
  list.show(items.toSorted((a, b) => a.name.localeCompare(b.name)));
  list.focus();
}
