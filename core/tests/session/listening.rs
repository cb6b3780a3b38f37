//! Sessions that read the browser's handshake themselves.

use periscope_core::code::CloseDetail;
use periscope_core::session::{Answer, Order, Session};
use periscope_core::time::Instant;

use crate::rig::{Rig, config, millis, secs};

const HANDSHAKE: &[u8] = b"GET /exec HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked (with zeros) message `hi`, and a ping.
const EARLY: &[u8] = &[0x82, 0x82, 0, 0, 0, 0, b'h', b'i', 0x89, 0x80, 0, 0, 0, 0];

fn listening() -> Rig {
    let mut rig = Rig::of(Session::listening([7; 32], Instant::ZERO));
    rig.raw = Some(Vec::new());
    rig
}

fn raw(rig: &Rig) -> String {
    String::from_utf8_lossy(rig.raw.as_deref().unwrap_or_default()).into_owned()
}

#[test]
fn a_handshake_asks_for_admission_and_yes_is_the_101() {
    let mut rig = listening();
    for piece in HANDSHAKE.chunks(5) {
        assert_eq!(rig.count("ask admit"), 0);
        rig.browser_says(piece);
    }
    assert_eq!(rig.admissions[0].path(), "/exec");
    assert_eq!(raw(&rig), "", "the answer waits for the host");
    rig.answer(Answer::Admitted(Box::new(config())));
    let text = raw(&rig);
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
    rig.in_order(&["ask admit", "dial WebSocketV5"]);
}

#[test]
fn early_bytes_are_stdin_and_nothing_overtakes_the_101() {
    let mut rig = listening();
    rig.browser_takes = 0;
    rig.browser_says(&[HANDSHAKE, EARLY].concat());
    rig.answer(Answer::Admitted(Box::new(config())));
    rig.accept();
    rig.advance(secs(21)); // a ping of ours is due as well
    rig.browser_takes = usize::MAX;
    rig.pump();
    assert!(raw(&rig).starts_with("HTTP/1.1 101 "), "{:?}", raw(&rig));
    assert_eq!(rig.stdin, b"hi");
}

#[test]
fn a_refusal_is_answered_in_http_and_the_connection_closed_in_order() {
    let mut rig = listening();
    rig.browser_says(HANDSHAKE);
    rig.answer(Answer::Refused {
        status: 403,
        body: r#"{"error":"E_EXEC_DISABLED"}"#.to_owned(),
        retry_after: None,
    });
    let text = raw(&rig);
    assert!(!text.contains("Retry-After"), "{text}");
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    assert!(
        text.contains("Content-Type: application/json\r\n"),
        "{text}"
    );
    assert!(text.ends_with(r#"{"error":"E_EXEC_DISABLED"}"#), "{text}");
    rig.in_order(&["shutdown Browser", "over"]);
    assert!(rig.summary.is_none(), "there was no session");
}

#[test]
fn a_refusal_says_when_to_come_back_and_a_dry_run_gets_its_200() {
    let mut rig = listening();
    rig.browser_says(HANDSHAKE);
    rig.answer(Answer::Refused {
        status: 429,
        body: "{}".to_owned(),
        retry_after: Some(17),
    });
    assert!(
        raw(&rig).contains("\r\nRetry-After: 17\r\n"),
        "{}",
        raw(&rig)
    );
    rig.in_order(&["shutdown Browser", "over"]);

    let mut rig = listening();
    rig.browser_says(b"GET /exec HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.answer(Answer::Refused {
        status: 200,
        body: r#"{"ok":true}"#.to_owned(),
        retry_after: None,
    });
    assert!(raw(&rig).starts_with("HTTP/1.1 200 "), "{}", raw(&rig));
    assert!(raw(&rig).ends_with(r#"{"ok":true}"#), "{}", raw(&rig));
    rig.in_order(&["shutdown Browser", "over"]);
    assert!(rig.summary.is_none(), "there was no session");
}

#[test]
fn a_broken_head_is_a_400_and_a_request_for_something_else_too() {
    let mut rig = listening();
    rig.browser_says(b"\x16\x03\x01 what\r\n\r\n");
    assert!(raw(&rig).starts_with("HTTP/1.1 400 "), "{}", raw(&rig));
    rig.in_order(&["over"]);

    let mut rig = listening();
    rig.browser_says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.answer(Answer::Admitted(Box::new(config())));
    assert!(raw(&rig).starts_with("HTTP/1.1 400 "), "{}", raw(&rig));
    rig.in_order(&["over"]);
}

#[test]
fn a_head_has_ten_seconds_and_the_host_fifteen() {
    let mut rig = listening();
    rig.advance(secs(5));
    rig.browser_says(&HANDSHAKE[..20]);
    rig.advance(millis(4999));
    assert_eq!(rig.count("over"), 0);
    rig.advance(millis(1));
    rig.advance(secs(1));
    rig.in_order(&["over"]);
    assert_eq!(rig.count("ask admit"), 0);

    let mut rig = listening();
    rig.browser_says(HANDSHAKE);
    rig.advance(millis(14_999));
    assert_eq!(rig.count("over"), 0);
    rig.advance(millis(1));
    assert!(raw(&rig).starts_with("HTTP/1.1 500 "), "{}", raw(&rig));
    assert!(raw(&rig).contains(r#""error":"E_INTERNAL""#));
    assert!(raw(&rig).contains(r#""message":""#));
    rig.in_order(&["over"]);
    rig.answer(Answer::Admitted(Box::new(config())));
    assert_eq!(rig.count("dial WebSocketV5"), 0, "too late");
}

#[test]
fn a_browser_that_leaves_and_an_order_end_a_handshake_at_once() {
    for asking in [true, false] {
        let mut rig = listening();
        if asking {
            rig.browser_says(HANDSHAKE);
        }
        rig.browser_vanishes();
        rig.in_order(&["abort browser", "over"]);
        let mut rig = listening();
        if asking {
            rig.browser_says(HANDSHAKE);
        }
        rig.order(Order::End(CloseDetail::Internal));
        rig.in_order(&["over"]);
    }
}

#[test]
fn a_refusal_nobody_takes_is_cut_off_after_a_second() {
    let mut rig = listening();
    rig.browser_takes = 0;
    rig.browser_says(HANDSHAKE);
    rig.answer(Answer::Refused {
        status: 429,
        body: "{}".to_owned(),
        retry_after: None,
    });
    assert_eq!(rig.until_over(), secs(1));
    rig.in_order(&["abort browser"]);
}
