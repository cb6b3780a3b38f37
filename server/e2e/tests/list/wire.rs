//! A middlebox in front of an apiserver: it forwards, counts and cuts connections, and answers in
//! the apiserver's place where a case wants that. So the same misbehaviour can be had of every
//! apiserver, and a transport can be forced without any gateway knowing.

use std::cmp::Ordering;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::peers::{Access, Transport};

/// What becomes of an exec request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It reaches the apiserver.
    Pass,
    /// 403 without a body.
    Bare403,
    /// A Status `Forbidden`, as RBAC's no looks.
    Forbidden,
    /// It is read, and nothing is ever said.
    Silent,
}

/// One act for each transport. Everything that is no exec passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acts {
    pub(crate) v5: Act,
    pub(crate) spdy: Act,
    pub(crate) v4: Act,
}

impl Acts {
    /// This happens to a transport. What a gateway tries before it is refused as an apiserver
    /// refuses that does not know it; what it tries after it passes, unless the no is about rights.
    pub(crate) fn new(transport: Transport, act: Act) -> Self {
        let of = |each: Transport| match each.cmp(&transport) {
            Ordering::Less => Act::Bare403,
            Ordering::Equal => act,
            Ordering::Greater if act == Act::Forbidden => act,
            Ordering::Greater => Act::Pass,
        };
        Self {
            v5: of(Transport::V5),
            spdy: of(Transport::Spdy),
            v4: of(Transport::V4),
        }
    }

    fn of(self, head: &str) -> Act {
        match transport_of(head) {
            None => Act::Pass,
            Some(Transport::V5) => self.v5,
            Some(Transport::Spdy) => self.spdy,
            Some(Transport::V4) => self.v4,
        }
    }
}

/// A running middlebox.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    access: Access,
    acts: Acts,
    /// Exec connections that are open.
    live: AtomicUsize,
    /// Exec connections that were ever opened.
    opened: AtomicU64,
    /// Bytes forwarded towards the gateway on exec connections.
    down: AtomicU64,
    /// Exec connections whose 101 was forwarded.
    upgraded: AtomicU64,
    /// Cuts every exec connection, once it turns true.
    is_cut: watch::Sender<bool>,
}

impl Wire {
    pub(crate) async fn start(access: &Access, acts: Acts) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            access: access.clone(),
            acts,
            live: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            down: AtomicU64::new(0),
            upgraded: AtomicU64::new(0),
            is_cut: watch::Sender::new(false),
        });
        let theirs = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let shared = Arc::clone(&theirs);
                    tokio::spawn(async move { drop(serve(shared, stream).await) });
                }
            }
        });
        Ok(Self {
            address,
            shared,
            listener,
        })
    }

    /// How a gateway reaches the apiserver through this.
    pub(crate) fn access(&self) -> Access {
        Access {
            server: format!("https://{}", self.address),
            ca_pem: TLS.ca_pem.clone(),
            token: self.shared.access.token.clone(),
        }
    }

    /// Exec connections that are open.
    pub(crate) fn live(&self) -> usize {
        self.shared.live.load(SeqCst)
    }

    /// Exec connections ever opened.
    pub(crate) fn opened(&self) -> u64 {
        self.shared.opened.load(SeqCst)
    }

    /// Exec connections that got their 101.
    pub(crate) fn upgraded(&self) -> u64 {
        self.shared.upgraded.load(SeqCst)
    }

    /// Bytes the gateway's sockets have taken of exec connections.
    pub(crate) fn down(&self) -> u64 {
        self.shared.down.load(SeqCst)
    }

    /// Resets every exec connection.
    pub(crate) fn reset(&self) {
        self.shared.is_cut.send_replace(true);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listener.abort();
        self.shared.is_cut.send_replace(true);
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut gateway = TlsAcceptor::from(Arc::clone(&TLS.server))
        .accept(stream)
        .await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if gateway.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_exec = transport_of(&text).is_some();
    let _live = is_exec.then(|| Live::new(&shared));
    match shared.acts.of(&text) {
        Act::Pass => {}
        Act::Bare403 => {
            let answer =
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            gateway.write_all(answer).await?;
            return gateway.shutdown().await;
        }
        Act::Forbidden => {
            let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" is forbidden: User \"ann\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"default\"","reason":"Forbidden","code":403}"#;
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{status}",
                status.len()
            );
            gateway.write_all(answer.as_bytes()).await?;
            return gateway.shutdown().await;
        }
        Act::Silent => {
            let mut rest = Vec::new();
            gateway.read_to_end(&mut rest).await?;
            return Ok(());
        }
    }
    let apiserver = connect(&shared.access).await?;
    let (mut from_apiserver, mut to_apiserver) = tokio::io::split(apiserver);
    to_apiserver.write_all(&head).await?;
    to_apiserver.flush().await?;
    if !is_exec {
        let (mut from_gateway, mut to_gateway) = tokio::io::split(gateway);
        let up = pump(&mut from_gateway, &mut to_apiserver, |_| {});
        let down = pump(&mut from_apiserver, &mut to_gateway, |_| {});
        drop(tokio::join!(up, down));
        return Ok(());
    }
    let mut is_cut = shared.is_cut.subscribe();
    let relay = async {
        let (mut from_gateway, mut to_gateway) = tokio::io::split(&mut gateway);
        let mut is_first = true;
        let up = pump(&mut from_gateway, &mut to_apiserver, |_| {});
        let down = pump(&mut from_apiserver, &mut to_gateway, |bytes| {
            if std::mem::take(&mut is_first) && bytes.starts_with(b"HTTP/1.1 101") {
                shared.upgraded.fetch_add(1, SeqCst);
            }
            let len = u64::try_from(bytes.len()).unwrap_or(0);
            shared.down.fetch_add(len, SeqCst);
        });
        tokio::pin!(up, down);
        tokio::select! {
            // A gateway that leaves takes the apiserver's connection with it.
            _ = &mut up => {}
            // An apiserver's last words must not be lost to a reset: the gateway closes next.
            _ = &mut down => drop(up.await),
        }
    };
    tokio::select! {
        () = relay => {}
        cut = is_cut.wait_for(|is_cut| *is_cut) => {
            drop(cut);
            // Unread or not: a reset, not an orderly end.
            gateway.get_ref().0.set_zero_linger()?;
        }
    }
    Ok(())
}

/// Copies until the end of one side, which becomes the other's.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut seen: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..len]).await?;
        to.flush().await?;
        seen(&buffer[..len]);
    }
}

async fn connect(access: &Access) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(access.ca_pem.as_bytes()) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let authority = access.server.trim_start_matches("https://");
    let address: SocketAddr = authority.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(address.ip());
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Which transport an exec request asks for.
fn transport_of(head: &str) -> Option<Transport> {
    let head = head.to_ascii_lowercase();
    let target = head.split(' ').nth(1)?;
    let path = target.split('?').next()?;
    if !path.ends_with("/exec") {
        return None;
    }
    let line = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    if line("upgrade:")?.contains("spdy") {
        return Some(Transport::Spdy);
    }
    let offered = line("sec-websocket-protocol:")?;
    Some(if offered.contains("v5.") {
        Transport::V5
    } else {
        Transport::V4
    })
}

/// Counts an exec connection while it is open.
struct Live(Arc<Shared>);

impl Live {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.live.fetch_add(1, SeqCst);
        shared.opened.fetch_add(1, SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, SeqCst);
    }
}

/// The middlebox's own certificate.
struct Tls {
    ca_pem: String,
    server: Arc<ServerConfig>,
}

static TLS: LazyLock<Tls> = LazyLock::new(|| {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let ca_pem = root.pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Tls {
        ca_pem,
        server: Arc::new(server),
    }
});

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
