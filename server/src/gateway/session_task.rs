//! One task per shell: moves the driver, answers its questions, writes its facts down.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use periscope_core::drive::{Driver, Turn};
use periscope_core::session::{
    Answer, Ask, Config, Dial, Event, Identity, PodState, Session, Timing, Transport,
};
use periscope_runtime_tokio::{Socket, TokioClock};
use uuid::Uuid;

use super::Gateway;
use super::admission::Admitted;
use super::browser::BrowserStream;
use super::dial::{DialResult, Pending, Way, ready};
use super::kube::KubeError;
use super::login::random;
use super::records::Records;
use super::sessions::{Live, Slot};
use super::upstream::Upstream;

/// How long the apiserver may take to say whether the pod still exists.
const POD_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type BrowserSocket = Socket<BrowserStream>;
type SessionDriver = Driver<BrowserSocket, Upstream, TokioClock>;

/// Starts the session behind a handshake whose 101 is on its way.
pub(crate) fn spawn(
    gateway: &Arc<Gateway>,
    admitted: Admitted,
    slot: Slot,
    request_id: Uuid,
    upgrade: OnUpgrade,
) {
    let gateway = Arc::clone(gateway);
    tokio::spawn(async move {
        // From here on, whatever happens, dropping `slot` gives the place back.
        let Ok(upgraded) = upgrade.await else {
            log::info!(session = slot.id().to_string().as_str(); "exec.browser.gone");
            return;
        };
        match begin(&gateway, admitted, slot, request_id, upgraded) {
            // A task of its own: this one has room for all that a handshake needs.
            Ok(task) => drop(tokio::spawn(Box::new(task).run())),
            Err(error) => log::error!(error = error.as_str(); "exec.session.failed"),
        }
    });
}

/// Joins the raw connection with a session of the core.
fn begin(
    gateway: &Arc<Gateway>,
    admitted: Admitted,
    slot: Slot,
    request_id: Uuid,
    upgraded: Upgraded,
) -> Result<Task, String> {
    let Admitted {
        cluster,
        identity,
        shell,
        query,
        command,
        pod_uid,
        mut intent,
    } = admitted;
    if let Some(intent) = &mut intent {
        intent.expect_end();
    }
    // This gateway's listener made the connection, so this is what hyper holds.
    let parts = upgraded
        .downcast::<TokioIo<BrowserStream>>()
        .map_err(|_| "foreign connection type".to_owned())?;
    let seed: [u8; 32] = random().map_err(|error| error.to_string())?;
    let sessions = Arc::clone(slot.sessions());
    let plan = sessions.plan(&cluster.name);
    let first = if plan.use_spdy {
        Transport::Spdy
    } else {
        Transport::WebSocketV5
    };
    let breaker = if plan.use_spdy { "open" } else { "closed" };
    log::info!(
        session = slot.id().to_string().as_str(), cluster = cluster.name.as_str(),
        transport = first.as_str(), circuit_breaker = breaker;
        "exec.transport.choice"
    );
    let config = Config {
        session_id: slot.id().to_string(),
        cluster: cluster.name.clone(),
        namespace: shell.namespace.clone(),
        pod: shell.pod.clone(),
        container: shell.container.clone(),
        command,
        own_command: query.command.is_some(),
        tty: query.tty,
        size: query.cols.zip(query.rows),
        flow_ack: query.flow_ack,
        stdin_ack: query.stdin_ack,
        identity: Identity {
            user: identity
                .user()
                .unwrap_or(cluster.backend.as_str())
                .to_owned(),
            groups: identity.groups().map(str::to_owned).collect(),
        },
        timing: Timing {
            idle: cluster.exec.idle,
            idle_warn: cluster.exec.idle_warn,
            heartbeat: cluster.exec.heartbeat,
        },
        first,
    };
    let session = Session::accepted(config, seed, sessions.now());
    let leftover = BytesMut::from(parts.read_buf.as_ref());
    let clock = TokioClock::new(sessions.epoch());
    let driver = Driver::new(session, Socket(parts.io.into_inner()), leftover, clock);
    let (namespace, pod) = (shell.namespace.clone(), shell.pod.clone());
    let records = Records::new(
        Arc::clone(gateway),
        Arc::clone(&cluster),
        slot.id(),
        request_id,
        shell,
        plan.attempt,
        intent,
    );
    let place = Arc::new(Place {
        way: Way::new(cluster.kube.clone(), identity, slot.id()),
        namespace,
        pod,
    });
    Ok(Task {
        driver,
        records,
        slot,
        place,
        pod_uid,
        dial: None,
        pod_check: None,
    })
}

/// Everything a running session consists of. The slot is dropped last, when both legs are gone and
/// the end is recorded.
struct Task {
    driver: SessionDriver,
    dial: Pending<DialResult>,
    pod_check: Pending<(PodState, Option<String>)>,
    pod_uid: Option<String>,
    place: Arc<Place>,
    records: Records,
    slot: Slot,
}

/// Where the shell is and as whom.
struct Place {
    way: Way,
    namespace: String,
    pod: String,
}

impl Task {
    async fn run(mut self: Box<Self>) {
        let live = self.slot.live();
        if self.pod_uid.is_none() {
            // A look at the pod now, so that a later one can tell it from its successor.
            self.start_pod_check();
        }
        // Whether the pod check that runs is the session's question or the look from above.
        let mut is_asked = false;
        loop {
            tokio::select! {
                turn = advance(&mut self.driver, &mut self.records, &live) => match turn {
                    Turn::Ask(Ask::Dial(dial)) => self.start_dial(dial),
                    Turn::Ask(Ask::Pod) => {
                        is_asked = true;
                        self.start_pod_check();
                    }
                    // Only a listening session asks for admission, and this one was accepted.
                    Turn::Ask(Ask::Admit(_)) => {
                        debug_assert!(false, "an accepted session asks for admission");
                    }
                    Turn::CancelDial => self.dial = None,
                    Turn::Event(event) => self.on_event(&event),
                    Turn::Done => break,
                },
                command = self.slot.order() => {
                    self.records.on_order(&command);
                    self.driver.order(command.order);
                }
                dialed = ready(&mut self.dial) => match dialed {
                    Ok((upstream, dialed)) => self.driver.attach(upstream, dialed),
                    Err(failure) => self.driver.answer(Answer::DialFailed(failure)),
                },
                (state, uid) = ready(&mut self.pod_check) => {
                    if self.pod_uid.is_none() {
                        self.pod_uid = uid;
                    }
                    if std::mem::take(&mut is_asked) {
                        self.driver.answer(Answer::Pod(state));
                    }
                }
            }
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Attempt { transport, error } => self.records.on_attempt(*transport, *error),
            Event::Breaker(verdict) => self.records.on_breaker(*verdict),
            Event::Started { transport } => self.records.on_started(*transport),
            Event::Ended(summary) => self.records.on_ended(summary),
        }
    }

    fn start_dial(&mut self, dial: Dial) {
        let place = Arc::clone(&self.place);
        self.dial = Some(Box::pin(async move { place.way.dial(dial).await }));
    }

    fn start_pod_check(&mut self) {
        let (place, known) = (Arc::clone(&self.place), self.pod_uid.clone());
        self.pod_check = Some(Box::pin(async move { place.check_pod(known).await }));
    }
}

impl Place {
    /// Whether the pod is still the one with the known uid; and its uid, if it could be seen.
    async fn check_pod(&self, known: Option<String>) -> (PodState, Option<String>) {
        let kube = self.way.kube();
        let asked = kube.pod(&self.namespace, &self.pod, self.way.identity());
        match tokio::time::timeout(POD_CHECK_TIMEOUT, asked).await {
            Ok(Err(KubeError::Status(404))) => (PodState::Gone, None),
            Ok(Ok(page)) if known.is_some() && page.uid != known => (PodState::Gone, page.uid),
            Ok(Ok(page)) => (PodState::Same, page.uid),
            Ok(Err(_)) | Err(_) => (PodState::Unknown, None),
        }
    }
}

/// Moves the driver until the host is needed. What it did is counted and shown to whoever lists
/// sessions there and then: a timer for it would wake every idle session again and again.
async fn advance(driver: &mut SessionDriver, records: &mut Records, live: &Live) -> Turn {
    poll_fn(|cx| {
        let turn = driver.poll_next(cx);
        let session = driver.session();
        records.on_carried(session.carried());
        live.progress(|progress| {
            progress.transport = session.transport();
            progress.phase = session.phase();
            progress.active_at = session.active_at();
        });
        turn
    })
    .await
}
