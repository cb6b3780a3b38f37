//! The end of the browser's WebSocket, from either side.

use std::time::Instant;

use periscope_core::channel::Stream;
use periscope_core::code::CloseDetail;
use periscope_core::limits::CLOSE_TIMEOUT;
use periscope_core::session::Order;

use crate::Runtime;
use crate::apiserver::ApiServer;
use crate::browser::{Browser, Rest};
use crate::stage::{Report, Setup, Wire};

fn dropped_process(server: ApiServer) {
    let mut exec = server.exec();
    exec.output(Stream::Stdout, b"$");
    // To abort, the connection is dropped: no Close and no end of stdin.
    exec.expect_drop();
    drop(server);
}

fn play<R: Runtime>(wire: Wire, end: impl FnOnce(Browser) -> Rest + Send) -> (Rest, Report) {
    Setup::new(wire).play::<R, _>(dropped_process, |mut browser| {
        browser.text("hello");
        browser.output(1);
        end(browser)
    })
}

/// Close, `closed`, Close, FIN: and no reset that could eat one of them.
pub fn the_browsers_close_is_answered_and_the_socket_ended_in_order<R: Runtime>(wire: Wire) {
    for (code, detail) in [
        (1000, "user_close"),
        (1001, "tab_gone"),
        (4321, "user_close"),
    ] {
        let (rest, report) = play::<R>(wire, |mut browser| {
            browser.close(code);
            browser.rest()
        });
        assert_eq!(rest.detail(), detail);
        assert!(rest.close_code.is_some() && !rest.reset, "{rest:?}");
        assert!(rest.errors.is_empty());
        assert_eq!(report.summary().detail.as_str(), detail);
        assert_eq!(report.pod_asks, 0);
    }
}

/// The gateway says Close first, the browser answers, and the gateway ends the socket.
pub fn the_process_s_end_closes_in_order<R: Runtime>(wire: Wire) {
    let (rest, _) = Setup::new(wire).play::<R, _>(|server| server.exec().exit(9), Browser::rest);
    assert_eq!((rest.close_code, rest.reset), (Some(1000), false));
    assert_eq!(rest.closed["exitCode"], 9);
    assert!(rest.errors.is_empty());
}

/// Not before its second is over, and then for good.
pub fn a_browser_that_never_answers_close_is_cut_off<R: Runtime>(wire: Wire) {
    let (since, report) = Setup::new(wire).play::<R, _>(
        |server| server.exec().exit(0),
        |mut browser| {
            browser.ignore_close();
            // Before the first message: the Close may be out before this thread reads anything.
            let since = Instant::now();
            browser.text("hello");
            let rest = browser.rest();
            assert_eq!(rest.close_code, Some(1000));
            since
        },
    );
    assert!(since.elapsed() >= CLOSE_TIMEOUT, "cut off early");
    assert_eq!(report.summary().detail, CloseDetail::ProcessExit);
}

/// The button of the page.
pub fn a_close_message_is_the_users<R: Runtime>(wire: Wire) {
    let (rest, _) = play::<R>(wire, |mut browser| {
        browser.control(r#"{"type":"close"}"#);
        browser.rest()
    });
    assert_eq!((rest.detail(), rest.close_code), ("user_close", Some(1000)));
    let (rest, _) = play::<R>(wire, |mut browser| {
        browser.control(r#"{"type":"close","reason":"hidden"}"#);
        browser.rest()
    });
    assert_eq!((rest.detail(), rest.close_code), ("hidden", Some(1000)));
}

/// An administrator ends it.
pub fn an_order_ends_the_session<R: Runtime>(wire: Wire) {
    let mut order = Some(Order::End(CloseDetail::AdminKill));
    let (rest, report) = Setup::new(wire).play_watched::<R, _>(
        dropped_process,
        |mut browser| {
            browser.text("hello");
            browser.output(1);
            browser.rest()
        },
        Some(&mut |glance| order.take_if(|_| glance.session.is_up())),
    );
    assert_eq!((rest.detail(), rest.close_code), ("admin_kill", Some(1008)));
    assert!(!rest.reset);
    assert_eq!(report.summary().detail, CloseDetail::AdminKill);
}
