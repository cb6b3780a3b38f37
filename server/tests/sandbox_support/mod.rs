//! A sandbox, and real `kubectl` programs to point at it.

#![allow(dead_code, reason = "every test program uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test without its set-up has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use periscope_server::sandbox::{ClusterAccess, Fault, Sandbox, SandboxOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A running sandbox with a runtime of its own, so that blocking tests can use it.
pub(crate) struct TestSandbox {
    // Before the runtime, which its end needs.
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) dir: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl TestSandbox {
    pub(crate) fn start(faults: &[Fault]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = std::env::temp_dir().join(format!("periscope-sandbox-{}", uuid::Uuid::new_v4()));
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = SandboxOptions {
            listen,
            faults: faults.to_vec(),
            dir: dir.clone(),
        };
        let sandbox = runtime.block_on(Sandbox::start(options)).unwrap();
        Self {
            sandbox: Some(sandbox),
            dir,
            runtime,
        }
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            self.runtime.block_on(sandbox.stop());
        }
    }

    /// `kubectl` with this sandbox's kubeconfig and nothing else from the environment.
    pub(crate) fn kubectl(&self, client: &Client, context: &str) -> Command {
        let mut command = Command::new(&client.program);
        command
            .env_clear()
            .env("HOME", &self.dir)
            .env("PATH", "/usr/bin:/bin")
            .env("KUBECONFIG", self.sandbox().kubeconfig())
            .envs(client.environment.iter().copied())
            .arg("--context")
            .arg(context)
            .arg("--cache-dir")
            .arg(self.dir.join("cache"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `kubectl` to its end.
    pub(crate) fn run(&self, client: &Client, context: &str, arguments: &[&str]) -> Run {
        Run::of(
            &self
                .kubectl(client, context)
                .args(arguments)
                .output()
                .unwrap(),
        )
    }
}

impl Drop for TestSandbox {
    fn drop(&mut self) {
        self.stop();
        // The client's own cache is left in the directory.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a program said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// One way to run `kubectl`.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

/// The `kubectl` of this machine, over WebSocket.
pub(crate) fn websocket() -> Client {
    Client {
        name: "kubectl over WebSocket",
        program: installed(),
        environment: Vec::new(),
    }
}

/// The `kubectl` of this machine, over SPDY.
pub(crate) fn spdy() -> Client {
    let environment = vec![("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")];
    Client {
        name: "kubectl over SPDY",
        program: installed(),
        environment,
    }
}

/// A `kubectl` 1.20, which knows SPDY only.
pub(crate) fn old() -> Client {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.join("tests/tools/kubectl-1.20.sh");
        let output = Command::new("sh").arg(&script).output().unwrap();
        assert!(
            output.status.success(),
            "there is no kubectl 1.20: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    });
    Client {
        name: "kubectl 1.20",
        program: program.clone(),
        environment: Vec::new(),
    }
}

fn installed() -> PathBuf {
    let directories = std::env::var("PATH").unwrap();
    let found = directories
        .split(':')
        .map(|directory| Path::new(directory).join("kubectl"))
        .find(|path| path.is_file());
    found.expect("these tests need kubectl 1.30 or later in the PATH")
}

/// Runs a test that speaks to the sandbox itself.
impl TestSandbox {
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn access(&self, cluster: &str) -> &ClusterAccess {
        self.sandbox()
            .clusters()
            .iter()
            .find(|access| access.name == cluster)
            .unwrap()
    }

    /// A TLS connection that trusts the kubeconfig's authority.
    pub(crate) async fn connect(&self, cluster: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let access = self.access(cluster);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(access.ca_pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = access.server.strip_prefix("https://").unwrap();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// Sends a request with the owner's token and these header lines, and nothing more.
    pub(crate) async fn send(
        &self,
        cluster: &str,
        request_line: &str,
        headers: &[&str],
    ) -> TlsStream<TcpStream> {
        let mut stream = self.connect(cluster).await.unwrap();
        stream
            .write_all(self.head(cluster, request_line, headers).as_bytes())
            .await
            .unwrap();
        stream
    }

    pub(crate) fn head(&self, cluster: &str, request_line: &str, headers: &[&str]) -> String {
        let token = &self.access(cluster).token;
        let mut head = format!(
            "{request_line} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {token}\r\n"
        );
        for header in headers {
            head += header;
            head += "\r\n";
        }
        head + "\r\n"
    }
}

/// Everything up to the end of the connection.
pub(crate) async fn read_all(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An end without close_notify is an end, too.
    match stream.read_to_end(&mut bytes).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}"),
    }
    bytes
}

/// One answer whose length is given: its head and its body.
pub(crate) async fn read_answer(stream: &mut TlsStream<TcpStream>) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let lower = head.to_lowercase();
            let len = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let len: usize = len.unwrap_or("0").parse().unwrap();
            if bytes.len() >= end + 4 + len {
                return (head, String::from_utf8(bytes[end + 4..].to_vec()).unwrap());
            }
        }
        assert!(
            stream.read_buf(&mut bytes).await.unwrap() > 0,
            "ended in {bytes:?}"
        );
    }
}
