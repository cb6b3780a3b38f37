//! A gateway in front of the sandbox, in this process, and two clients for it: one that sends any
//! bytes as HTTP, and an independent WebSocket implementation.
#![allow(dead_code, reason = "each test program uses its own part")]

#[path = "../payload/mod.rs"]
pub(crate) mod payload;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tokio::{TokioAdapter, client_async};
use async_tungstenite::tungstenite::handshake::client::generate_key;
use async_tungstenite::tungstenite::{Error, Message};
use futures_util::StreamExt as _;
use periscope_core::http::SecretValue;
use periscope_server::gateway::audit::{Audit, DatabaseOptions};
use periscope_server::gateway::identity::{Authorization, Subject, Tier};
use periscope_server::gateway::kube::{Credentials, Endpoint, KubeClient};
use periscope_server::gateway::login::{
    Authentication, DemoLogin, Lifetimes, OidcLogin, OidcOptions, Secret,
};
use periscope_server::gateway::origin::{Hosts, Origins, PublicUrl};
use periscope_server::gateway::registry::{Backend, Cluster, ExecSettings, Registry};
use periscope_server::gateway::shutdown::{self, Left};
use periscope_server::gateway::{Gateway, GatewayOptions, Listening};
use periscope_server::sandbox::{ClusterAccess, Fault, Sandbox, SandboxOptions};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use payload::Payload;

/// How long anything here may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What differs from the defaults.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) faults: Vec<Fault>,
    pub(crate) exec: ExecSettings,
    pub(crate) opens_per_minute: u32,
    pub(crate) drain: Duration,
    pub(crate) tier: Tier,
    pub(crate) sub: &'static str,
    /// As whom people act, instead of the tier above.
    pub(crate) authorization: Option<Authorization>,
    /// Who vouches for people, instead of the demo's token.
    pub(crate) login: LoginMode,
    /// Where the apiserver of `modern` is, instead of in the sandbox.
    pub(crate) modern_at: Option<SocketAddr>,
    /// Clusters beside the sandbox's.
    pub(crate) peers: Vec<ClusterAccess>,
    /// The audit's stream takes nothing until the sender of this is dropped.
    pub(crate) audit_blocked_by: Option<mpsc::Receiver<()>>,
    /// The audit's database.
    pub(crate) database: Option<DatabaseOptions>,
}

/// How people log in.
#[derive(Debug, Default)]
pub(crate) enum LoginMode {
    /// With the token of the URL.
    #[default]
    Demo,
    /// Not at all.
    Dev,
    /// Through the provider at this issuer, with options that differ by this.
    Oidc {
        issuer: String,
        change: fn(&mut OidcOptions),
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            exec: ExecSettings::default(),
            opens_per_minute: 0,
            drain: Duration::from_secs(10),
            tier: Tier::Admin,
            sub: "ann",
            authorization: None,
            login: LoginMode::Demo,
            modern_at: None,
            peers: Vec::new(),
            audit_blocked_by: None,
            database: None,
        }
    }
}

/// A running gateway.
pub(crate) struct World {
    gateway: Arc<Gateway>,
    listening: Option<Listening>,
    _sandbox: Sandbox,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    audit: Arc<Mutex<Vec<u8>>>,
    sink: Arc<Audit>,
    payload: Arc<Payload>,
    /// The first record of the log that can be about this gateway.
    log_from: usize,
    files: Vec<PathBuf>,
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    /// The `Set-Cookie` headers, of which there can be several.
    pub(crate) cookies: Vec<String>,
    pub(crate) body: String,
}

pub(crate) type WebSocket = WebSocketStream<TokioAdapter<TcpStream>>;

/// A shell as a browser has it.
pub(crate) struct Shell {
    pub(crate) socket: WebSocket,
    payload: Option<Arc<Payload>>,
    /// What the terminal showed.
    pub(crate) output: String,
    /// The control messages, oldest first.
    pub(crate) messages: Vec<Value>,
    /// The WebSocket's close code, once it came.
    pub(crate) close_code: Option<u16>,
}

impl World {
    pub(crate) async fn start(mut settings: Settings) -> Self {
        payload::keep_log();
        let log_from = payload::log_len();
        let blocked_by = settings.audit_blocked_by.take();
        let database = settings.database.take();
        let files = database
            .as_ref()
            .map_or_else(Vec::new, |options| payload::database_files(&options.path));
        let dir = unused_dir();
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = SandboxOptions {
            listen,
            faults: settings.faults.clone(),
            dir,
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let groups = vec!["everyone".to_owned()];
        let subject = Subject {
            sub: settings.sub.to_owned(),
            email: None,
            groups,
        };
        let public_url = PublicUrl::of_listener(address);
        let mut token = String::new();
        let authentication = match &settings.login {
            LoginMode::Demo => {
                let login = DemoLogin::new(subject, address.port()).unwrap();
                login.token().reveal().clone_into(&mut token);
                Authentication::Demo(login)
            }
            LoginMode::Dev => Authentication::Dev(Arc::new(subject)),
            LoginMode::Oidc { issuer, change } => {
                let mut options = oidc_options(issuer, &public_url);
                change(&mut options);
                Authentication::Oidc(Box::new(OidcLogin::new(options).unwrap()))
            }
        };
        let hosts = match settings.login {
            LoginMode::Demo | LoginMode::Dev => Hosts::Loopback,
            LoginMode::Oidc { .. } => Hosts::Public,
        };
        let authorization = settings.authorization.clone();
        let authorization = authorization.unwrap_or_else(|| Authorization::Tier {
            group_tiers: vec![("everyone".to_owned(), settings.tier)],
            default_tier: None,
        });
        let audit = Arc::new(Mutex::new(Vec::new()));
        let clusters = sandbox
            .clusters()
            .iter()
            .chain(&settings.peers)
            .map(|access| cluster(access, &settings));
        let stream = Stream {
            written: Arc::clone(&audit),
            blocked_by,
        };
        let sink = Audit::start(Box::new(stream), database).unwrap();
        let sink = Arc::new(sink);
        let gateway = Gateway::new(GatewayOptions {
            registry: Registry::new(clusters.collect()),
            authentication,
            authorization,
            origins: Origins::new(public_url, hosts, Vec::new()),
            exec_opens_per_minute: settings.opens_per_minute,
            drain: settings.drain,
            audit: Arc::clone(&sink),
        });
        let listening = Some(Listening::start(listener, Arc::clone(&gateway)).unwrap());
        Self {
            gateway,
            listening,
            _sandbox: sandbox,
            address,
            token,
            audit,
            sink,
            payload: Arc::default(),
            log_from,
            files,
        }
    }

    /// Asks the gateway to leave, as SIGTERM does.
    pub(crate) async fn drain(&mut self, hurry: impl Future<Output = ()>) -> Left {
        let listening = self.listening.take().unwrap();
        tokio::time::timeout(PATIENCE, shutdown::drain(&self.gateway, listening, hurry))
            .await
            .unwrap()
    }

    /// A request with the bearer token.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").await
    }

    /// A request with the bearer token.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let authorization = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.anonymous(method, path, &all, body).await
    }

    /// A request with these headers, and a Host if they have none.
    pub(crate) async fn anonymous(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let host = self.address.to_string();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            write!(head, "Host: {host}\r\n").unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        let answer = self.raw(format!("{head}\r\n{body}").as_bytes()).await;
        self.payload.told(&answer.body);
        answer
    }

    /// These bytes, and whatever comes back before the connection ends.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        exchange(self.address, bytes).await
    }

    /// These bytes, and the answer they get on a connection that may stay open behind it.
    pub(crate) async fn raw_upgrade(&self, bytes: &[u8]) -> Answer {
        let answer = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            Answer::parse(&answer)
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .expect("an answer in time")
    }

    /// A WebSocket handshake with the bearer token.
    pub(crate) async fn handshake(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Shell, Answer> {
        let authorization = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.anonymous_handshake(path, &all).await
    }

    /// A WebSocket handshake with these headers and no others.
    pub(crate) async fn anonymous_handshake(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Shell, Answer> {
        let opened = open(self.address, path, headers).await;
        if let Err(answer) = &opened {
            self.payload.told(&answer.body);
        }
        opened.map(|mut shell| {
            shell.payload = Some(Arc::clone(&self.payload));
            shell
        })
    }

    /// A shell in a pod of `default`, up.
    pub(crate) async fn shell(&self, cluster: &str, pod: &str, query: &str) -> Shell {
        let mut shell = self
            .handshake(&exec_path(cluster, pod, query), &[])
            .await
            .unwrap();
        shell.message("hello").await;
        shell
    }

    /// A shell that is refused before its handshake is done.
    pub(crate) async fn refused(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.handshake(path, headers)
            .await
            .err()
            .expect("a refusal")
    }

    pub(crate) async fn sessions(&self) -> Vec<Value> {
        self.get("/api/sessions").await.json()["items"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// Resolves when this many sessions are live.
    pub(crate) async fn wait_for_sessions(&self, count: usize) {
        let wait = async {
            while self.sessions().await.len() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("that many sessions in time");
    }

    /// The audit rows so far.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let bytes = self.audit.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// All audit rows, at the end of a test: what comes later is not written any more.
    pub(crate) fn final_audit(&self) -> Vec<Value> {
        assert_eq!(self.sink.close(PATIENCE), 0, "every row is written");
        self.audit()
    }

    /// The first audit row of a kind, once it is written.
    pub(crate) async fn audit_row(&self, verb: &str) -> Value {
        let wait = async {
            loop {
                if let Some(row) = self.audit().into_iter().find(|row| row["verb"] == verb) {
                    return row;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("an audit row in time")
    }
}

/// These bytes to a gateway, and whatever comes back before the connection ends.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let answer = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that has heard enough may refuse the rest.
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        Answer::parse(&answer)
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("an answer in time")
}

/// A WebSocket handshake with these headers and no others.
pub(crate) async fn open(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Shell, Answer> {
    let mut request = http::Request::builder()
        .uri(format!("ws://{address}{path}"))
        .header("Host", address.to_string())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let opening = client_async(request.body(()).unwrap(), stream);
    match tokio::time::timeout(PATIENCE, opening)
        .await
        .expect("a handshake in time")
    {
        Ok((socket, _)) => Ok(Shell::new(socket)),
        Err(Error::Http(refusal)) => {
            let (parts, body) = refusal.into_parts();
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                (name.to_string(), value.to_str().unwrap().to_owned())
            };
            Err(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers.iter().map(header).collect(),
                cookies: Vec::new(),
                body: String::from_utf8(body.unwrap_or_default()).unwrap(),
            })
        }
        Err(error) => panic!("{error}"),
    }
}

/// The path of a shell in a pod of `default`.
pub(crate) fn exec_path(cluster: &str, pod: &str, query: &str) -> String {
    format!("/api/clusters/{cluster}/pods/default/{pod}/exec{query}")
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers: Vec<_> = lines.map(header).collect();
        let cookies = headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
            .map(|(_, value)| value.clone())
            .collect();
        Self {
            status,
            headers: headers.into_iter().collect(),
            cookies,
            body: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The error code of the body.
    pub(crate) fn error(&self) -> String {
        self.json()["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error: {self:?}"))
            .to_owned()
    }

    /// Status and error code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.error())
    }
}

impl Shell {
    fn new(socket: WebSocket) -> Self {
        Self {
            socket,
            payload: None,
            output: String::new(),
            messages: Vec::new(),
            close_code: None,
        }
    }

    pub(crate) async fn type_in(&mut self, text: &str) {
        if let Some(payload) = &self.payload {
            payload.add(text.as_bytes());
        }
        self.socket
            .send(Message::binary(text.as_bytes().to_vec()))
            .await
            .unwrap();
    }

    pub(crate) async fn control(&mut self, message: &Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// Reads on until a control message of this type came, and returns it.
    pub(crate) async fn message(&mut self, kind: &str) -> Value {
        self.until(|shell| {
            let found = shell
                .messages
                .iter()
                .find(|message| message["type"] == kind);
            found.cloned()
        })
        .await
    }

    /// Reads on until the terminal has shown this.
    pub(crate) async fn shows(&mut self, text: &str) {
        self.until(|shell| shell.output.contains(text).then_some(()))
            .await;
    }

    /// Reads on until the terminal has shown this many bytes.
    pub(crate) async fn receives(&mut self, len: usize) {
        self.until(|shell| (shell.output.len() >= len).then_some(()))
            .await;
    }

    /// Reads on to the end and returns the `closed` message.
    pub(crate) async fn closed(&mut self) -> Value {
        let closed = self.message("closed").await;
        self.until(|shell| shell.close_code).await;
        // Reading on sends the answer to the Close and finds the end.
        drop(self.socket.next().await);
        let count = self
            .messages
            .iter()
            .filter(|message| message["type"] == "closed")
            .count();
        assert_eq!(count, 1, "{:?}", self.messages);
        assert_eq!(
            self.messages.last(),
            Some(&closed),
            "closed is the last message"
        );
        closed
    }

    async fn until<T>(&mut self, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        // Pings keep coming when nothing else does, so the whole wait has an end, too.
        let deadline = tokio::time::Instant::now() + 4 * PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let patience = deadline.min(tokio::time::Instant::now() + PATIENCE);
            let next = tokio::time::timeout_at(patience, self.socket.next()).await;
            let next = next.unwrap_or_else(|_| {
                panic!("nothing came after {:?} {:?}", self.messages, self.output)
            });
            match next {
                Some(Ok(Message::Binary(bytes))) => {
                    self.output.push_str(&String::from_utf8_lossy(&bytes));
                }
                Some(Ok(Message::Text(text))) => {
                    self.messages.push(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => {
                    self.close_code = Some(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error} after {:?} {:?}", self.messages, self.output),
                None => panic!("end of file after {:?} {:?}", self.messages, self.output),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(payload) = &self.payload {
            payload.add(self.output.as_bytes());
            for message in &self.messages {
                payload.told(&message.to_string());
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that has failed already has its reason.
        if std::thread::panicking() {
            return;
        }
        let log = payload::log_since(self.log_from).join("\n");
        let rows = self.audit.lock().unwrap().clone();
        let rows = String::from_utf8_lossy(&rows);
        self.payload.expect_nowhere(&log, &rows, &self.files);
    }
}

/// A client of that provider, as `auth.yaml` would describe it.
fn oidc_options(issuer: &str, public_url: &PublicUrl) -> OidcOptions {
    OidcOptions {
        issuer: issuer.to_owned(),
        client_id: "periscope".to_owned(),
        client_secret: Some(Secret::from("s3cret".to_owned())),
        redirect_url: format!("{public_url}/api/auth/callback"),
        scopes: vec!["email".to_owned()],
        audience: None,
        post_logout_redirect: None,
        provider_name: Some("The Provider".to_owned()),
        lifetimes: Lifetimes {
            idle: Duration::from_mins(30),
            absolute: Duration::from_hours(8),
        },
        groups_claim: "groups".to_owned(),
        allowed_groups: Vec::new(),
        audit_admin_groups: Vec::new(),
        public_url: public_url.clone(),
    }
}

fn cluster(access: &ClusterAccess, settings: &Settings) -> Cluster {
    let mut endpoint = Endpoint::new(&access.server, access.ca_pem.as_bytes()).unwrap();
    if let (Some(address), "modern") = (settings.modern_at, access.name) {
        endpoint.port = address.port();
        endpoint.tls = None;
    }
    let token = SecretValue::new(&access.token).unwrap();
    Cluster {
        name: access.name.to_owned(),
        backend: Backend::Sandbox,
        region: None,
        arn: None,
        environment: None,
        tags: None,
        exec: ExecSettings {
            is_enabled: access.exec_enabled,
            ..settings.exec
        },
        kube: KubeClient::new(endpoint, Credentials::Token(token)),
    }
}

/// A directory nobody has.
pub(crate) fn unused_dir() -> PathBuf {
    std::env::temp_dir().join(format!("periscope-test-{}", uuid::Uuid::new_v4()))
}

/// The audit's stream.
struct Stream {
    written: Arc<Mutex<Vec<u8>>>,
    blocked_by: Option<mpsc::Receiver<()>>,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(blocked_by) = self.blocked_by.take() {
            let _gone = blocked_by.recv();
        }
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
