//! A connection in memory that keeps the rules of `core::future` strictly: a side is woken when,
//! and only when, something it met as pending has changed.
#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::BytesMut;
use periscope_core::transport::Transport;

/// Counts wakes.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counter {
    /// A waker and its count.
    pub(crate) fn pair() -> (Arc<Self>, Waker) {
        let counter = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&counter));
        (counter, waker)
    }

    /// Wakes since the last call.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Bytes one direction holds.
    pub(crate) capacity: usize,
    /// Random pieces, and now and then pending for no reason (with a wake, as runtimes do that
    /// share their time fairly).
    pub(crate) chaos: Option<u64>,
}

#[derive(Debug, Default)]
struct Direction {
    bytes: VecDeque<u8>,
    finished: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Shared {
    manners: Manners,
    random: u64,
    /// `[0]` is written by the near end.
    directions: [Direction; 2],
    /// What the near end's writes fail with.
    write_error: Option<io::ErrorKind>,
    near_gone: bool,
}

/// The end the code under test holds.
#[derive(Debug)]
pub(crate) struct Near(Rc<RefCell<Shared>>);

/// The peer's end: never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Far(Rc<RefCell<Shared>>);

/// Connects two ends.
pub(crate) fn connect(manners: Manners) -> (Near, Far) {
    let shared = Rc::new(RefCell::new(Shared {
        random: manners.chaos.unwrap_or_default(),
        manners,
        directions: Default::default(),
        write_error: None,
        near_gone: false,
    }));
    (Near(Rc::clone(&shared)), Far(shared))
}

impl Shared {
    /// A number below `bound`.
    fn pick(&mut self, bound: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % bound.max(1)
    }

    /// Whether this call is pending for no reason.
    fn dithers(&mut self, cx: &Context<'_>) -> bool {
        let dithers = self.manners.chaos.is_some() && self.pick(4) == 0;
        if dithers {
            cx.waker().wake_by_ref();
        }
        dithers
    }

    fn part(&mut self, len: usize) -> usize {
        if self.manners.chaos.is_none() || len <= 1 {
            return len;
        }
        match self.pick(4) {
            0 => 1,
            1 => len,
            _ => 1 + self.pick(len),
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Transport for Near {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let shared = &mut *self.0.borrow_mut();
        if shared.dithers(cx) {
            return Poll::Pending;
        }
        let held = shared.directions[1].bytes.len().min(max);
        let len = shared.part(held);
        let incoming = &mut shared.directions[1];
        if len == 0 {
            if incoming.finished {
                return Poll::Ready(Ok(0));
            }
            incoming.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.extend(incoming.bytes.drain(..len));
        Poll::Ready(Ok(len))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let shared = &mut *self.0.borrow_mut();
        if let Some(kind) = shared.write_error {
            return Poll::Ready(Err(kind.into()));
        }
        if shared.dithers(cx) {
            return Poll::Pending;
        }
        let offered: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        assert!(offered > 0, "an empty write");
        let room = shared.manners.capacity - shared.directions[0].bytes.len();
        let len = shared.part(room.min(offered));
        let outgoing = &mut shared.directions[0];
        assert!(!outgoing.finished, "a write behind FIN");
        if len == 0 {
            outgoing.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = chunks.iter().flat_map(|chunk| chunk.iter());
        outgoing.bytes.extend(bytes.take(len));
        Poll::Ready(Ok(len))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.0.borrow_mut();
        if shared.dithers(cx) {
            return Poll::Pending;
        }
        shared.directions[0].finished = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        let shared = &mut *self.0.borrow_mut();
        shared.near_gone = true;
        shared.directions[0].finished = true;
    }
}

impl Far {
    /// From now on the near end's writes fail, as after a reset; what it may read stays.
    pub(crate) fn break_writes(&self, kind: io::ErrorKind) {
        let shared = &mut *self.0.borrow_mut();
        shared.write_error = Some(kind);
        wake(&mut shared.directions[0].writer);
    }

    /// Changes how much a direction holds.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        let shared = &mut *self.0.borrow_mut();
        shared.manners.capacity = capacity;
        wake(&mut shared.directions[0].writer);
    }

    /// FIN.
    pub(crate) fn finish(&self) {
        let incoming = &mut self.0.borrow_mut().directions[1];
        incoming.finished = true;
        wake(&mut incoming.reader);
    }

    /// Whether the near end said FIN.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.borrow().directions[0].finished
    }

    /// Whether the near end was dropped.
    pub(crate) fn is_near_gone(&self) -> bool {
        self.0.borrow().near_gone
    }

    /// Bytes that wait to be read by this end.
    pub(crate) fn unread(&self) -> usize {
        self.0.borrow().directions[0].bytes.len()
    }

    /// Bytes that wait to be read by the near end.
    pub(crate) fn unread_by_near(&self) -> usize {
        self.0.borrow().directions[1].bytes.len()
    }
}

impl Read for Far {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let shared = &mut *self.0.borrow_mut();
        let len = shared.directions[0].bytes.len().min(buf.len());
        let len = shared.part(len);
        let outgoing = &mut shared.directions[0];
        if len == 0 {
            if outgoing.finished {
                return Ok(0);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (slot, byte) in buf.iter_mut().zip(outgoing.bytes.drain(..len)) {
            *slot = byte;
        }
        wake(&mut outgoing.writer);
        Ok(len)
    }
}

impl Write for Far {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let shared = &mut *self.0.borrow_mut();
        if shared.near_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = shared
            .manners
            .capacity
            .saturating_sub(shared.directions[1].bytes.len());
        let len = shared.part(room.min(buf.len()));
        if len == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let incoming = &mut shared.directions[1];
        incoming.bytes.extend(&buf[..len]);
        wake(&mut incoming.reader);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
