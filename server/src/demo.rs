//! `periscope demo`: the gateway, its web UI and a sandbox apiserver in one process.
//!
//! Whoever gets in has a shell on this machine. So it listens on loopback only, the printed URL
//! carries a secret, and so does the kubeconfig.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use periscope_core::http::SecretValue;
use tokio::net::TcpListener;

use crate::cli::{Exit, fail};
use crate::gateway::audit::{Audit, AuditError, DatabaseOptions};
use crate::gateway::identity::{Authorization, Subject, Tier};
use crate::gateway::kube::{Credentials, Endpoint, EndpointError, KubeClient};
use crate::gateway::login::{Authentication, DemoLogin, NoRandomness, Secret};
use crate::gateway::origin::{Hosts, Origins, PublicUrl};
use crate::gateway::registry::{Backend, Cluster, ExecSettings, Registry};
use crate::gateway::shutdown::{self, Left};
use crate::gateway::{Gateway, GatewayOptions, Listening};
use crate::sandbox::{self, ClusterAccess, Fault, Sandbox, SandboxOptions, UnknownFault};
use crate::signals::Leave;

/// How a demo is to run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Where the sandbox's first cluster listens.
    pub kube_listen: SocketAddr,
    /// What goes wrong on purpose.
    pub faults: Vec<DemoFault>,
    /// How long shells may go on once the process is asked to leave.
    pub drain: Duration,
}

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoFault {
    /// One session per user: the second is `E_CAP_USER`.
    CapUser,
    /// One session per cluster: the second is `E_CAP_CLUSTER`.
    CapCluster,
    /// Ten seconds of silence end a session: `E_IDLE`.
    Idle,
    /// One opening a minute: the second is `E_RATE_LIMIT`.
    RateLimit,
    /// The cluster `modern` misbehaves.
    Sandbox(Fault),
}

/// A name that is no fault's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{sandbox}; the gateway's are {}", GATEWAY_FAULTS.map(|(name, _)| name).join(", "))]
pub struct UnknownDemoFault {
    sandbox: UnknownFault,
}

/// Why a demo did not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The address is reachable from elsewhere.
    #[error(
        "the demo gives everybody who reaches it a shell on this machine, so it listens on loopback only, not on {0}"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the machine said.
        error: io::Error,
    },
    /// The sandbox did not start.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The sandbox's address or certificate is unusable.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// There are no secrets to be had.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// There is no place for the audit's database.
    #[error("cannot make a folder for the audit database: {0}")]
    AuditDir(io::Error),
    /// The audit did not start.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A thread or a signal handler could not be set up.
    #[error("the system refuses a thread or signal handler: {0}")]
    System(io::Error),
}

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    token: Secret,
    public_url: PublicUrl,
    gateway: Arc<Gateway>,
    listening: Listening,
    sandbox: Sandbox,
    _audit_dir: AuditDir,
}

/// The folder of the audit's database, removed with the demo.
#[derive(Debug)]
struct AuditDir(PathBuf);

const GATEWAY_FAULTS: [(&str, DemoFault); 4] = [
    ("cap-user", DemoFault::CapUser),
    ("cap-cluster", DemoFault::CapCluster),
    ("idle", DemoFault::Idle),
    ("rate-limit", DemoFault::RateLimit),
];

/// Runs a demo until a signal asks it to leave.
pub(crate) async fn run(options: DemoOptions) -> Exit {
    // Before anything is printed: who reads the URL may send the signal.
    let mut leave = match Leave::new() {
        Ok(leave) => leave,
        Err(error) => return fail(Exit::Failure, &DemoError::System(error)),
    };
    let demo = match Demo::start(options, Box::new(io::stdout())).await {
        Ok(demo) => demo,
        Err(
            error
            @ (DemoError::NotLoopback(_) | DemoError::Sandbox(sandbox::Error::NotLoopback(_))),
        ) => {
            return fail(Exit::Usage, &error);
        }
        Err(error) => return fail(Exit::Failure, &error),
    };
    let announced = announce(&demo);
    if let Err(error) = announced {
        demo.stop(std::future::ready(())).await;
        return fail(Exit::Failure, &format!("cannot print the URL: {error}"));
    }
    leave.asked().await;
    let left = demo.stop(async { leave.asked().await }).await;
    if left == Left::default() {
        Exit::Good
    } else {
        Exit::Failure
    }
}

/// The two lines come before any audit record: nobody can open a shell without them.
fn announce(demo: &Demo) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", demo.url())?;
    writeln!(stdout, "export KUBECONFIG={}", quoted(demo.kubeconfig()))?;
    stdout.flush()
}

impl Demo {
    /// Starts everything. Audit records go to `audit` as JSON lines. Must run inside a tokio
    /// runtime.
    pub async fn start(
        options: DemoOptions,
        audit: Box<dyn Write + Send>,
    ) -> Result<Self, DemoError> {
        let DemoOptions {
            listen,
            kube_listen,
            faults,
            drain,
        } = options;
        if !listen.ip().is_loopback() {
            return Err(DemoError::NotLoopback(listen));
        }
        let bound = TcpListener::bind(listen).await;
        let listener = bound.map_err(|error| DemoError::Listen {
            address: listen,
            error,
        })?;
        let address = listener.local_addr().map_err(|error| DemoError::Listen {
            address: listen,
            error,
        })?;
        let public_url = PublicUrl::of_listener(address);
        let sandbox_faults = faults.iter().filter_map(|fault| match fault {
            DemoFault::Sandbox(fault) => Some(*fault),
            _ => None,
        });
        let sandbox = Sandbox::start(SandboxOptions {
            listen: kube_listen,
            faults: sandbox_faults.collect(),
            dir: private_dir()?,
        });
        let sandbox = sandbox.await?;
        let clusters = sandbox
            .clusters()
            .iter()
            .map(|access| cluster(access, &faults));
        let registry = Registry::new(clusters.collect::<Result<_, _>>()?);
        let login = DemoLogin::new(user(), address.port())?;
        let token = login.token().clone();
        let audit_dir = AuditDir::new()?;
        let database = DatabaseOptions::new(audit_dir.0.join("audit.db"));
        let gateway = Gateway::new(GatewayOptions {
            registry,
            authentication: Authentication::Demo(login),
            authorization: authorization(),
            origins: Origins::new(public_url.clone(), Hosts::Loopback, Vec::new()),
            exec_opens_per_minute: if faults.contains(&DemoFault::RateLimit) {
                1
            } else {
                30
            },
            drain,
            audit: Arc::new(Audit::start(audit, Some(database))?),
        });
        let listening =
            Listening::start(listener, Arc::clone(&gateway)).map_err(DemoError::System)?;
        Ok(Self {
            token,
            public_url,
            gateway,
            listening,
            sandbox,
            _audit_dir: audit_dir,
        })
    }

    /// The URL that logs in.
    pub fn url(&self) -> String {
        format!("{}/?token={}", self.public_url, self.token.reveal())
    }

    /// The secret of the URL: also a bearer token.
    pub fn token(&self) -> &str {
        self.token.reveal()
    }

    /// Where the gateway listens.
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// The kubeconfig of the sandbox.
    pub fn kubeconfig(&self) -> &Path {
        self.sandbox.kubeconfig()
    }

    /// Drains the gateway, then takes the sandbox and its files down. `hurry` skips the wait for
    /// people to leave.
    pub async fn stop(self, hurry: impl Future<Output = ()>) -> Left {
        let left = shutdown::drain(&self.gateway, self.listening, hurry).await;
        self.sandbox.stop().await;
        left
    }
}

impl AuditDir {
    fn new() -> Result<Self, DemoError> {
        let dir = private_dir()?;
        let made = DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(DemoError::AuditDir)?;
        Ok(Self(dir))
    }
}

impl Drop for AuditDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!(error = error.to_string().as_str(); "demo.audit.left");
        }
    }
}

impl FromStr for DemoFault {
    type Err = UnknownDemoFault;

    fn from_str(name: &str) -> Result<Self, UnknownDemoFault> {
        let own = GATEWAY_FAULTS.iter().find(|(own, _)| *own == name);
        match own {
            Some((_, fault)) => Ok(*fault),
            None => name
                .parse()
                .map(Self::Sandbox)
                .map_err(|sandbox| UnknownDemoFault { sandbox }),
        }
    }
}

/// The one person of the demo, with every right the shipped roles give.
fn user() -> Subject {
    let sub = "demo@localhost".to_owned();
    Subject {
        email: Some(sub.clone()),
        sub,
        groups: vec!["demo-admins".to_owned()],
    }
}

fn authorization() -> Authorization {
    Authorization::Tier {
        group_tiers: vec![("demo-admins".to_owned(), Tier::Admin)],
        default_tier: None,
    }
}

fn cluster(access: &ClusterAccess, faults: &[DemoFault]) -> Result<Cluster, DemoError> {
    let endpoint = Endpoint::new(&access.server, access.ca_pem.as_bytes())?;
    // The sandbox makes tokens of digits and letters.
    let token = SecretValue::new(&access.token).map_err(|_| EndpointError::Token)?;
    let default = ExecSettings::default();
    let has = |fault| faults.contains(&fault);
    let exec = ExecSettings {
        is_enabled: access.exec_enabled,
        idle: if has(DemoFault::Idle) {
            Duration::from_secs(10)
        } else {
            default.idle
        },
        idle_warn: if has(DemoFault::Idle) {
            Duration::from_secs(5)
        } else {
            default.idle_warn
        },
        sessions_per_user_max: if has(DemoFault::CapUser) {
            1
        } else {
            default.sessions_per_user_max
        },
        sessions_total_max: if has(DemoFault::CapCluster) {
            1
        } else {
            default.sessions_total_max
        },
        ..default
    };
    Ok(Cluster {
        name: access.name.to_owned(),
        backend: Backend::Sandbox,
        region: None,
        arn: None,
        environment: None,
        tags: None,
        exec,
        kube: KubeClient::new(endpoint, Credentials::Token(token)),
    })
}

/// A directory nobody else has, not made yet.
fn private_dir() -> Result<PathBuf, NoRandomness> {
    let secret = Secret::random()?;
    let name: String = secret.reveal().chars().take(16).collect();
    Ok(std::env::temp_dir().join(format!("periscope-demo-{name}")))
}

/// A path as a POSIX shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(is_plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_and_no_two_share_one() {
        for (name, fault) in GATEWAY_FAULTS {
            assert_eq!(name.parse::<DemoFault>().unwrap(), fault);
            assert!(
                name.parse::<Fault>().is_err(),
                "{name} is the sandbox's, too"
            );
        }
        for fault in Fault::ALL {
            assert_eq!(
                fault.as_str().parse::<DemoFault>().unwrap(),
                DemoFault::Sandbox(fault)
            );
        }
        let error = "nonsense".parse::<DemoFault>().unwrap_err().to_string();
        assert!(
            error.contains("silent") && error.contains("cap-user"),
            "{error}"
        );
    }

    #[test]
    fn the_printed_path_survives_a_shell() {
        assert_eq!(
            quoted(Path::new("/tmp/periscope-demo-0a/kubeconfig")),
            "/tmp/periscope-demo-0a/kubeconfig"
        );
        assert_eq!(
            quoted(Path::new("/tmp/it's $HOME")),
            r"'/tmp/it'\''s $HOME'"
        );
    }
}
