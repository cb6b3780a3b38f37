//! The plain part of the API: versions, discovery, namespaces, pods and access reviews.

#![expect(
    clippy::indexing_slicing,
    reason = "reading a key of a JSON value never panics, and writing happens to objects only"
)]

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::access::{Action, Identity};
use super::cluster::Cluster;
use super::pods;
use super::protobuf;
use super::status::Refusal;

/// The largest body the sandbox reads: an access review is a few hundred bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// Answers a request that is not an exec.
pub(super) fn answer(cluster: &Cluster, request: &Parts, body: &[u8]) -> Response<String> {
    let (status, body) = match route(cluster, request, body) {
        Ok(Answer::Json(status, value)) => (status, Ok(value.to_string() + "\n")),
        Ok(Answer::Text(text)) => (StatusCode::OK, Err(text.to_owned())),
        Ok(Answer::NoPage) => (
            StatusCode::NOT_FOUND,
            Err("404 page not found\n".to_owned()),
        ),
        Err(refusal) => return refused(cluster, request, &refusal),
    };
    let (content_type, body) = match body {
        Ok(json) => ("application/json", json),
        Err(text) => ("text/plain; charset=utf-8", text),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    decorate(cluster, request, &mut response);
    response
}

/// A refusal as a response.
pub(super) fn refused(cluster: &Cluster, request: &Parts, refusal: &Refusal) -> Response<String> {
    let mut response = Response::new(refusal.body());
    *response.status_mut() = refusal.code;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = refusal.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    decorate(cluster, request, &mut response);
    response
}

/// The headers every answer of an apiserver carries.
fn decorate(cluster: &Cluster, request: &Parts, response: &mut Response<String>) {
    let headers = response.headers_mut();
    if cluster.flavour.has_audit_id() {
        let given = request.headers.get("audit-id").cloned();
        let made = || HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).ok();
        if let Some(id) = given.or_else(made) {
            headers.insert("audit-id", id);
        }
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
}

enum Answer {
    Json(StatusCode, Value),
    Text(&'static str),
    /// Go's answer to a path nothing is mounted on.
    NoPage,
}

fn route(cluster: &Cluster, request: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
    let who = Identity::of(&request.headers, &cluster.token, &cluster.faults)?;
    let path: Vec<&str> = request.uri.path().trim_matches('/').split('/').collect();
    let is_get = request.method == Method::GET;
    let ok = |value| Ok(Answer::Json(StatusCode::OK, value));
    match path.as_slice() {
        ["healthz" | "readyz" | "livez"] if is_get => Ok(Answer::Text("ok")),
        ["version"] if is_get => ok(cluster.flavour.version()),
        ["api"] if is_get => ok(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": cluster.address}],
        })),
        ["apis"] if is_get => ok(json!({
            "kind": "APIGroupList", "apiVersion": "v1", "groups": [authorization_group()],
        })),
        ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"]
            if cluster.flavour.has_self_reviews() =>
        {
            if request.method != Method::POST {
                return Err(Refusal::method_not_allowed());
            }
            let told = json!({
                "kind": "SelfSubjectReview",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"creationTimestamp": null},
                "status": {"userInfo": {"username": who.user, "groups": who.groups}},
            });
            Ok(Answer::Json(StatusCode::CREATED, told))
        }
        ["apis", "authorization.k8s.io"] if is_get => {
            let mut group = authorization_group();
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            ok(group)
        }
        ["apis", "authorization.k8s.io", "v1"] if is_get => ok(authorization_resources()),
        ["api", "v1"] if is_get => ok(core_resources()),
        [
            "apis",
            "authorization.k8s.io",
            "v1",
            "selfsubjectaccessreviews",
        ] => {
            if request.method != Method::POST {
                return Err(Refusal::method_not_allowed());
            }
            Ok(Answer::Json(
                StatusCode::CREATED,
                review(cluster, request, &who, body)?,
            ))
        }
        ["api", "v1", resource @ ..] => objects(cluster, request, &who, resource)
            .map(|value| Answer::Json(StatusCode::OK, value)),
        ["apis", ..] => Err(Refusal::no_resource()),
        _ => Ok(Answer::NoPage),
    }
}

fn objects(
    cluster: &Cluster,
    request: &Parts,
    who: &Identity,
    path: &[&str],
) -> Result<Value, Refusal> {
    let table = wants_table(request);
    let (namespace, resource, name) = match path {
        ["namespaces"] => ("", "namespaces", ""),
        ["namespaces", name] => (*name, "namespaces", *name),
        ["pods"] => ("", "pods", ""),
        ["namespaces", namespace, "pods"] => (*namespace, "pods", ""),
        ["namespaces", namespace, "pods", name] => (*namespace, "pods", *name),
        _ => return Err(Refusal::no_resource()),
    };
    if request.method != Method::GET {
        return Err(Refusal::method_not_allowed());
    }
    let query = Query::parse(request.uri.query().unwrap_or(""));
    if query.first("watch").is_some_and(is_true) {
        return Err(Refusal::bad_request("the sandbox does not serve watches"));
    }
    let verb = if name.is_empty() { "list" } else { "get" };
    let action = Action {
        verb,
        group: "",
        resource,
        subresource: "",
        namespace,
    };
    who.require(&action, name, &cluster.faults)?;

    let created_at = &cluster.started_at;
    match (resource, name) {
        ("namespaces", "") if table => Ok(pods::namespace_table(
            &pods::NAMESPACES,
            created_at,
            &cluster.age(),
        )),
        ("namespaces", "") => Ok(pods::namespace_list(created_at)),
        ("namespaces", name) if !pods::NAMESPACES.contains(&name) => {
            Err(Refusal::not_found("namespaces", name))
        }
        ("namespaces", name) if table => {
            Ok(pods::namespace_table(&[name], created_at, &cluster.age()))
        }
        ("namespaces", name) => Ok(pods::namespace(name, created_at)),
        (_, "") => {
            let fields = query.first("fieldSelector").unwrap_or("");
            let labels = query.first("labelSelector").unwrap_or("");
            let mut found = Vec::new();
            for pod in cluster.pods() {
                if (namespace.is_empty() || pod.namespace == namespace)
                    && pod.matches(fields, labels)?
                {
                    found.push(pod);
                }
            }
            Ok(if table {
                pods::pod_table(&found, &cluster.age())
            } else {
                pods::pod_list(&found)
            })
        }
        (_, name) => {
            let pod = cluster
                .pod(namespace, name)
                .ok_or_else(|| Refusal::not_found("pods", name))?;
            Ok(if table {
                pods::pod_table(&[pod], &cluster.age())
            } else {
                pod.json()
            })
        }
    }
}

/// Answers a `SelfSubjectAccessReview`: anybody who is authenticated may ask what they may do.
fn review(
    cluster: &Cluster,
    request: &Parts,
    who: &Identity,
    body: &[u8],
) -> Result<Value, Refusal> {
    let content_type = request
        .headers
        .get(CONTENT_TYPE)
        .map_or(&b"application/json"[..], |value| value.as_bytes());
    let review = if content_type.starts_with(b"application/json") {
        serde_json::from_slice(body).ok()
    } else if content_type.starts_with(b"application/vnd.kubernetes.protobuf") {
        protobuf::access_review(body)
    } else {
        return Err(Refusal::unsupported_media_type());
    };
    let mut review: Value = review.ok_or_else(|| {
        Refusal::bad_request(
            "the object provided is unrecognized (must be of type SelfSubjectAccessReview)",
        )
    })?;
    let attributes = review["spec"]["resourceAttributes"].clone();
    let text = |key: &str| attributes[key].as_str().unwrap_or("").to_owned();
    let (verb, group, resource) = (text("verb"), text("group"), text("resource"));
    let (subresource, namespace) = (text("subresource"), text("namespace"));
    let reason = if attributes.is_object() {
        let action = Action {
            verb: &verb,
            group: &group,
            resource: &resource,
            subresource: &subresource,
            namespace: &namespace,
        };
        who.allows(&action, &cluster.faults)
    } else if review["spec"]["nonResourceAttributes"].is_object() {
        let path = review["spec"]["nonResourceAttributes"]["path"]
            .as_str()
            .unwrap_or("");
        let public = matches!(
            path,
            "/version" | "/api" | "/apis" | "/healthz" | "/livez" | "/readyz"
        );
        public.then(|| "RBAC: allowed by ClusterRoleBinding \"system:discovery\"".to_owned())
    } else {
        return Err(Refusal::bad_request(
            "exactly one of resourceAttributes or nonResourceAttributes must be set",
        ));
    };
    let Some(fields) = review.as_object_mut() else {
        return Err(Refusal::bad_request("the review is not an object"));
    };
    fields.insert("kind".to_owned(), json!("SelfSubjectAccessReview"));
    fields.insert("apiVersion".to_owned(), json!("authorization.k8s.io/v1"));
    fields.insert("metadata".to_owned(), json!({"creationTimestamp": null}));
    let status = reason.map_or_else(
        || json!({"allowed": false}),
        |reason| json!({"allowed": true, "reason": reason}),
    );
    fields.insert("status".to_owned(), status);
    Ok(review)
}

fn wants_table(request: &Parts) -> bool {
    let accept = request
        .headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    accept.contains("as=Table") && accept.contains("g=meta.k8s.io")
}

fn authorization_group() -> Value {
    let version = json!({"groupVersion": "authorization.k8s.io/v1", "version": "v1"});
    json!({"name": "authorization.k8s.io", "versions": [version], "preferredVersion": version})
}

fn authorization_resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "authorization.k8s.io/v1",
        "resources": [{
            "name": "selfsubjectaccessreviews",
            "singularName": "selfsubjectaccessreview",
            "namespaced": false,
            "kind": "SelfSubjectAccessReview",
            "verbs": ["create"],
        }],
    })
}

fn core_resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "namespaces",
                "singularName": "namespace",
                "namespaced": false,
                "kind": "Namespace",
                "verbs": ["get", "list"],
                "shortNames": ["ns"],
            },
            {
                "name": "pods",
                "singularName": "pod",
                "namespaced": true,
                "kind": "Pod",
                "verbs": ["get", "list"],
                "shortNames": ["po"],
                "categories": ["all"],
            },
            {
                "name": "pods/exec",
                "singularName": "",
                "namespaced": true,
                "kind": "PodExecOptions",
                "verbs": ["create", "get"],
            },
        ],
    })
}

/// A decoded query.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes as Go does: `+` is a space, and a pair with an unescaped `;` or a broken escape is
    /// dropped.
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let decoded = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        });
        Self(decoded.collect())
    }

    /// The first value of `key`: the one the apiserver reads.
    pub(super) fn first(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of `key`, in order.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

/// The apiserver's reading of a boolean: `0` and `false` in any case are false, all else is true.
pub(super) fn is_true(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let [high, low, tail @ ..] = rest else {
                    return None;
                };
                let digit = |byte: u8| {
                    char::from(byte)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            byte => bytes.push(*byte),
        }
    }
    // Go keeps bytes that are not UTF-8; a command line with such bytes cannot be run here.
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_as_go_decodes_them() {
        let query =
            Query::parse("command=sh&command=-c&command=a+b%20c%3B%c3%a9&x=1;y&bad=%zz&tty=");
        assert_eq!(
            query.all("command").collect::<Vec<_>>(),
            ["sh", "-c", "a b c;é"]
        );
        assert_eq!(query.first("x"), None);
        assert_eq!(query.first("bad"), None);
        assert_eq!(query.first("tty"), Some(""));
    }

    #[test]
    fn only_zero_and_false_are_false() {
        assert!(!is_true("0") && !is_true("False"));
        assert!(is_true("") && is_true("no") && is_true("1"));
    }
}
