//! RFC 6455 in both roles.

use periscope_core::outbox::Outbox;
use periscope_core::ws::{Error, Event, Kind, WebSocket};

use crate::feeds::{self, Outcome, Parameters};

/// The longest message accepted. Small, so that the fuzzer reaches it.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// A control frame with its longest header: the most that can wait for its end.
const HELD_BYTES_MAX: usize = 14 + 125;

#[derive(Debug, PartialEq, Eq)]
enum Note {
    /// What came of a message between two control frames.
    Data {
        kind: Kind,
        payload: Vec<u8>,
        first: bool,
        last: bool,
    },
    Ping,
    Pong(Vec<u8>),
    Close(u16),
}

/// Mode bit 0: we are the server. Bit 1: a received Close is answered.
pub fn ws(data: &[u8]) {
    let Some((parameters, bytes)) = Parameters::split_off(data) else {
        return;
    };
    let outcome = feeds::agree(bytes, parameters.split, |pieces| run(parameters, pieces));
    check(&outcome, parameters.mode & 1 == 1);
}

fn run(parameters: Parameters, pieces: &[&[u8]]) -> Outcome<Note, Error> {
    let mut websocket = machine(parameters.mode & 1 == 1);
    let answers_close = parameters.mode & 2 == 2;
    let mut outcome = feeds::feed(
        &mut websocket,
        pieces,
        parameters.is_deaf,
        HELD_BYTES_MAX,
        |websocket, input, out| websocket.receive(input, parameters.run_max, out),
        |websocket, event, notes, out| match event {
            Event::Data {
                kind,
                payload,
                first,
                last,
            } => {
                assert!(payload.len() <= parameters.run_max, "a run is too long");
                append(notes, kind, &payload, first, last);
            }
            Event::Ping => notes.push(Note::Ping),
            Event::Pong { payload } => {
                assert!(payload.len() <= 125, "a control frame is short");
                notes.push(Note::Pong(payload.to_vec()));
            }
            Event::Close { code } => {
                assert!(!matches!(notes.last(), Some(Note::Close(_))), "one Close");
                notes.push(Note::Close(code));
                if answers_close {
                    websocket
                        .close(code, "", out)
                        .expect("a Close that was received can be echoed");
                }
            }
        },
    );
    if outcome.error == Some(Error::NotUtf8) {
        // Of the run with the bad byte nothing is passed on, and runs depend on the feed.
        while matches!(outcome.notes.last(), Some(Note::Data { last: false, .. })) {
            outcome.notes.pop();
        }
    }
    outcome
}

fn machine(is_server: bool) -> WebSocket {
    if is_server {
        WebSocket::server(MESSAGE_BYTES_MAX)
    } else {
        WebSocket::client([7; 32], MESSAGE_BYTES_MAX)
    }
}

fn append(notes: &mut Vec<Note>, kind: Kind, run: &[u8], first: bool, last: bool) {
    if let Some(Note::Data {
        kind: of,
        payload,
        last: is_over @ false,
        ..
    }) = notes.last_mut()
    {
        assert!(
            !first && kind == *of,
            "the runs of a message follow each other"
        );
        payload.extend_from_slice(run);
        *is_over = last;
        return;
    }
    notes.push(Note::Data {
        kind,
        payload: run.to_vec(),
        first,
        last,
    });
}

/// What holds for any peer, however it was fed.
fn check(outcome: &Outcome<Note, Error>, is_server: bool) {
    let mut message: Option<(Kind, Vec<u8>)> = None;
    for note in &outcome.notes {
        let Note::Data {
            kind,
            payload,
            first,
            last,
        } = note
        else {
            continue;
        };
        assert_eq!(*first, message.is_none(), "a message begins once");
        let (of, bytes) = message.get_or_insert_with(|| (*kind, Vec::new()));
        assert_eq!(of, kind);
        bytes.extend_from_slice(payload);
        assert!(
            bytes.len() as u64 <= MESSAGE_BYTES_MAX,
            "a message too long"
        );
        if *last {
            let is_text = *kind == Kind::Text;
            assert!(!is_text || core::str::from_utf8(bytes).is_ok(), "UTF-8");
            message = None;
        }
    }
    // What we wrote must be good frames for the other role.
    let mut peer = machine(!is_server);
    let mut written = bytes::BytesMut::from(outcome.written.as_slice());
    let mut out = Outbox::new();
    while let Some(event) = peer
        .receive(&mut written, usize::MAX, &mut out)
        .expect("what we write can be read")
    {
        assert!(
            matches!(event, Event::Pong { .. } | Event::Close { .. }),
            "{event:?} answers nothing"
        );
    }
    assert!(written.is_empty(), "what we write is whole frames");
}
