//! The client's side: ask the apiserver for an upgrade and read what it answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use super::body::Body;
use super::head::{self, HeadScan, ResponseParts};
use super::{Error, Misuse, SecretValue, accept_key};
use crate::limits::{INTERIM_ANSWERS_MAX, REFUSAL_BODY_BYTES_MAX};
use crate::outbox::Outbox;

/// One upgrade, from the request to its answer.
///
/// ```text
///  Head ──101──▶ Done: the rest of the input is the new protocol's
///   │ ▲└ other 1xx
///   └─any other status─▶ Body ──its end, our limit, or the connection's end──▶ Done
/// ```
#[derive(Debug)]
pub struct ClientUpgrade {
    transport: Transport,
    /// The subprotocols the request offered.
    offered: Vec<String>,
    state: State,
}

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// The `Host`, with a port where it is not the scheme's own.
    pub host: &'a str,
    /// Path and query, percent-encoded.
    pub target: &'a str,
    /// Headers besides those of the handshake: credentials, impersonation, `User-Agent`.
    pub headers: &'a [(String, SecretValue)],
    /// The subprotocols to offer, the best first.
    pub subprotocols: &'a [&'a str],
}

/// How an upgrade ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutcome {
    /// The connection now speaks the new protocol. What is left in the input belongs to it.
    Upgraded {
        /// The subprotocol the server chose; `None` only where none was offered.
        subprotocol: Option<String>,
    },
    /// An answer other than 101.
    Refused(Refusal),
    /// A 101 that does not belong to our request: without the `Upgrade` or `Connection` we asked
    /// for, with a wrong `Sec-WebSocket-Accept`, or with an extension (RFC 6455 §4.1).
    WrongAccept,
    /// A 101 with a subprotocol that was not offered, or without one (RFC 6455 §4.1). A SPDY server
    /// that names none means `channel.k8s.io`.
    WrongSubprotocol,
}

/// A final answer other than 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The body, cut at `limits::REFUSAL_BODY_BYTES_MAX` or where the connection ended.
    pub body: Bytes,
}

impl ClientUpgrade {
    /// Asks for a WebSocket (RFC 6455 §4.1). `key` must be unpredictable and fresh. The subprotocols
    /// go in one line, because Go's server reads only the first.
    pub fn websocket(
        request: &UpgradeRequest<'_>,
        key: [u8; 16],
        out: &mut Outbox,
    ) -> Result<Self, Misuse> {
        let key = STANDARD.encode(key);
        let mut fields = vec![
            ("Connection", "Upgrade".to_owned()),
            ("Sec-WebSocket-Key", key.clone()),
            ("Sec-WebSocket-Version", "13".to_owned()),
            ("Upgrade", "websocket".to_owned()),
        ];
        if !request.subprotocols.is_empty() {
            fields.push(("Sec-WebSocket-Protocol", request.subprotocols.join(", ")));
        }
        let transport = Transport::WebSocket {
            accept: accept_key(&key),
        };
        Self::start(request, "GET", transport, &fields, out)
    }

    /// Asks for SPDY/3.1, with one line per subprotocol as Kubernetes' client does.
    pub fn spdy(request: &UpgradeRequest<'_>, out: &mut Outbox) -> Result<Self, Misuse> {
        if request.subprotocols.is_empty() {
            return Err(Misuse::Subprotocol);
        }
        let mut fields = vec![
            ("Connection", "Upgrade".to_owned()),
            ("Upgrade", "SPDY/3.1".to_owned()),
        ];
        let versions = request.subprotocols.iter().map(|name| (*name).to_owned());
        fields.extend(versions.map(|version| ("X-Stream-Protocol-Version", version)));
        Self::start(request, "POST", Transport::Spdy, &fields, out)
    }

    /// Takes the answer off `input`; `None` means it needs more, or that the outcome was already
    /// returned. An error sticks.
    pub fn receive(&mut self, input: &mut BytesMut) -> Result<Option<ClientOutcome>, Error> {
        let received = self.advance(input);
        if let Err(error) = received {
            self.state = State::Failed(error);
        }
        received
    }

    /// The peer closed and `input` is all that is left. That ends a body without a length, and one
    /// that stops short has still refused us.
    pub fn eof(&mut self, input: &mut BytesMut) -> Result<Option<ClientOutcome>, Error> {
        if let Some(outcome) = self.receive(input)? {
            return Ok(Some(outcome));
        }
        match core::mem::replace(&mut self.state, State::Done) {
            State::Head { .. } => {
                self.state = State::Failed(Error::Eof);
                Err(Error::Eof)
            }
            State::Body { status, body } => Ok(Some(refused(status, body))),
            State::Done => Ok(None),
            State::Failed(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
        }
    }

    fn start(
        request: &UpgradeRequest<'_>,
        method: &str,
        transport: Transport,
        handshake: &[(&str, String)],
        out: &mut Outbox,
    ) -> Result<Self, Misuse> {
        check(request)?;
        let mut fields: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        fields.extend(
            handshake
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        // Go's order: these first, the rest sorted; repeated names keep their order.
        fields.sort_by_key(|(name, _)| (!is_user_agent(name), name.to_ascii_lowercase()));
        let agents = fields.partition_point(|(name, _)| is_user_agent(name));
        let mut text = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\n",
            request.target, request.host
        );
        for (index, (name, value)) in fields.iter().enumerate() {
            if index == agents && method == "POST" {
                text.push_str("Content-Length: 0\r\n");
            }
            for part in [name, ": ", value, "\r\n"] {
                text.push_str(part);
            }
        }
        text.push_str("\r\n");
        out.push(Bytes::from(text));
        Ok(Self {
            transport,
            offered: request
                .subprotocols
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            state: State::Head {
                scan: HeadScan::default(),
                interim: 0,
            },
        })
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<Option<ClientOutcome>, Error> {
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(*error),
                State::Done => return Ok(None),
                State::Head { scan, interim } => {
                    let start = input.get(..input.len().min(STATUS_LINE_START.len()));
                    if !STATUS_LINE_START.starts_with(start.unwrap_or_default()) {
                        return Err(Error::Malformed);
                    }
                    let Some(head) = scan.take_head(input)? else {
                        return Ok(None);
                    };
                    let response = head::parse_response(&head)?;
                    match response.status {
                        101 => {
                            self.state = State::Done;
                            return Ok(Some(self.judge(&response)));
                        }
                        // RFC 9110 §15.2: interim answers precede the final one.
                        100..=199 => {
                            *interim = interim.saturating_add(1);
                            if *interim > INTERIM_ANSWERS_MAX {
                                return Err(Error::TooManyInterim);
                            }
                        }
                        status => {
                            let length = head::body_length(&response.headers)?;
                            self.state = State::Body {
                                status,
                                body: Body::new(status, length, REFUSAL_BODY_BYTES_MAX),
                            };
                        }
                    }
                }
                State::Body { body, .. } => {
                    if !body.receive(input)? {
                        return Ok(None);
                    }
                    let State::Body { status, body } =
                        core::mem::replace(&mut self.state, State::Done)
                    else {
                        return Ok(None);
                    };
                    return Ok(Some(refused(status, body)));
                }
            }
        }
    }

    /// RFC 6455 §4.1: what a 101 must say before we believe it.
    fn judge(&self, response: &ResponseParts) -> ClientOutcome {
        let headers = &response.headers;
        let is_upgraded = |protocol| {
            response.is_current
                && head::has_member(headers, "connection", "upgrade")
                && head::has_member(headers, "upgrade", protocol)
        };
        let chosen = match &self.transport {
            Transport::WebSocket { accept } => {
                let has_extension = head::members(headers, "sec-websocket-extensions")
                    .next()
                    .is_some();
                let accepted = only(head::values(headers, "sec-websocket-accept"));
                if !is_upgraded("websocket") || has_extension || accepted != Some(accept) {
                    return ClientOutcome::WrongAccept;
                }
                // Go's server sends the field empty where there is no subprotocol.
                let mut names =
                    head::values(headers, "sec-websocket-protocol").filter(|name| !name.is_empty());
                match (names.next(), names.next()) {
                    (None, _) if self.offered.is_empty() => {
                        return ClientOutcome::Upgraded { subprotocol: None };
                    }
                    (Some(name), None) => name,
                    _ => return ClientOutcome::WrongSubprotocol,
                }
            }
            Transport::Spdy => {
                if !is_upgraded("spdy/3.1") {
                    return ClientOutcome::WrongAccept;
                }
                let name = head::values(headers, "x-stream-protocol-version").next();
                name.filter(|name| !name.is_empty())
                    .unwrap_or(SPDY_SUBPROTOCOL_UNSAID)
            }
        };
        if self.offered.iter().any(|name| name == chosen) {
            ClientOutcome::Upgraded {
                subprotocol: Some(chosen.to_owned()),
            }
        } else {
            ClientOutcome::WrongSubprotocol
        }
    }
}

/// What we asked to upgrade to, with what only a server that read our request can know.
#[derive(Debug)]
enum Transport {
    WebSocket { accept: String },
    Spdy,
}

#[derive(Debug)]
enum State {
    Head { scan: HeadScan, interim: usize },
    Body { status: u16, body: Body },
    Done,
    Failed(Error),
}

/// How every answer begins; anything else is refused at its first byte.
const STATUS_LINE_START: &[u8] = b"HTTP/";

/// What a SPDY server speaks that names no subprotocol.
const SPDY_SUBPROTOCOL_UNSAID: &str = "channel.k8s.io";

/// Headers that the handshake writes itself, or that would change how the request is framed.
const HANDSHAKE_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
    "x-stream-protocol-version",
];

fn refused(status: u16, body: Body) -> ClientOutcome {
    ClientOutcome::Refused(Refusal {
        status,
        body: body.into_bytes(),
    })
}

fn is_user_agent(name: &str) -> bool {
    name.eq_ignore_ascii_case("user-agent")
}

fn only<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = values.next();
    if values.next().is_some() { None } else { first }
}

fn check(request: &UpgradeRequest<'_>) -> Result<(), Misuse> {
    check_head(request.host, request.target, request.headers)?;
    for (index, name) in request.subprotocols.iter().enumerate() {
        let is_repeated = request
            .subprotocols
            .iter()
            .take(index)
            .any(|earlier| earlier == name);
        if is_repeated || !head::is_token(name) {
            return Err(Misuse::Subprotocol);
        }
    }
    Ok(())
}

/// Whether nothing in a request's head could be read as something else.
pub(super) fn check_head(
    host: &str,
    target: &str,
    headers: &[(String, SecretValue)],
) -> Result<(), Misuse> {
    let is_visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_visible(host) || host.contains(['/', '?', '#', '@', ',']) {
        return Err(Misuse::Host);
    }
    if !is_visible(target) || !target.starts_with('/') || target.contains('#') {
        return Err(Misuse::Target);
    }
    for (name, _) in headers {
        if !head::is_token(name) {
            return Err(Misuse::HeaderName);
        }
        if HANDSHAKE_HEADERS
            .iter()
            .any(|taken| taken.eq_ignore_ascii_case(name))
        {
            return Err(Misuse::HeaderOfHandshake);
        }
    }
    Ok(())
}
