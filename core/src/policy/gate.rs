//! The three policies behind one door.

use super::{Breaker, CapHit, CapLimits, Caps, Permit, Rate, RetryAfter};
use crate::time::Instant;

/// Caps, rate and breaker of one process. The host keeps it behind one lock; that is what makes a
/// reservation atomic over both caps and the rate.
#[derive(Debug)]
pub struct Gate<D> {
    /// The sessions that hold a slot.
    pub caps: Caps<D>,
    /// The opens of the last minute.
    pub rate: Rate,
    /// The clusters whose WebSockets fail.
    pub breaker: Breaker,
}

impl<D> Default for Gate<D> {
    fn default() -> Self {
        Self {
            caps: Caps::new(),
            rate: Rate::new(),
            breaker: Breaker::new(),
        }
    }
}

impl<D: Clone> Gate<D> {
    /// A gate that has seen nothing: a restart also resets the breaker.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a slot and spends one open, or neither. The caps are asked first: a refusal by a cap
    /// spends nothing. The slot is held until [`Caps::release`].
    pub fn admit(
        &mut self,
        open: &Open<'_>,
        now: Instant,
        session: D,
    ) -> Result<Permit, Denial<D>> {
        self.caps
            .check(open.subject, open.cluster, open.caps)
            .map_err(Denial::Cap)?;
        self.rate
            .allow(open.subject, open.opens_per_minute, now)
            .map_err(Denial::Rate)?;
        self.caps
            .reserve(open.subject, open.cluster, open.caps, session)
            .map_err(Denial::Cap)
    }

    /// Whether [`Self::admit`] would succeed now. Holds and spends nothing.
    pub fn check(&self, open: &Open<'_>, now: Instant) -> Result<(), Denial<D>> {
        self.caps
            .check(open.subject, open.cluster, open.caps)
            .map_err(Denial::Cap)?;
        self.rate
            .check(open.subject, open.opens_per_minute, now)
            .map_err(Denial::Rate)
    }
}

/// Who wants a session where, and the limits in force there.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// The user, by the subject of their login.
    pub subject: &'a str,
    /// The cluster, by its name in the registry.
    pub cluster: &'a str,
    /// The caps of that cluster.
    pub caps: CapLimits,
    /// Opens per minute and subject; 0 switches the rate limit off.
    pub opens_per_minute: u32,
}

/// Why nobody gets in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial<D> {
    /// All slots are taken.
    Cap(CapHit<D>),
    /// Too many opens in the last minute.
    Rate(RetryAfter),
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn open(subject: &str) -> Open<'_> {
        let caps = CapLimits {
            per_user: 1,
            per_cluster: 2,
        };
        Open {
            subject,
            cluster: "prod",
            caps,
            opens_per_minute: 2,
        }
    }

    #[test]
    fn a_refusal_by_a_cap_spends_no_open_and_a_refusal_by_the_rate_holds_no_slot() {
        let mut gate = Gate::new();
        let now = Instant::ZERO;
        let first = gate.admit(&open("ann"), now, 1).unwrap();
        for _ in 0..10 {
            let denial = gate.admit(&open("ann"), now, 2).unwrap_err();
            assert_eq!(
                denial,
                Denial::Cap(CapHit::User {
                    limit: 1,
                    active: vec![1]
                })
            );
        }
        gate.caps.release(first);
        let second = gate.admit(&open("ann"), now, 3).unwrap();
        gate.caps.release(second);
        assert!(matches!(
            gate.admit(&open("ann"), now, 4),
            Err(Denial::Rate(_))
        ));
        assert_eq!(gate.caps.len(), 0);
        let later = now.after(Duration::from_mins(1));
        assert!(gate.admit(&open("ann"), later, 5).is_ok());
    }

    #[test]
    fn a_check_answers_like_admission_and_changes_nothing() {
        let mut gate = Gate::new();
        let now = Instant::ZERO;
        for _ in 0..10 {
            assert_eq!(gate.check(&open("ann"), now), Ok(()));
        }
        gate.admit(&open("ann"), now, 1).unwrap();
        assert!(matches!(
            gate.check(&open("ann"), now),
            Err(Denial::Cap(CapHit::User { .. }))
        ));
        gate.admit(&open("bob"), now, 2).unwrap();
        let full = CapHit::Cluster {
            limit: 2,
            own: vec![],
            other: 2,
        };
        assert_eq!(gate.check(&open("cy"), now), Err(Denial::Cap(full)));
        assert_eq!(gate.caps.len(), 2);
    }
}
