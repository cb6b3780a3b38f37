//! One listener's connections: TLS, then HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::cluster::Cluster;
use super::rest::{self, BODY_BYTES_MAX};
use super::status::Refusal;

/// How long a client may take for the TLS handshake, and for the head of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of one cluster at a time: far more than a demo needs, far fewer than descriptors.
const CONNECTIONS_MAX: usize = 256;

/// How long accepting pauses when the machine is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until it is dropped, which ends them all.
pub(super) async fn accept(
    listener: TcpListener,
    cluster: Arc<Cluster>,
    tls: Arc<rustls::ServerConfig>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&cluster)));
                }
                Err(error) => {
                    log::warn!("sandbox {}: cannot accept: {error}", cluster.name);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, cluster: Arc<Cluster>) {
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("sandbox {}: {error}", cluster.name);
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return log::debug!("sandbox {}: TLS: {error}", cluster.name),
        Err(_) => return log::debug!("sandbox {}: TLS handshake timed out", cluster.name),
    };
    let service = service_fn(|request| respond(Arc::clone(&cluster), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        log::debug!("sandbox {}: {error}", cluster.name);
    }
}

async fn respond(
    cluster: Arc<Cluster>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let response = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => rest::answer(&cluster, &parts, &body.to_bytes()),
        Err(_) => rest::refused(&cluster, &parts, &Refusal::too_large()),
    };
    Ok(response.map(|body| Full::new(Bytes::from(body))))
}
