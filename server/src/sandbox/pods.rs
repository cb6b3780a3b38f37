//! The pods of a sandbox cluster: what they are, and how the API shows them.

#![expect(
    clippy::indexing_slicing,
    reason = "reading a key of a JSON value never panics, and writing happens to objects only"
)]

use serde_json::{Value, json};
use uuid::Uuid;

use super::status::Refusal;

/// The namespaces of every cluster.
pub(super) const NAMESPACES: [&str; 3] = ["default", "kube-system", "team-a"];

/// The node every running pod is on.
const NODE: &str = "sandbox-node";

/// What a pod's containers do when a command is run in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Commands run as they are.
    Ordinary,
    /// No executable is ever found.
    Distroless,
    /// The shell first floods the terminal until Ctrl-C.
    Flood,
    /// The shell prints a line and ends with exit code 7.
    Exits,
    /// Not scheduled: no node, no container.
    Pending,
    /// Ran to its end: a node, but no running container.
    Completed,
}

/// A pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) nature: Nature,
    containers: &'static [&'static str],
    init_containers: &'static [&'static str],
    default_container: Option<&'static str>,
    uid: Uuid,
    /// RFC 3339, to the second.
    created_at: String,
}

/// The pods of one cluster, all created at `created_at`.
pub(super) fn pods(created_at: &str) -> Vec<Pod> {
    let pod = |namespace, name, nature| Pod {
        namespace,
        name,
        nature,
        containers: &["app"],
        init_containers: &[],
        default_container: None,
        uid: Uuid::new_v4(),
        created_at: created_at.to_owned(),
    };
    vec![
        pod("default", "shell", Nature::Ordinary),
        Pod {
            containers: &["proxy", "app"],
            init_containers: &["init"],
            default_container: Some("app"),
            ..pod("default", "sidecar", Nature::Ordinary)
        },
        pod("default", "distroless", Nature::Distroless),
        pod("default", "flood", Nature::Flood),
        pod("default", "exits", Nature::Exits),
        pod("default", "pending", Nature::Pending),
        pod("default", "completed", Nature::Completed),
        pod("kube-system", "dns", Nature::Distroless),
        pod("team-a", "api", Nature::Ordinary),
    ]
}

impl Pod {
    /// The container an exec goes to, by the server's rule: it knows nothing of the annotation.
    pub(super) fn exec_container(&self, asked: Option<&str>) -> Result<&'static str, Refusal> {
        let mut all = self.containers.iter().chain(self.init_containers);
        match (asked, self.containers) {
            (Some(asked), _) => all.find(|name| **name == asked).copied().ok_or_else(|| {
                Refusal::bad_request(format!(
                    "container {asked} is not valid for pod {}",
                    self.name
                ))
            }),
            (None, [only]) => Ok(only),
            (None, _) => {
                let names: Vec<&str> = all.copied().collect();
                Err(Refusal::bad_request(format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    self.name,
                    names.join(" ")
                )))
            }
        }
    }

    /// Whether the pod has a node.
    pub(super) fn is_scheduled(&self) -> bool {
        self.nature != Nature::Pending
    }

    /// Whether a process can be started in `container`.
    pub(super) fn is_running(&self, container: &str) -> bool {
        !matches!(self.nature, Nature::Pending | Nature::Completed)
            && self.containers.contains(&container)
    }

    /// Whether the pod matches a `fieldSelector` and a `labelSelector`: comma-separated `key=value`.
    pub(super) fn matches(
        &self,
        field_selector: &str,
        label_selector: &str,
    ) -> Result<bool, Refusal> {
        let mut matches = true;
        for (selector, is_label) in [(field_selector, false), (label_selector, true)] {
            for term in selector.split(',').filter(|term| !term.is_empty()) {
                let (key, wanted) = term.split_once('=').ok_or_else(|| {
                    Refusal::bad_request(format!(
                        "the sandbox only knows key=value selectors, not {term:?}"
                    ))
                })?;
                let is = match (is_label, key) {
                    (false, "metadata.name") | (true, "app") => self.name,
                    (false, "metadata.namespace") => self.namespace,
                    (false, "status.phase") => self.phase(),
                    (false, "spec.nodeName") => self.node(),
                    _ => "",
                };
                matches &= is == wanted.trim_start_matches('=');
            }
        }
        Ok(matches)
    }

    fn phase(&self) -> &'static str {
        match self.nature {
            Nature::Pending => "Pending",
            Nature::Completed => "Succeeded",
            _ => "Running",
        }
    }

    fn node(&self) -> &'static str {
        if self.is_scheduled() { NODE } else { "" }
    }

    /// The pod as the API shows it.
    pub(super) fn json(&self) -> Value {
        let spec = |names: &[&str]| -> Vec<Value> {
            names
                .iter()
                .map(|name| json!({"name": name, "image": image(self, name), "resources": {}}))
                .collect()
        };
        let mut pod = json!({
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "uid": self.uid.to_string(),
                "resourceVersion": "1",
                "creationTimestamp": self.created_at,
                "labels": {"app": self.name},
            },
            "spec": {
                "containers": spec(self.containers),
                "restartPolicy": if self.nature == Nature::Completed { "Never" } else { "Always" },
            },
            "status": {"phase": self.phase()},
        });
        if let Some(name) = self.default_container {
            pod["metadata"]["annotations"] =
                json!({"kubectl.kubernetes.io/default-container": name});
        }
        if !self.init_containers.is_empty() {
            pod["spec"]["initContainers"] = json!(spec(self.init_containers));
            pod["status"]["initContainerStatuses"] = self
                .init_containers
                .iter()
                .map(|name| self.container_status(name, true))
                .collect();
        }
        if self.is_scheduled() {
            pod["spec"]["nodeName"] = json!(NODE);
            pod["status"]["startTime"] = json!(self.created_at);
            pod["status"]["podIP"] = json!("127.0.0.1");
            pod["status"]["containerStatuses"] = self
                .containers
                .iter()
                .map(|name| self.container_status(name, false))
                .collect();
        } else {
            pod["status"]["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient memory.",
                "lastTransitionTime": self.created_at,
            }]);
        }
        pod
    }

    fn container_status(&self, name: &str, is_init: bool) -> Value {
        let running = self.is_running(name);
        let state = if running {
            json!({"running": {"startedAt": self.created_at}})
        } else {
            json!({"terminated": {
                "exitCode": 0,
                "reason": "Completed",
                "startedAt": self.created_at,
                "finishedAt": self.created_at,
            }})
        };
        json!({
            "name": name,
            "image": image(self, name),
            "imageID": "",
            "containerID": format!("containerd://{}", self.uid.simple()),
            "ready": running || is_init,
            "started": running,
            "restartCount": 0,
            "state": state,
        })
    }

    /// The cells `kubectl get pods` shows.
    fn cells(&self, age: &str) -> Value {
        let ready = self
            .containers
            .iter()
            .filter(|name| self.is_running(name))
            .count();
        let status = if self.nature == Nature::Completed {
            "Completed"
        } else {
            self.phase()
        };
        json!([
            self.name,
            format!("{ready}/{}", self.containers.len()),
            status,
            0,
            age
        ])
    }
}

fn image(pod: &Pod, container: &str) -> String {
    format!("registry.example/{}-{container}:1.0", pod.name)
}

/// A `PodList`.
pub(super) fn pod_list(pods: &[&Pod]) -> Value {
    let items: Vec<Value> = pods.iter().map(|pod| without_kind(pod.json())).collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// The `Table` `kubectl get pods` asks for.
pub(super) fn pod_table(pods: &[&Pod], age: &str) -> Value {
    let rows = pods
        .iter()
        .map(|pod| (pod.cells(age), pod.json()))
        .collect();
    table(&["Name", "Ready", "Status", "Restarts", "Age"], rows)
}

/// A namespace as the API shows it.
pub(super) fn namespace(name: &str, created_at: &str) -> Value {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            // Stable per name, so that reading twice shows the same object.
            "uid": Uuid::from_u128(name.bytes().fold(1, |id, byte| id << 7 ^ u128::from(byte))).to_string(),
            "resourceVersion": "1",
            "creationTimestamp": created_at,
            "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// A `NamespaceList`.
pub(super) fn namespace_list(created_at: &str) -> Value {
    let items: Vec<Value> = NAMESPACES
        .iter()
        .map(|name| without_kind(namespace(name, created_at)))
        .collect();
    json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// The `Table` `kubectl get namespaces` asks for.
pub(super) fn namespace_table(names: &[&str], created_at: &str, age: &str) -> Value {
    let rows = names
        .iter()
        .map(|name| (json!([name, "Active", age]), namespace(name, created_at)))
        .collect();
    table(&["Name", "Status", "Age"], rows)
}

/// Items of a list carry no `kind` and `apiVersion` of their own.
fn without_kind(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

fn table(columns: &[&str], rows: Vec<(Value, Value)>) -> Value {
    let columns: Vec<Value> = columns
        .iter()
        .map(|name| {
            let kind = if *name == "Restarts" { "integer" } else { "string" };
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": name, "priority": 0})
        })
        .collect();
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(cells, object)| {
            let partial = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            });
            json!({"cells": cells, "object": partial})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "columnDefinitions": columns,
        "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        pods("2026-01-01T00:00:00Z")
            .into_iter()
            .find(|pod| pod.name == name)
            .unwrap()
    }

    #[test]
    fn a_container_is_only_chosen_for_the_caller_where_there_is_one() {
        assert_eq!(pod("shell").exec_container(None), Ok("app"));
        assert_eq!(
            pod("sidecar").exec_container(None).unwrap_err().message,
            "a container name must be specified for pod sidecar, choose one of: [proxy app init]"
        );
        assert_eq!(pod("sidecar").exec_container(Some("proxy")), Ok("proxy"));
        assert_eq!(
            pod("sidecar")
                .exec_container(Some("nosuch"))
                .unwrap_err()
                .message,
            "container nosuch is not valid for pod sidecar"
        );
    }

    #[test]
    fn processes_run_in_running_containers_only() {
        assert!(pod("sidecar").is_running("proxy"));
        assert!(!pod("sidecar").is_running("init"));
        assert!(!pod("completed").is_running("app"));
        assert!(!pod("pending").is_running("app"));
    }

    #[test]
    fn selectors_choose_pods_and_unknown_forms_are_refused() {
        assert_eq!(
            pod("shell").matches("metadata.name=shell,status.phase=Running", "app=shell"),
            Ok(true)
        );
        assert_eq!(pod("shell").matches("", "app==flood"), Ok(false));
        assert_eq!(pod("shell").matches("", "tier=web"), Ok(false));
        assert!(pod("shell").matches("", "app in (shell)").is_err());
    }
}
