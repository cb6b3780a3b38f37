//! How fast one subject may open sessions: at most so many in any 60 seconds.

use std::collections::{BTreeMap, VecDeque};

use crate::limits;
use crate::time::Instant;

/// The opens of the last minute, by subject.
///
/// Each open is remembered by its instant: a counter per minute, or a bucket that refills, would
/// let through up to twice the number around a boundary.
#[derive(Debug, Default)]
pub struct Rate {
    opens: BTreeMap<String, VecDeque<Instant>>,
    /// When the full table was last swept in vain: the earliest instant at which it can help again.
    sweep_at: Instant,
}

impl Rate {
    /// Nobody has opened anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spends one open of `subject`, or says when the next one is free. 0 per minute means no limit.
    ///
    /// A table full of subjects that are all within their minute refuses new ones: more of them
    /// than [`limits::RATE_SUBJECTS_MAX`] in one minute are no people.
    pub fn allow(
        &mut self,
        subject: &str,
        per_minute: u32,
        now: Instant,
    ) -> Result<(), RetryAfter> {
        if per_minute == 0 {
            return Ok(());
        }
        if self.is_full_for(subject) {
            self.sweep(now);
        }
        self.check(subject, per_minute, now)?;
        let opens = self.opens.entry(subject.to_owned()).or_default();
        while opens.front().is_some_and(|open| has_passed(*open, now)) {
            opens.pop_front();
        }
        opens.push_back(now);
        Ok(())
    }

    /// Whether [`Self::allow`] would succeed now. Spends nothing.
    pub fn check(&self, subject: &str, per_minute: u32, now: Instant) -> Result<(), RetryAfter> {
        if per_minute == 0 {
            return Ok(());
        }
        let Some(opens) = self.opens.get(subject) else {
            let blocked = self.is_full_for(subject) && now < self.sweep_at;
            return if blocked {
                Err(RetryAfter::until(self.sweep_at, now))
            } else {
                Ok(())
            };
        };
        // The one that must leave the window before another may enter.
        let leaves = opens
            .len()
            .checked_sub(per_minute as usize)
            .and_then(|index| opens.get(index));
        match leaves {
            Some(open) if !has_passed(*open, now) => {
                Err(RetryAfter::until(open.after(limits::RATE_WINDOW), now))
            }
            _ => Ok(()),
        }
    }

    fn is_full_for(&self, subject: &str) -> bool {
        self.opens.len() >= limits::RATE_SUBJECTS_MAX && !self.opens.contains_key(subject)
    }

    /// Forgets everybody whose minute has passed. A sweep in vain is not repeated before it can
    /// help, so a flood of subjects costs no more than a look-up each.
    fn sweep(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.opens
            .retain(|_, opens| opens.back().is_some_and(|last| !has_passed(*last, now)));
        if self.opens.len() >= limits::RATE_SUBJECTS_MAX {
            let first = self.opens.values().filter_map(VecDeque::back).min();
            self.sweep_at = first.map_or(now, |last| last.after(limits::RATE_WINDOW));
        }
    }
}

/// Whether an open no longer counts. The window is half-open: after exactly its length, it has passed.
fn has_passed(open: Instant, now: Instant) -> bool {
    now.since(open) >= limits::RATE_WINDOW
}

/// How long to wait before the next open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(u64);

impl RetryAfter {
    /// Whole seconds, rounded up, at least 1: what an HTTP `Retry-After` takes (RFC 9110 §10.2.3).
    pub const fn seconds(self) -> u64 {
        self.0
    }

    fn until(free: Instant, now: Instant) -> Self {
        let wait = free.since(now);
        let rounded_up = wait
            .as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0));
        Self(rounded_up.max(1))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn the_open_after_the_last_allowed_one_waits_for_the_first_to_pass() {
        let mut rate = Rate::new();
        for millis in [0, 10_000, 20_000] {
            assert_eq!(rate.allow("ann", 3, at(millis)), Ok(()));
        }
        assert_eq!(rate.allow("ann", 3, at(20_000)).unwrap_err().seconds(), 40);
        assert_eq!(
            rate.allow("ann", 3, at(20_001)).unwrap_err().seconds(),
            40,
            "rounded up"
        );
        assert_eq!(rate.allow("ann", 3, at(59_999)).unwrap_err().seconds(), 1);
        assert_eq!(
            rate.allow("bob", 3, at(59_999)),
            Ok(()),
            "each subject has its own"
        );
        assert_eq!(rate.allow("ann", 3, at(60_000)), Ok(()));
        assert_eq!(rate.allow("ann", 3, at(60_000)).unwrap_err().seconds(), 10);
    }

    #[test]
    fn zero_per_minute_switches_the_limit_off_and_remembers_nothing() {
        let mut rate = Rate::new();
        for _ in 0..1000 {
            assert_eq!(rate.allow("ann", 0, at(0)), Ok(()));
        }
        assert!(rate.opens.is_empty());
    }

    #[test]
    fn a_lowered_limit_waits_until_enough_have_passed() {
        let mut rate = Rate::new();
        for second in 0..5 {
            rate.allow("ann", 5, at(second * 1000)).unwrap();
        }
        // Of 0, 1, 2, 3, 4 s four must have passed before one more makes two at most.
        assert_eq!(rate.allow("ann", 2, at(5000)).unwrap_err().seconds(), 58);
        assert_eq!(rate.allow("ann", 2, at(63_000)), Ok(()));
    }

    #[test]
    fn a_check_spends_nothing() {
        let mut rate = Rate::new();
        for _ in 0..10 {
            assert_eq!(rate.check("ann", 1, at(0)), Ok(()));
        }
        rate.allow("ann", 1, at(0)).unwrap();
        assert_eq!(rate.check("ann", 1, at(0)).unwrap_err().seconds(), 60);
    }

    #[test]
    fn the_table_of_subjects_is_bounded_and_never_forgets_a_minute_that_runs() {
        let mut rate = Rate::new();
        for subject in 0..limits::RATE_SUBJECTS_MAX {
            rate.allow(&subject.to_string(), 1, at(subject as u64 % 1000))
                .unwrap();
        }
        assert_eq!(
            rate.allow("one more", 1, at(1000)).unwrap_err().seconds(),
            59
        );
        assert_eq!(
            rate.check("one more", 1, at(1000)).unwrap_err().seconds(),
            59
        );
        assert!(
            rate.allow("0", 1, at(1000)).is_err(),
            "known subjects keep their own window"
        );
        assert_eq!(rate.allow("0", 1, at(60_000)), Ok(()));
        assert_eq!(rate.allow("one more", 1, at(60_001)), Ok(()));
        assert!(rate.opens.len() <= limits::RATE_SUBJECTS_MAX);
    }

    proptest! {
        #[test]
        fn no_window_of_sixty_seconds_holds_more_than_the_limit(
            steps in proptest::collection::vec(0_u64..20_000, 1..200),
            per_minute in 1_u32..6,
        ) {
            let mut rate = Rate::new();
            let (mut now, mut allowed) = (0, Vec::new());
            for step in steps {
                now += step;
                let recent = |at: &&u64| now - **at < 60_000;
                let in_window = allowed.iter().filter(recent).count();
                match rate.allow("ann", per_minute, at(now)) {
                    Ok(()) => {
                        prop_assert!(in_window < per_minute as usize, "one too many at {}", now);
                        allowed.push(now);
                    }
                    Err(wait) => {
                        prop_assert!(in_window >= per_minute as usize, "refused with room at {}", now);
                        let free = now + wait.seconds() * 1000;
                        prop_assert!(wait.seconds() >= 1 && rate.check("ann", per_minute, at(free)).is_ok());
                        let early = (free - 1000).max(now);
                        prop_assert!(rate.check("ann", per_minute, at(early)).is_err(), "waits a second too long");
                    }
                }
            }
        }
    }
}
