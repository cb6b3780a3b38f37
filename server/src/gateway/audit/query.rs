//! Finding rows.

use std::path::Path;
use std::sync::OnceLock;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, InterruptHandle, params_from_iter};
use serde::Serialize;
use serde_json::value::RawValue;

use super::schema::{self, BODY, Fault};
use super::writer::text;

/// Rows in an answer, unless it is asked otherwise.
pub const LIMIT_DEFAULT: u32 = 100;

/// Rows in an answer at most.
pub const LIMIT_MAX: u32 = 500;

/// Which rows. What is none does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// What happened.
    pub verb: Option<String>,
    /// The subject it happened to.
    pub actor: Option<String>,
    /// Only rows of this subject, whatever else is asked.
    pub only_of: Option<String>,
    /// How it went.
    pub outcome: Option<String>,
    /// Where.
    pub cluster: Option<String>,
    /// Where.
    pub namespace: Option<String>,
    /// Where.
    pub pod: Option<String>,
    /// The session's identifier.
    pub session: Option<String>,
    /// From this millisecond since 1970 on.
    pub from: Option<i64>,
    /// Before this millisecond since 1970.
    pub to: Option<i64>,
    /// How many rows.
    pub limit: u32,
    /// How many of the newest to leave out.
    pub offset: u32,
}

/// Rows, newest first.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The rows: the JSON that is in the chain, and its `seq` in front.
    pub items: Vec<Box<RawValue>>,
    /// How many there are without limit and offset.
    pub total: i64,
    /// As asked.
    pub limit: u32,
    /// As asked.
    pub offset: u32,
}

/// A value that a filter does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// A key stands there twice: which one is meant?
    #[error("`{0}` is repeated")]
    Repeated(&'static str),
    /// Not a time.
    #[error("`{0}` is a time in RFC 3339, such as 2026-01-31T18:00:00Z")]
    Time(&'static str),
    /// Not a number of rows.
    #[error("`limit` is a number from 0 to {LIMIT_MAX}")]
    Limit,
    /// Not a number of rows.
    #[error("`offset` is a number, 0 or more")]
    Offset,
}

impl Filter {
    /// All rows, so many at a time.
    pub fn new() -> Self {
        Self {
            limit: LIMIT_DEFAULT,
            ..Self::default()
        }
    }

    /// Reads the query of a URL (without its `?`). Keys it does not know are ignored; a key without
    /// a value asks for nothing.
    pub fn from_query(query: &str) -> Result<Self, BadFilter> {
        let mut filter = Self::new();
        let mut seen: Vec<&'static str> = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(key) = KEYS.into_iter().find(|known| *known == key) else {
                continue;
            };
            if seen.contains(&key) {
                return Err(BadFilter::Repeated(key));
            }
            seen.push(key);
            if !value.is_empty() {
                filter.set(key, &value)?;
            }
        }
        Ok(filter)
    }

    /// Sets one key.
    pub fn set(&mut self, key: &'static str, value: &str) -> Result<(), BadFilter> {
        let text = Some(value.to_owned());
        match key {
            "verb" => self.verb = text,
            "actor" => self.actor = text,
            "outcome" => self.outcome = text,
            "cluster" => self.cluster = text,
            "namespace" => self.namespace = text,
            "pod" => self.pod = text,
            "session" => self.session = text,
            "from" => self.from = Some(time(value).ok_or(BadFilter::Time(key))?),
            "to" => self.to = Some(time(value).ok_or(BadFilter::Time(key))?),
            "limit" => {
                let limit = number(value).filter(|limit| *limit <= LIMIT_MAX);
                self.limit = limit.ok_or(BadFilter::Limit)?;
            }
            "offset" => self.offset = number(value).ok_or(BadFilter::Offset)?,
            _ => debug_assert!(false, "one of KEYS"),
        }
        Ok(())
    }

    /// The condition in SQL, and its values in order.
    fn condition(&self) -> (String, Vec<SqlValue>) {
        let texts = [
            ("verb = ?", &self.verb),
            ("actor = ?", &self.actor),
            ("actor = ?", &self.only_of),
            ("outcome = ?", &self.outcome),
            ("cluster = ?", &self.cluster),
            ("namespace = ?", &self.namespace),
            ("pod = ?", &self.pod),
            ("session = ?", &self.session),
        ];
        let times = [("at >= ?", self.from), ("at < ?", self.to)];
        // Places that retention has emptied have no time.
        let mut sql = "at IS NOT NULL".to_owned();
        let mut values = Vec::new();
        let texts = texts
            .into_iter()
            .filter_map(|(test, value)| Some((test, SqlValue::from(value.clone()?))));
        let times = times
            .into_iter()
            .filter_map(|(test, value)| Some((test, SqlValue::from(value?))));
        for (test, value) in texts.chain(times) {
            sql.push_str(" AND ");
            sql.push_str(test);
            values.push(value);
        }
        (sql, values)
    }
}

/// Opens the file, asks, and closes it again. `interrupt` lets somebody else cut it short.
pub(super) fn ask(
    path: &Path,
    filter: &Filter,
    interrupt: &OnceLock<InterruptHandle>,
) -> Result<Page, Fault> {
    let connection = schema::open_for_reading(path)?;
    drop(interrupt.set(connection.get_interrupt_handle()));
    find(&connection, filter).map_err(|error| schema::fault(path, &error))
}

fn find(connection: &Connection, filter: &Filter) -> rusqlite::Result<Page> {
    let (condition, values) = filter.condition();
    // One snapshot for both questions.
    let transaction = connection.unchecked_transaction()?;
    let count = format!("SELECT count(*) FROM events WHERE {condition}");
    let total = transaction.query_row(&count, params_from_iter(&values), |row| row.get(0))?;
    let select = format!(
        "SELECT seq, {BODY} FROM events WHERE {condition} ORDER BY at DESC, seq DESC LIMIT {} OFFSET {}",
        filter.limit, filter.offset
    );
    let mut statement = transaction.prepare(&select)?;
    let rows = statement.query_map(params_from_iter(&values), |row| {
        Ok(item(row.get(0)?, text(row, 1)?))
    })?;
    let items = rows
        .filter_map(Result::transpose)
        .collect::<rusqlite::Result<_>>()?;
    Ok(Page {
        items,
        total,
        limit: filter.limit,
        offset: filter.offset,
    })
}

/// The body with its `seq`. A body that somebody has made unreadable is shown as such:
/// `audit verify` says more.
fn item(seq: i64, body: Option<String>) -> Option<Box<RawValue>> {
    let body = body.unwrap_or_default();
    let members = body.strip_prefix('{').filter(|_| is_object(&body));
    let text = match members {
        Some(members) => format!("{{\"seq\":{seq},{members}"),
        None => format!("{{\"seq\":{seq},\"unreadable\":true}}"),
    };
    RawValue::from_string(text).ok()
}

fn is_object(body: &str) -> bool {
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(body);
    parsed.is_ok_and(|members| !members.is_empty())
}

/// Milliseconds since 1970, rounded up: rows are that exact, and both borders compare with "not
/// before".
fn time(text: &str) -> Option<i64> {
    // A `+` that nobody encoded arrives as a blank.
    let at: jiff::Timestamp = text.trim().replace(' ', "+").parse().ok()?;
    let millis = at.as_millisecond();
    let is_exact = at.subsec_nanosecond() % 1_000_000 <= 0;
    Some(if is_exact {
        millis
    } else {
        millis.saturating_add(1)
    })
}

fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// The keys of a query.
pub const KEYS: [&str; 11] = [
    "verb",
    "actor",
    "outcome",
    "cluster",
    "namespace",
    "pod",
    "session",
    "from",
    "to",
    "limit",
    "offset",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_is_documented() {
        let filter = Filter::from_query(
            "verb=pod.exec.session_start&actor=a%7Cb+c&from=2026-01-02T03:04:05%2B01:00&limit=500&offset=7&later=x&pod=",
        )
        .unwrap();
        let expected = Filter {
            verb: Some("pod.exec.session_start".to_owned()),
            actor: Some("a|b c".to_owned()),
            from: Some(1_767_319_445_000),
            limit: 500,
            offset: 7,
            ..Filter::new()
        };
        assert_eq!(filter, expected);
        assert_eq!(Filter::from_query("").unwrap(), Filter::new());
        let plus = Filter::from_query("from=2026-01-02T03:04:05+01:00").unwrap();
        assert_eq!(plus.from, expected.from);
        for (query, error) in [
            ("limit=501", BadFilter::Limit),
            ("limit=-1", BadFilter::Limit),
            ("limit=+1", BadFilter::Limit),
            ("limit=x", BadFilter::Limit),
            ("offset=-1", BadFilter::Offset),
            ("offset=99999999999", BadFilter::Offset),
            ("from=yesterday", BadFilter::Time("from")),
            ("to=2026-01-02", BadFilter::Time("to")),
            ("pod=a&pod=b", BadFilter::Repeated("pod")),
        ] {
            assert_eq!(Filter::from_query(query), Err(error), "{query}");
        }
    }

    #[test]
    fn a_time_between_two_milliseconds_counts_as_the_later_one() {
        assert_eq!(time("1970-01-01T00:00:00.001Z"), Some(1));
        assert_eq!(time("1970-01-01T00:00:00.0010001Z"), Some(2));
        assert_eq!(time("1969-12-31T23:59:59.9985Z"), Some(-1));
        assert_eq!(time("1969-12-31T23:59:59.998Z"), Some(-2));
    }

    #[test]
    fn an_item_is_the_body_with_its_number_and_says_when_there_is_none() {
        let text = |body: &str| item(7, Some(body.to_owned())).unwrap().get().to_owned();
        assert_eq!(text(r#"{"verb":"x"}"#), r#"{"seq":7,"verb":"x"}"#);
        for mess in ["", "{}", "{", "[1]", r#"{"verb":"x"}}"#] {
            assert_eq!(text(mess), r#"{"seq":7,"unreadable":true}"#, "{mess}");
        }
    }
}
