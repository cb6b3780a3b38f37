//! The way to the identity provider: rare requests, each on a connection of its own, each with a
//! deadline and a cap on what it reads. Redirects are not followed: an endpoint that answers with one
//! is not the endpoint.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Uri;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::super::kube::USER_AGENT;

/// How long a request may take altogether.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer. Key sets and tokens with hundreds of groups are tens of KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Sends requests to the provider.
#[derive(Clone, Debug)]
pub(super) struct ProviderHttp {
    tls: Arc<ClientConfig>,
}

/// Why a request has no answer. Never holds a peer's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    /// Not an https URL, and not a plain one on this machine either.
    #[error("the provider names an endpoint that is not https")]
    Insecure,
    /// No address, no connection, or no TLS.
    #[error("the provider cannot be reached")]
    Connect,
    /// No complete answer within the deadline.
    #[error("the provider did not answer in time")]
    Timeout,
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to the provider broke")]
    Broken,
    /// The answer is larger than it may be.
    #[error("the provider's answer is too large")]
    TooLarge,
}

type Sending<'c> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = HttpError;
    type Future = Sending<'c>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Where a URL leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    is_https: bool,
    host: String,
    port: u16,
}

impl ProviderHttp {
    /// A client that trusts these authorities.
    pub(super) fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(config),
        })
    }

    /// One request and its whole answer.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        tokio::time::timeout(REQUEST_TIMEOUT, self.attempt(request))
            .await
            .map_err(|_| HttpError::Timeout)?
    }

    async fn attempt(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let target = Target::of(request.uri()).ok_or(HttpError::Insecure)?;
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let mut tcp = None;
        for address in found.map_err(|_| HttpError::Connect)? {
            if let Ok(stream) = TcpStream::connect(address).await {
                tcp = Some(stream);
                break;
            }
        }
        let tcp = tcp.ok_or(HttpError::Connect)?;
        if !target.is_https {
            return exchange(tcp, request).await;
        }
        let name = ServerName::try_from(target.host).map_err(|_| HttpError::Connect)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let tls = connector.connect(name, tcp).await;
        exchange(tls.map_err(|_| HttpError::Connect)?, request).await
    }
}

impl Target {
    /// The target of an https URL, or of a plain one that does not leave this machine.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if !is_https && !is_loopback {
            return None;
        }
        Some(Self {
            is_https,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_https { 443 } else { 80 }),
        })
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| HttpError::Broken)?;
    // The connection's own error is the request's, too; and dropping the request ends it.
    let connection = async {
        drop(connection.await);
        std::future::pending::<()>().await;
    };
    let answer = async {
        let request = origin_form(request)?;
        let answer = sender.send_request(request).await;
        let (parts, body) = answer.map_err(|_| HttpError::Broken)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                HttpError::TooLarge
            } else {
                HttpError::Broken
            }
        })?;
        Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
    };
    tokio::select! {
        answer = answer => answer,
        () = connection => Err(HttpError::Broken),
    }
}

/// What a client sends to a server itself, not to a proxy: path and query in the first line, the
/// authority in Host.
fn origin_form(request: HttpRequest) -> Result<Request<Full<bytes::Bytes>>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let host = parts.uri.authority().map(ToString::to_string);
    let host = HeaderValue::from_str(&host.unwrap_or_default()).map_err(|_| HttpError::Broken)?;
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    parts.uri = path.parse().map_err(|_| HttpError::Broken)?;
    parts.headers.insert(header::HOST, host);
    parts
        .headers
        .insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    Ok(Request::from_parts(parts, Full::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Option<Target> {
        Target::of(&url.parse().unwrap())
    }

    #[test]
    fn plain_http_does_not_leave_this_machine() {
        let https = target("https://id.example/realms/x").unwrap();
        assert_eq!((https.host.as_str(), https.port), ("id.example", 443));
        for url in [
            "http://127.0.0.1:9000/token",
            "http://localhost/",
            "http://[::1]:9000/",
        ] {
            assert!(target(url).is_some(), "{url}");
        }
        for url in [
            "http://id.example/token",
            "http://127.0.0.1.id.example/",
            "http://127.0.0.1@id.example/",
            "https://user@id.example/",
            "ftp://id.example/",
            "/token",
        ] {
            assert_eq!(target(url), None, "{url}");
        }
    }
}
