//! Virtual time: it jumps from event to event.

use core::cell::Cell;
use core::task::{Context, Poll};
use std::rc::Rc;

use crate::time::Instant;
use crate::transport::Clock;

/// The one clock of a world; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    now: Rc<Cell<Instant>>,
    deadline: Rc<Cell<Option<Instant>>>,
}

impl SimClock {
    /// Jumps to `now`. Time never goes back.
    pub fn set(&self, now: Instant) {
        debug_assert!(now >= self.now.get(), "time went back");
        self.now.set(now);
    }

    /// Forgets the driver's last wish, before it is polled again.
    pub fn forget_deadline(&self) {
        self.deadline.set(None);
    }

    /// When the driver wants to be woken, as it said last.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn poll_until(&mut self, _: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.deadline.set(Some(deadline));
        if self.now.get() >= deadline {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
