//! Dialing: deadlines, the order of farewell and next dial, late answers, and commands that must
//! not run twice.

use periscope_core::code::CloseDetail;
use periscope_core::http::SecretValue;
use periscope_core::session::{Answer, BreakerVerdict, DialFailure, Dialed, Order};

use crate::rig::{Act, Rig, SPDY, V4, V5, millis, secs};

#[test]
fn a_dial_has_ten_seconds_from_its_question_on() {
    let mut rig = Rig::new(|_| {});
    rig.advance(secs(4));
    rig.connect();
    rig.advance(millis(5999));
    assert_eq!(rig.count("dial Spdy"), 0);
    rig.advance(millis(1));
    rig.in_order(&["attempt WebSocketV5 timeout", "abort api", "dial Spdy"]);
}

#[test]
fn all_dials_together_have_twenty_five_seconds() {
    let mut rig = Rig::new(|_| {});
    rig.advance(millis(9900));
    rig.refuse(403, "");
    rig.advance(millis(9900));
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), Some(V4));
    rig.connect();
    rig.advance(millis(5199));
    assert!(rig.summary.is_none() && !rig.has_text("closed"));
    rig.advance(millis(1));
    assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
    rig.in_order(&["attempt WebSocketV4 timeout", "abort api"]);
    rig.until_over();
}

#[test]
fn a_spdy_dial_ends_with_its_last_reply_and_not_with_its_101() {
    let mut rig = Rig::new(|config| config.first = SPDY);
    rig.connect();
    rig.api_holds = true;
    rig.upgrade();
    rig.release();
    rig.advance(secs(9));
    for _ in 0..3 {
        rig.release();
    }
    assert_eq!(rig.count("attempt Spdy none"), 0);
    rig.advance(secs(1));
    rig.in_order(&["attempt Spdy timeout"]);
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
    assert!(rig.end().started, "the streams are there: it may have run");
}

#[test]
fn garbage_or_an_end_between_spdys_101_and_its_last_reply_is_an_unreachable_cluster() {
    let faults: [Act<'_>; 3] = [
        &|rig| rig.api_says(&[0xff; 40]),
        &|rig| rig.api_eof(),
        &|rig| rig.api_says(&[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        let mut rig = Rig::new(|_| {});
        rig.refuse(403, "");
        rig.connect();
        rig.api_says(b"HTTP/1.1 101 X\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n");
        assert_eq!(rig.breaker(), Some(BreakerVerdict::Failure));
        fault(&mut rig);
        assert_eq!(rig.dialing(), None, "{index}: SPDY was not refused");
        rig.until_over();
        assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
        assert_eq!(rig.end().detail, CloseDetail::Unreachable, "{index}");
        let told = rig
            .log
            .iter()
            .filter(|line| line.starts_with("attempt Spdy"));
        assert_eq!(told.count(), 1, "{index}: every dial has its line");
        assert!(rig.end().started);
    }
}

#[test]
fn a_head_that_came_is_the_answer_though_its_body_never_ends() {
    // Without a length the body ends with the connection, and this peer keeps it open.
    let mut rig = Rig::new(|_| {});
    rig.connect();
    rig.api_says(b"HTTP/1.1 403 Forbidden\r\n\r\n");
    rig.advance(secs(10));
    rig.in_order(&["attempt WebSocketV5 403", "abort api", "dial Spdy"]);
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), Some(V4), "refused by an answer");
}

#[test]
fn a_refusal_that_ends_in_a_reset_is_still_a_refusal() {
    let mut rig = Rig::new(|_| {});
    rig.connect();
    rig.api_says(b"HTTP/1.1 403 Forbidden\r\n\r\n");
    rig.api_fails(periscope_core::session::IoFailure::Reset);
    rig.in_order(&["attempt WebSocketV5 403", "dial Spdy"]);
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), Some(V4), "refused by an answer");
}

#[test]
fn the_old_connection_is_dropped_before_the_next_is_asked_for() {
    let mut rig = Rig::new(|_| {});
    rig.refuse(403, "");
    rig.refuse(403, "");
    rig.in_order(&[
        "dial WebSocketV5",
        "abort api",
        "dial Spdy",
        "abort api",
        "dial WebSocketV4",
    ]);
}

#[test]
fn a_dial_that_is_not_wanted_any_more_is_cancelled_and_its_late_connection_dropped() {
    let mut rig = Rig::new(|_| {});
    rig.answers_close = false;
    rig.order(Order::End(CloseDetail::UserClose));
    rig.in_order(&["cancel dial"]);
    assert_eq!(rig.count("abort api"), 0);
    rig.late_dialed();
    assert_eq!(rig.count("abort api"), 1);
    rig.answer(Answer::DialFailed(DialFailure::Tcp));
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::UserClose);
    assert!(!rig.end().started);
}

#[test]
fn a_host_that_never_connects_is_no_tcp_connection() {
    let mut rig = Rig::new(|_| {});
    rig.answers_close = false;
    rig.advance(secs(10));
    rig.in_order(&["attempt WebSocketV5 tcp", "cancel dial"]);
    assert_eq!(rig.dialing(), None);
    rig.late_dialed();
    rig.until_over();
    assert_eq!(rig.count("abort api"), 1);
}

#[test]
fn a_request_that_cannot_be_written_ends_the_session_and_drops_the_connection() {
    let mut rig = Rig::new(|_| {});
    rig.answer(Answer::Dialed(Dialed {
        host: "two words".to_owned(),
        path_prefix: String::new(),
        headers: vec![("authorization".to_owned(), SecretValue::new("x").unwrap())],
    }));
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::Internal);
    assert_eq!(rig.count("abort api"), 1);
}

#[test]
fn credentials_that_cannot_be_had_are_the_gateways_fault() {
    let mut rig = Rig::new(|_| {});
    rig.dial_fails(DialFailure::Credentials);
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_INTERNAL");
    assert!(!rig.end().started);
}

#[test]
fn an_own_command_is_not_tried_again_once_a_101_or_a_timeout_was_seen() {
    let wrong = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let faults: [&dyn Fn(&mut Rig); 3] = [
        &|rig| {
            rig.connect();
            rig.api_says(wrong);
        },
        &|rig| {
            rig.connect();
            rig.advance(secs(10));
        },
        &|rig| {
            rig.accept();
            rig.fails("error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout");
        },
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        let mut rig = Rig::new(|config| config.own_command = true);
        fault(&mut rig);
        assert_eq!(rig.dialing(), None, "{index}");
        rig.until_over();
        assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
        assert_eq!(rig.text("error")["retryable"], false, "{index}");
    }
}

#[test]
fn an_own_command_goes_on_after_answers_that_show_it_did_not_run() {
    let mut rig = Rig::new(|config| config.own_command = true);
    rig.refuse(401, "");
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), Some(SPDY));
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), Some(V4));
    rig.connect();
    rig.api_eof();
    rig.until_over();
    assert_eq!(rig.text("error")["retryable"], true, "nothing ran");
}

#[test]
fn an_own_command_that_may_have_run_is_never_retryable_however_it_ends() {
    let ends: [(&str, Act<'_>); 6] = [
        ("drain", &|rig| rig.order(Order::Drain { seconds: 0 })),
        ("audit", &|rig| {
            rig.order(Order::End(CloseDetail::Audit));
        }),
        ("heartbeat_lost", &|rig| {
            rig.pongs = false;
            rig.advance(secs(31));
        }),
        ("stalled", &|rig| {
            rig.browser_takes = 0;
            rig.prints(b"x");
            rig.advance(secs(60));
            rig.browser_takes = usize::MAX;
            rig.pump();
        }),
        ("transport_error", &|rig| {
            rig.api_eof();
            rig.advance(secs(2));
        }),
        ("unreachable", &|rig| rig.fails("dial tcp: refused")),
    ];
    for own_command in [true, false] {
        for (detail, end) in ends {
            let mut rig = Rig::up(V5, |config| config.own_command = own_command);
            end(&mut rig);
            rig.until_over();
            assert_eq!(rig.end().detail.as_str(), detail);
            assert_eq!(
                rig.text("error")["retryable"],
                !own_command,
                "{detail}, own command: {own_command}"
            );
        }
    }
    // Before any 101 it cannot have run.
    let mut rig = Rig::new(|config| config.own_command = true);
    rig.order(Order::Drain { seconds: 10 });
    rig.until_over();
    assert_eq!(rig.text("error")["retryable"], true);
}

#[test]
fn an_own_command_over_spdy_may_have_run_once_its_101_came() {
    let mut rig = Rig::new(|config| {
        config.own_command = true;
        config.first = V5;
    });
    rig.refuse(403, "");
    rig.connect();
    rig.api_holds = true;
    rig.upgrade();
    rig.release();
    rig.api_holds = false;
    rig.api_eof();
    rig.until_over();
    assert_eq!(rig.text("error")["retryable"], false);
    assert!(rig.end().started);
}
