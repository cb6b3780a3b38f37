//! Who a request comes from: the demo's one person, dev mode's, or whoever an identity provider
//! vouches for.

mod cookie;
mod demo;
pub mod oidc;
pub(crate) mod store;

use std::sync::Arc;

use http::Method;
use http::request::Parts;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

pub use demo::DemoLogin;
pub use oidc::{OidcLogin, OidcOptions, OidcSetupError};
pub use store::{Lifetimes, LoginKey};

use super::identity::Subject;
use super::origin::PublicUrl;
use super::respond::Reply;
use crate::config::{AuthConfig, AuthMode};

/// How this gateway knows people.
#[derive(Debug)]
pub enum Authentication {
    /// One person, who has the secret of the printed URL.
    Demo(DemoLogin),
    /// One person, who is whoever reaches the loopback address.
    Dev(Arc<Subject>),
    /// Everybody whom the identity provider knows and the configuration allows.
    Oidc(Box<OidcLogin>),
}

/// A request's login.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who.
    pub subject: Arc<Subject>,
    /// What the request proved it with.
    pub credential: Credential,
    /// Whether this person sees and ends everyone's sessions.
    pub is_audit_admin: bool,
    /// When the login ends at the latest; none in modes without an end.
    pub expires_at: Option<Timestamp>,
    /// Which login of a browser this is; none where there is nothing to log out of.
    pub key: Option<LoginKey>,
}

/// What a request proves its login with. A cookie is sent by the browser even if a foreign page
/// makes the request, so it asks for an Origin where the others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A token in the Authorization header.
    Bearer,
    /// The login cookie.
    Cookie,
    /// Nothing: dev mode.
    None,
}

/// Why a request has no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// No credential, or one that is not, or no longer, good.
    #[error("not logged in")]
    Missing,
    /// A good credential of somebody who may not use this gateway.
    #[error("none of your groups may use this gateway")]
    NotAllowed,
    /// The token may be good, but the provider's keys cannot be had.
    #[error("the identity provider cannot be reached, so the token cannot be checked")]
    ProviderUnreachable,
}

/// A text that is shown to nobody. The ones made here are 256 random bits as hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

impl Authentication {
    /// What the configuration asks for. `public_url` is where browsers reach the gateway.
    pub fn configured(
        mode: AuthMode,
        auth: &AuthConfig,
        public_url: &PublicUrl,
    ) -> Result<Self, OidcSetupError> {
        match (mode, &auth.oidc) {
            (AuthMode::Dev, _) => Ok(Self::Dev(Arc::new(auth.dev.value.clone()))),
            (AuthMode::Oidc, Some(oidc)) => {
                let options = OidcOptions::configured(oidc, auth, public_url);
                Ok(Self::Oidc(Box::new(OidcLogin::new(options)?)))
            }
            // The configuration's reader has refused this already.
            (AuthMode::Oidc, None) => Err(OidcSetupError::Issuer),
        }
    }

    /// The login of a request, if it has one.
    pub async fn login(&self, parts: &Parts) -> Result<Login, LoginError> {
        let (subject, credential) = match self {
            Self::Oidc(oidc) => return oidc.login(parts, Timestamp::now()).await,
            Self::Dev(subject) => (subject, Credential::None),
            Self::Demo(demo) => (
                demo.subject(),
                demo.credential(parts).ok_or(LoginError::Missing)?,
            ),
        };
        Ok(Login {
            subject: Arc::clone(subject),
            credential,
            is_audit_admin: true,
            expires_at: None,
            key: None,
        })
    }

    /// Whether a login that a request had a moment ago is still one.
    pub(crate) fn is_live(&self, login: &Login, now: Timestamp) -> bool {
        if login.expires_at.is_some_and(|at| at <= now) {
            return false;
        }
        match (self, &login.key) {
            (Self::Oidc(oidc), Some(key)) => oidc.logins().contains(key),
            _ => true,
        }
    }

    /// Answers the request that carries the token of the printed URL, if this is one.
    pub(crate) fn enter(&self, parts: &Parts) -> Option<Reply> {
        match self {
            Self::Demo(demo) if parts.method == Method::GET => demo.enter(parts),
            Self::Demo(_) | Self::Dev(_) | Self::Oidc(_) => None,
        }
    }

    /// The identity provider's side, where there is one.
    pub(crate) fn oidc(&self) -> Option<&OidcLogin> {
        match self {
            Self::Oidc(oidc) => Some(oidc),
            Self::Demo(_) | Self::Dev(_) => None,
        }
    }
}

impl Secret {
    /// A new secret from the operating system.
    pub fn random() -> Result<Self, NoRandomness> {
        let bytes: [u8; 32] = random()?;
        Ok(Self(
            bytes
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .map(hex)
                .collect(),
        ))
    }

    /// Whether `given` is this secret, in a time that does not depend on where they differ.
    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The secret itself, for the one place that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Whether a browser reads this as a place on this very host: one leading `/`, no `\`, and nothing
/// that browsers drop before they look (tabs, line breaks) or that is no URL at all.
fn is_local(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_differ_and_do_not_print() {
        let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.reveal().len(), 64);
        assert_eq!(format!("{one:?}"), "[redacted]");
    }

    #[test]
    fn only_paths_of_this_host_are_local() {
        for path in ["/", "/clusters/a?x=//y#z", "/a//b", "/%5Cevil.example"] {
            assert!(is_local(path), "{path}");
        }
        let foreign = [
            "",
            "clusters",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/a b",
            "https://evil.example/",
            "javascript:alert(1)",
            "/zoë",
        ];
        for path in foreign {
            assert!(!is_local(path), "{path:?}");
        }
    }
}
