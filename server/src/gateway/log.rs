//! Log lines on stderr: logfmt or JSON, one line a record, every value escaped.
//!
//! The message of a record is the event's name (`exec.session.start`), everything else is a key
//! with a value. Values may come from users (a subject, a name), so a line break or a quote in one
//! must never start a second line or a second key.

use std::io::Write as _;

use log::kv::{Key, Value, VisitSource, VisitValue};
use log::{LevelFilter, Record};

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Logfmt,
    /// One JSON object.
    Json,
}

/// Starts logging to stderr. Only Periscope's own records are written below the level `warn`:
/// libraries may log what they handle, and what they handle here are secrets and terminals.
///
/// A second call in one process changes nothing.
pub fn start(level: LevelFilter, format: Format) {
    let started = env_logger::Builder::new()
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("periscope", level)
        .filter_module("periscope_server", level)
        .format(move |out, record| out.write_all(render(record, format).as_bytes()))
        .try_init();
    drop(started);
}

/// A record as its line, with the present as its time.
pub fn render(record: &Record<'_>, format: Format) -> String {
    line(record, format, now())
}

/// The present as RFC 3339 in UTC with milliseconds.
pub(crate) fn now() -> String {
    rfc3339(jiff::Timestamp::now())
}

/// A time as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

fn line(record: &Record<'_>, format: Format, timestamp: String) -> String {
    let mut pairs = Pairs(vec![
        ("ts".to_owned(), Scalar::Text(timestamp)),
        (
            "level".to_owned(),
            Scalar::Text(record.level().as_str().to_ascii_lowercase()),
        ),
        ("msg".to_owned(), Scalar::Text(record.args().to_string())),
    ]);
    // A source of ours cannot fail: it pushes to a vector.
    drop(record.key_values().visit(&mut pairs));
    match format {
        Format::Logfmt => pairs.logfmt(),
        Format::Json => pairs.json(),
    }
}

struct Pairs(Vec<(String, Scalar)>);

enum Scalar {
    Text(String),
    Bare(String),
}

impl Pairs {
    fn logfmt(&self) -> String {
        let mut line = String::new();
        for (key, value) in &self.0 {
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(key.chars().map(|c| if is_plain(c) { c } else { '_' }));
            line.push('=');
            match value {
                Scalar::Bare(text) => line.push_str(text),
                Scalar::Text(text) if !text.is_empty() && text.chars().all(is_plain) => {
                    line.push_str(text);
                }
                Scalar::Text(text) => {
                    line.push_str(&serde_json::Value::from(text.as_str()).to_string());
                }
            }
        }
        line.push('\n');
        line
    }

    fn json(self) -> String {
        let object: serde_json::Map<_, _> = self
            .0
            .into_iter()
            .map(|(key, value)| {
                let value = match value {
                    Scalar::Text(text) => serde_json::Value::from(text),
                    Scalar::Bare(text) => {
                        serde_json::from_str(&text).unwrap_or(serde_json::Value::from(text))
                    }
                };
                (key, value)
            })
            .collect();
        format!("{}\n", serde_json::Value::Object(object))
    }
}

/// Whether a character may stand in a logfmt value without quotes.
fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\')
}

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let mut scalar = ScalarVisitor(None);
        value.visit(&mut scalar)?;
        self.0.push((
            key.as_str().to_owned(),
            scalar.0.unwrap_or(Scalar::Text(String::new())),
        ));
        Ok(())
    }
}

struct ScalarVisitor(Option<Scalar>);

impl VisitValue<'_> for ScalarVisitor {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), log::kv::Error> {
        self.0 = Some(Scalar::Text(value.to_string()));
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.0 = Some(Scalar::Bare(value.to_string()));
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.0 = Some(Scalar::Bare(value.to_string()));
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.0 = Some(Scalar::Bare(value.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, kvs: &[(&str, &str)]) -> String {
        let source = kvs.to_vec();
        let record = Record::builder()
            .level(log::Level::Info)
            .args(format_args!("exec.session.start"))
            .key_values(&source)
            .build();
        line(&record, format, "2026-01-02T03:04:05.006Z".to_owned())
    }

    #[test]
    fn a_line_break_or_a_quote_in_a_value_stays_inside_its_value() {
        let hostile = "eve\nlevel=error msg=\"forged\"\u{7f}";
        let text = written(
            Format::Logfmt,
            &[("sub", hostile), ("cluster", "modern"), ("none", "")],
        );
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert_eq!(
            text,
            "ts=2026-01-02T03:04:05.006Z level=info msg=exec.session.start \
             sub=\"eve\\nlevel=error msg=\\\"forged\\\"\u{7f}\" cluster=modern none=\"\"\n"
        );
    }

    #[test]
    fn json_lines_are_one_object_with_typed_values() {
        let number = [("active", 3_u64)];
        let record = Record::builder()
            .level(log::Level::Warn)
            .args(format_args!("exec.cap.hit"))
            .key_values(&number)
            .build();
        let text = line(&record, Format::Json, "2026-01-02T03:04:05.006Z".to_owned());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["active"], 3);
        assert_eq!(value["msg"], "exec.cap.hit");
        assert_eq!(value["level"], "warn");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = jiff::Timestamp::from_millisecond(1_700_000_000_007).unwrap();
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20.007Z");
    }
}
