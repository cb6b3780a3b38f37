//! Idle, heartbeat, stall, keepalive and the look at the pod, at their exact instants.

use periscope_core::code::CloseDetail;
use periscope_core::session::{Input, IoFailure, Leg, PodState, Transport};

use crate::rig::{Rig, SPDY, V4, V5, millis, secs};

#[test]
fn idle_warns_30_s_before_and_ends_after_600_s_of_silence() {
    let mut rig = Rig::new(|_| {});
    rig.advance(secs(3));
    rig.accept();
    rig.prints(b"$ "); // up at 3 s
    rig.advance(millis(500));
    rig.until_over();
    assert_eq!(rig.at("browser: idle_warn"), secs(573));
    assert_eq!(rig.text("idle_warn")["secondsRemaining"], 30);
    assert_eq!(rig.at("browser: closed"), secs(603));
    assert_eq!(rig.text("closed")["reason"], "server_idle");
    assert_eq!(rig.text("closed")["detail"], "idle");
    assert_eq!(rig.text("error")["code"], "E_IDLE");
    assert_eq!(rig.close_code, Some(1000));
}

#[test]
fn bytes_of_either_side_are_activity_and_clear_the_warning() {
    for stdin in [true, false] {
        let mut rig = Rig::up(V5, |_| {});
        rig.advance(secs(580));
        assert!(rig.has_text("idle_warn"));
        assert!(!rig.has_text("idle_clear"));
        if stdin {
            rig.types(b"x");
        } else {
            rig.prints(b"x");
        }
        assert!(rig.has_text("idle_clear"));
        let from = rig.now.since(periscope_core::time::Instant::ZERO);
        rig.forget();
        rig.until_over();
        assert_eq!(rig.at("browser: idle_warn"), from + secs(570));
        assert_eq!(rig.at("browser: closed"), from + secs(600));
        assert_eq!(rig.count("browser: idle_clear"), 0);
    }
}

#[test]
fn an_eof_is_activity() {
    for tty in [true, false] {
        let mut rig = Rig::up(V5, |config| config.tty = tty);
        rig.advance(secs(580));
        rig.says(r#"{"type":"eof"}"#);
        assert!(rig.has_text("idle_clear"));
    }
}

#[test]
fn a_warning_that_fires_late_rounds_up() {
    let mut rig = Rig::up(V5, |config| {
        config.timing.heartbeat = secs(10_000);
    });
    rig.prints(b"x");
    rig.now = rig.now.after(secs(570) + millis(900));
    rig.input(Input::Timeout);
    assert_eq!(rig.text("idle_warn")["secondsRemaining"], 30);
    // The end is not put off by that.
    rig.until_over();
    assert_eq!(rig.at("browser: closed"), secs(600) + millis(500));
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut rig = Rig::up(V5, |_| {});
    rig.advance(secs(100));
    rig.pong(); // the session has seen this instant
    let now = rig.now;
    rig.now = periscope_core::time::Instant::ZERO;
    rig.types(b"x");
    rig.prints(b"x");
    rig.now = now;
    rig.advance(millis(569_999));
    assert!(!rig.has_text("idle_warn"));
    rig.advance(millis(1));
    assert!(rig.has_text("idle_warn"));
}

#[test]
fn a_close_or_goaway_without_a_status_is_an_end_without_a_status() {
    let goaway = [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let cases: [(Transport, &[u8]); 3] = [
        (V5, &[0x88, 2, 3, 0xe8]),
        (V4, &[0x88, 2, 3, 0xe8]),
        (SPDY, &goaway),
    ];
    for (first, bytes) in cases {
        let mut rig = Rig::up(first, |_| {});
        rig.api_says(bytes);
        rig.in_order(&["abort api", "ask pod"]);
        rig.pod(PodState::Same);
        rig.until_over();
        assert_eq!(rig.end().detail, CloseDetail::TransportError, "{first:?}");
        assert_eq!(rig.end().truncated, Some(true));
        assert_eq!(rig.end().exit_code, None);
    }
}

#[test]
fn an_empty_or_broken_status_is_never_a_success() {
    let mut empty = vec![0x82, 1, 3];
    empty.extend_from_slice(&[0x88, 2, 3, 0xe8]);
    for first in [V5, V4] {
        let mut rig = Rig::up(first, |_| {});
        rig.api_says(&empty);
        rig.pod(PodState::Same);
        rig.until_over();
        assert_eq!(rig.end().detail, CloseDetail::TransportError);
        let mut rig = Rig::up(first, |_| {});
        rig.api_says(&[0x82, 3, 3, b'{', b'}']);
        rig.until_over();
        assert_eq!(rig.end().detail, CloseDetail::ProtocolError);
        assert_eq!(rig.text("error")["code"], "E_INTERNAL");
        assert_eq!(rig.end().exit_code, None);
    }
}

#[test]
fn resizes_pongs_and_empty_messages_are_no_activity() {
    let mut rig = Rig::up(V5, |_| {});
    for _ in 0..60 {
        rig.advance(secs(9));
        rig.says(r#"{"type":"resize","cols":100,"rows":30}"#);
        rig.pong();
        rig.types(b"");
        rig.api_says(&[0x8a, 0x00]);
    }
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::Idle);
    assert_eq!(rig.at("browser: closed"), secs(600) + millis(500));
}

#[test]
fn the_warning_and_its_clearing_overtake_queued_output() {
    let mut rig = Rig::up(V5, |config| {
        config.timing.idle = secs(40);
        config.timing.idle_warn = secs(10);
    });
    rig.browser_takes = 3;
    rig.prints(&vec![b'y'; 20_000]);
    rig.prints(&vec![b'z'; 20_000]);
    rig.advance(secs(31));
    rig.types(b"x");
    rig.browser_takes = usize::MAX;
    rig.pump();
    rig.in_order(&[
        "browser: idle_warn",
        "browser: idle_clear",
        "browser: output",
    ]);
}

#[test]
fn a_ping_goes_out_every_20_s_from_the_browsers_101_on() {
    let mut rig = Rig::new(|_| {});
    rig.advance(secs(5));
    rig.accept();
    rig.advance(secs(60));
    let pings: Vec<u64> = (0..rig.log.len())
        .filter(|index| rig.log[*index] == "browser: ping")
        .map(|index| rig.times[index].as_micros() / 1_000_000)
        .collect();
    assert_eq!(pings, [20, 40, 60]);
}

#[test]
fn a_ping_goes_ahead_of_queued_data_and_only_one_is_outstanding() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 3;
    rig.prints(&vec![b'y'; 10_000]);
    rig.prints(&vec![b'z'; 10_000]);
    rig.advance(secs(45));
    rig.browser_takes = usize::MAX;
    rig.pongs = false;
    rig.pump();
    rig.in_order(&["browser: output", "browser: ping", "browser: output"]);
    assert_eq!(rig.count("browser: ping"), 1);
}

#[test]
fn bytes_from_the_browser_do_not_make_a_second_ping_wait_behind_the_first() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 0;
    rig.prints(b"x");
    for _ in 0..5 {
        rig.advance(secs(11));
        rig.types(b"x");
    }
    rig.browser_takes = usize::MAX;
    rig.pongs = false;
    rig.pump();
    assert_eq!(rig.count("browser: ping"), 1, "one outstanding");
}

#[test]
fn silence_after_a_ping_is_lost_10_s_after_it_was_written() {
    let mut rig = Rig::up(V5, |_| {});
    rig.pongs = false;
    rig.until_over();
    assert_eq!(rig.at("browser: ping"), secs(20));
    assert_eq!(rig.at("browser: closed"), secs(30));
    assert_eq!(rig.text("error")["code"], "E_HEARTBEAT");
    assert_eq!(rig.text("closed")["detail"], "heartbeat_lost");
    assert_eq!(rig.close_code, Some(1011));
    // Written late, judged late.
    let mut rig = Rig::up(V5, |_| {});
    rig.pongs = false;
    rig.browser_takes = 0;
    rig.advance(secs(25)); // 25.5 s
    rig.browser_takes = 2;
    rig.pump();
    rig.browser_takes = usize::MAX;
    rig.until_over();
    assert_eq!(rig.at("browser: closed"), secs(35) + millis(500));
}

#[test]
fn a_byte_from_the_browser_or_taken_by_its_socket_refutes_the_loss() {
    let mut rig = Rig::up(V5, |_| {});
    rig.pongs = false;
    rig.advance(secs(25));
    rig.types(b"x");
    rig.advance(secs(14));
    assert!(!rig.has_text("closed"), "the next ping goes out at 40 s");
    rig.advance(secs(5));
    rig.prints(b"taken");
    rig.advance(secs(15));
    assert!(!rig.has_text("closed"), "{:#?}", rig.log);
    rig.advance(secs(11));
    assert!(rig.has_text("closed"));
}

#[test]
fn a_byte_that_came_before_the_ping_was_written_refutes_nothing() {
    let mut rig = Rig::up(V5, |_| {});
    rig.pongs = false;
    rig.browser_takes = 0;
    rig.advance(secs(20)); // 20.5 s: the ping waits
    rig.types(b"x");
    rig.advance(secs(2));
    rig.browser_takes = 2;
    rig.pump();
    rig.browser_takes = usize::MAX;
    rig.until_over();
    assert_eq!(rig.at("browser: closed"), secs(32) + millis(500));
}

#[test]
fn there_is_no_verdict_while_the_socket_refuses_output() {
    let mut rig = Rig::up(V5, |_| {});
    rig.pongs = false;
    rig.advance(secs(20)); // written at 20 s
    rig.browser_takes = 0;
    rig.prints(b"refused"); // waits from 20.5 s on
    rig.advance(secs(59));
    assert!(!rig.has_text("closed") && rig.summary.is_none());
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::Stalled, "stall decides");
}

#[test]
fn there_is_no_verdict_while_we_do_not_read_that_leg() {
    let mut rig = Rig::up(V5, |_| {});
    rig.pongs = false;
    rig.api_takes = 0;
    rig.types(&vec![b'x'; 200_000]);
    assert!(!rig.session.wants_read(Leg::Browser));
    rig.advance(secs(200));
    assert!(!rig.has_text("closed"), "{:#?}", rig.log);
    rig.api_takes = usize::MAX;
    rig.pump();
    assert_eq!(rig.stdin.len(), 200_000);
}

#[test]
fn a_socket_that_takes_nothing_for_60_s_is_stalled() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 0;
    rig.prints(b"x"); // 0.5 s
    rig.advance(secs(59));
    rig.browser_takes = 1;
    rig.pump(); // 59.5 s: one byte begins it anew
    rig.advance(millis(59_999));
    assert_eq!(rig.count("abort api"), 0);
    rig.advance(millis(1));
    assert_eq!(rig.at("abort api"), secs(119) + millis(500));
    assert_eq!(rig.until_over(), secs(3));
    assert_eq!(rig.end().detail, CloseDetail::Stalled);
    assert_eq!(rig.end().truncated, Some(true));
}

#[test]
fn acknowledgements_do_not_make_up_for_a_socket_that_takes_nothing() {
    let mut rig = Rig::up(V5, |config| config.flow_ack = true);
    rig.prints(b"0123456789");
    rig.browser_takes = 0;
    rig.prints(b"refused");
    for bytes in 1..=5 {
        rig.advance(secs(10));
        rig.says(&format!(r#"{{"type":"ack","bytes":{bytes}}}"#));
    }
    rig.advance(secs(10));
    assert_eq!(rig.count("abort api"), 1, "stalled");
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::Stalled);
}

#[test]
fn the_apiserver_is_pinged_only_when_it_was_silent_for_the_interval() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::up(first, |_| {});
        for _ in 0..5 {
            rig.advance(secs(19));
            rig.prints(b"x");
        }
        assert_eq!(rig.count("api: alive"), 0, "{first:?}");
        rig.advance(secs(20));
        assert_eq!(rig.count("api: alive"), 1, "{first:?}");
    }
}

#[test]
fn nothing_is_pinged_while_reading_is_paused() {
    let mut rig = Rig::up(SPDY, |_| {});
    rig.browser_takes = 0;
    rig.prints(&vec![b'y'; 1024 * 1024]);
    rig.advance(secs(55));
    assert_eq!(rig.count("api: alive"), 0);
    assert_eq!(rig.count("ask pod"), 0);
    rig.browser_takes = usize::MAX;
    rig.pump();
    rig.advance(secs(19));
    assert_eq!(rig.count("api: alive"), 0, "the silence was ours");
    rig.advance(secs(1));
    assert_eq!(rig.count("api: alive"), 1);
}

/// A session whose apiserver fell silent just now: its peer takes bytes and says nothing.
fn silent() -> Rig {
    let mut rig = Rig::up(V5, |_| {});
    rig.prints(b"x");
    rig.api_holds = true;
    rig
}

#[test]
fn the_pod_is_looked_for_after_60_s_of_silence_at_most_once_a_minute() {
    let mut rig = silent();
    rig.advance(millis(59_999));
    assert_eq!(rig.count("ask pod"), 0);
    rig.advance(millis(1));
    assert_eq!(rig.count("ask pod"), 1);
    rig.pod(PodState::Same);
    rig.advance(millis(59_999));
    assert_eq!(rig.count("ask pod"), 1);
    rig.advance(millis(1));
    assert_eq!(rig.count("ask pod"), 2);
    assert!(!rig.has_text("closed"));
    rig.pod(PodState::Gone);
    rig.until_over();
    assert_eq!(rig.text("closed")["detail"], "pod_gone");
    assert_eq!(rig.text("error")["code"], "E_NOT_FOUND");
    assert_eq!(rig.close_code, Some(1011));
}

#[test]
fn the_pod_is_looked_for_after_60_s_whatever_the_heartbeats_interval() {
    for heartbeat in [7, 25, 45] {
        let mut rig = Rig::up(V5, |config| config.timing.heartbeat = secs(heartbeat));
        rig.prints(b"x");
        rig.api_holds = true;
        rig.advance(secs(120));
        assert_eq!(rig.at("ask pod"), secs(60) + millis(500), "{heartbeat}");
    }
}

#[test]
fn an_answered_keepalive_is_no_silence() {
    let mut rig = Rig::up(V5, |_| {});
    rig.prints(b"x");
    rig.advance(secs(300));
    assert_eq!(rig.count("ask pod"), 0);
}

#[test]
fn no_answer_about_the_pod_ends_nothing_while_the_stream_lives() {
    let mut rig = silent();
    rig.advance(secs(62));
    rig.pod(PodState::Gone); // two seconds are over: nobody asked any more
    rig.advance(secs(1));
    assert!(!rig.has_text("closed"));
}

#[test]
fn an_end_without_a_status_looks_for_the_pod_for_two_seconds() {
    for (state, detail) in [
        (Some(PodState::Gone), "pod_gone"),
        (Some(PodState::Same), "transport_error"),
        (Some(PodState::Unknown), "transport_error"),
        (None, "transport_error"),
    ] {
        for reset in [true, false] {
            let mut rig = Rig::up(SPDY, |_| {});
            if reset {
                rig.api_fails(IoFailure::Reset);
            } else {
                rig.api_eof();
            }
            rig.in_order(&["abort api", "ask pod"]);
            rig.advance(millis(1999));
            assert!(!rig.has_text("closed"));
            match state {
                Some(state) => rig.pod(state),
                None => rig.advance(millis(1)),
            }
            assert!(rig.has_text("closed"));
            rig.until_over();
            assert_eq!(rig.text("closed")["detail"], detail);
            assert_eq!(rig.count("ask pod"), 1);
        }
    }
}

#[test]
fn a_status_that_arrived_wins_over_a_pod_that_is_gone() {
    // The status is there, the output's end is not: v4 without a Close.
    let mut rig = Rig::up(V4, |_| {});
    rig.prints(b"x");
    rig.api_holds = true;
    rig.advance(secs(60));
    assert_eq!(rig.count("ask pod"), 1);
    let mut status = vec![0x82, 21, 3];
    status.extend_from_slice(br#"{"status":"Success"}"#);
    rig.api_holds = false;
    rig.api_says(&status);
    rig.pod(PodState::Gone);
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
    assert_eq!(rig.end().exit_code, Some(0));
}

#[test]
fn a_status_that_arrived_wins_over_what_breaks_behind_it() {
    let breaks: [&dyn Fn(&mut Rig); 5] = [
        &|rig| rig.api_says(&[0xff; 40]),
        &|rig| rig.api_fails(IoFailure::Reset),
        &|rig| rig.api_eof(),
        &|rig| rig.browser_vanishes(),
        &|rig| rig.advance(secs(2)),
    ];
    for (index, fault) in breaks.into_iter().enumerate() {
        let mut rig = Rig::up(V4, |_| {});
        let mut status = vec![0x82, 21, 3];
        status.extend_from_slice(br#"{"status":"Success"}"#);
        rig.api_says(&status);
        assert!(!rig.has_text("closed"), "output may still come");
        fault(&mut rig);
        rig.until_over();
        assert_eq!(rig.end().detail, CloseDetail::ProcessExit, "{index}");
        assert_eq!(rig.end().exit_code, Some(0), "{index}");
    }
}
