//! The two peers of a session: both read all that the gateway writes, and fail if they cannot.

use core::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;
use periscope_core::channel::resize;
use periscope_core::channel::{self, Channels, Stream, Subprotocol};
use periscope_core::http::{
    ClientOutcome, ClientUpgrade, RequestHead, ServerUpgrade, UpgradeRequest,
};
use periscope_core::outbox::Outbox;
use periscope_core::spdy::{self, Spdy};
use periscope_core::ws::{Event, Kind, WebSocket};

use super::socket::{End, Pipe};
use crate::feeds;

/// The browser and what it saw.
#[derive(Debug)]
pub(super) struct Browser {
    pub(super) pipe: Rc<RefCell<Pipe>>,
    /// The handshake, while its answer is awaited.
    upgrade: Option<ClientUpgrade>,
    request: Outbox,
    pub(super) websocket: WebSocket,
    pub(super) out: Outbox,
    input: BytesMut,
    answers_pings: bool,
    answers_close: bool,
    text: Vec<u8>,
    pub(super) output: Vec<u8>,
    pub(super) texts: Vec<String>,
    pub(super) close_code: Option<u16>,
    /// The answer to a handshake that was not accepted.
    pub(super) refusal: Option<u16>,
}

impl Browser {
    pub(super) fn new(pipe: Rc<RefCell<Pipe>>, shakes_hands: bool, flags: u8) -> Self {
        let mut request = Outbox::new();
        let upgrade = shakes_hands.then(|| {
            let wanted = UpgradeRequest {
                host: "gateway.example",
                target: "/api/v1/exec?tty=true",
                headers: &[],
                subprotocols: &[],
            };
            ClientUpgrade::websocket(&wanted, [3; 16], &mut request).expect("a good request")
        });
        Self {
            pipe,
            upgrade,
            request,
            websocket: WebSocket::client([5; 32], u64::MAX),
            out: Outbox::new(),
            input: BytesMut::new(),
            answers_pings: flags & 1 << 5 != 0,
            answers_close: flags & 1 << 7 != 0,
            text: Vec::new(),
            output: Vec::new(),
            texts: Vec::new(),
            close_code: None,
            refusal: None,
        }
    }

    /// Sends the handshake.
    pub(super) fn shake_hands(&mut self) {
        send(&mut self.request, &self.pipe);
    }

    /// Sends what its machine queued.
    pub(super) fn send(&mut self) {
        send(&mut self.out, &self.pipe);
    }

    /// Reads all there is. Returns whether there was anything.
    pub(super) fn step(&mut self, has_started: bool) -> bool {
        let written = self.pipe.borrow_mut().written.split();
        let moved = !written.is_empty();
        self.input.extend_from_slice(&written);
        if let Some(upgrade) = &mut self.upgrade {
            match upgrade
                .receive(&mut self.input)
                .expect("HTTP of ours is good")
            {
                None => return moved,
                Some(ClientOutcome::Upgraded { .. }) => self.upgrade = None,
                Some(ClientOutcome::Refused(refusal)) => {
                    self.refusal = Some(refusal.status);
                    return moved;
                }
                Some(other) => panic!("{other:?} to a good request"),
            }
        }
        let mut answers = Outbox::new();
        while let Some(event) = self
            .websocket
            .receive(&mut self.input, usize::MAX, &mut answers)
            .expect("frames of ours are good")
        {
            match event {
                Event::Data {
                    kind: Kind::Binary,
                    payload,
                    ..
                } => {
                    assert!(self.has("hello"), "output before hello");
                    assert!(!self.has("closed"), "output after closed");
                    self.output.extend_from_slice(&payload);
                }
                Event::Data {
                    kind: Kind::Text,
                    payload,
                    last,
                    ..
                } => {
                    self.text.extend_from_slice(&payload);
                    if last {
                        let text = core::mem::take(&mut self.text);
                        let text = String::from_utf8(text).expect("texts are UTF-8");
                        assert!(!self.has("closed"), "{text} after closed");
                        self.texts.push(text);
                        assert!(!self.has("hello") || has_started, "hello before the start");
                    }
                }
                Event::Ping | Event::Pong { .. } => {}
                Event::Close { code } => {
                    assert!(self.has("closed"), "a Close without closed");
                    self.close_code = Some(code);
                    if self.answers_close {
                        // Refused where the browser closed first.
                        let _ = self.websocket.close(code, "", &mut answers).is_ok();
                    }
                }
            }
            let expected = self.answers_pings || self.close_code.is_some();
            if expected {
                send(&mut answers, &self.pipe);
            } else {
                answers.advance(answers.len());
            }
        }
        moved
    }

    /// How many messages of a type came.
    pub(super) fn count(&self, kind: &str) -> usize {
        let start = format!("{{\"type\":\"{kind}\"");
        self.texts
            .iter()
            .filter(|text| text.starts_with(&start))
            .count()
    }

    fn has(&self, kind: &str) -> bool {
        self.count(kind) > 0
    }
}

/// One connection of the apiserver, and what came over it.
#[derive(Debug)]
pub(super) struct Apiserver {
    pub(super) pipe: Rc<RefCell<Pipe>>,
    pub(super) stage: Stage,
    pub(super) out: Outbox,
    input: BytesMut,
    answers_pings: bool,
    sizes: resize::Decoder,
    pub(super) stdin: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Stage {
    Head(ServerUpgrade),
    Asked(ServerUpgrade, Box<RequestHead>),
    Channels(Channels),
    Spdy {
        spdy: Spdy,
        streams: Vec<(Stream, u32)>,
        unreplied: Vec<u32>,
        replies: bool,
    },
    /// It answered no.
    Refused,
}

impl Apiserver {
    pub(super) fn new(pipe: Rc<RefCell<Pipe>>, flags: u8) -> Self {
        Self {
            pipe,
            stage: Stage::Head(ServerUpgrade::new()),
            out: Outbox::new(),
            input: BytesMut::new(),
            answers_pings: flags & 1 << 5 != 0,
            sizes: resize::Decoder::default(),
            stdin: Vec::new(),
        }
    }

    /// Sends what its machine queued.
    pub(super) fn send(&mut self) {
        send(&mut self.out, &self.pipe);
    }

    /// The stream of a type, where SPDY is spoken.
    pub(super) fn id_of(&self, stream: Stream) -> Option<u32> {
        let Stage::Spdy { streams, .. } = &self.stage else {
            return None;
        };
        let found = streams.iter().find(|(known, _)| *known == stream);
        found.map(|(_, id)| *id)
    }

    /// Reads all there is. Returns whether there was anything.
    pub(super) fn step(&mut self, has_started: bool) -> bool {
        let written = self.pipe.borrow_mut().written.split();
        let moved = !written.is_empty();
        self.input.extend_from_slice(&written);
        if let Stage::Head(upgrade) = &mut self.stage
            && let Some(head) = upgrade
                .receive(&mut self.input)
                .expect("HTTP of ours is good")
        {
            assert!(head.is_websocket() || head.is_spdy(), "an upgrade");
            let upgrade = core::mem::take(upgrade);
            self.stage = Stage::Asked(upgrade, Box::new(head));
        }
        let before = self.stdin.len();
        let mut answers = Outbox::new();
        match &mut self.stage {
            Stage::Channels(channels) => {
                while let Some(event) = channels
                    .receive(&mut self.input, usize::MAX, &mut answers)
                    .expect("channels of ours are good")
                {
                    if let channel::Event::Data {
                        stream, payload, ..
                    } = event
                    {
                        take(stream, &payload, &mut self.stdin, &mut self.sizes);
                    }
                }
            }
            Stage::Spdy {
                spdy,
                streams,
                unreplied,
                replies,
            } => {
                while let Some(event) = spdy
                    .receive(&mut self.input, usize::MAX, &mut answers)
                    .expect("SPDY of ours is good")
                {
                    match event {
                        spdy::Event::Opened {
                            id, stream_type, ..
                        } => {
                            let stream = Stream::parse(&stream_type).expect("a known stream");
                            streams.push((stream, id));
                            if *replies {
                                spdy.reply(id, &mut self.out).expect("a new stream");
                            } else {
                                unreplied.push(id);
                            }
                        }
                        spdy::Event::Data { id, payload, .. } => {
                            let (stream, _) = streams
                                .iter()
                                .find(|(_, known)| *known == id)
                                .expect("a known stream");
                            take(*stream, &payload, &mut self.stdin, &mut self.sizes);
                        }
                        spdy::Event::Replied { .. }
                        | spdy::Event::Reset { .. }
                        | spdy::Event::Goaway
                        | spdy::Event::Ping
                        | spdy::Event::PingReply { .. } => {}
                    }
                }
                send(&mut self.out, &self.pipe);
            }
            Stage::Head(_) | Stage::Asked(..) | Stage::Refused => {}
        }
        assert!(
            self.stdin.len() == before || has_started,
            "stdin before the start"
        );
        if self.answers_pings {
            send(&mut answers, &self.pipe);
        }
        moved
    }

    /// The subprotocol to speak where the request was for a WebSocket.
    pub(super) fn subprotocol(head: &RequestHead) -> Subprotocol {
        let offered = head.subprotocols();
        let offered = offered.first().expect("we offer one");
        Subprotocol::parse(offered).expect("a known one")
    }
}

fn take(stream: Stream, payload: &[u8], stdin: &mut Vec<u8>, sizes: &mut resize::Decoder) {
    match stream {
        Stream::Stdin => stdin.extend_from_slice(payload),
        Stream::Resize => {
            sizes.receive(payload).expect("sizes of ours are good");
        }
        Stream::Stdout | Stream::Stderr | Stream::Error => {
            assert!(
                payload.is_empty(),
                "bytes on {stream:?} towards the apiserver"
            );
        }
    }
}

/// Puts what waits on the wire, unless the peer has left.
fn send(out: &mut Outbox, pipe: &RefCell<Pipe>) {
    let mut bytes = Vec::new();
    feeds::drain(out, &mut bytes);
    send_raw(&bytes, pipe);
}

pub(super) fn send_raw(bytes: &[u8], pipe: &RefCell<Pipe>) {
    let pipe = &mut *pipe.borrow_mut();
    if pipe.end.is_none() {
        pipe.sent.extend_from_slice(bytes);
    }
}

pub(super) fn leave(pipe: &RefCell<Pipe>, is_reset: bool) {
    let pipe = &mut *pipe.borrow_mut();
    if is_reset {
        pipe.sent.clear();
        pipe.end = Some(End::Reset);
    } else if pipe.end.is_none() {
        pipe.end = Some(End::Fin);
    }
}
