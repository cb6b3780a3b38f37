//! What one writes in an afternoon: two WebSockets and a loop. No login, no limits, no audit, no
//! timers. It is here to be compared with.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::{Failure, stdin_ended, tls};

/// Serves until stdin ends. Says where it listens once it does.
pub(crate) async fn run(
    upstream: SocketAddr,
    ca: &Path,
    buffers: Option<usize>,
) -> Result<(), Failure> {
    let connector = TlsConnector::from(tls::client(ca)?);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let config = Arc::new(match buffers {
        Some(len) => WebSocketConfig::default()
            .read_buffer_size(len)
            .write_buffer_size(len),
        None => WebSocketConfig::default(),
    });
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (connector, config) = (connector.clone(), Arc::clone(&config));
            tokio::spawn(async move { drop(relay(stream, upstream, connector, *config).await) });
        }
    };
    tokio::select! {
        result = accepting => result,
        () = stdin_ended() => Ok(()),
    }
}

async fn relay(
    stream: TcpStream,
    upstream: SocketAddr,
    tls: TlsConnector,
    config: WebSocketConfig,
) -> Result<(), Failure> {
    let mut browser = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(ServerName::from(upstream.ip()), stream).await?;
    let mut request = format!(
        "wss://{upstream}/api/v1/namespaces/{}/exec?command=echo",
        crate::upstream::POD
    )
    .into_client_request()?;
    let v5 = HeaderValue::from_static("v5.channel.k8s.io");
    request.headers_mut().insert("sec-websocket-protocol", v5);
    let (mut api, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    loop {
        let (message, to_api) = tokio::select! {
            Some(message) = browser.next() => (message?, true),
            Some(message) = api.next() => (message?, false),
            else => return Ok(()),
        };
        if let Message::Binary(payload) = message {
            if to_api {
                let framed = [&[0], payload.as_ref()].concat();
                api.send(Message::binary(framed)).await?;
            } else if payload.len() > 1 {
                browser.send(Message::Binary(payload.slice(1..))).await?;
            }
        }
    }
}
