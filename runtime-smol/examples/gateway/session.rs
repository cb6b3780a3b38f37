//! One task per connection: moves the driver, answers its questions, writes its facts down.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use periscope_core::drive::{Driver, Turn};
use periscope_core::http::SecretValue;
use periscope_core::kube;
use periscope_core::session::{
    Answer, Ask, Config, DialFailure, Dialed, Identity, PodState, Session, Transport,
};
use periscope_core::time::Instant;
use periscope_runtime_smol::{SmolClock, Socket, next};
use smol::Timer;
use smol::future::FutureExt as _;
use smol::net::TcpStream;
use uuid::Uuid;

use crate::Gateway;
use crate::admission::{Admitted, Refused, admit};
use crate::apiserver::Upstream;
use crate::config::Cluster;
use crate::records::Records;
use crate::slots::Slot;

/// How long the apiserver may take to say whether the pod still exists.
const POD_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;
type Admission = Result<Admitted, Box<Refused>>;
type Dial = Result<(Upstream, Dialed), DialFailure>;

/// Serves one connection to its end.
pub(crate) async fn run(gateway: Arc<Gateway>, browser: TcpStream) {
    let mut seed = [0; 32];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    if random.fill(&mut seed).is_err() {
        eprintln!("gateway: the system gave no random bytes");
        return;
    }
    let clock = SmolClock::new(gateway.sessions.epoch);
    let now = Instant::ZERO.after(gateway.sessions.epoch.elapsed());
    let session = Session::listening(seed, now);
    let driver = Driver::new(session, Socket(browser), BytesMut::new(), clock);
    let task = Task {
        driver,
        admission: None,
        dial: None,
        pod_check: None,
        is_pod_asked: false,
        pod_uid: None,
        open: None,
        gateway,
    };
    Box::new(task).run().await;
}

/// Everything a connection consists of. The slot is dropped last, when both legs are gone and the
/// end is recorded.
struct Task {
    driver: Driver<Socket<TcpStream>, Upstream, SmolClock>,
    admission: Pending<Admission>,
    dial: Pending<Dial>,
    pod_check: Pending<(PodState, Option<String>)>,
    /// Whether the pod check that runs is the session's question or a first look.
    is_pod_asked: bool,
    pod_uid: Option<String>,
    open: Option<Open>,
    gateway: Arc<Gateway>,
}

/// What an admitted session has.
struct Open {
    records: Records,
    place: Arc<Place>,
    slot: Slot,
}

/// Where the shell is.
struct Place {
    gateway: Arc<Gateway>,
    cluster: String,
    namespace: String,
    pod: String,
    session_id: Uuid,
}

/// Why the task has something to do.
enum Wake {
    Turn(Turn),
    Admission(Box<Admission>),
    Dial(Box<Dial>),
    Pod(PodState, Option<String>),
    Order(periscope_core::session::Order),
}

impl Task {
    async fn run(mut self: Box<Self>) {
        loop {
            match self.wait().await {
                Wake::Turn(Turn::Done) => return,
                Wake::Turn(turn) => self.on_turn(turn),
                Wake::Admission(admission) => self.on_admission(*admission),
                Wake::Dial(dial) => match *dial {
                    Ok((upstream, dialed)) => self.driver.attach(upstream, dialed),
                    Err(failure) => self.driver.answer(Answer::DialFailed(failure)),
                },
                Wake::Pod(state, uid) => {
                    if self.pod_uid.is_none() {
                        self.pod_uid = uid;
                    }
                    if std::mem::take(&mut self.is_pod_asked) {
                        self.driver.answer(Answer::Pod(state));
                    }
                }
                Wake::Order(order) => self.driver.order(order),
            }
        }
    }

    /// The driver goes on while anything else is awaited: deadlines and the browser's farewell
    /// come from there. All state stays in `self`, so a future that loses is lost without harm.
    async fn wait(&mut self) -> Wake {
        let open = self.open.as_ref();
        let turn = async { Wake::Turn(next(&mut self.driver).await) };
        let order = async {
            match open {
                Some(open) => Wake::Order(open.slot.order().await),
                None => smol::future::pending().await,
            }
        };
        let admission = async { Wake::Admission(Box::new(ready(&mut self.admission).await)) };
        let dial = async { Wake::Dial(Box::new(ready(&mut self.dial).await)) };
        let pod = async {
            let (state, uid) = ready(&mut self.pod_check).await;
            Wake::Pod(state, uid)
        };
        turn.or(order).or(admission).or(dial).or(pod).await
    }

    fn on_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Ask(Ask::Admit(head)) => {
                let gateway = Arc::clone(&self.gateway);
                self.admission = Some(Box::pin(admit(gateway, head, Uuid::new_v4())));
            }
            Turn::Ask(Ask::Dial(_)) => {
                // The kubeconfig's token does not change, so fresh credentials need no other way.
                if let Some(open) = &self.open {
                    let place = Arc::clone(&open.place);
                    self.dial = Some(Box::pin(async move { place.dial().await }));
                }
            }
            Turn::Ask(Ask::Pod) => {
                self.is_pod_asked = true;
                self.start_pod_check();
            }
            Turn::CancelDial => self.dial = None,
            Turn::Event(event) => {
                if let Some(open) = &mut self.open {
                    open.records.on_event(&event);
                }
            }
            Turn::Done => {}
        }
    }

    fn on_admission(&mut self, admission: Admission) {
        match admission {
            Ok(admitted) => self.begin(admitted),
            Err(refused) => {
                let Refused { answer, attempt } = *refused;
                if let Some((shell, session_id, code)) = attempt {
                    shell.denied(&self.gateway, session_id, Some(code));
                }
                self.driver.answer(answer);
            }
        }
    }

    fn begin(&mut self, admitted: Admitted) {
        let Admitted {
            shell,
            size,
            flow_ack,
            stdin_ack,
            own_command,
            pod_uid,
            slot,
        } = admitted;
        let gateway = &self.gateway;
        let plan = gateway.sessions.plan(&shell.cluster);
        let settings = &gateway.config;
        let user = settings
            .user
            .as_ref()
            .map_or("kubeconfig", SecretValue::as_str);
        let groups = settings.groups.iter().map(SecretValue::as_str);
        let config = Config {
            session_id: slot.id().to_string(),
            cluster: shell.cluster.clone(),
            namespace: shell.namespace.clone(),
            pod: shell.pod.clone(),
            container: shell.container.clone(),
            command: shell.command.clone().unwrap_or_default(),
            own_command,
            tty: shell.tty.unwrap_or(true),
            size,
            flow_ack,
            stdin_ack,
            identity: Identity {
                user: user.to_owned(),
                groups: groups.map(str::to_owned).collect(),
            },
            timing: settings.timing,
            first: if plan.use_spdy {
                Transport::Spdy
            } else {
                Transport::WebSocketV5
            },
        };
        let place = Place {
            gateway: Arc::clone(gateway),
            cluster: shell.cluster.clone(),
            namespace: shell.namespace.clone(),
            pod: shell.pod.clone(),
            session_id: slot.id(),
        };
        let records = Records::new(Arc::clone(gateway), shell, slot.id(), plan.attempt);
        self.pod_uid = pod_uid;
        self.open = Some(Open {
            records,
            place: Arc::new(place),
            slot,
        });
        if self.pod_uid.is_none() {
            // A look at the pod now, so that a later one can tell it from its successor.
            self.start_pod_check();
        }
        self.driver.answer(Answer::Admitted(Box::new(config)));
    }

    fn start_pod_check(&mut self) {
        if let Some(open) = &self.open {
            let (place, known) = (Arc::clone(&open.place), self.pod_uid.clone());
            self.pod_check = Some(Box::pin(async move { place.check_pod(known).await }));
        }
    }
}

impl Place {
    fn cluster(&self) -> Option<&Cluster> {
        let mut clusters = self.gateway.config.clusters.iter();
        clusters.find(|cluster| cluster.name == self.cluster)
    }

    async fn dial(&self) -> Dial {
        let endpoint = &self.cluster().ok_or(DialFailure::Credentials)?.endpoint;
        let dialed = endpoint.dialed(&self.gateway.config, &self.session_id.to_string())?;
        Ok((endpoint.connect().await?, dialed))
    }

    /// Whether the pod is still the one with the known uid; and its uid, if it could be seen.
    async fn check_pod(&self, known: Option<String>) -> (PodState, Option<String>) {
        let unknown = (PodState::Unknown, None);
        let Some(cluster) = self.cluster() else {
            return unknown;
        };
        let path = kube::pod_path(&self.namespace, &self.pod);
        let asked = async {
            let config = &self.gateway.config;
            cluster.endpoint.ask(config, "GET", &path, b"").await.ok()
        };
        let late = async {
            Timer::after(POD_CHECK_TIMEOUT).await;
            None
        };
        let Some(answer) = asked.or(late).await else {
            return unknown;
        };
        if answer.status == 404 {
            return (PodState::Gone, None);
        }
        match kube::parse_pod(answer.status, &answer.body) {
            Ok(Some(facts)) if known.is_some() && facts.uid != known => (PodState::Gone, facts.uid),
            Ok(Some(facts)) => (PodState::Same, facts.uid),
            Ok(None) | Err(_) => unknown,
        }
    }
}

/// The result of what runs, once; never, if nothing does.
async fn ready<T>(pending: &mut Pending<T>) -> T {
    match pending {
        Some(future) => {
            let result = future.await;
            *pending = None;
            result
        }
        None => smol::future::pending().await,
    }
}
