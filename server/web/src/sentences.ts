/** What every error code and every end means to the person in front of it, and what they can do. */

import type { End, GatewayError } from './protocol.ts';

export interface Sentence {
  title: string;
  advice: string;
}

const BY_CODE: Readonly<Record<string, Sentence>> = {
  E_AUTH: { title: 'You are signed out', advice: 'Your login has ended. Sign in again, then open the shell anew.' },
  E_FORBIDDEN: {
    title: 'You may not open a shell here',
    advice: 'Your account lacks the right to create pods/exec in this namespace. Ask whoever manages access to this cluster.',
  },
  E_EXEC_DISABLED: {
    title: 'Shells are switched off for this cluster',
    advice: 'The operator has disabled exec on this cluster. No role changes that; ask the operator if you need it.',
  },
  E_ORIGIN: {
    title: 'This page has the wrong address',
    advice: 'The gateway only accepts shells from its own address. Open periscope under the address your operator gave you.',
  },
  E_INVALID_REQUEST: {
    title: 'The request was not accepted',
    advice: 'Check the container and the command in the address, or go back to the pod and choose again.',
  },
  E_PROTOCOL: {
    title: 'The gateway and this page did not understand each other',
    advice: 'Reload the page to get its current version. If it happens again, report the session id.',
  },
  E_NOT_FOUND: {
    title: 'The pod or container is not there',
    advice: 'It may have been replaced or has already exited. Go back to the list and choose one that is running.',
  },
  E_CAP_USER: {
    title: 'You have too many shells open',
    advice: 'Disconnect one of them to make room for this one.',
  },
  E_CAP_CLUSTER: {
    title: 'This cluster has too many shells open',
    advice: 'Wait until somebody leaves, or disconnect one of your own.',
  },
  E_RATE_LIMIT: {
    title: 'Too many shells in a short time',
    advice: 'Wait a moment before you open the next one.',
  },
  E_CLUSTER_UNREACHABLE: {
    title: 'The cluster does not answer',
    advice: 'The gateway could not reach its apiserver, or lost it. This often passes; try again in a moment.',
  },
  E_DRAIN: {
    title: 'The gateway is restarting',
    advice: 'It takes no new shells just now. Reconnect to reach its successor.',
  },
  E_AUDIT: {
    title: 'The audit log cannot be written',
    advice: 'Shells here need a record, and the record store does not answer. Try again shortly, then tell the operator.',
  },
  E_INTERNAL: {
    title: 'Something is wrong on the gateway’s side',
    advice: 'Nothing you did caused this. Tell the operator, with the session id if there is one.',
  },
  E_NO_SHELL: {
    title: 'This container has no shell',
    advice: 'Its image holds neither bash nor sh. Another container of the pod may, or use kubectl debug.',
  },
  E_IDLE: {
    title: 'Closed because nothing happened',
    advice: 'Nothing was typed and nothing was printed for too long. Reconnect to start a new shell.',
  },
  E_HEARTBEAT: {
    title: 'The connection went silent',
    advice: 'This browser stopped answering the gateway: network, VPN or a sleeping computer. Reconnect to start a new shell.',
  },
  E_GATEWAY: {
    title: 'Something between you and the gateway answered instead of it',
    advice: 'A proxy may be misconfigured, or the gateway is down. Try again, then tell the operator.',
  },
};

const BY_DETAIL: Readonly<Record<string, Sentence>> = {
  process_exit: { title: 'The shell has exited', advice: '' },
  user_close: { title: 'You disconnected', advice: '' },
  tab_gone: { title: 'The tab was closed', advice: '' },
  hidden: {
    title: 'Closed while the tab was hidden',
    advice: 'The tab was hidden and the shell silent for a while. Reconnect to start a new shell.',
  },
  admin_kill: {
    title: 'An administrator ended this session',
    advice: 'Ask the operator before you open another one.',
  },
  pod_gone: {
    title: 'The pod is gone',
    advice: 'It was deleted or replaced. Go back to the list to find its successor.',
  },
  stalled: {
    title: 'This browser stopped taking output',
    advice: 'Output waited too long for this tab. Reconnect to start a new shell.',
  },
  connection_lost: {
    title: 'The connection to the gateway was lost',
    advice: 'Check your network or VPN. The old shell has ended; reconnecting starts a new one.',
  },
  websocket_blocked: {
    title: 'The WebSocket did not open',
    advice: 'The gateway would have accepted this shell, so something on the way, often a proxy, blocks WebSockets.',
  },
  gateway_unreachable: {
    title: 'The gateway does not answer',
    advice: 'Check your network or VPN, then reconnect.',
  },
};

const UNKNOWN: Sentence = { title: 'The session has ended', advice: 'Reconnect to start a new shell.' };

/** For pages that show something rather than open a shell, where these codes mean less. */
const BY_REQUEST: Readonly<Record<string, Sentence>> = {
  E_AUTH: { title: 'You are signed out', advice: 'Sign in to see this page.' },
  E_FORBIDDEN: {
    title: 'You may not see this',
    advice: 'Your account lacks the right to read it in this cluster. Ask whoever manages access there.',
  },
  E_AUDIT: {
    title: 'The audit log cannot be read at the moment',
    advice: 'Its store does not answer, or the question took too long. Try again, or ask for fewer records.',
  },
  E_NOT_FOUND: {
    title: 'This is not there',
    advice: 'It may have been removed, replaced or renamed since you last saw it.',
  },
};

export function sentenceForRequest(error: GatewayError): Sentence {
  return BY_REQUEST[error.code] ?? sentenceForError(error);
}

export function sentenceForError(error: GatewayError): Sentence {
  return BY_CODE[error.code] ?? { title: error.code, advice: 'See the message below, or ask the operator.' };
}

export function sentenceForEnd(end: End): Sentence {
  if (end.detail === 'process_exit' && end.exitCode !== null) {
    return { title: `The shell has exited with code ${end.exitCode}`, advice: exitAdvice(end.exitCode) };
  }
  const byDetail = BY_DETAIL[end.detail];
  if (end.error === null) return byDetail ?? UNKNOWN;
  // A vanished pod explains more than the code it shares with a broken network.
  if (end.detail === 'pod_gone' || end.detail === 'stalled') return byDetail ?? UNKNOWN;
  return sentenceForError(end.error);
}

/** Whether another try can be expected to end in the same way. */
export function isFinal(end: End): boolean {
  return isGone(end) || ['E_FORBIDDEN', 'E_EXEC_DISABLED', 'E_ORIGIN', 'E_INVALID_REQUEST', 'E_NO_SHELL'].includes(end.error?.code ?? '');
}

/** Whether the pod or the container is no longer there to go back to. */
export function isGone(end: End): boolean {
  return end.detail === 'pod_gone' || end.error?.code === 'E_NOT_FOUND';
}

/** Whether the gateway's own words add anything to ours. */
export function saysMore(message: string, sentence: Sentence): boolean {
  return message !== '' && !message.startsWith(sentence.title);
}

function exitAdvice(code: number): string {
  if (code === 126) return 'Code 126: the command was found but could not be run.';
  if (code === 127) return 'Code 127: the last command was not found.';
  if (code === 137) return 'Code 137: the process was killed, often because it ran out of memory.';
  if (code > 128 && code < 160) return `Code ${code}: the process was ended by signal ${code - 128}.`;
  return '';
}

/** The plain note on output that may be incomplete, or an empty string where nothing is missing. */
export function truncatedNote(end: End): string {
  if (end.truncated === true) return 'The last part of the output is missing.';
  if (end.truncated === null && end.reason !== 'lost' && end.detail === 'process_exit') {
    return 'The last part of the output may be missing; the cluster cannot tell.';
  }
  return '';
}

export const CODES: readonly string[] = Object.keys(BY_CODE);
