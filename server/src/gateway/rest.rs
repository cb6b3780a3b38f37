//! What the UI reads: clusters, namespaces, pods, rights, sessions. All of it as the user.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use periscope_core::code::ErrorCode;
use periscope_core::names;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::identity::{Identity, IdentityError, Tier};
use super::kube::{KubeError, ResourceAttributes, Review};
use super::login::Login;
use super::registry::{Cluster, Summary};
use super::respond::{self, ApiError, Reply};
use super::sessions::Viewer;
use super::{Gateway, lock};

/// The largest body a request may have: 32 checks fit many times.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Questions in one request.
const CHECKS_MAX: usize = 32;

/// Questions that are asked at the same time.
const CHECKS_AT_ONCE: usize = 8;

/// How long the apiserver has to prove that it is there.
const REACHABLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a deleted session may take to give its slot back. The session itself needs 3 s.
const SLOT_FREE_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /api/auth/whoami`
pub(super) fn whoami(gateway: &Gateway, login: &Login) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Whoami<'a> {
        sub: &'a str,
        email: Option<&'a str>,
        groups: &'a [String],
        tier: Option<Tier>,
        audit_scope: &'static str,
        mode: &'static str,
        expires_at: Option<String>,
    }
    let subject = &login.subject;
    let body = Whoami {
        sub: &subject.sub,
        email: subject.email.as_deref(),
        groups: &subject.groups,
        tier: gateway.authorization.tier(subject),
        audit_scope: if login.is_audit_admin { "all" } else { "self" },
        mode: gateway.authorization.as_str(),
        expires_at: login.expires_at.map(super::log::rfc3339),
    };
    respond::json(StatusCode::OK, &body)
}

/// `GET /api/clusters`
pub(super) fn clusters(gateway: &Gateway) -> Reply {
    respond::items(
        &gateway
            .registry
            .iter()
            .map(Cluster::summary)
            .collect::<Vec<_>>(),
    )
}

/// `GET /api/clusters/{c}`
pub(super) async fn cluster(
    gateway: &Gateway,
    login: &Login,
    cluster: &str,
) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Page<'a> {
        #[serde(flatten)]
        summary: Summary<'a>,
        reachable: bool,
        server_version: Option<String>,
    }
    let (cluster, identity) = enter(gateway, login, cluster)?;
    let asked = tokio::time::timeout(REACHABLE_TIMEOUT, cluster.kube.version(&identity)).await;
    let version = asked.unwrap_or(Err(KubeError::Timeout));
    let summary = cluster.summary();
    // An apiserver that says no is there.
    let reachable = matches!(
        version,
        Ok(_) | Err(KubeError::Status(400..=499) | KubeError::Impersonation)
    );
    Ok(respond::json(
        StatusCode::OK,
        &Page {
            summary,
            reachable,
            server_version: version.ok(),
        },
    ))
}

/// `GET /api/clusters/{c}/namespaces`
pub(super) async fn namespaces(
    gateway: &Gateway,
    login: &Login,
    cluster: &str,
) -> Result<Reply, ApiError> {
    let (cluster, identity) = enter(gateway, login, cluster)?;
    let namespaces = cluster
        .kube
        .namespaces(&identity)
        .await
        .map_err(KubeError::api_error)?;
    Ok(respond::items(&namespaces))
}

/// `GET /api/clusters/{c}/pods?namespace=`
pub(super) async fn pods(
    gateway: &Gateway,
    login: &Login,
    cluster: &str,
    query: Option<&str>,
) -> Result<Reply, ApiError> {
    let mut namespaces = query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.strip_prefix("namespace="));
    let namespace = namespaces.next().filter(|namespace| !namespace.is_empty());
    if namespaces.next().is_some() {
        return Err(invalid("the query key `namespace` is repeated"));
    }
    if let Some(namespace) = namespace {
        names::check_namespace(namespace).map_err(|error| invalid(error.to_string()))?;
    }
    let (cluster, identity) = enter(gateway, login, cluster)?;
    let pods = cluster
        .kube
        .pods(namespace, &identity)
        .await
        .map_err(KubeError::api_error)?;
    Ok(respond::items(&pods))
}

/// `GET /api/clusters/{c}/pods/{ns}/{pod}`
pub(super) async fn pod(
    gateway: &Gateway,
    login: &Login,
    cluster: &str,
    namespace: &str,
    pod: &str,
) -> Result<Reply, ApiError> {
    names::check_namespace(namespace).map_err(|error| invalid(error.to_string()))?;
    names::check_pod(pod).map_err(|error| invalid(error.to_string()))?;
    let (cluster, identity) = enter(gateway, login, cluster)?;
    let page = cluster
        .kube
        .pod(namespace, pod, &identity)
        .await
        .map_err(KubeError::api_error)?;
    Ok(respond::json(StatusCode::OK, &page))
}

/// `POST /api/clusters/{c}/can-i`
pub(super) async fn can_i(
    gateway: &Gateway,
    login: &Login,
    cluster: &str,
    parts: &Parts,
    body: Incoming,
) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    struct Results {
        results: Vec<Review>,
    }
    let asked: CanI = read_json(parts, body).await?;
    let (checks, is_list) = match asked {
        CanI::Many { checks } if checks.len() > CHECKS_MAX => {
            return Err(invalid(format!(
                "at most {CHECKS_MAX} checks fit in one request"
            )));
        }
        CanI::Many { checks } => (checks, true),
        CanI::One(check) => (vec![check], false),
    };
    let checks = checks
        .iter()
        .map(Check::attributes)
        .collect::<Result<Vec<_>, _>>()?;
    let (cluster, identity) = enter(gateway, login, cluster)?;
    let mut results = review_all(&cluster, &identity, checks)
        .await
        .map_err(KubeError::api_error)?;
    match results.pop() {
        Some(review) if !is_list => Ok(respond::json(StatusCode::OK, &review)),
        last => {
            results.extend(last);
            Ok(respond::json(StatusCode::OK, &Results { results }))
        }
    }
}

/// `GET /api/sessions`
pub(super) fn sessions(gateway: &Gateway, login: &Login) -> Reply {
    respond::items(&gateway.sessions.list(viewer(login)))
}

/// `DELETE /api/sessions/{id}`
pub(super) async fn end_session(
    gateway: &Gateway,
    login: &Login,
    id: &str,
) -> Result<Reply, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound).with_message("there is no such session");
    let id = Uuid::try_parse(id).map_err(|_| unknown())?;
    let gone = gateway
        .sessions
        .end(id, viewer(login))
        .ok_or_else(unknown)?;
    match tokio::time::timeout(SLOT_FREE_TIMEOUT, gone.wait()).await {
        Ok(()) => Ok(respond::empty(StatusCode::NO_CONTENT)),
        Err(_) => {
            Err(ApiError::new(ErrorCode::Internal).with_message("the session has not ended yet"))
        }
    }
}

/// Looks a cluster up, turns the login into an identity and spends one of the subject's requests.
fn enter(
    gateway: &Gateway,
    login: &Login,
    cluster: &str,
) -> Result<(Arc<Cluster>, Identity), ApiError> {
    let cluster = gateway.registry.find(cluster).ok_or_else(no_such_cluster)?;
    let identity = gateway.identity_of(&login.subject).map_err(no_identity)?;
    spend_request(gateway, login)?;
    Ok((Arc::clone(cluster), identity))
}

/// Spends one of the apiserver-backed requests a subject has per second.
pub(super) fn spend_request(gateway: &Gateway, login: &Login) -> Result<(), ApiError> {
    let taken = lock(&gateway.limiter).take(&login.subject.sub, Instant::now());
    taken.map_err(|wait| {
        ApiError::new(ErrorCode::RateLimit)
            .with_message("You are asking faster than allowed. Wait a moment and try again.")
            .retry_after(wait.as_secs().saturating_add(1))
    })
}

/// The error of a cluster name that is not in the registry.
pub(super) fn no_such_cluster() -> ApiError {
    ApiError::new(ErrorCode::NotFound).with_message("there is no cluster of that name here")
}

/// The error of a login without a Kubernetes identity.
pub(super) fn no_identity(error: IdentityError) -> ApiError {
    ApiError::new(ErrorCode::Forbidden).with_message(error.to_string())
}

fn viewer(login: &Login) -> Viewer<'_> {
    Viewer {
        sub: &login.subject.sub,
        sees_all: login.is_audit_admin,
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest).with_message(message)
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CanI {
    Many { checks: Vec<Check> },
    One(Check),
}

#[derive(Debug, Deserialize)]
struct Check {
    verb: String,
    resource: String,
    #[serde(default)]
    namespace: Option<String>,
}

impl Check {
    /// `resource` is `name[.group][/subresource]`, as kubectl takes it.
    fn attributes(&self) -> Result<ResourceAttributes, ApiError> {
        let namespace = self.namespace.clone().unwrap_or_default();
        if !namespace.is_empty() {
            names::check_namespace(&namespace).map_err(|error| invalid(error.to_string()))?;
        }
        let (named, subresource) = self
            .resource
            .split_once('/')
            .unwrap_or((&self.resource, ""));
        let (resource, group) = named.split_once('.').unwrap_or((named, ""));
        let is_word = |word: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*');
            word.len() <= 253 && word.chars().all(is_plain)
        };
        let words = [self.verb.as_str(), resource, group, subresource];
        if self.verb.is_empty() || resource.is_empty() || !words.into_iter().all(is_word) {
            return Err(invalid(
                "a check needs a verb and a resource such as `pods/exec`",
            ));
        }
        Ok(ResourceAttributes {
            namespace,
            verb: self.verb.clone(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
        })
    }
}

/// Asks all questions, some at a time, and gives the answers in their order.
async fn review_all(
    cluster: &Arc<Cluster>,
    identity: &Identity,
    checks: Vec<ResourceAttributes>,
) -> Result<Vec<Review>, KubeError> {
    let mut results = vec![Review::default(); checks.len()];
    let at_once = Arc::new(Semaphore::new(CHECKS_AT_ONCE));
    let mut tasks = JoinSet::new();
    for (index, check) in checks.into_iter().enumerate() {
        let (cluster, identity) = (Arc::clone(cluster), identity.clone());
        let at_once = Arc::clone(&at_once);
        tasks.spawn(async move {
            let _turn = at_once.acquire().await;
            (index, cluster.kube.review(&check, &identity).await)
        });
    }
    while let Some(done) = tasks.join_next().await {
        // A task that panicked has said so; to the user it is an answer that never came.
        let (index, review) = done.map_err(|_| KubeError::Broken)?;
        if let Some(place) = results.get_mut(index) {
            *place = review?;
        }
    }
    Ok(results)
}

async fn read_json<T: for<'de> Deserialize<'de>>(
    parts: &Parts,
    body: Incoming,
) -> Result<T, ApiError> {
    if !respond::is_json(&parts.headers) {
        return Err(invalid("the body must be application/json")
            .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let read =
        tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body: Bytes = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(invalid("the body is too large").with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Ok(Err(_)) => return Err(invalid("the body could not be read")),
        Err(_) => {
            return Err(invalid("the body took too long").with_status(StatusCode::REQUEST_TIMEOUT));
        }
    };
    // The parser's own sentence would repeat what was sent.
    serde_json::from_slice(&body)
        .map_err(|_| invalid("the body is not the JSON object this route takes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(body: &str) -> Result<ResourceAttributes, ApiError> {
        let CanI::One(check) = serde_json::from_str(body).unwrap() else {
            panic!("one check")
        };
        check.attributes()
    }

    #[test]
    fn a_check_names_resource_group_and_subresource() {
        let exec =
            attributes(r#"{"verb":"create","resource":"pods/exec","namespace":"demo"}"#).unwrap();
        assert_eq!(exec, ResourceAttributes::exec("demo"));
        let scale = attributes(r#"{"verb":"patch","resource":"deployments.apps/scale"}"#).unwrap();
        assert_eq!(
            (
                scale.resource.as_str(),
                scale.group.as_str(),
                scale.subresource.as_str()
            ),
            ("deployments", "apps", "scale")
        );
        assert_eq!(scale.namespace, "");
        for bad in [
            r#"{"verb":"","resource":"pods"}"#,
            r#"{"verb":"get","resource":""}"#,
            r#"{"verb":"get","resource":"pods\n"}"#,
            r#"{"verb":"get","resource":"pods","namespace":"../x"}"#,
        ] {
            assert!(attributes(bad).is_err(), "{bad}");
        }
    }
}
