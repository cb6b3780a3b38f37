//! Kubeconfig files: where a cluster is and how to get in.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_core::http::SecretValue;
use serde::Deserialize;

use super::plugin::{Plugin, PluginSpec, Server};
use super::{ClientCertificate, Credentials, Endpoint, EndpointError, Source, Trust};

/// Why a kubeconfig cannot be used. What stands in it may be secret and is never repeated, but for
/// names.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file, or one it names, cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the machine said.
        error: io::Error,
    },
    /// It is no kubeconfig.
    #[error("line {line} is not what a kubeconfig has there")]
    Syntax {
        /// From 1.
        line: u64,
    },
    /// No context was asked for, and none is current.
    #[error("it has no current-context; name one in kubeconfigContext")]
    NoContext,
    /// Something is named that is not there.
    #[error("it has no {kind} {name:?}")]
    Missing {
        /// A context, cluster or user.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Base64 that is none.
    #[error("{key} is not base64")]
    Base64 {
        /// Which key.
        key: &'static str,
    },
    /// Half of a pair.
    #[error("a client certificate and its key are needed together")]
    HalfACertificate,
    /// Something this program does not do.
    #[error("{key} is not supported: {why}")]
    Unsupported {
        /// Which key.
        key: &'static str,
        /// The reason, and what to do.
        why: &'static str,
    },
    /// Address, certificates or token are unusable.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: Option<User>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    exec: Option<Exec>,
    username: Option<String>,
    auth_provider: Option<serde::de::IgnoredAny>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    api_version: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default)]
    provide_cluster_info: bool,
    interactive_mode: Option<String>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

/// Reads a kubeconfig and the files it names, and finds the way into one of its contexts.
pub fn read(path: &Path, context: Option<&str>) -> Result<Source, KubeconfigError> {
    let text = read_file(path)?;
    // Relative paths start where the file is.
    let base = path.parent().unwrap_or(Path::new(""));
    let options = serde_yaml::options! { with_snippet: false };
    let config: Kubeconfig =
        serde_yaml::from_slice_with_options(&text, options).map_err(|error| {
            KubeconfigError::Syntax {
                line: error.location().map_or(1, |location| location.line()),
            }
        })?;
    config.source(base, context)
}

impl Kubeconfig {
    fn source(self, base: &Path, context: Option<&str>) -> Result<Source, KubeconfigError> {
        let current = self.current_context.filter(|name| !name.is_empty());
        let name = context.map(str::to_owned).or(current);
        let name = name.ok_or(KubeconfigError::NoContext)?;
        let missing = |kind, name: &str| KubeconfigError::Missing {
            kind,
            name: name.to_owned(),
        };
        let mut contexts = self.contexts.into_iter();
        let context = contexts
            .find(|context| context.name == name)
            .ok_or_else(|| missing("context", &name))?
            .context;
        let mut clusters = self.clusters.into_iter();
        let cluster = clusters
            .find(|cluster| cluster.name == context.cluster)
            .ok_or_else(|| missing("cluster", &context.cluster))?
            .cluster;
        let mut users = self.users.into_iter();
        let user = users.find(|user| user.name == context.user);
        let user = match user {
            Some(user) => user.user.unwrap_or_default(),
            None if context.user.is_empty() => User::default(),
            None => return Err(missing("user", &context.user)),
        };
        let server = cluster.server(base)?;
        user.source(server, base)
    }
}

impl Cluster {
    fn server(self, base: &Path) -> Result<Server, KubeconfigError> {
        if self.proxy_url.is_some_and(|url| !url.is_empty()) {
            return Err(KubeconfigError::Unsupported {
                key: "proxy-url",
                why: "apiservers are reached directly",
            });
        }
        let authority = data_or_file(
            self.certificate_authority_data,
            self.certificate_authority,
            "certificate-authority-data",
            base,
        )?;
        let trust = match (self.insecure_skip_tls_verify, authority) {
            (true, _) => Trust::Anyone,
            (false, Some(pem)) => Trust::Authorities(pem),
            (false, None) => Trust::System,
        };
        Ok(Server {
            url: self.server,
            trust,
            name: self.tls_server_name.filter(|name| !name.is_empty()),
        })
    }
}

impl User {
    fn source(self, server: Server, base: &Path) -> Result<Source, KubeconfigError> {
        let unsupported = |key, why| Err(KubeconfigError::Unsupported { key, why });
        if self.username.is_some_and(|name| !name.is_empty()) {
            return unsupported("username", "apiservers no longer take passwords");
        }
        if self.auth_provider.is_some() {
            return unsupported("auth-provider", "use a credential plugin under exec");
        }
        if self.impersonate.is_some_and(|user| !user.is_empty()) {
            return unsupported("as", "the gateway impersonates the people who use it");
        }
        let certificate = data_or_file(
            self.client_certificate_data,
            self.client_certificate,
            "client-certificate-data",
            base,
        )?;
        let key = data_or_file(
            self.client_key_data,
            self.client_key,
            "client-key-data",
            base,
        )?;
        let certificate = match (certificate, key) {
            (Some(chain), Some(key)) => Some(ClientCertificate { chain, key }),
            (None, None) => None,
            _ => return Err(KubeconfigError::HalfACertificate),
        };
        let token = self.token.filter(|token| !token.is_empty());
        let credentials = match (self.token_file, token) {
            (Some(path), _) if !path.as_os_str().is_empty() => {
                Some(Credentials::TokenFile(base.join(path)))
            }
            (_, Some(token)) => {
                let token = SecretValue::new(&token).map_err(|_| EndpointError::Token)?;
                Some(Credentials::Token(token))
            }
            _ => None,
        };
        // Whoever has credentials of their own needs no plugin.
        if let (Some(exec), None, None) = (self.exec, &credentials, &certificate) {
            let plugin = Plugin::new(exec.spec(base)?, server)?;
            return Ok(Source::Plugin(plugin));
        }
        let name = server.name.as_deref();
        let endpoint =
            Endpoint::with_trust(&server.url, &server.trust, certificate.as_ref(), name)?;
        Ok(Source::Fixed {
            endpoint: Arc::new(endpoint),
            credentials: credentials.unwrap_or(Credentials::None),
        })
    }
}

impl Exec {
    fn spec(self, base: &Path) -> Result<PluginSpec, KubeconfigError> {
        let versions =
            ["v1", "v1beta1"].map(|version| format!("client.authentication.k8s.io/{version}"));
        if !versions.contains(&self.api_version) {
            return Err(KubeconfigError::Unsupported {
                key: "exec.apiVersion",
                why: "it is client.authentication.k8s.io/v1 or /v1beta1",
            });
        }
        if self.interactive_mode.as_deref() == Some("Always") {
            return Err(KubeconfigError::Unsupported {
                key: "exec.interactiveMode",
                why: "a server has nobody to ask, so it cannot be Always",
            });
        }
        // A bare name is looked up in PATH, a path starts where the file is.
        let command = if self.command.contains('/') {
            base.join(&self.command).into_os_string()
        } else {
            OsString::from(self.command)
        };
        let env = self.env.unwrap_or_default().into_iter();
        Ok(PluginSpec {
            api_version: self.api_version,
            command,
            args: self.args.unwrap_or_default(),
            env: env
                .map(|variable| (variable.name, variable.value))
                .collect(),
            wants_cluster: self.provide_cluster_info,
        })
    }
}

/// The data, or else the content of the file.
fn data_or_file(
    data: Option<String>,
    file: Option<PathBuf>,
    key: &'static str,
    base: &Path,
) -> Result<Option<Vec<u8>>, KubeconfigError> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let bytes = STANDARD.decode(data.trim());
        return bytes.map(Some).map_err(|_| KubeconfigError::Base64 { key });
    }
    let file = file.filter(|file| !file.as_os_str().is_empty());
    file.map(|file| read_file(&base.join(file))).transpose()
}

fn read_file(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    std::fs::read(path).map_err(|error| KubeconfigError::File {
        path: path.to_owned(),
        error,
    })
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig").finish_non_exhaustive()
    }
}
