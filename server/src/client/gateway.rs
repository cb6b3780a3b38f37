//! The way to a gateway: TCP, TLS, the dry run that says no in words, and the WebSocket.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use periscope_core::code::ErrorCode;
use periscope_core::http::{ClientOutcome, ClientUpgrade, SecretValue, UpgradeRequest};
use periscope_core::outbox::Outbox;
use periscope_core::ws::WebSocket;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ClientError;
use super::address::Address;
use super::terminal::printable;
use crate::gateway::login::random;

/// How long name look-up, TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an answer may take: the gateway asks the apiserver for at most 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest refusal: a list of sessions fits.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The largest message of a gateway; it sends 32 KiB at a time.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;

const USER_AGENT: &str = concat!("periscope-exec/", env!("CARGO_PKG_VERSION"));

/// A gateway, and who we are there.
pub(super) struct Gateway {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    token: Option<SecretValue>,
}

/// A WebSocket whose handshake is done.
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// Bytes that came behind the handshake.
    pub(super) input: BytesMut,
    pub(super) websocket: WebSocket,
}

/// A byte stream, encrypted or not.
pub(super) type Socket = Pin<Box<dyn ReadWrite>>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// A refusal's body.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Refusal {
    error: String,
    message: Option<String>,
    active_sessions: Vec<ActiveSession>,
}

#[derive(Debug, Deserialize)]
struct ActiveSession {
    id: String,
    cluster: String,
    namespace: String,
    pod: String,
}

impl Gateway {
    pub(super) fn new(address: Address, token: Option<SecretValue>) -> Result<Self, ClientError> {
        let tls = if address.is_https {
            Some(tls(&address)?)
        } else {
            None
        };
        Ok(Self {
            address,
            tls,
            token,
        })
    }

    /// Asks whether the shell may be opened.
    pub(super) async fn dry_run(&self, path: &str) -> Result<(), ClientError> {
        let socket = self.connect().await?;
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(socket, path));
        let (status, body) = asked.await.map_err(|_| self.silent())??;
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(refused(status.as_u16(), &body))
        }
    }

    /// Opens the shell.
    pub(super) async fn upgrade(&self, path: &str) -> Result<Connection, ClientError> {
        let socket = self.connect().await?;
        let upgraded = tokio::time::timeout(ANSWER_TIMEOUT, self.handshake(socket, path));
        upgraded.await.map_err(|_| self.silent())?
    }

    async fn ask(&self, socket: Socket, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let garbage = || self.garbage();
        let connected = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = connected.map_err(|_| garbage())?;
        let mut request = Request::get(path)
            .header(header::HOST, &self.address.authority)
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.as_str());
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| garbage())?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|_| garbage())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
            let body = body.await.map_err(|_| garbage())?;
            Ok((status, body.to_bytes()))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may end with the answer, which is then there already.
            _ = connection => answer.await,
        }
    }

    async fn handshake(&self, mut socket: Socket, path: &str) -> Result<Connection, ClientError> {
        let no_randomness =
            |error: crate::gateway::login::NoRandomness| ClientError::Connect(error.to_string());
        let mut headers = Vec::new();
        if let Some(token) = &self.token {
            headers.push(("Authorization".to_owned(), token.clone()));
        }
        if let Ok(agent) = SecretValue::new(USER_AGENT) {
            headers.push(("User-Agent".to_owned(), agent));
        }
        let request = UpgradeRequest {
            host: &self.address.authority,
            target: path,
            headers: &headers,
            subprotocols: &[],
        };
        let mut out = Outbox::new();
        let key = random().map_err(no_randomness)?;
        let mut upgrade = ClientUpgrade::websocket(&request, key, &mut out)
            .map_err(|error| ClientError::Connect(error.to_string()))?;
        let mut input = BytesMut::new();
        let lost = |_| self.garbage();
        for chunk in out.chunks() {
            socket.write_all(chunk).await.map_err(lost)?;
        }
        socket.flush().await.map_err(lost)?;
        let outcome = loop {
            if let Some(outcome) = upgrade.receive(&mut input).map_err(|_| self.garbage())? {
                break outcome;
            }
            if socket.read_buf(&mut input).await.map_err(lost)? == 0 {
                let last = upgrade.eof(&mut input).map_err(|_| self.garbage())?;
                break last.ok_or_else(|| self.garbage())?;
            }
        };
        match outcome {
            ClientOutcome::Upgraded { .. } => Ok(Connection {
                socket,
                input,
                websocket: WebSocket::client(random().map_err(no_randomness)?, MESSAGE_BYTES_MAX),
            }),
            ClientOutcome::Refused(refusal) => Err(refused(refusal.status, &refusal.body)),
            ClientOutcome::WrongAccept | ClientOutcome::WrongSubprotocol => Err(self.garbage()),
        }
    }

    async fn connect(&self) -> Result<Socket, ClientError> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect_unbounded());
        connected.await.map_err(|_| self.silent())?
    }

    async fn connect_unbounded(&self) -> Result<Socket, ClientError> {
        let Address { host, port, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| {
            ClientError::Connect(format!(
                "cannot connect to {}: {error}",
                self.address.authority
            ))
        })?;
        // Keystrokes are small and must not wait; a socket that refuses the option still works.
        drop(stream.set_nodelay(true));
        let Some((connector, name)) = &self.tls else {
            return Ok(Box::pin(stream));
        };
        let encrypted = connector.connect(name.clone(), stream).await;
        let encrypted = encrypted.map_err(|error| {
            ClientError::Connect(format!("no TLS with {}: {error}", self.address.authority))
        })?;
        Ok(Box::pin(encrypted))
    }

    fn silent(&self) -> ClientError {
        ClientError::Connect(format!("{} does not answer", self.address.authority))
    }

    fn garbage(&self) -> ClientError {
        ClientError::Connect(format!(
            "what answers at {} is not a Periscope gateway",
            self.address.authority
        ))
    }
}

/// TLS with the authorities this machine trusts.
fn tls(address: &Address) -> Result<(TlsConnector, ServerName<'static>), ClientError> {
    let failed = |reason: &dyn std::fmt::Display| ClientError::Connect(reason.to_string());
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A certificate that cannot be used vouches for nobody; the others still do.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(failed(
            &"this machine has no certificate authorities to trust; SSL_CERT_FILE may name some",
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // An upgrade does not exist in HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(address.host.clone()).map_err(|error| failed(&error))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// A refusal as a person reads it.
pub(super) fn refused(status: u16, body: &[u8]) -> ClientError {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else {
        return ClientError::Refused(format!(
            "the answer was HTTP {status}, and not from a Periscope gateway"
        ));
    };
    let known = ErrorCode::ALL
        .into_iter()
        .find(|code| code.as_str() == refusal.error);
    let sentence = match (&refusal.message, known) {
        (Some(message), _) => message.as_str(),
        (None, Some(code)) => code.message(),
        (None, None) => "no reason given",
    };
    let mut text = format!("{sentence} ({}, HTTP {status})", refusal.error);
    if known == Some(ErrorCode::Auth) {
        text.push_str(". PERISCOPE_TOKEN holds the token");
    }
    for session in &refusal.active_sessions {
        let ActiveSession {
            id,
            cluster,
            namespace,
            pod,
        } = session;
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  open: {cluster} {namespace}/{pod} ({id})");
    }
    ClientError::Refused(printable(&text))
}
