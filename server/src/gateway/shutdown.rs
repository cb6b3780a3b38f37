//! Leaving: no new shells, a warning to those that are open, their ends in the audit, then out.

use std::time::Duration;

use super::{Gateway, Listening, Phase};

/// How long sessions may take to end once their time is over; each needs 3 s at most.
const ENDING: Duration = Duration::from_secs(5);

/// How long audit records may take to be written.
const RECORDS: Duration = Duration::from_secs(5);

/// How long requests that have begun may take.
const REQUESTS: Duration = Duration::from_secs(1);

/// What was left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Audit records that were not written.
    pub records: usize,
    /// Sessions that did not end in time.
    pub sessions: usize,
}

/// Ends a gateway. Returns as soon as no session is left; `hurry` ends the wait, not the records.
pub async fn drain(
    gateway: &Gateway,
    listening: Listening,
    hurry: impl Future<Output = ()>,
) -> Left {
    gateway.phase.send_replace(Phase::Draining);
    let sessions = gateway.sessions.order_drain(gateway.drain.as_secs());
    log::info!(sessions = sessions as u64, seconds = gateway.drain.as_secs(); "drain.start");
    tokio::select! {
        () = gateway.sessions.wait_empty() => {}
        () = tokio::time::sleep(gateway.drain) => {}
        () = hurry => {}
    }
    gateway.sessions.order_end();
    let ended = tokio::time::timeout(ENDING, gateway.sessions.wait_empty()).await;
    let sessions = if ended.is_ok() {
        0
    } else {
        gateway.sessions.len()
    };
    listening.stop(REQUESTS).await;
    gateway.drain_denials();
    let audit = std::sync::Arc::clone(&gateway.audit);
    let closing = tokio::task::spawn_blocking(move || audit.close(RECORDS)).await;
    let left = Left {
        records: closing.unwrap_or(usize::MAX),
        sessions,
    };
    log::info!(records = left.records as u64, sessions = left.sessions as u64; "drain.end");
    left
}
