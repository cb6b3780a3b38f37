//! The few Kubernetes objects the UI needs: what is read of them, and what the API shows.

use std::collections::BTreeMap;

use periscope_core::kube;
use serde::{Deserialize, Deserializer, Serialize};

/// A namespace as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its name.
    pub name: String,
}

/// A pod as the API shows it in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Why it is not simply running: the pod's own reason, or the first container's.
    pub reason: Option<String>,
    /// The node it is bound to.
    pub node: Option<String>,
    /// RFC 3339.
    pub created_at: Option<String>,
    /// Ordinary containers first, then init containers, then ephemeral ones.
    pub containers: Vec<Container>,
}

/// A pod's page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPage {
    #[serde(flatten)]
    /// What the list shows, too.
    pub pod: Pod,
    /// Where a shell opens when none is chosen.
    pub default_container: Option<String>,
    /// The pod's identity: another pod of the same name has another.
    #[serde(skip)]
    pub uid: Option<String>,
}

/// A container as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, as the pod's author wrote it.
    pub image: String,
    /// Which list of the pod it is in.
    pub kind: ContainerKind,
    /// `running`, `waiting`, `terminated` or `unknown`.
    pub state: &'static str,
    /// Whether it passes its readiness probe.
    pub ready: bool,
    /// How often it was started anew.
    pub restarts: u32,
}

/// Which list of a pod a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// An ordinary container.
    Container,
    /// An init container, sidecars included.
    Init,
    /// An ephemeral (debug) container.
    Ephemeral,
}

/// What an access review asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ResourceAttributes {
    /// Empty for a question about the whole cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Such as `create`.
    pub verb: String,
    /// API group; empty for the core group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Such as `pods`.
    pub resource: String,
    /// Such as `exec`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// What an access review answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Review {
    /// Whether the user may.
    #[serde(default)]
    pub allowed: bool,
    /// The authorizer's reason, if it gives one.
    #[serde(default)]
    pub reason: String,
}

impl ResourceAttributes {
    /// `create` on `pods/exec`: what a shell needs.
    pub fn exec(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            verb: "create".to_owned(),
            group: String::new(),
            resource: "pods".to_owned(),
            subresource: "exec".to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    pub(super) git_version: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReviewAnswer {
    pub(super) status: Review,
}

#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct List<T> {
    #[serde(default)]
    pub(super) metadata: ListMetadata,
    #[serde(default = "Vec::new", deserialize_with = "null_as_default")]
    pub(super) items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ListMetadata {
    #[serde(rename = "continue")]
    pub(super) after: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawNamespace {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawPod {
    metadata: Metadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: Option<String>,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "null_as_default")]
    init_containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "null_as_default")]
    ephemeral_containers: Vec<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerSpec {
    name: String,
    image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    reason: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_as_default")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_as_default")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    ready: bool,
    restart_count: u32,
    state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    running: Option<StateDetail>,
    waiting: Option<StateDetail>,
    terminated: Option<StateDetail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StateDetail {
    reason: Option<String>,
}

/// The body of a `SelfSubjectAccessReview`.
pub(super) fn review_request(asked: &ResourceAttributes) -> impl Serialize {
    serde_json::json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": asked },
    })
}

impl From<RawNamespace> for Namespace {
    fn from(raw: RawNamespace) -> Self {
        Self {
            name: raw.metadata.name,
        }
    }
}

impl From<RawPod> for Pod {
    fn from(raw: RawPod) -> Self {
        PodPage::from(raw).pod
    }
}

impl From<RawPod> for PodPage {
    fn from(raw: RawPod) -> Self {
        let RawPod {
            metadata,
            spec,
            status,
        } = raw;
        let default_container = default_container(&metadata, &spec);
        let reason = reason(&metadata, &status);
        let PodStatus {
            phase,
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
            ..
        } = status;
        let lists = [
            (
                spec.containers,
                container_statuses,
                ContainerKind::Container,
            ),
            (
                spec.init_containers,
                init_container_statuses,
                ContainerKind::Init,
            ),
            (
                spec.ephemeral_containers,
                ephemeral_container_statuses,
                ContainerKind::Ephemeral,
            ),
        ];
        let mut containers = Vec::new();
        for (specs, statuses, kind) in lists {
            containers.extend(
                specs
                    .into_iter()
                    .map(|spec| container(spec, &statuses, kind)),
            );
        }
        let pod = Pod {
            name: metadata.name,
            namespace: metadata.namespace,
            phase: if phase.is_empty() {
                "Unknown".to_owned()
            } else {
                phase
            },
            reason,
            node: spec.node_name,
            created_at: metadata.creation_timestamp,
            containers,
        };
        Self {
            pod,
            default_container,
            uid: metadata.uid,
        }
    }
}

fn default_container(metadata: &Metadata, spec: &PodSpec) -> Option<String> {
    let annotated = metadata.annotations.get(kube::DEFAULT_CONTAINER);
    kube::default_container(
        annotated.map(String::as_str),
        names(&spec.containers),
        names(&spec.init_containers).chain(names(&spec.ephemeral_containers)),
    )
}

fn names(containers: &[ContainerSpec]) -> impl Iterator<Item = &str> {
    containers.iter().map(|spec| spec.name.as_str())
}

fn container(spec: ContainerSpec, statuses: &[ContainerStatus], kind: ContainerKind) -> Container {
    let status = statuses.iter().find(|status| status.name == spec.name);
    let state = status.map_or("unknown", |status| {
        let ContainerState {
            running,
            waiting,
            terminated,
        } = &status.state;
        match (running, waiting, terminated) {
            (Some(_), ..) => "running",
            (None, _, Some(_)) => "terminated",
            (None, Some(_), None) => "waiting",
            (None, None, None) => "unknown",
        }
    });
    Container {
        name: spec.name,
        image: spec.image,
        kind,
        state,
        ready: status.is_some_and(|status| status.ready),
        restarts: status.map_or(0, |status| status.restart_count),
    }
}

fn reason(metadata: &Metadata, status: &PodStatus) -> Option<String> {
    if metadata.deletion_timestamp.is_some() {
        return Some("Terminating".to_owned());
    }
    let of_container = |status: &ContainerStatus| {
        let ContainerState {
            waiting,
            terminated,
            ..
        } = &status.state;
        waiting
            .as_ref()
            .or(terminated.as_ref())
            .and_then(|detail| detail.reason.clone())
    };
    let mut lists = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    // An init container that has done its work is no news.
    let is_news = |reason: &String| reason != "Completed" || status.phase == "Succeeded";
    status
        .reason
        .clone()
        .or_else(|| lists.find_map(|status| of_container(status).filter(is_news)))
}

/// Go writes an empty list or map as `null` now and then.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
