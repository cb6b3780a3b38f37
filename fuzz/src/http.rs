//! The HTTP of an upgrade, both sides.

use bytes::BytesMut;
use periscope_core::http::{
    ClientOutcome, ClientUpgrade, Error, RequestHead, SecretValue, ServerUpgrade, UpgradeRequest,
};
use periscope_core::limits::{HEAD_BYTES_MAX, REFUSAL_BODY_BYTES_MAX};
use periscope_core::outbox::Outbox;

use crate::feeds::{self, Parameters};

/// The subprotocols a client of ours offers here.
const OFFERED: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Mode modulo 3: a WebSocket client, a SPDY client, a server.
pub fn http(data: &[u8]) {
    let Some((parameters, bytes)) = Parameters::split_off(data) else {
        return;
    };
    match parameters.mode % 3 {
        2 => drop(feeds::agree(bytes, parameters.split, serve)),
        is_spdy => drop(feeds::agree(bytes, parameters.split, |pieces| {
            ask(is_spdy == 1, pieces)
        })),
    }
}

/// What a client makes of an answer, what it leaves unread, and the same once the peer closed.
type Asked = (Result<Option<ClientOutcome>, Error>, Vec<u8>);

fn ask(is_spdy: bool, pieces: &[&[u8]]) -> Asked {
    let mut out = Outbox::new();
    let request = UpgradeRequest {
        host: "127.0.0.1:6443",
        target: "/api/v1/namespaces/default/pods/box/exec?command=sh",
        headers: &[(
            "Authorization".to_owned(),
            SecretValue::new("Bearer token").expect("a good value"),
        )],
        subprotocols: &OFFERED,
    };
    let client = if is_spdy {
        ClientUpgrade::spdy(&request, &mut out)
    } else {
        // The key of RFC 6455 §1.3, so that corpora can hold the right accept value.
        ClientUpgrade::websocket(&request, *b"the sample nonce", &mut out)
    };
    let mut client = client.expect("a good request");
    let mut input = BytesMut::new();
    let mut pieces = pieces.iter();
    let mut received = Ok(None);
    for piece in pieces.by_ref() {
        input.extend_from_slice(piece);
        received = client.receive(&mut input);
        if received != Ok(None) {
            break;
        }
        assert!(input.len() < HEAD_BYTES_MAX, "no more than a head is held");
    }
    for piece in pieces {
        input.extend_from_slice(piece);
    }
    match &received {
        Ok(Some(outcome)) => {
            check_outcome(outcome);
            assert_eq!(client.receive(&mut input), Ok(None), "told once");
            assert_eq!(client.eof(&mut input), Ok(None), "told once");
        }
        Ok(None) => {
            received = client.eof(&mut input);
            match &received {
                Ok(Some(outcome)) => check_outcome(outcome),
                Ok(None) => panic!("the end of the connection decides"),
                Err(error) => assert_eq!(client.receive(&mut input), Err(*error), "it sticks"),
            }
        }
        Err(error) => {
            assert_eq!(client.receive(&mut input), Err(*error), "it sticks");
            assert_eq!(client.eof(&mut input), Err(*error), "it sticks");
        }
    }
    let left = if received.is_ok() {
        input.to_vec()
    } else {
        Vec::new()
    };
    (received, left)
}

fn check_outcome(outcome: &ClientOutcome) {
    match outcome {
        ClientOutcome::Upgraded { subprotocol } => {
            let chosen = subprotocol.as_deref().expect("some were offered");
            assert!(OFFERED.contains(&chosen), "{chosen} was not offered");
        }
        ClientOutcome::Refused(refusal) => {
            assert!((200..=999).contains(&refusal.status));
            assert!(refusal.body.len() <= REFUSAL_BODY_BYTES_MAX);
        }
        ClientOutcome::WrongAccept | ClientOutcome::WrongSubprotocol => {}
    }
}

/// What a server makes of a request, what it leaves unread, and how it answers.
type Served = (Result<Option<RequestHead>, Error>, Vec<u8>, Vec<u8>);

fn serve(pieces: &[&[u8]]) -> Served {
    let mut server = ServerUpgrade::new();
    let mut out = Outbox::new();
    let mut input = BytesMut::new();
    let mut pieces = pieces.iter();
    let mut received = Ok(None);
    for piece in pieces.by_ref() {
        input.extend_from_slice(piece);
        received = server.receive(&mut input);
        if received != Ok(None) {
            break;
        }
        assert!(input.len() < HEAD_BYTES_MAX, "no more than a head is held");
    }
    for piece in pieces {
        input.extend_from_slice(piece);
    }
    let mut left = Vec::new();
    match &received {
        Ok(Some(head)) => {
            left = input.to_vec();
            check_head(head);
            assert_eq!(server.receive(&mut input), Ok(None), "told once");
            answer(&mut server, head, &mut out);
        }
        Ok(None) => left = input.to_vec(),
        Err(error) => {
            assert_eq!(server.receive(&mut input), Err(*error), "it sticks");
            let (status, extra) = (error.status(), error.headers());
            let refused = server.refuse(status, "text/plain", b"no", extra, &mut out);
            assert_eq!(refused, Ok(()), "every error has an answer");
        }
    }
    let mut written = Vec::new();
    feeds::drain(&mut out, &mut written);
    (received, left, written)
}

fn check_head(head: &RequestHead) {
    assert!(head.path().starts_with('/'));
    assert!(head.header("host").is_some());
    assert!(!head.target.contains(['\r', '\n', '#', ' ']));
    for (name, value) in &head.headers {
        assert!(!name.is_empty());
        assert!(!value.as_str().contains(['\r', '\n', '\0']));
    }
    assert!(!head.is_websocket() || head.method == "GET");
}

/// Whatever was asked for, there is an answer, and a client of ours can read it.
fn answer(server: &mut ServerUpgrade, head: &RequestHead, out: &mut Outbox) {
    let offered = head.subprotocols();
    let is_good = |name: &&&str| {
        let is_token_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        name.bytes().all(is_token_byte)
    };
    let chosen = offered.iter().find(is_good).copied();
    let answered = match chosen {
        chosen if head.is_websocket() => server.accept_websocket(chosen, out),
        Some(chosen) if head.is_spdy() => server.accept_spdy(chosen, out),
        _ => server.refuse(404, "text/plain", b"nothing here", &[], out),
    };
    assert_eq!(answered, Ok(()), "{head:?}");
    let again = server.refuse(404, "text/plain", b"", &[], out);
    assert!(again.is_err(), "one answer to one request");
}
