//! Frames as Go peers put them on the wire, and frames no peer should send.

mod rules;

use bytes::BytesMut;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::{Error, Event, Spdy, dictionary, status};
use crate::limits;
use crate::outbox::Outbox;

/// Captured from client-go 1.36: the streams of an exec without a terminal, then stdin and its end.
const CLIENT: &[&str] = &[
    "80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff",
    "800300010000001700000003000000000000c22e555c92929907000000ffff",
    "800300010000001900000005000000000000c22ac5565c92925f5a02000000ffff",
    "800300010000001500000007000000000000c229975a5404000000ffff",
    "0000000300000003616263",
    "0000000301000000",
];

/// What a container runtime sends: replies, output, its end, the status, and the farewell.
const SERVER: &[&str] = &[
    "80030002000000140000000178f9e3c6a7c26260606000000000ffff",
    "800300020000000c00000003026100000000ffff",
    "000000050000000568656c6c6f",
    "0000000501000000",
    "00000001000000147b22737461747573223a2253756363657373227d",
    "80030003000000080000000100000005",
    "800300060000000400000002",
    "80030007000000080000000500000000",
];

fn hex(lines: &[&str]) -> Vec<u8> {
    let digits: Vec<char> = lines.concat().chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

fn wire(out: &Outbox) -> Vec<u8> {
    out.chunks().flatten().copied().collect()
}

/// A client that opened the four streams of an exec.
fn client() -> Spdy {
    let mut spdy = Spdy::client();
    for stream in ["error", "stdin", "stdout", "stderr"] {
        spdy.open(stream, &mut Outbox::new()).unwrap();
    }
    spdy
}

/// Feeds `bytes` in pieces of `step`; a server replies to what is opened. Runs of one frame are
/// joined, so that feeds can be compared.
fn feed(mut spdy: Spdy, bytes: &[u8], step: usize, run: usize) -> (Vec<Event>, Option<Error>) {
    let mut out = Outbox::new();
    let mut input = BytesMut::new();
    let mut events: Vec<Event> = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        input.extend_from_slice(piece);
        loop {
            match spdy.receive(&mut input, run, &mut out) {
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
                Ok(Some(event)) => {
                    if let Event::Opened { id, .. } = event {
                        spdy.reply(id, &mut out).unwrap();
                    }
                    match (events.last_mut(), event) {
                        (
                            Some(Event::Data { id, payload, fin }),
                            Event::Data {
                                id: more_of,
                                payload: more,
                                fin: end,
                            },
                        ) if *id == more_of && !*fin => {
                            assert!(more.len() <= run);
                            payload.extend_from_slice(&more);
                            *fin = end;
                        }
                        (_, event) => events.push(event),
                    }
                }
            }
        }
    }
    (events, None)
}

fn three_feeds(make: impl Fn() -> Spdy, bytes: &[u8]) -> (Vec<Event>, Option<Error>) {
    let whole = feed(make(), bytes, bytes.len(), 1 << 20);
    assert_eq!(whole, feed(make(), bytes, 1, 1 << 20));
    assert_eq!(whole, feed(make(), bytes, bytes.len(), 2));
    let mut trailing = bytes.to_vec();
    trailing.extend_from_slice(&[0x80, 0x03, 0x00]);
    assert_eq!(whole, feed(make(), &trailing, trailing.len(), 1 << 20));
    whole
}

fn data(id: u32, payload: &[u8], fin: bool) -> Event {
    Event::Data {
        id,
        payload: BytesMut::from(payload),
        fin,
    }
}

#[test]
fn a_server_reads_what_client_go_compressed() {
    let (events, error) = three_feeds(Spdy::server, &hex(CLIENT));
    assert_eq!(error, None);
    let opened = |id, name: &str| Event::Opened {
        id,
        stream_type: name.to_owned(),
        fin: false,
    };
    assert_eq!(
        events,
        [
            opened(1, "error"),
            opened(3, "stdin"),
            opened(5, "stdout"),
            opened(7, "stderr"),
            data(3, b"abc", true),
        ]
    );
}

#[test]
fn a_client_reads_what_a_runtime_sends() {
    let (events, error) = three_feeds(client, &hex(SERVER));
    assert_eq!(error, None);
    assert_eq!(
        events,
        [
            Event::Replied { id: 1, fin: false },
            Event::Replied { id: 3, fin: false },
            data(5, b"hello", true),
            data(1, br#"{"status":"Success"}"#, false),
            Event::Reset {
                id: 1,
                status: status::CANCEL
            },
            Event::Ping,
            Event::Goaway,
        ]
    );
}

#[test]
fn our_uncompressed_blocks_are_those_go_accepts() {
    let mut out = Outbox::new();
    Spdy::client().open("error", &mut out).unwrap();
    let expected = "80030001000000350000000100000000000078f9e3c6a7c2001b00e4ff000000010000000a73747265616d74797065000000056572726f72000000ffff";
    assert_eq!(wire(&out), hex(&[expected]));
    let (events, error) = three_feeds(Spdy::server, &wire(&out));
    assert_eq!(error, None);
    assert_eq!(events.len(), 1);
}

#[test]
fn a_ping_is_echoed_and_our_own_is_recognised() {
    let mut spdy = client();
    let mut out = Outbox::new();
    spdy.ping(&mut out).unwrap();
    assert_eq!(wire(&out), hex(&["800300060000000400000001"]));
    out.clear();
    let mut input = BytesMut::from(hex(&["800300060000000400000002"]).as_slice());
    assert_eq!(
        spdy.receive(&mut input, 64, &mut out),
        Ok(Some(Event::Ping))
    );
    assert_eq!(wire(&out), hex(&["800300060000000400000002"]));
    let mut input = BytesMut::from(hex(&["800300060000000400000001"]).as_slice());
    assert_eq!(
        spdy.receive(&mut input, 64, &mut out),
        Ok(Some(Event::PingReply { id: 1 }))
    );
}

#[test]
fn noise_is_passed_over() {
    let noise = hex(&[
        "800300040000000c000000010000000400000064", // SETTINGS
        "80030009000000080000000500010000",         // WINDOW_UPDATE
        "80030009000000080000000580000000",         // WINDOW_UPDATE with the reserved bit
        "800300090000000800000000000f4240",         // WINDOW_UPDATE of the connection
        "800300090000000800000063000f4240",         // WINDOW_UPDATE of a stream that never was
        "000000050000000178",
    ]);
    assert_eq!(
        three_feeds(client, &noise),
        (vec![data(5, b"x", false)], None)
    );
}

#[test]
fn hostile_frames_are_refused_by_name() {
    let refused = |frames: &[&str]| {
        three_feeds(Spdy::server, &hex(frames))
            .1
            .map(|error| error.to_string())
    };
    for (frames, needle) in [
        (&["8003000500000000"][..], "type 5"),
        (&["8003000a00000000"], "type 10"),
        (&["800200060000000400000001"], "version 2"),
        (&["80030003000000080000000100000000"], "status 0"),
        (&["800300060000000400000000"], "id 0"),
        (&["80030006000000050000000001"], "length"),
        (&["8003000100ffffff"], "too long"),
        (&["800300010000000c0000000100000000000078f9"], ""),
    ] {
        let error = refused(frames);
        match needle {
            // A truncated block is no error until something proves it wrong; nothing is opened.
            "" => assert_eq!(feed(Spdy::server(), &hex(frames), 1, 64).0, []),
            needle => assert!(
                error.as_deref().is_some_and(|text| text.contains(needle)),
                "{frames:?}: {error:?}"
            ),
        }
    }
}

/// A `SYN_STREAM` whose block holds `plain`, compressed by an independent encoder.
fn syn_stream(id: u32, plain: &[u8]) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::best(), true);
    deflate.set_dictionary(&dictionary::bytes()).unwrap();
    let mut block = Vec::with_capacity(plain.len() + 1024);
    deflate
        .compress_vec(plain, &mut block, FlushCompress::Sync)
        .unwrap();
    let mut frame = vec![0x80, 0x03, 0x00, 0x01];
    let length = u32::try_from(10 + block.len()).unwrap();
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&block);
    frame
}

#[test]
fn a_deflate_bomb_stops_at_the_cap() {
    let mut plain = 1_u32.to_be_bytes().to_vec();
    plain.extend_from_slice(&10_u32.to_be_bytes());
    plain.extend_from_slice(b"streamtype");
    plain.extend_from_slice(&8_000_000_u32.to_be_bytes());
    plain.extend_from_slice(&vec![b'a'; 8_000_000]);
    let frame = syn_stream(1, &plain);
    assert!(
        frame.len() < limits::SPDY_CONTROL_BYTES_MAX,
        "the frame itself is small"
    );
    assert_eq!(
        three_feeds(Spdy::server, &frame),
        (vec![], Some(Error::HeaderBlockTooLarge))
    );
}

#[test]
fn ten_thousand_headers_are_too_many() {
    let mut plain = 10_000_u32.to_be_bytes().to_vec();
    plain.extend_from_slice(&[0; 64]);
    let (events, error) = three_feeds(Spdy::server, &syn_stream(1, &plain));
    assert_eq!(
        (events, error),
        (vec![], Some(Error::TooManyHeaders(10_000)))
    );
}

#[test]
fn a_stream_id_twice_or_going_down_is_reset_and_opens_nothing() {
    let mut spdy = Spdy::server();
    let mut peer = Spdy::client();
    let mut sent = Outbox::new();
    peer.open("error", &mut sent).unwrap();
    let mut input = BytesMut::from(wire(&sent).as_slice());
    let mut out = Outbox::new();
    assert!(matches!(
        spdy.receive(&mut input, 64, &mut out),
        Ok(Some(Event::Opened { id: 1, .. }))
    ));
    spdy.reply(1, &mut out).unwrap();
    out.clear();
    // The next block of the same zlib stream, but for stream 1 again.
    let mut sent = Outbox::new();
    peer.open("stdin", &mut sent).unwrap();
    let mut frame = wire(&sent);
    frame[11] = 1;
    let mut input = BytesMut::from(frame.as_slice());
    assert_eq!(spdy.receive(&mut input, 64, &mut out), Ok(None));
    assert_eq!(wire(&out), hex(&["80030003000000080000000100000001"]));
}

proptest! {
    #[test]
    fn any_cut_of_a_conversation_gives_the_same_events(
        payloads in prop::collection::vec((0_usize..3, prop::collection::vec(any::<u8>(), 0..3000)), 0..12),
        step in 1_usize..700,
        run in 1_usize..900,
    ) {
        let mut peer = Spdy::client();
        let mut out = Outbox::new();
        let ids: Vec<u32> = ["error", "stdin", "resize"].into_iter().map(|name| peer.open(name, &mut out).unwrap()).collect();
        for (index, payload) in &payloads {
            peer.send(ids[*index], BytesMut::from(payload.as_slice()), false, &mut out).unwrap();
        }
        let bytes = wire(&out);
        let stream = |events: Vec<Event>, id: u32| -> Vec<u8> {
            events.into_iter().filter_map(|event| match event {
                Event::Data { id: of, payload, .. } if of == id => Some(payload.to_vec()),
                _ => None,
            }).flatten().collect()
        };
        for id in ids {
            let whole = feed(Spdy::server(), &bytes, bytes.len(), usize::MAX);
            let cut = feed(Spdy::server(), &bytes, step, run);
            prop_assert_eq!(whole.1, None);
            prop_assert_eq!(cut.1, None);
            prop_assert_eq!(stream(whole.0, id), stream(cut.0, id));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), step in 1_usize..50) {
        let _ = feed(Spdy::server(), &bytes, step, 64);
        let _ = feed(client(), &bytes, step, 64);
    }
}
