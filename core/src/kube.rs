//! What a host asks an apiserver before a session begins: may this user open a shell, and in which
//! container. Requests and answers as bytes; sending them is the host's business, for example with
//! [`crate::http::Exchange`].

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::code::ErrorCode;

/// Where access reviews are posted.
pub const REVIEW_PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// The annotation that names the container a shell opens in.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The body of a `SelfSubjectAccessReview` for `create` on `pods/exec`: what a shell needs.
pub fn exec_review(namespace: &str) -> Vec<u8> {
    let review = serde_json::json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "namespace": namespace, "verb": "create", "resource": "pods", "subresource": "exec",
        } },
    });
    review.to_string().into_bytes()
}

/// What an access review's answer says.
pub fn parse_review(status: u16, body: &[u8]) -> Result<bool, ErrorCode> {
    /// The object, as far as it decides.
    #[derive(Deserialize)]
    struct Review {
        status: Verdict,
    }
    #[derive(Deserialize)]
    struct Verdict {
        #[serde(default)]
        allowed: bool,
    }
    if !(200..=299).contains(&status) {
        return Err(match status {
            // The question itself was well-formed, so a no to it is a fault of our own.
            429 | 500..=599 => ErrorCode::ClusterUnreachable,
            _ => ErrorCode::Internal,
        });
    }
    let review: Review = serde_json::from_slice(body).map_err(|_| ErrorCode::ClusterUnreachable)?;
    Ok(review.status.allowed)
}

/// The path of a pod; both names are checked by the caller.
pub fn pod_path(namespace: &str, pod: &str) -> String {
    debug_assert!(
        crate::names::is_label(namespace) && crate::names::is_subdomain(pod),
        "the caller checks names"
    );
    format!("/api/v1/namespaces/{namespace}/pods/{pod}")
}

/// What a session has to know of its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// The pod's identity: another pod of the same name has another.
    pub uid: Option<String>,
    /// Where a shell opens when none is chosen.
    pub default_container: Option<String>,
}

/// What the answer to a look at the pod says. `None`: the user may not see it, and may have a shell
/// nevertheless; the apiserver then chooses the container.
pub fn parse_pod(status: u16, body: &[u8]) -> Result<Option<PodFacts>, ErrorCode> {
    match status {
        200 => {}
        403 if says_cannot_impersonate(body) => return Err(ErrorCode::Internal),
        403 => return Ok(None),
        404 => return Err(ErrorCode::NotFound),
        429 | 500..=599 => return Err(ErrorCode::ClusterUnreachable),
        _ => return Err(ErrorCode::Internal),
    }
    let pod: Pod = serde_json::from_slice(body).map_err(|_| ErrorCode::ClusterUnreachable)?;
    let Spec {
        containers,
        init_containers,
        ephemeral_containers,
    } = pod.spec;
    let others = init_containers.into_iter().flatten();
    let others = others.chain(ephemeral_containers.into_iter().flatten());
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let default_container = default_container(
        annotations.get(DEFAULT_CONTAINER).map(String::as_str),
        containers.unwrap_or_default().iter().map(Container::name),
        others.collect::<Vec<_>>().iter().map(Container::name),
    );
    Ok(Some(PodFacts {
        uid: pod.metadata.uid,
        default_container,
    }))
}

/// Where a shell opens when none is chosen: in the annotated container, else in the first ordinary
/// one. The annotation counts only if it names a container the pod has: the apiserver would refuse
/// any other with an error about something the user never chose.
pub fn default_container<'a>(
    annotated: Option<&str>,
    containers: impl Iterator<Item = &'a str>,
    mut others: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let containers: Vec<&str> = containers.collect();
    let named = annotated
        .filter(|name| containers.contains(name) || others.any(|container| container == *name));
    named
        .or_else(|| containers.first().copied())
        .map(str::to_owned)
}

/// Whether a Forbidden is about the gateway's own right to speak for somebody.
fn says_cannot_impersonate(body: &[u8]) -> bool {
    const TEXT: &[u8] = b"cannot impersonate";
    body.windows(TEXT.len()).any(|window| window == TEXT)
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    uid: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
}

impl Container {
    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_asks_for_create_on_pods_exec_and_absent_is_no() {
        let asked: serde_json::Value = serde_json::from_slice(&exec_review("demo")).unwrap();
        let attributes = &asked["spec"]["resourceAttributes"];
        assert_eq!(
            attributes,
            &serde_json::json!({"namespace": "demo", "verb": "create", "resource": "pods", "subresource": "exec"})
        );
        assert_eq!(
            parse_review(201, br#"{"status":{"allowed":true}}"#),
            Ok(true)
        );
        assert_eq!(parse_review(200, br#"{"status":{}}"#), Ok(false));
    }

    #[test]
    fn an_answer_that_decides_nothing_is_an_error_with_a_code() {
        for (status, body, code) in [
            (201, &b"{}"[..], ErrorCode::ClusterUnreachable),
            (201, b"\xff", ErrorCode::ClusterUnreachable),
            (429, b"", ErrorCode::ClusterUnreachable),
            (503, b"", ErrorCode::ClusterUnreachable),
            (401, b"", ErrorCode::Internal),
            (403, b"", ErrorCode::Internal),
        ] {
            assert_eq!(parse_review(status, body), Err(code), "{status}");
        }
        for (status, body, code) in [
            (404, &b""[..], ErrorCode::NotFound),
            (401, b"", ErrorCode::Internal),
            (
                403,
                b"User \"gw\" cannot impersonate resource",
                ErrorCode::Internal,
            ),
            (500, b"", ErrorCode::ClusterUnreachable),
            (200, b"[]", ErrorCode::ClusterUnreachable),
        ] {
            assert_eq!(parse_pod(status, body), Err(code), "{status}");
        }
        assert_eq!(parse_pod(403, b"pods is forbidden"), Ok(None));
    }

    #[test]
    fn the_annotated_container_counts_only_if_the_pod_has_it() {
        let pod = |annotated: &str| {
            let pod = serde_json::json!({
                "metadata": {"uid": "u", "annotations": {DEFAULT_CONTAINER: annotated}},
                "spec": {
                    "containers": [{"name": "proxy"}, {"name": "app"}],
                    "initContainers": [{"name": "init"}],
                    "ephemeralContainers": null,
                },
            });
            let facts = parse_pod(200, pod.to_string().as_bytes()).unwrap().unwrap();
            assert_eq!(facts.uid.as_deref(), Some("u"));
            facts.default_container
        };
        assert_eq!(pod("app").as_deref(), Some("app"));
        assert_eq!(pod("init").as_deref(), Some("init"));
        assert_eq!(pod("nosuch").as_deref(), Some("proxy"));
        let bare = parse_pod(200, br#"{"metadata":{}}"#).unwrap();
        assert_eq!(bare, Some(PodFacts::default()));
    }
}
