//! smol's timer over the system's monotonic clock.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use periscope_core::time::Instant;
use periscope_core::transport::Clock;
use smol::Timer;

/// A clock that counts from an epoch its host picked; sessions of one process share it.
#[derive(Debug)]
pub struct SmolClock {
    epoch: std::time::Instant,
    timer: Option<(Instant, Timer)>,
}

impl SmolClock {
    /// A clock whose zero is `epoch`.
    pub fn new(epoch: std::time::Instant) -> Self {
        Self { epoch, timer: None }
    }
}

impl Clock for SmolClock {
    fn now(&self) -> Instant {
        Instant::ZERO.after(self.epoch.elapsed())
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let at = self.epoch + Duration::from_micros(deadline.as_micros());
        let (set, timer) = self.timer.get_or_insert_with(|| (deadline, Timer::at(at)));
        if *set != deadline {
            *set = deadline;
            timer.set_at(at);
        }
        let polled = Pin::new(timer).poll(cx).map(|_| ());
        if polled.is_ready() {
            // A timer of smol is ready once; asked again it would stay silent for good.
            self.timer = None;
        }
        polled
    }
}
