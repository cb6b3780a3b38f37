//! Silence is warned of and then ends the session; activity puts it off.

use core::time::Duration;
use std::time::Instant;

use periscope_core::channel::Stream;
use periscope_core::code::CloseDetail;
use periscope_core::session::Timing;

use crate::Runtime;
use crate::browser::Browser;
use crate::stage::{Setup, Wire};

/// Half of it is what a key has to arrive in, on a machine that may be busy with other things.
const IDLE: Duration = Duration::from_secs(2);

fn setup() -> Setup {
    Setup::new(Wire::Tcp).with(|config| {
        config.timing = Timing {
            idle: IDLE,
            idle_warn: IDLE / 2,
            heartbeat: Duration::from_secs(20),
        };
    })
}

/// Never early, and the warning comes first.
pub fn silence_warns_and_then_ends<R: Runtime>() {
    let (rest, report) = setup().play::<R, _>(
        |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            exec.expect_drop();
        },
        |mut browser| {
            let asked = Instant::now();
            browser.text("hello");
            browser.output(1);
            let warning = browser.text("idle_warn");
            // Less than a second is left by now: rounded up.
            assert_eq!(warning["secondsRemaining"], 1);
            assert!(asked.elapsed() >= IDLE / 2, "warned early");
            let error = browser.text("error");
            assert!(asked.elapsed() >= IDLE, "ended early");
            assert_eq!(error["code"], "E_IDLE");
            browser.rest()
        },
    );
    assert_eq!(rest.closed["reason"], "server_idle");
    assert_eq!((rest.detail(), rest.close_code), ("idle", Some(1000)));
    assert_eq!(report.summary().detail, CloseDetail::Idle);
    assert_eq!(report.summary().exit_code, None);
}

/// The key counts from when it came.
pub fn a_key_clears_the_warning<R: Runtime>() {
    let (rest, _) = setup().play::<R, _>(
        |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            exec.expect_stdin(b"k");
            exec.expect_drop();
        },
        |mut browser| {
            browser.text("hello");
            browser.output(1);
            browser.text("idle_warn");
            let pressed = Instant::now();
            browser.send(b"k");
            browser.text("idle_clear");
            browser.text("idle_warn");
            browser.text("error");
            assert!(pressed.elapsed() >= IDLE, "ended early");
            Browser::rest(browser)
        },
    );
    assert_eq!(rest.detail(), "idle");
}
