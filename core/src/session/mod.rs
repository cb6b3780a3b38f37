//! One session: a browser on one side, a container's process on the other.
//!
//! The session is fed with [`Input`] and the time, and drained with
//! [`Session::poll_output`]. All work happens in [`Session::handle_input`]; any number of inputs
//! before a poll is legal. A peer cannot make it fail: a violation becomes an orderly end.
//!
//! ```text
//!  listening ──▶ Entrance ──Admitted──┐
//!  accepted ──────────────────────────┴▶ Dialing ──▶ Settling ──▶ Open ──▶ Doubt
//!                                           │  ▲         │           │        │
//!                                           └──┘ v5→SPDY→v4          ▼        ▼
//!                                                any end ──▶ Flushing ──▶ Closing ──▶ Over
//! ```
//! *Dialing*: no usable stream yet. *Settling*: the streams are there, the command may have begun.
//! *Open*: the session is *up*, `hello` is out. *Doubt*: the apiserver left without a status, and
//! the host looks whether the pod still exists. *Flushing*: the end is decided, output still goes
//! out. *Closing*: `closed` and the Close frame are queued.

pub mod config;
mod dial;
mod downstream;
mod ending;
mod entrance;
pub mod io;
mod live;
mod liveness;
mod queue;
mod timers;
mod upstream;

pub use config::{Config, Identity, Timing};
pub use io::{
    Answer, Ask, BreakerVerdict, Carried, Dial, DialFailure, Dialed, Event, Input, IoFailure, Leg,
    Order, Output, PodState, Summary, Transport,
};
pub use live::Phase;

use entrance::Entrance;
use live::Live;

use crate::limits::READ_BYTES_MAX;
use crate::outbox::Outbox;
use crate::time::Instant;

/// The session's machine. See the module's documentation.
#[derive(Debug)]
pub struct Session {
    stage: Stage,
    seed: [u8; 32],
}

#[derive(Debug)]
enum Stage {
    Entrance(Box<Entrance>),
    Live(Box<Live>),
}

impl Session {
    /// A session whose browser was accepted elsewhere: its 101 is out, admission has passed.
    ///
    /// `seed` is the session's randomness (keys and masks): unpredictable in production, the
    /// run's seed in tests.
    pub fn accepted(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let live = Live::new(config, seed, Outbox::new(), now);
        Self {
            stage: Stage::Live(Box::new(live)),
            seed,
        }
    }

    /// A session that reads the browser's handshake itself and asks the host for admission.
    pub fn listening(seed: [u8; 32], now: Instant) -> Self {
        Self {
            stage: Stage::Entrance(Box::new(Entrance::new(now))),
            seed,
        }
    }

    /// Tells the session what happened. `now` never goes back: an older one is taken as the last.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match &mut self.stage {
            Stage::Live(live) => live.handle_input(now, input),
            Stage::Entrance(entrance) => {
                entrance.handle_input(now, input);
                if let Some((config, outbox)) = entrance.take_admitted() {
                    let live = Live::new(config, self.seed, outbox, now);
                    self.stage = Stage::Live(Box::new(live));
                }
            }
        }
    }

    /// What to do next. [`Output::Timeout`] means drained; polling again gives the same.
    pub fn poll_output(&mut self) -> Output {
        match &mut self.stage {
            Stage::Live(live) => live.poll_output(),
            Stage::Entrance(entrance) => entrance.poll_output(),
        }
    }

    /// Whether the host should read this leg's socket now.
    pub fn wants_read(&self, leg: Leg) -> bool {
        self.read_room(leg) > 0
    }

    /// How many bytes of payload the session could take from this leg now; 0 while its socket
    /// should not be read. A host that reads much more than this only fills buffers of its own.
    pub fn read_room(&self, leg: Leg) -> usize {
        match &self.stage {
            Stage::Live(live) => live.read_room(leg),
            Stage::Entrance(entrance) if leg == Leg::Browser && entrance.wants_read() => {
                READ_BYTES_MAX
            }
            Stage::Entrance(_) => 0,
        }
    }

    /// The bytes this leg's socket should take, oldest first. Nothing while outputs are unpolled,
    /// so that an audit fact always leaves before the bytes it describes.
    pub fn chunks(&self, leg: Leg) -> impl Iterator<Item = &[u8]> {
        let outbox = match &self.stage {
            Stage::Live(live) => live.lent(leg),
            Stage::Entrance(entrance) => entrance.lent(leg),
        };
        outbox.into_iter().flat_map(Outbox::chunks)
    }

    /// How many bytes [`Self::chunks`] would lend.
    pub fn unwritten(&self, leg: Leg) -> usize {
        let outbox = match &self.stage {
            Stage::Live(live) => live.lent(leg),
            Stage::Entrance(entrance) => entrance.lent(leg),
        };
        outbox.map_or(0, Outbox::len)
    }

    /// Whether the process is known to run: `hello` is out.
    pub fn is_up(&self) -> bool {
        matches!(&self.stage, Stage::Live(live) if live.is_up())
    }

    /// The present phase, for lists of sessions; none while a handshake is read.
    pub fn phase(&self) -> Option<Phase> {
        match &self.stage {
            Stage::Live(live) => Some(live.phase()),
            Stage::Entrance(_) => None,
        }
    }

    /// When terminal bytes last came from either side; none before the session is up.
    pub fn active_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Live(live) => live.active_at(),
            Stage::Entrance(_) => None,
        }
    }

    /// The transport in use or being tried.
    pub fn transport(&self) -> Option<Transport> {
        match &self.stage {
            Stage::Live(live) => Some(live.transport()),
            Stage::Entrance(_) => None,
        }
    }

    /// Terminal bytes carried so far, for metrics.
    pub fn carried(&self) -> Carried {
        match &self.stage {
            Stage::Live(live) => live.carried(),
            Stage::Entrance(_) => Carried::default(),
        }
    }

    /// Payload bytes held in queues and outboxes: what the memory budget counts.
    pub fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Live(live) => live.held_bytes(),
            Stage::Entrance(_) => 0,
        }
    }
}
