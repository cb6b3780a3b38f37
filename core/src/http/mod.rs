//! HTTP/1.1 as far as an upgrade needs it (RFC 9110 §7.8, RFC 9112, RFC 6455 §4): one request, its
//! answer, and then another protocol on the same connection. And, for hosts without a client of
//! their own, one plain question on a connection of its own ([`Exchange`]).

mod body;
mod client;
mod exchange;
mod head;
mod server;
mod value;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use thiserror::Error;

pub use client::{ClientOutcome, ClientUpgrade, Refusal, UpgradeRequest};
pub use exchange::{Exchange, PlainAnswer, PlainRequest};
pub use server::{RequestHead, ServerUpgrade};
pub use value::SecretValue;

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
pub fn accept_key(key: &str) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(WEBSOCKET_GUID)
        .finalize();
    STANDARD.encode(digest)
}

/// The fixed string every accept key is made with (RFC 6455 §1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the peer got wrong. Nothing more can be read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The head exceeds `limits::HEAD_BYTES_MAX`.
    #[error("message head is too large")]
    HeadTooLarge,
    /// The head has more fields than `limits::HEADER_FIELDS_MAX`.
    #[error("message head has too many fields")]
    TooManyFields,
    /// RFC 9112 §2.2: a line of the head that does not end in CRLF.
    #[error("line in a message head does not end in CRLF")]
    BareLineFeed,
    /// RFC 9112 §3–§5: no HTTP, or a line that breaks its grammar.
    #[error("message head is malformed")]
    Malformed,
    /// RFC 9112 §2.3: a version without upgrades.
    #[error("HTTP version is not 1.1")]
    Version,
    /// RFC 9112 §3.2: a target that is not a path, perhaps with a query.
    #[error("request target is not in origin form")]
    Target,
    /// RFC 9112 §3.2: no `Host`, or several.
    #[error("request does not have exactly one Host")]
    Host,
    /// RFC 9112 §6.3: a `Content-Length` that is no number, or several.
    #[error("Content-Length is repeated or not a number")]
    ContentLength,
    /// RFC 9112 §6.1: both ways to say a body's length.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112 §6.1: a request body in a coding; we read no request bodies.
    #[error("request has a Transfer-Encoding")]
    TransferEncoding,
    /// A request with a body that asks for an upgrade: its body could be taken for the new protocol.
    #[error("upgrade request has a body")]
    UpgradeWithBody,
    /// RFC 6455 §4.1: a WebSocket handshake that is not a GET.
    #[error("WebSocket handshake is not a GET")]
    Method,
    /// RFC 6455 §4.4: a WebSocket version other than 13.
    #[error("WebSocket version is not 13")]
    WebSocketVersion,
    /// RFC 6455 §4.1: a `Sec-WebSocket-Key` that is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    WebSocketKey,
    /// RFC 9112 §7.1: a broken chunk in an answer.
    #[error("chunked body is malformed")]
    Chunk,
    /// The body of an answer exceeds what the caller keeps.
    #[error("body of an answer is too large")]
    BodyTooLarge,
    /// RFC 9110 §15.2: an endless row of interim answers.
    #[error("too many interim answers")]
    TooManyInterim,
    /// The peer closed before its message was complete.
    #[error("connection ended inside a message")]
    Eof,
}

impl Error {
    /// The status a server answers such a request with. For what only an answer can get wrong it is
    /// 502, which is what a gateway tells whoever it asked for.
    pub const fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::Version => 505,
            Self::TransferEncoding => 501,
            Self::Method => 405,
            Self::WebSocketVersion => 426,
            Self::BodyTooLarge | Self::Chunk | Self::TooManyInterim => 502,
            Self::BareLineFeed
            | Self::Malformed
            | Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::LengthAndCoding
            | Self::UpgradeWithBody
            | Self::WebSocketKey
            | Self::Eof => 400,
        }
    }

    /// The fields that status obliges to: `Allow` (RFC 9110 §15.5.6), the WebSocket version we speak
    /// (RFC 6455 §4.4).
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Method => &[("Allow", "GET")],
            Self::WebSocketVersion => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        }
    }
}

/// A call that this side must not make: our own bug, never the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// A control character in what goes into a head: it could begin a field of its own.
    #[error("control character in a header value")]
    ControlCharacter,
    /// A header value with blanks around it.
    #[error("blank around a header value")]
    OuterBlank,
    /// A header name that is no token.
    #[error("header name is not a token")]
    HeaderName,
    /// A header that the handshake itself writes.
    #[error("header belongs to the handshake")]
    HeaderOfHandshake,
    /// A method that is no token.
    #[error("method is not a token")]
    Method,
    /// A host with characters no authority has.
    #[error("host is not an authority")]
    Host,
    /// A request target that is no path.
    #[error("request target is not in origin form")]
    Target,
    /// A subprotocol that is no token, or offered twice, or none at all for SPDY.
    #[error("subprotocols are not distinct tokens")]
    Subprotocol,
    /// The accepted subprotocol was not offered (RFC 6455 §4.2.2).
    #[error("subprotocol was not offered")]
    NotOffered,
    /// Accepting an upgrade the request did not ask for.
    #[error("request did not ask for this upgrade")]
    NotRequested,
    /// An answer before the request, or a second answer.
    #[error("there is no unanswered request")]
    NothingToAnswer,
    /// A refusal with a status that does not end the exchange.
    #[error("status {0} is not a final answer")]
    Status(u16),
}
