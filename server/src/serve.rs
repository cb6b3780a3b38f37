//! `periscope serve`: the production server.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::cli::{Exit, fail, refuse};
use crate::config::{
    self, AuditConfig, AuthMode, AwsConfig, BackendConfig, ClusterConfig, EksConfig, Environment,
    Findings, Settings, TlsFiles,
};
use crate::gateway::audit::{Audit, AuditError};
use crate::gateway::identity::Authorization;
use crate::gateway::kube::eks::{AwsCredentials, Eks, EksSetupError};
use crate::gateway::kube::in_cluster::{self, InClusterError};
use crate::gateway::kube::kubeconfig::{self, KubeconfigError};
use crate::gateway::kube::{KubeClient, Source};
use crate::gateway::login::{Authentication, OidcSetupError};
use crate::gateway::origin::{Hosts, Origins, PublicUrl};
use crate::gateway::registry::{Backend, Cluster, Registry};
use crate::gateway::shutdown::{self, Left};
use crate::gateway::{Gateway, GatewayOptions, Listening, ServerTls, ServerTlsError, probe};
use crate::renewal::{self, Pair};
use crate::signals::Leave;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cluster {cluster}: {}: {error}", path.display())]
    Kubeconfig {
        cluster: String,
        path: PathBuf,
        error: KubeconfigError,
    },
    #[error("cluster {cluster}: {error}")]
    InCluster {
        cluster: String,
        error: InClusterError,
    },
    #[error("cluster {cluster}: {error}")]
    Eks {
        cluster: String,
        error: EksSetupError,
    },
    #[error("{} cannot be read: {error}", path.display())]
    Certificate { path: PathBuf, error: io::Error },
    #[error("{} and its key: {error}", cert.display())]
    Tls {
        cert: PathBuf,
        error: ServerTlsError,
    },
    #[error("login: {0}")]
    Login(#[from] OidcSetupError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("cannot listen on {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    #[error("the system refuses a thread or signal handler: {0}")]
    System(io::Error),
}

/// Runs the server until a signal asks it to leave.
pub(crate) async fn run(environment: &Environment) -> Exit {
    let (settings, findings) = config::load(environment, &config::Disk);
    warn(&findings);
    let Some(settings) = settings else {
        return refuse(&findings);
    };
    let mut leave = match Leave::new() {
        Ok(leave) => leave,
        Err(error) => return fail(Exit::Failure, &ServeError::System(error)),
    };
    let server = match Server::start(&settings, environment).await {
        Ok(server) => server,
        Err(error) => return fail(error.exit(), &error),
    };
    leave.asked().await;
    let left = shutdown::drain(&server.gateway, server.listening, leave.asked()).await;
    if left == Left::default() {
        Exit::Good
    } else {
        Exit::Failure
    }
}

/// Each warning of the configuration as a line, at every start.
fn warn(findings: &Findings) {
    for warning in &findings.warnings {
        log::warn!(what = warning.to_string().as_str(); "config.warning");
    }
}

/// A server that listens.
struct Server {
    gateway: Arc<Gateway>,
    listening: Listening,
}

impl Server {
    async fn start(settings: &Settings, environment: &Environment) -> Result<Self, ServeError> {
        let registry = registry(settings, environment)?;
        let clusters = registry.clone();
        let authorization = settings.auth.authorization.mode.value.clone();
        if authorization == Authorization::Shared {
            log::warn!(
                what = "authorization mode shared: everybody acts with the gateway's own rights, and clusters' audit logs name nobody else";
                "security.shared_identity"
            );
        }
        let tls = settings.tls.as_ref().map(server_tls).transpose()?;
        let audit = audit(&settings.audit).await?;
        let address = settings.listen.value;
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|error| ServeError::Listen { address, error })?;
        let address = listener.local_addr().map_err(ServeError::System)?;
        let public_url = public_url(settings, address);
        let (mode, auth) = (settings.auth_mode.value, &settings.auth);
        let gateway = Gateway::new(GatewayOptions {
            registry,
            authentication: Authentication::configured(mode, auth, &public_url)?,
            authorization,
            origins: origins(settings, public_url),
            exec_opens_per_minute: settings.opens_per_minute.value,
            drain: settings.process.drain.value,
            audit,
        });
        if settings.probe_on_boot.value {
            probe::warm(&clusters).await;
        }
        let listening = Listening::start_with(listener, tls, Arc::clone(&gateway));
        let listening = listening.map_err(ServeError::System)?;
        log::info!(
            address = address.to_string().as_str(),
            auth_mode = settings.auth_mode.value.as_str(),
            clusters = settings.clusters.len() as u64;
            "serve.listening"
        );
        Ok(Self { gateway, listening })
    }
}

/// Where audit records go. Waits while another process has the database.
async fn audit(settings: &AuditConfig) -> Result<Arc<Audit>, ServeError> {
    let database = settings.database();
    let start = move || Audit::start(Box::new(io::stdout()), database);
    let started = tokio::task::spawn_blocking(start).await;
    let started = started.map_err(|error| ServeError::System(io::Error::other(error)))?;
    Ok(Arc::new(started?))
}

/// The origin browsers use: what was configured, or the listener's own.
fn public_url(settings: &Settings, address: SocketAddr) -> PublicUrl {
    if let Some(url) = &settings.public_url {
        return url.value.clone();
    }
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let own = PublicUrl::parse(&format!("{scheme}://{address}"));
    own.unwrap_or_else(|| PublicUrl::of_listener(address))
}

/// Which names and pages are answered.
fn origins(settings: &Settings, public_url: PublicUrl) -> Origins {
    let hosts = match settings.auth_mode.value {
        AuthMode::Dev => Hosts::Loopback,
        AuthMode::Oidc => Hosts::Public,
    };
    let allowed = settings.dev_allow_origins.value.clone();
    Origins::new(public_url, hosts, allowed)
}

fn registry(settings: &Settings, environment: &Environment) -> Result<Registry, ServeError> {
    let mut aws = settings.aws.as_ref().map(Aws::new);
    let mut clusters = Vec::new();
    for config in &settings.clusters {
        clusters.push(cluster(config, environment, aws.as_mut())?);
    }
    Ok(Registry::new(clusters))
}

/// What all clusters of EKS share.
struct Aws<'a> {
    config: &'a AwsConfig,
    credentials: Option<Arc<AwsCredentials>>,
}

impl<'a> Aws<'a> {
    fn new(config: &'a AwsConfig) -> Self {
        Self {
            config,
            credentials: None,
        }
    }

    fn source(&mut self, cluster: &str, config: &EksConfig) -> Result<Source, EksSetupError> {
        let credentials = match &self.credentials {
            Some(credentials) => credentials,
            None => self
                .credentials
                .insert(Arc::new(AwsCredentials::new(self.config)?)),
        };
        let eks = Eks::new(cluster, config, self.config, Arc::clone(credentials))?;
        Ok(Source::Eks(eks))
    }
}

/// One of the clusters, as the server would know it. Nothing is asked of it yet.
pub(crate) fn cluster_named(
    settings: &Settings,
    environment: &Environment,
    name: &str,
) -> Option<Result<Cluster, ServeError>> {
    let mut clusters = settings.clusters.iter();
    let config = clusters.find(|cluster| cluster.name.value == name)?;
    let mut aws = settings.aws.as_ref().map(Aws::new);
    Some(cluster(config, environment, aws.as_mut()))
}

fn cluster(
    config: &ClusterConfig,
    environment: &Environment,
    aws: Option<&mut Aws<'_>>,
) -> Result<Cluster, ServeError> {
    let name = config.name.value.clone();
    let (backend, source) = match &config.backend.value {
        BackendConfig::Kubeconfig { path, context } => {
            let source = kubeconfig::read(path, context.as_deref()).map_err(|error| {
                ServeError::Kubeconfig {
                    cluster: name.clone(),
                    path: path.clone(),
                    error,
                }
            })?;
            (Backend::Kubeconfig, source)
        }
        BackendConfig::InCluster => (Backend::InCluster, in_cluster(&name, environment)?),
        BackendConfig::Eks(eks) => {
            // The configuration has one of them if it has one of the other.
            let source = aws
                .ok_or(EksSetupError::NoCredentials)
                .and_then(|aws| aws.source(&name, eks));
            let source = source.map_err(|error| ServeError::Eks {
                cluster: name.clone(),
                error,
            })?;
            (Backend::Eks, source)
        }
    };
    let kube = KubeClient::from_source(source);
    if kube.is_unverified() {
        log::warn!(
            cluster = name.as_str(),
            what = "insecure-skip-tls-verify: whoever is on the way to this apiserver can read and change everything";
            "security.tls_not_verified"
        );
    }
    let text = |setting: &Option<config::Setting<String>>| {
        setting.as_ref().map(|setting| setting.value.clone())
    };
    Ok(Cluster {
        name,
        backend,
        region: text(&config.region),
        arn: text(&config.arn),
        environment: text(&config.environment),
        tags: config.tags.as_ref().map(|tags| tags.value.clone()),
        exec: config.exec.settings(),
        kube,
    })
}

fn in_cluster(cluster: &str, environment: &Environment) -> Result<Source, ServeError> {
    let (host, port) = (
        environment.get("KUBERNETES_SERVICE_HOST"),
        environment.get("KUBERNETES_SERVICE_PORT"),
    );
    let source = in_cluster::source(host, port, Path::new(in_cluster::ACCOUNT_DIR));
    source.map_err(|error| ServeError::InCluster {
        cluster: cluster.to_owned(),
        error,
    })
}

/// TLS of the listener, which follows its files from now on.
fn server_tls(files: &TlsFiles) -> Result<ServerTls, ServeError> {
    let pair = Pair::read(files);
    let pair = pair.map_err(|(path, error)| ServeError::Certificate { path, error })?;
    let tls = pair.tls().map_err(|error| ServeError::Tls {
        cert: files.cert.value.clone(),
        error,
    })?;
    renewal::watch(tls.clone(), files.clone(), pair).map_err(ServeError::System)?;
    Ok(tls)
}

impl ServeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Listen { .. } | Self::System(_) | Self::Audit(AuditError::Thread(_)) => {
                Exit::Failure
            }
            _ => Exit::Configuration,
        }
    }
}
