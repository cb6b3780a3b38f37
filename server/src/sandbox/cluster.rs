//! One cluster of the sandbox: its flavour, its state, and what every request needs of it.

#![expect(
    clippy::indexing_slicing,
    reason = "reading a key of a JSON value never panics, and writing happens to objects only"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use super::fault::Fault;
use super::pods::Pod;
use super::process::ProcessTable;

/// Which generation of Kubernetes a cluster plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// 1.36: exec over WebSocket v5 or SPDY; `GET` needs `get` and `create`.
    Modern,
    /// 1.20: no v5; `GET` needs `get` only.
    Legacy,
}

impl Flavour {
    /// The answer of `/version`.
    pub(super) fn version(self) -> Value {
        let (minor, version, go) = match self {
            Self::Modern => ("36", "v1.36.2", "go1.25.4"),
            Self::Legacy => ("20", "v1.20.2", "go1.15.15"),
        };
        let mut json = json!({
            "major": "1",
            "minor": minor,
            "gitVersion": version,
            "gitCommit": "0000000000000000000000000000000000000000",
            "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z",
            "goVersion": go,
            "compiler": "gc",
            "platform": "linux/amd64",
        });
        if self == Self::Modern {
            json["emulationMajor"] = json!("1");
            json["emulationMinor"] = json!(minor);
            json["minCompatibilityMajor"] = json!("1");
            json["minCompatibilityMinor"] = json!("35");
        }
        json
    }

    /// Whether answers carry `Audit-Id`: recent servers' do.
    pub(super) fn has_audit_id(self) -> bool {
        self == Self::Modern
    }

    /// Whether people may ask who they are: since 1.28.
    pub(super) fn has_self_reviews(self) -> bool {
        self == Self::Modern
    }

    /// Whether the v5 translator is there.
    pub(super) fn has_v5(self) -> bool {
        self == Self::Modern
    }

    /// Whether a `GET` exec is authorized a second time, for `create`.
    pub(super) fn get_needs_create(self) -> bool {
        self == Self::Modern
    }
}

/// A cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) name: &'static str,
    pub(super) flavour: Flavour,
    /// Host and port.
    pub(super) address: String,
    pub(super) token: String,
    pub(super) faults: Vec<Fault>,
    /// RFC 3339, to the second.
    pub(super) started_at: String,
    pub(super) started: Instant,
    pub(super) all_pods: Vec<Pod>,
    /// Pods that have gone since the start, as namespace and name.
    pub(super) gone: Mutex<BTreeSet<(String, String)>>,
    /// Where the containers' home directories are.
    pub(super) homes: PathBuf,
    pub(super) processes: ProcessTable,
}

impl Cluster {
    /// Whether the cluster has this fault.
    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// The pods that are there.
    pub(super) fn pods(&self) -> Vec<&Pod> {
        let gone = self
            .gone
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_gone = |pod: &Pod| gone.contains(&(pod.namespace.to_owned(), pod.name.to_owned()));
        self.all_pods.iter().filter(|pod| !is_gone(pod)).collect()
    }

    /// One pod.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods()
            .into_iter()
            .find(|pod| pod.namespace == namespace && pod.name == name)
    }

    /// Makes a pod vanish.
    pub(super) fn remove_pod(&self, pod: &Pod) {
        let mut gone = self
            .gone
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        gone.insert((pod.namespace.to_owned(), pod.name.to_owned()));
    }

    /// The age of everything in the cluster, as `kubectl` shows ages.
    pub(super) fn age(&self) -> String {
        match self.started.elapsed().as_secs() {
            seconds @ 0..120 => format!("{seconds}s"),
            seconds @ 120..7200 => format!("{}m", seconds / 60),
            seconds => format!("{}h", seconds / 3600),
        }
    }
}
