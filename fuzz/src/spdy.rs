//! SPDY/3.1 in both roles.

use periscope_core::limits::SPDY_STREAMS_MAX;
use periscope_core::outbox::Outbox;
use periscope_core::spdy::{Error, Event, Spdy};

use crate::feeds::{self, Outcome, Parameters};

/// The fixed part of the longest control frame: header blocks and payload are not waited for.
const HELD_BYTES_MAX: usize = 8 + 10;

#[derive(Debug, PartialEq, Eq)]
enum Note {
    Opened {
        id: u32,
        stream_type: String,
        fin: bool,
    },
    Replied {
        id: u32,
        fin: bool,
    },
    /// What came of a stream between two other events.
    Data {
        id: u32,
        payload: Vec<u8>,
        fin: bool,
    },
    Reset {
        id: u32,
        status: u32,
    },
    Goaway,
    Ping,
    PingReply(u32),
}

/// Mode bit 0: we are the server. Bit 1: a server replies to streams. Bit 2: it drops its inflater
/// after four of them, as an exec does.
pub fn spdy(data: &[u8]) {
    let Some((parameters, bytes)) = Parameters::split_off(data) else {
        return;
    };
    let outcome = feeds::agree(bytes, parameters.split, |pieces| run(parameters, pieces));
    check(&outcome);
}

fn run(parameters: Parameters, pieces: &[&[u8]]) -> Outcome<Note, Error> {
    let is_server = parameters.mode & 1 == 1;
    let replies = parameters.mode & 2 == 2;
    let drops_inflater = parameters.mode & 4 == 4;
    let mut spdy = if is_server {
        Spdy::server()
    } else {
        Spdy::client()
    };
    if !is_server {
        let mut out = Outbox::new();
        for stream_type in ["error", "stdin", "stdout", "resize"] {
            spdy.open(stream_type, &mut out).expect("a client may open");
        }
    }
    feeds::feed(
        &mut spdy,
        pieces,
        parameters.is_deaf,
        HELD_BYTES_MAX,
        |spdy, input, out| spdy.receive(input, parameters.run_max, out),
        |spdy, event, notes, out| {
            if let Event::Opened { id, .. } = &event {
                assert!(is_server, "nobody opens a stream towards a client");
                if replies {
                    spdy.reply(*id, out)
                        .expect("a new stream can be replied to");
                }
                let opened = notes
                    .iter()
                    .filter(|note| matches!(note, Note::Opened { .. }));
                if drops_inflater && opened.count() == 3 {
                    spdy.drop_inflater();
                }
            }
            if let Event::Data { payload, .. } = &event {
                assert!(payload.len() <= parameters.run_max, "a run is too long");
            }
            append(notes, event);
        },
    )
}

fn append(notes: &mut Vec<Note>, event: Event) {
    let note = match event {
        Event::Opened {
            id,
            stream_type,
            fin,
        } => Note::Opened {
            id,
            stream_type,
            fin,
        },
        Event::Replied { id, fin } => Note::Replied { id, fin },
        Event::Data { id, payload, fin } => {
            if let Some(Note::Data {
                id: of,
                payload: so_far,
                fin: is_over,
            }) = notes.last_mut()
                && *of == id
            {
                assert!(!*is_over, "data on stream {id} after its end");
                so_far.extend_from_slice(&payload);
                *is_over = fin;
                return;
            }
            Note::Data {
                id,
                payload: payload.to_vec(),
                fin,
            }
        }
        Event::Reset { id, status } => Note::Reset { id, status },
        Event::Goaway => Note::Goaway,
        Event::Ping => Note::Ping,
        Event::PingReply { id } => Note::PingReply(id),
    };
    notes.push(note);
}

/// What holds for any peer, however it was fed.
fn check(outcome: &Outcome<Note, Error>) {
    let mut ended = Vec::new();
    let mut opened = 0_usize;
    for (index, note) in outcome.notes.iter().enumerate() {
        match note {
            Note::Opened { id, fin, .. } => {
                opened += 1;
                assert!(*id % 2 == 1, "a client's stream is odd");
                ended.extend(fin.then_some(*id));
            }
            Note::Replied { id, fin } | Note::Data { id, fin, .. } => {
                assert!(!ended.contains(id), "stream {id} has ended");
                ended.extend(fin.then_some(*id));
            }
            Note::Reset { id, status } => {
                assert!(*id != 0 && *status != 0);
                ended.push(*id);
            }
            Note::Goaway => assert_eq!(index + 1, outcome.notes.len(), "GOAWAY is the last"),
            Note::Ping => {}
            Note::PingReply(id) => assert!(*id != 0),
        }
    }
    assert!(opened <= SPDY_STREAMS_MAX, "{opened} streams");
}
