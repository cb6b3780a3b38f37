//! Time as the core sees it: an instant the host hands in, and a table of deadlines.
//!
//! Nothing in this crate reads a clock. The host picks the epoch and passes `now` with every
//! input, which is what makes a run repeatable (same seed, same transcript).

use core::fmt;
use core::time::Duration;

/// A point on the host's monotonic clock, in microseconds since an epoch the host picks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The host's epoch.
    pub const ZERO: Self = Self(0);

    /// An instant `micros` microseconds after the host's epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the host's epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time elapsed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This instant plus `duration`, saturating at the end of time.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        let micros = duration.as_micros();
        // A u128 above u64::MAX saturates: half a million years is "never" for a session.
        #[expect(clippy::cast_possible_truncation, reason = "guarded by the comparison")]
        let micros = if micros > u64::MAX as u128 {
            u64::MAX
        } else {
            micros as u64
        };
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t+{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_print_in_seconds_and_never_wrap() {
        let at = Instant::from_micros(1_500_000);
        assert_eq!(at.to_string(), "t+1.500000s");
        assert_eq!(Instant::ZERO.since(at), Duration::ZERO);
        assert_eq!(at.since(Instant::ZERO), Duration::from_millis(1500));
        assert_eq!(at.after(Duration::MAX).as_micros(), u64::MAX);
    }
}
