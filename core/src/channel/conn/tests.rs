//! Captured messages both ways, and what no peer should send.

use proptest::prelude::*;

use super::*;

fn pair(subprotocol: Subprotocol) -> (Channels, Channels) {
    let client = Channels::client(WebSocket::client([3; 32], 1 << 25), subprotocol);
    let server = Channels::server(WebSocket::server(1 << 25), subprotocol);
    (client, server)
}

fn wire(out: &Outbox) -> BytesMut {
    out.chunks().flatten().copied().collect()
}

/// Events of the three feeds, with runs of a message joined so that they can be compared.
fn three_feeds(make: impl Fn() -> Channels, bytes: &[u8]) -> Result<Vec<Event>, Error> {
    let whole = feed(make(), bytes, bytes.len().max(1));
    let single = feed(make(), bytes, 1);
    assert_eq!(whole, single);
    let mut trailing = bytes.to_vec();
    trailing.extend_from_slice(&[0x89, 0x80]); // half a ping
    let with_trailing = feed(make(), &trailing, trailing.len());
    assert_eq!(whole, with_trailing);
    whole
}

fn feed(mut channels: Channels, bytes: &[u8], step: usize) -> Result<Vec<Event>, Error> {
    let mut out = Outbox::new();
    let mut input = BytesMut::new();
    let mut events: Vec<Event> = Vec::new();
    let mut open = false;
    for piece in bytes.chunks(step) {
        input.extend_from_slice(piece);
        while let Some(event) = channels.receive(&mut input, 16, &mut out)? {
            let ends = !matches!(event, Event::Data { last: false, .. });
            match (events.last_mut(), event) {
                (
                    Some(Event::Data { payload, last, .. }),
                    Event::Data {
                        payload: more,
                        last: end,
                        ..
                    },
                ) if open => {
                    payload.extend_from_slice(&more);
                    *last = end;
                }
                (_, event) => events.push(event),
            }
            open = !ends;
        }
    }
    Ok(events)
}

fn data(stream: Stream, payload: &[u8]) -> Event {
    Event::Data {
        stream,
        payload: BytesMut::from(payload),
        last: true,
    }
}

#[test]
fn captured_v5_server_frames_decode() {
    let frames = [
        &b"\x82\x01\x01"[..],
        b"\x82\x06\x01hello",
        b"\x82\x23\x03{\"metadata\":{},\"status\":\"Success\"}",
        b"\x88\x02\x03\xe8",
    ]
    .concat();
    let events = three_feeds(|| pair(Subprotocol::V5).0, &frames).unwrap();
    assert_eq!(
        events,
        [
            data(Stream::Stdout, b"hello"),
            data(Stream::Error, br#"{"metadata":{},"status":"Success"}"#),
            Event::Close { code: 1000 },
        ]
    );
}

#[test]
fn a_client_says_stdin_resize_and_the_end_of_stdin_once() {
    let (mut client, _) = pair(Subprotocol::V5);
    let mut out = Outbox::new();
    client
        .send(Stream::Stdin, BytesMut::from(&b"abc"[..]), &mut out)
        .unwrap();
    client.resize(80, 24, &mut out).unwrap();
    client.close_stream(Stream::Stdin, &mut out).unwrap();
    client.close_stream(Stream::Stdin, &mut out).unwrap();
    let late = client.send(Stream::Stdin, BytesMut::from(&b"x"[..]), &mut out);
    assert_eq!(late, Err(Misuse::Closed));
    let events = three_feeds(|| pair(Subprotocol::V5).1, &wire(&out)).unwrap();
    assert_eq!(
        events,
        [
            data(Stream::Stdin, b"abc"),
            data(Stream::Resize, b"{\"Width\":80,\"Height\":24}\n"),
            Event::StreamClosed {
                stream: Stream::Stdin
            },
        ]
    );
}

#[test]
fn older_subprotocols_cannot_close_a_stream() {
    for subprotocol in [Subprotocol::V1, Subprotocol::V1Base64, Subprotocol::V4] {
        let (mut client, _) = pair(subprotocol);
        let closed = client.close_stream(Stream::Stdin, &mut Outbox::new());
        assert_eq!(closed, Err(Misuse::Unsupported));
    }
}

#[test]
fn base64_messages_match_the_captured_ones_and_round_trip() {
    let (mut client, mut server) = pair(Subprotocol::V4Base64);
    let mut out = Outbox::new();
    server
        .send(Stream::Stdout, BytesMut::new(), &mut out)
        .unwrap();
    server
        .send(Stream::Stdout, BytesMut::from(&b"hi\n"[..]), &mut out)
        .unwrap();
    assert_eq!(&wire(&out)[..], b"\x81\x011\x81\x051aGkK");
    let mut out = Outbox::new();
    client
        .send(Stream::Stdin, BytesMut::from(&b"\x00\xff"[..]), &mut out)
        .unwrap();
    let events = three_feeds(|| pair(Subprotocol::V4Base64).1, &wire(&out)).unwrap();
    assert_eq!(events, [data(Stream::Stdin, b"\x00\xff")]);
}

/// A frame as a client would mask it with zeros.
fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![
        0x80 | kind,
        0x80 | u8::try_from(payload.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn what_breaks_the_protocol_is_named() {
    let v5 = || pair(Subprotocol::V5).1;
    for signal in [&b"\xff"[..], b"\xff\x05", b"\xff\x00\x00"] {
        assert_eq!(
            three_feeds(v5, &masked(2, signal)),
            Err(Error::CloseSignal),
            "{signal:?}"
        );
    }
    let base64 = || pair(Subprotocol::V1Base64).1;
    assert_eq!(three_feeds(base64, &masked(1, b"0!!")), Err(Error::Base64));
    let client = || pair(Subprotocol::V5).0;
    assert_eq!(three_feeds(client, b"\x81\x02\x01x"), Err(Error::Text));
}

#[test]
fn unknown_channels_and_empty_messages_mean_nothing() {
    let frames = [
        masked(2, b"\x09later"),
        masked(2, b""),
        masked(2, b"\x00"),
        masked(1, b"\x00text is taken as well"),
    ]
    .concat();
    let events = three_feeds(|| pair(Subprotocol::V4).1, &frames).unwrap();
    assert_eq!(events, [data(Stream::Stdin, b"text is taken as well")]);
}

/// Events of `pieces`, each of which may be taken in runs of `payload_max` bytes.
fn runs(mut channels: Channels, bytes: &[u8], payload_max: usize) -> Vec<Event> {
    let mut input = BytesMut::from(bytes);
    let mut events = Vec::new();
    let mut out = Outbox::new();
    while let Some(event) = channels.receive(&mut input, payload_max, &mut out).unwrap() {
        events.push(event);
    }
    events
}

#[test]
fn a_run_is_never_longer_than_the_caller_has_room_for() {
    let frames = b"\x82\x06\x01hello\x82\x05\x02worl";
    for payload_max in 1..8 {
        let mut text = Vec::new();
        for event in runs(pair(Subprotocol::V5).0, frames, payload_max) {
            let Event::Data { payload, .. } = event else {
                panic!("only data was sent");
            };
            assert!(!payload.is_empty() && payload.len() <= payload_max);
            text.extend_from_slice(&payload);
        }
        assert_eq!(text, b"helloworl");
    }
}

#[test]
fn a_caller_without_room_gets_what_needs_none_and_loses_nothing() {
    let (mut client, _) = pair(Subprotocol::V5);
    let mut out = Outbox::new();
    let frames = b"\x82\x01\x01\x82\x07\x09nobody\x89\x00\x82\x06\x01hello\x88\x02\x03\xe8";
    let mut input = BytesMut::from(&frames[..]);
    assert_eq!(
        client.receive(&mut input, 0, &mut out),
        Ok(Some(Event::Ping))
    );
    assert_eq!(client.receive(&mut input, 0, &mut out), Ok(None));
    assert_eq!(client.receive(&mut input, 0, &mut out), Ok(None));
    assert_eq!(&input[..5], b"hello");
    let hello = client.receive(&mut input, 5, &mut out);
    assert_eq!(hello, Ok(Some(data(Stream::Stdout, b"hello"))));
    let close = client.receive(&mut input, 0, &mut out);
    assert_eq!(close, Ok(Some(Event::Close { code: 1000 })));
}

#[test]
fn fragments_of_a_message_are_one_message_and_empty_ones_say_nothing() {
    let client = || pair(Subprotocol::V5).0;
    // 03 alone, "{}" behind it, then an empty final fragment.
    let status = b"\x02\x01\x03\x00\x02{}\x80\x00";
    let events = runs(client(), status, 64);
    let first = Event::Data {
        stream: Stream::Error,
        payload: BytesMut::from("{}"),
        last: false,
    };
    assert_eq!(events, [first, data(Stream::Error, b"")]);
    // The ready marker in three fragments is still no output.
    assert_eq!(runs(client(), b"\x02\x00\x00\x01\x01\x80\x00", 64), []);
    // The next message stands for itself.
    let next = b"\x02\x02\x02a\x80\x00\x82\x02\x01b";
    assert_eq!(
        runs(client(), next, 64).last(),
        Some(&data(Stream::Stdout, b"b"))
    );
}

#[test]
fn an_error_sticks() {
    let (mut client, _) = pair(Subprotocol::V4);
    let mut out = Outbox::new();
    let mut input = BytesMut::from(&b"\x81\x02\x01x\x82\x02\x01y"[..]);
    for _ in 0..3 {
        assert_eq!(client.receive(&mut input, 64, &mut out), Err(Error::Text));
    }
    assert!(out.is_empty(), "the caller chooses how to leave");
    assert_eq!(Error::Text.close_code(), 1002);
}

#[test]
fn a_close_signal_in_pieces_is_understood_and_older_servers_know_none() {
    let signal = [
        &b"\x02\x81\0\0\0\0\xff"[..],
        b"\x00\x80\0\0\0\0",
        b"\x80\x81\0\0\0\0\x00",
    ]
    .concat();
    let closed = Event::StreamClosed {
        stream: Stream::Stdin,
    };
    assert_eq!(
        three_feeds(|| pair(Subprotocol::V5).1, &signal),
        Ok(vec![closed])
    );
    assert_eq!(
        runs(pair(Subprotocol::V5).1, &signal, 0).len(),
        1,
        "it needs no room"
    );
    for older in [Subprotocol::V4, Subprotocol::V1] {
        assert_eq!(three_feeds(|| pair(older).1, &signal), Ok(vec![]));
    }
}

#[test]
fn a_base64_message_has_a_bound() {
    let mut frame = vec![0x81, 0xFF];
    frame.extend_from_slice(&(BASE64_MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.push(b'0');
    frame.extend(std::iter::repeat_n(b'A', BASE64_MESSAGE_BYTES_MAX));
    let (_, mut server) = pair(Subprotocol::V4Base64);
    let (mut input, mut out) = (BytesMut::from(frame.as_slice()), Outbox::new());
    let refused = server.receive(&mut input, 64, &mut out);
    assert_eq!(refused, Err(Error::Base64TooLong));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Both directions, all subprotocols: what is sent arrives, however the bytes are cut.
    #[test]
    fn what_one_half_sends_the_other_receives_in_every_cut(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..2000)), 0..8),
        subprotocol in prop::sample::select(vec![Subprotocol::V1, Subprotocol::V4, Subprotocol::V4Base64, Subprotocol::V5]),
        from_client in any::<bool>(),
        step in 1_usize..900,
    ) {
        let (client, server) = pair(subprotocol);
        let (mut sender, receiver) = if from_client { (client, server) } else { (server, client) };
        let mut out = Outbox::new();
        let mut expected = Vec::new();
        for (second, payload) in messages {
            let stream = match (from_client, second) {
                (true, false) => Stream::Stdin,
                (true, true) => Stream::Resize,
                (false, false) => Stream::Stdout,
                (false, true) => Stream::Stderr,
            };
            sender.send(stream, BytesMut::from(payload.as_slice()), &mut out).unwrap();
            expected.push(data(stream, &payload));
        }
        prop_assert_eq!(feed(receiver, &wire(&out), step), Ok(expected));
    }

    #[test]
    fn noise_never_panics_and_is_judged_alike_in_every_feed(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
        subprotocol in prop::sample::select(vec![Subprotocol::V1Base64, Subprotocol::V4, Subprotocol::V5]),
    ) {
        let frames: Vec<u8> = payloads.iter().flat_map(|payload| masked(2, payload)).collect();
        let whole = feed(pair(subprotocol).1, &frames, frames.len());
        prop_assert_eq!(feed(pair(subprotocol).1, &frames, 1), whole);
    }
}
