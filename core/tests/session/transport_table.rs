//! The transport table, row by row: what is tried next, and what the breaker hears and when.

use periscope_core::session::{BreakerVerdict, DialFailure, IoFailure};

use crate::rig::{Rig, SPDY, V4, V5, millis, secs};

const UPGRADE_REQUIRED: &str = "Upgrade request required";
const NOT_STARTED: &str = "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout";

#[test]
fn row_1_a_right_101_and_quiet_is_a_success() {
    let mut rig = Rig::new(|_| {});
    assert_eq!(rig.dialing(), Some(V5));
    rig.accept();
    rig.advance(millis(499));
    assert_eq!(rig.breaker(), None, "the translator may still fail");
    rig.advance(millis(1));
    assert_eq!(rig.breaker(), Some(BreakerVerdict::Success));
}

#[test]
fn row_1_a_status_before_up_is_a_success_whatever_it_says() {
    for text in [
        "executable file `sh` not found in $PATH",
        "something else broke",
    ] {
        let mut rig = Rig::new(|_| {});
        rig.accept();
        rig.fails(text);
        assert_eq!(rig.breaker(), Some(BreakerVerdict::Success), "{text}");
        assert_eq!(rig.dialing(), None);
    }
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.exits(3);
    assert_eq!(rig.breaker(), Some(BreakerVerdict::Success));
}

#[test]
fn row_2_forbidden_tries_spdy_and_gives_the_probe_back_at_once() {
    let mut rig = Rig::new(|_| {});
    rig.refuse_status(403, "Forbidden", "pods \"cart-0\" is forbidden");
    assert_eq!(rig.dialing(), Some(SPDY));
    // A session may last for hours; the breaker must not wait that long for its probe.
    assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
    rig.refuse_status(403, "Forbidden", "pods \"cart-0\" is forbidden");
    assert_eq!(rig.dialing(), None, "v4 needs the same right as v5");
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_FORBIDDEN");
    assert!(!rig.end().started);
}

#[test]
fn row_3_a_lost_upgrade_header_counts_only_once_spdy_got_its_101() {
    let mut rig = Rig::new(|_| {});
    rig.refuse_status(400, "BadRequest", UPGRADE_REQUIRED);
    assert_eq!(rig.dialing(), Some(SPDY));
    assert_eq!(rig.breaker(), None);
    rig.connect();
    assert_eq!(rig.breaker(), None);
    rig.upgrade();
    assert_eq!(rig.breaker(), Some(BreakerVerdict::Failure));
    rig.in_order(&[
        "dial WebSocketV5",
        "attempt WebSocketV5 status:BadRequest",
        "abort api",
        "dial Spdy",
        "breaker Failure",
        "attempt Spdy none",
    ]);
}

#[test]
fn row_4_other_answers_are_the_sessions_own_error() {
    let cases = [
        (404, "NotFound", "pods \"x\" not found", "E_NOT_FOUND"),
        (
            400,
            "BadRequest",
            "a container name must be specified for pod x",
            "E_INVALID_REQUEST",
        ),
        (429, "TooManyRequests", "slow down", "E_CLUSTER_UNREACHABLE"),
        (
            500,
            "InternalError",
            "Internal error occurred: cannot impersonate",
            "E_INTERNAL",
        ),
        (
            503,
            "ServiceUnavailable",
            "not now",
            "E_CLUSTER_UNREACHABLE",
        ),
    ];
    for (code, reason, message, expected) in cases {
        let mut rig = Rig::new(|_| {});
        rig.refuse_status(code, reason, message);
        assert_eq!(rig.dialing(), None, "{message}");
        rig.until_over();
        assert_eq!(rig.text("error")["code"], expected, "{message}");
        assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict), "{message}");
        assert!(!rig.end().started);
    }
    for text in [
        "container not found (\"app\")",
        "pod does not exist",
        "CONTAINER_EXITED",
    ] {
        let mut rig = Rig::new(|_| {});
        rig.refuse(404, text);
        assert_eq!(rig.dialing(), None, "{text}");
        rig.until_over();
        assert_eq!(rig.text("error")["code"], "E_NOT_FOUND", "{text}");
    }
    let mut rig = Rig::new(|_| {});
    rig.refuse(429, "");
    assert_eq!(rig.dialing(), None);
}

#[test]
fn row_4_a_kubelets_text_inside_an_internal_error_after_a_v5_101_never_moves_the_breaker() {
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.fails("unable to upgrade connection: container not found (\"app\")");
    assert_eq!(rig.dialing(), None);
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_NOT_FOUND");
    assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
    assert_eq!(rig.end().detail.as_str(), "not_found");
    assert!(rig.end().started, "the command may have run");
}

#[test]
fn row_4_a_401_is_tried_once_more_with_fresh_credentials() {
    let mut rig = Rig::new(|_| {});
    rig.refuse_status(401, "Unauthorized", "Unauthorized");
    rig.in_order(&["dial WebSocketV5", "abort api", "dial WebSocketV5 fresh"]);
    rig.refuse_status(401, "Unauthorized", "Unauthorized");
    assert_eq!(rig.dialing(), None);
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_INTERNAL");
    assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
    assert_eq!(rig.end().detail.as_str(), "internal");
}

#[test]
fn row_4_the_fresh_credentials_are_used_on_every_later_dial() {
    let mut rig = Rig::new(|_| {});
    rig.refuse(401, "");
    rig.refuse(403, "");
    rig.in_order(&["dial WebSocketV5 fresh", "dial Spdy fresh"]);
    rig.refuse_status(401, "Unauthorized", "Unauthorized");
    assert_eq!(rig.dialing(), None, "once a session");
}

#[test]
fn row_5_a_refusal_without_a_status_counts_once_spdy_got_its_101() {
    for (status, body) in [
        (403, ""),
        (400, "bad"),
        (426, ""),
        (501, "no"),
        (502, "<html>Bad Gateway</html>"),
        (200, "hello"),
    ] {
        let mut rig = Rig::new(|_| {});
        rig.refuse(status, body);
        assert_eq!(rig.dialing(), Some(SPDY), "{status}");
        assert_eq!(rig.breaker(), None, "{status}");
        rig.accept();
        assert_eq!(rig.breaker(), Some(BreakerVerdict::Failure), "{status}");
    }
}

#[test]
fn row_5_wrong_101s_end_of_file_garbage_and_silence_count_once_spdy_got_its_101() {
    let wrong_accept = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    let faults: [&dyn Fn(&mut Rig); 5] = [
        &|rig| rig.api_says(wrong_accept.as_bytes()),
        &|rig| rig.api_says(b"SSH-2.0-OpenSSH_9.9\r\n"),
        &|rig| rig.api_eof(),
        &|rig| {
            rig.api_says(b"HTTP/1.1 101 Swit");
            rig.api_fails(IoFailure::Reset);
        },
        &|rig| rig.advance(secs(10)),
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        let mut rig = Rig::new(|_| {});
        rig.connect();
        fault(&mut rig);
        assert_eq!(rig.dialing(), Some(SPDY), "{index}: {:#?}", rig.log);
        assert_eq!(rig.breaker(), None, "{index}");
        rig.accept();
        assert_eq!(rig.breaker(), Some(BreakerVerdict::Failure), "{index}");
    }
}

#[test]
fn row_5_what_spdy_cannot_do_either_is_an_outage_and_never_counts() {
    for spdy_too in [true, false] {
        let mut rig = Rig::new(|_| {});
        rig.connect();
        rig.api_eof();
        if spdy_too {
            rig.connect();
            rig.api_eof();
        } else {
            rig.dial_fails(DialFailure::Tcp);
        }
        rig.until_over();
        assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
        assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
    }
}

#[test]
fn row_6_no_connection_is_unreachable_and_nothing_else_is_tried() {
    for failure in [DialFailure::Dns, DialFailure::Tcp, DialFailure::Tls] {
        let mut rig = Rig::new(|_| {});
        rig.dial_fails(failure);
        assert_eq!(rig.dialing(), None, "{failure:?}");
        rig.until_over();
        assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
        assert_eq!(rig.text("error")["retryable"], true);
        assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
        assert!(!rig.end().started);
    }
    // The TLS layer reports itself once the host has connected.
    let mut rig = Rig::new(|_| {});
    rig.api_takes = 0;
    rig.connect_until_written();
    rig.api_fails(IoFailure::Tls);
    rig.in_order(&["attempt WebSocketV5 tls"]);
    assert_eq!(rig.dialing(), None);
    // A handshake that never ends is TLS too: the socket took nothing of the request.
    let mut rig = Rig::new(|_| {});
    rig.api_takes = 0;
    rig.connect_until_written();
    rig.advance(secs(10));
    rig.in_order(&["attempt WebSocketV5 tls"]);
    assert_eq!(rig.dialing(), None);
}

#[test]
fn row_7_a_translator_that_never_reached_the_node_is_followed_by_spdy_once() {
    for text in [
        NOT_STARTED,
        "error sending request: Post \"//[::]:1/x\"",
        "unable to upgrade connection: 502",
    ] {
        let mut rig = Rig::new(|_| {});
        rig.accept();
        rig.fails(text);
        assert_eq!(rig.dialing(), Some(SPDY), "{text}");
        assert_eq!(rig.breaker(), None);
        rig.accept();
        assert_eq!(rig.breaker(), Some(BreakerVerdict::Failure));
        rig.advance(millis(300));
        rig.in_order(&["abort api", "dial Spdy", "started Spdy", "browser: hello"]);
        assert_eq!(rig.text("hello")["transport"], "spdy");
    }
}

#[test]
fn row_7_leaves_no_v4_to_try_and_is_a_denial_if_spdy_cannot_either() {
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.fails(NOT_STARTED);
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), None, "v5 was not refused by an answer");
    rig.until_over();
    assert!(!rig.end().started);
    assert_eq!(rig.text("error")["code"], "E_CLUSTER_UNREACHABLE");
}

#[test]
fn row_7_is_none_after_up() {
    let mut rig = Rig::up(V5, |_| {});
    rig.fails(NOT_STARTED);
    assert_eq!(rig.dialing(), None);
    rig.until_over();
    assert_eq!(rig.end().detail.as_str(), "unreachable");
}

#[test]
fn only_v5_attempts_move_the_breaker() {
    let mut rig = Rig::up(SPDY, |_| {});
    rig.exits(0);
    rig.until_over();
    assert_eq!(rig.breaker(), None);
    let mut rig = Rig::new(|config| config.first = SPDY);
    rig.refuse(403, "");
    rig.until_over();
    assert_eq!(rig.breaker(), None);
}

#[test]
fn a_v5_101_the_browser_does_not_wait_for_is_no_verdict() {
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.browser_vanishes();
    assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
    let mut rig = Rig::new(|_| {});
    rig.accept();
    rig.api_eof();
    rig.advance(secs(5));
    assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
}

#[test]
fn v4_is_tried_only_when_both_others_were_refused_by_an_answer() {
    let refusals: [&dyn Fn(&mut Rig); 3] = [
        &|rig| rig.refuse_status(400, "BadRequest", UPGRADE_REQUIRED),
        &|rig| rig.refuse(403, ""),
        &|rig| rig.refuse(502, "<html>"),
    ];
    for v5 in refusals {
        for spdy in refusals {
            let mut rig = Rig::new(|_| {});
            v5(&mut rig);
            assert_eq!(rig.dialing(), Some(SPDY));
            spdy(&mut rig);
            assert_eq!(rig.dialing(), Some(V4));
            assert_eq!(rig.breaker(), Some(BreakerVerdict::NoVerdict));
            rig.accept();
            rig.advance(millis(300));
            assert_eq!(rig.text("hello")["subprotocol"], "v4.channel.k8s.io");
            assert_eq!(rig.text("hello")["transport"], "ws");
        }
    }
    let silences: [&dyn Fn(&mut Rig); 2] = [
        &|rig| {
            rig.connect();
            rig.api_eof();
        },
        &|rig| {
            rig.connect();
            rig.advance(secs(10));
        },
    ];
    for silence in silences {
        let mut rig = Rig::new(|_| {});
        silence(&mut rig);
        rig.refuse(403, "");
        assert_eq!(rig.dialing(), None, "v5 was refused by silence");
        let mut rig = Rig::new(|_| {});
        rig.refuse(403, "");
        silence(&mut rig);
        assert_eq!(rig.dialing(), None, "SPDY was refused by silence");
    }
    let mut rig = Rig::new(|_| {});
    rig.refuse_status(403, "Forbidden", "no");
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), None, "v5 was refused by policy");
    let mut rig = Rig::new(|config| config.first = SPDY);
    rig.refuse(403, "");
    assert_eq!(rig.dialing(), None, "v5 was not tried");
}

#[test]
fn the_last_attempts_answer_is_the_sessions_error() {
    let mut rig = Rig::new(|_| {});
    rig.refuse(403, "");
    rig.refuse(403, "");
    rig.refuse_status(404, "NotFound", "pods \"cart-0\" not found");
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_NOT_FOUND");
    assert_eq!(rig.end().transport, Some(V4));
}
