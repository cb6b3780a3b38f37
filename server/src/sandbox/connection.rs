//! One listener's connections: TLS, then exec on the raw stream, or HTTP for all else.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use periscope_core::http::accept_key;
use periscope_core::limits::HEAD_BYTES_MAX;
use periscope_core::outbox::Outbox;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::cluster::Cluster;
use super::exec::{self, Denial, Plan, Transport, Wire};
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
    let opened = async {
        let mut stream = acceptor.accept(stream).await?;
        let mut input = BytesMut::new();
        let is_exec = is_exec_next(&mut stream, &mut input).await?;
        Ok::<_, io::Error>((stream, input, is_exec))
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, opened).await {
        Ok(Ok((stream, input, true))) => exec::serve(&cluster, stream, input).await,
        Ok(Ok((stream, input, false))) => {
            let read = input.freeze();
            serve_http(&cluster, Replay { read, stream }).await;
        }
        Ok(Err(error)) => log::debug!("sandbox {}: {error}", cluster.name),
        Err(_) => log::debug!("sandbox {}: no request in time", cluster.name),
    }
}

/// Reads until the request line is there, and says whether it is an exec's.
async fn is_exec_next(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
) -> io::Result<bool> {
    loop {
        if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(input.get(..end).unwrap_or_default());
            let target = line.split(' ').nth(1).unwrap_or("");
            let path = target.split_once('?').map_or(target, |(path, _)| path);
            return Ok(exec::exec_path(path).is_some());
        }
        if input.len() > HEAD_BYTES_MAX {
            return Ok(false);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// An exec that arrived on a connection hyper already speaks HTTP on.
type Late = Arc<Mutex<Option<(OnUpgrade, Plan)>>>;

async fn serve_http<S>(cluster: &Arc<Cluster>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let late = Late::default();
    let service = service_fn(|request| respond(Arc::clone(cluster), Arc::clone(&late), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        return log::debug!("sandbox {}: {error}", cluster.name);
    }
    let late = late.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((upgrade, plan)) = late {
        match upgrade.await {
            Ok(upgraded) => {
                let wire = Wire::new(TokioIo::new(upgraded), BytesMut::new(), Outbox::new());
                exec::run(cluster, plan, wire).await;
            }
            Err(error) => log::debug!("sandbox {}: {error}", cluster.name),
        }
    }
}

async fn respond(
    cluster: Arc<Cluster>,
    late: Late,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if exec::exec_path(request.uri().path()).is_some() {
        let upgrade = hyper::upgrade::on(&mut request);
        return Ok(respond_to_exec(&cluster, &late, upgrade, request).await);
    }
    let (parts, body) = request.into_parts();
    let response = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => rest::answer(&cluster, &parts, &body.to_bytes()),
        Err(_) => rest::refused(&cluster, &parts, &Refusal::too_large()),
    };
    Ok(response.map(|body| Full::new(Bytes::from(body))))
}

async fn respond_to_exec(
    cluster: &Arc<Cluster>,
    late: &Late,
    upgrade: OnUpgrade,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, _) = request.into_parts();
    let plan = match exec::decide(cluster, &parts) {
        Ok(plan) => plan,
        Err(Denial::Silence) => core::future::pending().await,
        Err(denial) => {
            let mut response = exec::refusal(cluster, &parts, &denial);
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            return response.map(|body| Full::new(Bytes::from(body)));
        }
    };
    exec::hold_back(cluster).await;
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    match plan.transport() {
        Transport::WebSocket(subprotocol) => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            let key = parts
                .headers
                .get("sec-websocket-key")
                .and_then(|key| key.to_str().ok());
            if let Ok(accept) = HeaderValue::try_from(accept_key(key.unwrap_or(""))) {
                headers.insert("sec-websocket-accept", accept);
            }
            if let Some(name) = subprotocol {
                headers.insert(
                    "sec-websocket-protocol",
                    HeaderValue::from_static(name.as_str()),
                );
            }
        }
        Transport::Spdy => {
            headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
            let name = HeaderValue::from_static(exec::SPDY_SUBPROTOCOL.as_str());
            headers.insert("x-stream-protocol-version", name);
        }
    }
    *late.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, plan));
    response
}

/// A stream of which some bytes have already been read.
#[derive(Debug)]
struct Replay<S> {
    read: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let len = self.read.len().min(buffer.remaining());
        buffer.put_slice(self.read.get(..len).unwrap_or_default());
        self.read.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
