//! Ways into an apiserver that the sandbox does not have: client certificates, and the files of a
//! pod.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::identity::{Authorization, Identity, Subject};
use super::in_cluster::InClusterError;
use super::*;

/// A folder of a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("periscope-test-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, PEM.
fn leaf(issuer: &Issuer, name: &str) -> (String, String) {
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// An apiserver that answers every request with its version, or 401 if `token` is set and not what
/// is sent. With `clients` it wants a certificate of theirs.
async fn apiserver(issuer: &Issuer, clients: Option<&Issuer>, token: Option<&str>) -> SocketAddr {
    let (certificate, key) = leaf(issuer, "127.0.0.1");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let wanted = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, wanted) = (acceptor.clone(), wanted.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let is_known = wanted.is_none_or(|wanted| head.contains(&wanted));
                let status = if is_known {
                    "200 OK"
                } else {
                    "401 Unauthorized"
                };
                let body = r#"{"gitVersion":"v1.36.0"}"#;
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    });
    address
}

fn identity() -> Identity {
    let subject = Subject {
        sub: "ann".to_owned(),
        email: None,
        groups: Vec::new(),
    };
    Authorization::Shared.identity(&subject).unwrap()
}

fn kubeconfig(
    folder: &Folder,
    address: SocketAddr,
    authority: &Issuer,
    user: &Value,
) -> KubeClient {
    folder.write("ca.pem", &authority.pem());
    let text = json!({
        "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "clusters": [{ "name": "k", "cluster": {
            "server": format!("https://localhost:{}", address.port()),
            "tls-server-name": "127.0.0.1",
            "certificate-authority": "ca.pem",
        } }],
        "users": [{ "name": "u", "user": user }],
    });
    folder.write("kubeconfig", &text.to_string());
    let source = kubeconfig::read(&folder.0.join("kubeconfig"), None).unwrap();
    KubeClient::from_source(source)
}

#[tokio::test]
async fn a_client_certificate_of_the_kubeconfig_opens_the_door() {
    let (servers, clients, strangers) = (authority(), authority(), authority());
    let address = apiserver(&servers, Some(&clients), None).await;
    let folder = Folder::new();
    let user = json!({ "client-certificate": "client.pem", "client-key": "client.key" });
    let mut versions = Vec::new();
    for issuer in [&clients, &strangers] {
        let (certificate, key) = leaf(issuer, "periscope");
        folder.write("client.pem", &certificate);
        folder.write("client.key", &key);
        let client = kubeconfig(&folder, address, &servers, &user);
        versions.push(client.version(&identity()).await.ok());
    }
    assert_eq!(versions, [Some("v1.36.0".to_owned()), None]);
    let client = kubeconfig(&folder, address, &servers, &json!({}));
    assert!(client.version(&identity()).await.is_err());
}

#[tokio::test]
async fn a_plugin_can_hand_out_a_client_certificate() {
    let (servers, clients) = (authority(), authority());
    let address = apiserver(&servers, Some(&clients), None).await;
    let folder = Folder::new();
    let (certificate, key) = leaf(&clients, "periscope");
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": { "clientCertificateData": certificate, "clientKeyData": key },
    });
    folder.write("credential.json", &credential.to_string());
    let user = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "cat",
        "args": [folder.0.join("credential.json")],
    } });
    let client = kubeconfig(&folder, address, &servers, &user);
    assert_eq!(client.version(&identity()).await.unwrap(), "v1.36.0");
}

#[tokio::test]
async fn a_plugin_is_asked_again_when_its_token_ends() {
    let servers = authority();
    let address = apiserver(&servers, None, None).await;
    let folder = Folder::new();
    let script = |expiry: &str| {
        format!(
            "echo run >> \"$0.runs\"; printf '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\
             \"kind\":\"ExecCredential\",\"status\":{{\"token\":\"t\",\"expirationTimestamp\":\"{expiry}\"}}}}'\n"
        )
    };
    let user = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": [folder.0.join("plugin")],
    } });
    for (expiry, runs) in [("2000-01-01T00:00:00Z", 3), ("2100-01-01T00:00:00Z", 1)] {
        folder.write("plugin", &script(expiry));
        folder.write("plugin.runs", "");
        let client = kubeconfig(&folder, address, &servers, &user);
        for _ in 0..3 {
            client.version(&identity()).await.unwrap();
        }
        let text = std::fs::read_to_string(folder.0.join("plugin.runs")).unwrap();
        assert_eq!(text.lines().count(), runs, "{expiry}");
    }
}

#[tokio::test]
async fn the_account_of_a_pod_is_read_again_when_it_was_rotated() {
    let servers = authority();
    let address = apiserver(&servers, None, Some("second")).await;
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let folder = Folder::new();
    let source = || in_cluster::source(Some(&host), Some(&port), &folder.0);
    assert!(matches!(source(), Err(InClusterError::File { .. })));
    folder.write("ca.crt", &servers.pem());
    assert!(matches!(source(), Err(InClusterError::File { .. })));
    folder.write("token", "first\n");
    let client = KubeClient::from_source(source().unwrap());
    assert_eq!(
        client.version(&identity()).await,
        Err(KubeError::Status(401))
    );
    folder.write("token", "second\n");
    assert_eq!(client.version(&identity()).await.unwrap(), "v1.36.0");
    assert!(matches!(
        in_cluster::source(None, Some("443"), &folder.0),
        Err(InClusterError::NotAPod)
    ));
}
