//! Four WebSocket codecs behind two small traits, each on a wire in memory.
//!
//! Every codec is used as its own documentation advises, with its defaults. What differs in fairness
//! is on the peers' side: they hand out whole messages, ours hands out runs as they arrive.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that fails must stop"
)]

pub mod decode;
pub mod encode;
mod wire;

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// Who is measured. Ours comes first.
pub const PEERS: [&str; 4] = [
    "periscope",
    "tungstenite",
    "fastwebsockets",
    "tokio-websockets",
];

/// What is measured. A message is a channel number and `payload` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// In paths and on the command line.
    pub name: &'static str,
    /// In the table.
    pub title: &'static str,
    /// Payload bytes behind the channel number.
    pub payload: usize,
    /// Whether the frames are masked, as a browser's are.
    pub is_masked: bool,
    /// Whether messages are sent, not received.
    pub is_encode: bool,
    /// The ratio to the best of the others that was aimed at.
    pub aim: f64,
}

/// All of them.
pub const CASES: [Case; 6] = [
    Case {
        name: "decode-1",
        title: "decode 1+1, masked",
        payload: 1,
        is_masked: true,
        is_encode: false,
        aim: 0.2,
    },
    Case {
        name: "decode-64",
        title: "decode 1+64, masked",
        payload: 64,
        is_masked: true,
        is_encode: false,
        aim: 0.4,
    },
    Case {
        name: "decode-4096",
        title: "decode 1+4096, masked",
        payload: 4096,
        is_masked: true,
        is_encode: false,
        aim: 0.8,
    },
    Case {
        name: "decode-32768",
        title: "decode 1+32768, masked",
        payload: 32_768,
        is_masked: true,
        is_encode: false,
        aim: 1.0,
    },
    Case {
        name: "decode-32768-unmasked",
        title: "decode 1+32768, unmasked",
        payload: 32_768,
        is_masked: false,
        is_encode: false,
        aim: 1.0,
    },
    Case {
        name: "encode-32768",
        title: "encode 1+32768, unmasked",
        payload: 32_768,
        is_masked: false,
        is_encode: true,
        aim: 1.0,
    },
];

/// One codec at work.
pub trait Subject {
    /// Makes what the next messages need, up to [`PREPARED_MAX`]; not measured.
    fn prepare(&mut self, _messages: u64) {}

    /// Receives or sends one message, and says how long it was.
    fn message(&mut self) -> usize;
}

/// Messages that are prepared at a time.
pub const PREPARED_MAX: u64 = 256;

impl Case {
    /// The codec of a peer on a wire that suits this case.
    pub fn subject(&self, peer: &str) -> Box<dyn Subject> {
        let len = self.payload + 1;
        match (self.is_encode, peer) {
            (false, "periscope") => Box::new(decode::Ours::new(len, self.is_masked)),
            (false, "tungstenite") => Box::new(decode::Tungstenite::new(len, self.is_masked)),
            (false, "fastwebsockets") => Box::new(decode::Fastwebsockets::new(len, self.is_masked)),
            (false, "tokio-websockets") => {
                Box::new(decode::TokioWebsockets::new(len, self.is_masked))
            }
            (true, "periscope") => Box::new(encode::Ours::new(len)),
            (true, "tungstenite") => Box::new(encode::Tungstenite::new(len)),
            (true, "fastwebsockets") => Box::new(encode::Fastwebsockets::new(len)),
            (true, "tokio-websockets") => Box::new(encode::TokioWebsockets::new(len)),
            (_, other) => panic!("nobody is called {other}"),
        }
    }
}

/// Lets a subject do `messages`, and returns what `measure` makes of each prepared part of them.
pub fn run<T>(
    subject: &mut dyn Subject,
    messages: u64,
    mut measure: impl FnMut(&mut dyn Subject, u64) -> T,
) -> Vec<T> {
    let mut left = messages;
    let mut parts = Vec::new();
    while left > 0 {
        let part = left.min(PREPARED_MAX);
        subject.prepare(part);
        parts.push(measure(subject, part));
        left -= part;
    }
    parts
}

/// The measured part, a function of its own so that callgrind can count just this.
#[inline(never)]
pub fn measured(subject: &mut dyn Subject, messages: u64) {
    for _ in 0..messages {
        core::hint::black_box(subject.message());
    }
}

/// The result of a future that never has to wait: the wire always has more, and takes all.
fn ready<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a wire in memory never waits"),
    }
}
