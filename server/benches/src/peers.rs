//! Who is measured, and how each is started.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::Failure;
use crate::load::Speech;
use crate::upstream::POD;

/// How long a process may take until it listens.
const START: Duration = Duration::from_secs(20);

/// A gateway or proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// `periscope serve`.
    Periscope,
    /// The naive bridge with buffers of 4 KiB.
    NaiveSmall,
    /// The naive bridge with tungstenite's defaults.
    Naive,
    /// Debian's.
    HaProxy,
    /// Debian's.
    Nginx,
}

/// A running process that is stopped when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Its stdout, kept open so that it can go on writing.
    _stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Peer {
    pub(crate) const ALL: [Self; 5] = [
        Self::Periscope,
        Self::NaiveSmall,
        Self::Naive,
        Self::HaProxy,
        Self::Nginx,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Periscope => "periscope",
            Self::NaiveSmall => "naive bridge, 4 KiB buffers",
            Self::Naive => "naive bridge, defaults",
            Self::HaProxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    pub(crate) fn speech(self) -> Speech {
        match self {
            Self::Periscope => Speech::Console,
            Self::NaiveSmall | Self::Naive => Speech::Bare,
            Self::HaProxy | Self::Nginx => Speech::Channels,
        }
    }

    /// The URL of a shell that runs `command`, a list of words.
    pub(crate) fn url(self, address: SocketAddr, command: &[&str]) -> String {
        match self {
            // Its own default command: what it is does not matter to this upstream.
            Self::Periscope => format!(
                "ws://{address}/api/clusters/rig/{}/exec?container=box&tty=true",
                POD.replacen("default/pods", "pods/default", 1)
            ),
            Self::NaiveSmall | Self::Naive => format!("ws://{address}/"),
            Self::HaProxy | Self::Nginx => {
                let words: Vec<String> = command
                    .iter()
                    .map(|word| format!("command={word}"))
                    .collect();
                format!(
                    "ws://{address}/api/v1/namespaces/{POD}/exec?{}&stdin=true&stdout=true&tty=true",
                    words.join("&")
                )
            }
        }
    }

    /// Starts it in front of an upstream and waits until it listens.
    pub(crate) async fn start(
        self,
        upstream: SocketAddr,
        dir: &Path,
        program: &Path,
    ) -> Result<(Running, SocketAddr), Failure> {
        let address = free_address()?;
        let mut command = match self {
            Self::Periscope => periscope(program, address, dir)?,
            Self::NaiveSmall | Self::Naive => {
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .arg("bridge")
                    .arg("--upstream")
                    .arg(upstream.to_string());
                command.arg("--ca").arg(dir.join("ca.pem"));
                if self == Self::NaiveSmall {
                    command.args(["--buffers", "4096"]);
                }
                let (running, line) = Running::start_and_listen(command).await?;
                return Ok((running, line.parse()?));
            }
            Self::HaProxy => haproxy(address, upstream, dir)?,
            Self::Nginx => nginx(address, upstream, dir)?,
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(dir.join("stderr"))?);
        let mut running = Running {
            child: command.kill_on_drop(true).spawn()?,
            _stdout: None,
        };
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = running.child.try_wait()? {
                    let said = std::fs::read_to_string(dir.join("stderr")).unwrap_or_default();
                    return Err(Failure::from(format!(
                        "{} did not start: {status}\n{said}",
                        self.title()
                    )));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(START, listening).await??;
        Ok((running, address))
    }
}

impl Running {
    /// Starts a process of the rig and waits for the first line it prints.
    pub(crate) async fn start_and_listen(mut command: Command) -> Result<(Self, String), Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await?.ok_or("the process said nothing")?;
        Ok((
            Self {
                child,
                _stdout: Some(lines),
            },
            line,
        ))
    }

    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        Ok(self.child.id().ok_or("the process is gone")?)
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.child.kill().await?;
        Ok(())
    }
}

fn periscope(program: &Path, address: SocketAddr, dir: &Path) -> Result<Command, Failure> {
    let clusters = dir.join("clusters.yaml");
    let kubeconfig = dir.join("kubeconfig");
    let entry = format!(
        "clusters:\n  - name: rig\n    backend: kubeconfig\n    kubeconfigPath: {}\n    exec:\n      serverIdleSeconds: 86400\n      \
         maxSessionsPerUser: 100000\n      maxSessionsTotal: 100000\n",
        kubeconfig.display()
    );
    std::fs::write(&clusters, entry)?;
    let mut command = Command::new(program);
    command.arg("serve").env_clear();
    command
        .env("PERISCOPE_AUTH_MODE", "dev")
        .env("PERISCOPE_CLUSTERS_FILE", clusters);
    command
        .env("PORT", address.port().to_string())
        .env("PERISCOPE_EXEC_OPENS_PER_MINUTE", "0");
    Ok(command)
}

fn haproxy(address: SocketAddr, upstream: SocketAddr, dir: &Path) -> Result<Command, Failure> {
    let config = format!(
        "global\n  nbthread 1\n  maxconn 9900\n  ssl-server-verify required\ndefaults\n  mode http\n  timeout connect 10s\n  timeout client 1h\n  \
         timeout server 1h\n  timeout tunnel 1h\nfrontend front\n  bind {address}\n  default_backend back\nbackend back\n  \
         server rig {upstream} ssl verify required ca-file {}\n",
        dir.join("ca.pem").display()
    );
    let path = dir.join("haproxy.cfg");
    std::fs::write(&path, config)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(path);
    Ok(command)
}

fn nginx(address: SocketAddr, upstream: SocketAddr, dir: &Path) -> Result<Command, Failure> {
    let config = format!(
        "daemon off;\nmaster_process off;\npid {pid};\nerror_log stderr warn;\nworker_rlimit_nofile 20000;\nevents {{ worker_connections 19000; }}\n\
         http {{\n  access_log off;\n  server {{\n    listen {address} backlog=4096;\n    location / {{\n      proxy_pass https://{upstream};\n      \
         proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection upgrade;\n      \
         proxy_ssl_verify on;\n      proxy_ssl_trusted_certificate {ca};\n      proxy_ssl_name rig;\n      proxy_read_timeout 1h;\n      proxy_send_timeout 1h;\n    }}\n  }}\n}}\n",
        pid = dir.join("nginx.pid").display(),
        ca = dir.join("ca.pem").display()
    );
    let path = dir.join("nginx.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(path);
    Ok(command)
}

/// An address nobody listens on now. Somebody else could take it before its owner does; then that
/// one does not start, and says so.
fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
