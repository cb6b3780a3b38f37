//! `GET /api/clusters/{c}/pods/{ns}/{pod}/exec`: the shell, or the dry run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use uuid::Uuid;

use super::admission::{self, Purpose, Refused};
use super::audit::Record;
use super::respond::{self, ApiError, Reply};
use super::{Gateway, session_task};

/// Which shell is wanted: names as they stand in the path, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) request_id: Uuid,
}

/// Answers the request, and starts the session behind a 101.
pub(crate) async fn handle(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    wish: &Wish<'_>,
) -> Reply {
    let (parts, body) = request.into_parts();
    let is_upgrade = admission::has_token(&parts, &header::UPGRADE, "websocket");
    let purpose = if is_upgrade {
        Purpose::Open
    } else {
        Purpose::DryRun
    };
    let (admitted, slot) = match admission::admit(gateway, &parts, wish, purpose).await {
        Ok((admitted, Some(slot))) => (admitted, slot),
        Ok((_, None)) => return respond::json(StatusCode::OK, &json!({ "ok": true })),
        Err(refused) => return refuse(gateway, wish, purpose, *refused),
    };
    let key = parts
        .headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok());
    let accept = periscope_core::http::accept_key(key.unwrap_or_default());
    let Ok(accept) = HeaderValue::from_str(&accept) else {
        return ApiError::new(periscope_core::code::ErrorCode::Internal).reply();
    };
    let upgrade = hyper::upgrade::on(Request::from_parts(parts, body));
    session_task::spawn(gateway, admitted, slot, wish.request_id, upgrade);
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    reply
}

fn refuse(gateway: &Gateway, wish: &Wish<'_>, purpose: Purpose, refused: Refused) -> Reply {
    let Refused {
        error,
        shell,
        session_id,
    } = refused;
    let code = error.code();
    match (shell, purpose) {
        (Some(shell), Purpose::Open) => {
            let outcome = admission::outcome(code);
            let record = Record::denied(
                session_id,
                wish.request_id,
                &Arc::new(shell),
                outcome,
                Some(code.as_str()),
            );
            gateway.metrics.on_denied(code);
            gateway.audit_denied(record);
        }
        (None, Purpose::Open) => note_without_login(gateway),
        (_, Purpose::DryRun) => {}
    }
    error.reply()
}

/// Attempts without a login are nobody's, so they have no audit row: a line now and then, with
/// their number.
fn note_without_login(gateway: &Gateway) {
    static NEXT_LINE_MS: AtomicU64 = AtomicU64::new(0);
    const LINE_EVERY: Duration = Duration::from_secs(10);
    let count = gateway.metrics.on_unauthenticated();
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let next = NEXT_LINE_MS.load(Ordering::Relaxed);
    let after = now.saturating_add(u64::try_from(LINE_EVERY.as_millis()).unwrap_or(u64::MAX));
    let is_due = now >= next
        && NEXT_LINE_MS
            .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if is_due {
        log::warn!(total = count; "exec.unauthenticated");
    }
}
