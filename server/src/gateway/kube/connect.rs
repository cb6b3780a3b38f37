//! The way to an apiserver: name look-up, TCP, TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::trust::{ClientCertificate, Trust, TrustAnyone};

/// How long one address of a name may take before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// What the kernel may hold of an apiserver's output that nobody has read. Left alone it grows to many
/// megabytes under a flood, and all of it still has to be drawn after Ctrl-C; this much is enough for
/// 2.5 MB/s over a distance of 100 ms, and keeps the apiserver's own buffer from growing, too.
const RECEIVE_BUFFER_BYTES: u32 = 256 * 1024;

/// Where an apiserver is, and how it proves itself.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path in front of `/api`, without a trailing slash; usually empty.
    pub path_prefix: String,
    /// TLS with the name the certificate must carry; none for plain HTTP.
    pub tls: Option<Tls>,
    /// TLS without a look at who the peer is: its certificate is not checked.
    pub is_unverified: bool,
}

/// TLS towards an apiserver. ALPN offers HTTP/1.1 only: an upgrade does not exist in HTTP/2.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Roots, client certificate and versions.
    pub config: Arc<ClientConfig>,
    /// The name the certificate must carry.
    pub server_name: ServerName<'static>,
    /// The client certificate, if there is one.
    pub own_certificate: Option<CertificateDer<'static>>,
}

/// Why there is no connection. Peer text is never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("the apiserver's name could not be resolved")]
    Dns,
    /// No address took the connection.
    #[error("the apiserver did not accept a TCP connection")]
    Tcp,
    /// The handshake failed, or the certificate is not trusted.
    #[error("the TLS handshake with the apiserver failed")]
    Tls,
}

/// Why an apiserver's address or trust is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not `http://` or `https://` with a host.
    #[error("the cluster's server is not an http or https URL")]
    Url,
    /// No certificate, or one that cannot be read.
    #[error("the cluster's certificate authority cannot be read")]
    Authority,
    /// A client certificate or key that cannot be read, or that do not belong together.
    #[error("the client certificate or its key cannot be used")]
    Certificate,
    /// This machine has no certificate authorities.
    #[error("this machine has no certificate authorities, and the cluster names none")]
    NoSystemRoots,
    /// A token that cannot be a header value.
    #[error("the cluster's token cannot be sent")]
    Token,
    /// The cryptographic library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Tls,
}

impl Endpoint {
    /// The apiserver at a URL, trusted if one of the authorities (PEM) vouches for it.
    pub fn new(server: &str, authorities: &[u8]) -> Result<Self, EndpointError> {
        Self::with_trust(
            server,
            &Trust::Authorities(authorities.to_vec()),
            None,
            None,
        )
    }

    /// A server at a URL. `certificate` is what we prove ourselves with, `name` is the one its own
    /// certificate must carry where that is not the URL's.
    pub fn with_trust(
        server: &str,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
        name: Option<&str>,
    ) -> Result<Self, EndpointError> {
        let url: Uri = server.parse().map_err(|_| EndpointError::Url)?;
        let host = url
            .host()
            .ok_or(EndpointError::Url)?
            .trim_start_matches('[')
            .trim_end_matches(']');
        let is_https = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(EndpointError::Url),
        };
        let tls = if is_https {
            Some(Tls::new(name.unwrap_or(host), trust, certificate)?)
        } else {
            None
        };
        Ok(Self {
            host: host.to_owned(),
            port: url.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path_prefix: url.path().trim_end_matches('/').to_owned(),
            tls,
            is_unverified: is_https && matches!(trust, Trust::Anyone),
        })
    }

    /// The value of the Host header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let default_port = if self.tls.is_some() { 443 } else { 80 };
        if self.port == default_port {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Opens a TCP connection to the first address that answers.
    pub async fn connect_tcp(&self) -> Result<TcpStream, ConnectError> {
        let addresses = self.resolve().await.map_err(|_| ConnectError::Dns)?;
        if addresses.is_empty() {
            return Err(ConnectError::Dns);
        }
        for address in addresses {
            if let Ok(stream) = Self::dial(address).await {
                return Ok(stream);
            }
        }
        Err(ConnectError::Tcp)
    }

    /// The addresses of the host, in the order in which they are tried.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        Ok(found.collect())
    }

    /// Opens a TCP connection to one address.
    pub(crate) async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = tokio::time::timeout(ADDRESS_TIMEOUT, dial(address)).await;
        let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        // Keystrokes are small and must not wait for each other; a socket that refuses the option
        // still works.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }

    async fn connect(&self) -> Result<Stream, ConnectError> {
        let tcp = self.connect_tcp().await?;
        if self.tls.is_none() {
            return Ok(Stream::Plain(tcp));
        }
        let stream = self.handshake(tcp).await.map_err(|_| ConnectError::Tls)?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Does the TLS handshake. The error holds the library's own where that is the reason.
    pub(crate) async fn handshake(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let Some(tls) = &self.tls else {
            return Err(io::Error::other("no TLS is spoken to this endpoint"));
        };
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        connector.connect(tls.server_name.clone(), tcp).await
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A system that refuses the size still connects, with its own.
    drop(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
    socket.connect(address).await
}

impl Tls {
    fn new(
        host: &str,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Self, EndpointError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|_| EndpointError::Tls)?;
        let builder = match trust.roots()? {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider))),
        };
        let mut own_certificate = None;
        let mut config = match certificate {
            Some(certificate) => {
                let (chain, key) = certificate.parse()?;
                own_certificate = chain.first().cloned();
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|_| EndpointError::Certificate)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server_name = ServerName::try_from(host.to_owned()).map_err(|_| EndpointError::Url)?;
        Ok(Self {
            config: Arc::new(config),
            server_name,
            own_certificate,
        })
    }
}

/// Opens connections for the REST client's pool.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<Endpoint>);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let endpoint = Arc::clone(&self.0);
        Box::pin(async move { endpoint.connect().await.map(TokioIo::new) })
    }
}

/// A connection of the pool.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_names_the_port_unless_it_is_the_default() {
        let mut endpoint = Endpoint {
            host: "::1".to_owned(),
            port: 6443,
            path_prefix: String::new(),
            tls: None,
            is_unverified: false,
        };
        assert_eq!(endpoint.authority(), "[::1]:6443");
        endpoint.port = 80;
        assert_eq!(endpoint.authority(), "[::1]");
        endpoint.host = "api.example".to_owned();
        endpoint.port = 443;
        assert_eq!(endpoint.authority(), "api.example:443");
    }
}
