//! The apiservers: the sandbox, in this process, and one made of Kubernetes' own modules.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_server::sandbox::{Sandbox, SandboxOptions};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How a gateway reaches an apiserver.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// `https://host:port`.
    pub(crate) server: String,
    pub(crate) ca_pem: String,
    pub(crate) token: String,
}

/// What is spoken towards the apiserver, in the order a gateway tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    V5,
    Spdy,
    V4,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V5 => "v5",
            Self::Spdy => "spdy",
            Self::V4 => "v4",
        }
    }
}

/// Whose apiserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Sandbox,
    Interop,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Interop => "interop",
        }
    }

    /// A pod that runs whatever it is told to.
    pub(crate) fn pod(self) -> &'static str {
        match self {
            Self::Sandbox => "shell",
            Self::Interop => "box",
        }
    }

    /// Its container.
    pub(crate) fn container(self) -> &'static str {
        match self {
            Self::Sandbox => "app",
            Self::Interop => "box",
        }
    }

    /// A pod in which no executable is found.
    pub(crate) fn pod_without_shell(self) -> &'static str {
        match self {
            Self::Sandbox => "distroless",
            Self::Interop => "noshell",
        }
    }
}

/// Both, running.
#[derive(Debug)]
pub(crate) struct Peers {
    sandbox: Sandbox,
    interop: Access,
    /// Ends when its stdin does, at the latest when this is dropped.
    program: Child,
    dir: PathBuf,
}

impl Peers {
    /// Starts both. The interop program is built first.
    pub(crate) async fn start(root: &Path, dir: PathBuf) -> io::Result<Self> {
        let options = SandboxOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            faults: Vec::new(),
            dir: dir.join("sandbox"),
        };
        let sandbox = Sandbox::start(options).await.map_err(io::Error::other)?;
        let (child, interop) = interop(root, &dir.join("interop")).await?;
        Ok(Self {
            sandbox,
            interop,
            program: child,
            dir,
        })
    }

    /// The apiserver of a combination. v4 is spoken by the old generation of the sandbox.
    pub(crate) fn access(&self, peer: Peer, transport: Transport) -> Access {
        let name = match (peer, transport) {
            (Peer::Interop, _) => return self.interop.clone(),
            (Peer::Sandbox, Transport::V5) => "modern",
            (Peer::Sandbox, Transport::Spdy | Transport::V4) => "legacy",
        };
        let mut clusters = self.sandbox.clusters().iter();
        let access = clusters.find(|cluster| cluster.name == name).unwrap();
        Access {
            server: access.server.clone(),
            ca_pem: access.ca_pem.clone(),
            token: access.token.clone(),
        }
    }

    /// Ends both and removes what they left.
    pub(crate) async fn stop(self) {
        self.sandbox.stop().await;
        drop(self.program);
        drop(std::fs::remove_dir_all(self.dir));
    }
}

/// Builds and starts the program made of Kubernetes' modules. It ends when its stdin closes.
async fn interop(root: &Path, dir: &Path) -> io::Result<(Child, Access)> {
    let built = Command::new(root.join("server/interop/build.sh"))
        .stderr(Stdio::inherit())
        .output()
        .await?;
    if !built.status.success() {
        return Err(io::Error::other("server/interop/build.sh failed"));
    }
    let program = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    std::fs::create_dir_all(dir)?;
    let mut child = Command::new(program)
        .arg("serve")
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // It complains of every peer that leaves, which is what many rows are about.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines();
    loop {
        match lines.next_line().await? {
            Some(line) if line.starts_with("ready ") => break,
            Some(_) => {}
            None => return Err(io::Error::other("the interop program ended early")),
        }
    }
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let text = std::fs::read_to_string(dir.join("kubeconfig"))?;
    Ok((child, parse(&text).unwrap()))
}

/// The one cluster and user of a kubeconfig.
fn parse(text: &str) -> Option<Access> {
    let config: serde_json::Value = serde_yaml::from_str(text).ok()?;
    let cluster = &config["clusters"][0]["cluster"];
    let ca = STANDARD
        .decode(cluster["certificate-authority-data"].as_str()?)
        .ok()?;
    Some(Access {
        server: cluster["server"].as_str()?.to_owned(),
        ca_pem: String::from_utf8(ca).ok()?,
        token: config["users"][0]["user"]["token"].as_str()?.to_owned(),
    })
}
