//! The deadlines of a session, one per kind.

use crate::time::Instant;

/// Why a session may have to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The host owes an answer, or a browser its handshake.
    Ask,
    /// The peer's Close is awaited.
    Close,
    /// One dial, see `limits::DIAL_TIMEOUT`.
    Dial,
    /// All dials together.
    Dials,
    /// The process leaves.
    Drain,
    /// Queued output may still go out on an end that is not the process's own.
    Flush,
    /// The next ping towards the browser.
    Heartbeat,
    /// Silence ends the session.
    Idle,
    /// The warning before that.
    IdleWarn,
    /// The next keepalive towards the apiserver.
    Keepalive,
    /// After the status: the rest of the output.
    Linger,
    /// A ping was written and nothing moved since.
    Lost,
    /// The apiserver was silent so long that the pod may be gone.
    PodCheck,
    /// The browser's socket takes nothing.
    Stall,
    /// Quiet time after the handshake that counts as *up*.
    Up,
}

const TIMERS: [Timer; 15] = [
    Timer::Ask,
    Timer::Close,
    Timer::Dial,
    Timer::Dials,
    Timer::Drain,
    Timer::Flush,
    Timer::Heartbeat,
    Timer::Idle,
    Timer::IdleWarn,
    Timer::Keepalive,
    Timer::Linger,
    Timer::Lost,
    Timer::PodCheck,
    Timer::Stall,
    Timer::Up,
];

/// A table with one optional deadline per [`Timer`].
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: [Option<Instant>; TIMERS.len()],
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(slot) = self.deadlines.get_mut(timer as usize) {
            *slot = Some(at);
        }
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        if let Some(slot) = self.deadlines.get_mut(timer as usize) {
            *slot = None;
        }
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn at(&self, timer: Timer) -> Option<Instant> {
        self.deadlines.get(timer as usize).copied().flatten()
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at(timer).is_some()
    }

    /// Takes the earliest timer that is due, clearing it. Ties go in the order of the enum.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let due = TIMERS
            .into_iter()
            .filter_map(|timer| self.at(timer).map(|at| (at, timer)))
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, timer)| (*at, *timer as usize))
            .map(|(_, timer)| timer)?;
        self.stop(due);
        Some(due)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().copied().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_has_its_own_slot_in_enum_order() {
        for (index, timer) in TIMERS.into_iter().enumerate() {
            assert_eq!(timer as usize, index);
        }
    }

    #[test]
    fn due_timers_come_earliest_first_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Up, Instant::from_micros(5));
        timers.set(Timer::Idle, Instant::from_micros(3));
        timers.set(Timer::Dial, Instant::from_micros(9));
        let now = Instant::from_micros(6);
        assert_eq!(timers.next(), Some(Instant::from_micros(3)));
        assert_eq!(timers.pop_due(now), Some(Timer::Idle));
        assert_eq!(timers.pop_due(now), Some(Timer::Up));
        assert_eq!(timers.pop_due(now), None);
        assert_eq!(timers.next(), Some(Instant::from_micros(9)));
        timers.stop(Timer::Dial);
        assert!(!timers.is_set(Timer::Dial));
    }
}
