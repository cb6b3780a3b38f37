//! Who may open a shell: the checks before the 101, in the server's order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use periscope_core::code::ErrorCode;
use periscope_core::http::RequestHead;
use periscope_core::kube::{self, PodFacts};
use periscope_core::names;
use periscope_core::policy::{CapHit, Denial, Open};
use periscope_core::request::{default_shell, parse_exec_query};
use periscope_core::session::Answer;
use serde_json::{Value, json};
use smol::Timer;
use smol::future::FutureExt as _;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::Gateway;
use crate::config::Cluster;
use crate::records::Shell;
use crate::slots::{Live, Slot, Wanted};

/// How long the access review and the pod look-up may take together.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a yes is believed.
const REVIEW_CACHE: Duration = Duration::from_secs(5);

/// The access reviews that said yes, by cluster and namespace: there is one user. Names are the
/// apiserver's to check, so only a yes is kept, and what is old goes whenever one is added.
#[derive(Debug, Default)]
pub(crate) struct Reviews(Mutex<HashMap<(String, String), Instant>>);

/// A shell that may be opened.
pub(crate) struct Admitted {
    pub(crate) shell: Shell,
    pub(crate) size: Option<(u16, u16)>,
    pub(crate) flow_ack: bool,
    pub(crate) stdin_ack: bool,
    pub(crate) own_command: bool,
    pub(crate) pod_uid: Option<String>,
    pub(crate) slot: Slot,
}

/// What the browser's request comes to, if not a shell: an answer, and what the audit is told.
pub(crate) struct Refused {
    pub(crate) answer: Answer,
    /// The attempt of somebody known, with its code. A dry run is none.
    pub(crate) attempt: Option<(Shell, Option<Uuid>, ErrorCode)>,
}

/// An error as the browser reads it.
struct Refusal {
    code: ErrorCode,
    status: u16,
    message: Option<String>,
    extra: Vec<(&'static str, Value)>,
    retry_after: Option<u64>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            status: code.http_status(),
            message: Some(code.message().to_owned()),
            extra: Vec::new(),
            retry_after: None,
        }
    }
}

impl Refusal {
    fn new(code: ErrorCode, message: &str) -> Self {
        Self {
            message: Some(message.to_owned()),
            ..Self::from(code)
        }
    }

    fn answer(self) -> Answer {
        let mut body = json!({ "error": self.code.as_str() });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(
                self.message
                    .map(|message| ("message".to_owned(), message.into())),
            );
            let extra = self.extra.into_iter();
            fields.extend(extra.map(|(name, value)| (name.to_owned(), value)));
        }
        Answer::Refused {
            status: self.status,
            body: body.to_string(),
            retry_after: self.retry_after,
        }
    }
}

/// Decides.
pub(crate) async fn admit(
    gateway: Arc<Gateway>,
    head: Box<RequestHead>,
    request_id: Uuid,
) -> Result<Admitted, Box<Refused>> {
    let nobody = |refusal: Refusal| {
        Box::new(Refused {
            answer: refusal.answer(),
            attempt: None,
        })
    };
    let (cluster, namespace, pod) = route(&gateway, &head).map_err(nobody)?;
    if !is_known(&gateway, &head) {
        return Err(nobody(ErrorCode::Auth.into()));
    }
    let mut shell = Shell::new(&gateway.config, request_id, &cluster, &namespace, &pod);
    let is_open = head.is_websocket() || asks_for_websocket(&head);
    let mut session_id = None;
    let decided = decide(&gateway, &head, is_open, &mut shell, &mut session_id).await;
    match decided {
        Ok((Some(slot), facts)) => {
            let query = parse_exec_query(head.query()).ok();
            let size = query.as_ref().and_then(|query| query.cols.zip(query.rows));
            Ok(Admitted {
                shell,
                size,
                flow_ack: query.as_ref().is_some_and(|query| query.flow_ack),
                stdin_ack: query.as_ref().is_some_and(|query| query.stdin_ack),
                own_command: query.is_some_and(|query| query.command.is_some()),
                pod_uid: facts.and_then(|facts| facts.uid),
                slot,
            })
        }
        Ok((None, _)) => Err(Box::new(Refused {
            answer: Answer::Refused {
                status: 200,
                body: json!({ "ok": true }).to_string(),
                retry_after: None,
            },
            attempt: None,
        })),
        Err(refusal) => {
            let code = refusal.code;
            Err(Box::new(Refused {
                answer: refusal.answer(),
                attempt: is_open.then_some((shell, session_id, code)),
            }))
        }
    }
}

/// The checks in their order. Without a slot: a dry run.
async fn decide(
    gateway: &Arc<Gateway>,
    head: &RequestHead,
    is_open: bool,
    shell: &mut Shell,
    session_id: &mut Option<Uuid>,
) -> Result<(Option<Slot>, Option<PodFacts>), Refusal> {
    let config = &gateway.config;
    if gateway.sessions.is_draining() {
        return Err(draining(gateway));
    }
    let cluster = config
        .clusters
        .iter()
        .find(|cluster| cluster.name == shell.cluster)
        .ok_or_else(|| Refusal::new(ErrorCode::NotFound, "There is no such cluster."))?;
    if !cluster.is_exec_enabled {
        return Err(Refusal {
            message: None,
            ..ErrorCode::ExecDisabled.into()
        });
    }
    let invalid =
        |error: &dyn ToString| Refusal::new(ErrorCode::InvalidRequest, &error.to_string());
    names::check_namespace(&shell.namespace).map_err(|error| invalid(&error))?;
    names::check_pod(&shell.pod).map_err(|error| invalid(&error))?;
    let query = parse_exec_query(head.query()).map_err(|error| invalid(&error))?;
    if let Some(container) = &query.container {
        names::check_container(container).map_err(|error| invalid(&error))?;
    }
    if is_open && !head.is_websocket() {
        return Err(Refusal::new(
            ErrorCode::Protocol,
            "The WebSocket handshake lost its `Connection: Upgrade` header; a proxy in between drops it.",
        ));
    }
    shell.container.clone_from(&query.container);
    shell.command = Some(query.command.unwrap_or_else(default_shell));
    shell.tty = Some(query.tty);
    check_origin(head)?;
    let open = Open {
        subject: config.subject(),
        cluster: &cluster.name,
        caps: config.caps,
        opens_per_minute: config.opens_per_minute,
    };
    let slot = if is_open {
        let wanted = Wanted {
            namespace: &shell.namespace,
            pod: &shell.pod,
            container: shell.container.as_deref(),
        };
        // From here on a refusal gives the slot back by dropping it.
        let slot = gateway.sessions.reserve(&open, wanted).map_err(no_slot)?;
        *session_id = Some(slot.id());
        if gateway.sessions.is_draining() {
            return Err(draining(gateway));
        }
        Some(slot)
    } else {
        gateway.sessions.check(&open).map_err(no_slot)?;
        None
    };
    let late = async {
        Timer::after(REVIEW_TIMEOUT).await;
        Err(ErrorCode::ClusterUnreachable)
    };
    let facts = ask(gateway, cluster, shell).or(late).await?;
    if let (None, Some(facts)) = (&shell.container, &facts) {
        shell.container.clone_from(&facts.default_container);
    }
    Ok((slot, facts))
}

/// The access review and, where no container was named, the pod, at the same time.
async fn ask(
    gateway: &Gateway,
    cluster: &Cluster,
    shell: &Shell,
) -> Result<Option<PodFacts>, ErrorCode> {
    let (config, endpoint) = (&gateway.config, &cluster.endpoint);
    let may = async {
        if gateway.reviews.is_yes(&cluster.name, &shell.namespace) {
            return Ok(());
        }
        let body = kube::exec_review(&shell.namespace);
        let answer = endpoint
            .ask(config, "POST", kube::REVIEW_PATH, &body)
            .await?;
        if !kube::parse_review(answer.status, &answer.body)? {
            return Err(ErrorCode::Forbidden);
        }
        gateway
            .reviews
            .remember_yes(&cluster.name, &shell.namespace);
        Ok(())
    };
    let pod = async {
        if shell.container.is_some() {
            return Ok(None);
        }
        let path = kube::pod_path(&shell.namespace, &shell.pod);
        let answer = endpoint.ask(config, "GET", &path, b"").await?;
        kube::parse_pod(answer.status, &answer.body)
    };
    // The pod's answer waits for the review: who may not open a shell does not learn here whether
    // the pod exists. A no of the review is final at once.
    let ((), pod) = smol::future::try_zip(may, async { Ok(pod.await) }).await?;
    pod
}

/// What the path names, if it names a shell.
fn route(gateway: &Gateway, head: &RequestHead) -> Result<(String, String, String), Refusal> {
    let refused = |status, message| Refusal {
        status,
        ..Refusal::new(ErrorCode::InvalidRequest, message)
    };
    if !loopback_host(head).is_some_and(|_| gateway.config.listen.ip().is_loopback()) {
        return Err(refused(
            421,
            "This gateway does not answer to that host name.",
        ));
    }
    let mut parts = head
        .path()
        .strip_prefix("/api/clusters/")
        .map(|rest| rest.split('/'));
    let mut next = || parts.as_mut().and_then(Iterator::next).map(str::to_owned);
    match (next(), next(), next(), next(), next(), next()) {
        (Some(cluster), Some(pods), Some(namespace), Some(pod), Some(exec), None)
            if pods == "pods" && exec == "exec" =>
        {
            if head.method == "GET" {
                Ok((cluster, namespace, pod))
            } else {
                Err(refused(405, "Shells are opened with GET."))
            }
        }
        _ => Err(Refusal::new(
            ErrorCode::NotFound,
            "There is nothing here but shells.",
        )),
    }
}

/// Whether the bearer token is the right one. Compared in constant time.
fn is_known(gateway: &Gateway, head: &RequestHead) -> bool {
    let mut given = head.header_values("authorization");
    let (Some(value), None) = (given.next(), given.next()) else {
        return false;
    };
    let Some((scheme, token)) = value.split_once(' ') else {
        return false;
    };
    let wanted = gateway.config.token.as_str().as_bytes();
    scheme.eq_ignore_ascii_case("bearer") && bool::from(token.as_bytes().ct_eq(wanted))
}

/// A foreign page has no token to send; one that got hold of it is refused all the same.
fn check_origin(head: &RequestHead) -> Result<(), Refusal> {
    let mut origins = head.header_values("origin");
    match (origins.next(), origins.next(), loopback_host(head)) {
        (None, ..) => Ok(()),
        (Some(origin), None, Some(host)) if origin == format!("http://{host}") => Ok(()),
        _ => Err(ErrorCode::Origin.into()),
    }
}

/// The Host, if it names this machine: a name that somebody else controls could lead here too.
fn loopback_host(head: &RequestHead) -> Option<&str> {
    let host = head.header("host")?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    ["127.0.0.1", "[::1]", "localhost"]
        .contains(&name)
        .then_some(host)
}

fn asks_for_websocket(head: &RequestHead) -> bool {
    let mut protocols = head
        .header_values("upgrade")
        .flat_map(|value| value.split(','));
    protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

fn draining(gateway: &Gateway) -> Refusal {
    Refusal {
        retry_after: Some(gateway.config.drain.as_secs().max(1)),
        ..ErrorCode::Drain.into()
    }
}

fn no_slot(denial: Denial<Arc<Live>>) -> Refusal {
    let listed = |sessions: Vec<Arc<Live>>| {
        let listed = sessions.iter().map(|live| json!(**live));
        Value::Array(listed.collect())
    };
    match denial {
        Denial::Cap(CapHit::User { limit, active }) => Refusal {
            extra: vec![("limit", limit.into()), ("activeSessions", listed(active))],
            ..ErrorCode::CapUser.into()
        },
        Denial::Cap(CapHit::Cluster { limit, own, other }) => Refusal {
            extra: vec![
                ("limit", limit.into()),
                ("activeSessions", listed(own)),
                ("otherSessions", other.into()),
            ],
            ..ErrorCode::CapCluster.into()
        },
        Denial::Rate(retry_after) => Refusal {
            retry_after: Some(retry_after.seconds()),
            ..ErrorCode::RateLimit.into()
        },
    }
}

impl Reviews {
    fn is_yes(&self, cluster: &str, namespace: &str) -> bool {
        let yes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (cluster.to_owned(), namespace.to_owned());
        yes.get(&key)
            .is_some_and(|said| said.elapsed() < REVIEW_CACHE)
    }

    fn remember_yes(&self, cluster: &str, namespace: &str) {
        let mut yes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        yes.retain(|_, said| said.elapsed() < REVIEW_CACHE);
        yes.insert((cluster.to_owned(), namespace.to_owned()), Instant::now());
    }
}
