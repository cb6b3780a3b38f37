//! Who has a shell: the live sessions, behind the gate that lets them in. The gate's caps *are*
//! the list, so what is shown and what is counted is always the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use periscope_core::code::CloseDetail;
use periscope_core::policy::{
    AttemptId, BreakerState, CapHit, CapLimits, Denial, Gate, Open, Outcome, Permit, Plan,
};
use periscope_core::session::{Order, Phase, Transport};
use periscope_core::time::Instant;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::lock;
use super::log::now as timestamp;
use super::login::LoginKey;
use super::registry::Cluster;

/// Orders a session may have waiting: a drain, an end, and repetitions that change nothing.
const ORDERS_MAX: usize = 8;

/// All live sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    gate: Mutex<Gate<Arc<Live>>>,
    count: watch::Sender<usize>,
    epoch: tokio::time::Instant,
}

/// One live session, as others see it.
#[derive(Debug)]
pub(crate) struct Live {
    id: Uuid,
    cluster: String,
    namespace: String,
    pod: String,
    actor: String,
    started_at: String,
    progress: Mutex<Progress>,
    /// The login it was opened with, or the one that took its place in the same browser.
    login: Mutex<Option<LoginKey>>,
    /// When that login ends.
    expires_at: Option<Timestamp>,
    orders: Orders,
    gone: watch::Receiver<()>,
}

/// What changes while a session lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) container: Option<String>,
    pub(crate) transport: Option<Transport>,
    pub(crate) phase: Option<Phase>,
    /// When a terminal byte was last seen; none before the shell is up.
    pub(crate) active_at: Option<Instant>,
}

/// Which shell somebody wants a slot for. The names are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) sub: &'a str,
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) container: Option<&'a str>,
    /// Shells one subject may open in a minute; zero for no limit.
    pub(crate) opens_per_minute: u32,
    pub(crate) login: Option<&'a LoginKey>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Why there is no slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// The subject has as many as it may.
    User {
        limit: u32,
        active: Vec<ActiveSession>,
    },
    /// The cluster has as many as it may.
    Cluster {
        limit: u32,
        own: Vec<ActiveSession>,
        other: usize,
    },
    /// Too many in a minute.
    Rate { seconds: u64 },
}

/// A session as a refusal by a cap shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActiveSession {
    id: Uuid,
    cluster: String,
    namespace: String,
    pod: String,
    container: Option<String>,
    started_at: String,
}

/// A session as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionView {
    #[serde(flatten)]
    session: ActiveSession,
    actor: String,
    transport: Option<&'static str>,
    state: &'static str,
    idle_seconds: u64,
}

/// Who asks for sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer<'a> {
    pub(crate) sub: &'a str,
    /// Audit admins see and end everyone's.
    pub(crate) sees_all: bool,
}

/// What somebody wants of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) order: Order,
    /// The subject behind it, where a person is.
    pub(crate) by: Option<String>,
}

/// Orders on their way to a session. Most sessions never get one, so an empty queue has to cost
/// next to nothing.
#[derive(Debug, Default)]
struct Orders {
    waiting: Mutex<VecDeque<Command>>,
    come: Notify,
}

/// Resolves when a session has given its slot back.
#[derive(Debug)]
pub(crate) struct Gone(watch::Receiver<()>);

/// A place among the live sessions. Dropping it gives the place back, on panic too.
#[derive(Debug)]
pub(crate) struct Slot {
    sessions: Arc<Sessions>,
    permit: Permit,
    live: Arc<Live>,
    _alive: watch::Sender<()>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            gate: Mutex::default(),
            count: watch::Sender::new(0),
            epoch: tokio::time::Instant::now(),
        }
    }

    /// Takes a slot and spends one opening, or neither.
    pub(crate) fn reserve(self: &Arc<Self>, target: &Target<'_>) -> Result<Slot, NoSlot> {
        let (alive, gone) = watch::channel(());
        let live = Arc::new(Live {
            id: Uuid::now_v7(),
            cluster: target.cluster.name.clone(),
            namespace: target.namespace.to_owned(),
            pod: target.pod.to_owned(),
            actor: target.sub.to_owned(),
            started_at: timestamp(),
            progress: Mutex::new(Progress {
                container: target.container.map(str::to_owned),
                ..Progress::default()
            }),
            login: Mutex::new(target.login.cloned()),
            expires_at: target.expires_at,
            orders: Orders::default(),
            gone,
        });
        let mut gate = lock(&self.gate);
        let permit = gate
            .admit(&target.open(), self.now(), Arc::clone(&live))
            .map_err(NoSlot::from)?;
        self.count.send_replace(gate.caps.len());
        drop(gate);
        Ok(Slot {
            sessions: Arc::clone(self),
            permit,
            live,
            _alive: alive,
        })
    }

    /// Whether [`Self::reserve`] would succeed now. Holds and spends nothing.
    pub(crate) fn check(&self, target: &Target<'_>) -> Result<(), NoSlot> {
        lock(&self.gate)
            .check(&target.open(), self.now())
            .map_err(NoSlot::from)
    }

    /// The sessions somebody may see, oldest first.
    pub(crate) fn list(&self, viewer: Viewer<'_>) -> Vec<SessionView> {
        let all = self.all();
        let seen = all
            .iter()
            .filter(|live| viewer.sees_all || viewer.sub == live.actor);
        seen.map(|live| live.view(self.now())).collect()
    }

    /// Ends a session, if it exists and is the viewer's business.
    pub(crate) fn end(&self, id: Uuid, viewer: Viewer<'_>) -> Option<Gone> {
        let live = self.all().into_iter().find(|live| live.id == id)?;
        let detail = match viewer {
            Viewer { sub, .. } if sub == live.actor => CloseDetail::UserClose,
            Viewer { sees_all: true, .. } => CloseDetail::AdminKill,
            Viewer { .. } => return None,
        };
        live.order(Command {
            order: Order::End(detail),
            by: Some(viewer.sub.to_owned()),
        });
        Some(Gone(live.gone.clone()))
    }

    /// Ends the sessions of a login that its person has ended. Returns how many there are.
    pub(crate) fn end_login(&self, login: &LoginKey, by: &str) -> usize {
        let mut count: usize = 0;
        for live in self.all() {
            if lock(&live.login).as_ref() == Some(login) {
                count = count.saturating_add(1);
                live.order(Command {
                    order: Order::End(CloseDetail::AuthExpired),
                    by: Some(by.to_owned()),
                });
            }
        }
        count
    }

    /// Gives the sessions of a login to the one that took its place in the same browser, so that
    /// ending that one ends them, too. When they expire does not change.
    pub(crate) fn move_login(&self, from: &LoginKey, to: &LoginKey) {
        for live in self.all() {
            let mut login = lock(&live.login);
            if login.as_ref() == Some(from) {
                *login = Some(to.clone());
            }
        }
    }

    /// Ends the sessions whose login has reached its end.
    pub(crate) fn end_expired(&self, now: Timestamp) {
        let all = self.all();
        let is_over = |live: &&Arc<Live>| live.expires_at.is_some_and(|at| at <= now);
        for live in all.iter().filter(is_over) {
            live.order(Command {
                order: Order::End(CloseDetail::AuthExpired),
                by: None,
            });
        }
    }

    /// Tells every session that the process leaves. Returns how many there are.
    pub(crate) fn order_drain(&self, seconds: u64) -> usize {
        self.order_all(Order::Drain { seconds })
    }

    /// Ends every session because the process leaves.
    pub(crate) fn order_end(&self) -> usize {
        self.order_all(Order::End(CloseDetail::Drain))
    }

    /// Resolves when no session holds a slot.
    pub(crate) async fn wait_empty(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`.
        drop(count.wait_for(|count| *count == 0).await);
    }

    /// How many sessions hold a slot.
    pub(crate) fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// How many sessions hold a slot on a cluster.
    pub(crate) fn live_in(&self, cluster: &str) -> u32 {
        lock(&self.gate).caps.count_in_cluster(cluster)
    }

    /// How the next attempt at a cluster begins.
    pub(crate) fn plan(&self, cluster: &str) -> Plan {
        lock(&self.gate).breaker.plan(cluster, self.now())
    }

    /// What an attempt has shown.
    pub(crate) fn report(&self, cluster: &str, attempt: AttemptId, outcome: Outcome) {
        lock(&self.gate)
            .breaker
            .report(cluster, attempt, outcome, self.now());
    }

    /// The breaker's state, for the log.
    pub(crate) fn breaker_state(&self, cluster: &str) -> BreakerState {
        lock(&self.gate).breaker.state(cluster, self.now())
    }

    /// The instant all sessions count from.
    pub(crate) fn epoch(&self) -> tokio::time::Instant {
        self.epoch
    }

    /// The present on the sessions' clock.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO.after(self.epoch.elapsed())
    }

    fn all(&self) -> Vec<Arc<Live>> {
        lock(&self.gate)
            .caps
            .sessions()
            .map(|(_, live)| Arc::clone(live))
            .collect()
    }

    fn order_all(&self, order: Order) -> usize {
        let all = self.all();
        for live in &all {
            live.order(Command { order, by: None });
        }
        all.len()
    }
}

impl Live {
    fn order(&self, command: Command) {
        self.orders.push(command);
    }

    /// Changes what others see of the session.
    pub(crate) fn progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
    }

    fn active(&self) -> ActiveSession {
        ActiveSession {
            id: self.id,
            cluster: self.cluster.clone(),
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            container: lock(&self.progress).container.clone(),
            started_at: self.started_at.clone(),
        }
    }

    fn view(&self, now: Instant) -> SessionView {
        let session = self.active();
        let progress = lock(&self.progress).clone();
        SessionView {
            session,
            actor: self.actor.clone(),
            transport: progress.transport.map(Transport::as_str),
            state: progress.phase.map_or("admitting", Phase::as_str),
            idle_seconds: progress
                .active_at
                .map_or(0, |active_at| now.since(active_at).as_secs()),
        }
    }
}

impl Orders {
    fn push(&self, command: Command) {
        let mut waiting = lock(&self.waiting);
        // A full queue holds an order to end already, or a drain that is followed by one.
        if waiting.len() < ORDERS_MAX {
            waiting.push_back(command);
            self.come.notify_one();
        }
    }

    /// Cancel-safe: an order is taken only together with the result.
    async fn next(&self) -> Command {
        loop {
            let waiting = lock(&self.waiting).pop_front();
            if let Some(command) = waiting {
                return command;
            }
            self.come.notified().await;
        }
    }
}

impl Target<'_> {
    fn open(&self) -> Open<'_> {
        let caps = CapLimits {
            per_user: self.cluster.exec.sessions_per_user_max,
            per_cluster: self.cluster.exec.sessions_total_max,
        };
        Open {
            subject: self.sub,
            cluster: &self.cluster.name,
            caps,
            opens_per_minute: self.opens_per_minute,
        }
    }
}

impl From<Denial<Arc<Live>>> for NoSlot {
    fn from(denial: Denial<Arc<Live>>) -> Self {
        let listed = |sessions: Vec<Arc<Live>>| sessions.iter().map(|live| live.active()).collect();
        match denial {
            Denial::Cap(CapHit::User { limit, active }) => Self::User {
                limit,
                active: listed(active),
            },
            Denial::Cap(CapHit::Cluster { limit, own, other }) => Self::Cluster {
                limit,
                own: listed(own),
                other,
            },
            Denial::Rate(retry_after) => Self::Rate {
                seconds: retry_after.seconds(),
            },
        }
    }
}

impl Gone {
    /// Resolves when the slot is free.
    pub(crate) async fn wait(mut self) {
        // Nothing is ever sent: the end of the sender is the news.
        while self.0.changed().await.is_ok() {}
    }
}

impl Slot {
    /// The session's identifier.
    pub(crate) fn id(&self) -> Uuid {
        self.live.id
    }

    /// Changes what others see of the session.
    pub(crate) fn progress(&self, change: impl FnOnce(&mut Progress)) {
        self.live.progress(change);
    }

    /// What others see of the session.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// The next order. Never ends while the slot is held.
    pub(crate) async fn order(&mut self) -> Command {
        self.live.orders.next().await
    }

    /// The table the slot is in.
    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut gate = lock(&self.sessions.gate);
        gate.caps.release(self.permit);
        self.sessions.count.send_replace(gate.caps.len());
    }
}

#[cfg(test)]
mod tests;
