//! Which transport to try first: a cluster whose WebSockets keep failing gets SPDY for a while.
//!
//! ```text
//!              3 failures in a row                 BREAKER_OPEN has passed
//!   ┌────────┐ ───────────────────▶ ┌────────────┐ ──────────────────────▶ ┌───────────┐
//!   │ Closed │                      │ Open: SPDY │                         │ Half-open │
//!   └────────┘                      └────────────┘ ◀────── failure ─────── └───────────┘
//!        ▲                                                                       │
//!        └────────────────────────── success of the probe ───────────────────────┘
//! ```
//!
//! Half-open, one attempt at a time is the probe and everybody else uses SPDY without waiting.

use std::collections::BTreeMap;

use crate::limits;
use crate::time::Instant;

/// The breakers of all clusters.
///
/// Bounded: at most [`limits::BREAKER_CLUSTERS_MAX`] clusters are remembered. When all of them
/// have failures to remember, one more is planned as if closed and not remembered.
#[derive(Debug, Default)]
pub struct Breaker {
    circuits: BTreeMap<String, Circuit>,
    /// Changes of state so far, over all clusters; numbers the generations.
    generations: u64,
    /// Attempts planned so far.
    attempts: u64,
}

impl Breaker {
    /// Every cluster's breaker is closed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides how the next attempt at `cluster` begins. Its outcome must be [reported](Self::report)
    /// if it does not `use_spdy`.
    pub fn plan(&mut self, cluster: &str, now: Instant) -> Plan {
        self.attempts = self.attempts.saturating_add(1);
        let number = self.attempts;
        let generations = &mut self.generations;
        if !self.circuits.contains_key(cluster) && !make_room(&mut self.circuits) {
            let attempt = AttemptId {
                generation: UNKNOWN_GENERATION,
                number,
            };
            return Plan {
                use_spdy: false,
                attempt,
                probe: false,
            };
        }
        let circuit = self
            .circuits
            .entry(cluster.to_owned())
            .or_insert_with(|| Circuit {
                state: State::Closed { failures: 0 },
                generation: next_generation(generations),
            });
        if let State::Open { until } = circuit.state
            && until <= now
        {
            circuit.change(State::HalfOpen { probe: None }, generations);
        }
        let attempt = AttemptId {
            generation: circuit.generation,
            number,
        };
        match &mut circuit.state {
            State::Closed { .. } => Plan {
                use_spdy: false,
                attempt,
                probe: false,
            },
            State::HalfOpen { probe } if probe.is_none_or(|probe| probe.lost_at <= now) => {
                let lost_at = now.after(limits::BREAKER_PROBE_LOST);
                *probe = Some(Probe { number, lost_at });
                Plan {
                    use_spdy: false,
                    attempt,
                    probe: true,
                }
            }
            State::Open { .. } | State::HalfOpen { .. } => Plan {
                use_spdy: true,
                attempt,
                probe: false,
            },
        }
    }

    /// Takes the outcome of an attempt. Ignored if the breaker has changed its state since the
    /// attempt began: it says nothing about the cluster as it is now.
    pub fn report(&mut self, cluster: &str, attempt: AttemptId, outcome: Outcome, now: Instant) {
        let Some(circuit) = self.circuits.get_mut(cluster) else {
            return;
        };
        if circuit.generation != attempt.generation {
            return;
        }
        let generations = &mut self.generations;
        let open = State::Open {
            until: now.after(limits::BREAKER_OPEN),
        };
        match (&mut circuit.state, outcome) {
            (State::Closed { failures }, Outcome::Success) => *failures = 0,
            (State::Closed { failures }, Outcome::Failure) => {
                *failures = failures.saturating_add(1);
                if *failures >= limits::BREAKER_FAILURES {
                    circuit.change(open, generations);
                }
            }
            (State::HalfOpen { probe }, outcome)
                if probe.is_some_and(|probe| probe.number == attempt.number) =>
            {
                match outcome {
                    Outcome::Success => circuit.change(State::Closed { failures: 0 }, generations),
                    Outcome::Failure => circuit.change(open, generations),
                    Outcome::NoVerdict => *probe = None,
                }
            }
            // No verdict, or an attempt over SPDY: only a v5 attempt moves the breaker.
            (State::Closed { .. }, Outcome::NoVerdict)
            | (State::Open { .. } | State::HalfOpen { .. }, _) => {}
        }
    }

    /// The state as the next attempt would find it.
    pub fn state(&self, cluster: &str, now: Instant) -> BreakerState {
        match self.circuits.get(cluster).map(|circuit| circuit.state) {
            None | Some(State::Closed { .. }) => BreakerState::Closed,
            Some(State::Open { until }) if now < until => BreakerState::Open,
            Some(State::Open { .. } | State::HalfOpen { .. }) => BreakerState::HalfOpen,
        }
    }
}

/// How to begin an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// SPDY only; otherwise v5 first.
    pub use_spdy: bool,
    /// Whose outcome it is.
    pub attempt: AttemptId,
    /// Whether it is the probe of a half-open breaker. Until its outcome is reported, all others
    /// use SPDY.
    pub probe: bool,
}

/// An attempt, and the breaker's state it was planned in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptId {
    generation: u64,
    number: u64,
}

/// What an attempt over v5 showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// WebSocket works.
    Success,
    /// WebSocket failed with an answer that counts, *and* the SPDY attempt that followed got its
    /// 101: what SPDY cannot do either is an outage, not a transport.
    Failure,
    /// Neither, or the attempt was given up. A probe is given back.
    NoVerdict,
}

/// The state, as logs and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerState {
    /// v5 first.
    Closed,
    /// SPDY only.
    Open,
    /// SPDY, except for the probe.
    HalfOpen,
}

impl BreakerState {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug)]
struct Circuit {
    state: State,
    /// Number of the last change of state.
    generation: u64,
}

impl Circuit {
    fn change(&mut self, state: State, generations: &mut u64) {
        self.state = state;
        self.generation = next_generation(generations);
    }

    fn is_forgettable(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0 })
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probe: Option<Probe> },
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u64,
    /// From here on its outcome is no longer awaited: a host that lost it must not pin the
    /// cluster to SPDY for ever.
    lost_at: Instant,
}

/// The generation of attempts nobody remembers. [`next_generation`] begins above it.
const UNKNOWN_GENERATION: u64 = 0;

fn next_generation(generations: &mut u64) -> u64 {
    *generations = generations.saturating_add(1);
    *generations
}

/// Makes room for one more circuit by forgetting one that has nothing to remember. False if
/// there is none.
fn make_room(circuits: &mut BTreeMap<String, Circuit>) -> bool {
    if circuits.len() < limits::BREAKER_CLUSTERS_MAX {
        return true;
    }
    let forgettable = circuits
        .iter()
        .find(|(_, circuit)| circuit.is_forgettable());
    let Some(name) = forgettable.map(|(name, _)| name.clone()) else {
        return false;
    };
    circuits.remove(&name).is_some()
}

#[cfg(test)]
mod tests;
