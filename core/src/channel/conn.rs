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
    /// Whether a run of the message was passed on, so that its end must be, too.
    is_begun: bool,
    /// A base64 message that is not complete.
    assembly: BytesMut,
    stdin_closed: bool,
    failed: Option<Error>,
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
            is_begun: false,
            assembly: BytesMut::new(),
            stdin_closed: false,
            failed: None,
        }
    }

    /// Takes at most one event off the front of `input`; payload in runs of at most `payload_max`
    /// bytes (with 0 none at all), except that a base64 message is one run. Call it after writes,
    /// too: a pong may be held back until the one before it was written.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let received = self.receive_unless_failed(input, payload_max, out);
        if let Err(error) = received {
            self.failed = Some(error);
        }
        received
    }

    fn receive_unless_failed(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        loop {
            let run_max = self.run_bytes_max(payload_max);
            let Some(event) = self.ws.receive(input, run_max, out)? else {
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
                    debug_assert!(!first || matches!(self.message, Message::Unknown));
                    let event = if self.subprotocol.is_base64() {
                        self.on_base64(&payload, last)?
                    } else if self.is_client && kind == Kind::Text {
                        return Err(Error::Text);
                    } else {
                        self.on_run(payload, last)?
                    };
                    if last {
                        self.message = Message::Unknown;
                        self.is_begun = false;
                    }
                    event
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

    /// How much of a run to take for `payload_max` bytes of payload. What is not passed on needs
    /// no room, so it cannot keep back what comes after it.
    fn run_bytes_max(&self, payload_max: usize) -> usize {
        match self.message {
            _ if self.subprotocol.is_base64() => BASE64_MESSAGE_BYTES_MAX,
            // The channel number takes a byte of its message's first run.
            Message::Unknown => payload_max.saturating_add(1),
            Message::Of(_) => payload_max,
            Message::Close(_) | Message::Ignored => usize::MAX,
        }
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
        }
        match self.message {
            // A channel number alone, such as the server's ready marker, says nothing; an empty
            // run says something only where it ends a message that had payload before.
            Message::Of(_) if payload.is_empty() && !(last && self.is_begun) => Ok(None),
            Message::Of(stream) => {
                self.is_begun = true;
                Ok(Some(Event::Data {
                    stream,
                    payload,
                    last,
                }))
            }
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
mod tests;
