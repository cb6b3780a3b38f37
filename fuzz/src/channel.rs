//! The channel protocol in both roles.

use periscope_core::channel::{Channels, Error, Event, Stream, Subprotocol};
use periscope_core::limits::BASE64_MESSAGE_BYTES_MAX;
use periscope_core::ws::{self, WebSocket};

use crate::feeds::{self, Outcome, Parameters};

/// The longest message accepted. Small, so that the fuzzer reaches it.
const MESSAGE_BYTES_MAX: u64 = 16 * 1024;

/// A control frame with its longest header: the most that can wait for its end.
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
    Data {
        stream: Stream,
        payload: Vec<u8>,
        last: bool,
    },
    StreamClosed(Stream),
    Ping,
    Pong,
    Close(u16),
}

/// Mode bit 0: we are the server. The bits above, modulo 5: the subprotocol.
pub fn channel(data: &[u8]) {
    let Some((parameters, bytes)) = Parameters::split_off(data) else {
        return;
    };
    let outcome = feeds::agree(bytes, parameters.split, |pieces| run(parameters, pieces));
    let is_server = parameters.mode & 1 == 1;
    let is_v5 = subprotocol(parameters.mode) == Subprotocol::V5;
    for note in &outcome.notes {
        let is_signal = matches!(note, Note::StreamClosed(_));
        assert!(!is_signal || (is_server && is_v5), "{note:?} cannot come");
    }
}

fn subprotocol(mode: u8) -> Subprotocol {
    SUBPROTOCOLS[usize::from(mode >> 1) % SUBPROTOCOLS.len()]
}

fn run(parameters: Parameters, pieces: &[&[u8]]) -> Outcome<Note, Error> {
    let subprotocol = subprotocol(parameters.mode);
    let mut channels = if parameters.mode & 1 == 1 {
        Channels::server(WebSocket::server(MESSAGE_BYTES_MAX), subprotocol)
    } else {
        Channels::client(WebSocket::client([7; 32], MESSAGE_BYTES_MAX), subprotocol)
    };
    // A base64 message is decoded whole.
    let run_max = if subprotocol.is_base64() {
        BASE64_MESSAGE_BYTES_MAX
    } else {
        parameters.run_max
    };
    let mut outcome = feeds::feed(
        &mut channels,
        pieces,
        parameters.is_deaf,
        HELD_BYTES_MAX,
        |channels, input, out| channels.receive(input, parameters.run_max, out),
        |_, event, notes, _| {
            if let Event::Data { payload, .. } = &event {
                assert!(payload.len() <= run_max, "a run is too long");
            }
            append(notes, event);
        },
    );
    if outcome.error == Some(Error::WebSocket(ws::Error::NotUtf8)) {
        // Of the run with the bad byte nothing is passed on, and runs depend on the feed.
        while matches!(outcome.notes.last(), Some(Note::Data { last: false, .. })) {
            outcome.notes.pop();
        }
        if parameters.mode & 1 == 0 && !subprotocol.is_base64() {
            // So does whether a text of bad bytes is first noticed as text or as bad.
            outcome.error = Some(Error::Text);
        }
    }
    outcome
}

fn append(notes: &mut Vec<Note>, event: Event) {
    let note = match event {
        Event::Close { code } => Note::Close(code),
        Event::Data {
            stream,
            payload,
            last,
        } => {
            if let Some(Note::Data {
                stream: of,
                payload: so_far,
                last: is_over @ false,
            }) = notes.last_mut()
            {
                assert_eq!(*of, stream, "a message has one stream");
                so_far.extend_from_slice(&payload);
                *is_over = last;
                return;
            }
            Note::Data {
                stream,
                payload: payload.to_vec(),
                last,
            }
        }
        Event::Ping => Note::Ping,
        Event::Pong => Note::Pong,
        Event::StreamClosed { stream } => Note::StreamClosed(stream),
    };
    notes.push(note);
}
