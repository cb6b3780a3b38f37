//! Requests that cost the apiserver something, limited per subject.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Requests a second, and how many may come at once.
pub(crate) const REQUESTS_PER_SECOND: u32 = 20;

/// Subjects that are remembered. When there are more, those that have rested are forgotten first.
const SUBJECTS_MAX: usize = 10_000;

/// One bucket per subject, each refilled evenly and never above a second's worth.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// When each subject's bucket is full again. Later than now: that much is used up.
    full_at: HashMap<String, Instant>,
}

impl Limiter {
    /// Takes one request, or says how long to wait.
    pub(crate) fn take(&mut self, subject: &str, now: Instant) -> Result<(), Duration> {
        let second = Duration::from_secs(1);
        let cost = second / REQUESTS_PER_SECOND;
        if self.full_at.len() >= SUBJECTS_MAX && !self.full_at.contains_key(subject) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= SUBJECTS_MAX {
                return Err(second);
            }
        }
        let full_at = self.full_at.get(subject).copied().unwrap_or(now).max(now);
        let after = full_at + cost;
        let excess = after.saturating_duration_since(now).saturating_sub(second);
        if !excess.is_zero() {
            return Err(excess);
        }
        self.full_at.insert(subject.to_owned(), after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_twenty_requests_and_no_subject_takes_anothers() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let taken = (0..50).filter(|_| limiter.take("ann", now).is_ok()).count();
        assert_eq!(taken, 20);
        assert!(limiter.take("bob", now).is_ok());
        let wait = limiter.take("ann", now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(50));
        assert!(limiter.take("ann", now + wait).is_ok());
        assert!(limiter.take("ann", now + wait).is_err());
        let later = now + Duration::from_mins(1);
        assert_eq!(
            (0..50)
                .filter(|_| limiter.take("ann", later).is_ok())
                .count(),
            20
        );
    }

    #[test]
    fn the_table_is_bounded_and_forgets_those_who_rest() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        for index in 0..SUBJECTS_MAX {
            assert!(limiter.take(&format!("sub{index}"), now).is_ok());
        }
        assert!(limiter.take("one more", now).is_err());
        assert!(
            limiter
                .take("one more", now + Duration::from_secs(2))
                .is_ok()
        );
        assert_eq!(limiter.full_at.len(), 1);
    }
}
