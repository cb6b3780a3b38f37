//! The server half against our own client halves, and against clients that go astray.

use super::*;
use crate::channel::status::Outcome;
use crate::spdy::status::CANCEL;

const ALL: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TTY: Streams = Streams { tty: true, ..ALL };

fn take(out: &mut Outbox) -> BytesMut {
    let bytes: BytesMut = out.chunks().flatten().copied().collect();
    out.advance(bytes.len());
    bytes
}

/// Everything the server tells, `Alive` aside, about bytes fed in pieces of `step`.
fn hear(server: &mut ExecServer, bytes: &[u8], step: usize, out: &mut Outbox) -> Vec<Event> {
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    // A WebSocket is ready before the first byte.
    let pieces = core::iter::once(&[][..]).chain(bytes.chunks(step));
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(event) = server.receive(&mut input, 1 << 16, out).unwrap() {
            match (events.last_mut(), event) {
                (_, Event::Alive) => {}
                (Some(Event::Stdin(before)), Event::Stdin(more)) => before.extend_from_slice(&more),
                (_, event) => events.push(event),
            }
        }
    }
    events
}

fn websocket_client() -> Channels {
    Channels::client(
        WebSocket::client([9; 32], API_MESSAGE_BYTES_MAX),
        Subprotocol::V5,
    )
}

fn spdy_client(streams: &[&str]) -> (Spdy, Outbox) {
    let (mut spdy, mut out) = (Spdy::client(), Outbox::new());
    for stream in streams {
        spdy.open(stream, &mut out).unwrap();
    }
    (spdy, out)
}

fn stdin(text: &str) -> Event {
    Event::Stdin(BytesMut::from(text))
}

#[test]
fn both_transports_hear_the_same_session_in_every_feed() {
    let expected = [
        Event::Ready,
        stdin("ls\r"),
        Event::Resize {
            cols: 132,
            rows: 43,
        },
        stdin("exit\r"),
        Event::StdinEof,
    ];
    let mut channels = websocket_client();
    let mut sent = Outbox::new();
    channels
        .send(Stream::Stdin, BytesMut::from("ls\r"), &mut sent)
        .unwrap();
    channels.resize(132, 43, &mut sent).unwrap();
    channels
        .send(Stream::Stdin, BytesMut::from("exit\r"), &mut sent)
        .unwrap();
    channels.close_stream(Stream::Stdin, &mut sent).unwrap();
    let websocket = take(&mut sent);

    let (mut spdy, mut sent) = spdy_client(&["error", "stdin", "stdout", "resize"]);
    let size = resize::encode(132, 43);
    spdy.send(3, BytesMut::from("ls\r"), false, &mut sent)
        .unwrap();
    spdy.send(7, BytesMut::from(size.as_ref()), false, &mut sent)
        .unwrap();
    spdy.send(3, BytesMut::from("exit\r"), true, &mut sent)
        .unwrap();
    let spdy = take(&mut sent);

    for step in [1, 7, usize::MAX] {
        let mut out = Outbox::new();
        let mut server = ExecServer::websocket(Subprotocol::V5, TTY, vec![]);
        assert_eq!(hear(&mut server, &websocket, step, &mut out), expected);
        let mut server = ExecServer::spdy(TTY, vec![]);
        assert_eq!(hear(&mut server, &spdy, step, &mut out), expected);
    }
}

#[test]
fn a_spdy_exec_is_ready_only_with_all_its_streams_in_any_order() {
    for (streams, opened) in [
        (ALL, &["stderr", "stdout", "stdin", "error"][..]),
        (TTY, &["resize", "stdout", "error", "stdin"]),
    ] {
        let (_, mut sent) = spdy_client(&opened[..3]);
        let mut server = ExecServer::spdy(streams, vec![]);
        let mut out = Outbox::new();
        assert_eq!(hear(&mut server, &take(&mut sent), 1, &mut out), []);
        let (_, mut sent) = spdy_client(opened);
        let mut server = ExecServer::spdy(streams, vec![]);
        assert_eq!(
            hear(&mut server, &take(&mut sent), 1, &mut out),
            [Event::Ready]
        );
    }
}

#[test]
fn a_stream_of_an_unknown_type_is_answered_and_not_counted() {
    let (mut spdy, mut sent) = spdy_client(&["error", "video", "stdin", "stdout", "stderr"]);
    let mut server = ExecServer::spdy(ALL, vec![]);
    let mut out = Outbox::new();
    assert_eq!(
        hear(&mut server, &take(&mut sent), 64, &mut out),
        [Event::Ready]
    );
    let mut answers = take(&mut out);
    let mut replied = Vec::new();
    while let Some(event) = spdy.receive(&mut answers, 64, &mut sent).unwrap() {
        replied.push(event);
    }
    assert_eq!(replied.len(), 5);
    assert!(replied.contains(&spdy::Event::Replied { id: 3, fin: false }));
}

#[test]
fn a_reset_of_stdin_is_its_end_once() {
    let (mut spdy, mut sent) = spdy_client(&["error", "stdin", "stdout", "stderr"]);
    spdy.send(3, BytesMut::from("x"), true, &mut sent).unwrap();
    spdy.reset(3, CANCEL, &mut sent).unwrap();
    spdy.goaway(&mut sent).unwrap();
    let mut server = ExecServer::spdy(ALL, vec![]);
    let events = hear(&mut server, &take(&mut sent), 5, &mut Outbox::new());
    assert_eq!(events[events.len() - 2..], [Event::StdinEof, Event::Closed]);
    let ends = events.iter().filter(|event| **event == Event::StdinEof);
    assert_eq!(ends.count(), 1);
}

#[test]
fn a_repeated_close_signal_and_stdin_behind_it_mean_nothing() {
    let mut client = WebSocket::client([9; 32], API_MESSAGE_BYTES_MAX);
    let mut sent = Outbox::new();
    for message in [&b"\0a"[..], b"\xff\0", b"\xff\0", b"\0b", b"\xff\0"] {
        let kind = crate::ws::Kind::Binary;
        client
            .send(kind, &[], BytesMut::from(message), &mut sent)
            .unwrap();
    }
    let bytes = take(&mut sent);
    for step in [1, usize::MAX] {
        let mut server = ExecServer::websocket(Subprotocol::V5, ALL, vec![]);
        let heard = hear(&mut server, &bytes, step, &mut Outbox::new());
        assert_eq!(heard, [Event::Ready, stdin("a"), Event::StdinEof]);
    }
}

#[test]
fn a_malformed_size_ends_resizing_and_nothing_else() {
    let mut channels = websocket_client();
    let mut sent = Outbox::new();
    let bad = BytesMut::from("{\"Width\":70000,\"Height\":1}\n");
    channels.send(Stream::Resize, bad, &mut sent).unwrap();
    channels.resize(80, 24, &mut sent).unwrap();
    channels
        .send(Stream::Stdin, BytesMut::from("on"), &mut sent)
        .unwrap();
    let mut server = ExecServer::websocket(Subprotocol::V5, TTY, vec![]);
    let events = hear(&mut server, &take(&mut sent), 3, &mut Outbox::new());
    assert_eq!(events, [Event::Ready, stdin("on")]);
}

#[test]
fn only_what_was_asked_for_travels() {
    let quiet = Streams {
        stdin: false,
        stderr: false,
        ..ALL
    };
    let mut server = ExecServer::websocket(Subprotocol::V4, quiet, vec![]);
    let mut out = Outbox::new();
    server.start(&mut out);
    assert_eq!(take(&mut out), b"\x82\x01\x01"[..]);
    server.output(Stream::Stderr, BytesMut::from("err"), &mut out);
    server.output(Stream::Stdout, BytesMut::new(), &mut out);
    assert!(out.is_empty());
    server.output(Stream::Stdout, BytesMut::from("out"), &mut out);
    assert_eq!(take(&mut out), b"\x82\x04\x01out"[..]);

    let mut sent = Outbox::new();
    websocket_client()
        .send(Stream::Stdin, BytesMut::from("ignored"), &mut sent)
        .unwrap();
    let events = hear(&mut server, &take(&mut sent), 1, &mut out);
    assert_eq!(events, [Event::Ready]);
}

#[test]
fn the_ready_marker_stands_on_the_lowest_channel() {
    let no_stdout = Streams {
        stdout: false,
        ..ALL
    };
    let neither = Streams {
        stderr: false,
        ..no_stdout
    };
    let terminal = Streams {
        tty: true,
        ..no_stdout
    };
    for (streams, channel) in [(ALL, 1), (no_stdout, 2), (neither, 3), (terminal, 3)] {
        let mut server = ExecServer::websocket(Subprotocol::V5, streams, vec![]);
        let mut out = Outbox::new();
        server.start(&mut out);
        assert_eq!(take(&mut out)[..], [0x82, 1, channel]);
    }
}

#[test]
fn every_subprotocol_tells_the_end_in_its_own_way() {
    let command = vec!["sh".to_owned()];
    let told = |subprotocol: Subprotocol, ending: &Ending| {
        let mut server = ExecServer::websocket(subprotocol, ALL, command.clone());
        let mut out = Outbox::new();
        server.finish(ending, &mut out);
        server.finish(&Ending::Exit(0), &mut out);
        server.output(Stream::Stdout, BytesMut::from("late"), &mut out);
        assert!(server.has_finished());
        let written = take(&mut out);
        assert!(
            written.ends_with(b"\x88\x02\x03\xe8"),
            "one Close, and it is last"
        );
        let mut client = Channels::client(WebSocket::client([1; 32], 1 << 20), subprotocol);
        let (mut input, mut error) = (written, Vec::new());
        while let Some(event) = client.receive(&mut input, 1 << 16, &mut out).unwrap() {
            if let channel::Event::Data { payload, .. } = event {
                error.extend_from_slice(&payload);
            }
        }
        String::from_utf8(error).unwrap()
    };
    for subprotocol in [Subprotocol::V1, Subprotocol::V1Base64] {
        assert_eq!(told(subprotocol, &Ending::Exit(0)), "");
        assert!(told(subprotocol, &Ending::Exit(7)).ends_with("command [sh], exit code 7"));
    }
    for subprotocol in [Subprotocol::V4, Subprotocol::V4Base64, Subprotocol::V5] {
        let outcome = |ending: Ending| status::parse(told(subprotocol, &ending).as_bytes());
        assert_eq!(outcome(Ending::Exit(0)), Ok(Outcome::Success));
        assert_eq!(outcome(Ending::Exit(137)), Ok(Outcome::Exit(137)));
        let Ok(Outcome::Failure(failure)) = outcome(Ending::InternalError("no".to_owned())) else {
            panic!("an InternalError is a failure");
        };
        let doubled = failure.message.matches("Internal error occurred").count();
        assert_eq!(doubled, 1 + usize::from(subprotocol == Subprotocol::V5));
    }
}

#[test]
fn a_client_that_reset_its_streams_still_gets_a_whole_goodbye() {
    let (mut spdy, mut sent) = spdy_client(&["error", "stdin", "stdout", "stderr"]);
    for id in [1, 3, 5, 7] {
        spdy.reset(id, CANCEL, &mut sent).unwrap();
    }
    let mut server = ExecServer::spdy(ALL, vec![]);
    let mut out = Outbox::new();
    hear(&mut server, &take(&mut sent), 64, &mut out);
    take(&mut out);
    server.output(Stream::Stdout, BytesMut::from("unwanted"), &mut out);
    server.finish(&Ending::Exit(0), &mut out);
    // Only GOAWAY, naming the highest stream.
    assert_eq!(
        take(&mut out),
        b"\x80\x03\x00\x07\x00\x00\x00\x08\x00\x00\x00\x07\x00\x00\x00\x00"[..]
    );
}

#[test]
fn a_client_that_breaks_the_protocol_is_refused_for_good() {
    let mut sent = Outbox::new();
    let signal = BytesMut::from([0xFF, 9].as_slice());
    WebSocket::client([9; 32], 1 << 20)
        .send(crate::ws::Kind::Binary, &[], signal, &mut sent)
        .unwrap();
    let mut server = ExecServer::websocket(Subprotocol::V5, ALL, vec![]);
    let mut out = Outbox::new();
    let mut input = take(&mut sent);
    assert_eq!(
        server.receive(&mut input, 64, &mut out),
        Ok(Some(Event::Ready))
    );
    for _ in 0..2 {
        let refused = server.receive(&mut input, 64, &mut out);
        assert_eq!(refused, Err(Error::Channel(channel::Error::CloseSignal)));
    }
    let mut server = ExecServer::spdy(ALL, vec![]);
    let mut input = BytesMut::from(&b"\x80\x03\x00\x05\x00\x00\x00\x00"[..]);
    for _ in 0..2 {
        let refused = server.receive(&mut input, 64, &mut out);
        assert_eq!(refused, Err(Error::Spdy(spdy::Error::FrameType(5))));
    }
}
