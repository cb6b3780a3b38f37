//! The program made of Kubernetes' own modules, `server/interop`: as a client, and as an apiserver.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test without its set-up has failed"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_server::sandbox::ClusterAccess;

/// The program's path; built when it is missing, and the test fails where that is not possible.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/build.sh");
        let output = Command::new(script).output().unwrap();
        assert!(
            output.status.success(),
            "there is no interop: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// A running `interop serve`. It ends with this value: its stdin does.
///
/// The stream translator pings the runtime every five seconds, and a ping that meets a closed socket
/// costs whatever was still on its way, as in real clusters. So a process whose output counts to the
/// last byte has to wait for the end of its stdin.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    dir: PathBuf,
    /// How to reach it.
    pub(crate) access: ClusterAccess,
}

impl Peer {
    /// An apiserver of today, with the stream translator.
    pub(crate) fn translating() -> Self {
        Self::start("translating", &[])
    }

    /// An apiserver before 1.30, which hands every WebSocket on to the runtime.
    pub(crate) fn untranslating() -> Self {
        Self::start("untranslating", &["--untranslated"])
    }

    fn start(name: &'static str, arguments: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("periscope-interop-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        let mut child = Command::new(program())
            .arg("serve")
            .arg("--dir")
            .arg(&dir)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its modules log every connection that ends.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let server = line.trim().strip_prefix("ready ").unwrap().to_owned();
        let access = access(name, &dir.join("kubeconfig"));
        assert_eq!(access.server, server);
        Self { child, dir, access }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn access(name: &'static str, kubeconfig: &Path) -> ClusterAccess {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let config: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let authority = cluster["certificate-authority-data"].as_str().unwrap();
    let ca_pem = String::from_utf8(STANDARD.decode(authority).unwrap()).unwrap();
    ClusterAccess {
        name,
        server: cluster["server"].as_str().unwrap().to_owned(),
        ca_pem,
        token: config["users"][0]["user"]["token"]
            .as_str()
            .unwrap()
            .to_owned(),
        exec_enabled: true,
    }
}
