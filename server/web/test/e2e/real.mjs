/** Tests against a real gateway, that of `periscope demo`, whose containers are processes of this machine. */
import { journey } from './journey.mjs';

export function real(suite, browser, url, shoot) {
  for (const dark of [false, true]) {
    suite.test(`${dark ? 'dark' : 'light'}: the journey from the clusters to an exit code and back`, () => journey(browser, url, dark, shoot));
  }
}
