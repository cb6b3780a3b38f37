//! The example gateway on smol, as a program.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Cluster, Gateway, Process, Settings};

/// A running program.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    /// Ends when all of its stdout was read.
    audit: Option<tokio::task::JoinHandle<()>>,
}

pub(super) async fn start(
    clusters: &[Cluster],
    settings: Settings,
    target: &Path,
    dir: &Path,
) -> io::Result<Gateway> {
    let path = dir.join(format!("kubeconfig-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, kubeconfig(clusters))?;
    let token = uuid::Uuid::new_v4().to_string();
    let disabled: Vec<&str> = clusters
        .iter()
        .filter(|cluster| !cluster.is_exec_enabled)
        .map(|cluster| cluster.name.as_str())
        .collect();
    let mut command = Command::new(target.join("debug/examples/gateway"));
    for (name, value) in [
        ("IDLE_SECONDS", settings.idle_seconds),
        ("IDLE_WARN_SECONDS", settings.idle_warn_seconds),
        ("MAX_SESSIONS_PER_USER", settings.per_user),
        ("MAX_SESSIONS_TOTAL", settings.per_cluster),
        ("OPENS_PER_MINUTE", settings.opens_per_minute),
    ] {
        command.env(format!("PERISCOPE_EXEC_{name}"), value.to_string());
    }
    let mut child = command
        .env("KUBECONFIG", &path)
        .env("PERISCOPE_LISTEN", "127.0.0.1:0")
        .env("PERISCOPE_TOKEN", &token)
        .env("PERISCOPE_USER", "ann")
        .env(
            "PERISCOPE_GROUPS",
            format!("periscope-tier:{}", settings.tier),
        )
        .env("PERISCOPE_EXEC_DISABLED", disabled.join(","))
        .env(
            "PERISCOPE_DRAIN_SECONDS",
            settings.drain_seconds.to_string(),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stderr = child.stderr.take().unwrap();
    let mut lines = BufReader::new(stderr).lines();
    let address = loop {
        let line = lines.next_line().await?;
        let line = line.ok_or_else(|| io::Error::other("the smol gateway ended early"))?;
        if let Some(address) = line.strip_prefix("listening on ") {
            break address.parse().map_err(io::Error::other)?;
        }
        eprintln!("{line}");
    };
    std::fs::remove_file(path)?;
    let log = Arc::new(Mutex::new(String::new()));
    let logged = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("smol gateway: {line}");
            let mut log = logged.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    let audit = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&audit);
    let mut stdout = child.stdout.take().unwrap();
    let reader = tokio::spawn(async move {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(len @ 1..) = stdout.read(&mut bytes).await {
            written.lock().unwrap().extend_from_slice(&bytes[..len]);
        }
    });
    Ok(Gateway {
        address,
        token,
        audit,
        log,
        payload: Arc::default(),
        process: Process::Smol(Program {
            child,
            audit: Some(reader),
        }),
    })
}

fn kubeconfig(clusters: &[Cluster]) -> String {
    let all = |of: fn(&Cluster) -> serde_json::Value| -> Vec<serde_json::Value> {
        clusters.iter().map(of).collect()
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": all(|cluster| json!({
            "name": cluster.name,
            "cluster": {
                "server": cluster.access.server,
                "certificate-authority-data": STANDARD.encode(&cluster.access.ca_pem),
            },
        })),
        "users": all(|cluster| json!({"name": cluster.name, "user": {"token": cluster.access.token}})),
        "contexts": all(|cluster| json!({
            "name": cluster.name,
            "context": {"cluster": cluster.name, "user": cluster.name},
        })),
    })
    .to_string()
}

impl Program {
    pub(super) fn terminate(&mut self) {
        let id = self.child.id().expect("a running program").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(super) async fn left(&mut self) -> bool {
        let status = self.child.wait().await.unwrap();
        if let Some(audit) = self.audit.take() {
            audit.await.unwrap();
        }
        status.success()
    }
}
