/** What docs/guide-coverage.md says: its rows, each with the tests it names. */
import { readFileSync } from 'node:fs';

export const page = 'docs/guide-coverage.md';

/** The rows of the page in the present folder: `{ promise, names, isShown }`. */
export function rows() {
  const found = [];
  for (const line of readFileSync(page, 'utf8').split('\n')) {
    const row = /^\| (\d) \| (.+) \| (.+) \|$/.exec(line);
    if (row === null) continue;
    const names = [...row[3].matchAll(/`([^`]+)`/g)].map((match) => match[1]);
    found.push({ promise: row[2], names, isShown: !row[3].includes('not shown yet') });
  }
  return found;
}
