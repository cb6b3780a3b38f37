//! Both halves of one exec with two wires between them, whose bytes arrive in any cut.

use bytes::BytesMut;
use periscope_core::channel::status::Outcome;
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::http::{ServerUpgrade, UpgradeRequest};
use periscope_core::leg::api::{ApiEvent, ApiLeg, Error};
use periscope_core::leg::exec_server::{Ending, Event, ExecServer, Streams};
use periscope_core::outbox::Outbox;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    V4,
    V5,
    Spdy,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::V4, Self::V5, Self::Spdy];

    pub(crate) fn can_end_stdin(self) -> bool {
        self != Self::V4
    }

    fn subprotocol(self) -> Subprotocol {
        match self {
            Self::V5 => Subprotocol::V5,
            Self::V4 | Self::Spdy => Subprotocol::V4,
        }
    }
}

/// What our client told; runs of output are joined.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Ended,
    Opened,
    Output(Vec<u8>),
    Status(Outcome),
    Upgraded,
}

/// What our server told; pieces of stdin are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Closed,
    Ready,
    Resize(u16, u16),
    Stdin(Vec<u8>),
    StdinEof,
}

pub(crate) fn leg(transport: Transport, tty: bool) -> ApiLeg {
    let request = UpgradeRequest {
        host: "a",
        target: "/exec",
        headers: &[],
        subprotocols: &[transport.subprotocol().as_str()],
    };
    if transport == Transport::Spdy {
        ApiLeg::spdy(&request, tty).unwrap()
    } else {
        ApiLeg::websocket(&request, transport.subprotocol(), tty, [1; 16], [2; 32]).unwrap()
    }
}

/// Takes everything that waits.
pub(crate) fn drain(out: &mut Outbox) -> Vec<u8> {
    let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    out.advance(bytes.len());
    bytes
}

#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) api: ApiLeg,
    pub(crate) server: ExecServer,
    pub(crate) server_out: Outbox,
    api_input: BytesMut,
    server_input: BytesMut,
    /// Sizes of the reads to come, used over and over.
    cuts: Vec<usize>,
    next_cut: usize,
    pub(crate) seen: Vec<Seen>,
    pub(crate) heard: Vec<Heard>,
}

impl Pair {
    /// A pair whose streams are open.
    pub(crate) fn open(transport: Transport, tty: bool, cuts: &[usize]) -> Self {
        let mut api = leg(transport, tty);
        let mut request = BytesMut::from(drain(api.outbox_mut()).as_slice());
        let mut server_out = Outbox::new();
        let mut upgrade = ServerUpgrade::new();
        upgrade.receive(&mut request).unwrap().unwrap();
        let streams = Streams {
            stdin: true,
            stdout: true,
            stderr: !tty,
            tty,
        };
        let subprotocol = transport.subprotocol();
        let mut server = if transport == Transport::Spdy {
            upgrade
                .accept_spdy(subprotocol.as_str(), &mut server_out)
                .unwrap();
            ExecServer::spdy(streams, vec!["sh".into()])
        } else {
            upgrade
                .accept_websocket(Some(subprotocol.as_str()), &mut server_out)
                .unwrap();
            ExecServer::websocket(subprotocol, streams, vec!["sh".into()])
        };
        server.start(&mut server_out);
        let mut pair = Self {
            api,
            server,
            server_out,
            api_input: BytesMut::new(),
            server_input: request,
            cuts: cuts.to_vec(),
            next_cut: 0,
            seen: Vec::new(),
            heard: Vec::new(),
        };
        pair.settle();
        let mut opening = vec![Seen::Upgraded];
        if transport == Transport::Spdy {
            opening.push(Seen::Opened);
        }
        assert_eq!(pair.seen, opening);
        assert_eq!(pair.heard, [Heard::Ready]);
        pair.seen.clear();
        pair.heard.clear();
        pair
    }

    /// Carries bytes both ways until none is left.
    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    /// One read on either side. False when there was nothing to read.
    pub(crate) fn step(&mut self) -> bool {
        let up = self.cut();
        carry(self.api.outbox_mut(), &mut self.server_input, up);
        self.hear(up);
        let down = self.cut();
        carry(&mut self.server_out, &mut self.api_input, down);
        self.see(down).unwrap();
        !self.api.outbox().is_empty() || !self.server_out.is_empty()
    }

    fn cut(&mut self) -> usize {
        self.next_cut += 1;
        self.cuts[self.next_cut % self.cuts.len()]
    }

    fn hear(&mut self, room: usize) {
        let out = &mut self.server_out;
        while let Some(event) = self
            .server
            .receive(&mut self.server_input, room, out)
            .unwrap()
        {
            match (self.heard.last_mut(), event) {
                (_, Event::Alive) => {}
                (Some(Heard::Stdin(bytes)), Event::Stdin(more)) => bytes.extend_from_slice(&more),
                (_, Event::Closed) => self.heard.push(Heard::Closed),
                (_, Event::Ready) => self.heard.push(Heard::Ready),
                (_, Event::Resize { cols, rows }) => self.heard.push(Heard::Resize(cols, rows)),
                (_, Event::Stdin(bytes)) => self.heard.push(Heard::Stdin(bytes.to_vec())),
                (_, Event::StdinEof) => self.heard.push(Heard::StdinEof),
            }
        }
    }

    fn see(&mut self, room: usize) -> Result<(), Error> {
        while let Some(event) = self.api.receive(&mut self.api_input, room)? {
            note(&mut self.seen, event, room);
        }
        Ok(())
    }

    /// The server's end of the connection is gone.
    pub(crate) fn eof(&mut self) {
        while let Some(event) = self.api.eof(&mut self.api_input).unwrap() {
            note(&mut self.seen, event, usize::MAX);
            if self.seen.last() == Some(&Seen::Ended) {
                break;
            }
        }
    }

    pub(crate) fn stdin(&mut self, bytes: &[u8]) {
        self.api.send_stdin(BytesMut::from(bytes));
    }

    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.server
            .output(stream, BytesMut::from(bytes), &mut self.server_out);
    }

    pub(crate) fn finish(&mut self, ending: &Ending) {
        self.server.finish(ending, &mut self.server_out);
    }
}

fn carry(from: &mut Outbox, to: &mut BytesMut, most: usize) {
    let mut left = most.min(from.len());
    let carried = left;
    for chunk in from.chunks() {
        let taken = left.min(chunk.len());
        to.extend_from_slice(&chunk[..taken]);
        left -= taken;
    }
    from.advance(carried);
}

fn note(seen: &mut Vec<Seen>, event: ApiEvent, room: usize) {
    match (seen.last_mut(), event) {
        (_, ApiEvent::Alive) => {}
        (_, ApiEvent::Ended) => seen.push(Seen::Ended),
        (_, ApiEvent::Opened) => seen.push(Seen::Opened),
        (last, ApiEvent::Output(payload)) => {
            // A channel number takes a byte of its run, so the least room is two.
            assert!(!payload.is_empty() && payload.len() <= room.max(2));
            if let Some(Seen::Output(bytes)) = last {
                bytes.extend_from_slice(&payload);
            } else {
                seen.push(Seen::Output(payload.to_vec()));
            }
        }
        (_, ApiEvent::Refused(refused)) => panic!("{refused:?}"),
        (_, ApiEvent::Status(outcome)) => seen.push(Seen::Status(outcome)),
        (_, ApiEvent::Upgraded) => seen.push(Seen::Upgraded),
    }
}

/// Feeds bytes to a lone leg, cut into reads of `step`.
pub(crate) fn feed(api: &mut ApiLeg, bytes: &[u8], step: usize) -> Result<Vec<Seen>, Error> {
    let mut seen = Vec::new();
    let mut input = BytesMut::new();
    for piece in bytes.chunks(step.max(1)) {
        input.extend_from_slice(piece);
        while let Some(event) = api.receive(&mut input, 1 << 16)? {
            note(&mut seen, event, 1 << 16);
        }
    }
    Ok(seen)
}

/// The same, then the end of the connection.
pub(crate) fn feed_to_eof(api: &mut ApiLeg, bytes: &[u8], step: usize) -> Vec<Seen> {
    let mut seen = feed(api, bytes, step).unwrap();
    while let Some(event) = api.eof(&mut BytesMut::new()).unwrap() {
        note(&mut seen, event, usize::MAX);
        if seen.last() == Some(&Seen::Ended) {
            break;
        }
    }
    seen
}
