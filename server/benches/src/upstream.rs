//! The make-believe apiserver: as much of it as a gateway asks before a shell, and pods whose
//! process does what `command` says. v5 over WebSocket.

use std::convert::Infallible;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::{Failure, stdin_ended, tls};

/// The pod that there is.
pub(crate) const POD: &str = "default/pods/box";

const STDOUT: u8 = 1;
const STATUS: u8 = 3;
const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;
/// What one message of a flood carries: what a runtime's copy loop reads at a time.
const FLOOD_RUN: usize = 32 * 1024;

/// Serves until stdin ends. Says where it listens once it does.
pub(crate) async fn run(dir: &Path) -> Result<(), Failure> {
    let (config, ca) = tls::server()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("ca.pem"), &ca)?;
    std::fs::write(
        dir.join("kubeconfig"),
        kubeconfig(&address.to_string(), &ca, dir)?,
    )?;
    println!("{address}");
    tokio::select! {
        result = accept(&listener, TlsAcceptor::from(config)) => result,
        () = stdin_ended() => Ok(()),
    }
}

fn kubeconfig(address: &str, ca: &str, dir: &Path) -> Result<String, Failure> {
    let ca_path = dir.join("ca.pem");
    std::fs::write(&ca_path, ca)?;
    // JSON is YAML.
    Ok(json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "rig",
        "clusters": [{"name": "rig", "cluster": {"server": format!("https://{address}"), "certificate-authority": ca_path}}],
        "users": [{"name": "rig", "user": {"token": "rig"}}],
        "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig"}}],
    })
    .to_string())
}

async fn accept(listener: &TcpListener, tls: TlsAcceptor) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            // A gateway that is stopped breaks its connections off: not this measurement's news.
            drop(serve(stream, tls).await);
        });
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor) -> Result<(), Failure> {
    let stream = tls.accept(stream).await?;
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request)) });
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?;
    Ok(())
}

fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path.ends_with("/exec") {
        return upgrade(request);
    }
    let object = match path.as_str() {
        "/version" => json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2"}),
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            json!({"kind": "SelfSubjectAccessReview", "status": {"allowed": true}})
        }
        _ => json!({
            "kind": "Pod", "metadata": {"name": "box", "namespace": "default", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "box", "image": "box"}]},
            "status": {"phase": "Running"},
        }),
    };
    let mut response = Response::new(Full::from(object.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn upgrade(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    let mut response = Response::new(Full::default());
    let Some(accept) = accept else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let v5 = HeaderValue::from_static("v5.channel.k8s.io");
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, v5);
    let query = request.uri().query().unwrap_or_default().to_owned();
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            drop(process(upgraded, &query).await);
        }
    });
    response
}

/// The pod's process: `flood MIB` writes so much and exits, everything else echoes.
async fn process(upgraded: Upgraded, query: &str) -> Result<(), Failure> {
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024);
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    socket.send(Message::binary(vec![STDOUT])).await?;
    if let Some(mib) = flood(query) {
        let mut run = BytesMut::zeroed(FLOOD_RUN + 1);
        if let Some(first) = run.first_mut() {
            *first = STDOUT;
        }
        let run = run.freeze();
        for _ in 0..mib.saturating_mul(1024 * 1024) / FLOOD_RUN {
            socket.send(Message::Binary(run.clone())).await?;
        }
        let mut status = vec![STATUS];
        status.extend_from_slice(SUCCESS);
        socket.send(Message::binary(status)).await?;
        socket.close(None).await?;
    }
    while let Some(message) = socket.next().await {
        if let Message::Binary(payload) = message?
            && let Some((0, typed)) = payload.split_first()
            && !typed.is_empty()
        {
            let mut echo = BytesMut::with_capacity(payload.len());
            echo.extend_from_slice(&[STDOUT]);
            echo.extend_from_slice(typed);
            socket.send(Message::Binary(echo.freeze())).await?;
        }
    }
    Ok(())
}

fn flood(query: &str) -> Option<usize> {
    let mut words = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("command="));
    (words.next()? == "flood").then(|| words.next()?.parse().ok())?
}
