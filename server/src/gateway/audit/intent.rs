//! A committed intent: somebody is about to get a shell, and whatever comes of it, an end follows.

use std::sync::Arc;

use periscope_core::code::CloseDetail;

use super::super::log::now;
use super::store::NotCommitted;
use super::{Audit, End, Outcome, Record};

/// An intent without its end. Dropping it writes one.
#[derive(Debug)]
pub(crate) struct Intent {
    audit: Arc<Audit>,
    record: Record,
    /// What happened, as far as is known.
    detail: CloseDetail,
    is_over: bool,
}

impl Intent {
    /// Commits an intent. If that takes too long, its row, which may still be written, gets an end.
    pub(crate) async fn commit(audit: &Arc<Audit>, record: Record) -> Result<Self, NotCommitted> {
        let mut intent = Self {
            audit: Arc::clone(audit),
            record,
            // Whoever drops a request that waits is a browser that has gone.
            detail: CloseDetail::TabGone,
            is_over: false,
        };
        let committed = audit.commit(&intent.record).await;
        if committed.is_err() {
            intent.detail = CloseDetail::Audit;
        }
        committed.map(|()| intent)
    }

    /// Somebody is about to use it: if it is dropped from now on, that is a fault of ours.
    pub(crate) fn expect_end(&mut self) {
        self.detail = CloseDetail::Internal;
    }

    /// The session never came up.
    pub(crate) fn end(
        mut self,
        outcome: Outcome,
        detail: CloseDetail,
        bytes_stdin: u64,
        ended_by: Option<String>,
    ) {
        self.is_over = true;
        self.write(outcome, detail, bytes_stdin, ended_by);
    }

    /// The session came up: the end of its start is the end of this.
    pub(crate) fn started(mut self) {
        self.is_over = true;
    }

    fn write(
        &self,
        outcome: Outcome,
        detail: CloseDetail,
        bytes_stdin: u64,
        ended_by: Option<String>,
    ) {
        let end = End {
            started_at: None,
            ended_at: now(),
            duration_ms: None,
            exit_code: None,
            bytes_stdin,
            bytes_stdout: 0,
            close_reason: detail.reason().as_str(),
            close_detail: detail.as_str(),
            ended_by,
        };
        self.audit.record(&self.record.ended(outcome, end));
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if !self.is_over {
            self.write(Outcome::Failure, self.detail, 0, None);
        }
    }
}
