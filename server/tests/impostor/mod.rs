//! Somebody who answers in an apiserver's place, as a test tells them to, and remembers what was asked.

#![allow(dead_code, reason = "every test program uses a part of this")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What is answered to a request line and a body: status, further header lines (each with its end), body.
/// None: nothing, ever.
pub(crate) type Answer = fn(&str, &str) -> Option<(u16, String, String)>;

/// How they show themselves.
pub(crate) struct Disguise {
    pub(crate) certificate: CertificateParams,
    pub(crate) alpn: Vec<Vec<u8>>,
}

impl Default for Disguise {
    fn default() -> Self {
        Self {
            certificate: CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap(),
            alpn: vec![b"http/1.1".to_vec()],
        }
    }
}

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// On which connection, counted from 0.
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) struct Impostor {
    address: SocketAddr,
    certificate: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    listening: JoinHandle<()>,
}

impl Impostor {
    pub(crate) async fn start(disguise: Disguise, answer: Answer) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = disguise.certificate.self_signed(&key).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], der)
            .unwrap();
        tls.alpn_protocols = disguise.alpn;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let listening = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(
                    stream,
                    acceptor.clone(),
                    connection,
                    Arc::clone(&log),
                    answer,
                ));
            }
        });
        Self {
            address,
            certificate: certificate.pem(),
            asked,
            listening,
        }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// A kubeconfig that takes them for the apiserver.
    pub(crate) fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
            "users": [{ "name": "u", "user": { "token": "impostors-canary-token" } }],
            "clusters": [{ "name": "k", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": STANDARD.encode(&self.certificate),
            } }],
        })
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    connection: usize,
    log: Arc<Mutex<Vec<Asked>>>,
    answer: Answer,
) {
    // A client that does not like what it sees leaves.
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let body = String::from_utf8(body).unwrap();
        let answered = answer(head.lines().next().unwrap(), &body);
        log.lock().unwrap().push(Asked {
            connection,
            head,
            body,
        });
        let Some((status, headers, body)) = answered else {
            return std::future::pending().await;
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
