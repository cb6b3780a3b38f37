//! What a connection tells its owner, and what its owner must not ask of it.

use bytes::BytesMut;
use thiserror::Error as ThisError;

#[cfg(doc)]
use super::Spdy;
#[cfg(doc)]
use crate::limits;

/// The status codes of `RST_STREAM` that we use (SPDY/3.1 §2.6.3).
pub mod status {
    /// A stream id that must not be used.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// The stream was not looked at.
    pub const REFUSED_STREAM: u32 = 3;
    /// The sender has no more use for the stream. Kubernetes ends every session with it.
    pub const CANCEL: u32 = 5;
}

/// What a connection has to tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer opened a stream (server role). It wants a [`Spdy::reply`].
    Opened {
        /// The stream.
        id: u32,
        /// The value of its `streamtype` header; empty when it has none.
        stream_type: String,
        /// Whether the peer's half ended with this very frame.
        fin: bool,
    },
    /// The peer accepted a stream of ours (client role).
    Replied {
        /// The stream.
        id: u32,
        /// Whether the peer's half ended with this very frame.
        fin: bool,
    },
    /// Payload on a stream.
    Data {
        /// The stream.
        id: u32,
        /// A run of the frame's payload.
        payload: BytesMut,
        /// Whether the peer's half ends with this run.
        fin: bool,
    },
    /// The peer ended both halves of a stream. On an error stream that is the normal end.
    Reset {
        /// The stream.
        id: u32,
        /// Why, see [`status`].
        status: u32,
    },
    /// The peer will close; nothing it sends afterwards is read.
    Goaway,
    /// The peer pinged and was answered.
    Ping,
    /// The peer answered a ping of ours.
    PingReply {
        /// The ping's id.
        id: u32,
    },
}

/// A call that our own code must not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Misuse {
    /// A client replied, or a server opened a stream.
    #[error("this role does not send this frame")]
    WrongRole,
    /// More streams than [`limits::SPDY_STREAMS_MAX`].
    #[error("too many streams on one connection")]
    TooManyStreams,
    /// A stream type that is empty, longer than 64 bytes, or not visible ASCII.
    #[error("invalid stream type")]
    StreamType,
    /// No stream has this id.
    #[error("no stream has this id")]
    UnknownStream,
    /// Our half of the stream has ended.
    #[error("the stream has ended")]
    StreamEnded,
    /// A server sent data on a stream before it replied.
    #[error("data before the reply")]
    NotReplied,
    /// A server replied to a stream again.
    #[error("the stream was replied to")]
    RepliedTwice,
    /// A payload that no frame can hold.
    #[error("payload does not fit a frame")]
    PayloadTooLong,
    /// `RST_STREAM` status 0 does not exist.
    #[error("reset with status 0")]
    ResetStatusZero,
    /// Something was sent after GOAWAY.
    #[error("the connection said goodbye")]
    GoawaySent,
}
