//! What the browser sends: stdin and its cap, sizes, the end of stdin, and broken messages.

use periscope_core::code::CloseDetail;
use periscope_core::limits::STDIN_QUEUE_BYTES_MAX;
use periscope_core::session::Leg;

use crate::rig::{Rig, SPDY, V4, V5, millis, secs};

const EOF: &str = r#"{"type":"eof"}"#;

fn resize(cols: u16) -> String {
    format!(r#"{{"type":"resize","cols":{cols},"rows":24}}"#)
}

#[test]
fn stdin_waits_in_at_most_64_kib_and_then_the_socket_is_not_read() {
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.types(&vec![b'x'; 100_000]);
    assert!(!rig.session.wants_read(Leg::Browser));
    assert!(rig.session.held_bytes() <= STDIN_QUEUE_BYTES_MAX + 1024);
    assert!(rig.unread() >= 100_000 - STDIN_QUEUE_BYTES_MAX);
    rig.advance(millis(500));
    assert_eq!(rig.stdin.len(), 100_000);
    assert_eq!(rig.unread(), 0);
    assert!(rig.session.wants_read(Leg::Browser));
}

#[test]
fn the_cap_holds_while_up_too() {
    let mut rig = Rig::up(V5, |_| {});
    rig.api_takes = 0;
    rig.types(&vec![b'x'; 200_000]);
    assert!(!rig.session.wants_read(Leg::Browser));
    let held = rig.session.held_bytes();
    assert!(held <= STDIN_QUEUE_BYTES_MAX + 34 * 1024, "{held}");
    rig.api_takes = usize::MAX;
    rig.pump();
    assert_eq!(rig.stdin.len(), 200_000);
}

#[test]
fn what_lies_behind_the_data_at_the_cap_acts_when_it_is_reached() {
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.types(&vec![b'x'; 70_000]);
    rig.says(r#"{"type":"close"}"#);
    assert!(!rig.has_text("closed"));
    rig.advance(millis(500));
    assert!(rig.has_text("closed"));
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::UserClose);
}

#[test]
fn below_the_cap_close_resize_and_pong_act_in_every_state() {
    // Dialing, settling, up with a full socket.
    for state in 0..3 {
        let mut rig = Rig::new(|_| {});
        if state > 0 {
            rig.accept();
        }
        if state > 1 {
            rig.advance(millis(500));
            rig.api_takes = 0;
        }
        rig.types(&vec![b'x'; 60_000]);
        rig.says(&resize(100));
        rig.says(r#"{"type":"close"}"#);
        assert!(rig.has_text("closed"), "{state}: {:#?}", rig.log);
        rig.until_over();
        assert_eq!(rig.end().detail, CloseDetail::UserClose, "{state}");
    }
    let mut rig = Rig::new(|_| {});
    rig.types(&vec![b'x'; 60_000]);
    rig.accept();
    rig.says(&resize(100));
    rig.in_order(&["api: size 100x24"]);
    assert!(!rig.session.is_up());
}

#[test]
fn a_size_before_the_streams_are_there_is_sent_with_them_and_only_the_last() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::new(|config| {
            config.first = first;
            config.size = Some((80, 24));
        });
        rig.says(&resize(90));
        rig.says(&resize(91));
        rig.accept();
        rig.advance(millis(500));
        let sizes: Vec<&String> = rig
            .log
            .iter()
            .filter(|line| line.contains("size"))
            .collect();
        assert_eq!(sizes, ["api: size 91x24"], "{first:?}");
    }
}

#[test]
fn a_size_that_waits_for_the_socket_is_replaced_by_the_next() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::up(first, |_| {});
        rig.api_takes = 0;
        rig.types(&vec![b'x'; 40_000]);
        let before = rig.session.held_bytes();
        for cols in 1..=10_000 {
            rig.says(&resize(cols));
        }
        assert!(rig.session.held_bytes() < before + 1024, "{first:?}");
        rig.api_takes = usize::MAX;
        rig.pump();
        let sizes = rig.log.iter().filter(|line| line.contains("size")).count();
        assert!(sizes <= 2, "{first:?}: {sizes}");
        rig.in_order(&["api: size 10000x24"]);
        assert_eq!(rig.stdin.len(), 40_000);
    }
}

#[test]
fn without_a_terminal_no_size_is_sent() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::up(first, |config| {
            config.tty = false;
            config.size = Some((80, 24));
        });
        rig.says(&resize(100));
        assert!(!rig.log.iter().any(|line| line.contains("size")));
        rig.types(b"x");
        assert_eq!(rig.stdin, b"x");
    }
}

#[test]
fn eof_without_a_terminal_is_v5s_signal_and_spdys_fin() {
    for first in [V5, SPDY] {
        let mut rig = Rig::up(first, |config| config.tty = false);
        rig.api_takes = 0;
        rig.types(&vec![b'x'; 50_000]);
        rig.says(EOF);
        rig.says(EOF);
        rig.types(b"too late");
        rig.api_takes = usize::MAX;
        rig.pump();
        assert_eq!(rig.stdin.len(), 50_000, "acts after what was sent before");
        assert_eq!(rig.count("api: stdin eof"), 1);
        assert_eq!(rig.log.last().unwrap(), "api: stdin eof");
        assert!(!rig.has_text("error"));
        rig.exits(0);
        rig.until_over();
        assert_eq!(rig.end().bytes_stdin, 50_000);
    }
}

#[test]
fn eof_before_up_acts_once_up() {
    let mut rig = Rig::new(|config| config.tty = false);
    rig.types(b"data");
    rig.says(EOF);
    rig.accept();
    assert_eq!(rig.count("api: stdin eof"), 0);
    rig.advance(millis(500));
    rig.in_order(&["api: stdin 4", "api: stdin eof"]);
}

#[test]
fn eof_on_v4_is_an_error_that_ends_nothing() {
    let mut rig = Rig::up(V4, |config| config.tty = false);
    rig.types(b"one");
    rig.says(EOF);
    assert_eq!(rig.text("error")["code"], "E_PROTOCOL");
    assert_eq!(rig.text("error")["retryable"], false);
    rig.types(b"two");
    assert_eq!(rig.stdin, b"onetwo", "stdin is still open");
    rig.prints(b"out");
    assert_eq!(rig.output, b"out");
    rig.exits(0);
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
    assert_eq!(rig.close_code, Some(1000));
}

#[test]
fn eof_on_v4_loses_nothing_that_was_typed_behind_it() {
    let mut rig = Rig::new(|config| {
        config.tty = false;
        config.first = V4;
    });
    rig.types(b"one");
    rig.says(EOF);
    rig.types(b"two");
    rig.accept();
    rig.advance(millis(300));
    assert_eq!(rig.stdin, b"onetwo");
    rig.in_order(&["browser: hello", "browser: error"]);
}

#[test]
fn a_flood_of_eof_on_v4_costs_no_memory() {
    let mut rig = Rig::up(V4, |config| config.tty = false);
    rig.browser_takes = 0;
    for _ in 0..20_000 {
        rig.says(EOF);
    }
    let held = rig.session.held_bytes();
    assert!(held < 64 * 1024, "{held}");
}

#[test]
fn eof_with_a_terminal_is_the_byte_4_and_never_a_half_close() {
    for first in [V5, SPDY, V4] {
        let mut rig = Rig::up(first, |_| {});
        rig.types(b"cat\n");
        rig.says(EOF);
        rig.types(b"more");
        assert_eq!(rig.stdin, b"cat\n\x04more", "{first:?}");
        assert_eq!(rig.count("api: stdin eof"), 0);
        assert!(!rig.has_text("error"));
    }
}

#[test]
fn unknown_broken_and_oversized_text_is_dropped_and_counted() {
    let mut rig = Rig::up(V5, |_| {});
    let long = format!(r#"{{"type":"close","reason":"{}"}}"#, "x".repeat(16 * 1024));
    for text in [r#"{"type":"later"}"#, "{", "[]", r#"{"type":7}"#, &long] {
        rig.says(text);
    }
    rig.types(b"still here");
    assert_eq!(rig.stdin, b"still here");
    rig.exits(0);
    rig.until_over();
    assert_eq!(rig.end().dropped_controls, 5);
    assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
}

#[test]
fn a_control_of_exactly_16_kib_is_read() {
    let mut rig = Rig::up(V5, |_| {});
    let frame = r#"{"type":"close","reason":""}"#;
    let padding = "x".repeat(16 * 1024 - frame.len());
    let text = format!(r#"{{"type":"close","reason":"{padding}"}}"#);
    assert_eq!(text.len(), 16 * 1024);
    rig.says(&text);
    assert!(rig.has_text("closed"));
}

#[test]
fn a_broken_protocol_ends_with_its_close_code() {
    let mut long = vec![0x82, 0xff];
    long.extend_from_slice(&(1024_u64 * 1024 + 1).to_be_bytes());
    long.extend_from_slice(&[0; 4]);
    let cases: [(&[u8], u16); 5] = [
        (&long, 1009),
        (&[0x81, 0x81, 0, 0, 0, 0, 0x80], 1007),
        (&[0x82, 0x01, b'x'], 1002),
        (&[0xf2, 0x80, 0, 0, 0, 0], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
    ];
    for (bytes, code) in cases {
        // Up, and while dialing.
        for up in [true, false] {
            let mut rig = if up {
                Rig::up(V5, |_| {})
            } else {
                Rig::new(|_| {})
            };
            rig.browser_says(bytes);
            rig.until_over();
            assert_eq!(rig.close_code, Some(code), "{bytes:x?}");
            assert_eq!(rig.text("error")["code"], "E_PROTOCOL");
            assert_eq!(rig.text("closed")["detail"], "protocol_error");
            assert_eq!(rig.text("closed")["reason"], "forced_close");
            assert_eq!(rig.end().started, up);
        }
    }
}

#[test]
fn a_message_of_exactly_1_mib_is_stdin() {
    let mut rig = Rig::up(V5, |_| {});
    rig.types(&vec![b'x'; 1024 * 1024]);
    assert_eq!(rig.stdin.len(), 1024 * 1024);
}

#[test]
fn pings_of_the_browser_are_answered_the_latest_as_soon_as_the_socket_takes_it() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 0;
    for byte in [b'1', b'2', b'3'] {
        rig.browser_says(&[0x89, 0x81, 0, 0, 0, 0, byte]);
    }
    rig.browser_takes = usize::MAX;
    rig.pump();
    assert_eq!(rig.count("browser: pong"), 2, "the first and the latest");
}

#[test]
fn stdin_goes_up_while_output_is_paused() {
    let mut rig = Rig::up(V5, |_| {});
    rig.browser_takes = 0;
    rig.prints(&vec![b'y'; 1024 * 1024]);
    assert!(!rig.session.wants_read(Leg::Api));
    rig.types(b"\x03");
    assert_eq!(rig.stdin, b"\x03");
    rig.advance(secs(1));
}
