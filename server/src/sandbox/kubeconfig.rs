//! The kubeconfig that lets `kubectl`, and the gateway itself, into the sandbox.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::ClusterAccess;

/// Writes a kubeconfig only its owner can read: one cluster, user and context per sandbox cluster,
/// all three named as the cluster; the first is current.
pub(super) fn write(path: &Path, clusters: &[ClusterAccess]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // Never through a file, or a link, that somebody else put there.
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text(clusters).as_bytes())?;
    file.sync_all()
}

/// The kubeconfig's text. JSON is YAML, and every reader of kubeconfigs takes it.
fn text(clusters: &[ClusterAccess]) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": clusters.first().map_or("", |cluster| cluster.name),
        "clusters": clusters.iter().map(|cluster| json!({
            "name": cluster.name,
            "cluster": {
                "server": cluster.server,
                "certificate-authority-data": STANDARD.encode(&cluster.ca_pem),
            },
        })).collect::<Vec<_>>(),
        "users": clusters.iter().map(|cluster| json!({
            "name": cluster.name,
            "user": { "token": cluster.token },
        })).collect::<Vec<_>>(),
        "contexts": clusters.iter().map(|cluster| json!({
            "name": cluster.name,
            "context": { "cluster": cluster.name, "user": cluster.name, "namespace": "default" },
        })).collect::<Vec<_>>(),
    });
    format!("{config:#}\n")
}
