//! The gateways under judgement: the production server on tokio, in this process, and the example
//! on smol, as the program it is. Both are reached over their sockets only.

mod smol;
mod tokio_server;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::browser::{self, Answer, PATIENCE, Shell};
use crate::payload::{self, Payload};
use crate::peers::Access;

/// The runtime a gateway is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    Smol,
}

impl Runtime {
    pub(crate) const ALL: [Self; 2] = [Self::Tokio, Self::Smol];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Smol => "smol",
        }
    }
}

/// What differs between gateways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) idle_seconds: u32,
    pub(crate) idle_warn_seconds: u32,
    pub(crate) per_user: u32,
    pub(crate) per_cluster: u32,
    pub(crate) opens_per_minute: u32,
    pub(crate) drain_seconds: u32,
    /// The tier whose group the apiserver sees.
    pub(crate) tier: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_seconds: 600,
            idle_warn_seconds: 30,
            per_user: 1000,
            // A case has one session at a time, so a slot that is not given back is found.
            per_cluster: 1,
            opens_per_minute: 0,
            drain_seconds: 10,
            tier: "admin",
        }
    }
}

/// A cluster as a gateway knows it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) access: Access,
    pub(crate) is_exec_enabled: bool,
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    audit: Arc<Mutex<Vec<u8>>>,
    /// What it wrote to its log, where that is not this process's.
    log: Arc<Mutex<String>>,
    /// What its shells typed and saw.
    pub(crate) payload: Arc<Payload>,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Tokio(tokio_server::Server),
    Smol(smol::Program),
}

impl Gateway {
    pub(crate) async fn start(
        runtime: Runtime,
        clusters: &[Cluster],
        settings: Settings,
        target: &Path,
        dir: &Path,
    ) -> io::Result<Self> {
        match runtime {
            Runtime::Tokio => tokio_server::start(clusters, settings).await,
            Runtime::Smol => smol::start(clusters, settings, target, dir).await,
        }
    }

    /// A handshake with the bearer token.
    pub(crate) async fn open(&self, path: &str) -> Result<Shell, Answer> {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("Authorization", authorization.as_str())];
        let opened = browser::open(self.address, path, &headers).await;
        match &opened {
            Ok(shell) => shell.payload.set(Arc::clone(&self.payload)).unwrap(),
            Err(answer) => self.payload.told(&answer.body),
        }
        opened
    }

    /// Panics where a byte of a terminal is in something that this gateway wrote.
    pub(crate) fn expect_no_payload(&self) {
        let mut log = self.log.lock().unwrap().clone();
        if let Process::Tokio(_) = self.process {
            log.push_str(&payload::log_since(0).join("\n"));
        }
        let rows = self.audit.lock().unwrap().clone();
        let rows = String::from_utf8_lossy(&rows);
        self.payload.expect_nowhere(&log, &rows, &[]);
    }

    /// A request with the bearer token.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let authorization = format!("Bearer {}", self.token);
        browser::get(self.address, path, &[("Authorization", &authorization)]).await
    }

    /// The audit rows of one cluster so far, oldest first.
    pub(crate) fn audit(&self, cluster: &str) -> Vec<Value> {
        let mut rows = self.all_audit();
        rows.retain(|row| row["cluster"] == cluster);
        rows
    }

    /// All of them.
    pub(crate) fn all_audit(&self) -> Vec<Value> {
        let text = String::from_utf8(self.audit.lock().unwrap().clone()).unwrap();
        let lines = text.split_inclusive('\n');
        let whole = lines.filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for an audit row of this verb.
    pub(crate) async fn audit_row(&self, cluster: &str, verb: &str) -> Value {
        let verb = format!("pod.exec.{verb}");
        until("an audit row", || {
            let rows = self.audit(cluster);
            rows.into_iter().find(|row| row["verb"] == verb.as_str())
        })
        .await
    }

    /// Asks it to leave, as SIGTERM does.
    pub(crate) fn terminate(&mut self) {
        match &mut self.process {
            Process::Tokio(server) => server.terminate(),
            Process::Smol(program) => program.terminate(),
        }
    }

    /// Waits until it has left, and says whether nothing was lost.
    pub(crate) async fn left(&mut self) -> bool {
        let left = async {
            match &mut self.process {
                Process::Tokio(server) => server.left().await,
                Process::Smol(program) => program.left().await,
            }
        };
        tokio::time::timeout(PATIENCE, left)
            .await
            .expect("the end of a gateway in time")
    }
}

/// Looks again until something is there.
pub(crate) async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{what} was waited for in vain"))
}
