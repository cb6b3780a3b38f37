//! The other half of `pods/exec`: what an apiserver or a container runtime speaks.
//!
//! The sandbox apiserver, the simulator and the conformance peers are built on it. It begins
//! after the 101 and knows nothing of processes: the host moves bytes to and from them.

use bytes::BytesMut;

use crate::channel::resize;
use crate::channel::status::{self, Shape};
use crate::channel::{self, Channels, Stream, Subprotocol};
use crate::limits::API_MESSAGE_BYTES_MAX;
use crate::outbox::Outbox;
use crate::spdy::{self, Spdy};
use crate::ws::WebSocket;

/// Which streams the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// `stdin=true`
    pub stdin: bool,
    /// `stdout=true`
    pub stdout: bool,
    /// `stderr=true`; the kubelet drops it where there is a terminal.
    pub stderr: bool,
    /// `tty=true`
    pub tty: bool,
}

/// What the client did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Something that needs nothing, such as a ping.
    Alive,
    /// The client closed the connection's protocol.
    Closed,
    /// All streams are there: start the command. Exactly once; a SPDY client that does not wait
    /// for the replies may have sent stdin before.
    Ready,
    /// The terminal has a new size.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// Bytes for the process.
    Stdin(BytesMut),
    /// No more of them.
    StdinEof,
}

/// How the command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Exit(u8),
    /// The runtime failed; its own text.
    InternalError(String),
}

/// The client broke a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// In channels over WebSocket.
    #[error(transparent)]
    Channel(#[from] channel::Error),
    /// In SPDY.
    #[error(transparent)]
    Spdy(#[from] spdy::Error),
}

/// The server half of one exec.
#[derive(Debug)]
pub struct ExecServer {
    framing: Framing,
    streams: Streams,
    command: Vec<String>,
    resize: resize::Decoder,
    ready: bool,
    finished: bool,
    /// The client ended stdin, which it can do once: what comes behind it on that stream, a second
    /// end included, has no effect.
    stdin_ended: bool,
}

#[derive(Debug)]
enum Framing {
    WebSocket(Channels),
    Spdy {
        spdy: Spdy,
        ids: Vec<(Stream, u32)>,
        stdin_eof_due: bool,
    },
}

impl ExecServer {
    /// Speaks channels. `command` is named in the outcome, as runtimes do.
    pub fn websocket(subprotocol: Subprotocol, streams: Streams, command: Vec<String>) -> Self {
        let ws = WebSocket::server(API_MESSAGE_BYTES_MAX);
        Self::new(
            Framing::WebSocket(Channels::server(ws, subprotocol)),
            streams,
            command,
        )
    }

    /// Speaks SPDY/3.1 with protocol v4.
    pub fn spdy(streams: Streams, command: Vec<String>) -> Self {
        let framing = Framing::Spdy {
            spdy: Spdy::server(),
            ids: Vec::new(),
            stdin_eof_due: false,
        };
        Self::new(framing, streams, command)
    }

    fn new(framing: Framing, streams: Streams, command: Vec<String>) -> Self {
        // A terminal has one output.
        let streams = Streams {
            stderr: streams.stderr && !streams.tty,
            ..streams
        };
        Self {
            framing,
            streams,
            command,
            resize: resize::Decoder::default(),
            ready: false,
            finished: false,
            stdin_ended: !streams.stdin,
        }
    }

    /// Queues what the server says first: on WebSocket an empty message on its lowest channel.
    pub fn start(&mut self, out: &mut Outbox) {
        if let Framing::WebSocket(channels) = &mut self.framing {
            let lowest = match self.streams {
                Streams { stdout: true, .. } => Stream::Stdout,
                Streams { stderr: true, .. } => Stream::Stderr,
                _ => Stream::Error,
            };
            let sent = channels.send(lowest, BytesMut::new(), out);
            debug_assert!(sent.is_ok(), "the first message");
        }
    }

    /// Takes at most one event off the front of `input`.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        payload_max: usize,
        out: &mut Outbox,
    ) -> Result<Option<Event>, Error> {
        if !self.ready && self.has_all_streams() {
            self.ready = true;
            if let Framing::Spdy { spdy, .. } = &mut self.framing {
                // No header block that matters can come any more: give its 47 KiB back.
                spdy.drop_inflater();
            }
            return Ok(Some(Event::Ready));
        }
        if self.finished {
            input.clear();
            return Ok(None);
        }
        match &mut self.framing {
            Framing::WebSocket(channels) => {
                let event = channels.receive(input, payload_max, out)?;
                Ok(event.map(|event| self.on_channel_event(event)))
            }
            Framing::Spdy { stdin_eof_due, .. } if *stdin_eof_due => {
                *stdin_eof_due = false;
                Ok(Some(Event::StdinEof))
            }
            Framing::Spdy { spdy, .. } => {
                let event = spdy.receive(input, payload_max, out)?;
                Ok(event.map(|event| self.on_spdy_event(event, out)))
            }
        }
    }

    /// Sends output of the process. Nothing is sent on a stream that was not asked for.
    pub fn output(&mut self, stream: Stream, payload: BytesMut, out: &mut Outbox) {
        let asked = match stream {
            Stream::Stdout => self.streams.stdout,
            Stream::Stderr => self.streams.stderr,
            Stream::Error | Stream::Resize | Stream::Stdin => false,
        };
        if !asked || self.finished || payload.is_empty() {
            return;
        }
        match &mut self.framing {
            Framing::WebSocket(channels) => {
                let sent = channels.send(stream, payload, out);
                debug_assert!(sent.is_ok(), "output before the end");
            }
            Framing::Spdy { spdy, ids, .. } => {
                if let Some(id) = id_of(ids, stream) {
                    let sent = spdy.send(id, payload, false, out);
                    // The client may have reset this stream; Go drops such output too.
                    debug_assert!(
                        sent.is_ok() || spdy.is_ended_here(id),
                        "output before the end"
                    );
                }
            }
        }
    }

    /// Tells the outcome and ends the protocol, in the order real servers do. The connection is
    /// to be closed once the outbox is written.
    pub fn finish(&mut self, ending: &Ending, out: &mut Outbox) {
        if self.finished {
            return;
        }
        self.finished = true;
        match &mut self.framing {
            Framing::WebSocket(channels) => {
                let text = outcome_text(ending, &self.command, channels.subprotocol());
                if let Some(text) = text {
                    let sent = channels.send(Stream::Error, BytesMut::from(text.as_str()), out);
                    debug_assert!(sent.is_ok(), "one status");
                }
                let closed = channels.close(1000, out);
                debug_assert!(closed.is_ok(), "one Close");
            }
            Framing::Spdy { spdy, ids, .. } => {
                // The client may have reset any of these: what is refused then was not wanted.
                // Only a process ends its outputs; where none was started they are reset below.
                if matches!(ending, Ending::Exit(_)) {
                    for stream in [Stream::Stderr, Stream::Stdout] {
                        if let Some(id) = id_of(ids, stream) {
                            let _ = spdy.send(id, BytesMut::new(), true, out).is_ok();
                        }
                    }
                }
                let text = status_text(ending, &self.command, Shape::Runtime);
                if let Some(id) = id_of(ids, Stream::Error) {
                    let _ = spdy
                        .send(id, BytesMut::from(text.as_str()), false, out)
                        .is_ok();
                }
                // Whatever half of ours is open, stdin's included after its FIN.
                for (_, id) in ids.iter() {
                    if !spdy.is_ended_here(*id) {
                        let _ = spdy.reset(*id, spdy::status::CANCEL, out).is_ok();
                    }
                }
                let _ = spdy.goaway(out).is_ok();
            }
        }
    }

    /// Whether [`Self::finish`] was called.
    pub fn has_finished(&self) -> bool {
        self.finished
    }

    fn has_all_streams(&self) -> bool {
        match &self.framing {
            Framing::WebSocket(_) => true,
            Framing::Spdy { ids, .. } => self
                .expected()
                .iter()
                .all(|stream| id_of(ids, *stream).is_some()),
        }
    }

    fn expected(&self) -> Vec<Stream> {
        let Streams {
            stdin,
            stdout,
            stderr,
            tty,
        } = self.streams;
        [
            (Stream::Error, true),
            (Stream::Stdin, stdin),
            (Stream::Stdout, stdout),
            (Stream::Stderr, stderr),
            (Stream::Resize, tty),
        ]
        .into_iter()
        .filter_map(|(stream, asked)| asked.then_some(stream))
        .collect()
    }

    fn on_channel_event(&mut self, event: channel::Event) -> Event {
        match event {
            channel::Event::Close { .. } => Event::Closed,
            channel::Event::Data {
                stream: Stream::Stdin,
                payload,
                ..
            } if !self.stdin_ended => Event::Stdin(payload),
            channel::Event::Data {
                stream: Stream::Resize,
                payload,
                ..
            } => self.on_resize(&payload),
            channel::Event::StreamClosed {
                stream: Stream::Stdin,
            } if !self.stdin_ended => {
                self.stdin_ended = true;
                Event::StdinEof
            }
            channel::Event::Data { .. }
            | channel::Event::Ping
            | channel::Event::Pong
            | channel::Event::StreamClosed { .. } => Event::Alive,
        }
    }

    fn on_spdy_event(&mut self, event: spdy::Event, out: &mut Outbox) -> Event {
        let Framing::Spdy {
            spdy,
            ids,
            stdin_eof_due,
        } = &mut self.framing
        else {
            return Event::Alive;
        };
        match event {
            spdy::Event::Opened {
                id, stream_type, ..
            } => {
                // Go answers a stream of an unknown type too, and does not count it.
                let replied = spdy.reply(id, out);
                debug_assert!(replied.is_ok(), "a stream that was just opened");
                if let Some(stream) = Stream::parse(&stream_type)
                    && id_of(ids, stream).is_none()
                {
                    ids.push((stream, id));
                }
                Event::Alive
            }
            spdy::Event::Data { id, payload, fin } => match stream_of(ids, id) {
                Some(Stream::Stdin) if !self.stdin_ended => {
                    self.stdin_ended = fin;
                    if fin && payload.is_empty() {
                        return Event::StdinEof;
                    }
                    *stdin_eof_due = fin;
                    Event::Stdin(payload)
                }
                Some(Stream::Resize) => self.on_resize(&payload),
                Some(_) | None => Event::Alive,
            },
            spdy::Event::Reset { id, .. } => match stream_of(ids, id) {
                Some(Stream::Stdin) if !self.stdin_ended => {
                    self.stdin_ended = true;
                    Event::StdinEof
                }
                Some(_) | None => Event::Alive,
            },
            spdy::Event::Goaway => Event::Closed,
            spdy::Event::Ping | spdy::Event::PingReply { .. } | spdy::Event::Replied { .. } => {
                Event::Alive
            }
        }
    }

    fn on_resize(&mut self, payload: &[u8]) -> Event {
        match self.resize.receive(payload) {
            Ok(Some((cols, rows))) => Event::Resize { cols, rows },
            // As in Go, a malformed size silently ends resizing, not the session.
            Ok(None) | Err(_) => Event::Alive,
        }
    }
}

fn id_of(ids: &[(Stream, u32)], stream: Stream) -> Option<u32> {
    ids.iter()
        .find(|(known, _)| *known == stream)
        .map(|(_, id)| *id)
}

fn stream_of(ids: &[(Stream, u32)], id: u32) -> Option<Stream> {
    ids.iter()
        .find(|(_, known)| *known == id)
        .map(|(stream, _)| *stream)
}

/// What the error channel carries; v1 says nothing on success.
fn outcome_text(ending: &Ending, command: &[String], subprotocol: Subprotocol) -> Option<String> {
    let shape = if subprotocol == Subprotocol::V5 {
        Shape::Translator
    } else {
        Shape::Runtime
    };
    if subprotocol.has_status() {
        return Some(status_text(ending, command, shape));
    }
    match ending {
        Ending::Exit(0) => None,
        Ending::Exit(code) => Some(status::exit_message(*code, command, shape)),
        Ending::InternalError(text) => Some(status::internal_message(text)),
    }
}

fn status_text(ending: &Ending, command: &[String], shape: Shape) -> String {
    match ending {
        Ending::Exit(0) => status::success(),
        Ending::Exit(code) => status::exit(*code, command, shape),
        Ending::InternalError(text) => status::internal_error(text, shape),
    }
}

#[cfg(test)]
mod tests;
