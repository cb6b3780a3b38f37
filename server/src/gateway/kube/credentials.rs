//! What the gateway proves itself with towards an apiserver, and where that comes from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use periscope_core::http::SecretValue;

pub use super::cache::Generation;
use super::eks::Eks;
use super::plugin::Plugin;
use super::{Endpoint, KubeError};

/// Where a cluster's address and credentials come from.
#[derive(Debug)]
pub enum Source {
    /// An address that stays, and credentials beside it.
    Fixed {
        /// The apiserver.
        endpoint: Arc<Endpoint>,
        /// How to get in.
        credentials: Credentials,
    },
    /// A program that hands out credentials: the `exec` of a kubeconfig.
    Plugin(Plugin),
    /// AWS.
    Eks(Eks),
}

/// What the gateway proves itself with.
#[derive(Clone)]
pub enum Credentials {
    /// A fixed bearer token.
    Token(SecretValue),
    /// A file that holds the current bearer token; whoever rotates it writes a new one there.
    TokenFile(PathBuf),
    /// Nothing beyond the TLS client certificate, if there is one.
    None,
}

/// The way in, at one moment.
#[derive(Clone, Debug)]
pub struct Access {
    /// The apiserver, with the client certificate if there is one.
    pub endpoint: Arc<Endpoint>,
    token: Option<SecretValue>,
    generation: Generation,
}

impl Source {
    pub(super) async fn access(&self, rejected: Option<Generation>) -> Result<Access, KubeError> {
        match self {
            Self::Fixed {
                endpoint,
                credentials,
            } => Ok(Access::new(
                Arc::clone(endpoint),
                credentials.token().await?,
                Generation::default(),
            )),
            Self::Plugin(plugin) => plugin.access(rejected).await,
            Self::Eks(eks) => eks.access(rejected).await,
        }
    }

    /// Whether asking again can give other credentials.
    pub(super) fn can_change(&self) -> bool {
        match self {
            Self::Fixed { credentials, .. } => matches!(credentials, Credentials::TokenFile(_)),
            Self::Plugin(_) | Self::Eks(_) => true,
        }
    }

    /// The way to a cluster that is no longer where it was; none where nobody could know.
    pub(super) async fn moved(&self, unreachable: &Arc<Endpoint>) -> Option<Access> {
        match self {
            Self::Fixed { .. } | Self::Plugin(_) => None,
            Self::Eks(eks) => eks.moved(unreachable).await,
        }
    }

    /// The apiserver, where it is known without asking anybody.
    pub(super) fn known_endpoint(&self) -> Option<Arc<Endpoint>> {
        match self {
            Self::Fixed { endpoint, .. } => Some(Arc::clone(endpoint)),
            Self::Plugin(plugin) => Some(plugin.plain_endpoint()),
            Self::Eks(_) => None,
        }
    }

    /// What kind of credentials these are, for an operator. Nothing in it is secret.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Fixed {
                endpoint,
                credentials,
            } => {
                let tls = endpoint.tls.as_ref();
                let has_certificate = tls.is_some_and(|tls| tls.own_certificate.is_some());
                match (credentials, has_certificate) {
                    (Credentials::None, true) => "client certificate".to_owned(),
                    (Credentials::None, false) => "none".to_owned(),
                    (Credentials::Token(_), _) => "fixed token".to_owned(),
                    (Credentials::TokenFile(path), _) => {
                        format!("token of the file {}", path.display())
                    }
                }
            }
            Self::Plugin(plugin) => format!("plugin {}", plugin.command()),
            Self::Eks(eks) => format!("token of EKS, signed with {}", eks.credentials_kind()),
        }
    }

    pub(super) fn is_unverified(&self) -> bool {
        match self {
            Self::Fixed { endpoint, .. } => endpoint.is_unverified,
            Self::Plugin(plugin) => plugin.is_unverified(),
            Self::Eks(_) => false,
        }
    }
}

impl Access {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        token: Option<SecretValue>,
        generation: Generation,
    ) -> Self {
        Self {
            endpoint,
            token,
            generation,
        }
    }

    /// The value of the Authorization header.
    pub fn authorization(&self) -> Result<Option<SecretValue>, KubeError> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        let value = SecretValue::new(&format!("Bearer {}", token.as_str()));
        value.map(Some).map_err(|_| KubeError::Credentials)
    }

    /// Which credentials these are.
    pub fn generation(&self) -> Generation {
        self.generation
    }
}

impl Credentials {
    async fn token(&self) -> Result<Option<SecretValue>, KubeError> {
        match self {
            Self::None => Ok(None),
            Self::Token(token) => Ok(Some(token.clone())),
            Self::TokenFile(path) => {
                let text = tokio::fs::read_to_string(path)
                    .await
                    .map_err(|_| KubeError::Credentials)?;
                SecretValue::new(text.trim())
                    .map(Some)
                    .map_err(|_| KubeError::Credentials)
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token([redacted])",
            Self::TokenFile(_) => "TokenFile",
            Self::None => "None",
        })
    }
}
