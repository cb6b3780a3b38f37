//! AWS for the tests of the backend eks: moto with its checks on (`aws/peer.py`), the front of a cluster that
//! takes tokens as EKS does, and an agent of Pod Identity.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::serve_support::Place;

/// The name of the cluster in AWS.
pub(crate) const CLUSTER: &str = "prod";

/// moto in a process of its own.
pub(crate) struct Aws {
    child: Child,
    address: SocketAddr,
    told: Value,
}

impl Aws {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws/peer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("moto starts");
        let port = u16::try_from(told["port"].as_u64().unwrap()).unwrap();
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            told,
        }
    }

    /// What it told of itself: the ARN of the cluster, the role, keys.
    pub(crate) fn told(&self, pointer: &str) -> String {
        let value = self.told.pointer(pointer).unwrap();
        value.as_str().unwrap().to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks what moto itself has no word for.
    pub(crate) async fn peer(&self, what: &str, body: &Value) -> Value {
        peer(self.address, what, body).await
    }

    /// How often EKS and STS were asked.
    pub(crate) async fn asked(&self) -> (usize, usize) {
        let asked = self.peer("requests", &json!({})).await;
        let asked = asked.as_array().unwrap();
        let count = |name| asked.iter().filter(|asked| *asked == name).count();
        (count("eks"), count("sts"))
    }

    /// Lets `DescribeCluster` tell of this front.
    pub(crate) async fn describes(&self, front: &Front) {
        let body = json!({ "endpoint": front.url(), "ca": STANDARD.encode(front.certificate()) });
        self.peer("cluster", &body).await;
    }

    /// The variables of a gateway with these keys of the environment.
    pub(crate) fn keys(&self, user: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", self.told(&format!("/{user}/id"))),
            (
                "AWS_SECRET_ACCESS_KEY",
                self.told(&format!("/{user}/secret")),
            ),
        ]
    }

    /// Makes the one cluster of the place one of EKS.
    pub(crate) fn register(&self, place: &Place) {
        register(place, &self.told("/arn"));
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn register(place: &Place, arn: &str) {
    let text = format!(
        "clusters:\n  - name: modern\n    backend: eks\n    region: us-east-1\n    arn: {arn}\n"
    );
    place.write("clusters.yaml", &text);
}

/// A Python with moto.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/need-moto.sh");
        let output = Command::new(script).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

async fn peer(address: SocketAddr, what: &str, body: &Value) -> Value {
    let body = body.to_string();
    let request = format!(
        "POST /peer/{what} HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{what}: {head}");
    serde_json::from_str(body).unwrap()
}

/// The front of a cluster: TLS with an authority of its own, and a look at the token as EKS has one.
/// Behind it is the sandbox.
pub(crate) struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    aws: SocketAddr,
    sandbox: SocketAddr,
    connector: TlsConnector,
    token: String,
    /// Who the front is, and which certificate says so.
    identity: Mutex<(TlsAcceptor, String)>,
    /// The keys that signed the tokens which were good, each time.
    keys: Mutex<Vec<String>>,
    /// Why tokens were not good.
    refusals: Mutex<Vec<String>>,
}

impl Front {
    pub(crate) async fn start(place: &Place, aws: &Aws) -> Self {
        let access = place.access();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(access.ca_pem.as_bytes()).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let sandbox = access.server.strip_prefix("https://").unwrap();
        let shared = Arc::new(Shared {
            aws: aws.address,
            sandbox: sandbox.parse().unwrap(),
            connector: TlsConnector::from(Arc::new(config)),
            token: access.token.clone(),
            identity: Mutex::new(identity()),
            keys: Mutex::default(),
            refusals: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move {
                    let acceptor = shared.identity.lock().unwrap().0.clone();
                    // Who does not trust us hangs up.
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        shared.serve(tls).await;
                    }
                });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Who vouches for it, PEM.
    pub(crate) fn certificate(&self) -> String {
        self.shared.identity.lock().unwrap().1.clone()
    }

    /// Takes another certificate, as after a rotation.
    pub(crate) fn rotate(&self) {
        *self.shared.identity.lock().unwrap() = identity();
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.shared.keys.lock().unwrap().clone()
    }

    pub(crate) fn refusals(&self) -> Vec<String> {
        self.shared.refusals.lock().unwrap().clone()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some((head, rest)) = read_head(&mut stream).await else {
            return;
        };
        let is_authorization =
            |line: &&str| line.to_ascii_lowercase().starts_with("authorization:");
        let line = head.split("\r\n").find(is_authorization).unwrap_or("");
        let token = line.split_once("Bearer ").map_or("", |(_, token)| token);
        let body = json!({ "token": token, "cluster": CLUSTER });
        let verdict = peer(self.aws, "verify", &body).await;
        if let Some(why) = verdict["why"].as_str() {
            self.refusals.lock().unwrap().push(why.to_owned());
            let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
            let answer = format!(
                "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()).await);
            drop(stream.shutdown().await);
            return;
        }
        let key = verdict["key"].as_str().unwrap().to_owned();
        self.keys.lock().unwrap().push(key);
        // Every request is looked at: none but an upgraded one shares its connection.
        let is_upgrade = head.to_ascii_lowercase().contains("\r\nupgrade:");
        let close = if is_upgrade {
            ""
        } else {
            "Connection: close\r\n"
        };
        let authorization = format!("Authorization: Bearer {}", self.token);
        let head = head.replace(line, &authorization);
        let head = head.replacen("\r\n", &format!("\r\n{close}"), 1);
        let tcp = TcpStream::connect(self.sandbox).await.unwrap();
        let name = ServerName::from(self.sandbox.ip());
        let mut inner = self.connector.connect(name, tcp).await.unwrap();
        inner.write_all(head.as_bytes()).await.unwrap();
        inner.write_all(&rest).await.unwrap();
        // Either side may end as it likes.
        drop(copy_bidirectional(&mut stream, &mut inner).await);
    }
}

/// The head of a request with its empty line, and what came behind it.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).unwrap(), rest));
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn identity() -> (TlsAcceptor, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let pem = certified.cert.pem();
    let key = PrivateKeyDer::from_pem_slice(certified.signing_key.serialize_pem().as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), pem)
}

/// TLS in front of moto, as AWS has it.
pub(crate) struct Tls {
    address: SocketAddr,
    certificate: String,
    task: tokio::task::JoinHandle<()>,
}

impl Tls {
    pub(crate) async fn start(aws: &Aws) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, certificate) = identity();
        let aws = aws.address;
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Who does not trust us hangs up.
                    if let Ok(mut tls) = acceptor.accept(tcp).await {
                        let mut moto = TcpStream::connect(aws).await.unwrap();
                        drop(copy_bidirectional(&mut tls, &mut moto).await);
                    }
                });
            }
        });
        Self {
            address,
            certificate,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Who vouches for it, PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The agent of Pod Identity on a node.
pub(crate) struct Agent {
    address: SocketAddr,
    shared: Arc<AgentState>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct AgentState {
    /// The token of the service account that is good now.
    good: Mutex<String>,
    given: Mutex<usize>,
}

impl Agent {
    /// An agent whose credentials live this long.
    pub(crate) async fn start(aws: &Aws, seconds: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(AgentState::default());
        let (state, aws) = (Arc::clone(&shared), aws.address);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some((head, _)) = read_head(&mut stream).await else {
                    continue;
                };
                let good = format!("authorization: {}\r\n", state.good.lock().unwrap());
                let is_good = head.starts_with("GET /v1/credentials HTTP/1.1\r\n")
                    && head.to_ascii_lowercase().contains(&good);
                let (status, body) = if is_good {
                    *state.given.lock().unwrap() += 1;
                    let keys = peer(aws, "keys", &json!({ "seconds": seconds })).await;
                    (200, keys.to_string())
                } else {
                    (400, r#"{"message":"hunter2"}"#.to_owned())
                };
                let answer = format!(
                    "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/credentials", self.address)
    }

    /// From now on it takes this token of a service account and no other.
    pub(crate) fn takes(&self, token: &str) {
        token.clone_into(&mut self.shared.good.lock().unwrap());
    }

    /// How often it gave credentials.
    pub(crate) fn given(&self) -> usize {
        *self.shared.given.lock().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}
