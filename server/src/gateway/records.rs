//! What a session leaves behind: audit records, log lines, the breaker's verdict. Dropped early
//! (a panic), it still leaves an end and gives a probe back.

use std::sync::Arc;
use std::time::Instant;

use periscope_core::code::{CloseDetail, ErrorCode};
use periscope_core::policy::{AttemptId, Outcome as BreakerOutcome};
use periscope_core::refusal::UpgradeError;
use periscope_core::session::{BreakerVerdict, Carried, Order, Summary, Transport};
use uuid::Uuid;

use super::Gateway;
use super::admission;
use super::audit::{End, Intent, Outcome, Record, Shell};
use super::log::now as timestamp;
use super::registry::Cluster;
use super::sessions::Command;

/// The record keeper of one session.
pub(crate) struct Records {
    gateway: Arc<Gateway>,
    cluster: Arc<Cluster>,
    session_id: Uuid,
    request_id: Uuid,
    shell: Arc<Shell>,
    /// The attempt whose verdict the breaker awaits; none once it has it.
    attempt: Option<AttemptId>,
    /// What the audit has been told to expect; none once the start says it.
    intent: Option<Intent>,
    start: Option<Started>,
    /// The last person who told the session to end.
    ended_by: Option<String>,
    /// What the metrics know of.
    carried: Carried,
    is_over: bool,
}

struct Started {
    record: Record,
    at: Instant,
    timestamp: String,
}

impl Records {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        cluster: Arc<Cluster>,
        session_id: Uuid,
        request_id: Uuid,
        shell: Shell,
        attempt: AttemptId,
        intent: Option<Intent>,
    ) -> Self {
        Self {
            gateway,
            cluster,
            session_id,
            request_id,
            shell: Arc::new(shell),
            attempt: Some(attempt),
            intent,
            start: None,
            ended_by: None,
            carried: Carried::default(),
            is_over: false,
        }
    }

    /// Somebody told the session something.
    pub(crate) fn on_order(&mut self, command: &Command) {
        if let (Order::End(_), None) = (command.order, &self.ended_by) {
            self.ended_by.clone_from(&command.by);
        }
    }

    /// An attempt at the apiserver got its answer.
    pub(crate) fn on_attempt(&self, transport: Transport, error: UpgradeError) {
        let session = self.session_id.to_string();
        let (cluster, upgrade_error) = (self.cluster.name.as_str(), error.to_string());
        let breaker = self.gateway.sessions.breaker_state(cluster).as_str();
        self.gateway.metrics.on_attempt(cluster, transport, error);
        log::info!(
            session = session.as_str(), cluster = cluster, transport = transport.as_str(),
            upgrade_error = upgrade_error.as_str(), circuit_breaker_state = breaker;
            "exec.upgrade.attempt"
        );
        if error != UpgradeError::None && transport != Transport::Spdy {
            log::warn!(
                session = session.as_str(), cluster = cluster, transport = transport.as_str(),
                upgrade_error = upgrade_error.as_str();
                "exec.upgrade.error"
            );
        }
    }

    /// The session knows what its attempt means for the cluster.
    pub(crate) fn on_breaker(&mut self, verdict: BreakerVerdict) {
        self.report(match verdict {
            BreakerVerdict::Failure => BreakerOutcome::Failure,
            BreakerVerdict::NoVerdict => BreakerOutcome::NoVerdict,
            BreakerVerdict::Success => BreakerOutcome::Success,
        });
    }

    /// The command runs, or may have run.
    pub(crate) fn on_started(&mut self, transport: Transport) {
        let record = Record::start(
            self.session_id,
            self.request_id,
            &self.shell,
            transport.as_str(),
            transport.subprotocol(),
        );
        self.gateway.audit.record(&record);
        if let Some(intent) = self.intent.take() {
            intent.started();
        }
        self.gateway
            .metrics
            .on_started(&self.cluster.name, transport);
        self.start = Some(Started {
            record,
            at: Instant::now(),
            timestamp: timestamp(),
        });
        log::info!(
            session = self.session_id.to_string().as_str(), cluster = self.cluster.name.as_str(),
            namespace = self.shell.namespace.as_str(), pod = self.shell.pod.as_str(),
            transport = transport.as_str(), subprotocol = transport.subprotocol();
            "exec.session.start"
        );
    }

    /// The session has carried this much so far.
    pub(crate) fn on_carried(&mut self, carried: Carried) {
        let before = std::mem::replace(&mut self.carried, carried);
        self.gateway.metrics.on_carried(before, carried);
    }

    /// The session is over.
    pub(crate) fn on_ended(&mut self, summary: &Summary) {
        self.is_over = true;
        self.gateway.metrics.on_summary(summary);
        if let Some(start) = &self.start {
            let outcome = if summary.code.is_none() {
                Outcome::Success
            } else {
                Outcome::Failure
            };
            let by = self.ended_by.take().filter(|_| is_by_order(summary.detail));
            let end = start.end(
                summary.detail,
                summary.exit_code,
                summary.bytes_stdin,
                summary.bytes_stdout,
                by,
            );
            self.gateway.audit.record(&start.record.ended(outcome, end));
            self.gateway
                .metrics
                .on_ended(&self.cluster.name, summary.detail, start.at.elapsed());
        } else {
            self.gateway
                .metrics
                .on_denied(summary.code.unwrap_or(ErrorCode::Internal));
            let code = summary.code.map(ErrorCode::as_str);
            let outcome = summary.code.map_or(Outcome::Failure, admission::outcome);
            let record = Record::denied(
                Some(self.session_id),
                self.request_id,
                &self.shell,
                outcome,
                code,
            );
            self.gateway.audit_denied(record);
            if let Some(intent) = self.intent.take() {
                let by = self.ended_by.take().filter(|_| is_by_order(summary.detail));
                intent.end(outcome, summary.detail, summary.bytes_stdin, by);
            }
        }
        self.log_end(summary);
    }

    fn log_end(&self, summary: &Summary) {
        let exit_code = summary
            .exit_code
            .map_or("unknown".to_owned(), |code| code.to_string());
        let duration = self.start.as_ref().map_or(0, |start| millis(start.at));
        log::info!(
            session = self.session_id.to_string().as_str(), cluster = self.cluster.name.as_str(),
            close_reason = summary.detail.reason().as_str(), close_detail = summary.detail.as_str(),
            code = summary.code.map_or("none", ErrorCode::as_str), exit_code = exit_code.as_str(),
            transport = summary.transport.map_or("none", Transport::as_str), duration_ms = duration,
            bytes_stdin = summary.bytes_stdin, bytes_stdout = summary.bytes_stdout,
            dropped_controls = summary.dropped_controls;
            "exec.session.end"
        );
    }

    fn report(&mut self, outcome: BreakerOutcome) {
        if let Some(attempt) = self.attempt.take() {
            self.gateway
                .sessions
                .report(&self.cluster.name, attempt, outcome);
        }
    }
}

impl Started {
    fn end(
        &self,
        detail: CloseDetail,
        exit_code: Option<u8>,
        bytes_stdin: u64,
        bytes_stdout: u64,
        ended_by: Option<String>,
    ) -> End {
        End {
            started_at: Some(self.timestamp.clone()),
            ended_at: timestamp(),
            duration_ms: Some(millis(self.at)),
            exit_code,
            bytes_stdin,
            bytes_stdout,
            close_reason: detail.reason().as_str(),
            close_detail: detail.as_str(),
            ended_by,
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // An attempt without a verdict gives the breaker's probe back.
        self.report(BreakerOutcome::NoVerdict);
        if self.is_over {
            return;
        }
        log::error!(session = self.session_id.to_string().as_str(); "exec.session.aborted");
        if let Some(start) = &self.start {
            let end = start.end(CloseDetail::Internal, None, 0, 0, None);
            self.gateway
                .audit
                .record(&start.record.ended(Outcome::Failure, end));
            self.gateway.metrics.on_ended(
                &self.cluster.name,
                CloseDetail::Internal,
                start.at.elapsed(),
            );
        }
    }
}

/// Whether a person's order explains this end; an order that came too late does not.
fn is_by_order(detail: CloseDetail) -> bool {
    // A login may also run out, with nobody behind it.
    matches!(
        detail,
        CloseDetail::UserClose | CloseDetail::AdminKill | CloseDetail::AuthExpired
    )
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
