//! Accepting connections: a bounded number of them, each with limits on what it may send before it
//! has said anything useful.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::browser::{BrowserStream, ServerTls};
use super::{Gateway, routes};

/// Connections that speak HTTP at the same time; shells have left HTTP behind and do not count.
const CONNECTIONS_MAX: usize = 2048;

/// How long a request's head may take, and how long a connection may sit between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest head: cookies and a base64 command fit many times.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most header fields.
const HEADER_FIELDS_MAX: usize = 100;

/// How long accepting rests after an error such as "too many open files".
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How often counts that have waited long enough are written.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// A gateway that listens.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Listening {
    /// Starts to accept connections.
    pub fn start(listener: TcpListener, gateway: Arc<Gateway>) -> io::Result<Self> {
        Self::start_with(listener, None, gateway)
    }

    /// Starts to accept connections, behind TLS if there is a certificate for it.
    pub fn start_with(
        listener: TcpListener,
        tls: Option<ServerTls>,
        gateway: Arc<Gateway>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = watch::Sender::new(false);
        tokio::spawn(keep_house(Arc::clone(&gateway), stop.subscribe()));
        let accepting = tokio::spawn(accept(listener, tls, gateway, stop.subscribe()));
        Ok(Self {
            address,
            stop,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, and lets requests that have begun end within this time.
    pub async fn stop(mut self, within: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(within, &mut self.accepting)
            .await
            .is_err()
        {
            self.accepting.abort();
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<ServerTls>,
    gateway: Arc<Gateway>,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept_one(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let (gateway, tls, stop) = (Arc::clone(&gateway), tls.clone(), stop.clone());
                let connection = greet(stream, tls, gateway, stop);
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                log::warn!(kind = error.kind().to_string().as_str(); "http.accept.error");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept_one(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Echo should not wait for more to send; a socket that refuses the option still works.
    drop(stream.set_nodelay(true));
    Ok((stream, slot))
}

/// The TLS handshake where there is one, then HTTP.
async fn greet(
    stream: TcpStream,
    tls: Option<ServerTls>,
    gateway: Arc<Gateway>,
    mut stop: watch::Receiver<bool>,
) {
    let Some(tls) = tls else {
        return serve(BrowserStream::Plain(stream), gateway, stop).await;
    };
    // Who speaks no TLS, or takes too long, is not news.
    let stream = tokio::select! {
        () = stopped(&mut stop) => return,
        stream = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)) => stream,
    };
    if let Ok(Ok(stream)) = stream {
        serve(stream, gateway, stop).await;
    }
}

async fn serve(stream: BrowserStream, gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, std::convert::Infallible>(routes::handle(gateway, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // A client that breaks off or sends nonsense is answered by hyper and is not news.
    tokio::select! {
        result = connection.as_mut() => drop(result),
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}

/// What has to happen now and then, whether somebody asks or not.
async fn keep_house(gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = interval.tick() => {
                gateway.expire_denials();
                gateway.sessions.end_expired(jiff::Timestamp::now());
            }
        }
    }
}

/// Resolves once the listener is told to stop, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
