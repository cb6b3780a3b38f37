/** The way to the login and back. */

const TRIED = 'periscope.signin';

/** A sign-in this recent that led back here signed out has failed; another one would only go round in circles. */
const RETRY_MILLISECONDS = 30_000;

/** The address that logs in and comes back to `path`. */
export function loginAddress(path = location.pathname + location.search): string {
  return `/api/auth/login?returnTo=${encodeURIComponent(path)}`;
}

/** Where a login that was made in a tab of its own comes back to. */
export const SIGNED_IN_PATH = '/signed-in';

const CHANNEL = 'periscope.login';

/** Tells the other tabs of this browser that somebody has logged in. */
export function tellSignedIn(): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage('signed-in');
  channel.close();
}

export function onSignedIn(action: () => void): void {
  new BroadcastChannel(CHANNEL).onmessage = action;
}

/** Goes to the login without a question, if that has not just been tried in vain. Returns false if it stays here. */
export function signInOnce(): boolean {
  const now = Date.now();
  try {
    if (now - Number(sessionStorage.getItem(TRIED) ?? 0) < RETRY_MILLISECONDS) return false;
    sessionStorage.setItem(TRIED, String(now));
  } catch {
    // Without storage nothing would stop the circle.
    return false;
  }
  location.assign(loginAddress());
  return true;
}
