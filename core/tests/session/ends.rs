//! Every end: its reason, code, close code and error, its order, and how soon the slot is free.

use periscope_core::code::{CloseDetail, ErrorCode};
use periscope_core::session::{Leg, Order, PodState};

use crate::rig::{Act, Rig, SPDY, V4, V5, millis, secs};

/// How one end is told, to the browser and to the record.
#[track_caller]
fn is_told(detail: &str, end: Act<'_>, (reason, error, close_code): (&str, Option<&str>, u16)) {
    let mut rig = Rig::up(V5, |_| {});
    end(&mut rig);
    rig.until_over();
    let closed = rig.text("closed");
    assert_eq!(closed["detail"], detail);
    assert_eq!(closed["reason"], reason);
    assert_eq!(rig.close_code, Some(close_code));
    let told = rig.texts.iter().find(|text| text["type"] == "error");
    assert_eq!(told.and_then(|error| error["code"].as_str()), error);
    assert_eq!(rig.end().code.map(ErrorCode::as_str), error);
    assert_eq!(rig.end().detail.as_str(), detail);
    assert_eq!(rig.count("browser: closed"), 1);
    let close = format!("browser: close {close_code}");
    rig.in_order(&["browser: closed", &close]);
    let ended = format!("ended {detail}");
    rig.in_order(&["abort api", &ended, "shutdown Browser", "over"]);
}

#[test]
fn ends_of_the_process_the_person_and_the_clock_are_no_force() {
    let mine = ("client_close", None, 1000);
    is_told("process_exit", &|rig| rig.exits(0), mine);
    is_told("user_close", &|rig| rig.says(r#"{"type":"close"}"#), mine);
    let user = r#"{"type":"close","reason":"user"}"#;
    is_told("user_close", &|rig| rig.says(user), mine);
    let deleted = Order::End(CloseDetail::UserClose);
    is_told("user_close", &|rig| rig.order(deleted), mine);
    let hidden = r#"{"type":"close","reason":"hidden"}"#;
    is_told("hidden", &|rig| rig.says(hidden), mine);
    let idle = ("server_idle", Some("E_IDLE"), 1000);
    is_told("idle", &|rig| rig.advance(secs(600)), idle);
}

#[test]
fn forced_ends_have_their_codes() {
    let order = |detail| move |rig: &mut Rig| rig.order(Order::End(detail));
    let forced = |error, close_code| ("forced_close", error, close_code);
    is_told(
        "admin_kill",
        &order(CloseDetail::AdminKill),
        forced(None, 1008),
    );
    is_told(
        "auth_expired",
        &order(CloseDetail::AuthExpired),
        forced(Some("E_AUTH"), 1008),
    );
    is_told(
        "audit",
        &order(CloseDetail::Audit),
        forced(Some("E_AUDIT"), 1011),
    );
    is_told(
        "internal",
        &order(CloseDetail::Internal),
        forced(Some("E_INTERNAL"), 1011),
    );
    is_told(
        "drain",
        &|rig| rig.order(Order::Drain { seconds: 0 }),
        forced(Some("E_DRAIN"), 1001),
    );
    is_told(
        "heartbeat_lost",
        &|rig| {
            rig.pongs = false;
            rig.advance(secs(31));
        },
        forced(Some("E_HEARTBEAT"), 1011),
    );
}

#[test]
fn ends_of_the_upstream_have_their_codes() {
    let forced = |error| ("forced_close", Some(error), 1011);
    let pod = |state| {
        move |rig: &mut Rig| {
            rig.api_eof();
            rig.pod(state);
        }
    };
    is_told(
        "transport_error",
        &pod(PodState::Same),
        forced("E_CLUSTER_UNREACHABLE"),
    );
    is_told("pod_gone", &pod(PodState::Gone), forced("E_NOT_FOUND"));
    is_told(
        "protocol_error",
        &|rig| rig.api_says(&[0xff; 40]),
        forced("E_INTERNAL"),
    );
    is_told(
        "internal",
        &|rig| rig.fails("something else broke"),
        forced("E_INTERNAL"),
    );
}

#[test]
fn a_close_frame_is_the_person_or_the_page_going_away() {
    for (code, detail) in [(1000, CloseDetail::UserClose), (1001, CloseDetail::TabGone)] {
        let mut rig = Rig::up(V5, |_| {});
        rig.browser_closes(code);
        assert_eq!(rig.until_over(), secs(0));
        assert_eq!(rig.end().detail, detail);
        rig.in_order(&["abort api", "browser: closed", "shutdown Browser"]);
    }
}

#[test]
fn the_end_of_the_browsers_socket_ends_the_session_at_once() {
    let mut rig = Rig::up(V5, |_| {});
    rig.prints(b"seen");
    rig.browser_vanishes();
    assert_eq!(rig.until_over(), secs(0));
    assert_eq!(rig.end().detail, CloseDetail::TabGone);
    assert_eq!(rig.end().truncated, Some(false));
    rig.in_order(&["abort api", "ended tab_gone", "abort browser", "over"]);
}

#[test]
fn the_upstream_is_dropped_without_a_word_of_its_protocol() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::up(first, |_| {});
        rig.order(Order::End(CloseDetail::AdminKill));
        assert_eq!(rig.log[0], "abort api", "first of all");
        assert_eq!(rig.count("api: closed"), 0, "no Close, no GOAWAY");
    }
}

#[test]
fn a_peer_that_says_nothing_costs_three_seconds_at_most() {
    let ends: [&dyn Fn(&mut Rig); 4] = [
        &|rig| rig.order(Order::End(CloseDetail::AdminKill)),
        &|rig| rig.order(Order::End(CloseDetail::AuthExpired)),
        &|rig| rig.order(Order::Drain { seconds: 0 }),
        &|rig| rig.says(r#"{"type":"close"}"#),
    ];
    for end in ends {
        // A socket that takes nothing.
        let mut rig = Rig::up(V5, |_| {});
        rig.browser_takes = 0;
        rig.prints(b"x");
        end(&mut rig);
        assert_eq!(rig.until_over(), secs(3));
        assert_eq!(rig.end().truncated, Some(true));
        rig.in_order(&["abort browser", "over"]);
        // A browser that does not answer the Close.
        let mut rig = Rig::up(V5, |_| {});
        rig.answers_close = false;
        end(&mut rig);
        assert_eq!(rig.until_over(), secs(1));
        assert_eq!(rig.end().truncated, Some(false));
        rig.in_order(&["browser: closed", "abort browser", "over"]);
    }
}

#[test]
fn an_order_bounds_the_flush_of_a_process_that_ended_by_itself() {
    let orders: [&dyn Fn(&mut Rig); 3] = [
        &|rig| rig.order(Order::End(CloseDetail::UserClose)),
        &|rig| rig.order(Order::End(CloseDetail::AdminKill)),
        &|rig| rig.order(Order::Drain { seconds: 0 }),
    ];
    for first in [V4, V5] {
        for flow_ack in [true, false] {
            for order in orders {
                let mut rig = Rig::up(first, |config| config.flow_ack = flow_ack);
                if !flow_ack {
                    rig.browser_takes = 10;
                }
                rig.prints(&vec![b'y'; 300_000]);
                rig.exits(7);
                rig.advance(secs(5));
                assert!(rig.summary.is_none());
                order(&mut rig);
                assert!(rig.until_over() <= secs(3), "{:#?}", rig.log);
                assert_eq!(rig.end().detail, CloseDetail::ProcessExit, "decided once");
                assert_eq!(rig.end().exit_code, Some(7));
                assert_eq!(rig.end().truncated, Some(true));
            }
        }
    }
}

#[test]
fn an_order_bounds_the_last_words_too() {
    // Only `closed` waits, no output.
    let mut rig = Rig::up(V4, |_| {});
    rig.browser_takes = 0;
    rig.exits(0);
    rig.advance(secs(5));
    rig.order(Order::End(CloseDetail::AdminKill));
    assert!(rig.until_over() <= secs(3));
    assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
}

#[test]
fn a_drain_that_began_before_the_process_ended_still_ends_in_time() {
    let mut rig = Rig::up(V4, |config| config.flow_ack = true);
    rig.prints(&vec![b'y'; 300_000]);
    rig.order(Order::Drain { seconds: 10 });
    rig.advance(secs(4));
    rig.exits(0);
    assert!(rig.until_over() <= secs(6 + 3));
    // And one that begins while the last output goes out.
    let mut rig = Rig::up(V4, |config| config.flow_ack = true);
    rig.prints(&vec![b'y'; 300_000]);
    rig.exits(0);
    rig.order(Order::Drain { seconds: 10 });
    assert!(rig.has_text("drain"));
    rig.advance(secs(9));
    assert!(rig.summary.is_none(), "the output still has time");
    assert!(rig.until_over() <= secs(1 + 3));
}

#[test]
fn a_browser_that_closed_or_broke_the_protocol_cannot_hold_a_flush_open() {
    let ways: [&dyn Fn(&mut Rig); 3] = [
        &|rig| rig.browser_closes(1000),
        &|rig| rig.browser_says(&[0x82, 0x01, b'x']),
        &|rig| rig.says(r#"{"type":"ack","bytes":9999999}"#),
    ];
    for (index, way) in ways.into_iter().enumerate() {
        let mut rig = Rig::up(V4, |config| config.flow_ack = true);
        rig.prints(&vec![b'y'; 300_000]);
        rig.exits(0);
        way(&mut rig);
        assert!(rig.until_over() <= secs(3), "{index}");
        assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
        assert_eq!(rig.end().truncated, Some(true));
    }
}

#[test]
fn drain_ends_what_is_not_up_at_once_and_warns_the_rest() {
    let mut rig = Rig::new(|_| {});
    rig.connect();
    rig.order(Order::Drain { seconds: 10 });
    assert!(rig.has_text("closed") && !rig.has_text("drain"));
    rig.until_over();
    assert_eq!(rig.close_code, Some(1001));
    assert_eq!(rig.text("error")["code"], "E_DRAIN");

    let mut rig = Rig::up(V5, |_| {});
    rig.order(Order::Drain { seconds: 10 });
    assert_eq!(rig.text("drain")["secondsRemaining"], 10);
    rig.prints(b"still working");
    rig.types(b"x");
    assert_eq!(rig.stdin, b"x");
    rig.advance(millis(9_999));
    assert!(!rig.has_text("closed"));
    rig.advance(millis(1));
    assert!(rig.has_text("closed"));
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::Drain);
    // A second signal skips the wait.
    let mut rig = Rig::up(V5, |_| {});
    rig.order(Order::Drain { seconds: 10 });
    rig.order(Order::Drain { seconds: 0 });
    assert!(rig.has_text("closed"));
}

#[test]
fn a_process_that_ends_in_the_drain_ends_by_itself() {
    let mut rig = Rig::up(V5, |_| {});
    rig.order(Order::Drain { seconds: 10 });
    rig.exits(0);
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
}

#[test]
fn a_session_that_is_ending_is_not_warned_of_a_drain() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 3;
    rig.prints(&vec![b'y'; 10_000]);
    rig.order(Order::End(CloseDetail::AdminKill));
    rig.order(Order::Drain { seconds: 10 });
    rig.browser_takes = usize::MAX;
    rig.pump();
    assert!(!rig.has_text("drain"));
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::AdminKill);
}

#[test]
fn only_the_first_end_counts() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 0;
    rig.prints(b"x");
    rig.order(Order::End(CloseDetail::AuthExpired));
    rig.order(Order::End(CloseDetail::AdminKill));
    rig.order(Order::Drain { seconds: 0 });
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::AuthExpired);
    assert_eq!(
        rig.log
            .iter()
            .filter(|line| line.starts_with("ended"))
            .count(),
        1
    );
}

#[test]
fn after_the_end_nothing_is_read_lent_or_said() {
    let mut rig = Rig::up(V5, |_| {});
    rig.exits(0);
    rig.until_over();
    let lines = rig.log.len();
    rig.order(Order::End(CloseDetail::AdminKill));
    rig.pod(PodState::Gone);
    rig.advance(secs(1000));
    assert_eq!(rig.log.len(), lines);
    for leg in [Leg::Api, Leg::Browser] {
        assert!(!rig.session.wants_read(leg));
        assert_eq!(rig.session.unwritten(leg), 0);
    }
    assert_eq!(rig.session.held_bytes(), 0);
}

#[test]
fn the_summary_counts_both_directions() {
    let mut rig = Rig::up(SPDY, |_| {});
    rig.types(b"12345");
    rig.prints(b"1234567");
    rig.exits(0);
    rig.until_over();
    assert_eq!((rig.end().bytes_stdin, rig.end().bytes_stdout), (5, 7));
    assert_eq!(rig.end().transport, Some(SPDY));
}
