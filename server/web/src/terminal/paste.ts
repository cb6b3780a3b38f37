/** Text on its way into a shell: pasted, or as a command in an address. Pure. */

/** Whether a shell would run part of this text before anybody pressed Enter. */
export function runsLines(text: string, bracketed: boolean): boolean {
  return !bracketed && /[\r\n]/.test(text);
}

/**
 * The text with its escape characters made visible. Otherwise text from a web page could end the bracketed
 * paste by itself and go on as keystrokes.
 */
export function withoutEscapes(text: string): string {
  return text.replaceAll('\u001b', '\u241b');
}

export function countLines(text: string): number {
  return text.replace(/(\r\n|\r|\n)$/, '').split(/\r\n|\r|\n/).length;
}

/** The words of a command as an address carries them, base64url of a JSON array; null if it is not that. */
export function commandWords(encoded: string): string[] | null {
  try {
    const binary = atob(encoded.replaceAll('-', '+').replaceAll('_', '/'));
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(binary, (char) => char.charCodeAt(0))));
    return Array.isArray(value) && value.every((word) => typeof word === 'string') ? value : null;
  } catch {
    return null;
  }
}

/** A word as one would have to type it for a shell, so that blanks and line ends can be seen. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
