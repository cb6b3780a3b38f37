//! The database file: how it is opened, and what is in it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};

use super::chain::{Hash, Hasher, Head};

/// Marks the file as ours (`PRAGMA application_id`): "PSCP".
const APPLICATION_ID: i32 = 0x5053_4350;

/// Brings a file from the version of its place to the next (`PRAGMA user_version`).
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        at INTEGER,
        verb TEXT NOT NULL,
        outcome TEXT,
        actor TEXT,
        cluster TEXT,
        namespace TEXT,
        pod TEXT,
        session TEXT,
        body TEXT,
        digest BLOB NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE TABLE denied_bodies (
        seq INTEGER PRIMARY KEY,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_at ON events (at);
    CREATE INDEX events_verb ON events (verb, at);
    CREATE INDEX events_actor ON events (actor, at) WHERE actor IS NOT NULL;
    CREATE INDEX events_session ON events (session, verb) WHERE session IS NOT NULL;
    CREATE TABLE chain (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL,
        key_id TEXT
    ) STRICT;
"];

/// The body of a row of `events`. Those of refused attempts lie in a table of their own: they are
/// the first to go, and pages that hold nothing else become free as a whole.
pub(super) const BODY: &str = "coalesce(body, (SELECT denied.body FROM denied_bodies AS denied WHERE denied.seq = events.seq))";

/// How long SQLite itself waits for a lock of somebody else's before the rows wait for longer.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// How often the lock of another process is looked at.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Why a database cannot be used. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process has it.
    #[error("the audit database {0} belongs to another running process")]
    InUse(PathBuf),
    /// The system refuses a file.
    #[error("cannot open or create {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is something else.
    #[error("{0} is not an audit database of Periscope, or is damaged")]
    NotOurs(PathBuf),
    /// A newer program made it.
    #[error(
        "the audit database {path} has schema version {found}, and this program knows versions up to {known} only: it was written by a newer Periscope"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: usize,
    },
    /// Its chain was begun with another key, or without one.
    #[error(
        "the audit database {path} was begun with {}, and PERISCOPE_AUDIT_KEY is {}: give the old key back, or begin a new file",
        name(.begun.as_deref()), name(.given.as_deref())
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The name of the key it was begun with.
        begun: Option<String>,
        /// The name of the key given.
        given: Option<String>,
    },
    /// SQLite refuses.
    #[error("the audit database {path} cannot be used: {reason}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// In a word.
        reason: &'static str,
    },
}

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It may work later: somebody has a lock, the disk is full.
    #[error("{0}")]
    Passing(&'static str),
    /// It will not.
    #[error(transparent)]
    Lasting(#[from] DatabaseError),
}

/// The one process that may write a database. Let go by the system when the process is gone.
#[derive(Debug)]
pub(super) struct Ownership {
    _lock: File,
}

/// A database that is open for writing.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) head: Head,
}

impl Ownership {
    /// Takes a database, waiting at most this long for another process to leave it.
    pub(super) fn take(path: &Path, wait: Duration) -> Result<Self, DatabaseError> {
        let lock_path = with_suffix(path, ".lock");
        let file_error = |error| DatabaseError::File {
            path: lock_path.clone(),
            error,
        };
        let file = private_file(&lock_path).map_err(file_error)?;
        let until = Instant::now() + wait;
        let mut has_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _lock: file }),
                Err(fs::TryLockError::Error(error)) => return Err(file_error(error)),
                Err(fs::TryLockError::WouldBlock) => {}
            }
            if Instant::now() >= until {
                return Err(DatabaseError::InUse(path.to_owned()));
            }
            if !has_told {
                has_told = true;
                log::warn!(seconds = wait.as_secs(); "audit.db.waiting");
            }
            std::thread::sleep(LOCK_POLL);
        }
    }
}

impl Database {
    /// Opens, creates or migrates a file that this process owns.
    pub(super) fn open(path: &Path, hasher: &Hasher) -> Result<Self, Fault> {
        private_file(path).map_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                return Fault::Passing("disk_full");
            }
            Fault::Lasting(DatabaseError::File {
                path: path.to_owned(),
                error,
            })
        })?;
        let fault = |error| fault(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(fault)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(fault)?;
        let version = match version(&connection).map_err(fault)? {
            Version::Empty => 0,
            Version::Ours(version) => known(path, version)?,
            Version::Foreign => return Err(DatabaseError::NotOurs(path.to_owned()).into()),
        };
        if version == 0 {
            // Has to come before the first table.
            connection
                .pragma_update(None, "auto_vacuum", "INCREMENTAL")
                .map_err(fault)?;
        }
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| migrate(&mut connection, version, hasher))
            .map_err(fault)?;
        let head = read_head(&connection, path, hasher)?;
        Ok(Self { connection, head })
    }
}

/// Opens a file to read in it, whoever writes it meanwhile.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, Fault> {
    let fault = |error| fault(path, &error);
    fs::metadata(path).map_err(|error| DatabaseError::File {
        path: path.to_owned(),
        error,
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |name: &str, flags| {
        let connection = Connection::open_with_flags(name, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let version = version(&connection)?;
        Ok((connection, version))
    };
    let opened = open(&path.to_string_lossy(), flags);
    let (connection, version) = match opened {
        // Nobody writes it, and the folder takes no helper files (a copy on read-only media).
        Err(error) if code(&error) == Some(ErrorCode::CannotOpen) => {
            open(&immutable(path), flags | OpenFlags::SQLITE_OPEN_URI).map_err(fault)?
        }
        opened => opened.map_err(fault)?,
    };
    match version {
        Version::Ours(version) => known(path, version)?,
        Version::Empty | Version::Foreign => {
            return Err(DatabaseError::NotOurs(path.to_owned()).into());
        }
    };
    Ok(connection)
}

/// The name of the key that a file's chain was begun with.
pub(super) fn key_id(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT key_id FROM chain", [], |row| row.get(0))
}

/// The head as the file itself notes it.
pub(super) fn noted_head(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let row = connection
        .query_row("SELECT seq, hash FROM chain", [], head_of)
        .optional()?;
    Ok(row.flatten())
}

/// What to do about an error of SQLite's.
pub(super) fn fault(path: &Path, error: &rusqlite::Error) -> Fault {
    let sqlite = |reason| {
        Fault::Lasting(DatabaseError::Sqlite {
            path: path.to_owned(),
            reason,
        })
    };
    match code(error) {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Passing("locked"),
        Some(ErrorCode::DiskFull) => Fault::Passing("disk_full"),
        Some(ErrorCode::SystemIoFailure) => Fault::Passing("io_error"),
        Some(ErrorCode::OutOfMemory) => Fault::Passing("out_of_memory"),
        Some(ErrorCode::OperationInterrupted) => Fault::Passing("too_slow"),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Fault::Lasting(DatabaseError::NotOurs(path.to_owned()))
        }
        Some(ErrorCode::ReadOnly) => sqlite("read_only"),
        Some(ErrorCode::CannotOpen) => sqlite("cannot_open"),
        _ => sqlite("unexpected"),
    }
}

enum Version {
    Empty,
    Ours(i64),
    Foreign,
}

fn version(connection: &Connection) -> rusqlite::Result<Version> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get(0));
    let (application, version): (i64, i64) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, tables) {
        (0, 0) if version == 0 => Version::Empty,
        (id, _) if id == i64::from(APPLICATION_ID) => Version::Ours(version),
        _ => Version::Foreign,
    })
}

fn known(path: &Path, version: i64) -> Result<usize, DatabaseError> {
    match usize::try_from(version) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(DatabaseError::Newer {
            path: path.to_owned(),
            found: version,
            known: MIGRATIONS.len(),
        }),
    }
}

fn migrate(connection: &mut Connection, from: usize, hasher: &Hasher) -> rusqlite::Result<()> {
    for (version, sql) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        if version == 0 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.execute(
                "INSERT INTO chain (id, seq, hash, key_id) VALUES (1, 0, ?1, ?2)",
                (Head::START.hash.as_bytes(), hasher.key_id()),
            )?;
        }
        let next = i64::try_from(version).unwrap_or(i64::MAX).saturating_add(1);
        transaction.pragma_update(None, "user_version", next)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Where the chain goes on. The file's own note and its last row agree, unless somebody cut rows
/// off the end: then the next row follows the note, so that the loss stays visible.
fn read_head(connection: &Connection, path: &Path, hasher: &Hasher) -> Result<Head, Fault> {
    let fault = |error| fault(path, &error);
    let begun = key_id(connection).map_err(fault)?;
    if begun.as_deref() != hasher.key_id() {
        return Err(Fault::Lasting(DatabaseError::OtherKey {
            path: path.to_owned(),
            begun,
            given: hasher.key_id().map(str::to_owned),
        }));
    }
    let not_ours = || Fault::Lasting(DatabaseError::NotOurs(path.to_owned()));
    let noted = noted_head(connection)
        .map_err(fault)?
        .ok_or_else(not_ours)?;
    let sql = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1";
    let last = match connection.query_row(sql, [], head_of).optional() {
        Ok(None) => Head::START,
        Ok(Some(last)) => last.ok_or_else(not_ours)?,
        Err(error) => return Err(fault(error)),
    };
    if noted == last {
        return Ok(noted);
    }
    log::error!(noted = noted.seq, last = last.seq; "audit.db.chain.broken");
    Ok(if noted.seq >= last.seq { noted } else { last })
}

fn head_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Head>> {
    let (seq, hash): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    Ok(Hash::from_slice(&hash).map(|hash| Head { seq, hash }))
}

fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// Opens a file, or creates it for this user only.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options.open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// SQLite's name for a file that nobody changes.
fn immutable(path: &Path) -> String {
    let mut name = "file:".to_owned();
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push('%');
            for digit in [byte >> 4, byte & 15] {
                name.extend(char::from_digit(digit.into(), 16));
            }
        }
    }
    name.push_str("?immutable=1");
    name
}

fn name(key_id: Option<&str>) -> String {
    match key_id {
        None => "no key".to_owned(),
        Some(id) => format!("the key {id}"),
    }
}
