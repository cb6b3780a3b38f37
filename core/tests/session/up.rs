//! When a session counts as *up*, and in which order record, `hello` and stdin leave.

use periscope_core::code::CloseDetail;
use periscope_core::session::{Order, PodState};

use crate::rig::{Act, Rig, SPDY, V4, V5, millis, secs};

#[test]
fn an_output_byte_is_up_at_once() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::new(|config| config.first = first);
        rig.accept();
        assert!(
            !rig.session.is_up(),
            "{first:?}: the ready marker is no output"
        );
        rig.advance(millis(1));
        rig.prints(b"$ ");
        rig.in_order(&[
            &format!("started {first:?}"),
            "browser: hello",
            "browser: output",
        ]);
        assert_eq!(rig.output, b"$ ");
    }
}

#[test]
fn success_or_an_exit_code_is_up_at_once() {
    for code in [0, 5] {
        for first in [V5, SPDY, V4] {
            let mut rig = Rig::new(|config| config.first = first);
            rig.accept();
            rig.exits(code);
            rig.until_over();
            rig.in_order(&[
                &format!("started {first:?}"),
                "browser: hello",
                "browser: closed",
                "browser: close 1000",
                "ended process_exit",
            ]);
            assert_eq!(rig.text("closed")["exitCode"], code);
            assert_eq!(rig.end().exit_code, Some(code));
            assert!(!rig.has_text("error"));
        }
    }
}

#[test]
fn quiet_is_up_after_half_a_second_on_v5_and_after_300_ms_elsewhere() {
    for (first, quiet) in [(V5, 500), (SPDY, 300), (V4, 300)] {
        let mut rig = Rig::new(|config| config.first = first);
        rig.advance(secs(2));
        rig.accept();
        rig.advance(millis(quiet - 1));
        assert!(!rig.session.is_up(), "{first:?}");
        rig.advance(millis(1));
        assert!(rig.session.is_up(), "{first:?}");
        assert_eq!(rig.at("browser: hello"), secs(2) + millis(quiet));
    }
}

#[test]
fn on_spdy_the_quiet_begins_with_the_last_reply() {
    let mut rig = Rig::new(|config| config.first = SPDY);
    rig.connect();
    rig.api_holds = true;
    rig.upgrade();
    for _ in 0..4 {
        rig.release(); // the 101 and three of four replies
    }
    rig.advance(secs(1));
    assert!(!rig.session.is_up());
    rig.release();
    rig.advance(millis(299));
    assert!(!rig.session.is_up());
    rig.advance(millis(1));
    assert!(rig.session.is_up());
}

#[test]
fn the_start_record_leaves_before_hello_and_hello_before_stdin() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::new(|config| config.first = first);
        rig.types(b"ls\n");
        rig.accept();
        assert_eq!(rig.stdin, b"", "stdin waits until up");
        rig.advance(millis(500));
        rig.in_order(&[&format!("started {first:?}"), "browser: hello"]);
        assert_eq!(rig.stdin, b"ls\n");
        let stdin = rig.log.iter().position(|line| line == "api: stdin 3");
        let started = rig.log.iter().position(|line| line.starts_with("started"));
        assert!(stdin > started, "{:#?}", rig.log);
    }
}

#[test]
fn nothing_is_lent_to_a_socket_while_the_start_record_is_unpolled() {
    use periscope_core::session::{Event, Input, Leg, Output};
    let mut rig = Rig::new(|_| {});
    rig.accept();
    let at = rig.now.after(millis(500));
    rig.session.handle_input(at, Input::Timeout);
    assert_eq!(rig.session.unwritten(Leg::Browser), 0);
    let mut started = false;
    loop {
        match rig.session.poll_output() {
            Output::Event(Event::Started { .. }) => started = true,
            Output::Timeout(_) => break,
            _ => {}
        }
        if !started {
            assert_eq!(rig.session.unwritten(Leg::Browser), 0);
        }
    }
    assert!(started);
    assert!(rig.session.unwritten(Leg::Browser) > 0, "hello");
}

#[test]
fn hello_tells_what_runs_and_for_whom() {
    let mut rig = Rig::new(|config| config.flow_ack = true);
    rig.accept();
    rig.prints(b"x");
    let hello = rig.text("hello");
    for (key, value) in [
        ("sessionId", "0123456789abcdef"),
        ("cluster", "prod"),
        ("namespace", "shop"),
        ("pod", "cart-0"),
        ("container", "app"),
        ("transport", "ws"),
        ("subprotocol", "v5.channel.k8s.io"),
        ("flow", "ack"),
    ] {
        assert_eq!(hello[key], value, "{key}");
    }
    assert_eq!(hello["command"][0], "sh");
    assert_eq!(hello["tty"], true);
    assert_eq!(hello["idleSeconds"], 600);
    assert_eq!(hello["idleWarnSeconds"], 30);
    assert_eq!(hello["heartbeatSeconds"], 20);
    assert_eq!(hello["identity"]["user"], "alice");
    assert_eq!(hello["identity"]["groups"][0], "periscope-tier:write");
}

#[test]
fn nothing_overtakes_hello() {
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.browser_takes = 0;
    rig.prints(b"$ ");
    rig.order(Order::Drain { seconds: 10 });
    rig.browser_takes = usize::MAX;
    rig.pump();
    rig.in_order(&["browser: hello", "browser: drain", "browser: output"]);
}

#[test]
fn a_failure_before_up_is_told_and_denied() {
    let mut rig = Rig::new(|_| {});
    rig.refuse_status(404, "NotFound", "pods \"cart-0\" not found");
    rig.until_over();
    rig.in_order(&["browser: error", "browser: closed", "browser: close 1011"]);
    assert!(!rig.has_text("hello"));
    assert!(!rig.end().started);
    assert_eq!(rig.count("started WebSocketV5"), 0);
}

#[test]
fn a_session_that_ends_between_the_101_and_up_has_a_start_and_an_end() {
    let ends: [(CloseDetail, Act<'_>); 6] = [
        (CloseDetail::TabGone, &|rig| rig.browser_vanishes()),
        (CloseDetail::UserClose, &|rig| {
            rig.says(r#"{"type":"close"}"#);
        }),
        (CloseDetail::AdminKill, &|rig| {
            rig.order(Order::End(CloseDetail::AdminKill));
        }),
        (CloseDetail::Drain, &|rig| {
            rig.order(Order::Drain { seconds: 10 });
        }),
        (CloseDetail::Unreachable, &|rig| {
            rig.api_eof();
            rig.pod(PodState::Same);
        }),
        (CloseDetail::ProtocolError, &|rig| rig.api_says(&[0xff; 32])),
    ];
    for first in [V5, SPDY, V4] {
        for (detail, end) in ends {
            let mut rig = Rig::new(|config| config.first = first);
            rig.accept();
            end(&mut rig);
            rig.until_over();
            assert_eq!(rig.end().detail, detail, "{first:?}");
            assert!(rig.end().started, "{first:?} {detail}");
            rig.in_order(&[&format!("started {first:?}"), &format!("ended {detail}")]);
            assert!(!rig.has_text("hello"));
        }
    }
}

#[test]
fn before_the_101_nothing_can_have_run() {
    let mut rig = Rig::new(|_| {});
    rig.connect();
    rig.browser_vanishes();
    assert!(!rig.end().started);
    assert_eq!(rig.end().detail, CloseDetail::TabGone);
}
