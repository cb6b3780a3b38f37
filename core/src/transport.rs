//! What a runtime must offer: a byte stream and a clock. Nothing else is runtime-specific.

use core::task::{Context, Poll};
use std::io::{self, IoSlice};

use bytes::BytesMut;

use crate::time::Instant;

/// A connected byte stream.
///
/// All methods follow the rules of `core::future`: `Pending` means the waker was registered.
pub trait Transport {
    /// Appends at most `max` bytes to `buf`. `Ready(Ok(0))` is the end of the stream.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>>;

    /// Writes a prefix of `chunks`, which are not empty, and says how many bytes were taken.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Pushes out what a layer in between (TLS) still holds.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// How many bytes the reader will take before it stops to read for a while. A layer in between
    /// that reads ahead of what it is asked for (TLS) should not hold much more.
    fn read_ahead(&mut self, max: usize) {
        let _ = max;
    }

    /// Ends the sending direction in order: TLS `close_notify`, then FIN.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// The host's monotonic clock.
pub trait Clock {
    /// The present instant, since the host's epoch.
    fn now(&self) -> Instant;

    /// Ready once `deadline` has come. A later call replaces the deadline of an earlier one.
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()>;
}
