//! The boot probe: one harmless question to every cluster, so that the first shell does not pay for
//! cold credentials, a cold TLS session and a cold policy.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::identity::Identity;
use super::kube::{KubeClient, ResourceAttributes};
use super::registry::Registry;

/// How long the start waits. What takes longer goes on beside it.
const WAIT: Duration = Duration::from_secs(3);

/// Clusters that are asked at the same time.
const CLUSTERS_AT_ONCE: usize = 16;

/// Asks every cluster whether the gateway itself may open shells. Nothing is run anywhere, and no
/// answer changes what the gateway does.
pub async fn warm(registry: &Registry) {
    let places = Arc::new(Semaphore::new(CLUSTERS_AT_ONCE));
    let mut probes = JoinSet::new();
    for cluster in registry.iter() {
        let (name, kube) = (cluster.name.clone(), cluster.kube.clone());
        let places = Arc::clone(&places);
        probes.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            probe(&name, &kube).await;
        });
    }
    let all = async { while probes.join_next().await.is_some() {} };
    if tokio::time::timeout(WAIT, all).await.is_err() {
        log::warn!(seconds = WAIT.as_secs(); "kube.probe.slow");
    }
    // What still runs ends by its own deadline.
    probes.detach_all();
}

async fn probe(cluster: &str, kube: &KubeClient) {
    let asked = ResourceAttributes {
        namespace: "default".to_owned(),
        verb: "create".to_owned(),
        group: String::new(),
        resource: "pods".to_owned(),
        subresource: "exec".to_owned(),
    };
    match kube.review(&asked, &Identity::own()).await {
        Ok(_) => log::info!(cluster = cluster, result = "ok"; "kube.probe"),
        Err(error) => {
            let result = error.to_string();
            log::warn!(cluster = cluster, result = result.as_str(); "kube.probe");
        }
    }
}
