//! Wires with faults: bytes arrive late, in pieces, not at all for a while, or never again.

use core::cell::RefCell;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::BytesMut;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::sim::clock::SimClock;
use crate::time::Instant;
use crate::transport::{Clock, Transport};

/// What may go wrong on one wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Longest delay of a piece.
    pub delay: Duration,
    /// Reads and writes take random pieces, down to one byte.
    pub split: bool,
    /// Nothing arrives in this span.
    pub stall: Option<(Instant, Instant)>,
    /// The connection is reset at this instant.
    pub reset_at: Option<Instant>,
}

/// Bytes both socket buffers of one direction hold.
const CAPACITY: usize = 32 * 1024;

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    wire: Rc<RefCell<Wire>>,
    clock: SimClock,
    side: usize,
}

#[derive(Debug)]
struct Wire {
    faults: Faults,
    rng: ChaCha8Rng,
    /// `directions[side]` carries what `side` wrote.
    directions: [Direction; 2],
    reset: bool,
}

#[derive(Debug, Default)]
struct Direction {
    pieces: VecDeque<(Instant, BytesMut)>,
    held: usize,
    last_at: Instant,
    /// The writer closed its direction in order.
    finished: bool,
    /// The reader is gone.
    unread: bool,
}

/// Connects two ends. The first is the gateway's by convention.
pub fn connect(clock: &SimClock, faults: Faults, seed: u64) -> (End, End) {
    let wire = Rc::new(RefCell::new(Wire {
        faults,
        rng: ChaCha8Rng::seed_from_u64(seed),
        directions: [Direction::default(), Direction::default()],
        reset: false,
    }));
    let end = |side| End {
        wire: Rc::clone(&wire),
        clock: clock.clone(),
        side,
    };
    (end(0), end(1))
}

impl End {
    /// Breaks the connection for both sides, as a lost peer's kernel would.
    pub fn reset(&self) {
        self.wire.borrow_mut().reset = true;
    }

    /// The next instant at which something arrives or breaks, after `now`.
    pub fn next_event(&self, now: Instant) -> Option<Instant> {
        let wire = self.wire.borrow();
        let arrivals = wire.directions.iter().filter_map(|direction| {
            let (at, _) = direction.pieces.front()?;
            Some(wire.arrival(*at))
        });
        let fins = wire
            .directions
            .iter()
            .filter(|direction| direction.finished && direction.pieces.is_empty())
            .map(|direction| wire.arrival(direction.last_at));
        let resets = wire.faults.reset_at.into_iter().filter(|_| !wire.reset);
        arrivals
            .chain(fins)
            .chain(resets)
            .filter(|at| *at > now)
            .min()
    }
}

impl Wire {
    /// When a piece sent for `at` really arrives.
    fn arrival(&self, at: Instant) -> Instant {
        match self.faults.stall {
            Some((from, until)) if at >= from && at < until => until,
            _ => at,
        }
    }

    fn check_reset(&mut self, now: Instant) -> io::Result<()> {
        self.reset |= self.faults.reset_at.is_some_and(|at| now >= at);
        if self.reset {
            for direction in &mut self.directions {
                direction.pieces.clear();
                direction.held = 0;
            }
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// A random part of `len` bytes, at least one.
    fn part(&mut self, len: usize) -> usize {
        if !self.faults.split || len <= 1 {
            return len;
        }
        match self.rng.next_u32() % 4 {
            0 => 1,
            1 => len,
            _ => pick(&mut self.rng, len) + 1,
        }
    }
}

/// A number below `len`.
pub fn pick(rng: &mut ChaCha8Rng, len: usize) -> usize {
    usize::try_from(rng.next_u64() % (len.max(1) as u64)).unwrap_or_default()
}

impl Transport for End {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let now = self.clock.now();
        let wire = &mut *self.wire.borrow_mut();
        wire.check_reset(now)?;
        let other = 1 - self.side;
        let Some(direction) = wire.directions.get(other) else {
            return Poll::Pending;
        };
        let Some((at, piece)) = direction.pieces.front() else {
            let fin = direction.finished && wire.arrival(direction.last_at) <= now;
            return if fin {
                Poll::Ready(Ok(0))
            } else {
                Poll::Pending
            };
        };
        if wire.arrival(*at) > now {
            return Poll::Pending;
        }
        let len = piece.len().min(max);
        let len = wire.part(len);
        let Some(direction) = wire.directions.get_mut(other) else {
            return Poll::Pending;
        };
        let Some((_, piece)) = direction.pieces.front_mut() else {
            return Poll::Pending;
        };
        buf.extend_from_slice(&piece.split_to(len));
        if piece.is_empty() {
            direction.pieces.pop_front();
        }
        direction.held -= len;
        Poll::Ready(Ok(len))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let now = self.clock.now();
        let wire = &mut *self.wire.borrow_mut();
        wire.check_reset(now)?;
        let (held, unread) = match wire.directions.get(self.side) {
            Some(direction) => (direction.held, direction.unread),
            None => return Poll::Pending,
        };
        if unread {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let offered: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let room = CAPACITY.saturating_sub(held).min(offered);
        if room == 0 {
            return Poll::Pending;
        }
        let len = wire.part(room);
        let delay = u64::try_from(wire.faults.delay.as_micros()).unwrap_or(u64::MAX);
        let delay = if delay == 0 {
            0
        } else {
            wire.rng.next_u64() % delay
        };
        let piece: BytesMut = chunks
            .iter()
            .flat_map(|chunk| chunk.iter())
            .take(len)
            .copied()
            .collect();
        if let Some(direction) = wire.directions.get_mut(self.side) {
            let at = now
                .after(Duration::from_micros(delay))
                .max(direction.last_at);
            direction.last_at = at;
            direction.held += len;
            direction.pieces.push_back((at, piece));
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.clock.now();
        if let Some(direction) = self.wire.borrow_mut().directions.get_mut(self.side) {
            direction.finished = true;
            direction.last_at = direction.last_at.max(now);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    /// What a kernel does with a closed socket: FIN, or RST where bytes were left unread.
    fn drop(&mut self) {
        let now = self.clock.now();
        let wire = &mut *self.wire.borrow_mut();
        let [first, second] = &mut wire.directions;
        let (ours, theirs) = if self.side == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let unread = theirs.pieces.iter().any(|(at, _)| *at <= now);
        theirs.unread = true;
        theirs.pieces.clear();
        theirs.held = 0;
        ours.finished = true;
        ours.last_at = ours.last_at.max(now);
        if unread {
            wire.reset = true;
        }
    }
}
