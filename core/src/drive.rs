//! The one driver loop: moves bytes between two transports, a clock and a session.
//!
//! Every runtime runs this code; an adapter only implements [`Transport`] and [`Clock`].
//! One turn: hand out facts and questions → write what waits → read what is wanted → fire the
//! deadline; repeat while anything moved, then yield.

use core::task::{Context, Poll};
use std::io::{self, IoSlice};

use bytes::BytesMut;

use crate::limits::{
    CLOSE_TIMEOUT, DRIVE_TURNS_MAX, READ_BYTES_FIRST, READ_BYTES_MAX, WRITE_CHUNKS_MAX,
};
use crate::session::{Answer, Ask, Dialed, Event, Input, IoFailure, Leg, Order, Output, Session};
use crate::time::Instant;
use crate::transport::{Clock, Transport};

/// What the host has to deal with next.
#[derive(Debug)]
pub enum Turn {
    /// Answer with [`Driver::attach`] or [`Driver::answer`].
    Ask(Ask),
    /// Stop the dial that was asked for.
    CancelDial,
    /// Both legs are gone; drop the driver.
    Done,
    /// A fact for audit, log and metrics.
    Event(Event),
}

/// A session with its sockets: `B` towards the browser, `A` towards the apiserver.
#[derive(Debug)]
pub struct Driver<B, A, C> {
    session: Session,
    browser: Port<B>,
    api: Port<A>,
    clock: C,
    /// The host was asked to connect and has not answered.
    dialing: bool,
    /// When an orderly farewell to the browser has taken long enough.
    farewell_until: Option<Instant>,
    over: bool,
}

/// One leg's socket and the bytes read from it.
#[derive(Debug)]
struct Port<T> {
    transport: Option<T>,
    input: BytesMut,
    /// How much the next read asks for.
    read_max: usize,
    end: End,
    /// The socket takes nothing any more.
    deaf: bool,
    /// The socket is not read, and the buffer is no larger than what is in it.
    resting: bool,
}

/// Whether a socket's receiving direction has ended, and whether the session knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    None,
    Eof,
    Failed(IoFailure),
    Told,
}

impl<B: Transport, A: Transport, C: Clock> Driver<B, A, C> {
    /// A driver for a session whose browser is connected. `leftover` are bytes that were read
    /// behind the browser's handshake.
    pub fn new(session: Session, browser: B, leftover: BytesMut, clock: C) -> Self {
        let mut port = Port::new(Some(browser));
        port.input = leftover;
        Self {
            session,
            browser: port,
            api: Port::new(None),
            clock,
            dialing: false,
            farewell_until: None,
            over: false,
        }
    }

    /// Answers [`Ask::Dial`] with a connection. One that nobody waits for any more is dropped.
    pub fn attach(&mut self, transport: A, dialed: Dialed) {
        if !self.dialing {
            return;
        }
        self.api = Port::new(Some(transport));
        self.answer(Answer::Dialed(dialed));
    }

    /// Answers any other question, or says that a dial failed.
    pub fn answer(&mut self, answer: Answer) {
        if matches!(answer, Answer::Dialed(_) | Answer::DialFailed(_)) {
            self.dialing = false;
        }
        self.session
            .handle_input(self.clock.now(), Input::Answer(answer));
    }

    /// Passes an order on.
    pub fn order(&mut self, order: Order) {
        self.session
            .handle_input(self.clock.now(), Input::Order(order));
    }

    /// The session, to look at.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Bytes read from both sockets that the session has not taken.
    pub fn unread(&self) -> usize {
        self.browser
            .input
            .len()
            .saturating_add(self.api.input.len())
    }

    /// Goes on until the host is needed. Keeps all state, so it may be cancelled at any time.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        for _ in 0..DRIVE_TURNS_MAX {
            if self.over {
                return self.poll_farewell(cx);
            }
            let deadline = match self.drain_outputs() {
                Ok(deadline) => deadline,
                Err(turn) => return Poll::Ready(turn),
            };
            if self.over {
                continue;
            }
            let wrote = self.poll_write(cx, Leg::Api) | self.poll_write(cx, Leg::Browser);
            let read = self.poll_read(cx, Leg::Api) | self.poll_read(cx, Leg::Browser);
            let fired = self.poll_deadline(cx, deadline);
            if !(wrote || read || fired) {
                return Poll::Pending;
            }
        }
        // Others want to run too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Carries out what the session wants. `Err` is a turn for the host.
    fn drain_outputs(&mut self) -> Result<Option<Instant>, Turn> {
        loop {
            match self.session.poll_output() {
                Output::Abort { leg: Leg::Api } => self.api = Port::new(None),
                Output::Abort { leg: Leg::Browser } => self.browser = Port::new(None),
                Output::Ask(ask) => {
                    self.dialing |= matches!(ask, Ask::Dial(_));
                    return Err(Turn::Ask(ask));
                }
                Output::CancelDial => {
                    self.dialing = false;
                    return Err(Turn::CancelDial);
                }
                Output::Event(event) => return Err(Turn::Event(event)),
                Output::Over => {
                    self.over = true;
                    return Ok(None);
                }
                Output::Shutdown { leg: Leg::Api } => self.api = Port::new(None),
                Output::Shutdown { leg: Leg::Browser } => {
                    self.farewell_until = Some(self.clock.now().after(CLOSE_TIMEOUT));
                }
                Output::Timeout(deadline) => return Ok(deadline),
            }
        }
    }

    /// The session is over: only an orderly end of the browser's socket may be left.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let (Some(until), Some(transport)) =
            (self.farewell_until, self.browser.transport.as_mut())
        {
            // Whether it worked makes no difference any more: the socket is dropped next.
            let left = transport.poll_shutdown(cx).is_pending();
            if left && self.clock.now() < until && self.clock.poll_until(cx, until).is_pending() {
                return Poll::Pending;
            }
        }
        self.farewell_until = None;
        self.browser = Port::new(None);
        self.api = Port::new(None);
        Poll::Ready(Turn::Done)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, leg: Leg) -> bool {
        let polled = match leg {
            Leg::Api => self.api.poll_write(cx, &self.session, leg),
            Leg::Browser => self.browser.poll_write(cx, &self.session, leg),
        };
        let input = match polled {
            Poll::Pending => return false,
            Poll::Ready(Ok(len)) => Input::Wrote { leg, len },
            // An apiserver says its last word and closes: what it sent is still to be read, and
            // reading will find the end.
            Poll::Ready(Err(_)) if leg == Leg::Api => return false,
            Poll::Ready(Err(error)) => Input::Failed {
                leg,
                failure: failure_of(&error),
            },
        };
        self.session.handle_input(self.clock.now(), input);
        true
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, leg: Leg) -> bool {
        let room = self.session.read_room(leg);
        if room == 0 {
            match leg {
                Leg::Api => self.api.rest(),
                Leg::Browser => self.browser.rest(),
            }
            return false;
        }
        let fresh = match leg {
            Leg::Api => self.api.poll_read(cx, room),
            Leg::Browser => self.browser.poll_read(cx, room),
        };
        let now = self.clock.now();
        let (data, end) = match leg {
            Leg::Api => (&mut self.api.input, &mut self.api.end),
            Leg::Browser => (&mut self.browser.input, &mut self.browser.end),
        };
        let before = data.len();
        if before > 0 {
            self.session
                .handle_input(now, Input::Bytes { leg, data, fresh });
        }
        if fresh > 0 || data.len() < before {
            return true;
        }
        // An end is told only when the bytes before it were taken, or can never be.
        let input = match *end {
            End::Eof if self.session.wants_read(leg) => Input::Eof { leg },
            End::Failed(failure) if self.session.wants_read(leg) => Input::Failed { leg, failure },
            End::Eof | End::Failed(_) | End::None | End::Told => return false,
        };
        *end = End::Told;
        self.session.handle_input(now, input);
        true
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else {
            return false;
        };
        // The clock decides: a runtime's timer may report ready late, or pending when its
        // budget is spent.
        if self.clock.now() < deadline && self.clock.poll_until(cx, deadline).is_pending() {
            return false;
        }
        let now = self.clock.now();
        if now < deadline {
            return true;
        }
        self.session.handle_input(now, Input::Timeout);
        true
    }
}

impl<T> Port<T> {
    fn new(transport: Option<T>) -> Self {
        Self {
            transport,
            input: BytesMut::new(),
            read_max: READ_BYTES_FIRST,
            end: End::None,
            deaf: false,
            resting: false,
        }
    }

    /// A socket that is not read, for who knows how long: keeps what was read, and not the buffer.
    fn rest(&mut self) {
        if !self.resting {
            self.resting = true;
            self.input = BytesMut::from(self.input.as_ref());
        }
    }
}

impl<T: Transport> Port<T> {
    /// Writes as much as the socket takes in one call.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        leg: Leg,
    ) -> Poll<io::Result<usize>> {
        let Some(transport) = self.transport.as_mut() else {
            return Poll::Pending;
        };
        if self.deaf {
            return Poll::Pending;
        }
        let polled = if session.unwritten(leg) == 0 {
            match transport.poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        } else {
            let mut slices = [IoSlice::new(&[]); WRITE_CHUNKS_MAX];
            let mut count = 0_usize;
            for (slot, chunk) in slices.iter_mut().zip(session.chunks(leg)) {
                *slot = IoSlice::new(chunk);
                count = count.saturating_add(1);
            }
            transport.poll_write(cx, slices.get(..count).unwrap_or_default())
        };
        match polled {
            Poll::Ready(Ok(0)) => {
                self.deaf = true;
                Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
            }
            Poll::Ready(Err(error)) => {
                self.deaf = true;
                Poll::Ready(Err(error))
            }
            other => other,
        }
    }

    /// Reads once, and not much more than the session has room for. Returns how many bytes are new;
    /// an end is remembered.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> usize {
        let left = READ_BYTES_MAX.saturating_sub(self.input.len());
        let Some(transport) = self.transport.as_mut() else {
            return 0;
        };
        if self.end != End::None || left == 0 {
            return 0;
        }
        self.resting = false;
        transport.read_ahead(room);
        let max = self.read_max.min(left).min(room.max(READ_BYTES_FIRST));
        match transport.poll_read(cx, &mut self.input, max) {
            Poll::Ready(Ok(0)) => self.end = End::Eof,
            Poll::Ready(Ok(len)) => {
                // A full read means more waits: ask for more at once next time.
                let next = if len >= max {
                    max.saturating_mul(2)
                } else {
                    READ_BYTES_FIRST
                };
                self.read_max = next.clamp(READ_BYTES_FIRST, READ_BYTES_MAX);
                return len;
            }
            Poll::Ready(Err(error)) => self.end = End::Failed(failure_of(&error)),
            // A quiet session should not hold on to a buffer.
            Poll::Pending if self.input.is_empty() => self.input = BytesMut::new(),
            Poll::Pending => {}
        }
        0
    }
}

/// What an I/O error means for a session. TLS marks its own errors as invalid data.
fn failure_of(error: &io::Error) -> IoFailure {
    match error.kind() {
        io::ErrorKind::InvalidData => IoFailure::Tls,
        _ => IoFailure::Reset,
    }
}
