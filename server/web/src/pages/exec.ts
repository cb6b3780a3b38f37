/** The address of a shell: puts its tab in front, and keeps address, title and path in step with the tab that is. */

import { ApiError, whoami } from '../api.ts';
import { h } from '../dom.ts';
import { showCrumbs } from '../header.ts';
import { clusterPage, podPage, podsPage } from '../paths.ts';
import type { PageContext } from '../router.ts';
import { openShells } from '../shells.ts';
import type { Tab } from '../terminal/tab.ts';

export async function execShellPage({ params, query, root, signal, title, go }: PageContext): Promise<void> {
  const target = {
    cluster: params['cluster'] ?? '',
    namespace: params['namespace'] ?? '',
    pod: params['pod'] ?? '',
    container: query.get('container') ?? '',
    command: query.get('command') ?? '',
  };
  title(target.pod);
  root.replaceChildren(h('p', { class: 'pill busy loading' }, 'Loading the terminal…'));
  // The first page of a visit leads to the login like any other. Later there are terminals, which a refused shell leaves alone.
  const first = openShells().length === 0;
  const [{ theWorkspace }] = await Promise.all([import('../terminal/workspace.ts'), first ? mustBeSignedIn(signal) : null]);
  if (signal.aborted) return;
  root.replaceChildren();
  const workspace = theWorkspace();
  const main = document.getElementById('main');
  main?.classList.add('exec');
  signal.addEventListener('abort', () => {
    main?.classList.remove('exec');
    workspace.leave();
  });
  const state = history.state as { tab?: unknown } | null;
  workspace.enter(target, typeof state?.tab === 'number' ? state.tab : null, { go, front: (tab) => show(tab) });

  function show(tab: Tab): void {
    const { cluster, namespace, pod, container } = tab.target;
    history.replaceState({ tab: tab.id }, '', tab.href);
    title(tab.name);
    showCrumbs([
      { text: 'Clusters', href: '/' },
      { text: cluster, href: clusterPage(cluster) },
      { text: namespace, href: podsPage(cluster, namespace) },
      { text: pod, href: podPage(cluster, namespace, pod) },
      { text: container === '' ? 'shell' : container },
    ]);
  }
}

/** Fails where nobody is signed in. Any other trouble is the shell's own to tell. */
async function mustBeSignedIn(signal: AbortSignal): Promise<void> {
  try {
    await whoami(signal);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) throw error;
  }
}
