//! Who has a shell. The caps *are* the list, so what is counted and what is drained is the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use periscope_core::policy::{AttemptId, Denial, Gate, Open, Outcome, Permit, Plan};
use periscope_core::session::Order;
use periscope_core::time::Instant;
use serde::Serialize;
use smol::channel::{Receiver, Sender, bounded};
use uuid::Uuid;

/// Orders a session may have waiting: a drain, an end, and repetitions that change nothing.
const ORDERS_MAX: usize = 4;

/// All live sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    gate: Mutex<Gate<Arc<Live>>>,
    is_draining: AtomicBool,
    left: (Sender<()>, Receiver<()>),
    pub(crate) epoch: std::time::Instant,
}

/// One of them, as a refusal by a cap shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Live {
    id: Uuid,
    cluster: String,
    namespace: String,
    pod: String,
    container: Option<String>,
    started_at: String,
    #[serde(skip)]
    orders: Sender<Order>,
}

/// Which shell a slot is wanted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) container: Option<&'a str>,
}

/// A place among the live sessions. Dropping it gives the place back, on panic too.
#[derive(Debug)]
pub(crate) struct Slot {
    sessions: Arc<Sessions>,
    permit: Permit,
    id: Uuid,
    orders: Receiver<Order>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            gate: Mutex::default(),
            is_draining: AtomicBool::new(false),
            left: bounded(1),
            epoch: std::time::Instant::now(),
        }
    }

    /// Takes a slot and spends one opening, or neither.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        open: &Open<'_>,
        wanted: Wanted<'_>,
    ) -> Result<Slot, Denial<Arc<Live>>> {
        let (sender, orders) = bounded(ORDERS_MAX);
        let live = Live {
            id: Uuid::now_v7(),
            cluster: open.cluster.to_owned(),
            namespace: wanted.namespace.to_owned(),
            pod: wanted.pod.to_owned(),
            container: wanted.container.map(str::to_owned),
            started_at: crate::audit::timestamp(),
            orders: sender,
        };
        let id = live.id;
        let permit = self.lock().admit(open, self.now(), Arc::new(live))?;
        Ok(Slot {
            sessions: Arc::clone(self),
            permit,
            id,
            orders,
        })
    }

    /// Whether [`Self::reserve`] would succeed now. Holds and spends nothing.
    pub(crate) fn check(&self, open: &Open<'_>) -> Result<(), Denial<Arc<Live>>> {
        self.lock().check(open, self.now())
    }

    /// Lets nobody in any more and tells everyone inside.
    pub(crate) fn drain(&self, order: Order) {
        self.is_draining.store(true, Ordering::SeqCst);
        for (_, live) in self.lock().caps.sessions() {
            // A full queue holds an order to end already; a closed one is a session that is gone.
            let _ = live.orders.try_send(order);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// How many sessions hold a slot.
    pub(crate) fn len(&self) -> usize {
        self.lock().caps.len()
    }

    /// Resolves when no session holds a slot.
    pub(crate) async fn wait_empty(&self) {
        while !self.lock().caps.is_empty() {
            let _ = self.left.1.recv().await;
        }
    }

    /// How the next attempt at a cluster begins.
    pub(crate) fn plan(&self, cluster: &str) -> Plan {
        self.lock().breaker.plan(cluster, self.now())
    }

    /// What an attempt has shown.
    pub(crate) fn report(&self, cluster: &str, attempt: AttemptId, outcome: Outcome) {
        let now = self.now();
        self.lock().breaker.report(cluster, attempt, outcome, now);
    }

    /// The present on the sessions' clock.
    fn now(&self) -> Instant {
        Instant::ZERO.after(self.epoch.elapsed())
    }

    /// A panic elsewhere must not take every later session down: changes are single steps.
    fn lock(&self) -> MutexGuard<'_, Gate<Arc<Live>>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// The next order. Never ends while the slot is held.
    pub(crate) async fn order(&self) -> Order {
        match self.orders.recv().await {
            Ok(order) => order,
            Err(_) => smol::future::pending().await,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.sessions.lock().caps.release(self.permit);
        let _ = self.sessions.left.0.try_send(());
    }
}
