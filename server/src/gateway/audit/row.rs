//! A row as the database holds it: the record's JSON, and what it can be found by.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::log::now;
use super::record::{Outcome, Record, Verb};

/// A row that is not yet in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) columns: Columns,
    /// The same JSON as on stdout. The chain covers exactly these bytes.
    pub(super) body: Arc<str>,
}

/// What rows can be found by. All of it stands in the body, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// The timestamp in milliseconds since 1970.
    pub(super) at: i64,
    pub(super) verb: String,
    pub(super) outcome: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) session: Option<String>,
}

/// The verb of a row that stands for records that were lost.
pub(super) const GAP: &str = "audit.gap";

/// The verb of the row that says from where the chain starts.
pub(super) const CHECKPOINT: &str = "audit.checkpoint";

/// The verb of the line that tells the chain's head. Such a line is on stdout only.
pub(super) const HEAD: &str = "audit.head";

impl Row {
    /// The row of a record.
    pub(super) fn of_record(record: &Record, body: Arc<str>) -> Self {
        let columns = Columns {
            at: millis(&record.timestamp).unwrap_or_default(),
            verb: record.verb.as_str().to_owned(),
            outcome: Some(record.outcome.as_str().to_owned()),
            actor: Some(record.shell.actor.sub.clone()),
            cluster: Some(record.shell.cluster.clone()),
            namespace: Some(record.shell.namespace.clone()),
            pod: Some(record.shell.pod.clone()),
            session: record.session_id.map(|id| id.to_string()),
        };
        Self { columns, body }
    }

    /// A row about the log itself.
    pub(super) fn note(verb: &str, outcome: Outcome, members: Value) -> Self {
        let timestamp = now();
        let mut body = json!({"timestamp": timestamp, "verb": verb, "outcome": outcome});
        if let (Value::Object(body), Value::Object(members)) = (&mut body, members) {
            body.extend(members);
        }
        let columns = Columns {
            at: millis(&timestamp).unwrap_or_default(),
            verb: verb.to_owned(),
            outcome: Some(outcome.as_str().to_owned()),
            ..Columns::default()
        };
        Self {
            columns,
            body: body.to_string().into(),
        }
    }

    /// Records were lost.
    pub(super) fn gap(count: u64) -> Self {
        Self::note(GAP, Outcome::Failure, json!({"count": count}))
    }

    /// The end of a session that the process took down with it, from the row of its start or
    /// intent. What nobody can know any more is null.
    pub(super) fn gateway_crash(of: Columns, body: &str) -> Self {
        let mut end: Map<String, Value> = serde_json::from_str(body).unwrap_or_default();
        let started_at = if of.verb == Verb::Start.as_str() {
            end.get("timestamp").cloned()
        } else {
            None
        };
        let timestamp = now();
        let known = json!({
            "timestamp": timestamp, "verb": Verb::End, "outcome": Outcome::Failure,
            "session_id": of.session,
            "started_at": started_at, "ended_at": null, "duration_ms": null, "exit_code": null,
            "bytes_stdin": null, "bytes_stdout": null,
            "close_reason": "forced_close", "close_detail": "gateway_crash", "ended_by": null,
        });
        if let Value::Object(known) = known {
            end.extend(known);
        }
        let columns = Columns {
            at: millis(&timestamp).unwrap_or_default(),
            verb: Verb::End.as_str().to_owned(),
            outcome: Some(Outcome::Failure.as_str().to_owned()),
            ..of
        };
        Self {
            columns,
            body: Value::Object(end).to_string().into(),
        }
    }
}

impl Columns {
    /// What a body says; none if it is no record.
    pub(super) fn of_body(body: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            timestamp: String,
            verb: String,
            outcome: Option<String>,
            actor: Option<Actor>,
            cluster: Option<String>,
            namespace: Option<String>,
            pod: Option<String>,
            session_id: Option<String>,
        }
        #[derive(Deserialize)]
        struct Actor {
            sub: String,
        }
        let body: Body = serde_json::from_str(body).ok()?;
        Some(Self {
            at: millis(&body.timestamp)?,
            verb: body.verb,
            outcome: body.outcome,
            actor: body.actor.map(|actor| actor.sub),
            cluster: body.cluster,
            namespace: body.namespace,
            pod: body.pod,
            session: body.session_id,
        })
    }
}

fn millis(timestamp: &str) -> Option<i64> {
    let timestamp: jiff::Timestamp = timestamp.parse().ok()?;
    Some(timestamp.as_millisecond())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::record::tests::{denied, ended, started};
    use super::*;

    fn row(record: &Record) -> Row {
        Row::of_record(record, serde_json::to_string(record).unwrap().into())
    }

    #[test]
    fn the_columns_are_what_the_body_says() {
        let start = started(Uuid::from_u128(7));
        let crash = row(&start);
        let rows = [
            row(&start),
            row(&ended(&start)),
            row(&denied("ann", "E_CAP_USER")),
            Row::gap(3),
            Row::gateway_crash(crash.columns, &crash.body),
        ];
        for row in rows {
            assert_eq!(
                Columns::of_body(&row.body),
                Some(row.columns.clone()),
                "{row:?}"
            );
        }
    }

    #[test]
    fn the_end_of_a_crash_knows_who_and_where_and_nothing_it_cannot_know() {
        let start = row(&started(Uuid::from_u128(7)));
        let end = Row::gateway_crash(start.columns.clone(), &start.body);
        let (start, end): (Value, Value) = (
            serde_json::from_str(&start.body).unwrap(),
            serde_json::from_str(&end.body).unwrap(),
        );
        for same in [
            "session_id",
            "request_id",
            "actor",
            "cluster",
            "pod",
            "command",
            "transport",
        ] {
            assert_eq!(end[same], start[same], "{same}");
        }
        assert_eq!(end["started_at"], start["timestamp"]);
        assert_eq!(end["close_detail"], "gateway_crash");
        for unknown in [
            "ended_at",
            "duration_ms",
            "exit_code",
            "bytes_stdin",
            "ended_by",
        ] {
            assert_eq!(end.get(unknown), Some(&Value::Null), "{unknown}");
        }
        // Even if somebody made a mess of the start.
        let of = Columns {
            session: Some("7".to_owned()),
            ..Columns::default()
        };
        let end: Value = serde_json::from_str(&Row::gateway_crash(of, "mess").body).unwrap();
        assert_eq!(
            (&end["session_id"], &end["started_at"]),
            (&json!("7"), &Value::Null)
        );
    }
}
