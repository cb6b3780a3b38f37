//! Records as JSON lines on a stream that may block.
//!
//! A thread of its own writes; everyone else only queues, and the queue is bounded. A start that is
//! queued reserves the place of its end, so that no session is ever seen to begin and not to end.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::super::log::now;
use super::{Record, Sink, Tally, Verb};

/// Rows that wait, reserved ends included. A row is about 1 KiB.
const ROWS_MAX: usize = 8192;

/// Writes records to a stream, one JSON object a line.
#[derive(Debug)]
pub struct StdoutSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    rows: VecDeque<Row>,
    rows_max: usize,
    /// Sessions whose start was taken and whose end is still to come.
    reserved: HashSet<Uuid>,
    /// Rows that were lost since the last gap row.
    lost: u64,
    /// Rows queued and rows lost since the start.
    taken: u64,
    lost_ever: u64,
    /// Rows the thread has taken and not yet written.
    in_flight: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct Row {
    is_denied: bool,
    line: String,
}

impl StdoutSink {
    /// Starts the writer thread.
    pub fn start(stream: Box<dyn Write + Send>) -> io::Result<Self> {
        Self::with_capacity(stream, ROWS_MAX)
    }

    fn with_capacity(stream: Box<dyn Write + Send>, rows_max: usize) -> io::Result<Self> {
        let queue = Queue {
            rows: VecDeque::new(),
            rows_max,
            reserved: HashSet::new(),
            lost: 0,
            taken: 0,
            lost_ever: 0,
            in_flight: 0,
            is_closed: false,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("audit-stdout".to_owned())
            .spawn(move || write(&theirs, stream))?;
        Ok(Self { shared })
    }
}

impl Sink for StdoutSink {
    fn record(&self, record: Record) {
        let mut queue = self.shared.lock();
        queue.take(&record);
        drop(queue);
        self.shared.changed.notify_all();
    }

    fn close(&self, within: Duration) -> usize {
        let end = Instant::now() + within;
        let mut queue = self.shared.lock();
        queue.is_closed = true;
        self.shared.changed.notify_all();
        loop {
            let left = queue.rows.len().saturating_add(queue.in_flight);
            let wait = end.saturating_duration_since(Instant::now());
            if left == 0 || wait.is_zero() {
                return left;
            }
            let waited = self.shared.changed.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tallies(&self) -> Vec<Tally> {
        let queue = self.shared.lock();
        vec![Tally {
            sink: "stdout",
            rows: queue.taken,
            lost: queue.lost_ever,
            queued: queue.rows.len().saturating_add(queue.in_flight) as u64,
        }]
    }
}

impl Drop for StdoutSink {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, record: &Record) {
        let is_taken = match (record.verb, record.session_id) {
            (Verb::Start, Some(id)) => self.make_room(2) && self.reserved.insert(id),
            // Without its start the end was counted when the start was lost.
            (Verb::End, Some(id)) => {
                if !self.reserved.remove(&id) {
                    return;
                }
                true
            }
            (Verb::Start | Verb::End, None) => false,
            (Verb::Denied, _) => self.has_room(1),
        };
        if is_taken {
            // A record is plain strings and numbers: this cannot fail.
            let line = serde_json::to_string(record).unwrap_or_default();
            self.taken = self.taken.saturating_add(1);
            self.rows.push_back(Row {
                is_denied: record.verb == Verb::Denied,
                line,
            });
        } else {
            self.lose(if record.verb == Verb::Start { 2 } else { 1 });
        }
    }

    fn lose(&mut self, rows: u64) {
        self.lost = self.lost.saturating_add(rows);
        self.lost_ever = self.lost_ever.saturating_add(rows);
    }

    fn has_room(&self, places: usize) -> bool {
        let used = self
            .rows
            .len()
            .saturating_add(self.in_flight)
            .saturating_add(self.reserved.len());
        used.saturating_add(places) <= self.rows_max
    }

    /// Makes room by giving up rows of refused attempts, oldest first.
    fn make_room(&mut self, places: usize) -> bool {
        while !self.has_room(places) {
            let Some(index) = self.rows.iter().position(|row| row.is_denied) else {
                return false;
            };
            self.rows.remove(index);
            self.lose(1);
        }
        true
    }
}

fn write(shared: &Shared, mut stream: Box<dyn Write + Send>) {
    let mut queue = shared.lock();
    loop {
        let lost = std::mem::take(&mut queue.lost);
        let rows = std::mem::take(&mut queue.rows);
        if rows.is_empty() && lost == 0 {
            if queue.is_closed {
                return;
            }
            queue = shared
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        queue.in_flight = rows.len();
        drop(queue);
        let mut failed = 0_u64;
        for row in &rows {
            if writeln!(stream, "{}", row.line).is_err() {
                failed = failed.saturating_add(1);
            }
        }
        if lost > 0 {
            let gap = serde_json::json!({"timestamp": now(), "verb": "audit.gap", "count": lost});
            drop(writeln!(stream, "{gap}"));
        }
        let is_flushed = stream.flush().is_ok();
        if failed > 0 || lost > 0 || !is_flushed {
            log::error!(lost = lost, failed = failed; "audit.stdout.gap");
        }
        queue = shared.lock();
        queue.in_flight = 0;
        queue.lost_ever = queue.lost_ever.saturating_add(failed);
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::tests::{denied, ended, started};
    use super::*;

    /// A stream that writes nothing before it is told to.
    struct Gate {
        open: mpsc::Receiver<()>,
        is_open: bool,
        written: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.is_open {
                self.is_open = true;
                let _told_or_gone = self.open.recv();
            }
            drop(
                self.written
                    .send(String::from_utf8_lossy(bytes).into_owned()),
            );
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(rows_max: usize) -> (StdoutSink, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (opener, open) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let sink = StdoutSink::with_capacity(
            Box::new(Gate {
                open,
                is_open: false,
                written,
            }),
            rows_max,
        );
        (sink.unwrap(), opener, lines)
    }

    fn verbs(lines: &mpsc::Receiver<String>) -> Vec<String> {
        let text: String = lines.try_iter().collect();
        let verb = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let verb = value["verb"]
                .as_str()
                .unwrap()
                .rsplit('.')
                .next()
                .unwrap()
                .to_owned();
            if verb == "gap" {
                format!("gap {}", value["count"])
            } else {
                verb
            }
        };
        text.lines().map(verb).collect()
    }

    #[test]
    fn rows_come_out_in_order_as_json_lines() {
        let (sink, opener, lines) = gated(100);
        let id = Uuid::from_u128(7);
        let start = started(id);
        sink.record(start.clone());
        sink.record(denied("ann", "E_CAP_USER"));
        sink.record(ended(&start));
        drop(opener);
        assert_eq!(sink.close(Duration::from_secs(10)), 0);
        assert_eq!(
            verbs(&lines),
            ["session_start", "session_denied", "session_end"]
        );
    }

    #[test]
    fn a_blocked_stream_blocks_nobody_and_no_queued_start_loses_its_end() {
        let (sink, opener, lines) = gated(10);
        let mut starts = Vec::new();
        for index in 0..20 {
            sink.record(denied("ann", "E_CAP_USER"));
            let start = started(Uuid::from_u128(index));
            sink.record(start.clone());
            starts.push(start);
        }
        for start in &starts {
            sink.record(ended(start));
        }
        assert!(sink.close(Duration::ZERO) > 0);
        drop(opener);
        assert_eq!(sink.close(Duration::from_secs(10)), 0);
        let verbs = verbs(&lines);
        let count = |wanted: &str| verbs.iter().filter(|verb| *verb == wanted).count();
        assert!(count("session_start") > 0);
        assert_eq!(count("session_start"), count("session_end"));
        let lost: usize = verbs
            .iter()
            .filter_map(|verb| verb.strip_prefix("gap ")?.parse::<usize>().ok())
            .sum();
        let written = count("session_start") + count("session_end") + count("session_denied");
        assert_eq!(written + lost, 60, "{verbs:?}");
        let tally = sink.tallies()[0];
        assert_eq!((tally.lost, tally.queued), (lost as u64, 0));
    }

    #[test]
    fn a_close_that_cannot_write_says_how_much_is_left() {
        let (sink, _opener, _lines) = gated(10);
        sink.record(started(Uuid::from_u128(1)));
        sink.record(denied("ann", "E_CAP_USER"));
        assert_eq!(sink.close(Duration::from_millis(1)), 2);
    }
}
