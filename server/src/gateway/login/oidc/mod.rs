//! Login through an OpenID Connect provider: the authorization code flow with PKCE for browsers, and
//! bearer tokens of the same issuer for everything else.

mod claims;
mod failure;
mod flow;
mod http;
mod provider;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use openidconnect::url::form_urlencoded;
use openidconnect::{ClientId, ClientSecret, IssuerUrl, PostLogoutRedirectUrl, RedirectUrl, Scope};
use rustls::RootCertStore;
use tokio::sync::Semaphore;

use super::cookie::{self, Attributes};
use super::store::{Lifetimes, LoginKey, Logins, NewLogin};
use super::{Credential, Login, LoginError, NoRandomness, Secret, bearer};
use crate::config::{AuthConfig, OidcConfig, Setting};
use crate::gateway::identity::{Authorization, IdentityError, Subject};
use crate::gateway::origin::PublicUrl;
use crate::gateway::respond::{self, Reply};
use claims::{Admission, NotAdmitted};
use failure::{Failure, FailureLog};
use flow::Flows;
use http::ProviderHttp;
use provider::{Provider, Registration, VerifyError};

/// Where the provider sends browsers back to.
pub const CALLBACK_PATH: &str = "/api/auth/callback";

/// Codes that are exchanged at the same time. Everybody can ask for that, and each waits for the
/// provider.
const EXCHANGES_MAX: usize = 32;

/// The longest bearer token that is looked at.
const BEARER_BYTES_MAX: usize = 32 * 1024;

/// The longest ID token that goes back to the provider at logout. It travels in a URL, and longer ones
/// are refused by servers on the way.
const HINT_BYTES_MAX: usize = 4096;

/// How the provider is reached and who may come in: `auth.yaml`.
#[derive(Clone, Debug)]
pub struct OidcOptions {
    /// The issuer, exactly as the provider writes it.
    pub issuer: String,
    /// This gateway's name at the provider.
    pub client_id: String,
    /// Its secret there; none for a public client.
    pub client_secret: Option<Secret>,
    /// `<public URL>/api/auth/callback`.
    pub redirect_url: String,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
    /// The audience of bearer tokens; the client's own name if there is none.
    pub audience: Option<String>,
    /// Where browsers go after a logout.
    pub post_logout_redirect: Option<String>,
    /// The provider's name for people.
    pub provider_name: Option<String>,
    /// How long logins last.
    pub lifetimes: Lifetimes,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// One of these groups is needed; empty lets everybody in.
    pub allowed_groups: Vec<String>,
    /// Members see and end everyone's sessions.
    pub audit_admin_groups: Vec<String>,
    /// Where browsers reach the gateway.
    pub public_url: PublicUrl,
}

impl OidcOptions {
    /// What `auth.yaml` says.
    pub(super) fn configured(oidc: &OidcConfig, auth: &AuthConfig, public_url: &PublicUrl) -> Self {
        let text = |setting: &Option<Setting<String>>| {
            setting.as_ref().map(|setting| setting.value.clone())
        };
        let secret = oidc.client_secret.as_ref();
        Self {
            issuer: oidc.issuer.value.clone(),
            client_id: oidc.client_id.value.clone(),
            client_secret: secret.map(|secret| Secret(secret.value.reveal().to_owned())),
            redirect_url: oidc.redirect_url.value.clone(),
            scopes: oidc.scopes.value.clone(),
            audience: text(&oidc.audience),
            post_logout_redirect: text(&oidc.post_logout_redirect),
            provider_name: text(&oidc.provider_name),
            lifetimes: Lifetimes {
                idle: auth.session.idle_timeout.value,
                absolute: auth.session.absolute_timeout.value,
            },
            groups_claim: auth.authorization.groups_claim.value.clone(),
            allowed_groups: auth.authorization.allowed_groups.value.clone(),
            audit_admin_groups: auth.authorization.audit_admin_groups.value.clone(),
            public_url: public_url.clone(),
        }
    }
}

/// Why a configuration cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcSetupError {
    /// Not an https URL, and not a plain one on this machine either.
    #[error("oidc.issuer must be an https URL (plain http only on this machine)")]
    Issuer,
    /// Not a URL of this gateway.
    #[error("oidc.redirectURL must be {0}{CALLBACK_PATH}")]
    RedirectUrl(String),
    /// Not a URL.
    #[error("oidc.postLogoutRedirect is not an absolute http or https URL")]
    PostLogoutRedirect,
    /// Without a name nobody can log in.
    #[error("oidc.clientID is empty")]
    ClientId,
    /// The machine trusts nobody, so no provider either.
    #[error(
        "this machine has no root certificates that could vouch for the identity provider; install them (ca-certificates), or name a file in SSL_CERT_FILE"
    )]
    NoRoots,
    /// The cryptographic library refuses its own defaults.
    #[error("TLS towards the identity provider cannot be set up")]
    Tls,
    /// There are no secrets to be had.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// The login through a provider.
pub struct OidcLogin {
    provider: Provider,
    flows: Flows,
    logins: Logins,
    admission: Admission,
    provider_name: Option<String>,
    cookie_name: String,
    cookie: Attributes,
    exchanges: Semaphore,
    failures: FailureLog,
}

/// A login that has just begun, and the answer that tells the browser.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) reply: Reply,
    pub(crate) key: LoginKey,
    /// The login the browser had before. It is over: its cookie was overwritten.
    pub(crate) former: Option<(LoginKey, Arc<Subject>)>,
    pub(crate) subject: Arc<Subject>,
}

impl OidcLogin {
    /// A login that reaches the provider when the first person comes.
    pub fn new(options: OidcOptions) -> Result<Self, OidcSetupError> {
        let registration = registration(&options)?;
        let roots = if options.issuer.starts_with("https:") {
            system_roots()?
        } else {
            RootCertStore::empty()
        };
        let http = ProviderHttp::new(roots).map_err(|_| OidcSetupError::Tls)?;
        let no_randomness = |_: NoRandomness| OidcSetupError::NoRandomness;
        Ok(Self {
            provider: Provider::new(registration, http),
            flows: Flows::new(&options.public_url).map_err(no_randomness)?,
            logins: Logins::new(options.lifetimes),
            admission: Admission {
                groups_claim: options.groups_claim,
                allowed_groups: options.allowed_groups,
                audit_admin_groups: options.audit_admin_groups,
            },
            provider_name: options.provider_name,
            cookie_name: cookie::name(&options.public_url),
            cookie: Attributes {
                is_secure: options.public_url.is_https(),
                max_age: Some(options.lifetimes.absolute),
            },
            exchanges: Semaphore::new(EXCHANGES_MAX),
            failures: FailureLog::default(),
        })
    }

    /// The provider's name for people.
    pub fn provider_name(&self) -> Option<&str> {
        self.provider_name.as_deref()
    }

    /// The logins of browsers.
    pub(crate) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// The login of a request: its bearer token's if it has one, else its cookie's.
    pub(super) async fn login(&self, parts: &Parts, now: Timestamp) -> Result<Login, LoginError> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return self.bearer_login(parts).await;
        }
        let mut cookies = cookie::values(parts, &self.cookie_name);
        let found = cookies.find_map(|value| self.logins.find(value, now));
        let (key, entry) = found.ok_or(LoginError::Missing)?;
        Ok(Login {
            subject: entry.subject,
            credential: Credential::Cookie,
            is_audit_admin: entry.is_audit_admin,
            expires_at: Some(entry.expires_at),
            key: Some(key),
        })
    }

    async fn bearer_login(&self, parts: &Parts) -> Result<Login, LoginError> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(LoginError::Missing);
        };
        let token = value.to_str().ok().and_then(bearer);
        let token = token.filter(|token| token.len() <= BEARER_BYTES_MAX);
        let verified = self
            .provider
            .verify(token.ok_or(LoginError::Missing)?)
            .await;
        let facts = verified.map_err(|error| match error {
            VerifyError::Provider(_) => LoginError::ProviderUnreachable,
            VerifyError::Token(reason) => {
                log::debug!(reason = reason.to_string().as_str(); "login.bearer.refused");
                LoginError::Missing
            }
        })?;
        let guest = self.admission.admit(&facts).map_err(|error| match error {
            NotAdmitted::Group => LoginError::NotAllowed,
            NotAdmitted::Subject => LoginError::Missing,
        })?;
        Ok(Login {
            subject: Arc::new(guest.subject),
            credential: Credential::Bearer,
            is_audit_admin: guest.is_audit_admin,
            expires_at: Some(facts.expires_at),
            key: None,
        })
    }

    /// `GET /api/auth/login`: sends the browser to the provider.
    pub(crate) async fn begin(&self, parts: &Parts) -> Reply {
        let query = Query::parse(parts);
        let return_to = query.one("returnTo");
        let Ok(flow) = Flows::begin(return_to.as_deref(), Timestamp::now()) else {
            return self.fail(Failure::Internal, "/");
        };
        let Ok(url) = self.provider.authorization_url(&flow).await else {
            return self.fail(Failure::Provider, &flow.return_to);
        };
        let mut reply = see_other(&url);
        let headers = reply.as_mut().map(Reply::headers_mut);
        let is_kept = headers.is_some_and(|headers| self.flows.keep(&flow, headers));
        match reply {
            Some(reply) if is_kept => reply,
            _ => self.fail(Failure::Internal, &flow.return_to),
        }
    }

    /// `GET /api/auth/callback`: the browser is back from the provider. A subject that can be
    /// nobody in a cluster does not come in.
    pub(crate) async fn finish(
        &self,
        parts: &Parts,
        authorization: &Authorization,
    ) -> Result<Entered, Reply> {
        let now = Timestamp::now();
        let query = Query::parse(parts);
        let state = query.one("state").unwrap_or_default();
        // Without the flow of this very browser nothing else that came counts.
        let Some(flow) = self.flows.find(parts, &state, now) else {
            return Err(self.fail(Failure::Flow, "/"));
        };
        let return_to = flow.return_to.clone();
        let entered = self.admit(parts, &query, flow, authorization, now).await;
        let mut outcome = entered.map_err(|failure| self.fail(failure, &return_to));
        let headers = match &mut outcome {
            Ok(entered) => entered.reply.headers_mut(),
            Err(reply) => reply.headers_mut(),
        };
        self.flows.forget(&state, headers);
        outcome
    }

    async fn admit(
        &self,
        parts: &Parts,
        query: &Query,
        flow: flow::Flow,
        authorization: &Authorization,
        now: Timestamp,
    ) -> Result<Entered, Failure> {
        // RFC 9207: an answer that names its issuer must name the right one.
        let issuer = query.one("iss");
        if issuer.is_some_and(|issuer| issuer != self.provider.issuer()) {
            return Err(Failure::Token(provider::TokenError::Issuer));
        }
        let code = query.one("code").filter(|_| !query.has("error"));
        let code = code.ok_or(Failure::Refused)?;
        let return_to = flow.return_to.clone();
        let exchanged = {
            let _turn = self.exchanges.try_acquire().map_err(|_| Failure::Busy)?;
            let groups_claim = &self.admission.groups_claim;
            self.provider.exchange(flow, code, groups_claim).await?
        };
        let guest = self
            .admission
            .admit(&exchanged.facts)
            .map_err(|error| match error {
                NotAdmitted::Group => Failure::Group,
                NotAdmitted::Subject => Failure::Subject,
            })?;
        // Whoever has no tier may still have the audit to read.
        if authorization.identity(&guest.subject) == Err(IdentityError::BadSubject) {
            return Err(Failure::Subject);
        }
        let subject = Arc::new(guest.subject);
        let hint = exchanged.id_token;
        let new = NewLogin {
            subject: Arc::clone(&subject),
            is_audit_admin: guest.is_audit_admin,
            hint: (hint.reveal().len() <= HINT_BYTES_MAX).then_some(hint),
        };
        let former = cookie::values(parts, &self.cookie_name)
            .find_map(|value| self.logins.find(value, now))
            .map(|(key, entry)| (key, entry.subject));
        if let Some((key, _)) = &former {
            self.logins.close(key);
        }
        let (secret, key) = self.logins.open(new, now).map_err(|_| Failure::Internal)?;
        let mut reply = see_other(&return_to).ok_or(Failure::Internal)?;
        cookie::set(
            reply.headers_mut(),
            &self.cookie_name,
            secret.reveal(),
            &self.cookie,
        );
        log::info!(groups = subject.groups.len() as u64; "login.ok");
        Ok(Entered {
            reply,
            key,
            former,
            subject,
        })
    }

    fn fail(&self, failure: Failure, return_to: &str) -> Reply {
        self.failures.write(failure);
        failure.page(return_to)
    }

    /// Ends a login. Gives the place at the provider where the browser ends its login there.
    pub(crate) fn end(&self, key: &LoginKey) -> Option<String> {
        let entry = self.logins.close(key);
        log::info!("login.end");
        let hint = entry.and_then(|entry| entry.hint);
        self.provider.logout_url(hint.as_deref())
    }

    /// Takes the login cookie away from the browser.
    pub(crate) fn clear_cookie(&self, headers: &mut HeaderMap) {
        cookie::clear(headers, &self.cookie_name, &self.cookie);
    }
}

impl std::fmt::Debug for OidcLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcLogin")
            .field("issuer", &self.provider.issuer())
            .finish_non_exhaustive()
    }
}

/// A query. A key that is repeated counts as missing: nobody honest repeats one.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    fn one(&self, key: &str) -> Option<String> {
        let mut values = self.0.iter().filter(|(found, _)| found == key);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value.clone()),
            _ => None,
        }
    }

    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(found, _)| found == key)
    }
}

fn registration(options: &OidcOptions) -> Result<Registration, OidcSetupError> {
    let is_reachable = |url: &str| {
        let uri = url.parse().ok();
        uri.is_some_and(|uri| http::Target::of(&uri).is_some())
    };
    let issuer = IssuerUrl::new(options.issuer.clone()).map_err(|_| OidcSetupError::Issuer)?;
    if !is_reachable(&options.issuer) {
        return Err(OidcSetupError::Issuer);
    }
    let wrong_redirect = || OidcSetupError::RedirectUrl(options.public_url.to_string());
    let is_own = options
        .redirect_url
        .strip_suffix(CALLBACK_PATH)
        .and_then(PublicUrl::parse)
        .is_some_and(|origin| origin == options.public_url);
    if !is_own {
        return Err(wrong_redirect());
    }
    let redirect_url = RedirectUrl::new(options.redirect_url.clone());
    let post_logout_redirect = match &options.post_logout_redirect {
        None => None,
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => Some(
            PostLogoutRedirectUrl::new(url.clone())
                .map_err(|_| OidcSetupError::PostLogoutRedirect)?,
        ),
        Some(_) => return Err(OidcSetupError::PostLogoutRedirect),
    };
    if options.client_id.is_empty() {
        return Err(OidcSetupError::ClientId);
    }
    let secret = options.client_secret.as_ref();
    Ok(Registration {
        issuer,
        client_id: ClientId::new(options.client_id.clone()),
        client_secret: secret.map(|secret| ClientSecret::new(secret.reveal().to_owned())),
        redirect_url: redirect_url.map_err(|_| wrong_redirect())?,
        scopes: options
            .scopes
            .iter()
            .filter(|scope| *scope != "openid")
            .map(|scope| Scope::new(scope.clone()))
            .collect(),
        audience: options
            .audience
            .clone()
            .unwrap_or(options.client_id.clone()),
        post_logout_redirect,
    })
}

/// Whom this machine trusts.
fn system_roots() -> Result<RootCertStore, OidcSetupError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(OidcSetupError::NoRoots);
    }
    Ok(roots)
}

fn see_other(url: &str) -> Option<Reply> {
    let location = HeaderValue::from_str(url).ok()?;
    let mut reply = respond::empty(StatusCode::SEE_OTHER);
    let headers = reply.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    Some(reply)
}
