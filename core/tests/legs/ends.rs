//! Servers that end in other ways than ours does, frame by frame.

use bytes::BytesMut;
use periscope_core::channel::status::{self, Outcome, Shape};
use periscope_core::http::accept_key;
use periscope_core::leg::api::{ApiLeg, Error};
use periscope_core::limits::STATUS_BYTES_MAX;
use proptest::prelude::*;

use super::pair::{Seen, Transport, drain, feed, feed_to_eof, leg};

const FIN: u8 = 1;
const STEPS: [usize; 3] = [1, 5, 1 << 16];

fn data(id: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [0, 0, 0, id, flags, length[1], length[2], length[3]];
    [&head, payload].concat()
}

fn reset(id: u8) -> Vec<u8> {
    vec![0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, id, 0, 0, 0, 5]
}

fn reply(id: u8, flags: u8) -> Vec<u8> {
    vec![0x80, 3, 0, 2, flags, 0, 0, 4, 0, 0, 0, id]
}

fn goaway() -> Vec<u8> {
    vec![0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0]
}

/// A server's WebSocket frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
        medium @ 126..65_536 => {
            bytes.push(126);
            bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(127);
            bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

fn message(channel: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x82, &[&[channel], payload].concat())
}

fn close() -> Vec<u8> {
    frame(0x88, &[3, 232])
}

/// A leg that has its 101 and whose requests are out of the way.
fn upgraded(transport: Transport, tty: bool) -> ApiLeg {
    let mut api = leg(transport, tty);
    drain(api.outbox_mut());
    let head = if transport == Transport::Spdy {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n".to_owned()
    } else {
        let version = if transport == Transport::V5 { 5 } else { 4 };
        let accept = accept_key("AQEBAQEBAQEBAQEBAQEBAQ==");
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v{version}.channel.k8s.io\r\n\r\n"
        )
    };
    let seen = feed(&mut api, head.as_bytes(), 1 << 16).unwrap();
    assert_eq!(seen, [Seen::Upgraded]);
    api
}

/// A SPDY leg with all streams open: error 1, stdin 3, stdout 5, and stderr or resize 7.
fn opened(tty: bool) -> ApiLeg {
    let mut api = upgraded(Transport::Spdy, tty);
    let replies = [reply(1, 0), reply(3, 0), reply(5, 0), reply(7, 0)].concat();
    assert_eq!(feed(&mut api, &replies, 3).unwrap(), [Seen::Opened]);
    drain(api.outbox_mut());
    api
}

fn exit_7() -> Vec<u8> {
    status::exit(7, &["sh".to_owned()], Shape::Runtime).into_bytes()
}

fn output(text: &str) -> Seen {
    Seen::Output(text.as_bytes().to_vec())
}

const EXITED: Seen = Seen::Status(Outcome::Exit(7));

proptest! {
    #[test]
    fn a_status_in_any_number_of_frames_is_one_status(
        places in prop::collection::btree_set(1_usize..200, 0..6),
        step in 1_usize..60,
    ) {
        let status = exit_7();
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut start = 0;
        for place in places {
            pieces.push(&status[start..place]);
            start = place;
        }
        pieces.push(&status[start..]);

        let frames: Vec<u8> = pieces.iter().flat_map(|piece| data(1, 0, piece)).collect();
        let ends = [data(5, FIN, b""), data(7, FIN, b"")].concat();
        let spdy = [ends, frames, reset(1)].concat();
        prop_assert_eq!(feed(&mut opened(false), &spdy, step).unwrap(), [EXITED, Seen::Ended]);

        let last = pieces.len() - 1;
        let mut websocket = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let opcode = if index == 0 { 2 } else { 0 };
            let fin = if index == last { 0x80 } else { 0 };
            let channel: &[u8] = if index == 0 { &[3] } else { &[] };
            websocket.extend(frame(fin | opcode, &[channel, piece].concat()));
        }
        websocket.extend(close());
        for transport in [Transport::V4, Transport::V5] {
            let seen = feed(&mut upgraded(transport, false), &websocket, step).unwrap();
            prop_assert_eq!(seen, [EXITED, Seen::Ended]);
        }
    }

    #[test]
    fn streams_may_be_replied_to_in_any_order(order in Just([1_u8, 3, 5, 7]).prop_shuffle()) {
        let mut api = upgraded(Transport::Spdy, true);
        for (index, id) in order.into_iter().enumerate() {
            let seen = feed(&mut api, &reply(id, 0), 1).unwrap();
            prop_assert_eq!(seen.len(), usize::from(index == 3), "opened by the last one only");
        }
    }
}

#[test]
fn an_end_without_a_status_has_no_outcome() {
    let ends = [data(5, FIN, b""), data(7, FIN, b"")].concat();
    let resets = [reset(5), reset(7)].concat();
    for step in STEPS {
        for (name, bytes) in [
            ("end of file", data(5, 0, b"x")),
            ("GOAWAY", [data(5, 0, b"x"), goaway()].concat()),
            (
                "an empty error stream",
                [data(5, 0, b"x"), ends.clone(), reset(1)].concat(),
            ),
            (
                "an error stream that ends by FIN",
                [data(5, 0, b"x"), resets.clone(), data(1, FIN, b"")].concat(),
            ),
            (
                "resets, then GOAWAY",
                [data(5, 0, b"x"), reset(1), reset(5), goaway()].concat(),
            ),
        ] {
            let seen = feed_to_eof(&mut opened(false), &bytes, step);
            assert_eq!(seen, [output("x"), Seen::Ended], "{name}");
        }
        for transport in [Transport::V4, Transport::V5] {
            for end in [close(), Vec::new(), message(3, b"")] {
                let bytes = [message(1, b"x"), end].concat();
                let seen = feed_to_eof(&mut upgraded(transport, false), &bytes, step);
                assert_eq!(seen, [output("x"), Seen::Ended]);
            }
        }
    }
}

#[test]
fn half_a_status_is_none_when_the_connection_ends_and_an_error_when_its_stream_does() {
    let status = exit_7();
    let half = &status[..status.len() / 2];
    for step in STEPS {
        for end in [Vec::new(), goaway()] {
            let bytes = [data(1, 0, half), end].concat();
            assert_eq!(feed_to_eof(&mut opened(false), &bytes, step), [Seen::Ended]);
        }
        let broken = Err(Error::Status(status::Error::Json));
        for end in [reset(1), data(1, FIN, b"")] {
            let bytes = [data(1, 0, half), end].concat();
            assert_eq!(feed(&mut opened(false), &bytes, step), broken);
        }
        for transport in [Transport::V4, Transport::V5] {
            let whole = message(3, &status);
            let seen = feed_to_eof(
                &mut upgraded(transport, false),
                &whole[..whole.len() - 1],
                step,
            );
            assert_eq!(seen, [Seen::Ended]);
            let bytes = [message(3, half), close()].concat();
            assert_eq!(feed(&mut upgraded(transport, false), &bytes, step), broken);
        }
    }
}

#[test]
fn a_whole_status_counts_even_if_the_connection_ends_right_behind_it() {
    for step in STEPS {
        for end in [Vec::new(), goaway()] {
            let bytes = [data(1, 0, &exit_7()), end].concat();
            let seen = feed_to_eof(&mut opened(false), &bytes, step);
            assert_eq!(seen, [EXITED, Seen::Ended]);
        }
        let seen = feed_to_eof(
            &mut upgraded(Transport::V5, false),
            &message(3, &exit_7()),
            step,
        );
        assert_eq!(seen, [EXITED, Seen::Ended]);
    }
}

#[test]
fn output_behind_the_status_still_counts_and_a_second_status_does_not() {
    for step in STEPS {
        let bytes = [
            data(7, FIN, b""),
            data(1, 0, &exit_7()),
            reset(1),
            data(5, 0, b"late"),
            data(5, FIN, b"r"),
            goaway(),
        ]
        .concat();
        let seen = feed(&mut opened(false), &bytes, step).unwrap();
        assert_eq!(seen, [EXITED, output("later"), Seen::Ended]);
        let bytes = [
            message(3, &exit_7()),
            message(1, b"later"),
            message(3, status::success().as_bytes()),
            close(),
        ]
        .concat();
        let seen = feed(&mut upgraded(Transport::V5, false), &bytes, step).unwrap();
        assert_eq!(seen, [EXITED, output("later"), Seen::Ended]);
    }
}

#[test]
fn nothing_behind_the_end_means_anything() {
    let bytes = [goaway(), data(5, 0, b"x"), vec![0x80, 9, 9]].concat();
    assert_eq!(feed(&mut opened(false), &bytes, 1).unwrap(), [Seen::Ended]);
    let bytes = [close(), message(1, b"x"), vec![0xff, 0xff]].concat();
    let mut api = upgraded(Transport::V5, false);
    assert_eq!(feed(&mut api, &bytes, 1).unwrap(), [Seen::Ended]);
    api.send_stdin(BytesMut::from(&b"x"[..]));
    api.ping();
    assert!(api.end_stdin());
    assert!(api.outbox().is_empty());
}

#[test]
fn a_status_of_10_mib_is_refused_long_before_it_is_here() {
    let long = vec![b' '; 10 << 20];
    let frames: Vec<u8> = long
        .chunks(32 << 10)
        .flat_map(|piece| data(1, 0, piece))
        .collect();
    for (mut api, bytes) in [
        (opened(false), frames),
        (upgraded(Transport::V4, false), message(3, &long)),
        (upgraded(Transport::V5, false), message(3, &long)),
    ] {
        let mut input = BytesMut::new();
        let mut fed = 0;
        let error = loop {
            let piece = &bytes[fed..fed + 4096];
            fed += piece.len();
            input.extend_from_slice(piece);
            let result = loop {
                match api.receive(&mut input, 4096) {
                    Ok(None) => break None,
                    Ok(Some(_)) => {}
                    Err(error) => break Some(error),
                }
            };
            if let Some(error) = result {
                break error;
            }
        };
        assert_eq!(error, Error::StatusTooLong);
        assert!(fed <= STATUS_BYTES_MAX + 2 * 4096, "{fed} bytes were taken");
        assert_eq!(
            api.receive(&mut input, 4096).unwrap_err(),
            error,
            "it sticks"
        );
        assert_eq!(api.eof(&mut input).unwrap_err(), error, "to the end");
    }
}

#[test]
fn a_status_as_long_as_allowed_is_read() {
    let mut status = exit_7();
    status.resize(STATUS_BYTES_MAX, b' ');
    let bytes = [data(5, FIN, b""), data(7, FIN, b""), data(1, FIN, &status)].concat();
    for step in STEPS {
        let seen = feed(&mut opened(false), &bytes, step).unwrap();
        assert_eq!(seen, [EXITED, Seen::Ended]);
    }
}

#[test]
fn stdin_and_sizes_go_nowhere_after_the_peer_reset_their_streams() {
    let mut api = opened(true);
    let bytes = [reset(3), reset(7)].concat();
    assert_eq!(feed(&mut api, &bytes, 1).unwrap(), []);
    api.send_stdin(BytesMut::from(&b"x"[..]));
    api.resize(80, 24);
    assert!(api.end_stdin(), "there is nothing left to end");
    assert!(api.outbox().is_empty());
    let bytes = [data(5, FIN, b"on"), data(1, 0, &exit_7()), reset(1)].concat();
    let seen = feed(&mut api, &bytes, 1).unwrap();
    assert_eq!(seen, [output("on"), EXITED, Seen::Ended]);
}

/// SPDY/3.1 §2.3.6: a FIN ends the sender's half only.
#[test]
fn stdin_and_sizes_still_go_up_after_the_peer_ended_its_own_half() {
    let after_replies = {
        let mut api = opened(true);
        let fins = [data(3, FIN, b""), data(7, FIN, b"")].concat();
        assert_eq!(feed(&mut api, &fins, 1).unwrap(), []);
        api
    };
    let with_replies = {
        let mut api = upgraded(Transport::Spdy, true);
        let replies = [reply(1, 0), reply(3, FIN), reply(5, 0), reply(7, FIN)].concat();
        assert_eq!(feed(&mut api, &replies, 1).unwrap(), [Seen::Opened]);
        drain(api.outbox_mut());
        api
    };
    for mut api in [after_replies, with_replies] {
        api.send_stdin(BytesMut::from(&b"x"[..]));
        api.resize(80, 24);
        assert!(api.end_stdin());
        api.send_stdin(BytesMut::from(&b"too late"[..]));
        let size = b"{\"Width\":80,\"Height\":24}\n";
        let sent = [data(3, 0, b"x"), data(7, 0, size), data(3, FIN, b"")].concat();
        assert_eq!(drain(api.outbox_mut()), sent);
    }
}
