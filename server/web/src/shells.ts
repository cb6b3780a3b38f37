/** The shells of this page, for the parts of it that are loaded before the terminal is. */

export interface OpenShell {
  /** What the tab is called. */
  name: string;
  /** Where the tab is. */
  href: string;
  /** The tab's number, for `history.state`. */
  id: number;
  /** Whether leaving the page would end something. */
  alive: boolean;
}

type Listener = (shells: readonly OpenShell[]) => void;

let shells: readonly OpenShell[] = [];
const listeners = new Set<Listener>();

let mayGo = false;

/** The user has agreed that the page goes away, shells and all. */
export function letPageGo(): void {
  mayGo = true;
}

export function pageMayGo(): boolean {
  return mayGo;
}

export function openShells(): readonly OpenShell[] {
  return shells;
}

export function setOpenShells(next: readonly OpenShell[]): void {
  const same = next.length === shells.length && next.every((one, index) => sameShell(one, shells[index]));
  if (same) return;
  shells = next;
  for (const listener of listeners) listener(shells);
}

/** Calls back at once and at every change. */
export function onOpenShells(listener: Listener): void {
  listeners.add(listener);
  listener(shells);
}

function sameShell(a: OpenShell, b: OpenShell | undefined): boolean {
  return b !== undefined && a.id === b.id && a.name === b.name && a.href === b.href && a.alive === b.alive;
}
