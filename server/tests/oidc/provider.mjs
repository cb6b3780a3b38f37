/** A real OpenID Connect provider on a free port of this machine, with people of our making. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

/** Who there is. Anybody may say that he is one of them: what is tested is what comes after. */
const people = {
  ann: { email: 'ann@example.com', groups: ['devs'] },
  bob: { email: 'bob@example.com', groups: ['devs'] },
  rita: { email: 'rita@example.com', groups: ['readers'] },
  nils: { email: 'nils@example.com', groups: ['visitors'] },
  olga: { email: 'olga@example.com', groups: ['devs', 'auditors'] },
  many: { email: 'many@example.com', groups: [...Array.from({ length: 299 }, (_, index) => `group-${index}`), 'devs'] },
  stranger: { email: 'stranger@example.com', groups: ['others'] },
};

/**
 * Starts the provider. `urls` are the gateway's callback and the place after a logout. `rotate()` replaces its keys and forgets its
 * logins, as a provider does that was set up anew under the same name.
 */
export async function startProvider({ clientSecret, redirectUrl, postLogoutRedirect }) {
  let handle = null;
  const server = createServer((request, response) => handle(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let generation = 0;

  function rotate() {
    generation += 1;
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = { ...privateKey.export({ format: 'jwk' }), kid: `key-${generation}`, use: 'sig', alg: 'RS256' };
    const provider = new Provider(issuer, configuration({ key, clientSecret, redirectUrl, postLogoutRedirect }));
    const answer = provider.callback();
    handle = (request, response) => {
      if (request.url.startsWith('/interaction/')) interact(provider, request, response).catch((error) => fail(response, error));
      else answer(request, response);
    };
  }

  rotate();
  return { issuer, rotate, close: () => server.close() };
}

function configuration({ key, clientSecret, redirectUrl, postLogoutRedirect }) {
  return {
    jwks: { keys: [key] },
    clients: [
      { client_id: 'periscope', client_secret: clientSecret, redirect_uris: [redirectUrl], post_logout_redirect_uris: [postLogoutRedirect] },
      { client_id: 'robot', client_secret: 'robot-secret', redirect_uris: [], response_types: [], grant_types: ['client_credentials'] },
    ],
    scopes: ['openid', 'email', 'groups'],
    claims: { openid: ['sub'], email: ['email'], groups: ['groups'] },
    cookies: { keys: ['only a test'] },
    extraTokenClaims: () => ({ groups: ['devs'] }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
    // Nobody is asked whether the gateway may know who he is.
    async loadExistingGrant(context) {
      const { client, session, provider } = context.oidc;
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid email groups');
      await grant.save();
      return grant;
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({ audience, scope: '', accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } } }),
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource(context, form) {
          context.body = `<!doctype html><title>Leave?</title>${form}<button type="submit" form="op.logoutForm" name="logout" value="yes">Leave the provider</button>`;
        },
      },
    },
  };
}

/** The provider's own page: a name, and in. */
async function interact(provider, request, response) {
  if (request.method === 'GET') {
    response.writeHead(200, { 'Content-Type': 'text/html' });
    response.end('<!doctype html><title>Provider</title><form method="post"><label>Name <input name="name" autofocus></label><button>Log in</button></form>');
    return;
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  const name = new URLSearchParams(body).get('name');
  const result = people[name] === undefined ? { error: 'access_denied', error_description: 'canary-7f3a' } : { login: { accountId: name } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

function fail(response, error) {
  console.error(error);
  response.writeHead(500);
  response.end();
}
