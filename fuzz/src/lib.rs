//! The bodies of the fuzz targets, as functions, so that `cargo test` replays their corpora.
//!
//! A target decodes its input in three ways (whole, byte by byte, cut in two at a fuzzed point) and
//! fails where they disagree, where a decoder makes no progress, where it holds or queues more
//! than it may, where an error does not stick, and at any panic. What the peer got wrong is no
//! failure: that is what the decoders' errors are for.
//!
//! `make fuzz` runs the targets under libFuzzer; `fuzz/README.md` says how to go on from a crash.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a fuzz target's only output is a panic"
)]

mod channel;
mod exec_server;
mod feeds;
mod http;
pub mod session;
mod spdy;
mod texts;
mod ws;

pub use channel::channel;
pub use exec_server::exec_server;
pub use http::http;
pub use session::session;
pub use spdy::spdy;
pub use texts::{console, query, resize, status};
pub use ws::ws;

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also the name of its corpus folder.
pub const TARGETS: [(&str, Target); 10] = [
    ("channel", channel),
    ("console", console),
    ("exec_server", exec_server),
    ("http", http),
    ("query", query),
    ("resize", resize),
    ("session", session),
    ("spdy", spdy),
    ("status", status),
    ("ws", ws),
];

/// The program of one target: libFuzzer's under cargo-fuzz, else one that replays the files it is
/// given, so that a crash can be looked at with a plain toolchain.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $body(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                $body(&std::fs::read(file)?);
            }
            Ok(())
        }
    };
}
