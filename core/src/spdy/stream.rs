//! What is remembered of a stream, and what its connection decides by.

/// One stream, ended or not.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// A `SYN_REPLY` was sent (server) or received (client).
    pub(super) is_replied: bool,
    pub(super) is_ended_here: bool,
    pub(super) is_ended_there: bool,
    pub(super) window: Window,
}

/// What a peer lets us send (SPDY/3.1 §2.6.8). No Kubernetes peer grants or counts anything, so it
/// holds nothing back here; but a peer that lets it pass 2^31 − 1 has lost count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window(i64);

impl Window {
    /// What may be sent before the first update.
    pub(super) const INITIAL: Self = Self(64 * 1024);

    /// We sent this much.
    pub(super) fn spend(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0 = self.0.saturating_sub(bytes);
    }

    /// The peer allows this much more. False if that is more than can be allowed.
    pub(super) fn grant(&mut self, bytes: u32) -> bool {
        self.0 = self.0.saturating_add(bytes.into());
        self.0 <= i64::from(i32::MAX)
    }
}

impl Stream {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            is_replied: false,
            is_ended_here: false,
            is_ended_there: false,
            window: Window::INITIAL,
        }
    }

    pub(super) fn end_both(&mut self) {
        self.is_ended_here = true;
        self.is_ended_there = true;
    }
}

/// Which half of the protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// What a header block ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Ignore,
    Open { id: u32, fin: bool },
    Refuse { id: u32, status: u32 },
}
