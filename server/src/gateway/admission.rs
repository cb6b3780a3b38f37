//! Who may open a shell: the checks before the 101, in one order that never changes.
//!
//! The dry run goes the same way, because a browser cannot read why a handshake was refused. It
//! holds no slot, spends no opening and leaves no row in the audit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Version, header};
use periscope_core::code::ErrorCode;
use periscope_core::names;
use periscope_core::request::{ExecQuery, default_shell, parse_exec_query};
use serde_json::Value;
use uuid::Uuid;

use super::Gateway;
use super::audit::{Intent, KubernetesIdentity, Outcome, Record, Shell};
use super::exec::Wish;
use super::identity::Identity;
use super::kube::{KubeError, PodPage, ResourceAttributes};
use super::login::{Credential, Login, LoginError};
use super::metrics::Cap;
use super::origin::OriginCheck;
use super::registry::Cluster;
use super::respond::ApiError;
use super::rest;
use super::reviews::Question;
use super::routes;
use super::sessions::{NoSlot, Slot, Target};

/// How long the access review and the pod look-up may take together.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// When to come back after the audit took too long, in seconds.
const AUDIT_RETRY_SECONDS: u64 = 5;

/// Whether a shell is wanted, or only the answer whether one could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The request without an upgrade.
    DryRun,
    /// The WebSocket handshake.
    Open,
}

/// A shell that may be opened.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) identity: Identity,
    pub(crate) shell: Shell,
    pub(crate) query: ExecQuery,
    pub(crate) command: Vec<String>,
    /// The pod's identity, if the user may see it.
    pub(crate) pod_uid: Option<String>,
    /// What the audit holds already, where it has to.
    pub(crate) intent: Option<Intent>,
}

/// A shell that may not, and as much as is known about the attempt for the audit.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: ApiError,
    /// None without a login.
    pub(crate) shell: Option<Shell>,
    pub(crate) session_id: Option<Uuid>,
}

/// Decides. The slot is none in a dry run.
pub(crate) async fn admit(
    gateway: &Gateway,
    parts: &Parts,
    wish: &Wish<'_>,
    purpose: Purpose,
) -> Result<(Admitted, Option<Slot>), Box<Refused>> {
    let login = match gateway.authentication.login(parts).await {
        Ok(login) => login,
        Err(error) => {
            return Err(Box::new(Refused {
                error: routes::no_login(gateway, error),
                shell: None,
                session_id: None,
            }));
        }
    };
    let mut shell = Shell {
        actor: (*login.subject).clone(),
        cluster: wish.cluster.to_owned(),
        namespace: wish.namespace.to_owned(),
        pod: wish.pod.to_owned(),
        container: None,
        command: None,
        tty: None,
        k8s_identity: None,
    };
    let checked = check(gateway, parts, wish, purpose, &login, &mut shell);
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => {
            return Err(Box::new(Refused {
                error,
                shell: Some(shell),
                session_id: None,
            }));
        }
    };
    let session_id = checked.slot.as_ref().map(Slot::id);
    let question = ask(
        gateway,
        &checked.cluster,
        &checked.identity,
        &checked.query,
        wish,
    );
    let asked = tokio::time::timeout(REVIEW_TIMEOUT, question).await;
    // A refusal from here on drops `checked`, and the slot with it.
    let pod = match asked.unwrap_or_else(|_| Err(KubeError::Timeout.api_error())) {
        Ok(pod) => pod,
        Err(error) => {
            return Err(Box::new(Refused {
                error,
                shell: Some(shell),
                session_id,
            }));
        }
    };
    let Checked {
        cluster,
        identity,
        query,
        command,
        slot,
    } = checked;
    shell.container = match (&query.container, pod.as_ref()) {
        (Some(container), _) => Some(container.clone()),
        (None, Some(pod)) => pod.default_container.clone(),
        (None, None) => None,
    };
    if let Some(slot) = &slot {
        slot.progress(|progress| progress.container.clone_from(&shell.container));
    }
    let pod_uid = pod.and_then(|pod| pod.uid);
    let intent = match intend(gateway, session_id, wish, &shell).await {
        Ok(intent) => intent,
        Err(error) => {
            return Err(Box::new(Refused {
                error,
                shell: Some(shell),
                session_id,
            }));
        }
    };
    Ok((
        Admitted {
            cluster,
            identity,
            shell,
            query,
            command,
            pod_uid,
            intent,
        },
        slot,
    ))
}

/// What the checks that ask nobody have found.
struct Checked {
    cluster: Arc<Cluster>,
    identity: Identity,
    query: ExecQuery,
    command: Vec<String>,
    slot: Option<Slot>,
}

/// The checks that need nobody else, in their order.
fn check(
    gateway: &Gateway,
    parts: &Parts,
    wish: &Wish<'_>,
    purpose: Purpose,
    login: &Login,
    shell: &mut Shell,
) -> Result<Checked, ApiError> {
    if gateway.is_draining() {
        return Err(draining(gateway));
    }
    let cluster = gateway
        .registry
        .find(wish.cluster)
        .ok_or_else(rest::no_such_cluster)?;
    if !cluster.exec.is_enabled {
        return Err(ApiError::new(ErrorCode::ExecDisabled).bare());
    }
    let query = check_request(parts, wish, purpose)?;
    let command = query.command.clone().unwrap_or_else(default_shell);
    shell.container.clone_from(&query.container);
    shell.command = Some(command.clone());
    shell.tty = Some(query.tty);
    check_origin(gateway, parts, login, purpose)?;
    let identity = gateway
        .identity_of(&login.subject)
        .map_err(rest::no_identity)?;
    shell.k8s_identity = Some(KubernetesIdentity::new(&identity, cluster.backend.as_str()));
    let target = Target {
        sub: &login.subject.sub,
        cluster,
        namespace: wish.namespace,
        pod: wish.pod,
        container: query.container.as_deref(),
        opens_per_minute: gateway.exec_opens_per_minute,
        login: login.key.as_ref(),
        expires_at: login.expires_at,
    };
    let slot = match purpose {
        Purpose::Open => {
            // From here on a refusal gives the slot back by dropping it.
            let slot = gateway
                .sessions
                .reserve(&target)
                .map_err(|refusal| no_slot(gateway, cluster, refusal, purpose))?;
            if gateway.is_draining() {
                return Err(draining(gateway));
            }
            // A logout that came meanwhile has not seen this session.
            if !gateway
                .authentication
                .is_live(login, jiff::Timestamp::now())
            {
                return Err(routes::no_login(gateway, LoginError::Missing));
            }
            Some(slot)
        }
        Purpose::DryRun => {
            gateway
                .sessions
                .check(&target)
                .map_err(|refusal| no_slot(gateway, cluster, refusal, purpose))?;
            rest::spend_request(gateway, login)?;
            None
        }
    };
    Ok(Checked {
        cluster: Arc::clone(cluster),
        identity,
        query,
        command,
        slot,
    })
}

/// Names, query and handshake.
fn check_request(parts: &Parts, wish: &Wish<'_>, purpose: Purpose) -> Result<ExecQuery, ApiError> {
    let invalid = |message: String| ApiError::new(ErrorCode::InvalidRequest).with_message(message);
    names::check_namespace(wish.namespace).map_err(|error| invalid(error.to_string()))?;
    names::check_pod(wish.pod).map_err(|error| invalid(error.to_string()))?;
    let query = parse_exec_query(parts.uri.query().unwrap_or_default());
    let query = query.map_err(|error| invalid(error.to_string()))?;
    if let Some(container) = &query.container {
        names::check_container(container).map_err(|error| invalid(error.to_string()))?;
    }
    if purpose == Purpose::Open {
        check_handshake(parts)?;
    }
    Ok(query)
}

/// RFC 6455 §4.2.1, as far as hyper has not looked at it.
fn check_handshake(parts: &Parts) -> Result<(), ApiError> {
    let protocol = |message| ApiError::new(ErrorCode::Protocol).with_message(message);
    if parts.version != Version::HTTP_11 || !has_token(parts, &header::CONNECTION, "upgrade") {
        return Err(protocol(
            "The WebSocket handshake lost its `Connection: Upgrade` header; a proxy in between drops it.",
        ));
    }
    let version = parts
        .headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes);
    if version != Some(b"13") {
        let error = protocol("Only version 13 of the WebSocket protocol is spoken here.");
        return Err(error.with_header(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        ));
    }
    let key = parts
        .headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes);
    let key = key.and_then(|key| base64::engine::general_purpose::STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(protocol("The WebSocket handshake has no valid key."));
    }
    Ok(())
}

/// Whether a list header contains a token (RFC 9110 §5.6.1), in any case.
pub(crate) fn has_token(parts: &Parts, name: &HeaderName, token: &str) -> bool {
    let values = parts
        .headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// A page of another site must not open a shell here: a browser sends this gateway's cookie with
/// the handshake whoever asked for it, and a dev gateway needs no cookie at all.
fn check_origin(
    gateway: &Gateway,
    parts: &Parts,
    login: &Login,
    purpose: Purpose,
) -> Result<(), ApiError> {
    match (
        gateway.origins.check_origin(parts),
        purpose,
        login.credential,
    ) {
        (OriginCheck::Same, ..)
        | (OriginCheck::Absent, Purpose::DryRun, _)
        | (OriginCheck::Absent, Purpose::Open, Credential::Bearer | Credential::None) => Ok(()),
        (OriginCheck::Absent, Purpose::Open, Credential::Cookie) | (OriginCheck::Foreign, ..) => {
            Err(ApiError::new(ErrorCode::Origin))
        }
    }
}

/// The access review and, where no container was named, the pod, at the same time.
async fn ask(
    gateway: &Gateway,
    cluster: &Cluster,
    identity: &Identity,
    query: &ExecQuery,
    wish: &Wish<'_>,
) -> Result<Option<PodPage>, ApiError> {
    let may = async {
        let question = Question {
            cluster: cluster.name.clone(),
            namespace: wish.namespace.to_owned(),
            identity: identity.clone(),
        };
        if gateway.reviews.is_yes(&question, Instant::now()) {
            return Ok(());
        }
        let asked = ResourceAttributes::exec(wish.namespace);
        let review = cluster
            .kube
            .review(&asked, identity)
            .await
            .map_err(review_error)?;
        if !review.allowed {
            return Err(ApiError::new(ErrorCode::Forbidden));
        }
        gateway.reviews.remember_yes(question, Instant::now());
        Ok(())
    };
    let pod = async {
        if query.container.is_some() {
            return Ok(None);
        }
        match cluster.kube.pod(wish.namespace, wish.pod, identity).await {
            Ok(pod) => Ok(Some(pod)),
            // Without the right to see the pod the apiserver chooses the container.
            Err(KubeError::Status(403)) => Ok(None),
            Err(error) => Err(review_error(error)),
        }
    };
    let (mut may, mut pod) = (std::pin::pin!(may), std::pin::pin!(pod));
    // A no of the review is final at once. The pod's answer waits for the review: who may not open
    // a shell does not learn here whether the pod exists.
    tokio::select! {
        verdict = &mut may => { verdict?; pod.await }
        found = &mut pod => { may.await?; found }
    }
}

/// What the user asked for was well-formed, so a 4xx here is a fault of the gateway's own.
fn review_error(error: KubeError) -> ApiError {
    match error {
        KubeError::Status(400..=402 | 405..=428 | 430..=499) => ApiError::new(ErrorCode::Internal),
        error => error.api_error(),
    }
}

/// Where the audit is required, nobody gets a shell before it is written down. A dry run has no
/// session and writes nothing, but learns if the audit takes nothing now.
async fn intend(
    gateway: &Gateway,
    session_id: Option<Uuid>,
    wish: &Wish<'_>,
    shell: &Shell,
) -> Result<Option<Intent>, ApiError> {
    let error = || ApiError::new(ErrorCode::Audit).retry_after(AUDIT_RETRY_SECONDS);
    let Some(session_id) = session_id.filter(|_| gateway.audit.is_required()) else {
        return if gateway.audit.is_refusing() {
            Err(error())
        } else {
            Ok(None)
        };
    };
    let record = Record::intent(session_id, wish.request_id, &Arc::new(shell.clone()));
    let committed = Intent::commit(&gateway.audit, record).await;
    committed.map(Some).map_err(|_| error())
}

fn draining(gateway: &Gateway) -> ApiError {
    ApiError::new(ErrorCode::Drain).retry_after(gateway.drain.as_secs())
}

fn no_slot(gateway: &Gateway, cluster: &Cluster, refusal: NoSlot, purpose: Purpose) -> ApiError {
    let name = cluster.name.as_str();
    let dry_run = purpose == Purpose::DryRun;
    let listed = |sessions| serde_json::to_value(sessions).unwrap_or(Value::Null);
    match refusal {
        NoSlot::User { limit, active } => {
            let count = active.len() as u64;
            log::info!(
                cap = Cap::User.as_str(), cluster = name, limit = u64::from(limit),
                active = count, dry_run = dry_run;
                "exec.cap.hit"
            );
            gateway.metrics.on_cap_hit(name, Cap::User, dry_run);
            ApiError::new(ErrorCode::CapUser)
                .with("limit", limit)
                .with("activeSessions", listed(&active))
        }
        NoSlot::Cluster { limit, own, other } => {
            let (mine, others) = (own.len() as u64, other as u64);
            log::info!(
                cap = Cap::Cluster.as_str(), cluster = name, limit = u64::from(limit),
                active = mine.saturating_add(others), own = mine, other = others,
                dry_run = dry_run;
                "exec.cap.hit"
            );
            gateway.metrics.on_cap_hit(name, Cap::Cluster, dry_run);
            ApiError::new(ErrorCode::CapCluster)
                .with("limit", limit)
                .with("activeSessions", listed(&own))
                .with("otherSessions", others)
        }
        NoSlot::Rate { seconds } => ApiError::new(ErrorCode::RateLimit).retry_after(seconds),
    }
}

/// Whether a policy said no, or it just did not work.
pub(crate) fn outcome(code: ErrorCode) -> Outcome {
    if code.is_denial() {
        Outcome::Denied
    } else {
        Outcome::Failure
    }
}
