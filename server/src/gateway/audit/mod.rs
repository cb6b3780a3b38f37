//! Who opened which shell, when, and how it ended.
//!
//! Records go to every sink there is: JSON lines on stdout, always; a database, if there is one.
//! Taking a record never makes anyone wait; a sink that is slow or broken loses what does not fit
//! its queue, and says so in its own output. Only an [`Intent`] waits, where the audit is required.

pub(crate) mod api;
mod chain;
mod denials;
mod intent;
pub mod query;
mod queue;
mod record;
mod retention;
mod row;
mod schema;
mod stdout;
mod store;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use chain::{AuditKey, BadHead, Hash, Head};
pub(crate) use denials::Denials;
pub(crate) use intent::Intent;
pub use record::{End, KubernetesIdentity, Outcome, Record, Shell, Verb};
use row::Row;
pub use schema::DatabaseError;
use stdout::StdoutSink;
pub use store::DatabaseOptions;
use store::{NotCommitted, Store};

/// How long stdout may take for what is left when the database has used up all the time.
const LAST_LINE: Duration = Duration::from_millis(200);

/// All sinks.
#[derive(Debug)]
pub struct Audit {
    stdout: StdoutSink,
    store: Option<Store>,
}

/// Why an audit does not start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The system refuses a thread.
    #[error("the system refuses a thread: {0}")]
    Thread(io::Error),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What one place that rows go to has taken and lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Its name.
    pub sink: &'static str,
    /// Rows taken since the start.
    pub rows: u64,
    /// Rows lost since the start.
    pub lost: u64,
    /// Rows that wait to be written.
    pub queued: u64,
}

impl Audit {
    /// An audit on a stream, and in a database if one is given. Blocks while another process has
    /// the database.
    pub fn start(
        stream: Box<dyn Write + Send>,
        database: Option<DatabaseOptions>,
    ) -> Result<Self, AuditError> {
        let stdout = StdoutSink::start(stream).map_err(AuditError::Thread)?;
        let store = database
            .map(|options| Store::start(options, stdout.clone()))
            .transpose();
        match store {
            Ok(store) => Ok(Self { stdout, store }),
            Err(error) => {
                stdout.abandon();
                Err(error.into())
            }
        }
    }

    /// Takes a record without waiting.
    pub fn record(&self, record: &Record) {
        let (class, body) = (record.class(), body(record));
        self.stdout.push(class, Arc::clone(&body));
        if let Some(store) = &self.store {
            store.push(class, Row::of_record(record, body));
        }
    }

    /// Whether a shell needs an [`Intent`] first.
    pub fn is_required(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_required)
    }

    /// Whether an [`Intent`] is needed and would hardly be committed now.
    pub(crate) fn is_refusing(&self) -> bool {
        let store = self.store.as_ref();
        store.is_some_and(|store| store.is_required && store.is_failing())
    }

    /// What was taken and lost so far, and what waits, for the metrics: one entry a sink.
    pub fn tallies(&self) -> Vec<Tally> {
        let store = self.store.as_ref().map(Store::tally);
        std::iter::once(self.stdout.tally()).chain(store).collect()
    }

    /// Waits until everything taken is written, at most this long. Returns how many rows were not.
    pub fn close(&self, within: Duration) -> usize {
        let until = Instant::now() + within;
        // The database first: it has a last line for stdout.
        let in_database = self.store.as_ref().map_or(0, |store| store.close(until));
        let on_stdout = self.stdout.close(until.max(Instant::now() + LAST_LINE));
        if in_database > 0 || on_stdout > 0 {
            log::error!(stdout = on_stdout as u64, sqlite = in_database as u64; "audit.unwritten");
        }
        in_database.saturating_add(on_stdout)
    }

    /// Takes a record and waits until the database has it for good.
    async fn commit(&self, record: &Record) -> Result<(), NotCommitted> {
        let (class, body) = (record.class(), body(record));
        self.stdout.push(class, Arc::clone(&body));
        let store = self.store.as_ref().ok_or(NotCommitted)?;
        store.commit(class, Row::of_record(record, body)).await
    }
}

/// Finds rows in a file, whether or not a gateway writes it meanwhile.
pub fn find(path: &Path, filter: &query::Filter) -> Result<query::Page, String> {
    query::ask(path, filter, &OnceLock::new()).map_err(|fault| fault.to_string())
}

/// A record is plain strings and numbers: this cannot fail.
fn body(record: &Record) -> Arc<str> {
    serde_json::to_string(record).unwrap_or_default().into()
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.stdout.abandon();
        if let Some(store) = &self.store {
            store.abandon();
        }
    }
}
