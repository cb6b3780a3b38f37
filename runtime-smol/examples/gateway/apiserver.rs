//! The way to an apiserver: name look-up, TCP, TLS; and the two questions before a session.

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::Uri;
use periscope_core::code::ErrorCode;
use periscope_core::http::{Exchange, PlainAnswer, PlainRequest, SecretValue};
use periscope_core::limits::READ_BYTES_MAX;
use periscope_core::outbox::Outbox;
use periscope_core::session::{DialFailure, Dialed};
use periscope_core::tls::{self, Tls};
use periscope_core::transport::Transport;
use periscope_runtime_smol::Socket;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use smol::Timer;
use smol::future::FutureExt as _;
use smol::net::TcpStream;

use crate::config::Config;

/// How long one address of a name may take before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// A single object: etcd keeps none above 1.5 MiB.
const OBJECT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A connection to an apiserver.
pub(crate) type Upstream = tls::Upstream<Socket<TcpStream>>;

/// Where an apiserver is, and how both sides prove themselves.
#[derive(Debug)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    path_prefix: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    authorization: Option<SecretValue>,
}

/// Why an apiserver's address or trust is unusable.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("its server is not an http or https URL")]
    Url,
    #[error("its certificate authority cannot be read")]
    Authority,
    #[error("its token cannot be sent")]
    Token,
    #[error("TLS cannot be set up")]
    Tls,
}

impl Endpoint {
    /// The apiserver at a URL, trusted if one of the authorities (PEM) vouches for it.
    pub(crate) fn new(
        server: &str,
        authorities: &[u8],
        token: Option<&str>,
    ) -> Result<Self, EndpointError> {
        let url: Uri = server.parse().map_err(|_| EndpointError::Url)?;
        let host = url.host().ok_or(EndpointError::Url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = match url.scheme_str() {
            Some("https") => Some(trust(host, authorities)?),
            Some("http") => None,
            _ => return Err(EndpointError::Url),
        };
        let authorization = token.map(|token| SecretValue::new(&format!("Bearer {token}")));
        Ok(Self {
            host: host.to_owned(),
            port: url
                .port_u16()
                .unwrap_or(if tls.is_some() { 443 } else { 80 }),
            path_prefix: url.path().trim_end_matches('/').to_owned(),
            tls,
            authorization: authorization
                .transpose()
                .map_err(|_| EndpointError::Token)?,
        })
    }

    /// A connection on which nothing was said; the handshake of TLS is its first use's business.
    pub(crate) async fn connect(&self) -> Result<Upstream, DialFailure> {
        let found = smol::net::resolve((self.host.as_str(), self.port)).await;
        let addresses = found.map_err(|_| DialFailure::Dns)?;
        if addresses.is_empty() {
            return Err(DialFailure::Dns);
        }
        for address in addresses {
            let late = async {
                Timer::after(ADDRESS_TIMEOUT).await;
                Err(std::io::ErrorKind::TimedOut.into())
            };
            if let Ok(stream) = TcpStream::connect(address).or(late).await {
                drop(stream.set_nodelay(true));
                let socket = Socket(stream);
                let Some((config, name)) = &self.tls else {
                    return Ok(Upstream::Plain(socket));
                };
                let tls = Tls::new(socket, Arc::clone(config), name.clone());
                let tls = tls.map_err(|_| DialFailure::Tls)?;
                return Ok(Upstream::Tls(Box::new(tls)));
            }
        }
        Err(DialFailure::Tcp)
    }

    /// What the upgrade request of a session needs.
    pub(crate) fn dialed(&self, config: &Config, session_id: &str) -> Result<Dialed, DialFailure> {
        let mut headers = self.headers(config);
        let audit_id = SecretValue::new(session_id).map_err(|_| DialFailure::Credentials)?;
        headers.push(("Audit-ID".to_owned(), audit_id));
        Ok(Dialed {
            host: self.authority(),
            path_prefix: self.path_prefix.clone(),
            headers,
        })
    }

    /// One request as the user, on a connection of its own. What went wrong is not the user's fault.
    pub(crate) async fn ask(
        &self,
        config: &Config,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<PlainAnswer, ErrorCode> {
        let mut upstream = self
            .connect()
            .await
            .map_err(|_| ErrorCode::ClusterUnreachable)?;
        let request = PlainRequest {
            method,
            host: &self.authority(),
            target: &format!("{}{path}", self.path_prefix),
            headers: &self.headers(config),
            body,
        };
        let mut out = Outbox::new();
        let exchange = Exchange::start(&request, OBJECT_BYTES_MAX, &mut out);
        let exchange = exchange.map_err(|_| ErrorCode::Internal)?;
        let answer = exchange_over(&mut upstream, exchange, out).await;
        answer.ok_or(ErrorCode::ClusterUnreachable)
    }

    fn headers(&self, config: &Config) -> Vec<(String, SecretValue)> {
        let mut headers = Vec::new();
        let mut push = |name: &str, value: &SecretValue| {
            headers.push((name.to_owned(), value.clone()));
        };
        if let Some(authorization) = &self.authorization {
            push("Authorization", authorization);
        }
        if let Some(user) = &config.user {
            push("Impersonate-User", user);
            for group in &config.groups {
                push("Impersonate-Group", group);
            }
        }
        headers
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.port, &self.tls) {
            (443, Some(_)) | (80, None) => host,
            (port, _) => format!("{host}:{port}"),
        }
    }
}

/// Writes the request, reads the answer. None: the connection broke, or what came is no answer.
async fn exchange_over(
    upstream: &mut Upstream,
    mut exchange: Exchange,
    mut out: Outbox,
) -> Option<PlainAnswer> {
    while !out.is_empty() {
        let written = poll_fn(|cx| {
            let chunks: Vec<IoSlice<'_>> = out.chunks().map(IoSlice::new).collect();
            upstream.poll_write(cx, &chunks)
        });
        match written.await {
            Ok(0) | Err(_) => return None,
            Ok(len) => out.advance(len),
        }
    }
    poll_fn(|cx| upstream.poll_flush(cx)).await.ok()?;
    let mut input = BytesMut::new();
    loop {
        let read = poll_fn(|cx| upstream.poll_read(cx, &mut input, READ_BYTES_MAX)).await;
        let answer = match read {
            Ok(0) => return exchange.eof(&mut input).ok().flatten(),
            Ok(_) => exchange.receive(&mut input).ok()?,
            Err(_) => return None,
        };
        if answer.is_some() {
            return answer;
        }
    }
}

/// TLS with these authorities. ALPN offers HTTP/1.1 only: an upgrade does not exist in HTTP/2.
fn trust(
    host: &str,
    authorities: &[u8],
) -> Result<(Arc<ClientConfig>, ServerName<'static>), EndpointError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        let certificate = certificate.map_err(|_| EndpointError::Authority)?;
        roots
            .add(certificate)
            .map_err(|_| EndpointError::Authority)?;
    }
    if roots.is_empty() {
        return Err(EndpointError::Authority);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| EndpointError::Tls)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(|_| EndpointError::Url)?;
    Ok((Arc::new(config), name))
}
