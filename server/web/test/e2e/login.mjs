/** Signing in and out, and the login's end. Against the fake gateway. */
import assert from 'node:assert/strict';
import { type, until, waitForOpen, waitForScreen } from './browser.mjs';

const SHELL = '/clusters/modern/pods/default/shell/exec?container=shell';
const soon = (seconds) => new Date(Date.now() + seconds * 1000).toISOString();

export function logins(state) {
  state('who is not signed in is taken to the login and back to where they were', { login: { signedIn: false } }, async (page, go) => {
    await go('/clusters/modern/namespaces/default');
    await page.getByRole('link', { name: 'sidecar', exact: true }).waitFor();
    assert.match(page.url(), /\/clusters\/modern\/namespaces\/default$/);
  });
  state('the address of a shell leads to the login first, and then to the shell', { login: { signedIn: false } }, async (page, go) => {
    await go(SHELL);
    await waitForOpen(page);
    assert.equal(new URL(page.url()).pathname + new URL(page.url()).search, SHELL);
    assert.equal(page.context().pages().length, 1);
  });
  state('a login that does not work is offered, not tried for ever', { login: { signedIn: false, works: false } }, async (page, go, shot) => {
    await go('/clusters/modern/namespaces/default');
    await page.getByRole('alert').getByRole('link', { name: 'Sign in with Example ID' }).waitFor();
    await shot('signed-out');
  });
  state('without a login to go to, the page says where its address is', { login: { demo: true } }, async (page, go, shot) => {
    await go('/clusters/modern');
    await page.getByText('This page needs its secret address').waitFor();
    await shot('no-token');
  });
  {
    const login = { signedIn: true };
    state('typing keeps the login alive, at most once a minute', { login }, async (page, go) => {
      login.expiresAt = soon(3600);
      await page.clock.install();
      await go(SHELL);
      await waitForOpen(page);
      const asked = login.asked;
      await type(page, 'echo a-$((1+1))');
      await waitForScreen(page, (text) => /^a-2\s*$/m.test(text), 'a-2');
      assert.equal(login.asked, asked, 'the page has just asked');
      await page.clock.fastForward(61_000);
      await type(page, 'echo b-$((1+1))');
      await waitForScreen(page, (text) => /^b-2\s*$/m.test(text), 'b-2');
      await until(() => login.asked === asked + 1, 'one more question');
      await type(page, 'echo c-$((1+1))');
      await waitForScreen(page, (text) => /^c-2\s*$/m.test(text), 'c-2');
      assert.equal(login.asked, asked + 1);
    });
  }
  {
    const login = { signedIn: true };
    state('the end of the login is announced five minutes before', { login }, async (page, go, shot) => {
      login.expiresAt = soon(290);
      await go(SHELL);
      await waitForOpen(page);
      await page.getByText(/Your login ends in 4m\d+s/).waitFor();
      await shot('login-ending');
      // A login in another tab of this browser reaches this one, and the shell goes on.
      login.expiresAt = soon(8 * 3600);
      const [other] = await Promise.all([page.waitForEvent('popup'), page.getByRole('link', { name: 'Sign in in a new tab' }).click()]);
      await other.getByText('You are signed in').waitFor();
      await page.getByText(/Your login ends in/).waitFor({ state: 'hidden' });
      await page.getByText('belongs to your earlier login').waitFor();
      await other.close();
    });
  }
  {
    const login = { signedIn: true };
    state('a shell that ends with its login keeps its screen, gives typed text back, and opens again after a login beside it', { login }, async (page, go, shot, gateway) => {
      login.expiresAt = soon(3600);
      await go(SHELL);
      await waitForOpen(page);
      await type(page, 'echo kept-$((1+1))');
      await waitForScreen(page, (text) => /^kept-2\s*$/m.test(text), 'kept-2');
      login.signedIn = false;
      for (const session of gateway.sessions.values()) session.end('auth_expired');
      await page.locator('.end-banner').getByText('You are signed out').waitFor();
      await page.locator('.login-notice').getByText('What is on your terminals stays here.').waitFor();
      await page.keyboard.type('x');
      await page.locator('.notices').getByText('what you type goes nowhere').waitFor();
      await shot('login-expired');
      const [other] = await Promise.all([page.waitForEvent('popup'), page.locator('.login-notice').getByRole('link').click()]);
      await other.getByText('You are signed in').waitFor();
      await other.close();
      await page.locator('.login-notice').waitFor({ state: 'hidden' });
      await page.getByRole('button', { name: 'Reconnect' }).click();
      await waitForOpen(page);
      await waitForScreen(page, (text) => text.includes('kept-2') && text.includes('new shell'), 'the old screen and the new shell');
    });
  }
  {
    const login = { signedIn: true };
    state('signing out ends the shells, after a question that names them', { login }, async (page, go, shot, gateway) => {
      login.expiresAt = soon(3600);
      await go(SHELL);
      await waitForOpen(page);
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('dialog').getByText('ends your open shell: shell.').waitFor();
      await shot('sign-out-dialog');
      await page.getByRole('dialog').getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
      await until(() => gateway.sessions.size === 0, 'the end of the shell');
      await shot('after-sign-out');
    });
  }
  {
    const login = { signedIn: true };
    state('signing out goes on to the provider, where it has such a place', { login }, async (page, go, _shot, gateway) => {
      login.expiresAt = soon(3600);
      login.logoutUrl = `${gateway.url}/signed-out?from=provider`;
      await go(SHELL);
      await waitForOpen(page);
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL(login.logoutUrl);
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
    });
  }
}
