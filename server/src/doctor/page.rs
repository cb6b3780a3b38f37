//! The browser's half of a session, in memory: nobody looks at it, and it says what has to be said for
//! the shell to end.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use periscope_core::outbox::Outbox;
use periscope_core::transport::Transport;
use periscope_core::ws::{Event, Kind, WebSocket};
use serde::Deserialize;

/// The longest message of the gateway that is taken, in bytes.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;

/// The longest control message of the gateway that is read, in bytes.
const CONTROL_BYTES_MAX: usize = 16 * 1024;

/// What ends a shell where the end of its stdin cannot be told.
const EXIT: &[u8] = b"exit\n";

/// The subprotocol that cannot say that stdin has ended.
const WITHOUT_END: &str = "v4.channel.k8s.io";

/// A browser that lets the shell end at once.
#[derive(Debug)]
pub(super) struct Page {
    websocket: WebSocket,
    /// What the gateway sent and was not read yet.
    input: BytesMut,
    out: Outbox,
    control: BytesMut,
    heard: Arc<Mutex<Heard>>,
    reader: Option<Waker>,
}

/// What the gateway said.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The last error's sentence, which is the gateway's own.
    pub(super) error: Option<String>,
}

/// What the gateway says, as far as it matters here.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Control {
    Hello {
        transport: String,
        subprotocol: String,
    },
    Error {
        message: String,
    },
    #[serde(other)]
    Other,
}

impl Page {
    /// A page, and where to look up what it heard.
    pub(super) fn new(mask_seed: [u8; 32]) -> (Self, Arc<Mutex<Heard>>) {
        let heard = Arc::default();
        let page = Self {
            websocket: WebSocket::client(mask_seed, MESSAGE_BYTES_MAX),
            input: BytesMut::new(),
            out: Outbox::new(),
            control: BytesMut::new(),
            heard: Arc::clone(&heard),
            reader: None,
        };
        (page, heard)
    }

    fn listen(&mut self) -> io::Result<()> {
        loop {
            let event = self
                .websocket
                .receive(&mut self.input, usize::MAX, &mut self.out)
                .map_err(io::Error::other)?;
            match event {
                None => return Ok(()),
                Some(Event::Data {
                    kind: Kind::Text,
                    payload,
                    last,
                    ..
                }) => {
                    if self.control.len().saturating_add(payload.len()) <= CONTROL_BYTES_MAX {
                        self.control.extend_from_slice(&payload);
                    }
                    if last {
                        let control = std::mem::take(&mut self.control);
                        // What cannot be read says nothing that is needed here.
                        if let Ok(control) = serde_json::from_slice(&control) {
                            self.on_control(control)?;
                        }
                    }
                }
                // What the shell prints is nobody's business.
                Some(Event::Data { .. } | Event::Ping | Event::Pong { .. }) => {}
                Some(Event::Close { code }) => {
                    if !self.websocket.is_close_sent() {
                        let closed = self.websocket.close(code, "", &mut self.out);
                        closed.map_err(io::Error::other)?;
                    }
                }
            }
        }
    }

    fn on_control(&mut self, control: Control) -> io::Result<()> {
        let sent = match control {
            Control::Hello {
                transport,
                subprotocol,
            } if transport == "ws" && subprotocol == WITHOUT_END => {
                let payload = BytesMut::from(EXIT);
                self.websocket
                    .send(Kind::Binary, b"", payload, &mut self.out)
            }
            Control::Hello { .. } => {
                let payload = BytesMut::from(&br#"{"type":"eof"}"#[..]);
                self.websocket.send(Kind::Text, b"", payload, &mut self.out)
            }
            Control::Error { message } => {
                let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.error = Some(message);
                Ok(())
            }
            Control::Other => Ok(()),
        };
        sent.map_err(io::Error::other)
    }
}

impl Transport for Page {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(chunk) = self.out.chunks().next() else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let chunk = chunk.get(..chunk.len().min(max)).unwrap_or_default();
        let len = chunk.len();
        buf.extend_from_slice(chunk);
        self.out.advance(len);
        Poll::Ready(Ok(len))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut len = 0_usize;
        for chunk in chunks {
            self.input.extend_from_slice(chunk);
            len = len.saturating_add(chunk.len());
        }
        self.listen()?;
        if !self.out.is_empty()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
