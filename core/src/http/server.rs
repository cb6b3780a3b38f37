//! The server's side: read one request, then upgrade or refuse it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use super::head::{self, BodyLength, HeadScan};
use super::{Error, Misuse, SecretValue, accept_key};
use crate::outbox::Outbox;

/// One connection's request and the answer to it.
///
/// ```text
///  Head ──▶ Unanswered ──accept_*, refuse*──▶ Answered
///    └─▶ Failed ──refuse*─────────────────────▲
/// ```
#[derive(Debug)]
pub struct ServerUpgrade {
    state: State,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, case-sensitive (RFC 9110 §9.1).
    pub method: String,
    /// Path and query as they came, percent-encoded.
    pub target: String,
    /// The fields in their order. Bytes that are not UTF-8 were replaced with U+FFFD.
    pub headers: Vec<(String, SecretValue)>,
}

impl ServerUpgrade {
    /// A connection that has not sent anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the request's head off `input`; `None` means it needs more, or that the head was
    /// already returned. What follows the head stays.
    ///
    /// A WebSocket handshake that breaks RFC 6455 §4.2.1 is an error. An error sticks, and can be
    /// answered with [`Self::refuse`], its [`Error::status`] and [`Error::headers`].
    pub fn receive(&mut self, input: &mut BytesMut) -> Result<Option<RequestHead>, Error> {
        match &mut self.state {
            State::Failed(error) => Err(*error),
            State::Unanswered(_) | State::Answered => Ok(None),
            State::Head { scan, is_begun } => {
                if !*is_begun {
                    if head::skip_empty_line(input).is_none() {
                        return Ok(None);
                    }
                    *is_begun = true;
                }
                let taken = scan.take_head(input).and_then(|head| match head {
                    Some(head) => read(&head).map(Some),
                    None => Ok(None),
                });
                match taken {
                    Ok(None) => Ok(None),
                    Ok(Some((request, asked))) => {
                        self.state = State::Unanswered(asked);
                        Ok(Some(request))
                    }
                    Err(error) => {
                        self.state = State::Failed(error);
                        Err(error)
                    }
                }
            }
        }
    }

    /// Answers a WebSocket handshake with 101 (RFC 6455 §4.2.2). `subprotocol` is one that was
    /// offered, or none.
    pub fn accept_websocket(
        &mut self,
        subprotocol: Option<&str>,
        out: &mut Outbox,
    ) -> Result<(), Misuse> {
        let State::Unanswered(asked) = &self.state else {
            return Err(Misuse::NothingToAnswer);
        };
        let Some(accept) = &asked.websocket_accept else {
            return Err(Misuse::NotRequested);
        };
        let mut text = format!(
            "{SWITCHING}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
        );
        if let Some(name) = subprotocol {
            asked.check_offered(name)?;
            push_field(&mut text, "Sec-WebSocket-Protocol", name);
        }
        self.answer(text, out);
        Ok(())
    }

    /// Answers a request for SPDY/3.1 with 101 and the subprotocol chosen from those offered.
    pub fn accept_spdy(&mut self, subprotocol: &str, out: &mut Outbox) -> Result<(), Misuse> {
        let State::Unanswered(asked) = &self.state else {
            return Err(Misuse::NothingToAnswer);
        };
        if !asked.is_spdy {
            return Err(Misuse::NotRequested);
        }
        asked.check_offered(subprotocol)?;
        let mut text = format!("{SWITCHING}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n");
        push_field(&mut text, "X-Stream-Protocol-Version", subprotocol);
        self.answer(text, out);
        Ok(())
    }

    /// Answers with a final status and a body, and asks to close the connection: this machine reads
    /// one request only.
    pub fn refuse(
        &mut self,
        status: u16,
        content_type: &str,
        body: &[u8],
        extra: &[(&str, &str)],
        out: &mut Outbox,
    ) -> Result<(), Misuse> {
        let is_body_wanted = self.check_answerable(status)?;
        let mut text = status_line(status);
        for (name, value) in extra {
            if !head::is_token(name) {
                return Err(Misuse::HeaderName);
            }
            if FRAMING_HEADERS
                .iter()
                .any(|taken| taken.eq_ignore_ascii_case(name))
            {
                return Err(Misuse::HeaderOfHandshake);
            }
            SecretValue::new(value)?;
            push_field(&mut text, name, value);
        }
        SecretValue::new(content_type)?;
        push_field(&mut text, "Content-Type", content_type);
        push_field(&mut text, "Content-Length", &body.len().to_string());
        // RFC 9110 §7.8: who sends `Upgrade` names it in `Connection`.
        let has_upgrade = extra
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        push_field(
            &mut text,
            "Connection",
            if has_upgrade {
                "close, Upgrade"
            } else {
                "close"
            },
        );
        self.answer(text, out);
        // RFC 9110 §9.3.2: the answer to a HEAD has the length but not the body.
        if is_body_wanted {
            out.push(Bytes::copy_from_slice(body));
        }
        Ok(())
    }

    /// Answers without a body or its length, as an apiserver passes on a runtime's refusal of a
    /// subprotocol. The end of the connection is the end of the body, so the caller must close.
    pub fn refuse_bare(&mut self, status: u16, out: &mut Outbox) -> Result<(), Misuse> {
        self.check_answerable(status)?;
        let mut text = status_line(status);
        push_field(&mut text, "Connection", "close");
        self.answer(text, out);
        Ok(())
    }

    /// Whether a final answer may go out now; returns whether its body may, too.
    fn check_answerable(&self, status: u16) -> Result<bool, Misuse> {
        let is_body_wanted = match &self.state {
            State::Unanswered(asked) => !asked.is_head_only,
            State::Failed(_) => true,
            State::Head { .. } | State::Answered => return Err(Misuse::NothingToAnswer),
        };
        if !(200..=599).contains(&status) {
            return Err(Misuse::Status(status));
        }
        Ok(is_body_wanted && !matches!(status, 204 | 304))
    }

    fn answer(&mut self, mut head: String, out: &mut Outbox) {
        head.push_str("\r\n");
        out.push(Bytes::from(head));
        self.state = State::Answered;
    }
}

impl Default for ServerUpgrade {
    fn default() -> Self {
        Self {
            state: State::Head {
                scan: HeadScan::default(),
                is_begun: false,
            },
        }
    }
}

impl RequestHead {
    /// The first value of a field. Names are compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All values of a field, in order.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        head::values(&self.headers, name)
    }

    /// The target's path, percent-encoded.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The target's query, percent-encoded and without its question mark; empty where there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether this is a WebSocket handshake (RFC 6455 §4.2.1).
    pub fn is_websocket(&self) -> bool {
        self.asks_for("websocket")
    }

    /// Whether this asks for SPDY/3.1.
    pub fn is_spdy(&self) -> bool {
        self.asks_for("spdy/3.1")
    }

    /// The subprotocols on offer, the client's favourite first. Of `Sec-WebSocket-Protocol` only the
    /// first line counts, as with Go's server; `X-Stream-Protocol-Version` counts wherever it is.
    pub fn subprotocols(&self) -> Vec<&str> {
        if self.is_websocket() {
            let line = self.header("sec-websocket-protocol").unwrap_or_default();
            head::split_list(line).collect()
        } else if self.is_spdy() {
            head::members(&self.headers, "x-stream-protocol-version").collect()
        } else {
            Vec::new()
        }
    }

    fn asks_for(&self, protocol: &str) -> bool {
        head::has_member(&self.headers, "connection", "upgrade")
            && head::has_member(&self.headers, "upgrade", protocol)
    }
}

#[derive(Debug)]
enum State {
    Head {
        scan: HeadScan,
        /// Whether the request line begins where the input does.
        is_begun: bool,
    },
    Unanswered(Asked),
    Answered,
    Failed(Error),
}

/// What an answer needs to know of its request.
#[derive(Debug)]
struct Asked {
    /// The accept key, if this is a WebSocket handshake.
    websocket_accept: Option<String>,
    is_spdy: bool,
    offered: Vec<String>,
    /// Whether the method is HEAD.
    is_head_only: bool,
}

impl Asked {
    fn check_offered(&self, subprotocol: &str) -> Result<(), Misuse> {
        if !head::is_token(subprotocol) {
            return Err(Misuse::Subprotocol);
        }
        let is_offered = self.offered.iter().any(|name| name == subprotocol);
        if is_offered {
            Ok(())
        } else {
            Err(Misuse::NotOffered)
        }
    }
}

fn read(bytes: &[u8]) -> Result<(RequestHead, Asked), Error> {
    let head::RequestParts {
        method,
        target,
        headers,
    } = head::parse_request(bytes)?;
    let request = RequestHead {
        method,
        target,
        headers,
    };
    if !request.target.starts_with('/') || request.target.contains('#') {
        return Err(Error::Target);
    }
    if head::values(&request.headers, "host").count() != 1 {
        return Err(Error::Host);
    }
    let is_websocket = request.is_websocket();
    let is_spdy = !is_websocket && request.is_spdy();
    match head::body_length(&request.headers)? {
        BodyLength::Coded { .. } => return Err(Error::TransferEncoding),
        BodyLength::Bytes(1..) if is_websocket || is_spdy => return Err(Error::UpgradeWithBody),
        BodyLength::Bytes(_) | BodyLength::Unsaid => {}
    }
    let asked = Asked {
        websocket_accept: if is_websocket {
            Some(check_websocket(&request)?)
        } else {
            None
        },
        is_spdy,
        offered: request
            .subprotocols()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        is_head_only: request.method == "HEAD",
    };
    Ok((request, asked))
}

/// RFC 6455 §4.2.1: GET, version 13, one key of 16 bytes. Returns the accept key.
fn check_websocket(request: &RequestHead) -> Result<String, Error> {
    if request.method != "GET" {
        return Err(Error::Method);
    }
    let mut versions = request.header_values("sec-websocket-version");
    if (versions.next(), versions.next()) != (Some("13"), None) {
        return Err(Error::WebSocketVersion);
    }
    let mut keys = request.header_values("sec-websocket-key");
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(Error::WebSocketKey);
    };
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == 16 => Ok(accept_key(key)),
        _ => Err(Error::WebSocketKey),
    }
}

/// The status line of every accepted upgrade.
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\n";

/// What [`ServerUpgrade::refuse`] writes itself.
const FRAMING_HEADERS: [&str; 4] = [
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
];

fn status_line(status: u16) -> String {
    format!("HTTP/1.1 {status} {}\r\n", reason(status))
}

fn push_field(text: &mut String, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        text.push_str(part);
    }
}

/// The reason phrase of a status; empty where RFC 9110 §15 names none, which is legal.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
