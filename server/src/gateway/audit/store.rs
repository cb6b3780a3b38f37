//! The database as the rest of the gateway sees it: rows go in without waiting, questions are
//! answered from connections of their own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::InterruptHandle;
use tokio::sync::{Semaphore, oneshot};

use super::Tally;
use super::chain::{AuditKey, Hasher};
use super::query::{self, Filter, Page};
use super::queue::{Class, Queue, ROWS_MAX};
use super::retention::Limits;
use super::row::Row;
use super::schema::{DatabaseError, Fault, Ownership};
use super::stdout::StdoutSink;
use super::writer::{Entry, Writer};

/// Questions that are answered at the same time: each costs a thread, a connection and its cache.
const READERS_MAX: usize = 4;

/// How long one question may take, its wait for the others included.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an intent may take to be committed.
const INTENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a second process waits for the first to leave: as long as a rolling restart takes.
const OWNERSHIP_WAIT: Duration = Duration::from_secs(30);

/// The shortest pause between two clean-ups, and the longest.
const VACUUM_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_hours(24 * 365)];

/// A database that keeps records.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// The file.
    pub path: PathBuf,
    /// Whether a shell needs a committed intent.
    pub is_required: bool,
    /// How long rows are kept.
    pub retention: Duration,
    /// How large the file may grow.
    pub bytes_max: u64,
    /// How often space is given back to the file system.
    pub vacuum_interval: Duration,
    /// The key of the hash chain; none for plain hashes.
    pub key: Option<AuditKey>,
    /// How long to wait for another process that has the file.
    pub ownership_wait: Duration,
}

/// Why a required record is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit record could not be written in time")]
pub(crate) struct NotCommitted;

/// Why a question has no answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit database gives no answer")]
pub(crate) struct NoAnswer;

/// A database and its writer.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    pub(super) is_required: bool,
    queue: Arc<Queue<Entry>>,
    is_failing: Arc<AtomicBool>,
    readers: Arc<Semaphore>,
}

impl DatabaseOptions {
    /// A database with the documented defaults.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_required: false,
            retention: Duration::from_hours(24 * 30),
            bytes_max: 1024 * 1024 * 1024,
            vacuum_interval: Duration::from_hours(24),
            key: None,
            ownership_wait: OWNERSHIP_WAIT,
        }
    }
}

impl Store {
    /// Opens the database and starts its writer. Blocks while another process has the file.
    pub(super) fn start(
        options: DatabaseOptions,
        stdout: StdoutSink,
    ) -> Result<Self, DatabaseError> {
        let DatabaseOptions {
            path,
            is_required,
            retention,
            bytes_max,
            vacuum_interval,
            key,
            ownership_wait,
        } = options;
        let ownership = Ownership::take(&path, ownership_wait)?;
        let queue = Arc::new(Queue::new(ROWS_MAX));
        let is_failing = Arc::new(AtomicBool::new(false));
        let limits = Limits {
            age: retention,
            bytes: bytes_max,
        };
        let [shortest, longest] = VACUUM_INTERVALS;
        let mut writer = Writer::new(
            path.clone(),
            Hasher::new(key.as_ref()),
            limits,
            vacuum_interval.clamp(shortest, longest),
            Arc::clone(&queue),
            stdout,
            Arc::clone(&is_failing),
            ownership,
        );
        writer.begin()?;
        std::thread::Builder::new()
            .name("audit-db".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| DatabaseError::File {
                path: path.clone(),
                error,
            })?;
        Ok(Self {
            path,
            is_required,
            queue,
            is_failing,
            readers: Arc::new(Semaphore::new(READERS_MAX)),
        })
    }

    /// Takes a row without waiting.
    pub(super) fn push(&self, class: Class, row: Row) {
        let committed = None;
        self.queue.push(class, Entry { row, committed });
    }

    /// Takes a row and waits until it is on the disk.
    pub(super) async fn commit(&self, class: Class, row: Row) -> Result<(), NotCommitted> {
        let (committed, done) = oneshot::channel();
        let committed = Some(committed);
        if !self.queue.push(class, Entry { row, committed }) {
            return Err(NotCommitted);
        }
        match tokio::time::timeout(INTENT_TIMEOUT, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotCommitted),
        }
    }

    /// Whether the last attempt to write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Asks the database. The writer goes on meanwhile.
    pub(super) async fn query(&self, filter: Filter) -> Result<Page, NoAnswer> {
        let interrupt: Arc<OnceLock<InterruptHandle>> = Arc::default();
        let (path, readers) = (self.path.clone(), Arc::clone(&self.readers));
        let theirs = Arc::clone(&interrupt);
        let answer = async {
            let turn = readers.acquire_owned().await.map_err(|_| NoAnswer)?;
            let asking = tokio::task::spawn_blocking(move || {
                let answer = query::ask(&path, &filter, &theirs);
                drop(turn);
                answer
            });
            let answer = asking.await.map_err(|_| NoAnswer)?;
            answer.map_err(|fault: Fault| {
                log::warn!(error = fault.to_string().as_str(); "audit.db.unanswered");
                NoAnswer
            })
        };
        if let Ok(answer) = tokio::time::timeout(READ_TIMEOUT, answer).await {
            return answer;
        }
        if let Some(interrupt) = interrupt.get() {
            interrupt.interrupt();
        }
        Err(NoAnswer)
    }

    /// What was taken and lost since the start, and what waits.
    pub(super) fn tally(&self) -> Tally {
        self.queue.tally("sqlite")
    }

    /// Waits until everything is written, at most until then. Returns how many rows were not.
    pub(super) fn close(&self, until: Instant) -> usize {
        self.queue.close(until)
    }

    /// Nobody waits any more.
    pub(super) fn abandon(&self) {
        self.queue.abandon();
    }
}
