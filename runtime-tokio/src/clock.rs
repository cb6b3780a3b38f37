//! tokio's clock, so that tests with paused time work.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use periscope_core::time::Instant;
use periscope_core::transport::Clock;
use tokio::time::Sleep;

/// A clock that counts from an epoch its host picked; sessions of one process share it.
#[derive(Debug)]
pub struct TokioClock {
    epoch: tokio::time::Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl TokioClock {
    /// A clock whose zero is `epoch`.
    pub fn new(epoch: tokio::time::Instant) -> Self {
        Self { epoch, sleep: None }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::ZERO.after(self.epoch.elapsed())
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let at = self.epoch + Duration::from_micros(deadline.as_micros());
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }
}
