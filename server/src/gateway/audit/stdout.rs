//! Records as JSON lines on a stream that may block.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use super::super::log::now;
use super::Tally;
use super::queue::{Class, Next, Queue, ROWS_MAX};

/// Writes records to a stream, one JSON object a line, from a thread of its own.
#[derive(Clone, Debug)]
pub(super) struct StdoutSink {
    queue: Arc<Queue<Arc<str>>>,
}

impl StdoutSink {
    /// Starts the writer thread.
    pub(super) fn start(stream: Box<dyn Write + Send>) -> io::Result<Self> {
        Self::with_capacity(stream, ROWS_MAX)
    }

    fn with_capacity(stream: Box<dyn Write + Send>, rows_max: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(rows_max));
        let theirs = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("audit-stdout".to_owned())
            .spawn(move || write(&theirs, stream))?;
        Ok(Self { queue })
    }

    /// Takes a line without its line break.
    pub(super) fn push(&self, class: Class, line: Arc<str>) {
        self.queue.push(class, line);
    }

    /// Waits until everything is written, at most until then. Returns how many lines were not.
    pub(super) fn close(&self, until: Instant) -> usize {
        self.queue.close(until)
    }

    /// What was taken and lost since the start, and what waits.
    pub(super) fn tally(&self) -> Tally {
        self.queue.tally("stdout")
    }

    /// Nobody waits any more.
    pub(super) fn abandon(&self) {
        self.queue.abandon();
    }
}

fn write(queue: &Queue<Arc<str>>, mut stream: Box<dyn Write + Send>) {
    while let Next::Write { rows, lost } = queue.next(ROWS_MAX, None) {
        let mut failed = 0_u64;
        for line in &rows {
            if writeln!(stream, "{line}").is_err() {
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
        queue.written(failed);
    }
    queue.finished();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use uuid::Uuid;

    use super::super::Record;
    use super::super::record::tests::{denied, ended, started};
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

    fn record(sink: &StdoutSink, record: &Record) {
        let line = serde_json::to_string(record).unwrap();
        sink.push(record.class(), line.into());
    }

    fn close(sink: &StdoutSink, within: Duration) -> usize {
        sink.close(Instant::now() + within)
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
        record(&sink, &start);
        record(&sink, &denied("ann", "E_CAP_USER"));
        record(&sink, &ended(&start));
        drop(opener);
        assert_eq!(close(&sink, Duration::from_secs(10)), 0);
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
            record(&sink, &denied("ann", "E_CAP_USER"));
            let start = started(Uuid::from_u128(index));
            record(&sink, &start);
            starts.push(start);
        }
        for start in &starts {
            record(&sink, &ended(start));
        }
        assert!(close(&sink, Duration::ZERO) > 0);
        drop(opener);
        assert_eq!(close(&sink, Duration::from_secs(10)), 0);
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
        let tally = sink.tally();
        assert_eq!((tally.lost, tally.queued), (lost as u64, 0));
    }

    #[test]
    fn a_close_that_cannot_write_says_how_much_is_left() {
        let (sink, _opener, _lines) = gated(10);
        record(&sink, &started(Uuid::from_u128(1)));
        record(&sink, &denied("ann", "E_CAP_USER"));
        assert_eq!(close(&sink, Duration::from_millis(1)), 2);
    }
}
