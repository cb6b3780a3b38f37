//! Sockets and a clock of tokio for the driver loop of `periscope-core`.
//!
//! No decision is made here: what to read, write, dial or give up is the core's business.

mod clock;
mod socket;

use core::future::poll_fn;

pub use clock::TokioClock;
use periscope_core::drive::{Driver, Turn};
use periscope_core::transport::{Clock, Transport};
pub use socket::Socket;

/// Goes on until the host is needed. Cancel-safe: all state stays in the driver, so it can be one
/// branch of a `select!`.
pub async fn next<B: Transport, A: Transport, C: Clock>(driver: &mut Driver<B, A, C>) -> Turn {
    poll_fn(|cx| driver.poll_next(cx)).await
}
