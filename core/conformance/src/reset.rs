//! Connections break on either side.

use std::sync::mpsc::channel;

use periscope_core::channel::Stream;
use periscope_core::code::{CloseDetail, ErrorCode};
use periscope_core::session::PodState;

use crate::Runtime;
use crate::slow_reader::Fullness;
use crate::stage::{PATIENCE, Setup, Wire};

/// The pod is still there: the connection was lost.
pub fn an_apiserver_that_resets_is_a_transport_error<R: Runtime>(wire: Wire) {
    let (rest, report) = reset_by_apiserver::<R>(Setup::new(wire));
    assert_eq!(rest.errors, ["E_CLUSTER_UNREACHABLE"]);
    assert_eq!(rest.closed["reason"], "forced_close");
    assert_eq!(rest.detail(), "transport_error");
    assert!(rest.closed["exitCode"].is_null());
    assert_eq!(rest.closed["truncated"], true);
    assert_eq!((rest.close_code, rest.reset), (Some(1011), false));
    assert_eq!(report.pod_asks, 1);
    assert_eq!(report.summary().code, Some(ErrorCode::ClusterUnreachable));
}

/// The pod is gone: that is why.
pub fn a_pod_that_is_gone_is_said_to_be_gone<R: Runtime>(wire: Wire) {
    let mut setup = Setup::new(wire);
    setup.pod = PodState::Gone;
    let (rest, report) = reset_by_apiserver::<R>(setup);
    assert_eq!(rest.detail(), "pod_gone");
    assert_eq!(report.summary().detail, CloseDetail::PodGone);
}

fn reset_by_apiserver<R: Runtime>(setup: Setup) -> (crate::browser::Rest, crate::stage::Report) {
    setup.play::<R, _>(
        |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            exec.reset();
        },
        |mut browser| {
            browser.text("hello");
            browser.output(1);
            browser.send(b"never read");
            browser.rest()
        },
    )
}

/// A process exits while its user pastes: the apiserver says the status and resets, because it
/// will never read the rest. The status counts, not our failed write.
pub fn a_status_before_the_reset_wins<R: Runtime>(wire: Wire) {
    let (full, is_full) = channel();
    let mut fullness = Fullness {
        input: Some(full),
        ..Fullness::default()
    };
    let (rest, report) = Setup::new(wire).play_watched::<R, _>(
        move |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            // The gateway's writes are stuck now.
            is_full.recv_timeout(PATIENCE).unwrap();
            exec.exit_and_reset(5);
        },
        |mut browser| {
            browser.text("hello");
            browser.output(1);
            let mut typist = browser.typist();
            std::thread::scope(|scope| {
                scope.spawn(move || typist.send_until_cut(24 * 1024 * 1024));
                browser.rest()
            })
        },
        Some(&mut |glance| fullness.look(glance)),
    );
    assert_eq!(rest.detail(), "process_exit");
    assert_eq!(rest.closed["exitCode"], 5);
    assert_eq!(report.summary().detail, CloseDetail::ProcessExit);
    assert_eq!(report.pod_asks, 0);
}

/// The upstream is dropped at once, and nobody waits for a farewell.
pub fn a_browser_that_resets_is_gone<R: Runtime>(wire: Wire) {
    let ((), report) = Setup::new(wire).play::<R, _>(
        |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            exec.expect_stdin(b"k");
            exec.output(Stream::Stdout, b"never read");
            exec.expect_drop();
        },
        |mut browser| {
            browser.text("hello");
            browser.output(1);
            browser.send(b"k");
            browser.reset();
        },
    );
    assert_eq!(report.summary().detail, CloseDetail::TabGone);
    assert_eq!(report.summary().exit_code, None);
}
