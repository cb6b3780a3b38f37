//! Output: acknowledgements, backpressure, what overtakes what, and when it is truncated.

use periscope_core::code::CloseDetail;
use periscope_core::limits::{ACK_WINDOW_BYTES, OUTPUT_QUEUE_BYTES_HIGH};
use periscope_core::session::{Leg, Order};

use crate::rig::{Rig, SPDY, V4, V5, millis, secs};

const WINDOW: usize = 256 * 1024;

fn ack(bytes: usize) -> String {
    format!(r#"{{"type":"ack","bytes":{bytes}}}"#)
}

#[test]
fn with_flow_ack_at_most_256_kib_are_unacknowledged() {
    let mut rig = Rig::up(V5, |config| config.flow_ack = true);
    rig.prints(&vec![b'y'; 600_000]);
    assert_eq!(rig.output.len(), WINDOW);
    assert_eq!(ACK_WINDOW_BYTES, WINDOW as u64);
    rig.says(&ack(1000));
    assert_eq!(rig.output.len(), WINDOW + 1000);
    rig.says(&ack(400));
    assert_eq!(rig.output.len(), WINDOW + 1000, "a lower one is ignored");
    rig.says(&ack(1000));
    rig.says(&ack(WINDOW + 1000));
    assert_eq!(rig.output.len(), 2 * WINDOW + 1000);
    rig.says(&ack(2 * WINDOW + 1000));
    assert_eq!(rig.output.len(), 600_000);
    assert!(rig.summary.is_none());
}

#[test]
fn without_flow_ack_nothing_waits_for_acknowledgements() {
    let mut rig = Rig::up(V5, |_| {});
    rig.prints(&vec![b'y'; 2_000_000]);
    assert_eq!(rig.output.len(), 2_000_000);
}

#[test]
fn more_acknowledged_than_sent_breaks_the_protocol() {
    for flow_ack in [true, false] {
        let mut rig = Rig::up(V5, |config| config.flow_ack = flow_ack);
        rig.prints(b"12345");
        rig.says(&ack(5));
        assert!(rig.summary.is_none() && !rig.has_text("closed"));
        rig.says(&ack(6));
        rig.until_over();
        assert_eq!(rig.close_code, Some(1002));
        assert_eq!(rig.text("error")["code"], "E_PROTOCOL");
    }
}

#[test]
fn a_closed_window_is_no_stall() {
    let mut rig = Rig::up(V5, |config| config.flow_ack = true);
    rig.prints(&vec![b'y'; 300_000]);
    rig.advance(secs(300));
    assert!(rig.summary.is_none(), "{:#?}", rig.log);
}

#[test]
fn reading_pauses_at_768_kib_of_output() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::up(first, |_| {});
        rig.browser_takes = 0;
        rig.prints(&vec![b'y'; 700 * 1024]);
        assert!(rig.session.wants_read(Leg::Api), "{first:?}");
        // Who reads much more than that reads it for buffers that nobody counts.
        let room = rig.session.read_room(Leg::Api);
        assert_eq!(room, OUTPUT_QUEUE_BYTES_HIGH - rig.session.held_bytes());
        rig.prints(&vec![b'y'; 400 * 1024]);
        assert!(!rig.session.wants_read(Leg::Api), "{first:?}");
        let held = rig.session.held_bytes();
        assert!(held >= OUTPUT_QUEUE_BYTES_HIGH, "{held}");
        assert!(held <= OUTPUT_QUEUE_BYTES_HIGH + 33 * 1024, "{held}");
        rig.browser_takes = usize::MAX;
        rig.pump();
        assert!(rig.session.wants_read(Leg::Api));
        assert_eq!(rig.output.len(), 1100 * 1024);
    }
}

#[test]
fn warnings_overtake_queued_output_between_messages() {
    let mut rig = Rig::up(V5, |config| config.flow_ack = false);
    rig.browser_takes = 3; // the first message is begun
    rig.prints(&vec![b'y'; 30_000]);
    rig.prints(&vec![b'z'; 30_000]);
    rig.order(Order::Drain { seconds: 10 });
    rig.browser_takes = usize::MAX;
    rig.pump();
    let drain = rig.log.iter().position(|line| line == "browser: drain");
    let outputs: Vec<usize> = (0..rig.log.len())
        .filter(|index| rig.log[*index] == "browser: output")
        .collect();
    assert!(drain < outputs.last().copied(), "{:#?}", rig.log);
    assert!(drain > outputs.first().copied(), "{:#?}", rig.log);
    assert_eq!(rig.text("drain")["secondsRemaining"], 10);
    assert_eq!(rig.output.len(), 60_000);
}

#[test]
fn errors_and_closed_never_overtake() {
    let mut rig = Rig::up(V4, |config| config.tty = false);
    rig.browser_takes = 0;
    rig.prints(&vec![b'y'; 20_000]);
    rig.says(r#"{"type":"eof"}"#);
    rig.prints(b"tail");
    rig.exits(1);
    rig.browser_takes = usize::MAX;
    rig.pump();
    rig.in_order(&["browser: output", "browser: error", "browser: closed"]);
    rig.until_over();
    assert_eq!(rig.output.len(), 20_004);
    let closed = rig.log.iter().position(|line| line == "browser: closed");
    let last = rig.log.iter().rposition(|line| line == "browser: output");
    assert!(closed > last);
}

#[test]
fn the_process_own_end_writes_everything_before_closed() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::up(first, |_| {});
        rig.browser_takes = 0;
        rig.prints(&vec![b'y'; 1024 * 1024]);
        rig.exits(0);
        rig.advance(secs(59));
        rig.browser_takes = 100_000;
        rig.pump();
        rig.advance(secs(59));
        rig.browser_takes = usize::MAX;
        rig.pump();
        rig.until_over();
        assert_eq!(rig.output.len(), 1024 * 1024, "{first:?}");
        assert_eq!(rig.text("closed")["exitCode"], 0);
        let truncated = &rig.text("closed")["truncated"];
        if first == V5 {
            assert!(truncated.is_null(), "the apiserver may have dropped a tail");
            assert_eq!(rig.end().truncated, None);
        } else {
            assert_eq!(*truncated, false);
        }
    }
}

#[test]
fn truncation_is_unknown_on_v5_only_if_reading_was_paused_in_the_last_ten_seconds() {
    for (pause, known) in [(9_999, false), (10_000, false), (10_001, true)] {
        let mut rig = Rig::up(V5, |_| {});
        rig.browser_takes = 0;
        rig.prints(&vec![b'y'; 900 * 1024]);
        rig.advance(secs(5));
        rig.browser_takes = usize::MAX;
        rig.pump();
        rig.advance(millis(pause));
        rig.exits(0);
        rig.until_over();
        let expected = known.then_some(false);
        assert_eq!(rig.end().truncated, expected, "{pause} ms after a pause");
    }
}

#[test]
fn a_failure_the_runtime_reports_after_a_pause_on_v5_leaves_truncation_unknown_too() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 0;
    rig.prints(&vec![b'y'; 900 * 1024]);
    rig.browser_takes = usize::MAX;
    rig.pump();
    rig.fails("something else broke");
    rig.until_over();
    assert_eq!(rig.end().truncated, None);
    assert!(rig.text("closed")["truncated"].is_null());
}

#[test]
fn a_browser_that_takes_nothing_after_the_process_own_end_is_given_up_after_60_s() {
    let mut rig = Rig::up(V4, |_| {});
    rig.browser_takes = 0;
    rig.prints(b"last words");
    rig.exits(0);
    assert_eq!(rig.until_over(), secs(60));
    assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
    assert_eq!(rig.end().truncated, Some(true));
    assert_eq!(rig.end().exit_code, Some(0));
    rig.in_order(&["abort browser"]);
}

#[test]
fn words_that_are_no_output_are_no_truncation() {
    let mut rig = Rig::up(V4, |_| {});
    rig.prints(b"all of it");
    rig.browser_takes = 0;
    rig.exits(0);
    assert_eq!(rig.until_over(), secs(60));
    assert_eq!(rig.end().truncated, Some(false));
}

#[test]
fn after_the_process_own_end_a_closed_window_counts_as_a_stall() {
    let mut rig = Rig::up(V4, |config| config.flow_ack = true);
    rig.prints(&vec![b'y'; 300_000]);
    rig.exits(0);
    rig.advance(secs(59));
    rig.says(&ack(1000));
    assert_eq!(rig.output.len(), WINDOW + 1000);
    assert_eq!(rig.until_over(), secs(60), "progress begins it anew");
    assert_eq!(rig.end().truncated, Some(true));
}

#[test]
fn a_loss_that_is_certain_is_told_even_where_it_was_doubtful_before() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 0;
    rig.prints(&vec![b'y'; 760 * 1024]);
    rig.prints(&vec![b'y'; 40 * 1024]);
    rig.browser_takes = 300 * 1024;
    rig.pump();
    rig.exits(0);
    rig.advance(secs(3));
    rig.browser_vanishes();
    assert_eq!(rig.end().truncated, Some(true));
}

#[test]
fn output_behind_an_overtaking_ping_is_missed_to_the_last_byte() {
    for missing in [1, 2] {
        let mut rig = Rig::up(V4, |_| {});
        rig.browser_takes = 0;
        rig.prints(b"0123456789");
        let waits = rig.session.unwritten(Leg::Browser);
        rig.advance(secs(20)); // the ping goes first
        let ping = rig.session.unwritten(Leg::Browser) - waits;
        assert_eq!(ping, 2);
        rig.browser_takes = waits + ping - missing;
        rig.pump();
        rig.browser_vanishes();
        assert_eq!(rig.end().truncated, Some(true), "{missing} missing");
    }
}

#[test]
fn on_spdy_an_end_without_a_status_is_truncated() {
    for first in [SPDY, V4, V5] {
        let mut rig = Rig::up(first, |_| {});
        rig.prints(b"half");
        rig.api_eof();
        rig.advance(secs(2));
        rig.until_over();
        assert_eq!(rig.text("closed")["truncated"], true);
        assert!(rig.text("closed")["exitCode"].is_null());
        assert_eq!(rig.text("closed")["detail"], "transport_error");
        assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
        assert_eq!(rig.output, b"half");
    }
}

#[test]
fn other_ends_give_queued_output_two_seconds() {
    for drains in [true, false] {
        let mut rig = Rig::up(V5, |_| {});
        rig.browser_takes = 0;
        rig.prints(&vec![b'y'; 50_000]);
        rig.order(Order::End(CloseDetail::AdminKill));
        rig.in_order(&["abort api"]);
        rig.advance(millis(1999));
        assert!(!rig.has_text("closed"));
        if drains {
            rig.browser_takes = usize::MAX;
            rig.pump();
            rig.until_over();
            assert_eq!(rig.text("closed")["truncated"], false);
            assert_eq!(rig.output.len(), 50_000);
        } else {
            rig.advance(millis(1));
            rig.browser_takes = usize::MAX;
            rig.pump();
            rig.until_over();
            assert_eq!(rig.text("closed")["truncated"], true);
            assert_eq!(rig.output.len(), 0);
        }
    }
}

#[test]
fn with_flow_both_the_browser_learns_how_much_stdin_went_on() {
    let mut rig = Rig::up(V5, |config| config.stdin_ack = true);
    rig.types(b"ls\n");
    assert_eq!(rig.text("ack")["bytes"], 3);
    rig.forget();
    rig.api_takes = 0;
    for _ in 0..4 {
        rig.types(&[b'x'; 16 * 1024]);
    }
    let told = rig.texts.iter().filter(|text| text["type"] == "ack");
    let told = told.filter_map(|text| text["bytes"].as_u64()).max();
    assert!(
        told.is_none_or(|bytes| bytes <= 3 + 16 * 1024),
        "{told:?}: what waits in the queue has not gone on"
    );
    rig.api_takes = usize::MAX;
    rig.pump();
    let last = rig.texts.iter().rfind(|text| text["type"] == "ack");
    assert_eq!(last.unwrap()["bytes"], 3 + 64 * 1024);
}

#[test]
fn a_browser_that_never_asked_is_told_nothing_of_its_stdin() {
    for flow_ack in [true, false] {
        let mut rig = Rig::up(V5, |config| config.flow_ack = flow_ack);
        rig.types(b"ls\n");
        assert!(!rig.has_text("ack"));
    }
}

#[test]
fn a_browser_that_types_and_does_not_read_gets_no_pile_of_acknowledgements() {
    let mut rig = Rig::up(V5, |config| config.stdin_ack = true);
    rig.browser_takes = 0;
    for _ in 0..20_000 {
        rig.types(b"x");
    }
    assert!(rig.session.unwritten(Leg::Browser) <= 33 * 1024);
    rig.browser_takes = usize::MAX;
    rig.pump();
    let last = rig.texts.iter().rfind(|text| text["type"] == "ack");
    assert_eq!(last.unwrap()["bytes"], 20_000);
}

/// A command that prints what it reads: both directions are full at once, and the acknowledgement
/// that would open the output's window has to come through.
#[test]
fn a_sender_that_keeps_to_the_acknowledged_stdin_can_always_acknowledge_output() {
    let mut rig = Rig::up(V5, |config| {
        config.flow_ack = true;
        config.stdin_ack = true;
    });
    rig.api_takes = 0;
    for _ in 0..3 {
        rig.types(&[b'x'; 16 * 1024]);
    }
    rig.prints(&vec![b'x'; 1100 * 1024]);
    assert!(!rig.session.wants_read(Leg::Api), "the apiserver waits");
    assert!(rig.session.wants_read(Leg::Browser), "the browser is heard");
    rig.says(&ack(WINDOW));
    assert_eq!(rig.output.len(), 2 * WINDOW);
}
