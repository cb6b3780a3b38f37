//! What people typed and saw in a test, and the search for it in everything a gateway wrote: log at
//! trace, audit stream, database with its write-ahead log, errors.
//!
//! Every test that opens a shell is a search, not only one with a word of its own for it.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use log::kv::{Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

/// Shorter lines are found by chance: `exit 0`, a prompt. So are numbers, of bytes for instance.
const LEN_MIN: usize = 8;

/// How much of a line is looked for, and how many lines of a stream: a flood is the same line.
const LEN_MAX: usize = 64;
const LINES_MAX: usize = 64;

/// Every record of every crate of this process, at trace.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The payload of one gateway's shells.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    lines: Mutex<BTreeSet<String>>,
    /// What the gateway told its clients beside the terminal's bytes.
    told: Mutex<String>,
}

impl Payload {
    /// Bytes of a terminal, in either direction.
    pub(crate) fn add(&self, bytes: &[u8]) {
        let bytes = bytes.get(..LINES_MAX * LEN_MAX).unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        // A line may be cut where a message ends: what is there is payload, too.
        let lines = text.split(['\n', '\r']).map(str::trim);
        let is_telling = |line: &&str| line.len() >= LEN_MIN && line.parse::<f64>().is_err();
        let long = lines.filter(is_telling).take(LINES_MAX);
        let mut all = lock(&self.lines);
        all.extend(long.map(|line| {
            let end = (0..=LEN_MAX.min(line.len())).rfind(|&end| line.is_char_boundary(end));
            line[..end.unwrap_or_default()].to_owned()
        }));
    }

    /// An answer or a control message.
    pub(crate) fn told(&self, text: &str) {
        let mut told = lock(&self.told);
        told.push_str(text);
        told.push('\n');
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.lines).is_empty()
    }

    /// Panics where payload is in a log, in what clients were told, in audit rows (one JSON object a
    /// line) or in files. A row names the command that was asked for, which a test may well have printed.
    pub(crate) fn expect_nowhere(&self, log: &str, rows: &str, files: &[PathBuf]) {
        let told = lock(&self.told);
        let commands = commands(rows) + &commands(&told);
        let found: Vec<(&str, Vec<u8>)> = [("log", log), ("audit rows", rows), ("answers", &told)]
            .into_iter()
            .map(|(what, text)| (what, text.as_bytes().to_vec()))
            .chain(files.iter().filter_map(|path| {
                let name = path.file_name()?.to_str()?;
                Some((name, std::fs::read(path).ok()?))
            }))
            .collect();
        for line in lock(&self.lines).iter() {
            if commands.contains(line.as_str()) {
                continue;
            }
            // As it is, and as text is escaped in logfmt and JSON.
            let escaped = serde_json::to_string(line).unwrap_or_default();
            let escaped = escaped.trim_matches('"').to_owned();
            for (what, bytes) in &found {
                for needle in [line.as_bytes(), escaped.as_bytes()] {
                    assert!(
                        !contains(bytes, needle),
                        "the {what} of a gateway holds {line:?}"
                    );
                }
            }
        }
    }
}

/// The database at this path and what SQLite keeps beside it.
pub(crate) fn database_files(path: &Path) -> Vec<PathBuf> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    vec![path.to_owned(), beside("-wal"), beside("-shm")]
}

/// The words of every `command` in these lines of JSON, as they are and as JSON writes them.
fn commands(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines() {
        let Ok(row) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        for word in row["command"].as_array().into_iter().flatten() {
            writeln!(text, "{}\n{word}", word.as_str().unwrap_or_default()).unwrap_or_default();
        }
    }
    text
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some(&first) = needle.first() else {
        return false;
    };
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|&byte| byte == first) {
        at += found;
        if bytes[at..].starts_with(needle) {
            return true;
        }
        at += 1;
    }
    false
}

/// From now on every record of this process is kept, unless the test has a logger of its own.
pub(crate) fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if log::set_logger(&Capture).is_ok() {
            log::set_max_level(LevelFilter::Trace);
        }
    });
}

/// The records so far, from one on: message, then keys and values.
pub(crate) fn log_since(first: usize) -> Vec<String> {
    let log = lock(&LOG);
    log.get(first..).unwrap_or_default().to_vec()
}

/// How many there are.
pub(crate) fn log_len() -> usize {
    lock(&LOG).len()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Capture;

struct Line(String);

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        write!(self.0, " {key}={value}").map_err(|_| log::kv::Error::msg("no memory"))
    }
}

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The browser of these tests is in this process, too, and logs what it sends.
        !metadata.target().contains("tungstenite")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line(record.args().to_string());
        if record.key_values().visit(&mut line).is_err() {
            line.0.push_str(" (a value could not be shown)");
        }
        lock(&LOG).push(line.0);
    }

    fn flush(&self) {}
}
