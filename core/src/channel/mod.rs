//! The Kubernetes channel protocol: five streams over one WebSocket.
//!
//! A message is a channel number and a payload (`k8s.io/apimachinery/pkg/util/remotecommand`).
//! Its subprotocols differ in how a payload is written down (binary, or base64 in text), in what
//! the error channel says (plain text, or a Status), and in whether a stream can be closed.

mod conn;
pub mod resize;
pub mod status;

pub use conn::Channels;

use bytes::BytesMut;

/// One of the streams of an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Bytes towards the process.
    Stdin,
    /// Bytes of the process; with a terminal, all of them.
    Stdout,
    /// The process's second output.
    Stderr,
    /// The outcome.
    Error,
    /// Sizes of the terminal.
    Resize,
}

impl Stream {
    /// The value of SPDY's `streamtype` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Error => "error",
            Self::Resize => "resize",
        }
    }

    /// The stream of a `streamtype` header.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Stdin,
            Self::Stdout,
            Self::Stderr,
            Self::Error,
            Self::Resize,
        ]
        .into_iter()
        .find(|stream| stream.as_str() == name)
    }

    /// The channel number.
    pub const fn channel(self) -> u8 {
        self as u8
    }

    /// The stream of a channel number.
    pub const fn from_channel(channel: u8) -> Option<Self> {
        match channel {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            3 => Some(Self::Error),
            4 => Some(Self::Resize),
            _ => None,
        }
    }
}

/// A subprotocol of the channel protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subprotocol {
    /// `channel.k8s.io`, also where none was asked for.
    V1,
    /// `base64.channel.k8s.io`.
    V1Base64,
    /// `v4.channel.k8s.io`.
    V4,
    /// `v4.base64.channel.k8s.io`.
    V4Base64,
    /// `v5.channel.k8s.io`.
    V5,
}

impl Subprotocol {
    /// The name in `Sec-WebSocket-Protocol`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "channel.k8s.io",
            Self::V1Base64 => "base64.channel.k8s.io",
            Self::V4 => "v4.channel.k8s.io",
            Self::V4Base64 => "v4.base64.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }

    /// The subprotocol of a name. `v2.` and `v3.` exist on SPDY only.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::V1, Self::V1Base64, Self::V4, Self::V4Base64, Self::V5]
            .into_iter()
            .find(|subprotocol| subprotocol.as_str() == name)
    }

    /// Whether payload travels as base64 in text messages.
    pub const fn is_base64(self) -> bool {
        matches!(self, Self::V1Base64 | Self::V4Base64)
    }

    /// Whether the error channel carries a Status rather than plain text.
    pub const fn has_status(self) -> bool {
        matches!(self, Self::V4 | Self::V4Base64 | Self::V5)
    }

    /// Whether a stream can be closed on its own.
    pub const fn can_close(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// What came over the channels.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer's Close; 1005 when it named no code.
    Close {
        /// RFC 6455 §7.4.
        code: u16,
    },
    /// Payload of one stream.
    Data {
        /// Which one.
        stream: Stream,
        /// A run of it.
        payload: BytesMut,
        /// Whether the message ends with this run.
        last: bool,
    },
    /// A ping or pong, or a message that means nothing here.
    Ping,
    /// The answer to our ping.
    Pong,
    /// The client closed a stream (v5 only, server role).
    StreamClosed {
        /// Which one.
        stream: Stream,
    },
}

/// How a peer broke the channel protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A base64 message that is none.
    #[error("a base64 message that cannot be decoded")]
    Base64,
    /// A base64 message longer than `limits::BASE64_MESSAGE_BYTES_MAX`.
    #[error("a base64 message is too long")]
    Base64TooLong,
    /// A close signal without exactly one known channel, which Go's server answers by leaving.
    #[error("a malformed close signal")]
    CloseSignal,
    /// A text message on a binary subprotocol.
    #[error("a text message on a binary subprotocol")]
    Text,
    /// RFC 6455 was broken.
    #[error(transparent)]
    WebSocket(#[from] crate::ws::Error),
}

impl Error {
    /// The close code to answer with.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::WebSocket(error) => error.close_code(),
            Self::Base64 | Self::CloseSignal | Self::Text => 1002,
            Self::Base64TooLong => 1009,
        }
    }
}

/// What our own side must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// This subprotocol cannot close a stream.
    #[error("this subprotocol cannot close a stream")]
    Unsupported,
    /// Payload on a stream that this side closed before.
    #[error("the stream was closed before")]
    Closed,
    /// The WebSocket below refused.
    #[error(transparent)]
    WebSocket(#[from] crate::ws::Misuse),
}
