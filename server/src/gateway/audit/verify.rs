//! Whether the chain is whole.

use std::fmt;
use std::path::Path;

use rusqlite::Connection;

use super::chain::{AuditKey, Hash, Hasher, Head};
use super::record::Verb;
use super::retention::{self, Checkpoint};
use super::row::Columns;
use super::schema::{self, BODY, Fault};
use super::writer::{columns, text};

/// A chain without a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intact {
    /// The rows that are there.
    pub rows: u64,
    /// The number of the oldest.
    pub first: i64,
    /// The newest.
    pub head: Head,
    /// Rows of refused attempts that retention has emptied.
    pub emptied: u64,
}

/// The first fault of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// A row is not what was written.
    Edited(i64),
    /// A row is gone, or all up to here.
    Removed(i64),
    /// The row that belongs here is elsewhere.
    Reordered {
        /// Here.
        seq: i64,
        /// There.
        found_at: i64,
    },
    /// The end is missing.
    Cut {
        /// The newest row there is.
        last: i64,
        /// The newest row there has to be.
        expected: i64,
    },
    /// The row is whole, but it is not the one that the head names.
    OtherHead(i64),
    /// A key is given, and the chain was made without one.
    NoKey,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum Unverifiable {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The chain has a key, and it was not given.
    #[error("the chain was made with the key {0}: set PERISCOPE_AUDIT_KEY")]
    KeyMissing(String),
    /// The chain has another key.
    #[error("the chain was made with the key {made}, and PERISCOPE_AUDIT_KEY is the key {given}")]
    OtherKey {
        /// The chain's.
        made: String,
        /// The one given.
        given: String,
    },
    /// Retention has removed the row of the head.
    #[error(
        "the head names row {seq}, and retention has removed all before row {first}: use a newer head"
    )]
    HeadForgotten {
        /// The head's row.
        seq: i64,
        /// The oldest row.
        first: i64,
    },
}

/// Checks the chain of a file, and that it still holds the row of an older head.
pub fn verify(
    path: &Path,
    key: Option<&AuditKey>,
    kept: Option<Head>,
) -> Result<Result<Intact, Tampering>, Unverifiable> {
    let unreadable = |fault: Fault| Unverifiable::Unreadable(fault.to_string());
    let connection = schema::open_for_reading(path).map_err(unreadable)?;
    let hasher = Hasher::new(key);
    let made =
        schema::key_id(&connection).map_err(|error| unreadable(schema::fault(path, &error)))?;
    match (made, hasher.key_id()) {
        (None, None) => {}
        (None, Some(_)) => return Ok(Err(Tampering::NoKey)),
        (Some(made), None) => return Err(Unverifiable::KeyMissing(made)),
        (Some(made), Some(given)) if made != given => {
            let given = given.to_owned();
            return Err(Unverifiable::OtherKey { made, given });
        }
        (Some(_), Some(_)) => {}
    }
    match check(&connection, &hasher, kept) {
        Ok(Verdict::Forgotten { seq, first }) => Err(Unverifiable::HeadForgotten { seq, first }),
        Ok(Verdict::Intact(intact)) => Ok(Ok(intact)),
        Ok(Verdict::Tampered(tampering)) => Ok(Err(tampering)),
        Err(error) => Err(unreadable(schema::fault(path, &error))),
    }
}

enum Verdict {
    Intact(Intact),
    Tampered(Tampering),
    Forgotten { seq: i64, first: i64 },
}

/// A row as it stands in the file.
struct Stored {
    seq: i64,
    columns: Columns,
    body: Option<String>,
    digest: Vec<u8>,
    hash: Vec<u8>,
}

fn check(
    connection: &Connection,
    hasher: &Hasher,
    kept: Option<Head>,
) -> rusqlite::Result<Verdict> {
    // One snapshot, whatever is written meanwhile.
    let transaction = connection.unchecked_transaction()?;
    let checkpoint = retention::latest(&transaction)?;
    let (checkpoint, start) = checkpoint.unzip();
    let start = start.unwrap_or(Head::START);
    let mut last = start;
    let mut is_kept_found = kept.is_none_or(|kept| kept == start);
    let (mut rows, mut emptied) = (0_u64, 0_u64);
    let sql = format!(
        "SELECT seq, at, verb, outcome, actor, cluster, namespace, pod, session, {BODY}, digest, hash
        FROM events ORDER BY seq"
    );
    let mut statement = transaction.prepare(&sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let row = stored(row)?;
        let seq = last.seq.saturating_add(1);
        if let Some(tampering) = judge(&transaction, hasher, last, &row, checkpoint)? {
            return Ok(Verdict::Tampered(tampering));
        }
        let hash = Hash::from_slice(&row.hash).unwrap_or(Hash::NONE);
        last = Head { seq, hash };
        if let Some(kept) = kept.filter(|kept| kept.seq == seq) {
            if kept.hash != hash {
                return Ok(Verdict::Tampered(Tampering::OtherHead(seq)));
            }
            is_kept_found = true;
        }
        rows = rows.saturating_add(1);
        emptied = emptied.saturating_add(u64::from(row.body.is_none()));
    }
    let noted = schema::noted_head(&transaction)?.unwrap_or(Head::START);
    let expected = noted.seq.max(kept.map_or(0, |kept| kept.seq));
    if expected > last.seq {
        let last = last.seq;
        return Ok(Verdict::Tampered(Tampering::Cut { last, expected }));
    }
    if noted != last {
        return Ok(Verdict::Tampered(Tampering::OtherHead(noted.seq)));
    }
    let first = start.seq.saturating_add(1);
    match kept {
        Some(kept) if kept.seq == start.seq && !is_kept_found => {
            Ok(Verdict::Tampered(Tampering::OtherHead(kept.seq)))
        }
        Some(Head { seq, .. }) if !is_kept_found => Ok(Verdict::Forgotten { seq, first }),
        _ => Ok(Verdict::Intact(Intact {
            rows,
            first,
            head: last,
            emptied,
        })),
    }
}

/// Whether this row is the one that follows.
fn judge(
    connection: &Connection,
    hasher: &Hasher,
    last: Head,
    row: &Stored,
    checkpoint: Option<Checkpoint>,
) -> rusqlite::Result<Option<Tampering>> {
    let seq = last.seq.saturating_add(1);
    let is_whole = is_whole(row, checkpoint);
    let digest = Hash::from_slice(&row.digest);
    let hash = digest.map(|digest| hasher.hash(seq, &row.columns.verb, &digest, &last.hash));
    if row.seq == seq && is_whole && hash.is_some() && hash == Hash::from_slice(&row.hash) {
        return Ok(None);
    }
    if row.seq == seq && !is_whole {
        return Ok(Some(Tampering::Edited(seq)));
    }
    if row.seq < seq {
        // Rows before the place where the chain starts.
        return Ok(Some(Tampering::Edited(row.seq)));
    }
    Ok(Some(match elsewhere(connection, hasher, last)? {
        Some(found_at) => Tampering::Reordered { seq, found_at },
        None if row.seq > seq => Tampering::Removed(seq),
        None => Tampering::Edited(seq),
    }))
}

/// Whether digest, columns and body of a row agree, and nothing is missing that retention leaves.
fn is_whole(row: &Stored, checkpoint: Option<Checkpoint>) -> bool {
    let Some(body) = &row.body else {
        let denied_through = checkpoint.map_or(0, |checkpoint| checkpoint.denied_through);
        let verb = Verb::Denied.as_str().to_owned();
        return row.seq <= denied_through
            && row.columns
                == Columns {
                    verb,
                    ..Columns::default()
                };
    };
    Hash::from_slice(&row.digest) == Some(Hash::of_body(body))
        && Columns::of_body(body).as_ref() == Some(&row.columns)
}

/// The place of the row that belongs behind `last`.
fn elsewhere(
    connection: &Connection,
    hasher: &Hasher,
    last: Head,
) -> rusqlite::Result<Option<i64>> {
    let seq = last.seq.saturating_add(1);
    let mut statement =
        connection.prepare("SELECT seq, verb, digest, hash FROM events WHERE seq <> ?1")?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        let (found_at, verb): (i64, _) = (row.get(0)?, text(row, 1)?.unwrap_or_default());
        let (digest, hash): (Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(3)?);
        let digest = Hash::from_slice(&digest);
        let expected = digest.map(|digest| hasher.hash(seq, &verb, &digest, &last.hash));
        if expected.is_some() && expected == Hash::from_slice(&hash) {
            return Ok(Some(found_at));
        }
    }
    Ok(None)
}

fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        seq: row.get(0)?,
        columns: columns(row, 1)?,
        body: text(row, 9)?,
        digest: row.get(10)?,
        hash: row.get(11)?,
    })
}

impl fmt::Display for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited(seq) => write!(f, "row {seq} was edited"),
            Self::Removed(seq) => write!(f, "row {seq} was removed"),
            Self::Reordered { seq, found_at } => {
                write!(
                    f,
                    "rows were reordered: the row that belongs at {seq} is at {found_at}"
                )
            }
            Self::Cut { last, expected } => {
                write!(
                    f,
                    "the end was cut: the last row is {last}, and there was a row {expected}"
                )
            }
            Self::OtherHead(seq) => write!(f, "row {seq} is not the one that the head names"),
            Self::NoKey => {
                f.write_str("the chain was made without a key, and PERISCOPE_AUDIT_KEY is set")
            }
        }
    }
}
