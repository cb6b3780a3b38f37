//! A bound for answers nobody reads.

use crate::limits;
use crate::outbox::Outbox;

/// Counts answers the socket has not taken, so that a peer that floods us with pings and does not
/// read cannot fill the outbox.
#[derive(Debug, Default)]
pub(super) struct Replies {
    unwritten: usize,
    /// Once the outbox has written this much, none is left.
    mark: u64,
}

impl Replies {
    pub(super) fn may_reply(&mut self, out: &Outbox) -> bool {
        if out.written() >= self.mark {
            self.unwritten = 0;
        }
        self.unwritten < limits::SPDY_REPLIES_MAX
    }

    pub(super) fn replied(&mut self, mark: u64) {
        self.unwritten = self.unwritten.saturating_add(1);
        self.mark = self.mark.max(mark);
    }
}
