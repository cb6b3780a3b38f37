//! What is remembered of a stream.

/// One stream, ended or not.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// A `SYN_REPLY` was sent (server) or received (client).
    pub(super) is_replied: bool,
    pub(super) is_ended_here: bool,
    pub(super) is_ended_there: bool,
}

impl Stream {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            is_replied: false,
            is_ended_here: false,
            is_ended_there: false,
        }
    }

    pub(super) fn end_both(&mut self) {
        self.is_ended_here = true;
        self.is_ended_there = true;
    }
}
