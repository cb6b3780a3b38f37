//! The two halves of `pods/exec` against each other and against servers that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "legs/ends.rs"]
mod ends;
#[path = "legs/pair.rs"]
mod pair;
#[path = "legs/server.rs"]
mod server;

use bytes::BytesMut;
use periscope_core::channel::Stream;
use periscope_core::channel::status::Outcome;
use periscope_core::leg::api::ApiEvent;
use periscope_core::leg::exec_server::{Ending, Event};
use proptest::prelude::*;

use self::pair::{Heard, Pair, Seen, Transport};

/// One thing either side does, or a read.
#[derive(Clone, Debug)]
enum Act {
    Output(bool, Vec<u8>),
    Ping,
    Resize(u16, u16),
    Stdin(Vec<u8>),
    Step,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let filled = |(byte, length): (u8, usize)| {
        let counted = (0..length).map(move |index| byte.wrapping_add(index.to_le_bytes()[0]));
        counted.collect()
    };
    // On both sides of what each framing treats as short.
    prop_oneof![
        8 => (any::<u8>(), 1_usize..200).prop_map(filled),
        2 => (any::<u8>(), 1000_usize..1100).prop_map(filled),
        1 => (any::<u8>(), 65_530_usize..65_545).prop_map(filled),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (any::<bool>(), bytes()).prop_map(|(is_stderr, bytes)| Act::Output(is_stderr, bytes)),
        Just(Act::Ping),
        (any::<u16>(), any::<u16>()).prop_map(|(cols, rows)| Act::Resize(cols, rows)),
        bytes().prop_map(Act::Stdin),
        Just(Act::Step),
        Just(Act::Step),
    ];
    prop::collection::vec(act, 0..24)
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let cut = prop_oneof![1_usize..8, 1_usize..200, Just(1 << 16)];
    prop::collection::vec(cut, 1..8)
}

fn transport() -> impl Strategy<Value = Transport> {
    prop::sample::select(Transport::ALL.as_slice())
}

fn outcome_of(code: u8) -> Outcome {
    if code == 0 {
        Outcome::Success
    } else {
        Outcome::Exit(code)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn every_byte_size_and_end_arrives_once_and_in_order(
        transport in transport(),
        tty: bool,
        acts in acts(),
        cuts in cuts(),
        ends_stdin: bool,
        code: u8,
    ) {
        let mut pair = Pair::open(transport, tty, &cuts);
        let (mut output, mut told): (Vec<u8>, Vec<Heard>) = (Vec::new(), Vec::new());
        for act in acts {
            match act {
                Act::Output(is_stderr, bytes) => {
                    // With a terminal stderr was not asked for, and nothing may come of it.
                    let stream = if is_stderr { Stream::Stderr } else { Stream::Stdout };
                    pair.output(stream, &bytes);
                    if !is_stderr || !tty {
                        output.extend(bytes);
                    }
                }
                Act::Ping => pair.api.ping(),
                Act::Resize(cols, rows) => {
                    pair.api.resize(cols, rows);
                    if tty {
                        told.push(Heard::Resize(cols.max(1), rows.max(1)));
                    }
                }
                Act::Stdin(bytes) => {
                    pair.stdin(&bytes);
                    match told.last_mut() {
                        Some(Heard::Stdin(before)) => before.extend(bytes),
                        _ => told.push(Heard::Stdin(bytes)),
                    }
                }
                Act::Step => { pair.step(); }
            }
        }
        if ends_stdin {
            prop_assert_eq!(pair.api.end_stdin(), transport.can_end_stdin());
            if transport.can_end_stdin() {
                told.push(Heard::StdinEof);
            }
        }
        pair.settle();
        prop_assert_eq!(&pair.heard, &told);
        pair.finish(&Ending::Exit(code));
        pair.settle();
        let mut story = vec![Seen::Status(outcome_of(code)), Seen::Ended];
        if !output.is_empty() {
            story.insert(0, Seen::Output(output));
        }
        prop_assert_eq!(&pair.seen, &story);
        pair.eof();
        prop_assert_eq!(&pair.seen, &story, "the end of the connection adds nothing");
    }

    #[test]
    fn a_runtimes_own_text_arrives_whole(
        transport in transport(),
        text in "\\PC{0,40}|.{0,40}",
        cuts in cuts(),
    ) {
        let mut pair = Pair::open(transport, true, &cuts);
        pair.finish(&Ending::InternalError(text.clone()));
        pair.settle();
        let [Seen::Status(Outcome::Failure(failure)), Seen::Ended] = &pair.seen[..] else {
            panic!("{:?}", pair.seen);
        };
        prop_assert_eq!((failure.code, failure.reason.as_deref()), (Some(500), Some("InternalError")));
        let prefix = "Internal error occurred: ";
        let doubled = if transport == Transport::V5 { prefix } else { "" };
        prop_assert_eq!(&failure.message, &format!("{prefix}{doubled}{text}"));
    }

    #[test]
    fn a_connection_that_is_cut_tells_no_outcome_it_did_not_get(
        transport in transport(),
        code: u8,
        kept in 0.0_f64..1.0,
        cuts in cuts(),
    ) {
        let mut pair = Pair::open(transport, false, &cuts);
        pair.output(Stream::Stdout, b"said");
        pair.settle();
        pair.finish(&Ending::Exit(code));
        let rest = pair::drain(&mut pair.server_out);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any place will do")]
        let kept = (rest.len() as f64 * kept) as usize;
        // Whole once its last brace was written; on a WebSocket its frame says so, too.
        let is_whole = kept > rest.iter().rposition(|byte| *byte == b'}').unwrap();
        let seen = pair::feed_to_eof(&mut pair.api, &rest[..kept], cuts[0]);
        let mut story = vec![Seen::Ended];
        if is_whole {
            story.insert(0, Seen::Status(outcome_of(code)));
        }
        prop_assert_eq!(seen, story);
    }
}

#[test]
fn output_goes_on_after_stdin_has_ended() {
    for transport in Transport::ALL {
        for cut in [1, 7, 1 << 16] {
            let mut pair = Pair::open(transport, false, &[cut]);
            pair.stdin(b"all\n");
            assert_eq!(pair.api.end_stdin(), transport.can_end_stdin());
            pair.settle();
            let mut told = vec![Heard::Stdin(b"all\n".to_vec())];
            if transport.can_end_stdin() {
                told.push(Heard::StdinEof);
                assert!(pair.api.end_stdin(), "a second end is no second signal");
            }
            pair.settle();
            assert_eq!(pair.heard, told, "{transport:?}");
            pair.output(Stream::Stdout, b"done\n");
            pair.output(Stream::Stderr, b"warned\n");
            pair.settle();
            let output = Seen::Output(b"done\nwarned\n".to_vec());
            assert_eq!(pair.seen, [output], "{transport:?}");
        }
    }
}

#[test]
fn a_terminals_size_is_never_zero_and_never_sent_without_a_terminal() {
    for transport in Transport::ALL {
        let mut pair = Pair::open(transport, true, &[5]);
        pair.api.resize(0, 0);
        pair.api.resize(u16::MAX, u16::MAX);
        pair.settle();
        let sizes = [Heard::Resize(1, 1), Heard::Resize(u16::MAX, u16::MAX)];
        assert_eq!(pair.heard, sizes, "{transport:?}");
        let mut pair = Pair::open(transport, false, &[5]);
        pair.api.resize(80, 24);
        assert!(pair.api.outbox().is_empty(), "{transport:?}");
    }
}

#[test]
fn a_ping_is_answered_and_both_sides_see_life_in_it() {
    for transport in Transport::ALL {
        let mut pair = Pair::open(transport, false, &[3]);
        pair.api.ping();
        let mut ping = BytesMut::from(pair::drain(pair.api.outbox_mut()).as_slice());
        let out = &mut pair.server_out;
        let heard = pair.server.receive(&mut ping, 1, out).unwrap();
        assert_eq!(heard, Some(Event::Alive), "{transport:?}");
        let mut pong = BytesMut::from(pair::drain(out).as_slice());
        let seen = pair.api.receive(&mut pong, 1).unwrap();
        assert!(matches!(seen, Some(ApiEvent::Alive)), "{transport:?}");
        assert!(ping.is_empty() && pong.is_empty());
    }
}
