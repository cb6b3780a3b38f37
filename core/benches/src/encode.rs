//! Sending from the server's side, each message written to the wire at once.
//!
//! Each codec gets its payload the way it wants it: ours a buffer of its own, as it comes from the
//! other leg's socket, split off a larger one; the others bytes that are shared or borrowed, with
//! the channel number already in front. Making ours is not measured.

use core::hint::black_box;
use std::io::{IoSlice, Write as _};

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, Payload};
use futures_util::SinkExt as _;
use periscope_core::limits::WRITE_CHUNKS_MAX;
use periscope_core::outbox::Outbox;
use periscope_core::ws::{Kind, WebSocket};
use tokio_websockets::{ServerBuilder, WebSocketStream};
use tungstenite::protocol::Role;

use crate::wire::Wire;
use crate::{Subject, ready};

/// What nobody reads here.
fn wire() -> Wire {
    Wire::new(1, true)
}

/// Ours, with the vectored write that the driver makes.
#[derive(Debug)]
pub struct Ours {
    wire: Wire,
    websocket: WebSocket,
    out: Outbox,
    len: usize,
    /// What payloads are split off, as a socket's runs are split off its read buffer.
    buffer: BytesMut,
    payloads: Vec<BytesMut>,
}

impl Ours {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            wire: wire(),
            websocket: WebSocket::server(u64::MAX),
            out: Outbox::new(),
            len: len - 1,
            buffer: BytesMut::new(),
            payloads: Vec::new(),
        }
    }
}

impl Subject for Ours {
    fn prepare(&mut self, messages: u64) {
        let count = usize::try_from(messages).expect("a few hundred");
        // All payloads are gone by now, so that this is the same allocation every time.
        self.buffer.resize(count * self.len, 2);
        for _ in 0..count {
            self.payloads.push(self.buffer.split_to(self.len));
        }
    }

    fn message(&mut self) -> usize {
        let payload = self.payloads.pop().expect("prepared");
        self.websocket
            .send(Kind::Binary, &[1], payload, &mut self.out)
            .expect("an open connection");
        let mut slices = [IoSlice::new(&[]); WRITE_CHUNKS_MAX];
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(self.out.chunks()) {
            *slot = IoSlice::new(chunk);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        let written = self.wire.write_vectored(slices).expect("it takes all");
        self.out.advance(written);
        black_box(written)
    }
}

/// The peer of that name.
#[derive(Debug)]
pub struct Tungstenite(tungstenite::WebSocket<Wire>, Bytes);

impl Tungstenite {
    pub(crate) fn new(len: usize) -> Self {
        let websocket = tungstenite::WebSocket::from_raw_socket(wire(), Role::Server, None);
        Self(websocket, Bytes::from(vec![1; len]))
    }
}

impl Subject for Tungstenite {
    fn message(&mut self) -> usize {
        let message = tungstenite::Message::Binary(self.1.clone());
        self.0.send(message).expect("it takes all");
        self.1.len()
    }
}

/// The peer of that name.
#[expect(missing_debug_implementations, reason = "its WebSocket has none")]
pub struct Fastwebsockets(fastwebsockets::WebSocket<Wire>, Bytes);

impl Fastwebsockets {
    pub(crate) fn new(len: usize) -> Self {
        let role = fastwebsockets::Role::Server;
        let websocket = fastwebsockets::WebSocket::after_handshake(wire(), role);
        Self(websocket, Bytes::from(vec![1; len]))
    }
}

impl Subject for Fastwebsockets {
    fn message(&mut self) -> usize {
        let frame = Frame::binary(Payload::Borrowed(&self.1));
        ready(self.0.write_frame(frame)).expect("it takes all");
        self.1.len()
    }
}

/// The peer of that name.
#[derive(Debug)]
pub struct TokioWebsockets(WebSocketStream<Wire>, Bytes);

impl TokioWebsockets {
    pub(crate) fn new(len: usize) -> Self {
        let websocket = ServerBuilder::new().serve(wire());
        Self(websocket, Bytes::from(vec![1; len]))
    }
}

impl Subject for TokioWebsockets {
    fn message(&mut self) -> usize {
        let message = tokio_websockets::Message::binary(self.1.clone());
        ready(self.0.send(message)).expect("it takes all");
        self.1.len()
    }
}
