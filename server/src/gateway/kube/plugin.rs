//! Credential plugins: a program that a kubeconfig names, which prints a token or a client
//! certificate (`client.authentication.k8s.io`).

use std::ffi::OsString;
use std::fmt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_core::http::SecretValue;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::cache::{Cache, Fetched, Generation};
use super::{Access, ClientCertificate, Endpoint, EndpointError, KubeError, Trust};

/// How long a plugin may take: some talk to a cloud that is slow.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The most a plugin may print: a token of some KiB, a certificate with its chain.
const OUTPUT_BYTES_MAX: u64 = 256 * 1024;

/// What a kubeconfig says about its plugin.
#[derive(Clone)]
pub(super) struct PluginSpec {
    pub(super) api_version: String,
    pub(super) command: OsString,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) wants_cluster: bool,
}

/// The cluster a plugin is for.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) trust: Trust,
    pub(super) name: Option<String>,
}

/// A plugin, and what it said last.
pub struct Plugin {
    spec: Arc<PluginSpec>,
    server: Arc<Server>,
    /// The way in without a client certificate.
    endpoint: Arc<Endpoint>,
    cache: Cache<(Arc<Endpoint>, Option<SecretValue>)>,
}

/// Why a plugin gave no credentials. Its own words may hold secrets and are never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum PluginError {
    #[error("it could not be started")]
    Start,
    #[error("it did not end in time")]
    Timeout,
    #[error("it ended with an error")]
    Exit,
    #[error("it printed no ExecCredential of the wanted version")]
    Output,
    #[error("its credentials cannot be used")]
    Credentials,
}

impl Plugin {
    pub(super) fn new(spec: PluginSpec, server: Server) -> Result<Self, EndpointError> {
        let endpoint =
            Endpoint::with_trust(&server.url, &server.trust, None, server.name.as_deref())?;
        Ok(Self {
            spec: Arc::new(spec),
            server: Arc::new(server),
            endpoint: Arc::new(endpoint),
            cache: Cache::new(),
        })
    }

    pub(super) async fn access(&self, rejected: Option<Generation>) -> Result<Access, KubeError> {
        let (spec, server) = (Arc::clone(&self.spec), Arc::clone(&self.server));
        let plain = Arc::clone(&self.endpoint);
        let fetch = async move {
            let fetched = fetch(&spec, &server, plain).await;
            fetched.map_err(|error| {
                log::warn!(reason = error.to_string().as_str(); "kube.plugin.failed");
                KubeError::Credentials
            })
        };
        let ((endpoint, token), generation) = self.cache.get(rejected, fetch).await?;
        Ok(Access::new(endpoint, token, generation))
    }

    pub(super) fn is_unverified(&self) -> bool {
        self.endpoint.is_unverified
    }

    /// The apiserver as it is reached before the plugin was asked.
    pub(super) fn plain_endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.endpoint)
    }

    /// The program's name. Its arguments may be secrets.
    pub(super) fn command(&self) -> String {
        self.spec.command.to_string_lossy().into_owned()
    }
}

/// Arguments and variables may be secrets.
impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").finish_non_exhaustive()
    }
}

/// What a plugin prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<jiff::Timestamp>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

async fn fetch(
    spec: &PluginSpec,
    server: &Server,
    plain: Arc<Endpoint>,
) -> Result<Fetched<(Arc<Endpoint>, Option<SecretValue>)>, PluginError> {
    let printed = tokio::time::timeout(PLUGIN_TIMEOUT, run(spec, server))
        .await
        .map_err(|_| PluginError::Timeout)??;
    let credential: ExecCredential =
        serde_json::from_slice(&printed).map_err(|_| PluginError::Output)?;
    if credential.kind != "ExecCredential" || credential.api_version != spec.api_version {
        return Err(PluginError::Output);
    }
    let status = credential.status.ok_or(PluginError::Output)?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let certificate = match (
        filled(status.client_certificate_data),
        filled(status.client_key_data),
    ) {
        (Some(chain), Some(key)) => Some(ClientCertificate {
            chain: chain.into_bytes(),
            key: key.into_bytes(),
        }),
        (None, None) => None,
        _ => return Err(PluginError::Output),
    };
    let token = filled(status.token);
    if token.is_none() && certificate.is_none() {
        return Err(PluginError::Output);
    }
    let token = token
        .map(|token| SecretValue::new(&token).map_err(|_| PluginError::Credentials))
        .transpose()?;
    let endpoint = match certificate {
        None => plain,
        Some(certificate) => {
            let name = server.name.as_deref();
            let endpoint =
                Endpoint::with_trust(&server.url, &server.trust, Some(&certificate), name);
            Arc::new(endpoint.map_err(|_| PluginError::Credentials)?)
        }
    };
    let now = jiff::Timestamp::now();
    let good_for = status.expiration_timestamp.map(|end| {
        // What has ended already is good for no time at all.
        Duration::try_from(end.duration_since(now)).unwrap_or_default()
    });
    Ok(Fetched {
        value: (endpoint, token),
        good_for,
        usable_for: None,
    })
}

/// Runs the plugin and returns what it printed.
async fn run(spec: &PluginSpec, server: &Server) -> Result<Vec<u8>, PluginError> {
    let cluster = spec.wants_cluster.then(|| server.told());
    let info = json!({
        "apiVersion": spec.api_version,
        "kind": "ExecCredential",
        "spec": Spec { interactive: false, cluster },
    });
    let mut command = Command::new(&spec.command);
    command.args(&spec.args);
    // Our own secrets are none of its business.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PERISCOPE_") {
            command.env_remove(name);
        }
    }
    command
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|_| PluginError::Start)?;
    let stdout = child.stdout.take().ok_or(PluginError::Start)?;
    let mut printed = Vec::new();
    let mut bounded = stdout.take(OUTPUT_BYTES_MAX);
    let read = bounded.read_to_end(&mut printed).await;
    read.map_err(|_| PluginError::Output)?;
    // Whoever prints more than fits is not waited for: it would block on the full pipe.
    drop(bounded);
    let status = child.wait().await.map_err(|_| PluginError::Exit)?;
    if status.success() {
        Ok(printed)
    } else {
        Err(PluginError::Exit)
    }
}

impl Server {
    /// The cluster as a plugin is told about it.
    fn told(&self) -> ToldCluster<'_> {
        let authority = match &self.trust {
            Trust::Authorities(pem) => Some(STANDARD.encode(pem)),
            Trust::Anyone | Trust::System => None,
        };
        ToldCluster {
            server: &self.url,
            tls_server_name: self.name.as_deref(),
            certificate_authority_data: authority,
            insecure_skip_tls_verify: matches!(self.trust, Trust::Anyone),
        }
    }
}

/// What a plugin is told.
#[derive(Serialize)]
struct Spec<'a> {
    interactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ToldCluster<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ToldCluster<'a> {
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_server_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
}
