/** What happens to pasted text before the terminal gets it. Pure. */

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
