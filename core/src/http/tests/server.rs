//! The server's side against the rules.

use bytes::BytesMut;

use super::super::*;
use super::drain;
use crate::limits::HEAD_BYTES_MAX;
use crate::outbox::Outbox;

pub(super) fn read_request(
    pieces: &[&[u8]],
) -> (Result<Option<RequestHead>, Error>, Vec<u8>, ServerUpgrade) {
    let mut server = ServerUpgrade::new();
    let mut input = BytesMut::new();
    let mut request = Ok(None);
    for piece in pieces {
        input.extend_from_slice(piece);
        if request == Ok(None) {
            request = server.receive(&mut input);
        }
    }
    if let Err(error) = request {
        assert_eq!(server.receive(&mut input), Err(error), "errors stick");
    }
    (request, input.to_vec(), server)
}

/// The three feeds of a request.
fn request(bytes: &[u8]) -> (Result<Option<RequestHead>, Error>, ServerUpgrade) {
    let (whole, left, server) = read_request(&[bytes]);
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read_request(&singles).0, whole, "whole and byte by byte");
    if matches!(whole, Ok(Some(_))) {
        assert!(left.is_empty());
        let (trailing, left, _) = read_request(&[bytes, b"\x82\x80"]);
        assert_eq!(trailing, whole, "whole and whole with more behind it");
        assert_eq!(left, b"\x82\x80");
    }
    (whole, server)
}

const HANDSHAKE: &str = "GET /api/exec?tty=true&x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a,, b\r\nSec-WebSocket-Protocol: c\r\n\
    Cookie: secret\r\n\r\n";

/// RFC 9112 §2.2: one empty line may precede a request, and a lone LF is no line end. Both hold
/// wherever the bytes are cut.
#[test]
fn a_line_feed_behind_a_skipped_empty_line_is_seen_however_the_line_was_cut() {
    let bytes = b"\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for cut in 0..bytes.len() {
        let (first, second) = bytes.split_at(cut);
        let read = read_request(&[first, second]).0;
        assert_eq!(read, Err(Error::BareLineFeed), "cut at {cut}");
    }
}

/// RFC 6455 §4.2: the server reads the handshake and answers as Go's does.
#[test]
fn a_websocket_handshake_is_read_and_accepted() {
    let (read, mut server) = request(HANDSHAKE.as_bytes());
    let head = read.unwrap().unwrap();
    assert_eq!(
        (head.method.as_str(), head.path(), head.query()),
        ("GET", "/api/exec", "tty=true&x")
    );
    assert!(head.is_websocket() && !head.is_spdy());
    assert_eq!(
        head.subprotocols(),
        ["a", "b"],
        "only the first line is seen, as by Go"
    );
    assert_eq!(head.header("COOKIE"), Some("secret"));
    assert_eq!(head.header_values("sec-websocket-protocol").count(), 2);
    assert!(!format!("{head:?}").contains("secret"));
    let mut out = Outbox::new();
    assert_eq!(
        server.accept_websocket(Some("c"), &mut out),
        Err(Misuse::NotOffered)
    );
    assert_eq!(server.accept_spdy("a", &mut out), Err(Misuse::NotRequested));
    server.accept_websocket(Some("b"), &mut out).unwrap();
    assert_eq!(
        drain(&mut out),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: b\r\n\r\n"
    );
    assert_eq!(
        server.accept_websocket(None, &mut out),
        Err(Misuse::NothingToAnswer)
    );
    assert_eq!(
        server.refuse_bare(403, &mut out),
        Err(Misuse::NothingToAnswer)
    );
}

/// RFC 6455 §4.2.1, §4.4: what a handshake must have, and how its lack is answered.
#[test]
fn broken_websocket_handshakes_are_refused() {
    for (from, to, error) in [
        ("GET", "POST", Error::Method),
        ("Version: 13", "Version: 8", Error::WebSocketVersion),
        (
            "Version: 13",
            "Version: 13\r\nSec-WebSocket-Version: 13",
            Error::WebSocketVersion,
        ),
        ("Sec-WebSocket-Version: 13\r\n", "", Error::WebSocketVersion),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25j",
            Error::WebSocketKey,
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "?", Error::WebSocketKey),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            Error::WebSocketKey,
        ),
        (
            "Cookie: secret",
            "Content-Length: 1",
            Error::UpgradeWithBody,
        ),
        (
            "Cookie: secret",
            "Transfer-Encoding: chunked",
            Error::TransferEncoding,
        ),
    ] {
        let broken = HANDSHAKE.replacen(from, to, 1);
        let (read, mut server) = request(broken.as_bytes());
        assert_eq!(read, Err(error), "{broken}");
        let mut out = Outbox::new();
        assert_eq!(
            server.accept_websocket(None, &mut out),
            Err(Misuse::NothingToAnswer)
        );
        server
            .refuse(
                error.status(),
                "text/plain",
                b"no",
                error.headers(),
                &mut out,
            )
            .unwrap();
        let answer = drain(&mut out);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {} ", error.status())),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\nno"));
        for (name, value) in error.headers() {
            assert!(
                answer.contains(&format!("\r\n{name}: {value}\r\n")),
                "{answer}"
            );
        }
    }
}

/// RFC 9112 §3, §6: requests that two readers could take for different ones.
#[test]
fn requests_that_smuggle_are_refused() {
    for (bytes, error) in [
        ("GET / HTTP/1.1\r\n\r\n", Error::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Error::Host),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", Error::Version),
        ("PRI * HTTP/2.0\r\n\r\n", Error::Version),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target),
        ("GET / HTTP/1.1\nHost: a\n\n", Error::BareLineFeed),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", Error::Malformed),
        (
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Error::Malformed,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
            Error::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            Error::LengthAndCoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
            Error::ContentLength,
        ),
    ] {
        assert_eq!(request(bytes.as_bytes()).0, Err(error), "{bytes:?}");
    }
    let endless = [
        b"GET / HTTP/1.1\r\nA: ".to_vec(),
        vec![b'x'; HEAD_BYTES_MAX],
    ]
    .concat();
    assert_eq!(request(&endless).0, Err(Error::HeadTooLarge));
    assert_eq!(Error::HeadTooLarge.status(), 431);
    assert_eq!(Error::Version.status(), 505);
    // RFC 9112 §2.2: one empty line before a request is forgiven.
    assert!(
        request(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .0
            .unwrap()
            .is_some()
    );
}

/// A SPDY request as kubectl sends it, and a runtime's answer.
#[test]
fn a_spdy_request_is_read_and_accepted() {
    let bytes = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: Upgrade\r\n\
        Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v5.channel.k8s.io, v4.channel.k8s.io\r\n\
        X-Stream-Protocol-Version: channel.k8s.io\r\n\r\n";
    let (read, mut server) = request(bytes.as_bytes());
    let head = read.unwrap().unwrap();
    assert!(head.is_spdy() && !head.is_websocket());
    let offered = ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];
    assert_eq!(head.subprotocols(), offered);
    let mut out = Outbox::new();
    assert_eq!(
        server.accept_websocket(None, &mut out),
        Err(Misuse::NotRequested)
    );
    server.accept_spdy("v4.channel.k8s.io", &mut out).unwrap();
    assert_eq!(
        drain(&mut out),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
    );
}

/// RFC 9110 §9.3.2, §15: refusals have a length, a HEAD gets no body, and no header is smuggled.
#[test]
fn refusals_are_whole_answers() {
    let mut out = Outbox::new();
    let mut server = ServerUpgrade::new();
    assert_eq!(
        server.refuse(400, "a/b", b"", &[], &mut out),
        Err(Misuse::NothingToAnswer)
    );
    let (read, mut server) = request(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(read.unwrap().unwrap().subprotocols().is_empty());
    let status = server.refuse(101, "a/b", b"", &[], &mut out);
    assert_eq!(status, Err(Misuse::Status(101)));
    let line = server.refuse(400, "a/b", b"", &[("X", "a\r\nY: b")], &mut out);
    assert_eq!(line, Err(Misuse::ControlCharacter));
    let name = server.refuse(400, "a/b", b"", &[("X:", "a")], &mut out);
    assert_eq!(name, Err(Misuse::HeaderName));
    let length = server.refuse(400, "a/b", b"", &[("Content-Length", "1")], &mut out);
    assert_eq!(length, Err(Misuse::HeaderOfHandshake));
    assert!(out.is_empty(), "a misuse changes nothing");
    server
        .refuse(503, "a/b", b"body", &[("Retry-After", "5")], &mut out)
        .unwrap();
    assert_eq!(
        drain(&mut out),
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: a/b\r\n\
         Content-Length: 4\r\nConnection: close\r\n\r\n"
    );
    let (_, mut server) = request(HANDSHAKE.as_bytes());
    server.refuse_bare(403, &mut out).unwrap();
    assert_eq!(
        drain(&mut out),
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"
    );
}
