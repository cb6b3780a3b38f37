//! RFC 6455 framing for both roles, without extensions.
//!
//! [`WebSocket`] begins after the opening handshake (see [`crate::http`]). Data is streamed: a frame
//! of any length is passed on in runs as its bytes arrive, and nothing is reserved for what a
//! header merely promises.

mod close;
mod conn;
mod header;
mod mask;
mod utf8;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

pub use conn::WebSocket;

/// What a data message carries (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text; checked while it streams.
    Text,
    /// Arbitrary bytes.
    Binary,
}

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// One run of a data message. The runs of a message follow each other, with at most
    /// [`Event::Ping`], [`Event::Pong`] and [`Event::Close`] between them.
    Data {
        /// The message's kind, the same on every run.
        kind: Kind,
        /// The bytes, unmasked. Empty only where a message (or the end of one) has no bytes.
        payload: BytesMut,
        /// Whether the message begins here.
        first: bool,
        /// Whether the message ends here.
        last: bool,
    },
    /// A ping, which was answered here (RFC 6455 §5.5.2). Reported as a sign of life.
    Ping,
    /// A pong (RFC 6455 §5.5.3), asked for or not.
    Pong {
        /// What the ping it answers carried.
        payload: Bytes,
    },
    /// The peer's Close (RFC 6455 §5.5.1). Whoever has not sent one yet answers it with
    /// [`WebSocket::close`]; no event follows.
    Close {
        /// The peer's close code, 1005 when it gave none.
        code: u16,
    },
}

/// A rule the peer broke. Nothing more can be read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// RFC 6455 §5.2: a reserved bit without an extension that gives it a meaning.
    #[error("reserved bit set in a frame header")]
    ReservedBits,
    /// RFC 6455 §5.2: an opcode nobody defined.
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// RFC 6455 §5.1: a client's frame without a mask.
    #[error("frame from a client is not masked")]
    Unmasked,
    /// RFC 6455 §5.1: a server's frame with a mask.
    #[error("frame from a server is masked")]
    Masked,
    /// RFC 6455 §5.5: a control frame split into fragments.
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// RFC 6455 §5.5: a control frame with more than 125 bytes.
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// RFC 6455 §5.2: a length written with more bytes than it needs.
    #[error("frame length is not encoded minimally")]
    LengthNotMinimal,
    /// RFC 6455 §5.2: a length with its most significant bit set.
    #[error("frame length exceeds 63 bits")]
    LengthOver63Bits,
    /// RFC 6455 §5.4: a continuation with nothing to continue.
    #[error("continuation frame outside a message")]
    NothingToContinue,
    /// RFC 6455 §5.4: a new message inside an unfinished one.
    #[error("data frame inside a fragmented message")]
    MessageUnfinished,
    /// RFC 6455 §7.4.1 (1009): a message larger than the caller takes.
    #[error("message is larger than accepted")]
    MessageTooLarge,
    /// RFC 6455 §8.1: a text message that is not UTF-8.
    #[error("text message is not UTF-8")]
    NotUtf8,
    /// RFC 6455 §5.5.1: a Close body of one byte.
    #[error("close frame has a body of one byte")]
    CloseBodyTooShort,
    /// RFC 6455 §7.4: a close code that may not be sent.
    #[error("close code {0} may not be sent")]
    CloseCode(u16),
    /// RFC 6455 §5.5.1: a close reason that is not UTF-8.
    #[error("close reason is not UTF-8")]
    CloseReasonNotUtf8,
}

impl Error {
    /// The code to close with (RFC 6455 §7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::MessageTooLarge => 1009,
            Self::NotUtf8 | Self::CloseReasonNotUtf8 => 1007,
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::Unmasked
            | Self::Masked
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthOver63Bits
            | Self::NothingToContinue
            | Self::MessageUnfinished
            | Self::CloseBodyTooShort
            | Self::CloseCode(_) => 1002,
        }
    }
}

/// A call that this side must not make: our own bug, never the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// RFC 6455 §5.5.1: nothing may follow our Close.
    #[error("a Close frame was already sent")]
    CloseSent,
    /// RFC 6455 §7.4: a code that may not stand in a Close frame (1005 sends an empty body).
    #[error("close code {0} may not be sent")]
    CloseCode(u16),
    /// RFC 6455 §5.5: a ping or a close reason too long for a control frame.
    #[error("control frame would be longer than 125 bytes")]
    ControlTooLong,
    /// The prefix exceeds `limits::WS_PREFIX_BYTES_MAX`.
    #[error("message prefix is too long")]
    PrefixTooLong,
}
