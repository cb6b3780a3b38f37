//! The server half against clients that are not ours.

use bytes::BytesMut;
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::leg::exec_server::{Ending, Error, Event, ExecServer, Streams};
use periscope_core::outbox::Outbox;
use periscope_core::spdy::{self, Spdy};
use periscope_core::{channel, ws};

use super::pair::drain;

const ALL: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TERMINAL: Streams = Streams { tty: true, ..ALL };

/// A bare SPDY client and our server.
struct Bare {
    client: Spdy,
    client_out: Outbox,
    server: ExecServer,
    out: Outbox,
}

impl Bare {
    fn new(streams: Streams) -> Self {
        Self {
            client: Spdy::client(),
            client_out: Outbox::new(),
            server: ExecServer::spdy(streams, vec!["sh".into()]),
            out: Outbox::new(),
        }
    }

    fn open(streams: Streams, types: &[&str]) -> Self {
        let mut bare = Self::new(streams);
        for stream_type in types {
            bare.client.open(stream_type, &mut bare.client_out).unwrap();
        }
        bare
    }

    /// What the server hears of everything the client has said so far.
    fn heard(&mut self) -> Vec<Event> {
        let mut input = BytesMut::from(drain(&mut self.client_out).as_slice());
        let mut heard = Vec::new();
        while let Some(event) = self.server.receive(&mut input, 64, &mut self.out).unwrap() {
            if event != Event::Alive {
                heard.push(event);
            }
        }
        heard
    }

    fn answers(&mut self) -> Vec<spdy::Event> {
        let mut input = BytesMut::from(drain(&mut self.out).as_slice());
        let mut answers = Vec::new();
        while let Some(event) = self
            .client
            .receive(&mut input, 1 << 16, &mut self.client_out)
            .unwrap()
        {
            answers.push(event);
        }
        answers
    }
}

#[test]
fn a_command_starts_once_all_its_streams_are_there_in_whatever_order() {
    let mut bare = Bare::open(TERMINAL, &["resize", "stdout", "error"]);
    assert_eq!(bare.heard(), []);
    assert_eq!(bare.answers().len(), 3, "each is replied to at once");
    bare.client.open("stdin", &mut bare.client_out).unwrap();
    assert_eq!(bare.heard(), [Event::Ready]);
    assert_eq!(bare.heard(), [], "ready comes once");
}

#[test]
fn a_stream_of_an_unknown_type_or_one_there_already_is_replied_to_and_not_counted() {
    let mut bare = Bare::open(ALL, &["error", "error", "news", "stdin", "stdout"]);
    assert_eq!(bare.heard(), []);
    let replied = |id| spdy::Event::Replied { id, fin: false };
    assert_eq!(bare.answers(), [1, 3, 5, 7, 9].map(replied));
    bare.client.open("stderr", &mut bare.client_out).unwrap();
    assert_eq!(bare.heard(), [Event::Ready]);
}

#[test]
fn a_stream_that_comes_after_the_start_is_refused() {
    let mut bare = Bare::open(ALL, &["error", "stdin", "stdout", "stderr"]);
    assert_eq!(bare.heard(), [Event::Ready]);
    bare.answers();
    let late = bare.client.open("stdin", &mut bare.client_out).unwrap();
    assert_eq!(bare.heard(), []);
    let refused = spdy::Event::Reset {
        id: late,
        status: spdy::status::REFUSED_STREAM,
    };
    assert_eq!(bare.answers(), [refused]);
}

#[test]
fn resets_by_the_client_end_stdin_and_silence_output_but_not_the_outcome() {
    let mut bare = Bare::open(ALL, &["error", "stdin", "stdout", "stderr"]);
    bare.heard();
    bare.answers();
    let out = &mut bare.client_out;
    bare.client
        .send(3, BytesMut::from(&b"x"[..]), false, out)
        .unwrap();
    bare.client.reset(3, 5, out).unwrap();
    bare.client.reset(5, 5, out).unwrap();
    let stdin = Event::Stdin(BytesMut::from(&b"x"[..]));
    assert_eq!(bare.heard(), [stdin, Event::StdinEof]);
    for stream in [Stream::Stdout, Stream::Stderr] {
        let payload = BytesMut::from(stream.as_str());
        bare.server.output(stream, payload, &mut bare.out);
    }
    bare.server.finish(&Ending::Exit(0), &mut bare.out);
    let status = br#"{"metadata":{},"status":"Success"}"#;
    assert_eq!(
        bare.answers(),
        [
            data(7, b"stderr", false),
            data(7, b"", true),
            data(1, status, false),
            spdy::Event::Reset { id: 1, status: 5 },
            spdy::Event::Goaway,
        ]
    );
}

fn data(id: u32, payload: &[u8], fin: bool) -> spdy::Event {
    spdy::Event::Data {
        id,
        payload: BytesMut::from(payload),
        fin,
    }
}

#[test]
fn the_last_bytes_of_stdin_come_before_its_end() {
    let mut bare = Bare::open(ALL, &["error", "stdin", "stdout", "stderr"]);
    bare.heard();
    let last = BytesMut::from(&b"last"[..]);
    bare.client
        .send(3, last.clone(), true, &mut bare.client_out)
        .unwrap();
    assert_eq!(bare.heard(), [Event::Stdin(last), Event::StdinEof]);
}

#[test]
fn nothing_is_sent_on_a_stream_that_was_not_asked_for_or_after_the_end() {
    for mut server in [
        ExecServer::spdy(TERMINAL, Vec::new()),
        ExecServer::websocket(Subprotocol::V5, TERMINAL, Vec::new()),
    ] {
        let mut out = Outbox::new();
        for stream in [Stream::Stdin, Stream::Stderr, Stream::Error, Stream::Resize] {
            server.output(stream, BytesMut::from(&b"x"[..]), &mut out);
        }
        assert!(out.is_empty(), "a terminal has one output");
        server.finish(&Ending::Exit(0), &mut out);
        assert!(server.has_finished());
        drain(&mut out);
        server.output(Stream::Stdout, BytesMut::from(&b"x"[..]), &mut out);
        server.finish(&Ending::Exit(1), &mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn a_malformed_size_ends_resizing_and_not_the_session() {
    let mut bare = Bare::open(TERMINAL, &["error", "stdin", "stdout", "resize"]);
    bare.heard();
    let out = &mut bare.client_out;
    for size in [
        "{\"Width\":80,\"Hei",
        "ght\":24}",
        "{}",
        "no",
        "{\"Width\":9,\"Height\":9}",
    ] {
        bare.client
            .send(7, BytesMut::from(size), false, out)
            .unwrap();
    }
    bare.client
        .send(3, BytesMut::from(&b"x"[..]), false, out)
        .unwrap();
    let resize = Event::Resize { cols: 80, rows: 24 };
    let stdin = Event::Stdin(BytesMut::from(&b"x"[..]));
    assert_eq!(bare.heard(), [resize, stdin]);
}

/// A client's frame, masked with zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0x82, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn websocket(subprotocol: Subprotocol, bytes: &[u8]) -> (ExecServer, Result<Vec<Event>, Error>) {
    let mut server = ExecServer::websocket(subprotocol, ALL, Vec::new());
    let (mut out, mut input) = (Outbox::new(), BytesMut::from(bytes));
    let mut heard = Vec::new();
    loop {
        match server.receive(&mut input, 64, &mut out) {
            Ok(None) => return (server, Ok(heard)),
            Ok(Some(Event::Alive)) => {}
            Ok(Some(event)) => heard.push(event),
            Err(error) => return (server, Err(error)),
        }
    }
}

#[test]
fn only_v5_knows_the_close_signal() {
    let bytes = [frame(b"\x00x"), frame(b"\xff\x00"), frame(b"\xff\x01")].concat();
    let stdin = || Event::Stdin(BytesMut::from(&b"x"[..]));
    let (_, v5) = websocket(Subprotocol::V5, &bytes);
    assert_eq!(v5, Ok(vec![Event::Ready, stdin(), Event::StdinEof]));
    let (_, v4) = websocket(Subprotocol::V4, &bytes);
    assert_eq!(v4, Ok(vec![Event::Ready, stdin()]));
    let signal = Error::Channel(channel::Error::CloseSignal);
    assert_eq!(
        websocket(Subprotocol::V5, &frame(b"\xff\x09")).1,
        Err(signal)
    );
}

#[test]
fn an_unmasked_frame_is_the_clients_fault() {
    let (_, heard) = websocket(Subprotocol::V5, &[0x82, 1, 0]);
    let unmasked = channel::Error::WebSocket(ws::Error::Unmasked);
    assert_eq!(heard, Err(Error::Channel(unmasked)));
}

/// As in Go, a Close does not stop the command: what it says and how it ends still goes out.
#[test]
fn a_clients_close_does_not_stop_the_command() {
    let close = [0x88, 0x82, 0, 0, 0, 0, 3, 232];
    let (mut server, heard) = websocket(Subprotocol::V5, &close);
    assert_eq!(heard, Ok(vec![Event::Ready, Event::Closed]));
    let mut out = Outbox::new();
    server.output(Stream::Stdout, BytesMut::from(&b"x"[..]), &mut out);
    server.finish(&Ending::Exit(0), &mut out);
    let written = drain(&mut out);
    assert!(written.starts_with(b"\x82\x02\x01x"));
    assert!(written.ends_with(b"\x88\x02\x03\xe8"));
}
