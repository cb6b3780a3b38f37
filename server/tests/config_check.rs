//! `periscope config check`: what it prints, and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::PathBuf;
use std::process::Command;

/// A folder of a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("periscope-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    /// Exit code, stdout and stderr of the check, run in this folder with only these variables.
    fn check(&self, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_periscope"))
            .args(["config", "check"])
            .current_dir(&self.0)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const CLUSTERS: &str = "\
clusters:
  - name: prod
    backend: eks
    region: us-east-1
    arn: arn:aws:eks:us-east-1:111111111111:cluster/prod
    exec:
      serverIdleSeconds: 1800
      maxSessionsPerUser: 0
  - name: locked-down
    backend: kubeconfig
    kubeconfigPath: /etc/kube/config
    exec:
      enabled: false
";

const AUTH: &str = "\
oidc:
  issuer: https://idp.example
  clientID: periscope
  clientSecret: ${CLIENT_SECRET}
  redirectURL: https://shell.example/api/auth/callback
session:
  cookieName: old
authorization:
  mode: tier
  groupTiers: {sre: admin}
";

#[test]
fn the_check_prints_every_effective_value_with_its_origin_and_no_secret() {
    let folder = Folder::with(&[("clusters.yaml", CLUSTERS), ("auth.yaml", AUTH)]);
    let (code, stdout, stderr) = folder.check(&[
        ("PERISCOPE_AUTH_MODE", "oidc"),
        ("PERISCOPE_CLUSTERS_FILE", "clusters.yaml"),
        ("PERISCOPE_AUTH_FILE", "auth.yaml"),
        ("PERISCOPE_EXEC_HEARTBEAT_SECONDS", "10"),
        ("PERISCOPE_AUDIT_ENABLED", "1"),
        ("PERISCOPE_AUDIT_KEY", "hunter2-key"),
        ("CLIENT_SECRET", "hunter2-secret"),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2-aws"),
        ("AWS_ENDPOINT_URL_EKS", "https://eks.example"),
    ]);
    assert_eq!(code, Some(0), "{stderr}");
    let prod = stdout.split("\n[cluster prod]\n").nth(1).unwrap();
    let (prod, locked) = prod.split_once("\n[cluster locked-down]\n").unwrap();
    for line in [
        "backend = eks  # clusters.yaml:3: clusters[0].backend",
        "exec.enabled = true  # default",
        "exec.serverIdleSeconds = 1800  # clusters.yaml:7: clusters[0].exec.serverIdleSeconds",
        "exec.heartbeatSeconds = 10  # PERISCOPE_EXEC_HEARTBEAT_SECONDS",
        "exec.maxSessionsPerUser = 5  # default",
    ] {
        assert!(
            prod.lines().any(|printed| printed == line),
            "{line}: {prod}"
        );
    }
    for line in [
        "kubeconfigPath = /etc/kube/config  # clusters.yaml:10: clusters[1].backend",
        "exec.enabled = false  # clusters.yaml:13: clusters[1].exec.enabled",
        "exec.serverIdleSeconds = 600  # default",
    ] {
        assert!(
            locked.lines().any(|printed| printed == line),
            "{line}: {locked}"
        );
    }
    for line in [
        "authMode = oidc  # PERISCOPE_AUTH_MODE",
        "publicURL = https://shell.example  # from oidc.redirectURL",
        "clientSecret = [redacted]  # auth.yaml:4: oidc.clientSecret",
        "key = [redacted]  # PERISCOPE_AUDIT_KEY",
        "enabled = true  # PERISCOPE_AUDIT_ENABLED",
        "credentials = key AKIAEXAMPLE  # AWS_ACCESS_KEY_ID",
        "region = us-east-1  # from the first cluster of the backend eks",
        "endpointURL.eks = https://eks.example  # AWS_ENDPOINT_URL_EKS",
        "endpointURL.sts = (none)  # default",
        "groupTiers.sre = admin  # auth.yaml:9: authorization.mode",
    ] {
        assert!(
            stdout.lines().any(|printed| printed == line),
            "{line}: {stdout}"
        );
    }
    let warnings: Vec<_> = stderr.lines().collect();
    assert!(
        warnings.len() == 2
            && warnings[0].starts_with("periscope: warning: clusters.yaml:8: ")
            && warnings[1].starts_with("periscope: warning: auth.yaml:7: session.cookieName"),
        "{warnings:?}"
    );
    assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"));
}

#[test]
fn a_wrong_configuration_is_exit_code_3_with_every_error_on_its_line() {
    let clusters = CLUSTERS.replace("enabled: false", "enable: false\n      enabled: nope");
    let folder = Folder::with(&[("clusters.yaml", &clusters)]);
    let (code, stdout, stderr) = folder.check(&[
        ("PERISCOPE_AUTH_MODE", "dev"),
        ("PERISCOPE_CLUSTERS_FILE", "clusters.yaml"),
        ("PERISCOPE_LOG_LEVEL", "loud"),
    ]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    for error in [
        "periscope: error: PERISCOPE_LOG_LEVEL must be off, error, warn, info, debug or trace",
        "periscope: error: clusters.yaml:13: clusters[1].exec.enable: unknown key; did you mean `enabled`?",
        "periscope: error: clusters.yaml:14: clusters[1].exec.enabled must be true or false, without quotes",
    ] {
        assert!(
            stderr.lines().any(|line| line == error),
            "{error}: {stderr}"
        );
    }
    let agent = "clusters: [{name: edge, backend: agent}]";
    let folder = Folder::with(&[("clusters.yaml", agent)]);
    let variables = [
        ("PERISCOPE_AUTH_MODE", "dev"),
        ("PERISCOPE_CLUSTERS_FILE", "clusters.yaml"),
    ];
    let (code, _, stderr) = folder.check(&variables);
    assert!(
        code == Some(3) && stderr.contains("edge") && stderr.contains("`agent`"),
        "{stderr}"
    );
}
