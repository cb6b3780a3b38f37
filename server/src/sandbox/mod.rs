//! An apiserver with a few pods whose "containers" are processes on this machine: what
//! `periscope demo` shows a shell in, and what tests run against.
//!
//! It speaks the real thing on TLS: versions, discovery, namespaces, pods and access reviews as
//! JSON, exec over WebSocket and SPDY/3.1. Three clusters live in one process, each on a port of
//! its own: `modern` (like 1.36), `legacy` (like 1.20) and `locked` (like `modern`; the gateway's
//! registry disables exec there, the cluster itself would allow it).
//!
//! Whoever holds the kubeconfig runs commands as the user of this process. So it listens on
//! loopback only, wants the kubeconfig's random token, and takes everything down with it.

mod access;
mod certificates;
mod cluster;
mod connection;
mod exec;
mod fault;
mod kubeconfig;
mod pods;
mod process;
mod protobuf;
mod rest;
mod status;

use core::fmt;
use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

pub use certificates::CertificateError;
use certificates::Certificates;
use cluster::{Cluster, Flavour};
pub use fault::{Fault, UnknownFault};
use process::ProcessTable;

/// The clusters: name, generation, and whether the gateway's registry is to allow exec there.
const CLUSTERS: [(&str, Flavour, bool); 3] = [
    ("modern", Flavour::Modern, true),
    ("legacy", Flavour::Legacy, true),
    ("locked", Flavour::Modern, false),
];

/// How long [`Sandbox::stop`] waits for processes to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// How a sandbox is to be started.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The loopback address of the first cluster. Port 0 picks a free port for each cluster; with
    /// any other the clusters take consecutive ports from there.
    pub listen: SocketAddr,
    /// How the cluster `modern` misbehaves.
    pub faults: Vec<Fault>,
    /// A directory for the kubeconfig and the containers' home directories. Made if missing; what
    /// the sandbox puts there it also removes.
    pub dir: PathBuf,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is reachable from elsewhere, and whoever reaches it gets a shell here.
    #[error(
        "the sandbox gives everybody who reaches it a shell on this machine, so it listens on loopback only, not on {0}"
    )]
    NotLoopback(SocketAddr),
    /// The clusters need ports up to 65535.
    #[error("there is no room for three ports from {0} on")]
    NoPort(u16),
    /// The address is taken.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the machine said.
        error: io::Error,
    },
    /// A file or directory could not be made.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the machine said.
        error: io::Error,
    },
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The machine has no random numbers for the tokens.
    #[error("no random numbers for the sandbox's tokens")]
    Random,
}

/// How to reach one cluster of the sandbox, with the rights of the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterAccess {
    /// The cluster's name, and its kubeconfig context's.
    pub name: &'static str,
    /// `https://host:port`.
    pub server: String,
    /// The authority to trust, as PEM.
    pub ca_pem: String,
    /// The bearer token. Secret.
    pub token: String,
    /// Whether the gateway's registry is to allow exec.
    pub exec_enabled: bool,
}

impl fmt::Debug for ClusterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("ClusterAccess");
        fields
            .field("name", &self.name)
            .field("server", &self.server);
        fields
            .field("exec_enabled", &self.exec_enabled)
            .finish_non_exhaustive()
    }
}

/// A running sandbox. It ends, with its processes and files, when it is dropped or stopped.
#[derive(Debug)]
pub struct Sandbox {
    // In this order: no request may start a process after the last was killed, and no process may
    // write a file after the last was removed.
    listeners: JoinSet<()>,
    processes: KillOnDrop,
    clusters: Vec<ClusterAccess>,
    files: Files,
}

impl Sandbox {
    /// Starts the clusters and writes the kubeconfig. Must run inside a tokio runtime.
    #[expect(
        clippy::unused_async,
        reason = "a start is awaited, whatever it has to do today"
    )]
    pub async fn start(options: SandboxOptions) -> Result<Self, Error> {
        if !options.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(options.listen));
        }
        let certificates = Certificates::new()?;
        let files = Files::new(&options.dir)?;
        let processes = ProcessTable::default();
        let now = jiff::Timestamp::now();
        let started_at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();

        let mut listeners = JoinSet::new();
        let mut clusters = Vec::new();
        let mut address = options.listen;
        for (name, flavour, exec_enabled) in CLUSTERS {
            let faults = if name == "modern" {
                options.faults.clone()
            } else {
                Vec::new()
            };
            let listener = Listener::bind(address, faults.contains(&Fault::Unreachable))?;
            let bound = listener.address();
            if address.port() != 0 {
                let next = address
                    .port()
                    .checked_add(1)
                    .ok_or(Error::NoPort(options.listen.port()))?;
                address.set_port(next);
            }
            let token = random_token()?;
            // A leaf of an authority that is in nobody's kubeconfig.
            let other = faults
                .contains(&Fault::TlsBadCert)
                .then(Certificates::new)
                .transpose()?;
            let tls = other.map_or_else(|| Arc::clone(&certificates.tls), |other| other.tls);
            clusters.push(ClusterAccess {
                name,
                server: format!("https://{bound}"),
                ca_pem: certificates.ca_pem.clone(),
                token: token.clone(),
                exec_enabled,
            });
            let cluster = Arc::new(Cluster {
                name,
                flavour,
                address: bound.to_string(),
                token,
                faults,
                started_at: started_at.clone(),
                started: Instant::now(),
                all_pods: pods::pods(&started_at),
                gone: Mutex::new(BTreeSet::new()),
                homes: files.homes.join(name),
                processes: processes.clone(),
            });
            listeners.spawn(listener.serve(cluster, tls));
        }
        let write = kubeconfig::write(&files.kubeconfig, &clusters);
        write.map_err(|error| Error::Write {
            path: files.kubeconfig.clone(),
            error,
        })?;
        Ok(Self {
            listeners,
            processes: KillOnDrop(processes),
            clusters,
            files,
        })
    }

    /// The kubeconfig's path: a context per cluster, `modern` current.
    pub fn kubeconfig(&self) -> &Path {
        &self.files.kubeconfig
    }

    /// The clusters: `modern`, `legacy`, `locked`.
    pub fn clusters(&self) -> &[ClusterAccess] {
        &self.clusters
    }

    /// Ends every connection and process, waits until they are gone, and removes the files.
    pub async fn stop(mut self) {
        self.listeners.shutdown().await;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.processes.0.len() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Ends what [`Sandbox::stop`] did not wait for.
#[derive(Debug)]
struct KillOnDrop(ProcessTable);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill_all();
    }
}

/// 256 random bits.
fn random_token() -> Result<String, Error> {
    let mut bytes = [0; 32];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What the kernel may hold of a connection's output. Over a network the distance bounds it; on loopback it
/// would grow to megabytes, which a page has to draw after Ctrl-C.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound port.
#[derive(Debug)]
enum Listener {
    Open {
        listener: TcpListener,
        address: SocketAddr,
    },
    /// The port is held, so that nobody else answers there, but connections are refused.
    Closed {
        _socket: TcpSocket,
        address: SocketAddr,
    },
}

impl Listener {
    fn bind(address: SocketAddr, closed: bool) -> Result<Self, Error> {
        let refused = |error| Error::Listen { address, error };
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.map_err(refused)?;
        if closed {
            socket.bind(address).map_err(refused)?;
            let address = socket.local_addr().map_err(refused)?;
            return Ok(Self::Closed {
                _socket: socket,
                address,
            });
        }
        socket.set_reuseaddr(true).map_err(refused)?;
        // Connections inherit it. A system that refuses the size still listens, with its own.
        drop(socket.set_send_buffer_size(SEND_BUFFER_BYTES));
        socket.bind(address).map_err(refused)?;
        let listener = socket.listen(BACKLOG).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self::Open { listener, address })
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Open { address, .. } | Self::Closed { address, .. } => *address,
        }
    }

    async fn serve(self, cluster: Arc<Cluster>, tls: Arc<rustls::ServerConfig>) {
        match self {
            Self::Open { listener, .. } => connection::accept(listener, cluster, tls).await,
            Self::Closed { .. } => core::future::pending().await,
        }
    }
}

/// What the sandbox has put on disk.
#[derive(Debug)]
struct Files {
    kubeconfig: PathBuf,
    homes: PathBuf,
    /// The directory, if the sandbox made it.
    made: Option<PathBuf>,
}

impl Files {
    fn new(dir: &Path) -> Result<Self, Error> {
        let make = |path: &Path| {
            let made = DirBuilder::new().mode(0o700).create(path);
            made.map_err(|error| Error::Write {
                path: path.to_owned(),
                error,
            })
        };
        let made = (!dir.exists()).then(|| dir.to_owned());
        if made.is_some() {
            make(dir)?;
        }
        let files = Self {
            kubeconfig: dir.join("kubeconfig"),
            homes: dir.join("homes"),
            made,
        };
        make(&files.homes)?;
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let mut removals = vec![
            (&self.kubeconfig, std::fs::remove_file(&self.kubeconfig)),
            (&self.homes, std::fs::remove_dir_all(&self.homes)),
        ];
        if let Some(made) = &self.made {
            removals.push((made, std::fs::remove_dir(made)));
        }
        for (path, removal) in removals {
            if let Err(error) = removal.or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }) {
                log::warn!("sandbox: cannot remove {}: {error}", path.display());
            }
        }
    }
}
