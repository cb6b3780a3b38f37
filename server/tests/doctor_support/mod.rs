//! A gateway's configuration for `periscope doctor`, and what a walk said.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_server::sandbox::{Fault, Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tokio::process::Command;

/// How long one walk may take before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

const HOPS: [&str; 13] = [
    "config",
    "dns",
    "tcp",
    "tls",
    "alpn",
    "credentials",
    "apiserver",
    "impersonation",
    "rbac",
    "pod",
    "websocket",
    "spdy",
    "shell",
];

/// A folder with a gateway's configuration, and the clusters it is about.
pub(crate) struct Clinic {
    pub(crate) dir: PathBuf,
    pub(crate) sandbox: Sandbox,
}

/// What a walk said and how it ended.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) stderr: String,
}

impl Clinic {
    /// Clusters `modern`, `legacy`, `locked` (exec is disabled) and `other` (for impostors), mode shared.
    pub(crate) async fn new(faults: &[Fault]) -> Self {
        let dir = std::env::temp_dir().join(format!("periscope-doctor-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        let options = SandboxOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            faults: faults.to_vec(),
            dir: dir.join("sandbox"),
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let clinic = Self { dir, sandbox };
        clinic.write(
            "clusters.yaml",
            "clusters:\n  \
             - {name: modern, backend: kubeconfig, kubeconfigPath: sandbox/kubeconfig, kubeconfigContext: modern}\n  \
             - {name: legacy, backend: kubeconfig, kubeconfigPath: sandbox/kubeconfig, kubeconfigContext: legacy}\n  \
             - {name: locked, backend: kubeconfig, kubeconfigPath: sandbox/kubeconfig, kubeconfigContext: locked, exec: {enabled: false}}\n  \
             - {name: other, backend: kubeconfig, kubeconfigPath: other}\n",
        );
        clinic.write("auth.yaml", "authorization: {mode: shared}\n");
        clinic
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    /// The sandbox's kubeconfig for `modern`, to change it.
    pub(crate) fn kubeconfig(&self) -> Value {
        let modern = &self.sandbox.clusters()[0];
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
            "users": [{ "name": "u", "user": { "token": modern.token } }],
            "clusters": [{ "name": "k", "cluster": {
                "server": modern.server,
                "certificate-authority-data": STANDARD.encode(&modern.ca_pem),
            } }],
        })
    }

    /// Walks to `cluster`. Whatever comes of it, no secret is in what it says.
    pub(crate) async fn walk(&self, cluster: &str, arguments: &[&str]) -> Walk {
        let variables = [("PERISCOPE_CLUSTERS_FILE", "clusters.yaml")];
        let walk = self
            .run(&["--cluster", cluster], arguments, &variables)
            .await;
        for secret in self.sandbox.clusters().iter().map(|cluster| &cluster.token) {
            assert!(
                !walk.text.contains(secret) && !walk.stderr.contains(secret),
                "{walk:?}"
            );
        }
        assert!(
            !walk.text.contains("canary") && !walk.stderr.contains("canary"),
            "{walk:?}"
        );
        walk
    }

    /// The same to `other`, whose kubeconfig is this.
    pub(crate) async fn walk_other(&self, kubeconfig: &Value, arguments: &[&str]) -> Walk {
        self.write("other", &kubeconfig.to_string());
        self.walk("other", arguments).await
    }

    pub(crate) async fn run(
        &self,
        before: &[&str],
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Walk {
        let output = Command::new(env!("CARGO_BIN_EXE_periscope"))
            .arg("doctor")
            .args(before)
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PERISCOPE_AUTH_MODE", "dev")
            .env("PERISCOPE_AUTH_FILE", "auth.yaml")
            // Whatever is logged at all must not hold a secret.
            .env("PERISCOPE_LOG_LEVEL", "trace")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        let output = output.expect("it ends in time").unwrap();
        Walk {
            code: output.status.code().unwrap(),
            text: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for Clinic {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

impl Walk {
    /// How a hop did, and what was seen: the rest of its line and its warnings.
    pub(crate) fn hop(&self, hop: &str) -> (String, String) {
        let mut lines = self.text.lines();
        let is_hop = |line: &&str| {
            line.split_whitespace().nth(1) == Some(hop) && line.starts_with(char::is_alphabetic)
        };
        let line = lines.find(is_hop);
        let line = line.unwrap_or_else(|| panic!("no hop {hop}: {self:?}"));
        let (mark, mut seen) = line
            .split_once(' ')
            .map(|(mark, rest)| (mark.to_owned(), rest.to_owned()))
            .unwrap();
        for warning in lines.take_while(|line| line.trim_start().starts_with("! ")) {
            seen.push('\n');
            seen.push_str(warning);
        }
        (mark, seen)
    }

    /// This hop is the first that breaks: code 1, its line says `seen`, the paragraph `advice`, and all that
    /// comes later is not walked.
    pub(crate) fn breaks_at(&self, hop: &str, seen: &str, advice: &str) {
        assert_eq!(self.code, 1, "{self:?}");
        let (mark, told) = self.hop(hop);
        assert!(mark == "FAIL" && told.contains(seen), "{self:#?}");
        let paragraph = self
            .text
            .split_once(&format!("{hop} is the first hop that breaks."));
        let paragraph = paragraph
            .unwrap_or_else(|| panic!("no paragraph: {self:#?}"))
            .1;
        let paragraph = paragraph.replace('\n', " ");
        assert!(paragraph.contains(advice), "{advice}: {self:#?}");
        let at = HOPS.iter().position(|name| *name == hop).unwrap();
        for before in &HOPS[..at] {
            assert_ne!(self.hop(before).0, "FAIL", "{self:#?}");
        }
        for after in &HOPS[at + 1..] {
            let (mark, _) = self.hop(after);
            // SPDY is tried by itself, whatever WebSocket says.
            assert!(mark == "skip" || hop == "websocket", "{after}: {self:#?}");
        }
    }

    pub(crate) fn works(&self) {
        assert_eq!(self.code, 0, "{self:#?}");
        assert!(!self.text.contains("FAIL"), "{self:#?}");
        assert!(self.text.contains("Every hop works"), "{self:#?}");
    }

    pub(crate) fn warns(&self, hop: &str, text: &str) {
        let (mark, seen) = self.hop(hop);
        assert!(
            mark == "warn" && seen.contains(text),
            "{hop} {text}: {self:#?}"
        );
    }
}
