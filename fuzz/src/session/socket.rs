//! Sockets and a clock that stand still until an operation moves them.

use core::cell::{Cell, RefCell};
use core::task::{Context, Poll};
use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::BytesMut;
use periscope_core::time::Instant;
use periscope_core::transport::{Clock, Transport};

/// One connection as the peer sees it.
#[derive(Debug)]
pub(super) struct Pipe {
    /// What the peer sent and the gateway has not read.
    pub(super) sent: BytesMut,
    /// What the gateway wrote and the peer has not read.
    pub(super) written: BytesMut,
    pub(super) end: Option<End>,
    /// How much more the socket takes; none: everything.
    pub(super) room: Option<usize>,
    /// The most one read gives.
    pub(super) read_max: usize,
    /// The most one write takes.
    pub(super) write_max: usize,
}

/// How the peer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its direction ended in order.
    Fin,
    /// The connection broke.
    Reset,
}

/// The gateway's end of a [`Pipe`].
#[derive(Clone, Debug)]
pub(super) struct Socket(pub(super) Rc<RefCell<Pipe>>);

impl Transport for Socket {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let pipe = &mut *self.0.borrow_mut();
        match pipe.end {
            Some(End::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(End::Fin) if pipe.sent.is_empty() => Poll::Ready(Ok(0)),
            None if pipe.sent.is_empty() => Poll::Pending,
            None | Some(End::Fin) => {
                let len = pipe.sent.len().min(max).min(pipe.read_max);
                assert!(len > 0, "a driver asks for at least a byte");
                buf.extend_from_slice(&pipe.sent.split_to(len));
                Poll::Ready(Ok(len))
            }
        }
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let pipe = &mut *self.0.borrow_mut();
        if pipe.end == Some(End::Reset) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut left = pipe.write_max.min(pipe.room.unwrap_or(usize::MAX));
        if left == 0 {
            return Poll::Pending;
        }
        let mut len = 0;
        for chunk in chunks {
            let part = chunk.len().min(left);
            pipe.written.extend_from_slice(&chunk[..part]);
            left -= part;
            len += part;
        }
        assert!(len > 0, "a driver lends no empty chunks");
        pipe.room = pipe.room.map(|room| room - len);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The host's clock, with the deadline it was last asked to wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Time {
    pub(super) now: Rc<Cell<Instant>>,
    pub(super) deadline: Rc<Cell<Option<Instant>>>,
}

impl Clock for Time {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn poll_until(&mut self, _: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.now.get() >= deadline {
            return Poll::Ready(());
        }
        self.deadline.set(Some(deadline));
        Poll::Pending
    }
}
