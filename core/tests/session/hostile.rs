//! Peers that are out for harm: too slow, too large, too many, or of streams that never were. Each
//! gets a clear end, holds nothing behind it, and nothing panics.

use periscope_core::limits::{HEAD_BYTES_MAX, READ_BYTES_MAX, STATUS_BYTES_MAX};
use periscope_core::session::{Leg, Session};
use periscope_core::time::Instant;

use crate::rig::{Rig, SPDY, V5, secs};

/// A whole answer to an upgrade, so that only its slowness is wrong with it.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

fn listening() -> Rig {
    let mut rig = Rig::of(Session::listening([7; 32], Instant::ZERO));
    rig.raw = Some(Vec::new());
    rig
}

fn raw(rig: &Rig) -> String {
    String::from_utf8_lossy(rig.raw.as_deref().unwrap_or_default()).into_owned()
}

/// The session ended with this, the apiserver's connection is dropped, and no byte is held.
fn expect_end(rig: &mut Rig, code: &str, detail: &str) {
    rig.until_over();
    assert_eq!(rig.text("error")["code"], code);
    assert_eq!(rig.text("closed")["detail"], detail);
    assert_eq!(rig.end().detail.as_str(), detail);
    assert_eq!(rig.count("abort api"), 1, "{:?}", rig.log);
    assert_eq!(rig.session.unwritten(Leg::Api), 0);
    assert_eq!(rig.session.unwritten(Leg::Browser), 0);
}

#[test]
fn a_browser_of_one_byte_a_second_has_ten_seconds_for_its_head() {
    let mut rig = listening();
    for byte in b"GET /exec HTTP/1.1\r\n".iter().take(9) {
        rig.browser_says(&[*byte]);
        rig.advance(secs(1));
        assert_eq!(rig.count("over"), 0);
    }
    rig.browser_says(b"x");
    rig.advance(secs(1));
    rig.in_order(&["abort browser", "over"]);
    assert_eq!(rig.count("ask admit"), 0);
}

#[test]
fn an_apiserver_of_one_byte_a_second_has_ten_seconds_a_dial_and_25_altogether() {
    let mut rig = Rig::new(|_| {});
    for _ in 0..2 {
        rig.connect();
        for byte in ANSWER.iter().take(10) {
            assert!(rig.summary.is_none());
            rig.api_says(&[*byte]);
            rig.advance(secs(1));
        }
    }
    rig.until_over();
    assert!(rig.now.since(Instant::ZERO) <= secs(26));
    assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
    assert_eq!(rig.end().detail.as_str(), "unreachable");
    assert!(!rig.end().started);
}

/// Slowness is no fault of a shell that is up: each byte is activity, and arrives.
#[test]
fn output_and_input_of_one_byte_a_second_are_a_session_like_any_other() {
    for transport in [V5, SPDY] {
        let mut rig = Rig::up(transport, |_| {});
        for index in 0..700_u32 {
            rig.prints(&[index.to_le_bytes()[0]]);
            rig.types(b"k");
            rig.pong();
            rig.advance(secs(1));
        }
        assert!(rig.summary.is_none(), "{:?}", rig.summary);
        assert_eq!((rig.output.len(), rig.stdin.len()), (700, 700));
    }
}

#[test]
fn a_head_of_one_mebibyte_is_refused_before_it_is_held() {
    let long = |start: &str| format!("{start}X: {}\r\n\r\n", "y".repeat(1024 * 1024));
    let mut rig = listening();
    let head = long("GET /exec HTTP/1.1\r\nHost: x\r\n");
    let mut said = 0;
    for piece in head.as_bytes().chunks(READ_BYTES_MAX) {
        if rig.count("over") == 0 {
            rig.browser_says(piece);
            said += piece.len();
            assert!(rig.unread() <= HEAD_BYTES_MAX, "{}", rig.unread());
        }
    }
    assert!(
        said <= HEAD_BYTES_MAX + READ_BYTES_MAX,
        "{said} bytes were read"
    );
    assert!(raw(&rig).starts_with("HTTP/1.1 431 "), "{}", raw(&rig));
    rig.in_order(&["shutdown Browser", "over"]);

    let mut rig = Rig::new(|_| {});
    for _ in 0..3 {
        if rig.dialing().is_none() {
            break;
        }
        let dialing = rig.dialing();
        rig.connect();
        for piece in long("HTTP/1.1 403 Forbidden\r\n")
            .as_bytes()
            .chunks(READ_BYTES_MAX)
        {
            // Once it is refused the next dial, if there is one, is on another connection.
            if rig.dialing().is_none() && rig.summary.is_none() {
                rig.api_says(piece);
                assert!(
                    rig.unread() <= HEAD_BYTES_MAX,
                    "{dialing:?}: {}",
                    rig.unread()
                );
            }
        }
    }
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
    assert_eq!(rig.unread(), 0);
}

#[test]
fn ten_thousand_header_fields_are_refused() {
    let many = |start: &str| format!("{start}{}\r\n", "A: b\r\n".repeat(10_000));
    let mut rig = listening();
    rig.browser_says(many("GET /exec HTTP/1.1\r\nHost: x\r\n").as_bytes());
    assert!(raw(&rig).starts_with("HTTP/1.1 431 "), "{}", raw(&rig));
    rig.in_order(&["over"]);

    let mut rig = Rig::new(|_| {});
    while rig.dialing().is_some() {
        rig.connect();
        rig.api_says(many("HTTP/1.1 403 Forbidden\r\n").as_bytes());
    }
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
}

#[test]
fn frames_about_spdy_streams_that_cannot_be_end_the_session() {
    // SYN_REPLY of stream 1 again, without headers.
    let replied_twice = [0x80, 3, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1];
    let data_of_stream_99 = [0, 0, 0, 99, 0, 0, 0, 1, b'x'];
    // Three grants of a gigabyte each for the whole connection.
    let grant = [0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 0, 0x40, 0, 0, 0];
    let window_overflow = [grant, grant, grant].concat();
    for bytes in [&replied_twice[..], &data_of_stream_99, &window_overflow] {
        let mut rig = Rig::up(SPDY, |_| {});
        rig.api_says(bytes);
        expect_end(&mut rig, "E_INTERNAL", "protocol_error");
        assert!(rig.end().started, "the command had begun");
    }
}

#[test]
fn a_status_of_ten_mebibytes_ends_the_session_and_is_never_held() {
    let long = vec![b' '; 10 * 1024 * 1024];
    let len = u32::try_from(long.len() + 1).unwrap().to_be_bytes();
    // A message on channel 3, and a frame on stream 1, which carry the error.
    let v5 = [&[0x82, 127, 0, 0, 0, 0], &len[..], &[3], &long].concat();
    let [_, b, c, d] = u32::try_from(long.len()).unwrap().to_be_bytes();
    let spdy = [&[0, 0, 0, 1, 0, b, c, d], &long[..]].concat();
    for (transport, bytes) in [(V5, v5), (SPDY, spdy)] {
        let mut rig = Rig::up(transport, |_| {});
        for piece in bytes.chunks(32 * 1024) {
            rig.api_says(piece);
            assert!(rig.unread() <= STATUS_BYTES_MAX + 64 * 1024);
        }
        expect_end(&mut rig, "E_INTERNAL", "protocol_error");
    }
}
