//! Exec: from the request to the end of the process.
//!
//! The bytes are the core's: it reads the handshake, frames WebSocket and SPDY, and words the
//! status. This module decides who may, runs the process, and moves bytes.

mod request;
mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use jiff::fmt::rfc2822::DateTimePrinter;
use periscope_core::channel::Subprotocol;
use periscope_core::http::{Misuse, RequestHead, ServerUpgrade};
use periscope_core::outbox::Outbox;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::cluster::Cluster;
use super::fault::Fault;
use super::rest;
pub(super) use request::{Denial, Plan, SPDY_SUBPROTOCOL, Transport, decide, exec_path};
pub(super) use session::{Wire, run};

/// How long a client may take for the rest of the head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the fault `slow-up` holds back its 101.
const SLOW_UP: Duration = Duration::from_secs(3);

/// What a proxy answers that knows no upgrades.
pub(super) const PROXY_PAGE: &str = "<html><head><title>426 Upgrade Required</title></head>\
     <body><center><h1>426 Upgrade Required</h1></center><hr><center>proxy</center></body></html>\r\n";

/// Serves an exec request whose first bytes are in `input`, from its head to its end.
pub(super) async fn serve<S>(cluster: &Arc<Cluster>, mut stream: S, mut input: BytesMut)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut upgrade = ServerUpgrade::new();
    let mut out = Outbox::new();
    let head = async {
        loop {
            match upgrade.receive(&mut input) {
                Ok(Some(head)) => return Some(Ok(head)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
                return None;
            }
        }
    };
    let Ok(Some(head)) = tokio::time::timeout(HEAD_TIMEOUT, head).await else {
        return;
    };
    let parts = match head.map(|head| parts(&head)) {
        Ok(Some(parts)) => parts,
        Ok(None) => return,
        Err(error) => {
            let text = format!("{error}\n");
            let refused = upgrade.refuse(
                error.status(),
                TEXT,
                text.as_bytes(),
                error.headers(),
                &mut out,
            );
            answer(cluster, refused, Wire::new(stream, input, out)).await;
            return;
        }
    };
    let plan = match decide(cluster, &parts) {
        Ok(plan) => plan,
        Err(Denial::Silence) => return Wire::new(stream, input, out).read_to_end().await,
        Err(denial) => {
            let refused = refuse(cluster, &parts, &denial, &mut upgrade, &mut out);
            return answer(cluster, refused, Wire::new(stream, input, out)).await;
        }
    };
    hold_back(cluster).await;
    let accepted = match plan.transport {
        Transport::WebSocket(subprotocol) => {
            upgrade.accept_websocket(subprotocol.map(Subprotocol::as_str), &mut out)
        }
        Transport::Spdy => upgrade.accept_spdy(SPDY_SUBPROTOCOL.as_str(), &mut out),
    };
    match accepted {
        Ok(()) => run(cluster, plan, Wire::new(stream, input, out)).await,
        Err(misuse) => log::error!("sandbox {}: {misuse}", cluster.name),
    }
}

/// Waits before the 101 where the fault `slow-up` wants it.
pub(super) async fn hold_back(cluster: &Cluster) {
    if cluster.has(Fault::SlowUp) {
        tokio::time::sleep(SLOW_UP).await;
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Queues a refusal.
fn refuse(
    cluster: &Cluster,
    request: &Parts,
    denial: &Denial,
    upgrade: &mut ServerUpgrade,
    out: &mut Outbox,
) -> Result<(), Misuse> {
    if matches!(denial, Denial::Bare) {
        return upgrade.refuse_bare(403, out);
    }
    let response = refusal(cluster, request, denial);
    let mut content_type = TEXT;
    let mut extra = Vec::new();
    for (name, value) in response.headers() {
        let value = value.to_str().unwrap_or_default();
        if name == CONTENT_TYPE {
            content_type = value;
        } else {
            extra.push((name.as_str(), value));
        }
    }
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
    if let Ok(date) = &date {
        extra.push(("date", date));
    }
    let status = response.status().as_u16();
    upgrade.refuse(
        status,
        content_type,
        response.body().as_bytes(),
        &extra,
        out,
    )
}

/// Sends what is queued and ends the connection.
async fn answer<S>(cluster: &Cluster, queued: Result<(), Misuse>, wire: Wire<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match queued {
        Ok(()) => wire.finish().await,
        Err(misuse) => log::error!("sandbox {}: {misuse}", cluster.name),
    }
}

/// A refusal as a response, where it has a body.
pub(super) fn refusal(
    cluster: &Cluster,
    request: &Parts,
    denial: &Denial,
) -> http::Response<String> {
    let text = |status, text: &str| {
        let mut response = http::Response::new(text.to_owned());
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
        response
    };
    match denial {
        Denial::Refuse(refusal) => rest::refused(cluster, request, refusal),
        Denial::Text(status, body) => text(*status, body),
        Denial::NoSpdySubprotocol(body) => {
            let mut response = text(StatusCode::FORBIDDEN, body);
            let name = HeaderValue::from_static(SPDY_SUBPROTOCOL.as_str());
            response
                .headers_mut()
                .insert("x-accepted-stream-protocol-versions", name);
            response
        }
        Denial::Page => {
            let mut response = text(StatusCode::UPGRADE_REQUIRED, PROXY_PAGE);
            let html = HeaderValue::from_static("text/html");
            response.headers_mut().insert(CONTENT_TYPE, html);
            response
        }
        // Where hyper speaks HTTP it cannot send less than this.
        Denial::Bare | Denial::Silence => text(StatusCode::FORBIDDEN, ""),
    }
}

/// The head as hyper would have read it; `None` if it has what the core lets pass and `http` not.
fn parts(head: &RequestHead) -> Option<Parts> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method.as_bytes()).ok()?;
    *request.uri_mut() = head.target.parse::<Uri>().ok()?;
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request.headers_mut().append(
            name,
            HeaderValue::from_str(value.as_str())
                .ok()
                .or_else(|| HeaderValue::from_bytes(value.as_str().as_bytes()).ok())?,
        );
    }
    Some(request.into_parts().0)
}
