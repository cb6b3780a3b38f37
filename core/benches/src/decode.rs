//! Receiving.

use core::hint::black_box;

use bytes::BytesMut;
use fastwebsockets::Role as FastRole;
use futures_util::StreamExt as _;
use periscope_core::limits::READ_BYTES_MAX;
use periscope_core::outbox::Outbox;
use periscope_core::ws::{Event, WebSocket};
use tokio_websockets::{ClientBuilder, ServerBuilder, WebSocketStream};
use tungstenite::protocol::Role;

use crate::wire::Wire;
use crate::{Subject, ready};

/// Ours, which reads as the driver does once a socket is busy: up to `READ_BYTES_MAX` unread bytes.
#[derive(Debug)]
pub struct Ours {
    wire: Wire,
    websocket: WebSocket,
    input: BytesMut,
    out: Outbox,
}

impl Ours {
    pub(crate) fn new(len: usize, is_masked: bool) -> Self {
        Self {
            wire: Wire::new(len, is_masked),
            websocket: if is_masked {
                WebSocket::server(u64::MAX)
            } else {
                WebSocket::client([7; 32], u64::MAX)
            },
            input: BytesMut::new(),
            out: Outbox::new(),
        }
    }
}

impl Subject for Ours {
    fn message(&mut self) -> usize {
        let mut message = 0;
        loop {
            let event = self
                .websocket
                .receive(&mut self.input, READ_BYTES_MAX, &mut self.out);
            match event.expect("good frames") {
                Some(Event::Data { payload, last, .. }) => {
                    message += black_box(&payload).len();
                    if last {
                        return message;
                    }
                }
                Some(_) => {}
                None => {
                    let room = READ_BYTES_MAX - self.input.len();
                    self.input.extend_from_slice(self.wire.take(room));
                }
            }
        }
    }
}

/// The peer of that name.
#[derive(Debug)]
pub struct Tungstenite(tungstenite::WebSocket<Wire>);

impl Tungstenite {
    pub(crate) fn new(len: usize, is_masked: bool) -> Self {
        let role = if is_masked {
            Role::Server
        } else {
            Role::Client
        };
        let wire = Wire::new(len, is_masked);
        Self(tungstenite::WebSocket::from_raw_socket(wire, role, None))
    }
}

impl Subject for Tungstenite {
    fn message(&mut self) -> usize {
        black_box(self.0.read().expect("good frames")).len()
    }
}

/// The peer of that name.
#[expect(missing_debug_implementations, reason = "its WebSocket has none")]
pub struct Fastwebsockets(fastwebsockets::WebSocket<Wire>);

impl Fastwebsockets {
    pub(crate) fn new(len: usize, is_masked: bool) -> Self {
        let role = if is_masked {
            FastRole::Server
        } else {
            FastRole::Client
        };
        let wire = Wire::new(len, is_masked);
        Self(fastwebsockets::WebSocket::after_handshake(wire, role))
    }
}

impl Subject for Fastwebsockets {
    fn message(&mut self) -> usize {
        let frame = ready(self.0.read_frame()).expect("good frames");
        black_box(frame).payload.len()
    }
}

/// The peer of that name.
#[derive(Debug)]
pub struct TokioWebsockets(WebSocketStream<Wire>);

impl TokioWebsockets {
    pub(crate) fn new(len: usize, is_masked: bool) -> Self {
        let wire = Wire::new(len, is_masked);
        Self(if is_masked {
            ServerBuilder::new().serve(wire)
        } else {
            ClientBuilder::new().take_over(wire)
        })
    }
}

impl Subject for TokioWebsockets {
    fn message(&mut self) -> usize {
        let message = ready(self.0.next()).expect("no end").expect("good frames");
        black_box(message).as_payload().len()
    }
}
