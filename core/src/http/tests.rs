//! Both sides against the rules, against captured bytes, and against each other.

mod server;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use self::server::read_request;
use super::*;
use crate::limits::{INTERIM_ANSWERS_MAX, REFUSAL_BODY_BYTES_MAX};
use crate::outbox::Outbox;

const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SAMPLE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn drain(out: &mut Outbox) -> String {
    let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    out.advance(bytes.len());
    String::from_utf8(bytes).unwrap()
}

fn headers(fields: &[(&str, &str)]) -> Vec<(String, SecretValue)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), SecretValue::new(value).unwrap()))
        .collect()
}

/// What an answer amounts to, and what it left in the input.
type Answered = (Result<Option<ClientOutcome>, Error>, Vec<u8>);

fn answer(mut client: ClientUpgrade, pieces: &[&[u8]], ends: bool) -> Answered {
    let mut input = BytesMut::new();
    let mut outcome = Ok(None);
    for piece in pieces {
        input.extend_from_slice(piece);
        if outcome == Ok(None) {
            outcome = client.receive(&mut input);
        }
    }
    if ends && outcome == Ok(None) {
        outcome = client.eof(&mut input);
    }
    if let Err(error) = outcome {
        assert_eq!(client.receive(&mut input), Err(error), "errors stick");
        assert_eq!(client.eof(&mut input), Err(error));
    }
    (outcome, input.to_vec())
}

/// The three feeds: whole, byte by byte, whole with more behind it.
fn three_feeds(make: impl Fn() -> ClientUpgrade, bytes: &[u8], ends: bool) -> Answered {
    let whole = answer(make(), &[bytes], ends);
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(
        answer(make(), &singles, ends).0,
        whole.0,
        "whole and byte by byte"
    );
    if matches!(whole.0, Ok(Some(_))) && !ends {
        let (outcome, left) = answer(make(), &[bytes, b"\x82\x01\x01"], ends);
        assert_eq!(outcome, whole.0, "whole and whole with more behind it");
        assert_eq!(
            left,
            [&whole.1[..], b"\x82\x01\x01"].concat(),
            "what follows is not ours"
        );
    }
    whole
}

fn websocket(subprotocols: &[&str]) -> ClientUpgrade {
    let request = UpgradeRequest {
        host: "h",
        target: "/x",
        headers: &[],
        subprotocols,
    };
    // RFC 6455 §1.3: the nonce of the example.
    ClientUpgrade::websocket(&request, *b"the sample nonce", &mut Outbox::new()).unwrap()
}

fn spdy(subprotocols: &[&str]) -> ClientUpgrade {
    let request = UpgradeRequest {
        host: "h",
        target: "/x",
        headers: &[],
        subprotocols,
    };
    ClientUpgrade::spdy(&request, &mut Outbox::new()).unwrap()
}

fn refused(status: u16, body: &[u8]) -> ClientOutcome {
    let body = Bytes::copy_from_slice(body);
    ClientOutcome::Refused(Refusal { status, body })
}

/// RFC 6455 §1.3: the handshake's example.
#[test]
fn the_accept_key_is_the_rfcs() {
    assert_eq!(accept_key(SAMPLE_KEY), SAMPLE_ACCEPT);
}

/// RFC 6455 §4.1, and the field order of Kubernetes' client.
#[test]
fn a_websocket_request_has_the_bytes_kubectl_sends() {
    let mut out = Outbox::new();
    let request = UpgradeRequest {
        host: "127.0.0.1:60585",
        target: "/api/v1/namespaces/default/pods/box/exec?command=echo",
        headers: &headers(&[
            ("Kubectl-Session", "3d"),
            ("Authorization", "Bearer t"),
            ("User-Agent", "kubectl"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Group", "a"),
        ]),
        subprotocols: &["v5.channel.k8s.io", "v4.channel.k8s.io"],
    };
    ClientUpgrade::websocket(&request, *b"the sample nonce", &mut out).unwrap();
    assert_eq!(
        drain(&mut out),
        "GET /api/v1/namespaces/default/pods/box/exec?command=echo HTTP/1.1\r\n\
         Host: 127.0.0.1:60585\r\n\
         User-Agent: kubectl\r\n\
         Authorization: Bearer t\r\n\
         Connection: Upgrade\r\n\
         Impersonate-Group: b\r\n\
         Impersonate-Group: a\r\n\
         Kubectl-Session: 3d\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Upgrade: websocket\r\n\r\n"
    );
}

/// The captured SPDY request of kubectl, shortened to two subprotocols.
#[test]
fn a_spdy_request_has_the_bytes_kubectl_sends() {
    let mut out = Outbox::new();
    let request = UpgradeRequest {
        host: "h:1",
        target: "/x?y=z",
        headers: &headers(&[
            ("Kubectl-Command", "kubectl exec"),
            ("User-Agent", "kubectl"),
        ]),
        subprotocols: &["v4.channel.k8s.io", "channel.k8s.io"],
    };
    ClientUpgrade::spdy(&request, &mut out).unwrap();
    assert_eq!(
        drain(&mut out),
        "POST /x?y=z HTTP/1.1\r\nHost: h:1\r\nUser-Agent: kubectl\r\nContent-Length: 0\r\n\
         Connection: Upgrade\r\nKubectl-Command: kubectl exec\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\
         X-Stream-Protocol-Version: channel.k8s.io\r\n\r\n"
    );
}

/// RFC 9112 §11.1: nothing a caller passes can add a line to the request.
#[test]
fn requests_that_could_be_read_as_others_are_our_bug() {
    let good = UpgradeRequest {
        host: "h",
        target: "/",
        headers: &[],
        subprotocols: &["a"],
    };
    let smuggled = headers(&[("Transfer-Encoding", "chunked")]);
    let unnamed = headers(&[("A B", "c")]);
    let cases = [
        (UpgradeRequest { host: "", ..good }, Misuse::Host),
        (
            UpgradeRequest {
                host: "h\r\nX: y",
                ..good
            },
            Misuse::Host,
        ),
        (
            UpgradeRequest {
                host: "u@h",
                ..good
            },
            Misuse::Host,
        ),
        (
            UpgradeRequest {
                target: "x",
                ..good
            },
            Misuse::Target,
        ),
        (
            UpgradeRequest {
                target: "/a b",
                ..good
            },
            Misuse::Target,
        ),
        (
            UpgradeRequest {
                target: "/a#b",
                ..good
            },
            Misuse::Target,
        ),
        (
            UpgradeRequest {
                target: "/\u{e9}",
                ..good
            },
            Misuse::Target,
        ),
        (
            UpgradeRequest {
                headers: &smuggled,
                ..good
            },
            Misuse::HeaderOfHandshake,
        ),
        (
            UpgradeRequest {
                headers: &unnamed,
                ..good
            },
            Misuse::HeaderName,
        ),
        (
            UpgradeRequest {
                subprotocols: &["a", "a"],
                ..good
            },
            Misuse::Subprotocol,
        ),
        (
            UpgradeRequest {
                subprotocols: &["a, b"],
                ..good
            },
            Misuse::Subprotocol,
        ),
    ];
    for (request, misuse) in cases {
        let mut out = Outbox::new();
        let websocket = ClientUpgrade::websocket(&request, [0; 16], &mut out).map(|_| ());
        assert_eq!(websocket, Err(misuse), "{request:?}");
        assert_eq!(
            ClientUpgrade::spdy(&request, &mut out).map(|_| ()),
            Err(misuse)
        );
        assert!(out.is_empty());
    }
    let none = UpgradeRequest {
        subprotocols: &[],
        ..good
    };
    let spdy = ClientUpgrade::spdy(&none, &mut Outbox::new()).map(|_| ());
    assert_eq!(spdy, Err(Misuse::Subprotocol));
}

/// RFC 6455 §4.1: the client believes a 101 only if all of it fits; what follows is left.
#[test]
fn a_101_upgrades_only_if_all_of_it_fits() {
    let good = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {SAMPLE_ACCEPT}\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    );
    let offered = || websocket(&["v5.channel.k8s.io"]);
    let judge = |answer: &str| three_feeds(offered, answer.as_bytes(), false).0;
    let subprotocol = Some("v5.channel.k8s.io".to_owned());
    assert_eq!(
        judge(&good),
        Ok(Some(ClientOutcome::Upgraded { subprotocol }))
    );
    for (from, to, outcome) in [
        (
            "Upgrade: websocket",
            "Upgrade: h2c",
            ClientOutcome::WrongAccept,
        ),
        ("Upgrade: websocket\r\n", "", ClientOutcome::WrongAccept),
        (
            "Connection: Upgrade",
            "Connection: close",
            ClientOutcome::WrongAccept,
        ),
        (
            SAMPLE_ACCEPT,
            "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            ClientOutcome::WrongAccept,
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Accept: x\r\n\r\n",
            ClientOutcome::WrongAccept,
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: x\r\n\r\n",
            ClientOutcome::WrongAccept,
        ),
        ("HTTP/1.1 101", "HTTP/1.0 101", ClientOutcome::WrongAccept),
        ("v5.channel", "V5.channel", ClientOutcome::WrongSubprotocol),
        (
            "v5.channel.k8s.io",
            "v5.channel.k8s.io, x",
            ClientOutcome::WrongSubprotocol,
        ),
        (
            "Protocol: v5.channel.k8s.io",
            "Protocol: ",
            ClientOutcome::WrongSubprotocol,
        ),
        (
            "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n",
            "",
            ClientOutcome::WrongSubprotocol,
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert_eq!(judge(&bad), Ok(Some(outcome)), "{bad}");
    }
    // Case, order and company of the tokens do not matter.
    let odd = good
        .replace("Upgrade: websocket", "upgrade: foo, WebSocket")
        .replace("Connection: Upgrade", "Connection: keep-alive, upgrade");
    assert_eq!(judge(&odd), judge(&good));
    // Without an offer, none must come back; Go then sends the field empty.
    let none = good.replace("v5.channel.k8s.io", "");
    let outcome = three_feeds(|| websocket(&[]), none.as_bytes(), false).0;
    assert_eq!(
        outcome,
        Ok(Some(ClientOutcome::Upgraded { subprotocol: None }))
    );
    let outcome = three_feeds(|| websocket(&[]), good.as_bytes(), false).0;
    assert_eq!(outcome, Ok(Some(ClientOutcome::WrongSubprotocol)));
}

/// The captured answer of a runtime; one that names no version means the first.
#[test]
fn a_spdy_101_names_its_version_or_means_the_first() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
                X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
    let unsaid = good.replace("X-Stream-Protocol-Version: v4.channel.k8s.io\r\n", "");
    let judge = |offered: &'static [&'static str], answer: &str| {
        three_feeds(|| spdy(offered), answer.as_bytes(), false)
            .0
            .unwrap()
            .unwrap()
    };
    let upgraded = |name: &str| ClientOutcome::Upgraded {
        subprotocol: Some(name.to_owned()),
    };
    assert_eq!(
        judge(&["v4.channel.k8s.io"], good),
        upgraded("v4.channel.k8s.io")
    );
    assert_eq!(
        judge(&["v5.channel.k8s.io"], good),
        ClientOutcome::WrongSubprotocol
    );
    assert_eq!(
        judge(&["v4.channel.k8s.io"], &unsaid),
        ClientOutcome::WrongSubprotocol
    );
    assert_eq!(
        judge(&["channel.k8s.io"], &unsaid),
        upgraded("channel.k8s.io")
    );
    let http2 = good.replace("SPDY/3.1", "h2c");
    assert_eq!(
        judge(&["v4.channel.k8s.io"], &http2),
        ClientOutcome::WrongAccept
    );
}

/// The captured 403 of the stream translator: a status line, nothing else, end of file.
#[test]
fn a_refusal_without_fields_or_body_ends_with_the_connection() {
    let answer = b"HTTP/1.1 403 Forbidden\r\n\r\n";
    let offered = || websocket(&["v4.channel.k8s.io"]);
    assert_eq!(
        three_feeds(offered, answer, false).0,
        Ok(None),
        "its body may still come"
    );
    assert_eq!(
        three_feeds(offered, answer, true).0,
        Ok(Some(refused(403, b"")))
    );
    let with_body = b"HTTP/1.0 403 Forbidden\r\n\r\nno";
    assert_eq!(
        three_feeds(offered, with_body, true).0,
        Ok(Some(refused(403, b"no")))
    );
}

/// RFC 9112 §6.3: bodies by length, by chunks, and cut short; RFC 9110 §15.2: interim answers.
#[test]
fn a_refusals_body_is_read_however_it_is_framed() {
    let offered = || websocket(&["v4.channel.k8s.io"]);
    for (answer, ends, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n{}\n",
            false,
            refused(404, b"{}\n"),
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{}\n",
            true,
            refused(404, b"{}\n"),
        ),
        (
            "HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            false,
            refused(503, b"{}"),
        ),
        (
            "HTTP/1.1 302 \r\nContent-Length: 0\r\n\r\n",
            false,
            refused(302, b""),
        ),
        ("HTTP/1.1 204 \r\n\r\n", false, refused(204, b"")),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n\
             HTTP/1.1 401 Unauthorized\r\nContent-Length: 1\r\n\r\nx",
            false,
            refused(401, b"x"),
        ),
    ] {
        assert_eq!(
            three_feeds(offered, answer.as_bytes(), ends).0,
            Ok(Some(expected)),
            "{answer}"
        );
    }
    let head = format!("HTTP/1.1 500 x\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    let body = vec![b'x'; REFUSAL_BODY_BYTES_MAX];
    let long = [head.as_bytes(), &body].concat();
    let (outcome, _) = three_feeds(offered, &long, false);
    assert_eq!(outcome, Ok(Some(refused(500, &body))), "cut at our limit");
}

/// RFC 9112 §6.1–§6.3, §9.2: answers that are none.
#[test]
fn answers_that_break_the_rules_are_errors() {
    let offered = || websocket(&["v4.channel.k8s.io"]);
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_ANSWERS_MAX + 1);
    for (answer, error) in [
        ("\u{15}\u{3}\u{1}", Error::Malformed), // a TLS alert
        ("SSH-2.0-x\r\n", Error::Malformed),
        ("HTTP/2.0 200 OK\r\n\r\n", Error::Version),
        ("HTTP/1.1 099 x\r\n\r\n", Error::Malformed),
        ("HTTP/1.1 20 x\r\n\r\n", Error::Malformed),
        (
            "HTTP/1.1 400 x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            Error::ContentLength,
        ),
        (
            "HTTP/1.1 400 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Error::LengthAndCoding,
        ),
        (
            "HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            Error::Chunk,
        ),
        (&endless, Error::TooManyInterim),
    ] {
        assert_eq!(
            three_feeds(offered, answer.as_bytes(), false).0,
            Err(error),
            "{answer:?}"
        );
    }
    for begun in ["", "HTTP/1.1 101 Switching Protocols\r\nUpgr"] {
        assert_eq!(
            three_feeds(offered, begun.as_bytes(), true).0,
            Err(Error::Eof)
        );
    }
}

/// A value both sides accept.
fn header_value() -> impl Strategy<Value = String> {
    "[!-~\u{e4}]{0,3}( [!-~]{1,4})?"
        .prop_filter("outer blanks are stripped", |value| value.trim() == value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// RFC 6455 §4: what our client asks our server understands, and the reverse, cut anywhere.
    #[test]
    fn client_and_server_understand_each_other(
        key: [u8; 16],
        is_spdy: bool,
        target in "/[!-\"$-~]{0,20}",
        fields in proptest::collection::vec(("X-[A-Za-z]{1,8}", header_value()), 0..5),
        subprotocols in proptest::collection::hash_set("[a-z0-9.]{1,12}", 1..4),
        chosen: prop::sample::Index,
        step in 1_usize..200,
    ) {
        let subprotocols: Vec<&str> = subprotocols.iter().map(String::as_str).collect();
        let chosen = *chosen.get(&subprotocols);
        let headers: Vec<(String, SecretValue)> = fields
            .iter()
            .map(|(name, value)| (name.clone(), SecretValue::new(value).unwrap()))
            .collect();
        let request =
            UpgradeRequest { host: "h:1", target: &target, headers: &headers, subprotocols: &subprotocols };
        let mut out = Outbox::new();
        let mut client = if is_spdy {
            ClientUpgrade::spdy(&request, &mut out).unwrap()
        } else {
            ClientUpgrade::websocket(&request, key, &mut out).unwrap()
        };
        let asked = drain(&mut out);
        let pieces: Vec<&[u8]> = asked.as_bytes().chunks(step).collect();
        let (read, left, mut server) = read_request(&pieces);
        let head = read.unwrap().unwrap();
        prop_assert!(left.is_empty());
        prop_assert_eq!(&head.target, &target);
        prop_assert_eq!(head.is_spdy(), is_spdy);
        prop_assert_eq!(head.subprotocols(), subprotocols);
        for (name, value) in &fields {
            prop_assert!(head.header_values(name).any(|each| each == value));
        }
        if is_spdy {
            server.accept_spdy(chosen, &mut out).unwrap();
        } else {
            server.accept_websocket(Some(chosen), &mut out).unwrap();
        }
        let answer = drain(&mut out);
        let mut input = BytesMut::new();
        let mut outcome = None;
        for piece in answer.as_bytes().chunks(step) {
            prop_assert_eq!(&outcome, &None);
            input.extend_from_slice(piece);
            outcome = client.receive(&mut input).unwrap();
        }
        let subprotocol = Some(chosen.to_owned());
        prop_assert_eq!(outcome, Some(ClientOutcome::Upgraded { subprotocol }));
    }

    /// No bytes whatsoever make either side do more than refuse, however they are cut.
    #[test]
    fn arbitrary_bytes_are_refused_or_understood(
        start in prop_oneof![Just(""), Just("HTTP/1.1 "), Just("HTTP/1.1 500 x\r\n"), Just("GET ")],
        noise in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[A-C:, 0-9\r\n]{0,60}".prop_map(String::into_bytes),
        ],
        ends: bool,
    ) {
        let bytes = [start.as_bytes(), &noise].concat();
        let (answered, _) = three_feeds(|| websocket(&["a"]), &bytes, ends);
        prop_assert!(ends <= (answered != Ok(None)), "an ended connection has an outcome");
        let whole = read_request(&[&bytes]).0;
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read_request(&singles).0, whole);
    }
}
