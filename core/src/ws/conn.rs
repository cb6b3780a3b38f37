//! The connection: messages in, messages out (RFC 6455 §5–§7).

use core::fmt;

use bytes::{Buf, Bytes, BytesMut};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::header::{CONTROL_PAYLOAD_BYTES_MAX, Header, Opcode};
use super::utf8::Utf8Check;
use super::{Error, Event, Kind, Misuse, close, mask};
use crate::limits::{WS_COPY_BYTES_MAX, WS_PREFIX_BYTES_MAX};
use crate::outbox::Outbox;

/// One side of a WebSocket connection whose opening handshake is done.
///
/// ```text
///  Header ──data frame──▶ Payload ──its last byte──▶ Header
///    │ control frame: taken whole, between any two data frames
///    └─ Close ▶ everything after it is discarded
/// ```
#[derive(Debug)]
pub struct WebSocket {
    role: Role,
    message_bytes_max: u64,
    /// The message being received; it may span frames.
    message: Option<Message>,
    /// The data frame being received; `None` while a header is awaited.
    frame: Option<Frame>,
    pong: PongSlot,
    is_close_sent: bool,
    is_close_received: bool,
    failed: Option<Error>,
}

impl WebSocket {
    /// The client's side. Frames are masked with keys from a generator seeded with `mask_seed`,
    /// which must be unpredictable to the peer's scripts (RFC 6455 §5.3, §10.3). A received message
    /// may have at most `message_bytes_max` bytes.
    pub fn client(mask_seed: [u8; 32], message_bytes_max: u64) -> Self {
        Self::new(
            Role::Client(Box::new(ChaCha12Rng::from_seed(mask_seed))),
            message_bytes_max,
        )
    }

    /// The server's side. A received message may have at most `message_bytes_max` bytes.
    pub fn server(message_bytes_max: u64) -> Self {
        Self::new(Role::Server, message_bytes_max)
    }

    /// Takes at most one event off the front of `input`; `None` means it needs more.
    ///
    /// A data run has at most `payload_max` bytes; with 0 only control frames and empty messages
    /// pass. A ping is answered into `out`: at most one unwritten pong is ever queued, and while it
    /// waits the newest later ping is remembered and answered by a call after it was written
    /// (RFC 6455 §5.5.3 allows to answer only the latest). Call it after writes too, therefore,
    /// even with nothing new in `input`.
    ///
    /// An error sticks and queues nothing: close with its [`Error::close_code`]. After a received
    /// Close all input is discarded.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.pong.held.is_some() {
            self.send_held_pong(out);
        }
        let received = self.receive_unless_failed(input, payload_max, out);
        if let Err(error) = received {
            self.failed = Some(error);
        }
        received
    }

    /// Queues `prefix ++ payload` as one message of one frame. A large payload is masked where it
    /// lies and never copied.
    pub fn send(
        &mut self,
        kind: Kind,
        prefix: &[u8],
        mut payload: BytesMut,
        out: &mut Outbox,
    ) -> Result<(), Misuse> {
        if prefix.len() > WS_PREFIX_BYTES_MAX {
            return Err(Misuse::PrefixTooLong);
        }
        self.check_open()?;
        let len = prefix.len().saturating_add(payload.len());
        let is_copied = payload.len() <= WS_COPY_BYTES_MAX;
        let room = if is_copied { len } else { prefix.len() };
        let (mut head, mask) = self.begin_frame(Opcode::Data(kind), len, room);
        mask_append(&mut head, mask, 0, prefix);
        if is_copied {
            mask_append(&mut head, mask, prefix.len() as u64, &payload);
            out.push(head.freeze());
        } else {
            if let Some(key) = mask {
                mask::apply(key, prefix.len() as u64, &mut payload);
            }
            out.push_pair(head.freeze(), payload.freeze());
        }
        Ok(())
    }

    /// Queues a small message ahead of everything that is not begun.
    pub fn send_urgent(
        &mut self,
        kind: Kind,
        payload: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Misuse> {
        self.check_open()?;
        let frame = self.whole_frame(Opcode::Data(kind), payload);
        out.push_urgent(frame);
        Ok(())
    }

    /// Queues a ping ahead of everything that is not begun (RFC 6455 §5.5.2). Returns what
    /// [`Outbox::written`] reads once its last byte was taken.
    pub fn ping(&mut self, payload: &[u8], out: &mut Outbox) -> Result<u64, Misuse> {
        if payload.len() > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(Misuse::ControlTooLong);
        }
        self.check_open()?;
        let frame = self.whole_frame(Opcode::Ping, payload);
        Ok(out.push_urgent(frame))
    }

    /// Queues our Close behind everything else (RFC 6455 §5.5.1). Nothing can be sent after it.
    /// Code 1005 stands for a Close without a body, which is how one received that way is echoed;
    /// `reason` does not travel then.
    pub fn close(&mut self, code: u16, reason: &str, out: &mut Outbox) -> Result<(), Misuse> {
        self.check_open()?;
        let mut body = Vec::with_capacity(CONTROL_PAYLOAD_BYTES_MAX);
        if code != close::NO_CODE {
            if !close::is_valid(code) {
                return Err(Misuse::CloseCode(code));
            }
            body.extend_from_slice(&code.to_be_bytes());
            body.extend_from_slice(reason.as_bytes());
        }
        if body.len() > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(Misuse::ControlTooLong);
        }
        let frame = self.whole_frame(Opcode::Close, &body);
        out.push(frame);
        self.is_close_sent = true;
        Ok(())
    }

    /// Whether our Close was queued.
    pub fn is_close_sent(&self) -> bool {
        self.is_close_sent
    }

    /// Whether the peer's Close has come.
    pub fn is_close_received(&self) -> bool {
        self.is_close_received
    }

    fn new(role: Role, message_bytes_max: u64) -> Self {
        Self {
            role,
            message_bytes_max,
            message: None,
            frame: None,
            pong: PongSlot::default(),
            is_close_sent: false,
            is_close_received: false,
            failed: None,
        }
    }

    fn receive_unless_failed(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        loop {
            if self.is_close_received {
                input.clear();
                return Ok(None);
            }
            if let Some(frame) = self.frame {
                return self.receive_run(frame, input, payload_max);
            }
            let Some((header, used)) = Header::decode(input, self.role.peer_masks())? else {
                return Ok(None);
            };
            if header.opcode.is_control() {
                return self.receive_control(&header, used, input, out);
            }
            if let Some(event) = self.receive_whole(&header, used, input, payload_max)? {
                return Ok(Some(event));
            }
            self.begin_data_frame(&header)?;
            input.advance(used);
            // An empty frame has no runs. It is an event only if its message ends here.
            if header.len == 0 && header.is_final {
                return self.pass_on(BytesMut::new(), true);
            }
        }
    }

    /// Takes a message of one frame that is all there: the keystroke and the prompt, which need
    /// none of the state that a message in parts does.
    fn receive_whole(
        &self,
        header: &Header,
        used: usize,
        input: &mut BytesMut,
        payload_max: usize,
    ) -> Result<Option<Event>, Error> {
        let Opcode::Data(kind) = header.opcode else {
            return Ok(None);
        };
        let there = input.len().saturating_sub(used).min(payload_max) as u64;
        let is_whole = header.is_final && self.message.is_none() && header.len <= there;
        if !is_whole || header.len > self.message_bytes_max {
            return Ok(None);
        }
        // What is there fits a usize.
        let Ok(len) = usize::try_from(header.len) else {
            return Ok(None);
        };
        input.advance(used);
        let mut payload = input.split_to(len);
        if let Some(key) = header.mask {
            mask::apply(key, 0, &mut payload);
        }
        if kind == Kind::Text && str::from_utf8(&payload).is_err() {
            return Err(Error::NotUtf8);
        }
        Ok(Some(Event::Data {
            kind,
            payload,
            first: true,
            last: true,
        }))
    }

    /// RFC 6455 §5.4: a message is one data frame, then continuations up to the final one.
    fn begin_data_frame(&mut self, header: &Header) -> Result<(), Error> {
        let message = match (header.opcode, self.message) {
            (Opcode::Continuation, Some(message)) => message,
            (Opcode::Continuation, None) => return Err(Error::NothingToContinue),
            (Opcode::Data(_), Some(_)) => return Err(Error::MessageUnfinished),
            (Opcode::Data(kind), None) => Message::new(kind),
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                debug_assert!(false, "control frames are handled before");
                return Ok(());
            }
        };
        // Refused on the promise already: waiting for the bytes would only waste them.
        let len = message.len.saturating_add(header.len);
        if len > self.message_bytes_max {
            return Err(Error::MessageTooLarge);
        }
        self.message = Some(Message { len, ..message });
        self.frame = (header.len > 0).then_some(Frame {
            is_final: header.is_final,
            mask: header.mask,
            taken: 0,
            remaining: header.len,
        });
        Ok(())
    }

    fn receive_run(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        payload_max: usize,
    ) -> Result<Option<Event>, Error> {
        let remaining = usize::try_from(frame.remaining).unwrap_or(usize::MAX);
        let len = remaining.min(input.len()).min(payload_max);
        if len == 0 {
            return Ok(None);
        }
        let mut payload = input.split_to(len);
        if let Some(key) = frame.mask {
            mask::apply(key, frame.taken, &mut payload);
        }
        let remaining = frame.remaining.saturating_sub(len as u64);
        let taken = frame.taken.saturating_add(len as u64);
        self.frame = (remaining > 0).then_some(Frame {
            taken,
            remaining,
            ..frame
        });
        self.pass_on(payload, remaining == 0 && frame.is_final)
    }

    fn pass_on(&mut self, payload: BytesMut, last: bool) -> Result<Option<Event>, Error> {
        let Some(message) = &mut self.message else {
            debug_assert!(false, "payload belongs to a message");
            return Ok(None);
        };
        let kind = message.kind;
        if kind == Kind::Text {
            // RFC 6455 §8.1: failed at the run that brings the offending byte.
            let is_good = message.utf8.feed(&payload) && (!last || message.utf8.is_complete());
            if !is_good {
                return Err(Error::NotUtf8);
            }
        }
        let first = !core::mem::replace(&mut message.is_begun, true);
        if last {
            self.message = None;
        }
        Ok(Some(Event::Data {
            kind,
            payload,
            first,
            last,
        }))
    }

    /// A control frame is at most 125 bytes long and is taken only when it is whole.
    fn receive_control(
        &mut self,
        header: &Header,
        used: usize,
        input: &mut BytesMut,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        if input.len() < used.saturating_add(len) {
            return Ok(None);
        }
        input.advance(used);
        let mut payload = input.split_to(len);
        if let Some(key) = header.mask {
            mask::apply(key, 0, &mut payload);
        }
        let event = match header.opcode {
            Opcode::Ping => {
                self.answer_ping(&payload, out);
                Event::Ping
            }
            Opcode::Pong => Event::Pong {
                payload: Bytes::copy_from_slice(&payload),
            },
            Opcode::Close => {
                let code = close::decode(&payload)?;
                self.is_close_received = true;
                input.clear();
                Event::Close { code }
            }
            Opcode::Continuation | Opcode::Data(_) => {
                debug_assert!(false, "only control frames come here");
                return Ok(None);
            }
        };
        Ok(Some(event))
    }

    fn answer_ping(&mut self, payload: &[u8], out: &mut Outbox) {
        // Copied: the few bytes must not keep the read buffer's allocation alive.
        self.pong.held = Some(Bytes::copy_from_slice(payload));
        self.send_held_pong(out);
    }

    /// Queues the pong that is owed, unless an earlier one still waits for the socket. A peer that
    /// pings without reading would make us hoard pongs otherwise.
    fn send_held_pong(&mut self, out: &mut Outbox) {
        let is_waiting = self.pong.mark.is_some_and(|mark| out.written() < mark) && !out.is_empty();
        if is_waiting || self.is_close_sent {
            return;
        }
        let Some(held) = self.pong.held.take() else {
            return;
        };
        let frame = self.whole_frame(Opcode::Pong, &held);
        self.pong.mark = Some(out.push_urgent(frame));
    }

    fn check_open(&self) -> Result<(), Misuse> {
        if self.is_close_sent {
            Err(Misuse::CloseSent)
        } else {
            Ok(())
        }
    }

    /// Starts a final frame with `len` bytes of payload: its header, in a buffer with room for just
    /// `room` bytes more, and its mask. A buffer that is full when it is shared costs one
    /// allocation, any other costs two.
    fn begin_frame(
        &mut self,
        opcode: Opcode,
        len: usize,
        room: usize,
    ) -> (BytesMut, Option<[u8; 4]>) {
        let mask = self.role.next_mask();
        let header = Header {
            is_final: true,
            opcode,
            mask,
            len: len as u64,
        };
        let mut head = BytesMut::with_capacity(header.encoded_len().saturating_add(room));
        header.encode(&mut head);
        (head, mask)
    }

    fn whole_frame(&mut self, opcode: Opcode, payload: &[u8]) -> Bytes {
        let (mut frame, mask) = self.begin_frame(opcode, payload.len(), payload.len());
        mask_append(&mut frame, mask, 0, payload);
        frame.freeze()
    }
}

/// Appends `payload` to `frame`, masked as from `offset` bytes into the frame's payload.
fn mask_append(frame: &mut BytesMut, mask: Option<[u8; 4]>, offset: u64, payload: &[u8]) {
    let at = frame.len();
    frame.extend_from_slice(payload);
    if let (Some(key), Some(appended)) = (mask, frame.get_mut(at..)) {
        mask::apply(key, offset, appended);
    }
}

/// Which side we are.
enum Role {
    /// Boxed: the generator is larger than all the rest.
    Client(Box<ChaCha12Rng>),
    Server,
}

impl Role {
    /// RFC 6455 §5.3: a fresh key for every frame a client sends.
    fn next_mask(&mut self) -> Option<[u8; 4]> {
        match self {
            Self::Client(generator) => Some(generator.next_u32().to_le_bytes()),
            Self::Server => None,
        }
    }

    fn peer_masks(&self) -> bool {
        matches!(self, Self::Server)
    }
}

impl fmt::Debug for Role {
    /// Without the generator's state: who reads it knows all masks to come.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::Server => "Server",
        })
    }
}

/// A message whose last frame has not ended.
#[derive(Clone, Copy, Debug)]
struct Message {
    kind: Kind,
    /// Payload bytes of its frames so far, counted when their headers come.
    len: u64,
    utf8: Utf8Check,
    /// Whether a run of it was passed on.
    is_begun: bool,
}

impl Message {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            len: 0,
            utf8: Utf8Check::default(),
            is_begun: false,
        }
    }
}

/// A data frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    is_final: bool,
    mask: Option<[u8; 4]>,
    /// Payload bytes passed on.
    taken: u64,
    /// Payload bytes to come; never 0.
    remaining: u64,
}

/// The answer to pings: one on its way, one owed.
#[derive(Debug, Default)]
struct PongSlot {
    /// What the outbox will have written once the last queued pong is out.
    mark: Option<u64>,
    held: Option<Bytes>,
}
