//! The records themselves: facts without a byte of what was typed or shown.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::super::identity::{Identity, Subject};
use super::super::log::now;
use super::queue::Class;

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub(super) timestamp: String,
    pub(super) verb: Verb,
    pub(super) outcome: Outcome,
    pub(super) session_id: Option<Uuid>,
    pub(super) request_id: Option<Uuid>,
    #[serde(flatten)]
    pub(super) shell: Arc<Shell>,
    pub(super) transport: Option<&'static str>,
    pub(super) subprotocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<End>,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A shell may be opened; written before it is, where the audit is required.
    Intent,
    /// A shell is up.
    Start,
    /// A shell that was up has ended, or an intent came to nothing.
    End,
    /// An attempt was refused, or failed before the shell was up.
    Denied,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Success,
    /// A policy said no.
    Denied,
    /// No policy said no; it just did not work.
    Failure,
}

/// Who wanted which shell: the same in all records of a session.
#[derive(Clone, Debug, Serialize)]
pub struct Shell {
    /// Who.
    pub actor: Subject,
    /// Where.
    pub cluster: String,
    /// Where.
    pub namespace: String,
    /// Where.
    pub pod: String,
    /// Where; none if the apiserver chose.
    pub container: Option<String>,
    /// What runs; none if the attempt was refused before that was read.
    pub command: Option<Vec<String>>,
    /// Whether it has a terminal.
    pub tty: Option<bool>,
    /// As whom the apiserver was asked.
    pub k8s_identity: Option<KubernetesIdentity>,
}

/// As whom the apiserver was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KubernetesIdentity {
    /// The impersonated user.
    pub user: Option<String>,
    /// The impersonated groups.
    pub groups: Vec<String>,
    /// What the gateway itself is.
    pub base: &'static str,
}

/// What an end adds.
#[derive(Clone, Debug, Serialize)]
pub struct End {
    /// RFC 3339; none if the shell never came up.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub ended_at: String,
    /// From start to end; none if there was no start.
    pub duration_ms: Option<u64>,
    /// None when unknown.
    pub exit_code: Option<u8>,
    /// From the browser.
    pub bytes_stdin: u64,
    /// To the browser, stderr included.
    pub bytes_stdout: u64,
    /// Why, in three classes.
    pub close_reason: &'static str,
    /// Why, exactly.
    pub close_detail: &'static str,
    /// The subject that ended it, where a person did.
    pub ended_by: Option<String>,
}

impl Verb {
    /// The verb as it stands in the rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "pod.exec.session_intent",
            Self::Start => "pod.exec.session_start",
            Self::End => "pod.exec.session_end",
            Self::Denied => "pod.exec.session_denied",
        }
    }
}

impl Serialize for Verb {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Outcome {
    /// The outcome as it stands in the rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failure => "failure",
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Record {
    /// A shell may be opened.
    pub fn intent(session_id: Uuid, request_id: Uuid, shell: &Arc<Shell>) -> Self {
        Self {
            session_id: Some(session_id),
            request_id: Some(request_id),
            ..Self::new(Verb::Intent, Outcome::Success, shell)
        }
    }

    /// A shell is up.
    pub fn start(
        session_id: Uuid,
        request_id: Uuid,
        shell: &Arc<Shell>,
        transport: &'static str,
        subprotocol: &'static str,
    ) -> Self {
        Self {
            session_id: Some(session_id),
            request_id: Some(request_id),
            transport: Some(transport),
            subprotocol: Some(subprotocol),
            ..Self::new(Verb::Start, Outcome::Success, shell)
        }
    }

    /// The shell that `self` started, or meant to start, has ended.
    #[must_use]
    pub fn ended(&self, outcome: Outcome, end: End) -> Self {
        Self {
            timestamp: now(),
            verb: Verb::End,
            outcome,
            end: Some(end),
            ..self.clone()
        }
    }

    /// An attempt failed.
    pub fn denied(
        session_id: Option<Uuid>,
        request_id: Uuid,
        shell: &Arc<Shell>,
        outcome: Outcome,
        code: Option<&'static str>,
    ) -> Self {
        Self {
            session_id,
            request_id: Some(request_id),
            code,
            count: Some(1),
            ..Self::new(Verb::Denied, outcome, shell)
        }
    }

    /// What the queues make of it.
    pub(super) fn class(&self) -> Class {
        match (self.verb, self.session_id) {
            (Verb::Intent, Some(id)) => Class::Intent(id),
            (Verb::Start, Some(id)) => Class::Start(id),
            (Verb::End, Some(id)) => Class::End(id),
            // Only a refusal can lack a session.
            (Verb::Denied, _) | (_, None) => Class::Denied,
        }
    }

    fn new(verb: Verb, outcome: Outcome, shell: &Arc<Shell>) -> Self {
        Self {
            timestamp: now(),
            verb,
            outcome,
            session_id: None,
            request_id: None,
            shell: Arc::clone(shell),
            transport: None,
            subprotocol: None,
            code: None,
            count: None,
            end: None,
        }
    }
}

impl KubernetesIdentity {
    /// The identity as it is recorded.
    pub fn new(identity: &Identity, base: &'static str) -> Self {
        Self {
            user: identity.user().map(str::to_owned),
            groups: identity.groups().map(str::to_owned).collect(),
            base,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn shell(sub: &str) -> Arc<Shell> {
        Arc::new(Shell {
            actor: Subject {
                sub: sub.to_owned(),
                email: None,
                groups: vec!["devs".to_owned()],
            },
            cluster: "modern".to_owned(),
            namespace: "demo".to_owned(),
            pod: "web-0".to_owned(),
            container: Some("web".to_owned()),
            command: Some(vec!["sh".to_owned()]),
            tty: Some(true),
            k8s_identity: None,
        })
    }

    pub(in super::super) fn started(id: Uuid) -> Record {
        Record::start(
            id,
            Uuid::from_u128(1),
            &shell("ann"),
            "ws",
            "v5.channel.k8s.io",
        )
    }

    pub(in super::super) fn ended(start: &Record) -> Record {
        let end = End {
            started_at: Some("2026-01-02T03:04:05.006Z".to_owned()),
            ended_at: "2026-01-02T03:04:06.006Z".to_owned(),
            duration_ms: Some(1000),
            exit_code: Some(7),
            bytes_stdin: 1,
            bytes_stdout: 2,
            close_reason: "client_close",
            close_detail: "process_exit",
            ended_by: None,
        };
        start.ended(Outcome::Success, end)
    }

    pub(in super::super) fn denied(sub: &str, code: &'static str) -> Record {
        Record::denied(
            None,
            Uuid::from_u128(1),
            &shell(sub),
            Outcome::Denied,
            Some(code),
        )
    }

    #[test]
    fn rows_are_flat_and_in_snake_case() {
        let row = serde_json::to_value(ended(&started(Uuid::from_u128(7)))).unwrap();
        assert_eq!(row["verb"], "pod.exec.session_end");
        assert_eq!(row["session_id"], "00000000-0000-0000-0000-000000000007");
        assert_eq!(
            row["actor"],
            serde_json::json!({"sub": "ann", "email": null, "groups": ["devs"]})
        );
        assert_eq!(row["exit_code"], 7);
        assert_eq!(row["close_detail"], "process_exit");
        assert!(row.get("code").is_none());
        let row = serde_json::to_value(denied("ann", "E_CAP_USER")).unwrap();
        assert_eq!(row["outcome"], "denied");
        assert_eq!(row["code"], "E_CAP_USER");
        assert_eq!(row["count"], 1);
        assert!(row.get("exit_code").is_none());
    }
}
