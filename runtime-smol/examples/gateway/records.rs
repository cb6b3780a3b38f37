//! The audit rows of one session, in the server's shape. Dropped early (a panic), it still leaves
//! an end and gives a probe of the breaker back.

use std::sync::Arc;
use std::time::Instant;

use periscope_core::code::{CloseDetail, ErrorCode};
use periscope_core::http::SecretValue;
use periscope_core::policy::{AttemptId, Outcome};
use periscope_core::session::{BreakerVerdict, Event, Summary, Transport};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Gateway;
use crate::audit::timestamp;
use crate::config::Config;

/// Who wants which shell: the same in all rows of a session.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: Option<String>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) tty: Option<bool>,
    pub(crate) request_id: Uuid,
    actor: Value,
    k8s_identity: Value,
}

/// The record keeper of one session.
pub(crate) struct Records {
    gateway: Arc<Gateway>,
    shell: Shell,
    session_id: Uuid,
    /// The attempt whose verdict the breaker awaits; none once it has it.
    attempt: Option<AttemptId>,
    started: Option<Started>,
    is_over: bool,
}

struct Started {
    transport: Transport,
    at: Instant,
    timestamp: String,
    /// Whether the row was taken: only then is its end.
    is_taken: bool,
}

impl Shell {
    pub(crate) fn new(
        config: &Config,
        request_id: Uuid,
        cluster: &str,
        namespace: &str,
        pod: &str,
    ) -> Self {
        let groups: Vec<&str> = config.groups.iter().map(SecretValue::as_str).collect();
        let user = config.user.as_ref().map(SecretValue::as_str);
        Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: None,
            command: None,
            tty: None,
            request_id,
            actor: json!({ "sub": config.subject(), "email": null, "groups": [] }),
            k8s_identity: json!({ "user": user, "groups": groups, "base": "kubeconfig" }),
        }
    }

    fn row(&self, verb: &str, outcome: &str, session_id: Option<Uuid>) -> Value {
        json!({
            "timestamp": timestamp(),
            "verb": verb,
            "outcome": outcome,
            "session_id": session_id,
            "request_id": self.request_id,
            "actor": self.actor,
            "cluster": self.cluster,
            "namespace": self.namespace,
            "pod": self.pod,
            "container": self.container,
            "command": self.command,
            "tty": self.tty,
            // Who was refused before it was decided as whom the apiserver would be asked has none.
            "k8s_identity": self.command.as_ref().map(|_| &self.k8s_identity),
            "transport": null,
            "subprotocol": null,
        })
    }

    /// Writes that an attempt was refused or failed.
    pub(crate) fn denied(
        &self,
        gateway: &Gateway,
        session_id: Option<Uuid>,
        code: Option<ErrorCode>,
    ) {
        let is_denial = code.is_some_and(ErrorCode::is_denial);
        let outcome = if is_denial { "denied" } else { "failure" };
        let mut row = self.row("pod.exec.session_denied", outcome, session_id);
        set(&mut row, "code", code.map(ErrorCode::as_str).into());
        set(&mut row, "count", 1.into());
        gateway.audit.denied_row(&row);
    }
}

impl Records {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        shell: Shell,
        session_id: Uuid,
        attempt: AttemptId,
    ) -> Self {
        Self {
            gateway,
            shell,
            session_id,
            attempt: Some(attempt),
            started: None,
            is_over: false,
        }
    }

    /// The session states a fact.
    pub(crate) fn on_event(&mut self, event: &Event) {
        match event {
            Event::Attempt { .. } => {}
            Event::Breaker(verdict) => self.report(match verdict {
                BreakerVerdict::Failure => Outcome::Failure,
                BreakerVerdict::NoVerdict => Outcome::NoVerdict,
                BreakerVerdict::Success => Outcome::Success,
            }),
            Event::Started { transport } => self.on_started(*transport),
            Event::Ended(summary) => self.on_ended(summary),
        }
    }

    fn on_started(&mut self, transport: Transport) {
        let mut row = self.started_row("pod.exec.session_start", "success", transport);
        // The timestamp of the row is the start that its end repeats.
        let timestamp = timestamp();
        set(&mut row, "timestamp", timestamp.as_str().into());
        self.started = Some(Started {
            transport,
            at: Instant::now(),
            timestamp,
            is_taken: self.gateway.audit.start_row(&row),
        });
    }

    fn on_ended(&mut self, summary: &Summary) {
        self.is_over = true;
        if self.started.is_none() {
            let id = Some(self.session_id);
            return self.shell.denied(&self.gateway, id, summary.code);
        }
        let outcome = if summary.code.is_none() {
            "success"
        } else {
            "failure"
        };
        self.end(outcome, summary.detail, Some(summary));
    }

    /// Writes the end. Without a summary it is not known what passed.
    fn end(&self, outcome: &str, detail: CloseDetail, summary: Option<&Summary>) {
        let Some(started) = self.started.as_ref().filter(|started| started.is_taken) else {
            return;
        };
        let mut row = self.started_row("pod.exec.session_end", outcome, started.transport);
        let millis = u64::try_from(started.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let exit_code = summary.and_then(|summary| summary.exit_code);
        let (stdin, stdout) = summary.map_or((0, 0), |summary| {
            (summary.bytes_stdin, summary.bytes_stdout)
        });
        for (name, value) in [
            ("started_at", started.timestamp.as_str().into()),
            ("ended_at", timestamp().into()),
            ("duration_ms", millis.into()),
            ("exit_code", exit_code.into()),
            ("bytes_stdin", stdin.into()),
            ("bytes_stdout", stdout.into()),
            ("close_reason", detail.reason().as_str().into()),
            ("close_detail", detail.as_str().into()),
            // Nobody can end another's session here.
            ("ended_by", Value::Null),
        ] {
            set(&mut row, name, value);
        }
        self.gateway.audit.end_row(&row);
    }

    fn started_row(&self, verb: &str, outcome: &str, transport: Transport) -> Value {
        let mut row = self.shell.row(verb, outcome, Some(self.session_id));
        set(&mut row, "transport", transport.as_str().into());
        set(&mut row, "subprotocol", transport.subprotocol().into());
        row
    }

    fn report(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempt.take() {
            let sessions = &self.gateway.sessions;
            sessions.report(&self.shell.cluster, attempt, outcome);
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // An attempt without a verdict gives the breaker's probe back.
        self.report(Outcome::NoVerdict);
        if !self.is_over {
            self.end("failure", CloseDetail::Internal, None);
        }
    }
}

fn set(row: &mut Value, name: &str, value: Value) {
    if let Some(fields) = row.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}
