//! The way of one session to its apiserver: a connection, and what the upgrade request on it says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use periscope_core::http::SecretValue;
use periscope_core::session::{Dial, DialFailure, Dialed};
use uuid::Uuid;

use super::identity::Identity;
use super::kube::{ConnectError, Generation, KubeClient, KubeError, USER_AGENT};
use super::lock;
use super::upstream::{Upstream, upstream};

/// A connection with what the core needs to speak on it, or why there is none.
pub(crate) type DialResult = Result<(Upstream, Dialed), DialFailure>;

/// Something that runs beside a session, if anything does.
pub(crate) type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Which apiserver, as whom, and under which id.
#[derive(Debug)]
pub(crate) struct Way {
    kube: KubeClient,
    identity: Identity,
    /// The `Audit-ID` of every request.
    audit_id: Uuid,
    /// The credentials of the last dial: what a 401 to it was about.
    used: Mutex<Option<Generation>>,
}

impl Way {
    pub(crate) fn new(kube: KubeClient, identity: Identity, audit_id: Uuid) -> Self {
        Self {
            kube,
            identity,
            audit_id,
            used: Mutex::new(None),
        }
    }

    pub(crate) fn kube(&self) -> &KubeClient {
        &self.kube
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Connects for one attempt of a session.
    pub(crate) async fn dial(&self, dial: Dial) -> DialResult {
        let used = *lock(&self.used);
        let rejected = used.filter(|_| dial.fresh_credentials);
        let access = self.kube.access(rejected).await.map_err(dial_failure)?;
        *lock(&self.used) = Some(access.generation());
        let authorization = access.authorization();
        let authorization = authorization.map_err(|_| DialFailure::Credentials)?;
        let checked = |value: &str| SecretValue::new(value).map_err(|_| DialFailure::Credentials);
        let mut headers: Vec<_> = authorization
            .map(|value| ("Authorization".to_owned(), value))
            .into_iter()
            .collect();
        headers.extend(
            self.identity
                .headers()
                .map_err(|_| DialFailure::Credentials)?,
        );
        headers.push(("Audit-ID".to_owned(), checked(&self.audit_id.to_string())?));
        headers.push(("User-Agent".to_owned(), checked(USER_AGENT)?));
        let endpoint = &access.endpoint;
        let dialed = Dialed {
            host: endpoint.authority(),
            path_prefix: endpoint.path_prefix.clone(),
            headers,
        };
        let socket = endpoint.connect_tcp().await;
        let socket = socket.map_err(|error| dial_failure(KubeError::Connect(error)))?;
        let upstream = upstream(socket, endpoint).map_err(|_| DialFailure::Tls)?;
        Ok((upstream, dialed))
    }
}

/// What a session is told about a dial that did not come about.
fn dial_failure(error: KubeError) -> DialFailure {
    match error {
        KubeError::Connect(ConnectError::Dns) => DialFailure::Dns,
        KubeError::Connect(ConnectError::Tcp) => DialFailure::Tcp,
        KubeError::Connect(ConnectError::Tls) => DialFailure::Tls,
        // As if the cluster itself gave no answer: that of AWS is the way to it.
        KubeError::Aws(error) if error.is_outage() => DialFailure::Tcp,
        _ => DialFailure::Credentials,
    }
}

/// The result of what runs, once; never, if nothing does.
pub(crate) async fn ready<T>(pending: &mut Pending<T>) -> T {
    match pending {
        Some(future) => {
            let result = future.await;
            *pending = None;
            result
        }
        None => std::future::pending().await,
    }
}
