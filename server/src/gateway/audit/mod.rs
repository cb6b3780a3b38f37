//! Who opened which shell, when, and how it ended.
//!
//! Records go to every sink there is: JSON lines on stdout, always. Taking a record never makes
//! anyone wait; a sink that is slow or broken loses what does not fit its queue, and says so in its
//! own output.

mod denials;
mod queue;
mod record;
mod stdout;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use denials::Denials;
pub use record::{End, KubernetesIdentity, Outcome, Record, Shell, Verb};
use stdout::StdoutSink;

/// All sinks.
#[derive(Debug)]
pub struct Audit {
    stdout: StdoutSink,
}

impl Audit {
    /// An audit on a stream and nowhere else.
    pub fn on_stream(stream: Box<dyn Write + Send>) -> io::Result<Self> {
        Ok(Self {
            stdout: StdoutSink::start(stream)?,
        })
    }

    /// Takes a record without waiting.
    pub fn record(&self, record: &Record) {
        // A record is plain strings and numbers: this cannot fail.
        let body: Arc<str> = serde_json::to_string(record).unwrap_or_default().into();
        self.stdout.push(record.class(), body);
    }

    /// What was taken and lost so far, and what waits, for the metrics: one entry a sink.
    pub fn tallies(&self) -> Vec<Tally> {
        vec![self.stdout.tally()]
    }

    /// Waits until everything taken is written, at most this long. Returns how many rows were not.
    pub fn close(&self, within: Duration) -> usize {
        self.stdout.close(Instant::now() + within)
    }
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

impl Drop for Audit {
    fn drop(&mut self) {
        self.stdout.abandon();
    }
}
