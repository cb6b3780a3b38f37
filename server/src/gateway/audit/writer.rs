//! The one thread that writes the database: takes what waits, commits it in one go, and between
//! two commits keeps the file in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use tokio::sync::oneshot;

use super::super::log::now;
use super::chain::{Hash, Hasher, Head};
use super::queue::{Class, Next, Queue};
use super::record::Verb;
use super::retention::{self, Limits};
use super::row::{Columns, HEAD, Row};
use super::schema::{self, Database, DatabaseError, Fault, Ownership};
use super::stdout::StdoutSink;

/// Rows in one transaction. More would make each commit slower without making the rest faster.
const BATCH_ROWS: usize = 256;

/// How long the writer rests before it tries again what failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often a failure that goes on is repeated in the log.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

/// How often the head goes to stdout.
const HEAD_INTERVAL: Duration = Duration::from_hours(1);

/// How often the size is looked at, in any case.
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);

/// And after this share of the size that is allowed was written.
const PRUNE_SHARE: u64 = 32;

/// Sessions without an end that are looked at in one go.
const RECOVERY_ROWS: i64 = 1000;

/// A row on its way, and who waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: Row,
    pub(super) committed: Option<oneshot::Sender<()>>,
}

/// What the writer works with.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    hasher: Hasher,
    limits: Limits,
    vacuum_interval: Duration,
    queue: Arc<Queue<Entry>>,
    stdout: StdoutSink,
    is_failing: Arc<AtomicBool>,
    ownership: Ownership,
    database: Option<Database>,
    /// The head that a commit without a clear answer would have left.
    doubtful: Option<Head>,
    is_recovered: bool,
    complain_at: Instant,
    head_at: Instant,
    prune_at: Instant,
    /// When ages are looked at: as seldom as space is given back, so that checkpoints stay few.
    age_at: Instant,
    vacuum_at: Instant,
    /// Bytes written since the size was looked at.
    written_bytes: u64,
}

impl Writer {
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, in the function next door"
    )]
    pub(super) fn new(
        path: PathBuf,
        hasher: Hasher,
        limits: Limits,
        vacuum_interval: Duration,
        queue: Arc<Queue<Entry>>,
        stdout: StdoutSink,
        is_failing: Arc<AtomicBool>,
        ownership: Ownership,
    ) -> Self {
        let now = Instant::now();
        Self {
            path,
            hasher,
            limits,
            vacuum_interval,
            queue,
            stdout,
            is_failing,
            ownership,
            database: None,
            doubtful: None,
            is_recovered: false,
            complain_at: now,
            head_at: now + HEAD_INTERVAL,
            prune_at: now,
            age_at: now,
            vacuum_at: now + vacuum_interval,
            written_bytes: 0,
        }
    }

    /// The first attempt to open the file. What will not pass is an error; what may, is tried again
    /// later.
    pub(super) fn begin(&mut self) -> Result<(), DatabaseError> {
        match self.opened().map(|_| ()) {
            Ok(()) => Ok(()),
            Err(Fault::Lasting(error)) => Err(error),
            Err(fault @ Fault::Passing(_)) => {
                self.on_failure(&fault);
                Ok(())
            }
        }
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            match self.queue.next(BATCH_ROWS, Some(self.next_chore())) {
                Next::Write { rows, lost } => {
                    if !self.write(rows, lost) {
                        break;
                    }
                }
                Next::Nothing => {}
                Next::End => {
                    self.tell_head();
                    break;
                }
            }
            self.do_chores();
        }
        let Self {
            queue,
            database,
            ownership,
            ..
        } = self;
        // The last connection to close takes the write-ahead log with it; then others may come.
        drop(database);
        drop(ownership);
        queue.finished();
    }

    /// Writes a batch, however long it takes. Returns false if nobody waits any more.
    fn write(&mut self, mut entries: Vec<Entry>, lost: u64) -> bool {
        if lost > 0 {
            log::error!(lost = lost; "audit.db.gap");
            entries.push(Entry {
                row: Row::gap(lost),
                committed: None,
            });
        }
        while let Err(fault) = self.commit(&entries) {
            self.on_failure(&fault);
            if !self.queue.rest(RETRY_PAUSE) {
                return false;
            }
        }
        if self.is_failing.swap(false, Ordering::Relaxed) {
            log::info!("audit.db.recovered");
            self.complain_at = Instant::now();
        }
        let bytes = entries.iter().map(|entry| entry.row.body.len() as u64);
        self.written_bytes = self.written_bytes.saturating_add(bytes.sum());
        for entry in entries {
            // Who waited may have given up.
            entry.committed.map(|waiting| waiting.send(()));
        }
        self.queue.written(0);
        true
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let hasher = self.hasher.clone();
        let doubtful = self.doubtful.take();
        let path = self.path.clone();
        let database = self.opened()?;
        if doubtful == Some(database.head) {
            // The last attempt got through after all.
            return Ok(());
        }
        let before = database.head;
        let written = write_all(&mut database.connection, before, &hasher, entries);
        let error = match written {
            Ok(head) => {
                database.head = head;
                return Ok(());
            }
            Err(Unwritten { error, doubtful }) => {
                self.doubtful = doubtful;
                error
            }
        };
        Err(schema::fault(&path, &error))
    }

    /// The open database. The first time, sessions that an earlier process took down with it get
    /// their ends before anything else is written.
    fn opened(&mut self) -> Result<&mut Database, Fault> {
        let mut database = match self.database.take() {
            Some(database) => database,
            None => Database::open(&self.path, &self.hasher)?,
        };
        if !self.is_recovered {
            let ends = recover(&mut database, &self.hasher)
                .map_err(|error| schema::fault(&self.path, &error))?;
            self.is_recovered = true;
            for end in ends {
                self.stdout.push(Class::Note, end.body);
            }
        }
        Ok(self.database.insert(database))
    }

    fn on_failure(&mut self, fault: &Fault) {
        // A connection that has seen an error other than a lock is not trusted any more.
        if !matches!(fault, Fault::Passing("locked")) {
            self.database = None;
        }
        let was_failing = self.is_failing.swap(true, Ordering::Relaxed);
        if !was_failing || Instant::now() >= self.complain_at {
            self.complain_at = Instant::now() + COMPLAINT_INTERVAL;
            log::error!(error = fault.to_string().as_str(); "audit.db.failing");
        }
    }

    fn next_chore(&self) -> Instant {
        self.head_at
            .min(self.prune_at)
            .min(self.age_at)
            .min(self.vacuum_at)
    }

    fn do_chores(&mut self) {
        let now = Instant::now();
        if now >= self.head_at {
            self.head_at = now + HEAD_INTERVAL;
            self.tell_head();
        }
        let is_much = self.written_bytes >= self.limits.bytes / PRUNE_SHARE;
        if now >= self.prune_at.min(self.age_at) || is_much {
            self.prune_at = now + PRUNE_INTERVAL;
            self.written_bytes = 0;
            let is_age_due = now >= self.age_at;
            if is_age_due {
                // What fails now is tried again with the next look at the size.
                self.age_at = self.prune_at;
            }
            self.chore(|writer, database| {
                let now = is_age_due.then(jiff::Timestamp::now);
                let has_more = retention::prune(database, &writer.hasher, writer.limits, now)?;
                if has_more {
                    // Rows that wait come in between.
                    writer.prune_at = Instant::now();
                }
                if is_age_due {
                    writer.age_at = if has_more {
                        writer.prune_at
                    } else {
                        Instant::now() + writer.vacuum_interval
                    };
                }
                Ok(())
            });
        }
        if now >= self.vacuum_at {
            self.vacuum_at = now + self.vacuum_interval;
            self.chore(|_, database| retention::vacuum(&database.connection));
        }
    }

    /// Does what can as well be done the next time, if it fails now.
    fn chore(&mut self, chore: impl FnOnce(&mut Self, &mut Database) -> rusqlite::Result<()>) {
        if let Err(fault) = self.opened() {
            self.on_failure(&fault);
            return;
        }
        let Some(mut database) = self.database.take() else {
            return;
        };
        let done = chore(self, &mut database);
        self.database = Some(database);
        if let Err(error) = done {
            let fault = schema::fault(&self.path, &error);
            self.on_failure(&fault);
        }
    }

    fn tell_head(&self) {
        let Some(Head { seq, hash }) = self.database.as_ref().map(|database| database.head) else {
            return;
        };
        if seq > 0 {
            let hash = hash.to_string();
            let line = json!({"timestamp": now(), "verb": HEAD, "seq": seq, "hash": hash});
            self.stdout.push(Class::Note, line.to_string().into());
        }
    }
}

/// Adds a row to the chain, inside the caller's transaction.
pub(super) fn append(
    connection: &Connection,
    head: &mut Head,
    hasher: &Hasher,
    row: &Row,
) -> rusqlite::Result<()> {
    insert(connection, head, hasher, row)?;
    note_head(connection, *head)
}

/// A batch that was not written, or of which nobody knows.
struct Unwritten {
    error: rusqlite::Error,
    /// The head it leaves if the commit got through although it failed.
    doubtful: Option<Head>,
}

impl From<rusqlite::Error> for Unwritten {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            error,
            doubtful: None,
        }
    }
}

fn write_all(
    connection: &mut Connection,
    mut head: Head,
    hasher: &Hasher,
    entries: &[Entry],
) -> Result<Head, Unwritten> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for entry in entries {
        insert(&transaction, &mut head, hasher, &entry.row)?;
    }
    note_head(&transaction, head)?;
    match transaction.commit() {
        Ok(()) => Ok(head),
        Err(error) => Err(Unwritten {
            error,
            doubtful: Some(head),
        }),
    }
}

fn insert(
    connection: &Connection,
    head: &mut Head,
    hasher: &Hasher,
    row: &Row,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO events
        (seq, at, verb, outcome, actor, cluster, namespace, pod, session, body, digest, hash)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let seq = head.seq.saturating_add(1);
    let Columns {
        at,
        verb,
        outcome,
        actor,
        cluster,
        namespace,
        pod,
        session,
    } = &row.columns;
    let digest = Hash::of_body(&row.body);
    let hash = hasher.hash(seq, verb, &digest, &head.hash);
    let is_denied = verb == Verb::Denied.as_str();
    connection.prepare_cached(sql)?.execute((
        seq,
        at,
        verb,
        outcome,
        actor,
        cluster,
        namespace,
        pod,
        session,
        (!is_denied).then_some(&*row.body),
        digest.as_bytes(),
        hash.as_bytes(),
    ))?;
    if is_denied {
        let sql = "INSERT INTO denied_bodies (seq, body) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute((seq, &*row.body))?;
    }
    *head = Head { seq, hash };
    Ok(())
}

fn note_head(connection: &Connection, head: Head) -> rusqlite::Result<()> {
    let sql = "UPDATE chain SET seq = ?1, hash = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    statement.execute((head.seq, head.hash.as_bytes()))?;
    Ok(())
}

/// Gives every session without an end one. Nobody else writes, and this process has not begun to:
/// such a session went down with its process.
fn recover(database: &mut Database, hasher: &Hasher) -> rusqlite::Result<Vec<Row>> {
    // The start comes before the intent of the same session: it knows more.
    let sql = "SELECT seq, at, verb, outcome, actor, cluster, namespace, pod, session, body
        FROM events AS begun
        WHERE verb = ?1 AND at IS NOT NULL AND session IS NOT NULL AND seq > ?3
        AND NOT EXISTS (SELECT 1 FROM events AS ended
            WHERE ended.session = begun.session AND ended.verb = ?2)
        ORDER BY seq LIMIT ?4";
    let mut ends = Vec::new();
    let mut head = database.head;
    let transaction = database
        .connection
        .transaction_with_behavior(TransactionBehavior::Immediate)?;
    for verb in [Verb::Start, Verb::Intent] {
        let mut seen = 0_i64;
        loop {
            let mut statement = transaction.prepare_cached(sql)?;
            let values = (verb.as_str(), Verb::End.as_str(), seen, RECOVERY_ROWS);
            let found = statement.query_map(values, |row| {
                Ok((row.get(0)?, columns(row, 1)?, text(row, 9)?))
            })?;
            let found = found.collect::<rusqlite::Result<Vec<(i64, Columns, Option<String>)>>>()?;
            if found.is_empty() {
                break;
            }
            for (seq, columns, body) in found {
                seen = seq;
                let end = Row::gateway_crash(columns, &body.unwrap_or_default());
                append(&transaction, &mut head, hasher, &end)?;
                ends.push(end);
            }
        }
    }
    transaction.commit()?;
    database.head = head;
    if !ends.is_empty() {
        log::warn!(sessions = ends.len() as u64; "audit.db.crash");
    }
    Ok(ends)
}

/// Reads the columns that rows are found by, `at` being the one at this place. Text that is none
/// is read as well as it goes: only somebody who meddled with the file can have put it there.
pub(super) fn columns(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Columns> {
    Ok(Columns {
        at: row.get::<_, Option<i64>>(first)?.unwrap_or_default(),
        verb: text(row, first + 1)?.unwrap_or_default(),
        outcome: text(row, first + 2)?,
        actor: text(row, first + 3)?,
        cluster: text(row, first + 4)?,
        namespace: text(row, first + 5)?,
        pod: text(row, first + 6)?,
        session: text(row, first + 7)?,
    })
}

/// Reads a text or nothing.
pub(super) fn text(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    let bytes = row.get_ref(index)?.as_bytes_or_null()?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}
