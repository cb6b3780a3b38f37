//! The identity provider: its description and keys, the exchange of a code, the check of a token.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret,
    CsrfToken, DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, IdToken, IdTokenClaims, IdTokenFields, IdTokenVerifier, IssuerUrl,
    JsonWebTokenType, LogoutRequest, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    PkceCodeVerifier, PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl,
    RequestTokenError, Scope, SignatureVerificationError, StandardErrorResponse,
    StandardTokenResponse, TokenResponse as _, UserInfoClaims,
};

use super::claims::{Extra, Facts};
use super::flow::Flow;
use super::http::{HttpError, ProviderHttp};
use crate::gateway::lock;
use crate::gateway::login::Secret;

/// How long the provider's description and keys count before they are fetched again. A key that was
/// taken back counts this much longer here.
const KNOWN_COUNTS: Duration = Duration::from_mins(15);

/// How long they go on counting while the provider does not answer.
const STALE_COUNTS: Duration = Duration::from_hours(12);

/// How soon after a failure the provider is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How often a token with a key that is not known may cause a look at the provider's keys. Anybody can
/// send such tokens.
const REFETCH_INTERVAL: Duration = Duration::from_secs(10);

/// How far our clock and the provider's may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// Only signatures whose checking key is public. With a shared secret or none at all, others than the
/// provider could sign.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Token =
    IdToken<Extra, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type Fields = IdTokenFields<
    Extra,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Client = openidconnect::Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;
type Verifier<'a> = IdTokenVerifier<'a, CoreJsonWebKey>;

/// What is configured about the provider.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) issuer: IssuerUrl,
    pub(super) client_id: ClientId,
    pub(super) client_secret: Option<ClientSecret>,
    pub(super) redirect_url: RedirectUrl,
    pub(super) scopes: Vec<Scope>,
    /// The audience of bearer tokens.
    pub(super) audience: String,
    pub(super) post_logout_redirect: Option<PostLogoutRedirectUrl>,
}

/// The provider.
#[derive(Debug)]
pub(super) struct Provider {
    registration: Registration,
    http: ProviderHttp,
    known: Mutex<Option<Arc<Known>>>,
    /// Held while the provider is asked, so that many requests ask once.
    asking: tokio::sync::Mutex<Asked>,
}

/// What the provider said about itself.
#[derive(Debug)]
struct Known {
    metadata: ProviderMetadataWithLogout,
    at: Instant,
}

#[derive(Debug, Default)]
struct Asked {
    failed_at: Option<(Instant, ProviderError)>,
    for_key_at: Option<Instant>,
}

/// What a code was worth.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub(super) facts: Facts,
    /// The ID token itself: the provider wants it back at logout.
    pub(super) id_token: Secret,
}

/// Why the provider is of no use. Never holds its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProviderError {
    /// It was not reached, or did not answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It answered with an error.
    #[error("the provider answered with an error status")]
    Status,
    /// It is not the configured issuer.
    #[error("the provider names another issuer than the configured one")]
    Issuer,
    /// What it said is not what the standard asks for.
    #[error("the provider's answer could not be read")]
    Garbage,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    /// Signed with a shared secret, or by an algorithm nobody here knows.
    #[error("algorithm")]
    Algorithm,
    /// For somebody else.
    #[error("audience")]
    Audience,
    /// Its time is over, or not yet there.
    #[error("expired")]
    Expired,
    /// From somebody else.
    #[error("issuer")]
    Issuer,
    /// Not a token, or none of a kind that counts here.
    #[error("malformed")]
    Malformed,
    /// The answer has none.
    #[error("missing")]
    Missing,
    /// Of another login.
    #[error("nonce")]
    Nonce,
    /// The code was not good, as the provider says.
    #[error("code")]
    Code,
    /// The signature is wrong.
    #[error("signature")]
    Signature,
    /// The provider has no such key.
    #[error("unknown_key")]
    UnknownKey,
    /// Not signed.
    #[error("unsigned")]
    Unsigned,
    /// The provider says something else about who it is than the token.
    #[error("userinfo")]
    UserInfo,
}

/// Why there are no facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum VerifyError {
    /// Nobody could tell.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Provider {
    pub(super) fn new(registration: Registration, http: ProviderHttp) -> Self {
        Self {
            registration,
            http,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Where a browser begins the login.
    pub(super) async fn authorization_url(&self, flow: &Flow) -> Result<String, ProviderError> {
        let known = self.known().await?;
        let client = self.client(&known);
        let verifier = PkceCodeVerifier::new(flow.verifier.clone());
        let (state, nonce) = (flow.state.clone(), flow.nonce.clone());
        let request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            move || CsrfToken::new(state),
            move || Nonce::new(nonce),
        );
        let (url, _, _) = request
            .add_scopes(self.registration.scopes.iter().cloned())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url.into())
    }

    /// Exchanges a code for the facts about a person. `groups_claim` is what is wanted beyond the
    /// subject: many providers tell it at another endpoint than the token's.
    pub(super) async fn exchange(
        &self,
        flow: Flow,
        code: String,
        groups_claim: &str,
    ) -> Result<Exchanged, VerifyError> {
        let known = self.known().await?;
        let client = self.client(&known);
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| ProviderError::Garbage)?
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier));
        let answer = request
            .request_async(&self.http)
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(_) => VerifyError::Token(TokenError::Code),
                RequestTokenError::Request(error) => ProviderError::Http(error).into(),
                RequestTokenError::Parse(..) => TokenError::Malformed.into(),
                RequestTokenError::Other(_) => ProviderError::Garbage.into(),
            })?;
        let token = answer.id_token().ok_or(TokenError::Missing)?;
        let nonce = Nonce::new(flow.nonce);
        let (known, claims) = self
            .with_fresh_keys(known, |known| {
                let verifier = self.verifier(known, self.registration.client_id.clone());
                let claims = token
                    .claims(&verifier, &nonce)
                    .map_err(|error| token_error(&error))?;
                check_access_token(token, claims, answer.access_token(), &verifier)?;
                Ok(claims)
            })
            .await?;
        let mut facts = facts(claims)?;
        if known.metadata.userinfo_endpoint().is_some()
            && (facts.email.is_none() || !facts.extra.has(groups_claim))
        {
            let request = client
                .user_info(
                    answer.access_token().clone(),
                    Some(claims.subject().clone()),
                )
                .map_err(|_| ProviderError::Garbage)?;
            let told: UserInfoClaims<Extra, CoreGenderClaim> = request
                .request_async(&self.http)
                .await
                .map_err(|error| user_info_error(&error))?;
            facts.extra.fill(told.additional_claims());
            let told_email = told.standard_claims().email();
            facts.email = facts
                .email
                .or_else(|| told_email.map(|email| email.to_string()));
        }
        Ok(Exchanged {
            facts,
            id_token: Secret(token.to_string()),
        })
    }

    /// The facts of a bearer token.
    pub(super) async fn verify(&self, token: &str) -> Result<Facts, VerifyError> {
        let token: Token = token.parse().map_err(|_| TokenError::Malformed)?;
        let known = self.known().await?;
        let (_, claims) = self
            .with_fresh_keys(known, |known| {
                let audience = ClientId::new(self.registration.audience.clone());
                let verifier = self.verifier(known, audience);
                let verifier = verifier
                    .set_allowed_jose_types(bearer_types())
                    // Whoever else it is for: it is for us, too.
                    .set_other_audience_verifier_fn(|_| true);
                let any_nonce = |_: Option<&Nonce>| Ok(());
                token
                    .claims(&verifier, any_nonce)
                    .map_err(|error| token_error(&error))
            })
            .await?;
        Ok(facts(claims)?)
    }

    /// Where a browser ends its login at the provider, if that has such a place and was heard of.
    pub(super) fn logout_url(&self, hint: Option<&Secret>) -> Option<String> {
        let after = self.registration.post_logout_redirect.clone();
        let known = lock(&self.known).clone();
        let end_session = known.and_then(|known| {
            known
                .metadata
                .additional_metadata()
                .end_session_endpoint
                .clone()
        });
        let Some(end_session) = end_session else {
            return after.map(|url| url.to_string());
        };
        let request =
            LogoutRequest::from(end_session).set_client_id(self.registration.client_id.clone());
        let request = match hint.and_then(|hint| hint.reveal().parse::<Token>().ok()) {
            Some(token) => request.set_id_token_hint(&token),
            None => request,
        };
        let request = match after {
            Some(url) => request.set_post_logout_redirect_uri(url),
            None => request,
        };
        Some(request.http_get_url().into())
    }

    /// The configured issuer.
    pub(super) fn issuer(&self) -> &str {
        self.registration.issuer.as_str()
    }

    fn client(&self, known: &Known) -> Client {
        let Registration {
            client_id,
            client_secret,
            redirect_url,
            ..
        } = &self.registration;
        let client = Client::from_provider_metadata(
            known.metadata.clone(),
            client_id.clone(),
            client_secret.clone(),
        );
        let methods = known.metadata.token_endpoint_auth_methods_supported();
        let in_body = methods.is_some_and(|methods| {
            !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        let auth_type = if in_body {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        client
            .set_redirect_uri(redirect_url.clone())
            .set_auth_type(auth_type)
    }

    fn verifier(&self, known: &Known, audience: ClientId) -> Verifier<'static> {
        // A public client's verifier has no shared secret that could check anything.
        let keys = known.metadata.jwks().clone();
        Verifier::new_public_client(audience, self.registration.issuer.clone(), keys)
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(|| {
                let now = std::time::SystemTime::now();
                now.checked_sub(LEEWAY).unwrap_or(now).into()
            })
            .set_issue_time_verifier_fn(|issued| {
                let latest = Timestamp::now().as_duration().saturating_add(leeway());
                if issued.timestamp() > latest.as_secs() {
                    Err("issued in the future".to_owned())
                } else {
                    Ok(())
                }
            })
    }

    /// Checks with the known keys, and once more with fresh ones if the token's is not among them.
    async fn with_fresh_keys<T>(
        &self,
        known: Arc<Known>,
        check: impl Fn(&Known) -> Result<T, TokenError>,
    ) -> Result<(Arc<Known>, T), VerifyError> {
        match check(&known) {
            Ok(good) => Ok((known, good)),
            Err(TokenError::UnknownKey) => {
                let fresh = self.refetch(&known).await.ok_or(TokenError::UnknownKey)?;
                let good = check(&fresh)?;
                Ok((fresh, good))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the provider says about itself, not older than it may be.
    async fn known(&self) -> Result<Arc<Known>, ProviderError> {
        if let Some(known) = self.not_older_than(KNOWN_COUNTS) {
            return Ok(known);
        }
        let mut asked = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(known) = self.not_older_than(KNOWN_COUNTS) {
            return Ok(known);
        }
        let error = match asked.failed_at {
            Some((at, error)) if at.elapsed() < RETRY_AFTER => error,
            _ => match self.fetch(&mut asked).await {
                Ok(known) => return Ok(known),
                Err(error) => error,
            },
        };
        self.not_older_than(STALE_COUNTS).ok_or(error)
    }

    /// Looks whether the provider has new keys. None if it has not, or was asked a moment ago.
    async fn refetch(&self, seen: &Arc<Known>) -> Option<Arc<Known>> {
        let mut asked = self.asking.lock().await;
        let current = lock(&self.known).clone();
        if let Some(current) = current.filter(|current| !Arc::ptr_eq(current, seen)) {
            return Some(current);
        }
        if asked
            .for_key_at
            .is_some_and(|at| at.elapsed() < REFETCH_INTERVAL)
        {
            return None;
        }
        asked.for_key_at = Some(Instant::now());
        self.fetch(&mut asked).await.ok()
    }

    async fn fetch(&self, asked: &mut Asked) -> Result<Arc<Known>, ProviderError> {
        let issuer = self.registration.issuer.clone();
        match ProviderMetadataWithLogout::discover_async(issuer, &self.http).await {
            Ok(metadata) => {
                let at = Instant::now();
                let known = Arc::new(Known { metadata, at });
                *lock(&self.known) = Some(Arc::clone(&known));
                asked.failed_at = None;
                Ok(known)
            }
            Err(error) => {
                let error = discovery_error(&error);
                log::warn!(reason = error.to_string().as_str(); "login.provider.error");
                asked.failed_at = Some((Instant::now(), error));
                Err(error)
            }
        }
    }

    fn not_older_than(&self, age: Duration) -> Option<Arc<Known>> {
        let known = lock(&self.known).clone();
        known.filter(|known| known.at.elapsed() < age)
    }
}

/// RFC 9068 §2.1, and what everybody else writes there.
fn bearer_types() -> Vec<openidconnect::NormalizedJsonWebTokenType> {
    ["JWT", "at+jwt"]
        .into_iter()
        .filter_map(|name| JsonWebTokenType::new(name.to_owned()).normalize().ok())
        .collect()
}

/// OpenID Connect Core §3.1.3.8: where the ID token names the access token, it must be this one.
fn check_access_token(
    token: &Token,
    claims: &IdTokenClaims<Extra, CoreGenderClaim>,
    access_token: &openidconnect::AccessToken,
    verifier: &Verifier<'_>,
) -> Result<(), TokenError> {
    let Some(named) = claims.access_token_hash() else {
        return Ok(());
    };
    let algorithm = token
        .signing_alg()
        .map_err(|error| signature_error(&error))?;
    let key = token
        .signing_key(verifier)
        .map_err(|error| signature_error(&error))?;
    let hash = AccessTokenHash::from_token(access_token, algorithm, key)
        .map_err(|_| TokenError::Algorithm)?;
    if hash == *named {
        Ok(())
    } else {
        Err(TokenError::Signature)
    }
}

fn facts(claims: &IdTokenClaims<Extra, CoreGenderClaim>) -> Result<Facts, TokenError> {
    let extra = claims.additional_claims().clone();
    if let Some(not_before) = extra.not_before() {
        let latest = Timestamp::now().as_duration().saturating_add(leeway());
        if not_before > latest.as_secs_f64() {
            return Err(TokenError::Expired);
        }
    }
    let expires_at = Timestamp::from_second(claims.expiration().timestamp());
    Ok(Facts {
        sub: claims.subject().to_string(),
        email: claims.email().map(|email| email.to_string()),
        extra,
        expires_at: expires_at.map_err(|_| TokenError::Malformed)?,
    })
}

fn leeway() -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(LEEWAY).unwrap_or_default()
}

fn token_error(error: &ClaimsVerificationError) -> TokenError {
    match error {
        ClaimsVerificationError::Expired(_) => TokenError::Expired,
        ClaimsVerificationError::InvalidAudience(_) => TokenError::Audience,
        ClaimsVerificationError::InvalidIssuer(_) => TokenError::Issuer,
        ClaimsVerificationError::InvalidNonce(_) => TokenError::Nonce,
        ClaimsVerificationError::SignatureVerification(error) => signature_error(error),
        _ => TokenError::Malformed,
    }
}

fn signature_error(error: &SignatureVerificationError) -> TokenError {
    match error {
        SignatureVerificationError::NoMatchingKey => TokenError::UnknownKey,
        SignatureVerificationError::NoSignature => TokenError::Unsigned,
        SignatureVerificationError::DisallowedAlg(_)
        | SignatureVerificationError::UnsupportedAlg(_) => TokenError::Algorithm,
        _ => TokenError::Signature,
    }
}

fn discovery_error(error: &DiscoveryError<HttpError>) -> ProviderError {
    match error {
        DiscoveryError::Request(error) => ProviderError::Http(*error),
        DiscoveryError::Response(status, ..) if !status.is_success() => ProviderError::Status,
        DiscoveryError::Validation(_) => ProviderError::Issuer,
        _ => ProviderError::Garbage,
    }
}

fn user_info_error(error: &openidconnect::UserInfoError<HttpError>) -> VerifyError {
    use openidconnect::UserInfoError;
    match error {
        UserInfoError::Request(error) => ProviderError::Http(*error).into(),
        UserInfoError::Response(..) => ProviderError::Status.into(),
        _ => TokenError::UserInfo.into(),
    }
}
