//! Channels over one WebSocket, in both roles.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};

use super::{Error, Event, Misuse, Stream, Subprotocol, resize};
use crate::limits::BASE64_MESSAGE_BYTES_MAX;
use crate::outbox::Outbox;
use crate::ws::{self, Kind, WebSocket};

/// The channel number of v5's close signal.
const CLOSE_SIGNAL: u8 = 255;

/// The channel protocol after its handshake.
#[derive(Debug)]
pub struct Channels {
    ws: WebSocket,
    subprotocol: Subprotocol,
    is_client: bool,
    message: Message,
    /// A base64 message that is not complete.
    assembly: BytesMut,
    stdin_closed: bool,
}

/// What is known about the message whose runs come in.
#[derive(Clone, Copy, Debug)]
enum Message {
    /// Its first byte has not come.
    Unknown,
    /// A close signal; with the channel, once it came.
    Close(Option<u8>),
    /// One that means nothing here.
    Ignored,
    /// Payload of a stream.
    Of(Stream),
}

impl Channels {
    /// The client half, on a WebSocket in the client role.
    pub fn client(ws: WebSocket, subprotocol: Subprotocol) -> Self {
        Self::new(ws, subprotocol, true)
    }

    /// The server half, on a WebSocket in the server role.
    pub fn server(ws: WebSocket, subprotocol: Subprotocol) -> Self {
        Self::new(ws, subprotocol, false)
    }

    fn new(ws: WebSocket, subprotocol: Subprotocol, is_client: bool) -> Self {
        Self {
            ws,
            subprotocol,
            is_client,
            message: Message::Unknown,
            assembly: BytesMut::new(),
            stdin_closed: false,
        }
    }

    /// Takes at most one event off the front of `input`; payload in runs of at most `payload_max`
    /// bytes, except that a base64 message is one run.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        // The channel number takes a byte of its run.
        let payload_max = payload_max.max(2);
        loop {
            let Some(event) = self.ws.receive(input, payload_max, out)? else {
                return Ok(None);
            };
            let event = match event {
                ws::Event::Ping => Some(Event::Ping),
                ws::Event::Pong { .. } => Some(Event::Pong),
                ws::Event::Close { code, .. } => Some(Event::Close { code }),
                ws::Event::Data {
                    kind,
                    payload,
                    first,
                    last,
                } => {
                    if first {
                        self.message = Message::Unknown;
                        self.assembly.clear();
                    }
                    if self.subprotocol.is_base64() {
                        self.on_base64(&payload, last)?
                    } else if self.is_client && kind == Kind::Text {
                        return Err(Error::Text);
                    } else {
                        self.on_run(payload, last)?
                    }
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Sends payload of a stream as one message of one frame (Go does not join fragments).
    pub fn send(
        &mut self,
        stream: Stream,
        payload: BytesMut,
        out: &mut Outbox,
    ) -> Result<(), Misuse> {
        if stream == Stream::Stdin && self.stdin_closed {
            return Err(Misuse::Closed);
        }
        if self.subprotocol.is_base64() {
            let mut text = String::with_capacity(payload.len().saturating_mul(4) / 3 + 8);
            text.push(char::from(b'0'.saturating_add(stream.channel())));
            STANDARD.encode_string(&payload, &mut text);
            self.ws
                .send(Kind::Text, &[], BytesMut::from(text.as_str()), out)?;
        } else {
            self.ws
                .send(Kind::Binary, &[stream.channel()], payload, out)?;
        }
        Ok(())
    }

    /// Sends v5's close signal for a stream. Once; a second is not sent.
    pub fn close_stream(&mut self, stream: Stream, out: &mut Outbox) -> Result<(), Misuse> {
        if !self.subprotocol.can_close() {
            return Err(Misuse::Unsupported);
        }
        if stream == Stream::Stdin && self.stdin_closed {
            return Ok(());
        }
        let signal = BytesMut::from([CLOSE_SIGNAL, stream.channel()].as_slice());
        self.ws.send(Kind::Binary, &[], signal, out)?;
        self.stdin_closed |= stream == Stream::Stdin;
        Ok(())
    }

    /// Sends a size of the terminal.
    pub fn resize(&mut self, cols: u16, rows: u16, out: &mut Outbox) -> Result<(), Misuse> {
        let payload = BytesMut::from(resize::encode(cols, rows).as_ref());
        self.send(Stream::Resize, payload, out)
    }

    /// Sends a ping ahead of everything that is not begun. Returns the mark in the outbox.
    pub fn ping(&mut self, out: &mut Outbox) -> Result<u64, Misuse> {
        Ok(self.ws.ping(&[], out)?)
    }

    /// Queues our Close; a second is not sent.
    pub fn close(&mut self, code: u16, out: &mut Outbox) -> Result<(), Misuse> {
        if self.ws.is_close_sent() {
            return Ok(());
        }
        Ok(self.ws.close(code, "", out)?)
    }

    /// The subprotocol spoken.
    pub fn subprotocol(&self) -> Subprotocol {
        self.subprotocol
    }

    /// A run of a binary message.
    fn on_run(&mut self, mut payload: BytesMut, last: bool) -> Result<Option<Event>, Error> {
        if matches!(self.message, Message::Unknown) {
            let Some(channel) = payload.first().copied() else {
                return Ok(None);
            };
            payload.advance(1);
            self.message = match Stream::from_channel(channel) {
                Some(stream) => Message::Of(stream),
                None if channel == CLOSE_SIGNAL && self.hears_close() => Message::Close(None),
                None => Message::Ignored,
            };
            // A channel number alone, such as the server's ready marker, says nothing.
            if payload.is_empty() && !matches!(self.message, Message::Close(_)) {
                return Ok(None);
            }
        }
        match self.message {
            Message::Of(stream) => Ok(Some(Event::Data {
                stream,
                payload,
                last,
            })),
            Message::Close(named) => self.on_close_signal(named, &payload, last),
            Message::Ignored | Message::Unknown => Ok(None),
        }
    }

    fn hears_close(&self) -> bool {
        !self.is_client && self.subprotocol.can_close()
    }

    fn on_close_signal(
        &mut self,
        named: Option<u8>,
        payload: &[u8],
        last: bool,
    ) -> Result<Option<Event>, Error> {
        let channel = match (named, payload) {
            (None, [channel]) => Some(*channel),
            (named, []) => named,
            _ => return Err(Error::CloseSignal),
        };
        if !last {
            self.message = Message::Close(channel);
            return Ok(None);
        }
        let stream = channel
            .and_then(Stream::from_channel)
            .ok_or(Error::CloseSignal)?;
        Ok(Some(Event::StreamClosed { stream }))
    }

    /// A run of a base64 message: a digit, then base64. Only whole messages can be decoded.
    fn on_base64(&mut self, payload: &[u8], last: bool) -> Result<Option<Event>, Error> {
        if self.assembly.len().saturating_add(payload.len()) > BASE64_MESSAGE_BYTES_MAX {
            return Err(Error::Base64TooLong);
        }
        self.assembly.extend_from_slice(payload);
        if !last {
            return Ok(None);
        }
        let message = core::mem::take(&mut self.assembly);
        let Some((digit, text)) = message.split_first() else {
            return Ok(None);
        };
        let stream = digit.checked_sub(b'0').and_then(Stream::from_channel);
        let decoded = STANDARD.decode(text).map_err(|_| Error::Base64)?;
        Ok(match stream {
            Some(stream) if !decoded.is_empty() => Some(Event::Data {
                stream,
                payload: BytesMut::from(decoded.as_slice()),
                last,
            }),
            Some(_) | None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(subprotocol: Subprotocol) -> (Channels, Channels) {
        let client = Channels::client(WebSocket::client([3; 32], 1 << 25), subprotocol);
        let server = Channels::server(WebSocket::server(1 << 25), subprotocol);
        (client, server)
    }

    fn wire(out: &Outbox) -> BytesMut {
        out.chunks().flatten().copied().collect()
    }

    /// Events of the three feeds, with runs of a message joined so that they can be compared.
    fn three_feeds(make: impl Fn() -> Channels, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        let whole = feed(make(), bytes, bytes.len().max(1));
        let single = feed(make(), bytes, 1);
        assert_eq!(whole, single);
        let mut trailing = bytes.to_vec();
        trailing.extend_from_slice(&[0x89, 0x80]); // half a ping
        let with_trailing = feed(make(), &trailing, trailing.len());
        assert_eq!(whole, with_trailing);
        whole
    }

    fn feed(mut channels: Channels, bytes: &[u8], step: usize) -> Result<Vec<Event>, Error> {
        let mut out = Outbox::new();
        let mut input = BytesMut::new();
        let mut events: Vec<Event> = Vec::new();
        let mut open = false;
        for piece in bytes.chunks(step) {
            input.extend_from_slice(piece);
            while let Some(event) = channels.receive(&mut input, 16, &mut out)? {
                let ends = !matches!(event, Event::Data { last: false, .. });
                match (events.last_mut(), event) {
                    (
                        Some(Event::Data { payload, last, .. }),
                        Event::Data {
                            payload: more,
                            last: end,
                            ..
                        },
                    ) if open => {
                        payload.extend_from_slice(&more);
                        *last = end;
                    }
                    (_, event) => events.push(event),
                }
                open = !ends;
            }
        }
        Ok(events)
    }

    fn data(stream: Stream, payload: &[u8]) -> Event {
        Event::Data {
            stream,
            payload: BytesMut::from(payload),
            last: true,
        }
    }

    #[test]
    fn captured_v5_server_frames_decode() {
        let frames = [
            &b"\x82\x01\x01"[..],
            b"\x82\x06\x01hello",
            b"\x82\x23\x03{\"metadata\":{},\"status\":\"Success\"}",
            b"\x88\x02\x03\xe8",
        ]
        .concat();
        let events = three_feeds(|| pair(Subprotocol::V5).0, &frames).unwrap();
        assert_eq!(
            events,
            [
                data(Stream::Stdout, b"hello"),
                data(Stream::Error, br#"{"metadata":{},"status":"Success"}"#),
                Event::Close { code: 1000 },
            ]
        );
    }

    #[test]
    fn a_client_says_stdin_resize_and_the_end_of_stdin_once() {
        let (mut client, _) = pair(Subprotocol::V5);
        let mut out = Outbox::new();
        client
            .send(Stream::Stdin, BytesMut::from(&b"abc"[..]), &mut out)
            .unwrap();
        client.resize(80, 24, &mut out).unwrap();
        client.close_stream(Stream::Stdin, &mut out).unwrap();
        client.close_stream(Stream::Stdin, &mut out).unwrap();
        let late = client.send(Stream::Stdin, BytesMut::from(&b"x"[..]), &mut out);
        assert_eq!(late, Err(Misuse::Closed));
        let events = three_feeds(|| pair(Subprotocol::V5).1, &wire(&out)).unwrap();
        assert_eq!(
            events,
            [
                data(Stream::Stdin, b"abc"),
                data(Stream::Resize, b"{\"Width\":80,\"Height\":24}\n"),
                Event::StreamClosed {
                    stream: Stream::Stdin
                },
            ]
        );
    }

    #[test]
    fn older_subprotocols_cannot_close_a_stream() {
        for subprotocol in [Subprotocol::V1, Subprotocol::V1Base64, Subprotocol::V4] {
            let (mut client, _) = pair(subprotocol);
            let closed = client.close_stream(Stream::Stdin, &mut Outbox::new());
            assert_eq!(closed, Err(Misuse::Unsupported));
        }
    }

    #[test]
    fn base64_messages_match_the_captured_ones_and_round_trip() {
        let (mut client, mut server) = pair(Subprotocol::V4Base64);
        let mut out = Outbox::new();
        server
            .send(Stream::Stdout, BytesMut::new(), &mut out)
            .unwrap();
        server
            .send(Stream::Stdout, BytesMut::from(&b"hi\n"[..]), &mut out)
            .unwrap();
        assert_eq!(&wire(&out)[..], b"\x81\x011\x81\x051aGkK");
        let mut out = Outbox::new();
        client
            .send(Stream::Stdin, BytesMut::from(&b"\x00\xff"[..]), &mut out)
            .unwrap();
        let events = three_feeds(|| pair(Subprotocol::V4Base64).1, &wire(&out)).unwrap();
        assert_eq!(events, [data(Stream::Stdin, b"\x00\xff")]);
    }

    /// A frame as a client would mask it with zeros.
    fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![
            0x80 | kind,
            0x80 | u8::try_from(payload.len()).unwrap(),
            0,
            0,
            0,
            0,
        ];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let v5 = || pair(Subprotocol::V5).1;
        for signal in [&b"\xff"[..], b"\xff\x05", b"\xff\x00\x00"] {
            assert_eq!(
                three_feeds(v5, &masked(2, signal)),
                Err(Error::CloseSignal),
                "{signal:?}"
            );
        }
        let base64 = || pair(Subprotocol::V1Base64).1;
        assert_eq!(three_feeds(base64, &masked(1, b"0!!")), Err(Error::Base64));
        let client = || pair(Subprotocol::V5).0;
        assert_eq!(three_feeds(client, b"\x81\x02\x01x"), Err(Error::Text));
    }

    #[test]
    fn unknown_channels_and_empty_messages_mean_nothing() {
        let frames = [
            masked(2, b"\x09later"),
            masked(2, b""),
            masked(2, b"\x00"),
            masked(1, b"\x00text is taken as well"),
        ]
        .concat();
        let events = three_feeds(|| pair(Subprotocol::V4).1, &frames).unwrap();
        assert_eq!(events, [data(Stream::Stdin, b"text is taken as well")]);
    }
}
