//! What is forgotten: rows that are too old, and the oldest ones of a file that is too large, rows
//! of refused attempts before any others.
//!
//! The chain has to stay whole. A refused attempt in the middle loses everything but its place and
//! its digest; rows at the beginning go altogether. Each step ends with a checkpoint row that says
//! so and from where the chain starts now, and that is itself part of the chain.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::chain::{Hash, Hasher, Head};
use super::record::Outcome;
use super::row::{CHECKPOINT, Row};
use super::schema::Database;
use super::writer::append;

/// Rows that go in one transaction: few enough that those that wait to be written hardly notice.
const STEP_ROWS: i64 = 2000;

/// A file that is too large is made this much smaller than it may be, in percent, so that it is
/// not too large again at once.
const LOW_WATER_PERCENT: u64 = 95;

/// Pages that are given back to the file system in one go.
const VACUUM_PAGES: u32 = 2000;

/// What a checkpoint row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The oldest row that is kept.
    pub(super) first_seq: i64,
    /// Rows of refused attempts up to here may be mere places.
    pub(super) denied_through: i64,
    /// How many rows this step took.
    removed: i64,
}

/// A checkpoint row's members, with the hash in the documented form.
#[derive(Serialize, Deserialize)]
struct Members {
    #[serde(flatten)]
    checkpoint: Checkpoint,
    /// The hash of the row before the oldest.
    base_hash: String,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) age: Duration,
    pub(super) bytes: u64,
}

/// Takes one step, if there is one to take. Returns whether there may be another. Rows have an age
/// only where it is told what time it is.
pub(super) fn prune(
    database: &mut Database,
    hasher: &Hasher,
    limits: Limits,
    now: Option<jiff::Timestamp>,
) -> rusqlite::Result<bool> {
    let head = database.head;
    let transaction = database
        .connection
        .transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = latest(&transaction)?;
    let mut step = Step {
        connection: &transaction,
        head,
        start: before.map_or(Head::START, |(_, start)| start),
        denied_through: before.map_or(0, |(checkpoint, _)| checkpoint.denied_through),
        removed: 0,
    };
    if let Some(now) = now {
        let age = i64::try_from(limits.age.as_millis()).unwrap_or(i64::MAX);
        step.take_old(now.as_millisecond().saturating_sub(age))?;
    }
    if step.removed == 0 && used_bytes(&transaction)? > limits.bytes {
        step.shrink(limits.bytes)?;
    }
    if step.removed == 0 {
        return Ok(false);
    }
    let (row, removed) = (step.checkpoint(), step.removed);
    let mut new_head = head;
    append(&transaction, &mut new_head, hasher, &row)?;
    transaction.commit()?;
    database.head = new_head;
    log::info!(rows = removed; "audit.db.pruned");
    Ok(true)
}

/// Gives pages that hold nothing back to the file system, and empties the write-ahead log.
pub(super) fn vacuum(connection: &Connection) -> rusqlite::Result<()> {
    loop {
        let free = pragma(connection, "freelist_count")?;
        if free == 0 {
            break;
        }
        // Every step frees a page.
        let mut statement =
            connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        if pragma(connection, "freelist_count")? >= free {
            break;
        }
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The newest checkpoint, and where it lets the chain start; none before the first pruning, and
/// none if somebody has damaged it.
pub(super) fn latest(connection: &Connection) -> rusqlite::Result<Option<(Checkpoint, Head)>> {
    let sql =
        "SELECT body FROM events WHERE verb = ?1 AND at IS NOT NULL ORDER BY seq DESC LIMIT 1";
    let body: Option<String> = connection
        .query_row(sql, [CHECKPOINT], |row| row.get(0))
        .optional()?;
    Ok(body.as_deref().and_then(read))
}

fn read(body: &str) -> Option<(Checkpoint, Head)> {
    let members: Members = serde_json::from_str(body).ok()?;
    let seq = members.checkpoint.first_seq.checked_sub(1)?;
    let hash = match seq {
        0 => Hash::NONE,
        _ => {
            format!("{seq}:{}", members.base_hash)
                .parse::<Head>()
                .ok()?
                .hash
        }
    };
    Some((members.checkpoint, Head { seq, hash }))
}

struct Step<'a> {
    connection: &'a Connection,
    head: Head,
    /// The row before the oldest that is kept.
    start: Head,
    denied_through: i64,
    removed: i64,
}

impl Step<'_> {
    /// Rows from the beginning up to the first that is young enough.
    fn take_old(&mut self, oldest: i64) -> rusqlite::Result<()> {
        // Places without a row have no age: they go with the rows around them.
        let sql = "SELECT min(seq) FROM (SELECT seq FROM events ORDER BY seq LIMIT ?2) JOIN events USING (seq) WHERE at >= ?1";
        let young: Option<i64> = self
            .connection
            .query_row(sql, (oldest, STEP_ROWS), |row| row.get(0))?;
        let end = match young {
            Some(young) => young.saturating_sub(1),
            None => self.end_of_first(STEP_ROWS)?,
        };
        self.take_through(end)
    }

    /// Refused attempts, oldest first; then whatever is oldest.
    fn shrink(&mut self, bytes_max: u64) -> rusqlite::Result<()> {
        let sql = "SELECT seq FROM denied_bodies ORDER BY seq LIMIT ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_map([STEP_ROWS], |row| row.get(0))?;
        let found = found.collect::<rusqlite::Result<Vec<i64>>>()?;
        let empty = "UPDATE events SET at = NULL, outcome = NULL, actor = NULL, cluster = NULL,
            namespace = NULL, pod = NULL, session = NULL WHERE seq = ?1";
        let mut empty = self.connection.prepare_cached(empty)?;
        let delete = "DELETE FROM denied_bodies WHERE seq = ?1";
        let mut delete = self.connection.prepare_cached(delete)?;
        let target = low_water(bytes_max);
        for seq in found {
            empty.execute([seq])?;
            delete.execute([seq])?;
            self.denied_through = self.denied_through.max(seq);
            self.removed = self.removed.saturating_add(1);
            // Pages become free one row at a time; looking at each costs more than it is worth.
            if self.removed % 64 == 0 && used_bytes(self.connection)? <= target {
                return Ok(());
            }
        }
        if self.removed > 0 {
            return Ok(());
        }
        // As many rows as the excess holds on average, the checkpoint's own not counted.
        let rows: i64 = self
            .connection
            .query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
        let used = used_bytes(self.connection)?;
        let share = u128::from(used.saturating_sub(target)) * u128::try_from(rows).unwrap_or(0)
            / u128::from(used.max(1));
        let count = i64::try_from(share)
            .unwrap_or(STEP_ROWS)
            .clamp(1, STEP_ROWS);
        let end = self.end_of_first(count)?;
        self.take_through(end)
    }

    fn end_of_first(&self, rows: i64) -> rusqlite::Result<i64> {
        let sql = "SELECT max(seq) FROM (SELECT seq FROM events ORDER BY seq LIMIT ?1)";
        let end: Option<i64> = self.connection.query_row(sql, [rows], |row| row.get(0))?;
        Ok(end.unwrap_or(0))
    }

    fn take_through(&mut self, end: i64) -> rusqlite::Result<()> {
        // The newest row stays: the next one follows it.
        let end = end.min(self.head.seq.saturating_sub(1));
        let sql = "SELECT seq, hash FROM events WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
        let last: Option<(i64, Vec<u8>)> = self
            .connection
            .query_row(sql, [end], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, hash)) = last else {
            return Ok(());
        };
        let Some(hash) = Hash::from_slice(&hash) else {
            // Not a hash: a broken chain is not made whole by forgetting where it broke.
            return Ok(());
        };
        let taken = self
            .connection
            .execute("DELETE FROM events WHERE seq <= ?1", [seq])?;
        self.connection
            .execute("DELETE FROM denied_bodies WHERE seq <= ?1", [seq])?;
        self.removed = self
            .removed
            .saturating_add(i64::try_from(taken).unwrap_or(i64::MAX));
        self.start = Head { seq, hash };
        Ok(())
    }

    fn checkpoint(&self) -> Row {
        let members = Members {
            checkpoint: Checkpoint {
                first_seq: self.start.seq.saturating_add(1),
                denied_through: self.denied_through,
                removed: self.removed,
            },
            base_hash: self.start.hash.to_string(),
        };
        let members = serde_json::to_value(members).unwrap_or_default();
        Row::note(CHECKPOINT, Outcome::Success, members)
    }
}

/// Bytes of pages that hold something.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pages =
        pragma(connection, "page_count")?.saturating_sub(pragma(connection, "freelist_count")?);
    Ok(pages.saturating_mul(pragma(connection, "page_size")?))
}

fn low_water(bytes_max: u64) -> u64 {
    bytes_max / 100 * LOW_WATER_PERCENT
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let value: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}
