/** The addresses of this UI, and of the exec endpoint behind it. */

import { podPath } from './api.ts';

const part = encodeURIComponent;

export function clusterPage(cluster: string): string {
  return `/clusters/${part(cluster)}`;
}

export function podsPage(cluster: string, namespace: string): string {
  return `${clusterPage(cluster)}/namespaces/${part(namespace)}`;
}

export function allPodsPath(cluster: string): string {
  return `${clusterPage(cluster)}/pods`;
}

export function podPage(cluster: string, namespace: string, pod: string): string {
  return `${clusterPage(cluster)}/pods/${part(namespace)}/${part(pod)}`;
}

export function execPage(cluster: string, namespace: string, pod: string, container: string): string {
  const query = container === '' ? '' : `?container=${part(container)}`;
  return `${podPage(cluster, namespace, pod)}/exec${query}`;
}

export interface ExecTarget {
  cluster: string;
  namespace: string;
  pod: string;
  /** Empty: the gateway or the apiserver chooses. */
  container: string;
  /** As in the address: base64url of a JSON array. Empty: the default shell. */
  command: string;
}

/** Path and query of the exec endpoint for a terminal of this size. */
export function execPath(target: ExecTarget, cols: number, rows: number): string {
  const query = new URLSearchParams();
  if (target.container !== '') query.set('container', target.container);
  if (target.command !== '') query.set('command', target.command);
  query.set('cols', String(cols));
  query.set('rows', String(rows));
  query.set('flow', 'both');
  return `${podPath(target.cluster, target.namespace, target.pod)}/exec?${query.toString()}`;
}
