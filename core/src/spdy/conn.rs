//! One SPDY/3.1 connection as a state machine.
//!
//! Frames arrive in slivers (the Go peer writes each field by itself), so nothing here waits for
//! more than the fixed part of a frame: header blocks are inflated and payload is passed on as
//! the bytes come.

use bytes::{Buf, BytesMut};

use super::Error;
use super::event::{Event, Misuse, status};
use super::frame::{self, FLAG_FIN, FrameHeader, HEADER_BYTES, Kind};
use super::headers::{Decoder, Encoder};
use super::replies::Replies;
use super::stream::{Role, Stream, Then, Window};
use crate::limits;
use crate::outbox::Outbox;

/// The header that names a stream's purpose. Kubernetes writes `streamType`; Go sends it in
/// lower case, as SPDY/3.1 §2.6.10 demands.
const STREAM_TYPE: &str = "streamtype";

/// Payloads up to this size are copied behind their frame header, so that a keystroke is one
/// chunk; larger ones ride as a chunk of their own.
const COPY_BYTES_MAX: usize = 1024;

/// A SPDY connection after its upgrade, in the client or the server role.
#[derive(Debug)]
pub struct Spdy {
    role: Role,
    reading: Reading,
    /// Streams opened on this connection, ended ones included: at most
    /// [`limits::SPDY_STREAMS_MAX`], so a search is cheaper than a map.
    streams: Vec<Stream>,
    /// The highest stream id opened by us (client) or by the peer (server).
    last_stream_id: u32,
    /// What the peer lets us send on all streams together.
    window: Window,
    /// The id of our next ping.
    next_ping_id: u32,
    encoder: Encoder,
    /// Only a server half needs to know what a header block says.
    decoder: Option<Decoder>,
    replies: Replies,
    is_goaway_sent: bool,
    is_goaway_received: bool,
    failed: Option<Error>,
}

impl Spdy {
    /// A client: it opens the streams.
    pub fn client() -> Self {
        Self::new(Role::Client, 1, None)
    }

    /// A server: the peer opens the streams.
    pub fn server() -> Self {
        Self::new(Role::Server, 2, Some(Decoder::new()))
    }

    fn new(role: Role, next_ping_id: u32, decoder: Option<Decoder>) -> Self {
        Self {
            role,
            reading: Reading::Header,
            streams: Vec::new(),
            last_stream_id: 0,
            window: Window::INITIAL,
            next_ping_id,
            encoder: Encoder::default(),
            decoder,
            replies: Replies::default(),
            is_goaway_sent: false,
            is_goaway_received: false,
            failed: None,
        }
    }

    /// Takes at most one event off the front of `input`. Frames that mean nothing here (settings,
    /// window updates within bounds, data for a stream that is gone) are consumed on the way.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        loop {
            match self.step(input, payload_max, out) {
                Ok(Step::Event(event)) => return Ok(Some(event)),
                Ok(Step::Again) => {}
                Ok(Step::NeedsInput) => return Ok(None),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(error);
                }
            }
        }
    }

    /// Opens a stream of the given type and returns its id: 1, 3, 5 and so on.
    pub fn open(&mut self, stream_type: &str, out: &mut Outbox) -> Result<u32, Misuse> {
        self.check_may_send()?;
        if self.role != Role::Client {
            return Err(Misuse::WrongRole);
        }
        if self.streams.len() >= limits::SPDY_STREAMS_MAX {
            return Err(Misuse::TooManyStreams);
        }
        if stream_type.is_empty()
            || stream_type.len() > 64
            || !stream_type.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Misuse::StreamType);
        }
        let id = if self.last_stream_id == 0 {
            1
        } else {
            self.last_stream_id.saturating_add(2)
        };
        self.last_stream_id = id;
        self.streams.push(Stream::new(id));
        let block = self.encoder.encode(&[(STREAM_TYPE, stream_type)]);
        out.push(frame::syn_stream(id, &block));
        Ok(id)
    }

    /// Answers a stream the peer opened. Until then its data is dropped, as Go does.
    pub fn reply(&mut self, id: u32, out: &mut Outbox) -> Result<(), Misuse> {
        self.check_may_send()?;
        if self.role != Role::Server {
            return Err(Misuse::WrongRole);
        }
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.id == id)
            .ok_or(Misuse::UnknownStream)?;
        if stream.is_replied {
            return Err(Misuse::RepliedTwice);
        }
        if stream.is_ended_here {
            return Err(Misuse::StreamEnded);
        }
        stream.is_replied = true;
        let block = self.encoder.encode(&[]);
        out.push(frame::syn_reply(id, &block));
        Ok(())
    }

    /// Sends payload on a stream; `fin` ends our half of it. An empty payload without `fin` sends
    /// nothing.
    pub fn send(
        &mut self,
        id: u32,
        payload: BytesMut,
        fin: bool,
        out: &mut Outbox,
    ) -> Result<(), Misuse> {
        self.check_may_send()?;
        if payload.len() > frame::PAYLOAD_BYTES_MAX {
            return Err(Misuse::PayloadTooLong);
        }
        let is_server = self.role == Role::Server;
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.id == id)
            .ok_or(Misuse::UnknownStream)?;
        if stream.is_ended_here {
            return Err(Misuse::StreamEnded);
        }
        if is_server && !stream.is_replied {
            return Err(Misuse::NotReplied);
        }
        if payload.is_empty() && !fin {
            return Ok(());
        }
        stream.is_ended_here = fin;
        stream.window.spend(payload.len());
        self.window.spend(payload.len());
        let copied = if payload.len() <= COPY_BYTES_MAX {
            payload.len()
        } else {
            0
        };
        let mut head = BytesMut::with_capacity(HEADER_BYTES.saturating_add(copied));
        frame::put_data_header(id, fin, payload.len(), &mut head);
        if payload.len() <= COPY_BYTES_MAX {
            head.extend_from_slice(&payload);
            out.push(head.freeze());
        } else {
            out.push_pair(head.freeze(), payload.freeze());
        }
        Ok(())
    }

    /// Ends both halves of a stream.
    pub fn reset(&mut self, id: u32, status: u32, out: &mut Outbox) -> Result<(), Misuse> {
        self.check_may_send()?;
        if status == 0 {
            return Err(Misuse::ResetStatusZero);
        }
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.id == id)
            .ok_or(Misuse::UnknownStream)?;
        if stream.is_ended_here && stream.is_ended_there {
            return Err(Misuse::StreamEnded);
        }
        stream.end_both();
        out.push(frame::rst_stream(id, status));
        Ok(())
    }

    /// Sends a ping ahead of everything that waits. Returns the outbox's mark behind it.
    pub fn ping(&mut self, out: &mut Outbox) -> Result<u64, Misuse> {
        self.check_may_send()?;
        let id = self.next_ping_id;
        // Ids wrap after 2^31 pings; zero is never used.
        self.next_ping_id =
            id.checked_add(2)
                .unwrap_or(if self.role == Role::Client { 1 } else { 2 });
        Ok(out.push_urgent(frame::ping(id)))
    }

    /// Says goodbye: nothing may be sent afterwards. Go peers stop reading at a GOAWAY.
    pub fn goaway(&mut self, out: &mut Outbox) -> Result<(), Misuse> {
        self.check_may_send()?;
        self.is_goaway_sent = true;
        // The last stream *of the peer's* that was handled; a client's peer opens none.
        let last = if self.role == Role::Server {
            self.last_stream_id
        } else {
            0
        };
        out.push(frame::goaway(last));
        Ok(())
    }

    /// Frees the inflater once every expected stream is open. Streams opened later are refused,
    /// because their header blocks can no longer be read.
    pub fn drop_inflater(&mut self) {
        self.decoder = None;
    }

    /// Whether the peer has ended its half of this stream, by FIN or reset.
    pub fn is_ended_by_peer(&self, id: u32) -> bool {
        self.streams
            .iter()
            .any(|stream| stream.id == id && stream.is_ended_there)
    }

    /// Whether we have ended our half of this stream, or a reset has.
    pub fn is_ended_here(&self, id: u32) -> bool {
        self.streams
            .iter()
            .any(|stream| stream.id == id && stream.is_ended_here)
    }

    fn check_may_send(&self) -> Result<(), Misuse> {
        if self.is_goaway_sent {
            Err(Misuse::GoawaySent)
        } else {
            Ok(())
        }
    }

    fn step(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Step, Error> {
        if self.is_goaway_received {
            // Nothing behind a GOAWAY means anything; keeping it would only fill the buffer.
            input.clear();
            return Ok(Step::NeedsInput);
        }
        match self.reading {
            Reading::Header => self.read_frame(input, out),
            Reading::Skip { left } => Ok(self.read_skipped(left, input)),
            Reading::Block { then, left } => self.read_block(then, left, input, out),
            Reading::Data { id, fin, left } => {
                Ok(self.read_data(id, fin, left, input, payload_max))
            }
        }
    }

    /// Reads a frame's header and, of a control frame, its fixed part.
    fn read_frame(&mut self, input: &mut BytesMut, out: &mut Outbox) -> Result<Step, Error> {
        let Some(header) = FrameHeader::decode(input)? else {
            return Ok(Step::NeedsInput);
        };
        match header {
            FrameHeader::Data { id, flags, length } => {
                // Streams are ours to open: a server that speaks on one we never opened is not
                // talking to us. On one that is gone it may not have heard yet.
                let is_ours = !id.is_multiple_of(2) && id <= self.last_stream_id;
                if self.role == Role::Client && !is_ours {
                    return Err(Error::UnknownStream);
                }
                input.advance(HEADER_BYTES);
                self.reading = Reading::Data {
                    id,
                    fin: flags & FLAG_FIN != 0,
                    left: length,
                };
                Ok(Step::Again)
            }
            FrameHeader::Control {
                kind,
                flags,
                length,
            } => {
                let fixed_bytes = kind.fixed_bytes();
                let head_bytes = HEADER_BYTES.saturating_add(fixed_bytes);
                if input.len() < head_bytes {
                    return Ok(Step::NeedsInput);
                }
                let mut fixed = input.split_to(head_bytes);
                fixed.advance(HEADER_BYTES);
                let left = length.saturating_sub(fixed_bytes);
                self.read_control(kind, flags & FLAG_FIN != 0, &fixed, left, out)
            }
        }
    }

    fn read_control(
        &mut self,
        kind: Kind,
        fin: bool,
        fixed: &[u8],
        left: usize,
        out: &mut Outbox,
    ) -> Result<Step, Error> {
        match kind {
            Kind::SynStream => {
                let then = self.on_syn_stream(frame::id_word(fixed, 0), fin)?;
                self.begin_block(then, left);
                Ok(Step::Again)
            }
            Kind::SynReply => {
                let id = frame::id_word(fixed, 0);
                if id == 0 {
                    return Err(Error::StreamIdZero);
                }
                self.begin_block(Then::Ignore, left);
                self.on_syn_reply(id, fin)
            }
            Kind::Headers => {
                self.begin_block(Then::Ignore, left);
                Ok(Step::Again)
            }
            Kind::Settings => {
                self.reading = Reading::Skip { left };
                Ok(Step::Again)
            }
            Kind::WindowUpdate => {
                self.on_window_update(frame::id_word(fixed, 0), frame::id_word(fixed, 1))
            }
            Kind::RstStream => self.on_rst_stream(frame::id_word(fixed, 0), frame::word(fixed, 1)),
            Kind::Ping => self.on_ping(frame::word(fixed, 0), out),
            Kind::Goaway => {
                self.is_goaway_received = true;
                Ok(Step::Event(Event::Goaway))
            }
        }
    }

    /// Decides what becomes of a stream the peer opens. Its header block is read in any case: all
    /// blocks share one compression state.
    fn on_syn_stream(&mut self, id: u32, fin: bool) -> Result<Then, Error> {
        if id == 0 {
            return Err(Error::StreamIdZero);
        }
        if self.role == Role::Client || self.decoder.is_none() {
            return Ok(Then::Refuse {
                id,
                status: status::REFUSED_STREAM,
            });
        }
        // §2.3.2: ids of a client are odd and go up; the same id again is a lower one.
        if id <= self.last_stream_id || id.is_multiple_of(2) {
            return Ok(Then::Refuse {
                id,
                status: status::PROTOCOL_ERROR,
            });
        }
        self.last_stream_id = id;
        if self.streams.len() >= limits::SPDY_STREAMS_MAX {
            return Ok(Then::Refuse {
                id,
                status: status::REFUSED_STREAM,
            });
        }
        Ok(Then::Open { id, fin })
    }

    fn on_syn_reply(&mut self, id: u32, fin: bool) -> Result<Step, Error> {
        let is_client = self.role == Role::Client;
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else {
            return Ok(Step::Again);
        };
        // §2.3.2: one answer to a stream.
        if is_client && stream.is_replied {
            return Err(Error::RepliedTwice);
        }
        if !is_client || stream.is_ended_there {
            return Ok(Step::Again);
        }
        stream.is_replied = true;
        stream.is_ended_there = fin;
        Ok(Step::Event(Event::Replied { id, fin }))
    }

    /// §2.6.8: id 0 is the whole connection. What is granted to streams that are gone is nothing.
    fn on_window_update(&mut self, id: u32, bytes: u32) -> Result<Step, Error> {
        let mut streams = self.streams.iter_mut();
        let window = match streams.find(|stream| stream.id == id) {
            Some(stream) => &mut stream.window,
            None if id == 0 => &mut self.window,
            None => return Ok(Step::Again),
        };
        if window.grant(bytes) {
            Ok(Step::Again)
        } else {
            Err(Error::WindowOverflow)
        }
    }

    fn on_rst_stream(&mut self, id: u32, status: u32) -> Result<Step, Error> {
        if id == 0 {
            return Err(Error::StreamIdZero);
        }
        if status == 0 {
            return Err(Error::ResetStatusZero);
        }
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else {
            return Ok(Step::Again);
        };
        if stream.is_ended_here && stream.is_ended_there {
            return Ok(Step::Again);
        }
        stream.end_both();
        Ok(Step::Event(Event::Reset { id, status }))
    }

    /// A ping with the peer's parity is echoed; one with ours answers a ping of ours (§2.6.5).
    fn on_ping(&mut self, id: u32, out: &mut Outbox) -> Result<Step, Error> {
        if id == 0 {
            return Err(Error::PingIdZero);
        }
        let is_ours = (id % 2 == 1) == (self.role == Role::Client);
        if is_ours {
            return Ok(Step::Event(Event::PingReply { id }));
        }
        if !self.is_goaway_sent && self.replies.may_reply(out) {
            let mark = out.push_urgent(frame::ping(id));
            self.replies.replied(mark);
        }
        Ok(Step::Event(Event::Ping))
    }

    fn begin_block(&mut self, then: Then, left: usize) {
        self.reading = if left == 0 && then == Then::Ignore {
            Reading::Header
        } else {
            Reading::Block { then, left }
        };
    }

    fn read_block(
        &mut self,
        then: Then,
        left: usize,
        input: &mut BytesMut,
        out: &mut Outbox,
    ) -> Result<Step, Error> {
        if left > 0 && input.is_empty() {
            return Ok(Step::NeedsInput);
        }
        let piece = input.split_to(left.min(input.len()));
        let left = left.saturating_sub(piece.len());
        if let Some(decoder) = &mut self.decoder {
            decoder.append(&piece)?;
        }
        if left > 0 {
            self.reading = Reading::Block { then, left };
            return Ok(Step::NeedsInput);
        }
        self.reading = Reading::Header;
        let stream_type = match &mut self.decoder {
            Some(decoder) => decoder.finish(STREAM_TYPE)?,
            None => None,
        };
        match then {
            Then::Ignore => Ok(Step::Again),
            Then::Refuse { id, status } => {
                if !self.is_goaway_sent && self.replies.may_reply(out) {
                    out.push(frame::rst_stream(id, status));
                    self.replies.replied(
                        out.written()
                            .saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX)),
                    );
                }
                Ok(Step::Again)
            }
            Then::Open { id, fin } => {
                let mut stream = Stream::new(id);
                stream.is_ended_there = fin;
                self.streams.push(stream);
                debug_assert!(
                    self.streams.len() <= limits::SPDY_STREAMS_MAX,
                    "checked when the frame began"
                );
                Ok(Step::Event(Event::Opened {
                    id,
                    stream_type: stream_type.unwrap_or_default(),
                    fin,
                }))
            }
        }
    }

    fn read_skipped(&mut self, left: usize, input: &mut BytesMut) -> Step {
        let taken = left.min(input.len());
        input.advance(taken);
        let left = left.saturating_sub(taken);
        if left > 0 {
            self.reading = Reading::Skip { left };
            return Step::NeedsInput;
        }
        self.reading = Reading::Header;
        Step::Again
    }

    /// Passes on a run of a data frame. Data nobody waits for (an unknown stream, one not yet
    /// replied to, one that has ended) is dropped silently, as Go does.
    fn read_data(
        &mut self,
        id: u32,
        fin: bool,
        left: usize,
        input: &mut BytesMut,
        payload_max: usize,
    ) -> Step {
        // A server may speak before its reply has gone out on a lower stream; nothing is lost here.
        let is_client = self.role == Role::Client;
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.id == id && (stream.is_replied || is_client));
        let Some(stream) = stream.filter(|stream| !stream.is_ended_there) else {
            return self.read_skipped(left, input);
        };
        let taken = left.min(input.len()).min(payload_max);
        if left > 0 && taken == 0 {
            return Step::NeedsInput;
        }
        let payload = input.split_to(taken);
        let left = left.saturating_sub(taken);
        if left > 0 {
            self.reading = Reading::Data { id, fin, left };
            return Step::Event(Event::Data {
                id,
                payload,
                fin: false,
            });
        }
        self.reading = Reading::Header;
        stream.is_ended_there = fin;
        if payload.is_empty() && !fin {
            return Step::Again;
        }
        Step::Event(Event::Data { id, payload, fin })
    }
}

/// Where in a frame the reader is.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Before a frame.
    Header,
    /// In a control frame's payload that means nothing here.
    Skip { left: usize },
    /// In a compressed header block.
    Block { then: Then, left: usize },
    /// In a data frame.
    Data { id: u32, fin: bool, left: usize },
}

enum Step {
    Event(Event),
    Again,
    NeedsInput,
}
