//! Audit rows as JSON lines on stdout, which may block: a thread writes, sessions only queue.

use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Rows that wait, the ends of running sessions included. A row is about 1 KiB.
const ROWS_MAX: usize = 8192;

/// The queue and its thread.
#[derive(Debug)]
pub(crate) struct Audit(Arc<(Mutex<Queue>, Condvar)>);

#[derive(Debug, Default)]
struct Queue {
    rows: std::collections::VecDeque<String>,
    /// Ends that are still to come: a start that is taken reserves the place of its end.
    reserved: usize,
    /// Rows lost since the last one that says so.
    lost: u64,
    /// Whether the thread has a row in its hands.
    is_writing: bool,
}

impl Audit {
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared: Arc<(Mutex<Queue>, Condvar)> = Arc::default();
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("audit-stdout".to_owned())
            .spawn(move || write(&theirs))?;
        Ok(Self(shared))
    }

    /// Takes a start, if there is room for it and its end.
    pub(crate) fn start_row(&self, row: &Value) -> bool {
        let mut queue = self.lock();
        let has_room = queue.has_room(2);
        if has_room {
            queue.reserved = queue.reserved.saturating_add(1);
            queue.push(row);
        } else {
            queue.lost = queue.lost.saturating_add(2);
        }
        self.0.1.notify_all();
        has_room
    }

    /// Takes the end of a start that was taken.
    pub(crate) fn end_row(&self, row: &Value) {
        let mut queue = self.lock();
        queue.reserved = queue.reserved.saturating_sub(1);
        queue.push(row);
        self.0.1.notify_all();
    }

    /// Takes a refused attempt, if there is room.
    pub(crate) fn denied_row(&self, row: &Value) {
        let mut queue = self.lock();
        if queue.has_room(1) {
            queue.push(row);
        } else {
            queue.lost = queue.lost.saturating_add(1);
        }
        self.0.1.notify_all();
    }

    /// Waits until everything taken is written, at most this long. Returns how many rows were not.
    pub(crate) fn close(&self, within: Duration) -> usize {
        let end = Instant::now() + within;
        let mut queue = self.lock();
        loop {
            let left = queue.rows.len().saturating_add(queue.is_writing.into());
            let wait = end.saturating_duration_since(Instant::now());
            if left == 0 || wait.is_zero() {
                return left;
            }
            let waited = self.0.1.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn has_room(&self, rows: usize) -> bool {
        let taken = self.rows.len().saturating_add(self.reserved);
        taken.saturating_add(rows) <= ROWS_MAX
    }

    /// The row that owns up to lost ones.
    fn gap(&mut self) -> Option<String> {
        let count = std::mem::take(&mut self.lost);
        let gap = json!({"timestamp": timestamp(), "verb": "audit.gap", "count": count});
        (count > 0).then(|| format!("{gap}\n"))
    }

    fn push(&mut self, row: &Value) {
        self.rows.push_back(format!("{row}\n"));
    }
}

/// The thread.
fn write((queue, changed): &(Mutex<Queue>, Condvar)) {
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let mut guard = lock();
    loop {
        guard.is_writing = false;
        changed.notify_all();
        let Some(row) = guard.rows.pop_front().or_else(|| guard.gap()) else {
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        guard.is_writing = true;
        drop(guard);
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(row.as_bytes());
        if let Err(error) = written.and_then(|()| stdout.flush()) {
            eprintln!("gateway: an audit row could not be written: {error}");
        }
        drop(stdout);
        guard = lock();
    }
}

/// The present, as rows have it.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}
