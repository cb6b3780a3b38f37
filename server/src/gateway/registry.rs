//! The clusters this gateway knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::kube::KubeClient;

/// All clusters, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    clusters: Vec<Arc<Cluster>>,
}

/// One cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its name in URLs, logs and audit rows.
    pub name: String,
    /// How the gateway reaches it.
    pub backend: Backend,
    /// Cloud region, where it has one.
    pub region: Option<String>,
    /// Amazon resource name, where it has one.
    pub arn: Option<String>,
    /// What people call its surroundings, such as `production`.
    pub environment: Option<String>,
    /// Anything else worth showing.
    pub tags: Option<Tags>,
    /// The effective exec settings.
    pub exec: ExecSettings,
    /// The client for its apiserver.
    pub kube: KubeClient,
}

/// What an operator says about a cluster. Shown, never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Tags {
    /// Words.
    Words(Vec<String>),
    /// Names and values.
    Pairs(BTreeMap<String, String>),
}

/// How the gateway gets a cluster's address and credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The demo's own apiserver.
    Sandbox,
    /// A kubeconfig file.
    Kubeconfig,
    /// Amazon EKS.
    Eks,
    /// The pod this program runs in.
    InCluster,
}

/// Exec settings of one cluster, after defaults and overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// Whether shells may be opened at all.
    pub is_enabled: bool,
    /// Silence after which a session ends.
    pub idle: Duration,
    /// How long before that the browser is warned.
    pub idle_warn: Duration,
    /// Interval of WebSocket pings.
    pub heartbeat: Duration,
    /// Sessions of one subject over all clusters.
    pub sessions_per_user_max: u32,
    /// Sessions on this cluster.
    pub sessions_total_max: u32,
}

impl Backend {
    /// The backend's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Kubeconfig => "kubeconfig",
            Self::Eks => "eks",
            Self::InCluster => "in-cluster",
        }
    }
}

impl Default for ExecSettings {
    fn default() -> Self {
        Self {
            is_enabled: true,
            idle: Duration::from_mins(10),
            idle_warn: Duration::from_secs(30),
            heartbeat: Duration::from_secs(20),
            sessions_per_user_max: 5,
            sessions_total_max: 50,
        }
    }
}

/// A cluster as the API shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary<'a> {
    name: &'a str,
    backend: Backend,
    region: Option<&'a str>,
    arn: Option<&'a str>,
    environment: Option<&'a str>,
    tags: Option<&'a Tags>,
    exec_enabled: bool,
}

impl Registry {
    /// A registry of these clusters.
    pub fn new(clusters: Vec<Cluster>) -> Self {
        Self {
            clusters: clusters.into_iter().map(Arc::new).collect(),
        }
    }

    /// The cluster of that exact name.
    pub fn find(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// All clusters.
    pub fn iter(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.iter().map(AsRef::as_ref)
    }
}

impl Cluster {
    /// What the API shows.
    pub fn summary(&self) -> Summary<'_> {
        Summary {
            name: &self.name,
            backend: self.backend,
            region: self.region.as_deref(),
            arn: self.arn.as_deref(),
            environment: self.environment.as_deref(),
            tags: self.tags.as_ref(),
            exec_enabled: self.exec.is_enabled,
        }
    }
}
