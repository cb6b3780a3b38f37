//! What the environment says.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `KUBECONFIG` | a file; each of its contexts is a cluster | required |
//! | `PERISCOPE_TOKEN` | the bearer token that opens shells | required |
//! | `PERISCOPE_LISTEN` | loopback address to listen on | `127.0.0.1:8080` |
//! | `PERISCOPE_USER` | the subject, and whom the apiserver sees; without it nobody is impersonated | |
//! | `PERISCOPE_GROUPS` | groups to impersonate, separated by commas | none |
//! | `PERISCOPE_EXEC_DISABLED` | clusters without shells, separated by commas | none |
//!
//! and `PERISCOPE_EXEC_{IDLE,IDLE_WARN,HEARTBEAT}_SECONDS`,
//! `PERISCOPE_EXEC_MAX_SESSIONS_{PER_USER,TOTAL}`, `PERISCOPE_EXEC_OPENS_PER_MINUTE` and
//! `PERISCOPE_DRAIN_SECONDS` as the server has them.

use std::collections::HashMap;
use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_core::http::SecretValue;
use periscope_core::names;
use periscope_core::policy::CapLimits;
use periscope_core::session::Timing;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::apiserver::{Endpoint, EndpointError};

/// Everything that is decided before the first connection.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) token: SecretValue,
    /// None: everyone acts as the kubeconfig's user.
    pub(crate) user: Option<SecretValue>,
    pub(crate) groups: Vec<SecretValue>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) timing: Timing,
    pub(crate) caps: CapLimits,
    /// Zero for no limit.
    pub(crate) opens_per_minute: u32,
    pub(crate) drain: Duration,
}

/// One context of the kubeconfig.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) is_exec_enabled: bool,
    pub(crate) endpoint: Endpoint,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{0} is not set")]
    Missing(&'static str),
    #[error("{0} is not what it should be")]
    Invalid(&'static str),
    #[error("this gateway has one user and no TLS of its own, so it listens on loopback only")]
    NotLoopback,
    #[error("the kubeconfig cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("the kubeconfig is not one: {0}")]
    Malformed(serde_yaml::Error),
    #[error("context {0}: no cluster name, or its cluster or user is missing")]
    Context(String),
    #[error("context {0}: only bearer tokens are supported")]
    Credentials(String),
    #[error("context {context}: {error}")]
    Endpoint {
        context: String,
        error: EndpointError,
    },
}

impl Config {
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        let listen: SocketAddr = optional("PERISCOPE_LISTEN", "127.0.0.1:8080")?;
        if !listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback);
        }
        let disabled = list("PERISCOPE_EXEC_DISABLED");
        let path = text("KUBECONFIG").ok_or(ConfigError::Missing("KUBECONFIG"))?;
        let file = std::fs::read_to_string(path).map_err(ConfigError::Unreadable)?;
        let seconds = |name, default: u32| -> Result<Duration, ConfigError> {
            positive(name, default).map(|seconds| Duration::from_secs(seconds.into()))
        };
        let idle = seconds("PERISCOPE_EXEC_IDLE_SECONDS", 600)?;
        let idle_warn = seconds("PERISCOPE_EXEC_IDLE_WARN_SECONDS", 30)?;
        if idle_warn >= idle {
            return Err(ConfigError::Invalid("PERISCOPE_EXEC_IDLE_WARN_SECONDS"));
        }
        let secret = |name: &'static str, value: &str| {
            SecretValue::new(value).map_err(|_| ConfigError::Invalid(name))
        };
        let token = text("PERISCOPE_TOKEN").ok_or(ConfigError::Missing("PERISCOPE_TOKEN"))?;
        let groups = list("PERISCOPE_GROUPS");
        Ok(Self {
            listen,
            token: secret("PERISCOPE_TOKEN", &token)?,
            user: text("PERISCOPE_USER")
                .map(|user| secret("PERISCOPE_USER", &user))
                .transpose()?,
            groups: groups
                .iter()
                .map(|group| secret("PERISCOPE_GROUPS", group))
                .collect::<Result<_, _>>()?,
            clusters: clusters(&file, &disabled)?,
            timing: Timing {
                idle,
                idle_warn,
                heartbeat: seconds("PERISCOPE_EXEC_HEARTBEAT_SECONDS", 20)?,
            },
            caps: CapLimits {
                per_user: positive("PERISCOPE_EXEC_MAX_SESSIONS_PER_USER", 5)?,
                per_cluster: positive("PERISCOPE_EXEC_MAX_SESSIONS_TOTAL", 50)?,
            },
            opens_per_minute: optional("PERISCOPE_EXEC_OPENS_PER_MINUTE", "30")?,
            drain: seconds("PERISCOPE_DRAIN_SECONDS", 10)?,
        })
    }

    /// Who caps, rate and audit rows count for.
    pub(crate) fn subject(&self) -> &str {
        self.user
            .as_ref()
            .map_or("dev@localhost", SecretValue::as_str)
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn list(name: &str) -> Vec<String> {
    let value = text(name).unwrap_or_default();
    let items = value.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn optional<T: std::str::FromStr>(name: &'static str, default: &str) -> Result<T, ConfigError> {
    let value = text(name);
    let value = value.as_deref().unwrap_or(default);
    value.parse().map_err(|_| ConfigError::Invalid(name))
}

fn positive(name: &'static str, default: u32) -> Result<u32, ConfigError> {
    match optional(name, &default.to_string())? {
        0 => Err(ConfigError::Invalid(name)),
        value => Ok(value),
    }
}

/// A kubeconfig, as far as a bearer token needs it.
#[derive(Deserialize)]
struct KubeConfig {
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    cluster: ClusterFields,
    #[serde(default)]
    user: UserFields,
    #[serde(default)]
    context: ContextFields,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterFields {
    server: String,
    certificate_authority_data: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserFields {
    token: Option<String>,
    /// Other ways to prove who one is, none of which is supported.
    #[serde(flatten)]
    #[expect(clippy::zero_sized_map_values, reason = "the keys stand in a map")]
    others: HashMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContextFields {
    cluster: String,
    user: String,
}

fn clusters(file: &str, disabled: &[String]) -> Result<Vec<Cluster>, ConfigError> {
    let kubeconfig: KubeConfig = serde_yaml::from_str(file).map_err(ConfigError::Malformed)?;
    let mut clusters = Vec::new();
    for Named { name, context, .. } in kubeconfig.contexts {
        let find = |list: &'_ [Named], wanted: &str| {
            let found = list.iter().position(|named| named.name == wanted);
            found.ok_or_else(|| ConfigError::Context(name.clone()))
        };
        names::check_cluster(&name).map_err(|_| ConfigError::Context(name.clone()))?;
        let cluster = find(&kubeconfig.clusters, &context.cluster)?;
        let user = find(&kubeconfig.users, &context.user)?;
        let (Some(cluster), Some(user)) =
            (kubeconfig.clusters.get(cluster), kubeconfig.users.get(user))
        else {
            return Err(ConfigError::Context(name));
        };
        let token = user.user.token.as_deref();
        if token.is_none() && !user.user.others.is_empty() {
            return Err(ConfigError::Credentials(name));
        }
        let authority = cluster.cluster.certificate_authority_data.as_deref();
        let authority = STANDARD
            .decode(authority.unwrap_or_default())
            .map_err(|_| ConfigError::Context(name.clone()))?;
        let endpoint = Endpoint::new(&cluster.cluster.server, &authority, token);
        clusters.push(Cluster {
            is_exec_enabled: !disabled.contains(&name),
            endpoint: endpoint.map_err(|error| ConfigError::Endpoint {
                context: name.clone(),
                error,
            })?,
            name,
        });
    }
    Ok(clusters)
}
