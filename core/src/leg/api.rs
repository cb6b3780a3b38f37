//! The apiserver's leg: an upgrade request, then channels over WebSocket or streams over SPDY.
//!
//! Both framings speak the same five streams, so the session above never asks which one runs.

use bytes::BytesMut;

use crate::channel::{self, Channels, Stream, Subprotocol, status};
use crate::http::{self, ClientOutcome, ClientUpgrade, Refusal, UpgradeRequest};
use crate::limits::{API_MESSAGE_BYTES_MAX, STATUS_BYTES_MAX};
use crate::outbox::Outbox;
use crate::spdy::{self, Spdy};
use crate::ws::WebSocket;

/// What came from the apiserver.
#[derive(Debug)]
pub enum ApiEvent {
    /// Bytes that carry nothing for the user, such as a pong.
    Alive,
    /// Nothing more will come: Close, GOAWAY, or all streams ended.
    Ended,
    /// All streams are there: stdin and resize may be sent.
    Opened,
    /// Bytes of stdout or stderr.
    Output(BytesMut),
    /// The upgrade was refused.
    Refused(Refused),
    /// What the process or the runtime said at the end.
    Status(status::Outcome),
    /// The 101 was right.
    Upgraded,
}

/// How an upgrade was refused.
#[derive(Debug)]
pub enum Refused {
    /// With an HTTP answer.
    Answer(Refusal),
    /// A 101 without the right `Upgrade`, `Connection` or `Sec-WebSocket-Accept`.
    WrongAccept,
    /// A 101 with a subprotocol that was not offered, or none.
    WrongSubprotocol,
}

/// How the apiserver broke a protocol. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// In channels over WebSocket.
    #[error(transparent)]
    Channel(#[from] channel::Error),
    /// In the HTTP answer to the upgrade.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// In SPDY.
    #[error(transparent)]
    Spdy(#[from] spdy::Error),
    /// In the Status on the error channel.
    #[error(transparent)]
    Status(#[from] status::Error),
    /// A Status longer than `limits::STATUS_BYTES_MAX`.
    #[error("the status is too long")]
    StatusTooLong,
}

/// The client half of `pods/exec`.
#[derive(Debug)]
pub struct ApiLeg {
    stage: Stage,
    outbox: Outbox,
    tty: bool,
    status: BytesMut,
    status_seen: bool,
    /// Errors stick: a broken peer is never parsed again.
    broken: Option<Error>,
}

#[derive(Debug)]
enum Stage {
    Upgrading { upgrade: ClientUpgrade, then: Then },
    WebSocket(Channels),
    Spdy(Streams),
    Ended,
}

#[derive(Debug)]
enum Then {
    WebSocket {
        mask_seed: [u8; 32],
        subprotocol: Subprotocol,
    },
    Spdy,
}

/// The streams of one exec over SPDY, by their part.
#[derive(Debug)]
struct Streams {
    spdy: Spdy,
    error: Part,
    stdin: Part,
    stdout: Part,
    /// stderr without a terminal, resize with one.
    last: Part,
    opened: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    id: u32,
    replied: bool,
    ended: bool,
}

impl ApiLeg {
    /// Queues a WebSocket upgrade request. `key` and `mask_seed` are the session's randomness.
    pub fn websocket(
        request: &UpgradeRequest<'_>,
        subprotocol: Subprotocol,
        tty: bool,
        key: [u8; 16],
        mask_seed: [u8; 32],
    ) -> Result<Self, http::Misuse> {
        let mut outbox = Outbox::new();
        let upgrade = ClientUpgrade::websocket(request, key, &mut outbox)?;
        Ok(Self::new(
            upgrade,
            Then::WebSocket {
                mask_seed,
                subprotocol,
            },
            tty,
            outbox,
        ))
    }

    /// Queues a SPDY upgrade request.
    pub fn spdy(request: &UpgradeRequest<'_>, tty: bool) -> Result<Self, http::Misuse> {
        let mut outbox = Outbox::new();
        let upgrade = ClientUpgrade::spdy(request, &mut outbox)?;
        Ok(Self::new(upgrade, Then::Spdy, tty, outbox))
    }

    fn new(upgrade: ClientUpgrade, then: Then, tty: bool, outbox: Outbox) -> Self {
        Self {
            stage: Stage::Upgrading { upgrade, then },
            outbox,
            tty,
            status: BytesMut::new(),
            status_seen: false,
            broken: None,
        }
    }

    /// Takes at most one event off the front of `input`; output in runs of at most `room` bytes.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        room: usize,
    ) -> Result<Option<ApiEvent>, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let result = match &mut self.stage {
            Stage::Ended => {
                input.clear(); // nothing after the end means anything
                Ok(None)
            }
            Stage::Upgrading { upgrade, .. } => match upgrade.receive(input) {
                Ok(None) => Ok(None),
                Ok(Some(outcome)) => Ok(Some(self.on_outcome(outcome))),
                Err(error) => Err(error.into()),
            },
            Stage::WebSocket(_) => self.receive_channels(input, room),
            Stage::Spdy(_) => self.receive_streams(input, room),
        };
        if let Err(error) = &result {
            self.broken = Some(*error);
        }
        result
    }

    /// The apiserver closed its direction. May yield one last refusal or status; call again
    /// until it yields `None` or [`ApiEvent::Ended`].
    pub fn eof(&mut self, input: &mut BytesMut) -> Result<Option<ApiEvent>, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        match &mut self.stage {
            Stage::Ended => Ok(None),
            Stage::Upgrading { upgrade, .. } => {
                // Half a head says as much as none: the caller knows the handshake is not over.
                let outcome = match upgrade.eof(input) {
                    Err(http::Error::Eof) => None,
                    outcome => outcome?,
                };
                Ok(outcome.map(|outcome| self.on_outcome(outcome)))
            }
            Stage::WebSocket(_) => {
                self.stage = Stage::Ended;
                Ok(Some(ApiEvent::Ended))
            }
            // A status may have come whole without the RST that ends its stream.
            Stage::Spdy(_) => Ok(Some(self.cut_status())),
        }
    }

    /// A refusal whose head is there and whose body is not; the leg is of no use afterwards.
    pub fn cut_refusal(&mut self) -> Option<Refused> {
        if !self.is_upgrading() {
            return None;
        }
        match self.eof(&mut BytesMut::new()) {
            Ok(Some(ApiEvent::Refused(refused))) => Some(refused),
            _ => None,
        }
    }

    /// Sends terminal bytes.
    pub fn send_stdin(&mut self, payload: BytesMut) {
        match &mut self.stage {
            Stage::WebSocket(channels) => {
                let sent = channels.send(Stream::Stdin, payload, &mut self.outbox);
                debug_assert!(sent.is_ok(), "stdin after its end");
            }
            Stage::Spdy(streams) if streams.may_send(streams.stdin) => {
                let id = streams.stdin.id;
                let sent = streams.spdy.send(id, payload, false, &mut self.outbox);
                debug_assert!(sent.is_ok(), "stdin after its end");
            }
            // The process closed its stdin: Go drops such bytes too.
            Stage::Spdy(_) | Stage::Ended | Stage::Upgrading { .. } => {}
        }
    }

    /// Ends stdin. False where the subprotocol has no way to say so (v4 over WebSocket).
    pub fn end_stdin(&mut self) -> bool {
        match &mut self.stage {
            Stage::WebSocket(channels) => channels
                .close_stream(Stream::Stdin, &mut self.outbox)
                .is_ok(),
            Stage::Spdy(streams) => {
                if streams.may_send(streams.stdin) {
                    let id = streams.stdin.id;
                    let sent = streams
                        .spdy
                        .send(id, BytesMut::new(), true, &mut self.outbox);
                    debug_assert!(sent.is_ok(), "stdin ended twice");
                }
                true
            }
            Stage::Ended | Stage::Upgrading { .. } => true,
        }
    }

    /// Sends the terminal's size; without a terminal it would wedge a v5 server, so it is not sent.
    pub fn resize(&mut self, cols: u16, rows: u16) {
        if !self.tty {
            return;
        }
        match &mut self.stage {
            Stage::WebSocket(channels) => {
                let sent = channels.resize(cols.max(1), rows.max(1), &mut self.outbox);
                debug_assert!(sent.is_ok(), "resize after the end");
            }
            Stage::Spdy(streams) if streams.may_send(streams.last) => {
                let payload =
                    BytesMut::from(channel::resize::encode(cols.max(1), rows.max(1)).as_ref());
                let id = streams.last.id;
                let sent = streams.spdy.send(id, payload, false, &mut self.outbox);
                debug_assert!(sent.is_ok(), "resize after the end");
            }
            Stage::Spdy(_) | Stage::Ended | Stage::Upgrading { .. } => {}
        }
    }

    /// Sends a keepalive ping.
    pub fn ping(&mut self) {
        match &mut self.stage {
            Stage::WebSocket(channels) => {
                let _ = channels.ping(&mut self.outbox).is_ok();
            }
            Stage::Spdy(streams) => {
                let _ = streams.spdy.ping(&mut self.outbox).is_ok();
            }
            Stage::Ended | Stage::Upgrading { .. } => {}
        }
    }

    /// Whether the handshake is still under way.
    pub fn is_upgrading(&self) -> bool {
        matches!(self.stage, Stage::Upgrading { .. })
    }

    /// What waits for the socket.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// What waits for the socket, to report what it took.
    pub fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn on_outcome(&mut self, outcome: ClientOutcome) -> ApiEvent {
        let stage = core::mem::replace(&mut self.stage, Stage::Ended);
        let Stage::Upgrading { then, .. } = stage else {
            return ApiEvent::Ended;
        };
        match outcome {
            ClientOutcome::Refused(refusal) => ApiEvent::Refused(Refused::Answer(refusal)),
            ClientOutcome::WrongAccept => ApiEvent::Refused(Refused::WrongAccept),
            ClientOutcome::WrongSubprotocol => ApiEvent::Refused(Refused::WrongSubprotocol),
            ClientOutcome::Upgraded { .. } => {
                self.stage = match then {
                    Then::WebSocket {
                        mask_seed,
                        subprotocol,
                    } => {
                        let ws = WebSocket::client(mask_seed, API_MESSAGE_BYTES_MAX);
                        Stage::WebSocket(Channels::client(ws, subprotocol))
                    }
                    Then::Spdy => Stage::Spdy(Streams::open(self.tty, &mut self.outbox)),
                };
                ApiEvent::Upgraded
            }
        }
    }

    fn receive_channels(
        &mut self,
        input: &mut BytesMut,
        room: usize,
    ) -> Result<Option<ApiEvent>, Error> {
        let Stage::WebSocket(channels) = &mut self.stage else {
            return Ok(None);
        };
        let Some(event) = channels.receive(input, room, &mut self.outbox)? else {
            return Ok(None);
        };
        Ok(Some(match event {
            channel::Event::Data {
                stream: Stream::Stdout | Stream::Stderr,
                payload,
                ..
            } => ApiEvent::Output(payload),
            channel::Event::Data {
                stream: Stream::Error,
                payload,
                last,
            } => {
                self.take_status(&payload)?;
                if last {
                    self.finish_status()?
                } else {
                    ApiEvent::Alive
                }
            }
            channel::Event::Data {
                stream: Stream::Stdin | Stream::Resize,
                ..
            }
            | channel::Event::StreamClosed { .. }
            | channel::Event::Ping
            | channel::Event::Pong => ApiEvent::Alive,
            channel::Event::Close { .. } => {
                self.stage = Stage::Ended;
                ApiEvent::Ended
            }
        }))
    }

    fn receive_streams(
        &mut self,
        input: &mut BytesMut,
        room: usize,
    ) -> Result<Option<ApiEvent>, Error> {
        let Stage::Spdy(streams) = &mut self.stage else {
            return Ok(None);
        };
        if streams.output_ended(self.tty) && streams.error.ended {
            self.stage = Stage::Ended;
            return Ok(Some(ApiEvent::Ended));
        }
        let Some(event) = streams.spdy.receive(input, room, &mut self.outbox)? else {
            return Ok(None);
        };
        Ok(Some(match event {
            spdy::Event::Replied { id, fin } => {
                streams.on_reply(id);
                if fin && streams.end(id) {
                    return self.finish_status().map(Some);
                }
                if streams.all_replied() && !streams.opened {
                    streams.opened = true;
                    ApiEvent::Opened
                } else {
                    ApiEvent::Alive
                }
            }
            spdy::Event::Data { id, payload, fin } => {
                let is_error = id == streams.error.id && !streams.error.ended;
                let is_output = streams.is_output(id, self.tty);
                let error_ended = fin && streams.end(id);
                if is_error {
                    self.take_status(&payload)?;
                    if error_ended {
                        self.finish_status()?
                    } else {
                        ApiEvent::Alive
                    }
                } else if is_output && !payload.is_empty() {
                    ApiEvent::Output(payload)
                } else {
                    ApiEvent::Alive
                }
            }
            spdy::Event::Reset { id, .. } => {
                if streams.end(id) {
                    self.finish_status()?
                } else {
                    ApiEvent::Alive
                }
            }
            spdy::Event::Goaway => {
                // Nothing after GOAWAY means anything, but a status may have come before it.
                streams.end_all();
                self.cut_status()
            }
            spdy::Event::Opened { .. } | spdy::Event::Ping | spdy::Event::PingReply { .. } => {
                ApiEvent::Alive
            }
        }))
    }

    fn take_status(&mut self, payload: &[u8]) -> Result<(), Error> {
        if self.status.len().saturating_add(payload.len()) > STATUS_BYTES_MAX {
            return Err(Error::StatusTooLong);
        }
        self.status.extend_from_slice(payload);
        Ok(())
    }

    /// The error stream ended. An empty one says nothing: the outcome stays unknown.
    fn finish_status(&mut self) -> Result<ApiEvent, Error> {
        let status = core::mem::take(&mut self.status);
        if status.is_empty() || self.status_seen {
            return Ok(ApiEvent::Alive);
        }
        self.status_seen = true;
        Ok(ApiEvent::Status(status::parse(&status)?))
    }

    /// The connection ended, maybe inside the status: half a status is none.
    fn cut_status(&mut self) -> ApiEvent {
        if let Ok(event @ ApiEvent::Status(_)) = self.finish_status() {
            return event;
        }
        self.stage = Stage::Ended;
        ApiEvent::Ended
    }
}

impl Streams {
    /// Opens all streams at once, in client-go's order. Replies may come in any order.
    fn open(tty: bool, out: &mut Outbox) -> Self {
        let mut spdy = Spdy::client();
        let mut open = |stream: Stream| {
            let id = spdy.open(stream.as_str(), out);
            debug_assert!(id.is_ok(), "a fresh connection refused a stream");
            Part {
                id: id.unwrap_or_default(),
                ..Part::default()
            }
        };
        let error = open(Stream::Error);
        let stdin = open(Stream::Stdin);
        let stdout = open(Stream::Stdout);
        let last = open(if tty { Stream::Resize } else { Stream::Stderr });
        Self {
            spdy,
            error,
            stdin,
            stdout,
            last,
            opened: false,
        }
    }

    fn parts(&self) -> [&Part; 4] {
        [&self.error, &self.stdin, &self.stdout, &self.last]
    }

    fn parts_mut(&mut self) -> [&mut Part; 4] {
        [
            &mut self.error,
            &mut self.stdin,
            &mut self.stdout,
            &mut self.last,
        ]
    }

    /// Whether our half of a stream is open. A FIN of the peer ends its own half only (SPDY/3.1
    /// §2.3.6), a reset ends both.
    fn may_send(&self, part: Part) -> bool {
        !self.spdy.is_ended_here(part.id)
    }

    fn on_reply(&mut self, id: u32) {
        for part in self.parts_mut() {
            part.replied |= part.id == id;
        }
    }

    fn all_replied(&self) -> bool {
        self.parts().iter().all(|part| part.replied)
    }

    fn is_output(&self, id: u32, tty: bool) -> bool {
        (id == self.stdout.id && !self.stdout.ended)
            || (!tty && id == self.last.id && !self.last.ended)
    }

    /// Marks a stream as ended by the peer. True when that ended the error stream just now.
    fn end(&mut self, id: u32) -> bool {
        let was_open = !self.error.ended;
        for part in self.parts_mut() {
            part.ended |= part.id == id;
        }
        was_open && self.error.ended
    }

    fn end_all(&mut self) {
        for part in self.parts_mut() {
            part.ended = true;
        }
    }

    fn output_ended(&self, tty: bool) -> bool {
        self.stdout.ended && (tty || self.last.ended)
    }
}
