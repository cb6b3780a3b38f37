//! The running session: its state, and who handles which input.

use std::collections::VecDeque;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::leg::api::ApiLeg;
use crate::leg::browser::BrowserLeg;
use crate::limits::{
    OUTPUT_QUEUE_BYTES_HIGH, OUTPUT_QUEUE_BYTES_LOW, READ_BYTES_MAX, STDIN_QUEUE_BYTES_MAX,
};
use crate::outbox::Outbox;
use crate::session::config::Config;
use crate::session::dial::DialState;
use crate::session::ending::Ending;
use crate::session::io::{Answer, Carried, Event, Input, Leg, Order, Output, Transport};
use crate::session::liveness::{Heartbeat, Keepalive};
use crate::session::queue::ByteQueue;
use crate::session::timers::{Timer, Timers};
use crate::time::Instant;

/// Where a session stands. See the diagram in the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No usable stream yet.
    Dialing,
    /// The streams are there; the command may have begun.
    Settling,
    /// Up: `hello` is out.
    Open,
    /// The apiserver left without a status; the host looks at the pod.
    Doubt,
    /// The end is decided, output still goes out.
    Flushing,
    /// `closed` and Close are queued.
    Closing,
    /// Nothing more happens.
    Over,
}

impl Phase {
    /// The name in lists of sessions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dialing => "dialing",
            Self::Settling => "settling",
            Self::Open => "open",
            Self::Doubt => "doubt",
            Self::Flushing => "flushing",
            Self::Closing => "closing",
            Self::Over => "over",
        }
    }
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) config: Config,
    pub(super) rng: ChaCha12Rng,
    pub(super) now: Instant,
    pub(super) phase: Phase,
    pub(super) timers: Timers,
    pub(super) outputs: VecDeque<Output>,

    pub(super) browser: BrowserLeg,
    /// The browser's socket is gone: nothing can be told any more.
    pub(super) browser_gone: bool,
    /// The browser broke the protocol or closed: its bytes mean nothing any more.
    pub(super) browser_deaf: bool,
    pub(super) browser_closed: bool,
    pub(super) heartbeat: Heartbeat,
    /// Output bytes framed for the browser, and how many of them it acknowledged.
    pub(super) output_sent: u64,
    pub(super) output_acked: u64,

    pub(super) api: Option<ApiLeg>,
    pub(super) dial: DialState,
    pub(super) keepalive: Keepalive,
    /// The terminal's latest size, and whether it still has to be sent.
    pub(super) size: Option<(u16, u16)>,
    pub(super) size_unsent: bool,
    /// What the outbox's `written` is once the size that was sent last is out.
    pub(super) size_mark: u64,

    pub(super) stdin: ByteQueue,
    pub(super) stdin_end: StdinEnd,
    pub(super) bytes_stdin: u64,
    /// How many of them the browser was told of.
    pub(super) stdin_acked: u64,
    pub(super) output: ByteQueue,
    pub(super) bytes_stdout: u64,
    /// The first output, as long as no stdin was forwarded: runtimes explain a missing shell there.
    pub(super) first_output: Vec<u8>,
    /// Reading from the apiserver is paused, and when it last was.
    pub(super) paused: bool,
    pub(super) paused_at: Option<Instant>,

    pub(super) active_at: Option<Instant>,
    pub(super) idle_warned: bool,
    /// What the process or runtime reported; the end follows once the output is complete.
    pub(super) outcome: Option<Ending>,
    pub(super) ending: Option<Ending>,
    pub(super) started: bool,
    pub(super) pod_asked: bool,
}

/// How far the browser's `eof` got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdinEnd {
    /// stdin is open.
    Open,
    /// `eof` came; it acts once this many bytes of stdin are sent.
    Asked {
        /// Counted as [`Live::bytes_stdin`].
        after: u64,
    },
    /// Told the apiserver.
    Sent,
}

impl Live {
    pub(super) fn new(config: Config, seed: [u8; 32], outbox: Outbox, now: Instant) -> Self {
        let mut browser = BrowserLeg::new();
        *browser.outbox_mut() = outbox;
        let size = config.size;
        let mut live = Self {
            rng: ChaCha12Rng::from_seed(seed),
            now,
            phase: Phase::Dialing,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            browser,
            browser_gone: false,
            browser_deaf: false,
            browser_closed: false,
            heartbeat: Heartbeat::default(),
            output_sent: 0,
            output_acked: 0,
            api: None,
            dial: DialState::new(config.first, now),
            keepalive: Keepalive::default(),
            size_unsent: size.is_some(),
            size_mark: 0,
            size,
            stdin: ByteQueue::default(),
            stdin_end: StdinEnd::Open,
            bytes_stdin: 0,
            stdin_acked: 0,
            output: ByteQueue::default(),
            bytes_stdout: 0,
            first_output: Vec::new(),
            paused: false,
            paused_at: None,
            active_at: None,
            idle_warned: false,
            outcome: None,
            ending: None,
            started: false,
            pod_asked: false,
            config,
        };
        live.timers
            .set(Timer::Heartbeat, now.after(live.config.timing.heartbeat));
        live.begin_dials();
        live
    }

    pub(super) fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        if self.phase == Phase::Over {
            if let Input::Bytes { data, .. } = input {
                data.clear();
            }
            return;
        }
        match input {
            Input::Answer(Answer::Dialed(dialed)) => self.on_dialed(&dialed),
            Input::Answer(Answer::DialFailed(failure)) => self.on_dial_failed(failure),
            Input::Answer(Answer::Pod(state)) => self.on_pod(state),
            // Answers to questions this session does not ask any more.
            Input::Answer(Answer::Admitted(_) | Answer::Refused { .. }) => {}
            Input::Bytes {
                leg: Leg::Api,
                data,
                fresh,
            } => self.on_api_bytes(data, fresh),
            Input::Bytes {
                leg: Leg::Browser,
                data,
                fresh,
            } => self.on_browser_bytes(data, fresh),
            Input::Eof { leg: Leg::Api } => self.on_api_eof(),
            Input::Failed {
                leg: Leg::Api,
                failure,
            } => self.on_api_failed(failure),
            Input::Eof { leg: Leg::Browser }
            | Input::Failed {
                leg: Leg::Browser, ..
            } => {
                self.on_browser_gone();
            }
            Input::Order(order) => self.on_order(order),
            Input::Timeout => {}
            Input::Wrote { leg: Leg::Api, len } => self.on_api_wrote(len),
            Input::Wrote {
                leg: Leg::Browser,
                len,
            } => self.on_browser_wrote(len),
        }
        self.relay();
        // What arrived at the instant of a deadline counts as in time, so timers go last.
        let mut fired = 0_usize;
        while let Some(timer) = self.timers.pop_due(self.now) {
            self.on_timer(timer);
            self.relay();
            fired = fired.saturating_add(1);
            debug_assert!(fired < 64, "{timer:?} fires again and again at one instant");
        }
    }

    pub(super) fn poll_output(&mut self) -> Output {
        self.outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    pub(super) fn read_room(&self, leg: Leg) -> usize {
        match (leg, self.phase) {
            (_, Phase::Over) => 0,
            (Leg::Api, _) if self.api.is_none() || self.paused => 0,
            (Leg::Api, _) => OUTPUT_QUEUE_BYTES_HIGH.saturating_sub(self.output_waiting()),
            (Leg::Browser, _) if self.browser_gone => 0,
            // In the end phases everything is read, so that the peer's Close is seen.
            (Leg::Browser, Phase::Flushing | Phase::Closing) => READ_BYTES_MAX,
            (Leg::Browser, _) => self.stdin_room(),
        }
    }

    pub(super) fn lent(&self, leg: Leg) -> Option<&Outbox> {
        if !self.outputs.is_empty() {
            return None;
        }
        match leg {
            Leg::Api => self.api.as_ref().map(ApiLeg::outbox),
            Leg::Browser if self.browser_gone => None,
            Leg::Browser => Some(self.browser.outbox()),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.active_at.is_some()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn active_at(&self) -> Option<Instant> {
        self.active_at
    }

    pub(super) fn transport(&self) -> Transport {
        self.dial.transport()
    }

    pub(super) fn carried(&self) -> Carried {
        Carried {
            stdin: self.bytes_stdin,
            stdout: self.bytes_stdout,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let api = self.api.as_ref().map_or(0, |api| api.outbox().len());
        [
            self.stdin.len(),
            self.output.len(),
            self.browser.outbox().len(),
            api,
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    pub(super) fn stdin_room(&self) -> usize {
        STDIN_QUEUE_BYTES_MAX.saturating_sub(self.stdin.len())
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Whether the end is decided.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Moves what can move: stdin up, output down, and the end along.
    fn relay(&mut self) {
        self.relay_size();
        self.relay_stdin();
        self.acknowledge_stdin();
        self.relay_output();
        self.set_paused();
        self.advance_end();
        self.watch_stall();
    }

    /// Output the gateway holds: its queue and what is framed already.
    pub(super) fn output_waiting(&self) -> usize {
        self.output
            .len()
            .saturating_add(self.browser.outbox().len())
    }

    /// Backpressure: reading from the apiserver pauses while too much output waits.
    fn set_paused(&mut self) {
        let limit = if self.paused {
            OUTPUT_QUEUE_BYTES_LOW
        } else {
            OUTPUT_QUEUE_BYTES_HIGH
        };
        let paused = self.output_waiting() >= limit;
        if self.paused {
            self.paused_at = Some(self.now);
            if !paused {
                // The silence was ours: the apiserver gets a whole interval again.
                self.touch_keepalive();
            }
        }
        self.paused = paused;
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::End(detail) => self.end(Ending::of(detail)),
            Order::Drain { seconds } => self.on_drain(seconds),
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Ask => self.on_ask_timeout(),
            Timer::Close => self.on_close_timeout(),
            Timer::Dial | Timer::Dials => self.on_dial_timeout(timer),
            Timer::Drain => self.on_drain_over(),
            Timer::Flush => self.on_flush_timeout(),
            Timer::Heartbeat => self.on_heartbeat(),
            Timer::Idle => self.on_idle(),
            Timer::IdleWarn => self.on_idle_warn(),
            Timer::Keepalive => self.on_keepalive(),
            Timer::Linger => self.on_linger_over(),
            Timer::Lost => self.on_lost(),
            Timer::PodCheck => self.on_pod_check(),
            Timer::Stall => self.on_stall(),
            Timer::Up => self.on_up(),
        }
    }
}
