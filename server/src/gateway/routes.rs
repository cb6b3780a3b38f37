//! From a request to its handler: path, method, host, login, origin, in that order.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use periscope_core::code::ErrorCode;
use uuid::Uuid;

use super::login::{Credential, Login, LoginError};
use super::metrics::Metrics;
use super::origin::{HostError, OriginCheck};
use super::respond::{self, ApiError, Reply};
use super::{Gateway, assets, audit, auth, exec, rest};

/// Answers one request.
pub(crate) async fn handle(gateway: Arc<Gateway>, request: Request<Incoming>) -> Reply {
    let request_id = Uuid::now_v7();
    let reply = route(gateway, request, request_id).await;
    let mut reply = respond::harden(reply.unwrap_or_else(ApiError::reply));
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        reply
            .headers_mut()
            .insert(HeaderName::from_static("x-request-id"), value);
    }
    reply
}

/// A route of the API and the names in its path, as they stand there: unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Callback,
    Login,
    Logout,
    Whoami,
    Audit,
    Clusters,
    Cluster(&'a str),
    Namespaces(&'a str),
    Pods(&'a str),
    Pod {
        cluster: &'a str,
        namespace: &'a str,
        pod: &'a str,
    },
    CanI(&'a str),
    Exec {
        cluster: &'a str,
        namespace: &'a str,
        pod: &'a str,
    },
    Sessions,
    Session(&'a str),
}

async fn route(
    gateway: Arc<Gateway>,
    request: Request<Incoming>,
    request_id: Uuid,
) -> Result<Reply, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let is_get = matches!(parts.method, Method::GET | Method::HEAD);
    match path.as_str() {
        "/healthz" if is_get => return Ok(respond::text(StatusCode::OK, "ok\n")),
        "/readyz" if is_get => return Ok(ready(&gateway)),
        "/metrics" if is_get => return Ok(Metrics::reply(&gateway)),
        "/healthz" | "/readyz" | "/metrics" => return Err(method_not_allowed("GET, HEAD")),
        _ => {}
    }
    gateway.origins.check_host(&parts).map_err(host_error)?;
    if path != "/api" && !path.starts_with("/api/") {
        if !is_get {
            return Err(method_not_allowed("GET, HEAD"));
        }
        if let Some(reply) = gateway.authentication.enter(&parts) {
            return Ok(reply);
        }
        return Ok(assets::serve(&path, &parts.headers));
    }
    let route = Route::parse(&path).ok_or_else(no_such_route)?;
    if parts.method != route.method() {
        return Err(method_not_allowed(route.method().as_str()));
    }
    if let Route::Exec {
        cluster,
        namespace,
        pod,
    } = route
    {
        let wish = exec::Wish {
            cluster,
            namespace,
            pod,
            request_id,
        };
        return Ok(exec::handle(&gateway, Request::from_parts(parts, body), &wish).await);
    }
    match route {
        Route::Login => return auth::login(&gateway, &parts).await,
        Route::Callback => return auth::callback(&gateway, &parts).await,
        _ => {}
    }
    let login = gateway.authentication.login(&parts).await;
    let login = login.map_err(|error| no_login(&gateway, error))?;
    if parts.method != Method::GET {
        check_origin(&gateway, &parts, &login)?;
        check_body(&parts, &body)?;
    }
    match route {
        Route::Logout => auth::logout(&gateway, &login),
        Route::Whoami => Ok(rest::whoami(&gateway, &login)),
        Route::Audit => audit::api::list(&gateway, &login, parts.uri.query()).await,
        Route::Clusters => Ok(rest::clusters(&gateway)),
        Route::Cluster(cluster) => rest::cluster(&gateway, &login, cluster).await,
        Route::Namespaces(cluster) => rest::namespaces(&gateway, &login, cluster).await,
        Route::Pods(cluster) => rest::pods(&gateway, &login, cluster, parts.uri.query()).await,
        Route::Pod {
            cluster,
            namespace,
            pod,
        } => rest::pod(&gateway, &login, cluster, namespace, pod).await,
        Route::CanI(cluster) => rest::can_i(&gateway, &login, cluster, &parts, body).await,
        Route::Sessions => Ok(rest::sessions(&gateway, &login)),
        Route::Session(id) => rest::end_session(&gateway, &login, id).await,
        Route::Exec { .. } | Route::Login | Route::Callback => Err(no_such_route()),
    }
}

impl<'a> Route<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix("/api/")?.split('/').collect();
        Some(match *segments.as_slice() {
            ["auth", "callback"] => Self::Callback,
            ["auth", "login"] => Self::Login,
            ["auth", "logout"] => Self::Logout,
            ["auth", "whoami"] => Self::Whoami,
            ["audit"] => Self::Audit,
            ["clusters"] => Self::Clusters,
            ["clusters", cluster] => Self::Cluster(cluster),
            ["clusters", cluster, "namespaces"] => Self::Namespaces(cluster),
            ["clusters", cluster, "pods"] => Self::Pods(cluster),
            ["clusters", cluster, "can-i"] => Self::CanI(cluster),
            ["clusters", cluster, "pods", namespace, pod] => Self::Pod {
                cluster,
                namespace,
                pod,
            },
            ["clusters", cluster, "pods", namespace, pod, "exec"] => Self::Exec {
                cluster,
                namespace,
                pod,
            },
            ["sessions"] => Self::Sessions,
            ["sessions", id] => Self::Session(id),
            _ => return None,
        })
    }

    fn method(self) -> Method {
        match self {
            Self::CanI(_) | Self::Logout => Method::POST,
            Self::Session(_) => Method::DELETE,
            _ => Method::GET,
        }
    }
}

/// The error of a request without a login. Where there is one to be had, it says where.
pub(crate) fn no_login(gateway: &Gateway, error: LoginError) -> ApiError {
    match error {
        LoginError::Missing => auth::invite(gateway, ApiError::new(ErrorCode::Auth))
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        LoginError::NotAllowed => {
            ApiError::new(ErrorCode::Forbidden).with_message(error.to_string())
        }
        LoginError::ProviderUnreachable => ApiError::new(ErrorCode::Internal)
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with_message(error.to_string())
            .retry_after(5),
    }
}

/// A body must say that it is JSON. A form of a foreign page cannot.
fn check_body(parts: &Parts, body: &Incoming) -> Result<(), ApiError> {
    if body.is_end_stream() || respond::is_json(&parts.headers) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::InvalidRequest)
        .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .with_message("the body must be application/json"))
}

/// The rule for everything that changes something. A request without an Origin comes from no page,
/// unless a cookie vouches for it: then it might.
fn check_origin(gateway: &Gateway, parts: &Parts, login: &Login) -> Result<(), ApiError> {
    match gateway.origins.check_origin(parts) {
        OriginCheck::Same => Ok(()),
        OriginCheck::Absent if login.credential != Credential::Cookie => Ok(()),
        OriginCheck::Absent | OriginCheck::Foreign => Err(ApiError::new(ErrorCode::Origin)),
    }
}

fn ready(gateway: &Gateway) -> Reply {
    if gateway.is_draining() {
        respond::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        respond::text(StatusCode::OK, "ok\n")
    }
}

fn host_error(error: HostError) -> ApiError {
    let status = match error {
        HostError::Missing => StatusCode::BAD_REQUEST,
        HostError::Foreign => StatusCode::MISDIRECTED_REQUEST,
    };
    ApiError::new(ErrorCode::InvalidRequest)
        .with_status(status)
        .with_message(error.to_string())
}

fn method_not_allowed(allowed: &str) -> ApiError {
    let error = ApiError::new(ErrorCode::InvalidRequest)
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .with_message(format!("this route takes {allowed} only"));
    match HeaderValue::from_str(allowed) {
        Ok(allowed) => error.with_header(header::ALLOW, allowed),
        Err(_) => error,
    }
}

fn no_such_route() -> ApiError {
    ApiError::new(ErrorCode::NotFound).with_message("there is no such route")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes_and_nothing_is_decoded_on_the_way() {
        assert_eq!(Route::parse("/api/clusters"), Some(Route::Clusters));
        let pod = Route::Pod {
            cluster: "c",
            namespace: "..",
            pod: "a%2Fb",
        };
        assert_eq!(Route::parse("/api/clusters/c/pods/../a%2Fb"), Some(pod));
        let exec = Route::Exec {
            cluster: "c",
            namespace: "n",
            pod: "p",
        };
        assert_eq!(Route::parse("/api/clusters/c/pods/n/p/exec"), Some(exec));
        for path in [
            "/api",
            "/api/",
            "/api/clusters/",
            "/api/clusters/c/pods/n",
            "/api/clusters/c/pods/n/p/exec/",
            "/api//clusters",
            "/api/clusters/c/pods/n/p/attach",
        ] {
            let is_named = matches!(Route::parse(path), Some(Route::Cluster("")));
            assert!(is_named || Route::parse(path).is_none(), "{path}");
        }
    }
}
