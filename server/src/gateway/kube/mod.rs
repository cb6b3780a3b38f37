//! The gateway as a client of an apiserver's REST API: few requests, each as the user, each with a
//! deadline and a cap on what it reads.

mod cache;
mod connect;
mod credentials;
pub mod eks;
pub mod in_cluster;
pub mod kubeconfig;
mod objects;
mod plugin;
mod trust;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use periscope_core::code::ErrorCode;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use connect::Connector;
pub use connect::{ConnectError, Endpoint, EndpointError, Tls};
pub use credentials::{Access, Credentials, Generation, Source};
pub use objects::{Container, ContainerKind, Namespace, Pod, PodPage, ResourceAttributes, Review};
pub use trust::{ClientCertificate, Trust};

use super::identity::Identity;
use super::respond::ApiError;

/// How long a request of the UI may take altogether.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The id under which the apiserver's audit log has a request.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// How the gateway names itself to apiservers.
pub(crate) const USER_AGENT: &str = concat!("periscope/", env!("CARGO_PKG_VERSION"));

/// A page of a list. Pods of real clusters are 5 to 20 KiB each, 500 to a page.
const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A single object: etcd keeps none above 1.5 MiB.
const OBJECT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Objects to a page of a list.
const PAGE_ITEMS: usize = 500;

/// Pages of one list that are fetched; what is behind them is not shown.
const PAGES_MAX: usize = 20;

/// A client for one apiserver.
#[derive(Clone, Debug)]
pub struct KubeClient {
    source: Arc<Source>,
    /// The pool of the endpoint that is in use: another one, or another client certificate, must
    /// not meet the connections of the last.
    pool: Arc<Mutex<Option<PoolOf>>>,
    /// The `Audit-ID` of every request; without one the apiserver makes its own.
    audit_id: Option<Uuid>,
}

type PoolOf = (Arc<Endpoint>, Pool);
type Pool = Client<Connector, Full<Bytes>>;

/// What an apiserver answered. All of it is a peer's text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why a request has no result. Never holds a peer's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No complete answer within the deadline.
    #[error("the apiserver did not answer in time")]
    Timeout,
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to the apiserver broke")]
    Broken,
    /// The answer is larger than it may be, or not the JSON it should be.
    #[error("the apiserver's answer could not be read")]
    Garbage,
    /// The apiserver answered with an error.
    #[error("the apiserver answered with status {0}")]
    Status(u16),
    /// The gateway may not impersonate this user.
    #[error("the gateway lacks the right to impersonate")]
    Impersonation,
    /// The gateway's own token could not be read.
    #[error("the gateway's credentials could not be read")]
    Credentials,
    /// AWS did not say where the cluster is, or gave the gateway no credentials.
    #[error(transparent)]
    Aws(#[from] eks::AwsError),
}

impl KubeClient {
    /// A client that connects when it is first used.
    pub fn new(endpoint: Endpoint, credentials: Credentials) -> Self {
        Self::from_source(Source::Fixed {
            endpoint: Arc::new(endpoint),
            credentials,
        })
    }

    /// A client that asks `source` where the apiserver is and how to get in.
    pub fn from_source(source: Source) -> Self {
        Self {
            source: Arc::new(source),
            pool: Arc::default(),
            audit_id: None,
        }
    }

    /// The same client, whose requests the apiserver's audit log all has under one id.
    #[must_use]
    pub(crate) fn with_audit_id(mut self, audit_id: Uuid) -> Self {
        self.audit_id = Some(audit_id);
        self
    }

    /// The apiserver, where it is known without asking anybody.
    pub(crate) fn known_endpoint(&self) -> Option<Arc<Endpoint>> {
        self.source.known_endpoint()
    }

    /// What kind of credentials these are, for an operator.
    pub(crate) fn credentials_kind(&self) -> String {
        self.source.kind()
    }

    /// Where the apiserver is and how to get in, now. `rejected` is what the apiserver answered 401
    /// to: it is not handed out again if something else can be had.
    pub async fn access(&self, rejected: Option<Generation>) -> Result<Access, KubeError> {
        self.source.access(rejected).await
    }

    /// Whether the apiserver's certificate is not checked.
    pub fn is_unverified(&self) -> bool {
        self.source.is_unverified()
    }

    /// The apiserver's version, such as `v1.36.2`.
    pub async fn version(&self, identity: &Identity) -> Result<String, KubeError> {
        let version: objects::Version = self.get("/version", identity).await?;
        Ok(version.git_version)
    }

    /// The namespaces the user may list.
    pub async fn namespaces(&self, identity: &Identity) -> Result<Vec<Namespace>, KubeError> {
        let raw: Vec<objects::RawNamespace> = self.list("/api/v1/namespaces", identity).await?;
        Ok(raw.into_iter().map(Into::into).collect())
    }

    /// The pods of one namespace, or of all.
    pub async fn pods(
        &self,
        namespace: Option<&str>,
        identity: &Identity,
    ) -> Result<Vec<Pod>, KubeError> {
        let path = match namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
            None => "/api/v1/pods".to_owned(),
        };
        let raw: Vec<objects::RawPod> = self.list(&path, identity).await?;
        Ok(raw.into_iter().map(Into::into).collect())
    }

    /// One pod. Both names are checked by the caller; they become part of the path.
    pub async fn pod(
        &self,
        namespace: &str,
        pod: &str,
        identity: &Identity,
    ) -> Result<PodPage, KubeError> {
        debug_assert!(
            periscope_core::names::check_namespace(namespace).is_ok(),
            "namespace is checked"
        );
        debug_assert!(
            periscope_core::names::check_pod(pod).is_ok(),
            "pod is checked"
        );
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
        let raw: objects::RawPod = self.get(&path, identity).await?;
        Ok(raw.into())
    }

    /// Whether the user may do something: a `SelfSubjectAccessReview` as the user.
    pub async fn review(
        &self,
        asked: &ResourceAttributes,
        identity: &Identity,
    ) -> Result<Review, KubeError> {
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let body =
            serde_json::to_vec(&objects::review_request(asked)).map_err(|_| KubeError::Garbage)?;
        let answer = self
            .request(Method::POST, path, body.into(), identity, OBJECT_BYTES_MAX)
            .await?;
        let answer: objects::ReviewAnswer = parse(&answer)?;
        Ok(answer.status)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        identity: &Identity,
    ) -> Result<T, KubeError> {
        parse(
            &self
                .request(Method::GET, path, Bytes::new(), identity, OBJECT_BYTES_MAX)
                .await?,
        )
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        identity: &Identity,
    ) -> Result<Vec<T>, KubeError> {
        let mut items = Vec::new();
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let mut page_path = format!("{path}?limit={PAGE_ITEMS}");
            if !after.is_empty() {
                page_path.push_str("&continue=");
                page_path.push_str(&after);
            }
            let page = self
                .request(
                    Method::GET,
                    &page_path,
                    Bytes::new(),
                    identity,
                    LIST_BYTES_MAX,
                )
                .await?;
            let page: objects::List<T> = parse(&page)?;
            items.extend(page.items);
            after = page.metadata.after.unwrap_or_default();
            // The token goes into a URL; the apiserver makes it base64url, and nothing else passes.
            let is_plain = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=')
            };
            if after.is_empty() || !after.bytes().all(is_plain) {
                break;
            }
        }
        Ok(items)
    }

    /// One request and what came back, whatever it says.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        identity: &Identity,
    ) -> Result<Answer, KubeError> {
        self.exchange(method, path, body, identity, OBJECT_BYTES_MAX)
            .await
    }

    /// One request and the body of a good answer.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        identity: &Identity,
        bytes_max: usize,
    ) -> Result<Bytes, KubeError> {
        let answer = self
            .exchange(method, path, body, identity, bytes_max)
            .await?;
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(status_error(answer.status, &answer.body))
        }
    }

    /// One request and its whole answer, tried once more after a 401 with credentials read anew, and
    /// where the cluster cannot be reached and turns out to have moved.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        identity: &Identity,
        bytes_max: usize,
    ) -> Result<Answer, KubeError> {
        let both = async {
            let access = self.access(None).await?;
            let generation = access.generation();
            let endpoint = Arc::clone(&access.endpoint);
            let first = self
                .attempt(access, &method, path, body.clone(), identity, bytes_max)
                .await;
            if let Err(KubeError::Connect(_)) = first
                && let Some(access) = self.source.moved(&endpoint).await
            {
                return self
                    .attempt(access, &method, path, body, identity, bytes_max)
                    .await;
            }
            let is_unknown =
                matches!(&first, Ok(answer) if answer.status == StatusCode::UNAUTHORIZED);
            if !is_unknown || !self.source.can_change() {
                return first;
            }
            let access = self.access(Some(generation)).await?;
            self.attempt(access, &method, path, body, identity, bytes_max)
                .await
        };
        tokio::time::timeout(REQUEST_TIMEOUT, both)
            .await
            .map_err(|_| KubeError::Timeout)?
    }

    async fn attempt(
        &self,
        access: Access,
        method: &Method,
        path: &str,
        body: Bytes,
        identity: &Identity,
        bytes_max: usize,
    ) -> Result<Answer, KubeError> {
        // The scheme only keys the pool: TLS is the connector's business.
        let uri = format!(
            "http://{}{}{path}",
            access.endpoint.authority(),
            access.endpoint.path_prefix
        );
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(header::ACCEPT, "application/json");
        request = request.header(header::USER_AGENT, USER_AGENT);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(audit_id) = self.audit_id {
            request = request.header(AUDIT_ID, audit_id.to_string());
        }
        let mut request = request
            .body(Full::new(body))
            .map_err(|_| KubeError::Broken)?;
        if let Some(authorization) = access.authorization()? {
            let value = HeaderValue::from_str(authorization.as_str());
            let mut value = value.map_err(|_| KubeError::Credentials)?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        identity.apply(request.headers_mut());
        let answer = self
            .pool_of(&access.endpoint)
            .request(request)
            .await
            .map_err(|error| request_error(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                KubeError::Garbage
            } else {
                KubeError::Broken
            }
        })?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// The pool of this endpoint, a new one if it is not that of the last request.
    fn pool_of(&self, endpoint: &Arc<Endpoint>) -> Pool {
        let mut pool = super::lock(&self.pool);
        match pool.as_ref() {
            Some((of, pool)) if Arc::ptr_eq(of, endpoint) => pool.clone(),
            _ => {
                let new = Client::builder(TokioExecutor::new())
                    .pool_idle_timeout(Duration::from_mins(1))
                    .pool_max_idle_per_host(8)
                    .pool_timer(TokioTimer::new())
                    .build(Connector(Arc::clone(endpoint)));
                *pool = Some((Arc::clone(endpoint), new.clone()));
                new
            }
        }
    }
}

impl KubeError {
    /// The answer to the UI's request that needed this one.
    pub(crate) fn api_error(self) -> ApiError {
        match self {
            Self::Connect(_)
            | Self::Timeout
            | Self::Broken
            | Self::Garbage
            | Self::Status(300..=399 | 429 | 500..) => ApiError::new(ErrorCode::ClusterUnreachable),
            Self::Status(403) => ApiError::new(ErrorCode::Forbidden),
            Self::Status(404) => ApiError::new(ErrorCode::NotFound),
            Self::Status(401) | Self::Credentials => ApiError::new(ErrorCode::Internal)
                .with_message("the cluster does not accept the gateway's credentials"),
            Self::Aws(error) if error.is_outage() => ApiError::new(ErrorCode::ClusterUnreachable),
            Self::Aws(_) => ApiError::new(ErrorCode::Internal).with_message(
                "AWS does not let the gateway reach this cluster; the gateway's log says why",
            ),
            Self::Impersonation => ApiError::new(ErrorCode::Internal)
                .with_message("the gateway lacks the right to impersonate"),
            Self::Status(_) => ApiError::new(ErrorCode::InvalidRequest),
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, KubeError> {
    serde_json::from_slice(body).map_err(|_| KubeError::Garbage)
}

/// A refusal to impersonate is a 403 like any other; only its sentence tells it apart, and the
/// sentence has been the same in every release.
fn status_error(status: StatusCode, body: &[u8]) -> KubeError {
    let is_impersonation = status == StatusCode::FORBIDDEN
        && serde_json::from_slice::<objects::Status>(body)
            .is_ok_and(|status| status.message.contains("cannot impersonate"));
    if is_impersonation {
        KubeError::Impersonation
    } else {
        KubeError::Status(status.as_u16())
    }
}

fn request_error(error: &hyper_util::client::legacy::Error) -> KubeError {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(connect) = inner.downcast_ref::<ConnectError>() {
            return KubeError::Connect(*connect);
        }
        source = inner.source();
    }
    KubeError::Broken
}

#[cfg(test)]
mod tests;
