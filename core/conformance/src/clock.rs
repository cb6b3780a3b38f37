//! What the driver expects of a clock.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use periscope_core::time::Instant;
use periscope_core::transport::Clock;

use crate::Runtime;

/// Asking again never hangs.
pub fn a_deadline_in_the_past_is_ready_every_time<R: Runtime>() {
    R::block_on(async {
        let mut clock = R::clock();
        let deadline = clock.now().after(Duration::from_millis(5));
        for _ in 0..3 {
            poll_fn(|cx| clock.poll_until(cx, deadline)).await;
        }
        poll_fn(|cx| clock.poll_until(cx, Instant::ZERO)).await;
    });
}

/// A deadline moves both ways: a key puts it off, an end brings it near.
pub fn a_later_call_replaces_the_deadline<R: Runtime>() {
    R::block_on(async {
        let mut clock = R::clock();
        let far = clock.now().after(Duration::from_hours(1));
        let near = clock.now().after(Duration::from_millis(5));
        poll_fn(|cx| {
            assert!(clock.poll_until(cx, far).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| clock.poll_until(cx, near)).await;
        poll_fn(|cx| {
            assert!(clock.poll_until(cx, far).is_pending());
            Poll::Ready(())
        })
        .await;
    });
}

/// An early timer would make the driver turn in circles.
pub fn a_clock_never_fires_early<R: Runtime>() {
    R::block_on(async {
        let mut clock = R::clock();
        for micros in [1, 999, 1_000, 1_001, 3_500] {
            let deadline = clock.now().after(Duration::from_micros(micros));
            poll_fn(|cx| clock.poll_until(cx, deadline)).await;
            assert!(clock.now() >= deadline, "{micros} µs");
        }
    });
}
