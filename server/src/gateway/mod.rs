//! The gateway: HTTP for the UI, WebSockets for shells, one apiserver client per cluster.
//!
//! `routes` finds the handler, `rest` and `exec` are the handlers, `admission` decides who may open
//! a shell, `sessions` knows who has one, and everything a session does is in `periscope-core`.

mod admission;
mod assets;
pub mod audit;
mod auth;
mod browser;
pub(crate) mod dial;
mod exec;
pub mod identity;
pub mod kube;
mod limiter;
mod listen;
pub mod log;
pub mod login;
mod metrics;
pub mod origin;
pub mod probe;
mod records;
pub mod registry;
mod respond;
mod rest;
mod reviews;
mod routes;
mod session_task;
mod sessions;
pub mod shutdown;
pub(crate) mod upstream;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use audit::{Audit, Denials, Record};
pub use browser::{ServerTls, ServerTlsError};
use identity::{Authorization, Identity, IdentityError, Subject};
use limiter::Limiter;
pub use listen::Listening;
use login::Authentication;
use metrics::Metrics;
use origin::Origins;
use registry::Registry;
use reviews::Reviews;
use sessions::Sessions;

/// What a gateway is made of.
#[derive(Debug)]
pub struct GatewayOptions {
    /// The clusters.
    pub registry: Registry,
    /// How people are known.
    pub authentication: Authentication,
    /// As whom they act.
    pub authorization: Authorization,
    /// Which names and pages are answered.
    pub origins: Origins,
    /// Shells one subject may open in a minute; zero for no limit.
    pub exec_opens_per_minute: u32,
    /// How long sessions may go on once the process is asked to leave.
    pub drain: Duration,
    /// Where audit records go.
    pub audit: Arc<Audit>,
}

/// Everything the requests share.
#[derive(Debug)]
pub struct Gateway {
    registry: Registry,
    authentication: Authentication,
    authorization: Authorization,
    origins: Origins,
    exec_opens_per_minute: u32,
    drain: Duration,
    audit: Arc<Audit>,
    denials: Mutex<Denials>,
    limiter: Mutex<Limiter>,
    reviews: Reviews,
    sessions: Arc<Sessions>,
    metrics: Metrics,
    phase: watch::Sender<Phase>,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Shells may be opened.
    Serving,
    /// The process leaves; no new shells.
    Draining,
}

impl Gateway {
    /// A gateway that does not listen yet.
    pub fn new(options: GatewayOptions) -> Arc<Self> {
        let GatewayOptions {
            registry,
            authentication,
            authorization,
            origins,
            exec_opens_per_minute,
            drain,
            audit,
        } = options;
        Arc::new(Self {
            registry,
            authentication,
            authorization,
            origins,
            exec_opens_per_minute,
            drain,
            audit,
            denials: Mutex::default(),
            limiter: Mutex::default(),
            reviews: Reviews::default(),
            sessions: Arc::new(Sessions::new()),
            metrics: Metrics::new(),
            phase: watch::Sender::new(Phase::Serving),
        })
    }

    fn is_draining(&self) -> bool {
        *self.phase.borrow() == Phase::Draining
    }

    /// As whom somebody acts towards a cluster.
    fn identity_of(&self, subject: &Subject) -> Result<Identity, IdentityError> {
        let dropped = self.authorization.unsendable_groups(subject);
        self.metrics.on_groups_dropped(dropped);
        self.authorization.identity(subject)
    }

    /// Writes a refused attempt, unless a row of this minute speaks for it.
    fn audit_denied(&self, record: Record) {
        if let Some(row) = lock(&self.denials).take(record, Instant::now()) {
            self.audit.record(&row);
        }
    }

    /// Writes the counts of refused attempts whose minute is over.
    fn expire_denials(&self) {
        let rows = lock(&self.denials).expire(Instant::now());
        for row in rows {
            self.audit.record(&row);
        }
    }

    /// Writes all counts of refused attempts, at the end of the process.
    fn drain_denials(&self) {
        let rows = lock(&self.denials).drain();
        for row in rows {
            self.audit.record(&row);
        }
    }
}

/// Locks a table. A panic elsewhere must not take every later request down with it: what these
/// mutexes guard is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
