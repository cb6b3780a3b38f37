//! SPDY/3.1 as far as `pods/exec` uses it, in both roles.
//!
//! [`Spdy`] is the machine. Under it are two codecs: [`frame`] for the frames and [`headers`] for
//! the compressed header block, whose preset [`dictionary`] is a constant of the standard.
//!
//! Deliberately absent: holding back for flow control windows (no Kubernetes peer sends or honours
//! `WINDOW_UPDATE`; a client that obeyed the draft would stall after 64 KiB), server push, and
//! compression on our side (stored blocks are valid deflate and need no state).

mod conn;
mod dictionary;
mod event;
mod frame;
mod headers;
mod replies;
mod stream;
#[cfg(test)]
mod tests;

pub use conn::Spdy;
pub use event::{Event, Misuse, status};
use thiserror::Error as ThisError;

/// What a peer did wrong. Every variant is fatal: after one, the compression state or the frame
/// boundary cannot be trusted any more, so the connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// A control frame whose version is not 3 (SPDY/3.1 §2.2.1).
    #[error("SPDY version {0} in a control frame")]
    Version(u16),
    /// A control frame of a type that does not exist or that nobody may send, such as the
    /// withdrawn NOOP (5) or CREDENTIAL (10).
    #[error("unknown SPDY frame type {0}")]
    FrameType(u16),
    /// A control frame whose length does not fit its type.
    #[error("SPDY frame type {kind} with a length of {length} bytes")]
    FrameLength {
        /// The frame's type number.
        kind: u16,
        /// The length it declared, in bytes.
        length: usize,
    },
    /// A control frame longer than [`crate::limits::SPDY_CONTROL_BYTES_MAX`].
    #[error("SPDY control frame of {0} bytes is too long")]
    ControlTooLong(usize),
    /// Stream id 0 where a stream must be named (SPDY/3.1 §2.3.2).
    #[error("SPDY stream id 0")]
    StreamIdZero,
    /// DATA on a stream that was never opened (SPDY/3.1 §2.2.2).
    #[error("SPDY data on a stream that never was")]
    UnknownStream,
    /// A second `SYN_REPLY` on one stream (SPDY/3.1 §2.3.2).
    #[error("SPDY stream answered twice")]
    RepliedTwice,
    /// `WINDOW_UPDATE` beyond 2^31 − 1 bytes (SPDY/3.1 §2.6.8).
    #[error("SPDY window overflow")]
    WindowOverflow,
    /// `RST_STREAM` with status 0 (SPDY/3.1 §2.6.3 forbids it).
    #[error("RST_STREAM with status 0")]
    ResetStatusZero,
    /// PING with id 0: neither side numbers its pings so.
    #[error("PING with id 0")]
    PingIdZero,
    /// The zlib stream of the header blocks is broken, ended, or asks for another dictionary.
    #[error("SPDY header compression is broken")]
    Compression,
    /// A header block larger than [`crate::limits::SPDY_HEADER_BLOCK_BYTES_MAX`] once inflated.
    #[error("SPDY header block is too large")]
    HeaderBlockTooLarge,
    /// More than [`crate::limits::SPDY_HEADERS_MAX`] header pairs in one block.
    #[error("SPDY header block with {0} headers")]
    TooManyHeaders(u32),
    /// A header block that ends inside a header, or goes on after the last one.
    #[error("malformed SPDY header block")]
    HeaderBlock,
    /// An empty header name, or one with an upper-case letter (SPDY/3.1 §2.6.10).
    #[error("invalid SPDY header name")]
    HeaderName,
}
