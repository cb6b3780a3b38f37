//! The apiserver's half of an exec.

use bytes::BytesMut;
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::leg::exec_server::{Ending, Error, Event, ExecServer, Streams};
use periscope_core::outbox::Outbox;
use periscope_core::{channel, ws};

use crate::feeds::{self, Outcome, Parameters};

/// A control frame of a WebSocket with its longest header; SPDY's are shorter.
const HELD_BYTES_MAX: usize = 14 + 125;

const SUBPROTOCOLS: [Subprotocol; 5] = [
    Subprotocol::V5,
    Subprotocol::V4,
    Subprotocol::V1,
    Subprotocol::V1Base64,
    Subprotocol::V4Base64,
];

#[derive(Debug, PartialEq, Eq)]
enum Note {
    Ready,
    Stdin(Vec<u8>),
    StdinEof,
    Closed,
}

/// Mode bits 0 to 3: stdin, stdout, stderr, tty. The bits above, modulo 6: SPDY, or a subprotocol
/// of channels.
pub fn exec_server(data: &[u8]) {
    let Some((parameters, bytes)) = Parameters::split_off(data) else {
        return;
    };
    let outcome = feeds::agree(bytes, parameters.split, |pieces| run(parameters, pieces));
    let count = |wanted: Note| outcome.notes.iter().filter(|note| **note == wanted).count();
    assert!(count(Note::Ready) <= 1, "a command starts once");
    assert!(count(Note::StdinEof) <= 1, "stdin ends once");
}

fn run(parameters: Parameters, pieces: &[&[u8]]) -> Outcome<Note, Error> {
    let asked = |bit: u8| parameters.mode & (1 << bit) != 0;
    let streams = Streams {
        stdin: asked(0),
        stdout: asked(1),
        stderr: asked(2),
        tty: asked(3),
    };
    let command = vec!["sh".to_owned()];
    let mut server = match usize::from(parameters.mode >> 4).checked_sub(1) {
        None => ExecServer::spdy(streams, command),
        Some(index) => {
            ExecServer::websocket(SUBPROTOCOLS[index % SUBPROTOCOLS.len()], streams, command)
        }
    };
    let mut outcome = feeds::feed(
        &mut server,
        pieces,
        parameters.is_deaf,
        HELD_BYTES_MAX,
        |server, input, out| server.receive(input, parameters.run_max, out),
        |server, event, notes, out| match event {
            // How many there are depends on how payload was cut.
            Event::Alive => {}
            Event::Resize { cols, rows } => assert!(cols > 0 && rows > 0, "{cols}×{rows}"),
            Event::Ready => notes.push(Note::Ready),
            Event::Stdin(payload) => {
                assert!(streams.stdin, "nobody asked for stdin");
                match notes.last_mut() {
                    Some(Note::Stdin(so_far)) => so_far.extend_from_slice(&payload),
                    _ => notes.push(Note::Stdin(payload.to_vec())),
                }
                if !parameters.is_deaf {
                    server.output(Stream::Stdout, BytesMut::from(&b"x"[..]), out);
                }
            }
            Event::StdinEof => notes.push(Note::StdinEof),
            Event::Closed => notes.push(Note::Closed),
        },
    );
    // One byte of output per run of stdin: what was written depends on the feed.
    outcome.written.clear();
    if outcome.error
        == Some(Error::Channel(channel::Error::WebSocket(
            ws::Error::NotUtf8,
        )))
        && let Some(Note::Stdin(_)) = outcome.notes.last()
    {
        // Of the run with the bad byte nothing is passed on, and runs depend on the feed.
        outcome.notes.pop();
    }
    let mut out = Outbox::new();
    server.finish(&Ending::Exit(parameters.mode), &mut out);
    assert!(server.has_finished(), "whatever came, it can be ended");
    outcome
}
