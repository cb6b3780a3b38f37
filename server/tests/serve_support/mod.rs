//! A running `periscope serve`, the folder with its files, and a sandbox that is its cluster.

#![allow(dead_code, reason = "every test program uses a part of this")]

#[path = "../payload/mod.rs"]
mod payload;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tokio::{TokioAdapter, client_async};
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::handshake::client::generate_key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use periscope_server::sandbox::{ClusterAccess, Fault, Sandbox, SandboxOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use payload::Payload;

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with configuration files, and the cluster they are about.
pub(crate) struct Place {
    dir: PathBuf,
    sandbox: Sandbox,
}

impl Place {
    /// A folder with a `clusters.yaml` of one cluster, `modern`, that wants `kubeconfig` beside it.
    pub(crate) async fn new(faults: &[Fault]) -> Self {
        let dir = std::env::temp_dir().join(format!("periscope-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        let options = SandboxOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            faults: faults.to_vec(),
            dir: dir.join("sandbox"),
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let place = Self { dir, sandbox };
        place.write(
            "clusters.yaml",
            "clusters:\n  - name: modern\n    backend: kubeconfig\n    kubeconfigPath: kubeconfig\n    \
             environment: test\n    tags: {team: payments}\n",
        );
        place
    }

    pub(crate) fn access(&self) -> &ClusterAccess {
        self.access_to("modern")
    }

    fn access_to(&self, name: &str) -> &ClusterAccess {
        let mut clusters = self.sandbox.clusters().iter();
        clusters.find(|cluster| cluster.name == name).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.access().token.clone()
    }

    /// The path of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap()
    }

    /// Configures one of the sandbox's clusters, alone and with its right token.
    pub(crate) fn cluster_of_its_own(&self, name: &str) {
        let access = self.access_to(name);
        let user = json!({ "token": access.token });
        self.write("kubeconfig", &kubeconfig_to(access, &user).to_string());
        self.write(
            "clusters.yaml",
            &format!(
                "clusters: [{{name: {name}, backend: kubeconfig, kubeconfigPath: kubeconfig}}]\n"
            ),
        );
    }

    /// A kubeconfig for `modern` with this user.
    pub(crate) fn kubeconfig_of(&self, user: &Value) -> Value {
        kubeconfig_to(self.access(), user)
    }

    /// Writes it.
    pub(crate) fn kubeconfig(&self, user: &Value) {
        self.write("kubeconfig", &self.kubeconfig_of(user).to_string());
    }

    /// A kubeconfig with a plugin. `script` runs in the folder, may exit, and sets `token`.
    pub(crate) fn plugin(&self, script: &str) {
        let dir = self.dir.display();
        self.write("runs", "");
        let text = format!(
            "cd '{dir}'\necho run >> runs\necho \"${{PERISCOPE_AUTH_MODE-unset}}\" >> saw\n\
             echo \"$KUBERNETES_EXEC_INFO\" >> info\n{script}\n\
             printf '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"%s\"}}}}' \"$token\"\n"
        );
        self.write("plugin.sh", &text);
        self.kubeconfig(&json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": [self.dir.join("plugin.sh")],
            "env": [{ "name": "PLUGIN", "value": "x" }],
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": true,
        } }));
    }

    /// How often the plugin was started.
    pub(crate) fn plugin_runs(&self) -> usize {
        self.read("runs").lines().count()
    }

    /// The verbs of the rows in `audit.db`, oldest first, as the program itself reads them.
    pub(crate) fn audited(&self) -> Vec<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_periscope"))
            .args(["audit", "query"])
            .current_dir(&self.dir)
            .env("PERISCOPE_AUDIT_DB_PATH", "audit.db")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let rows = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let verbs = rows.filter_map(|row| Some(row["verb"].as_str()?.to_owned()));
        let mut verbs: Vec<_> = verbs.collect();
        verbs.reverse();
        verbs
    }

    /// Writes `cert.pem` and `key.pem` for 127.0.0.1, and returns the certificate.
    pub(crate) fn certificate(&self) -> String {
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = certified.cert.pem();
        self.write("cert.pem", &certificate);
        self.write("key.pem", &certified.signing_key.serialize_pem());
        certificate
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn kubeconfig_to(access: &ClusterAccess, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "users": [{ "name": "u", "user": user }],
        "clusters": [{ "name": "k", "cluster": {
            "server": access.server,
            "certificate-authority-data": STANDARD.encode(&access.ca_pem),
        } }],
    })
}

/// The path of a shell in a pod of `default`.
fn exec_path(pod: &str) -> String {
    format!("/api/clusters/modern/pods/default/{pod}/exec")
}

/// A running server, ended with the test.
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    log_reader: Option<std::thread::JoinHandle<()>>,
    /// What it printed, once it has ended.
    printed: String,
    tls: Option<TlsConnector>,
    payload: Arc<Payload>,
    /// The database, where the tests of this folder have it.
    database: PathBuf,
}

impl Served {
    pub(crate) async fn start(place: &Place, variables: &[(&str, &str)]) -> Self {
        Self::start_with(place, variables, None).await
    }

    /// The same behind TLS with this certificate.
    pub(crate) async fn start_tls(
        place: &Place,
        variables: &[(&str, &str)],
        authority: &str,
    ) -> Self {
        let connector = trusting(authority);
        Self::start_with(place, variables, Some(connector)).await
    }

    async fn start_with(
        place: &Place,
        variables: &[(&str, &str)],
        tls: Option<TlsConnector>,
    ) -> Self {
        let mut child = command(place, variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = tokio::sync::oneshot::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        let log_reader = std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in stderr.lines() {
                let Ok(line) = line else { break };
                let address = line
                    .split_once("msg=serve.listening address=")
                    .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
                lines.lock().unwrap().push(line);
                if let (Some(address), Some(_)) = (address, &tell) {
                    let address: SocketAddr = address;
                    // Who waits no longer has failed already.
                    let _unheard = tell.take().map(|tell| tell.send(address));
                }
            }
        });
        let address = tokio::time::timeout(PATIENCE, told).await;
        let address = address.expect("it listens in time");
        let address = address.unwrap_or_else(|_| panic!("it ended: {:?}", log.lock().unwrap()));
        Self {
            child,
            address,
            log,
            log_reader: Some(log_reader),
            printed: String::new(),
            tls,
            payload: Arc::default(),
            database: place.dir.join("audit.db"),
        }
    }

    /// Exit code and stderr of a server that does not start.
    pub(crate) fn refused(place: &Place, variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut child = command(place, variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that starts after all says so, and is ended: it would serve for ever.
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        for line in stderr.lines() {
            let line = line.unwrap();
            if line.contains("msg=serve.listening") {
                drop(child.kill());
            }
            said.push_str(&line);
            said.push('\n');
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code(), said)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its resident memory, as the system counts it.
    pub(crate) fn resident_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.unwrap().parse().unwrap()
    }

    /// Its count of terminal bytes, both directions together.
    pub(crate) async fn carried(&self) -> u64 {
        let metrics = self.text("/metrics").await;
        let counts = metrics
            .lines()
            .filter(|line| line.starts_with("periscope_exec_bytes_total"));
        counts
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until a line with this text is in the log, and returns all of it.
    pub(crate) async fn logged(&self, text: &str) -> String {
        let wait = async {
            loop {
                let log = self.log().join("\n");
                if log.contains(text) {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("no {text}: {:?}", self.log()))
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", name, &id]).status();
        assert!(killed.unwrap().success());
    }

    /// Waits for its end: exit code and everything it printed.
    pub(crate) async fn ended(&mut self) -> (Option<i32>, String) {
        let mut stdout = self.child.stdout.take().unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let text = tokio::time::timeout(PATIENCE, reading).await;
        self.printed = text.expect("it ends in time").unwrap();
        (self.child.wait().unwrap().code(), self.printed.clone())
    }

    /// Its metrics, where it still answers and without TLS.
    fn metrics(&self) -> std::io::Result<String> {
        let mut text = String::new();
        if self.tls.is_none() {
            let mut stream = std::net::TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let host = self.address;
            let head =
                format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            std::io::Write::write_all(&mut stream, head.as_bytes())?;
            stream.read_to_string(&mut text)?;
        }
        Ok(text)
    }

    /// Whether a newcomer who trusts this authority alone takes it for the server.
    pub(crate) async fn is_vouched_for_by(&self, authority: &str) -> bool {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        trusting(authority).connect(name, stream).await.is_ok()
    }

    async fn connect(&self) -> Stream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.over(stream).await
    }

    /// What a browser speaks through on a connected socket.
    pub(crate) async fn over(&self, stream: TcpStream) -> Stream {
        match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from("127.0.0.1").unwrap();
                Stream::Tls(Box::new(tls.connect(name, stream).await.unwrap()))
            }
        }
    }

    /// Status and JSON body of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let host = self.address.to_string();
        self.request(path, &[("Host", &host)]).await
    }

    /// The status of a GET with this name for a host.
    pub(crate) async fn get_as(&self, name: &str, path: &str) -> u16 {
        let host = format!("{name}:{}", self.address.port());
        self.request(path, &[("Host", &host)]).await.0
    }

    /// The status of a dry run from a page of this origin.
    pub(crate) async fn dry_run(&self, pod: &str, origin: &str) -> u16 {
        let host = self.address.to_string();
        let headers = [("Host", host.as_str()), ("Origin", origin)];
        self.request(&exec_path(pod), &headers).await.0
    }

    async fn text(&self, path: &str) -> String {
        let host = self.address.to_string();
        self.raw(path, &[("Host", &host)]).await.1
    }

    async fn request(&self, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let (head, body) = self.raw(path, headers).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Head and body of the answer to a GET.
    pub(crate) async fn raw(&self, path: &str, headers: &[(&str, &str)]) -> (String, String) {
        let mut head = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let answer = async {
            let mut stream = self.connect().await;
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // A server that ends TLS without a farewell has still answered.
            drop(stream.read_to_end(&mut answer).await);
            String::from_utf8(answer).unwrap()
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.expect("an answer in time");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        (head.to_owned(), body.to_owned())
    }

    /// A shell in a pod of `default`.
    pub(crate) async fn shell(&self, pod: &str) -> Shell {
        self.shell_with(pod, &[]).await
    }

    /// The same with further headers.
    pub(crate) async fn shell_with(&self, pod: &str, headers: &[(&str, &str)]) -> Shell {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .uri(format!("{scheme}://{}{}", self.address, exec_path(pod)))
            .header("Host", self.address.to_string())
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key())
            .body(())
            .unwrap();
        let opened = async { client_async(request, self.connect().await).await };
        let opened = tokio::time::timeout(PATIENCE, opened).await;
        let (socket, _) = opened.expect("an answer in time").unwrap();
        Shell {
            socket,
            payload: Arc::clone(&self.payload),
            output: String::new(),
            messages: Vec::new(),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let metrics = self.metrics().unwrap_or_default();
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(mut stdout) = self.child.stdout.take() {
            drop(stdout.read_to_string(&mut self.printed));
        }
        if let Some(reader) = self.log_reader.take() {
            drop(reader.join());
        }
        // A test that has failed already has its reason.
        if !std::thread::panicking() {
            let log = self.log().join("\n") + &metrics;
            let files = payload::database_files(&self.database);
            self.payload.expect_nowhere(&log, &self.printed, &files);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.payload.add(self.output.as_bytes());
        for message in &self.messages {
            self.payload.told(&message.to_string());
        }
    }
}

/// TLS with those that this authority vouches for. Remembers no session of another.
fn trusting(authority: &str) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn command(place: &Place, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_periscope"));
    command
        .arg("serve")
        .current_dir(&place.dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PORT", "0")
        .env("PERISCOPE_AUTH_MODE", "dev")
        // The most it can say, so that everything it must not say would be seen.
        .env("PERISCOPE_LOG_LEVEL", "trace")
        .env("PERISCOPE_CLUSTERS_FILE", "clusters.yaml");
    if Path::new(&place.dir.join("auth.yaml")).exists() {
        command.env("PERISCOPE_AUTH_FILE", "auth.yaml");
    }
    command.envs(variables.iter().copied());
    command
}

/// A shell as a browser has it.
pub(crate) struct Shell {
    socket: WebSocketStream<TokioAdapter<Stream>>,
    payload: Arc<Payload>,
    output: String,
    messages: Vec<Value>,
}

impl Shell {
    /// What the terminal showed.
    pub(crate) fn output(&self) -> &str {
        &self.output
    }

    pub(crate) async fn type_in(&mut self, text: &str) {
        self.payload.add(text.as_bytes());
        let message = Message::binary(text.as_bytes().to_vec());
        self.socket.send(message).await.unwrap();
    }

    /// Reads on until a control message of this type came, and returns it.
    pub(crate) async fn message(&mut self, kind: &str) -> Value {
        let is_it = |message: &&Value| message["type"] == kind;
        while !self.messages.iter().any(|message| is_it(&message)) {
            self.read_on().await;
        }
        self.messages.iter().find(is_it).unwrap().clone()
    }

    /// Reads on until the terminal has shown this.
    pub(crate) async fn shows(&mut self, text: &str) {
        while !self.output.contains(text) {
            self.read_on().await;
        }
    }

    async fn read_on(&mut self) {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        match next.unwrap_or_else(|_| panic!("nothing came after {:?}", self.messages)) {
            Some(Ok(Message::Binary(bytes))) => {
                self.output.push_str(&String::from_utf8_lossy(&bytes));
            }
            Some(Ok(Message::Text(text))) => {
                self.messages.push(serde_json::from_str(&text).unwrap());
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?} after {:?}", self.messages),
        }
    }
}

/// A connection to the server.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
