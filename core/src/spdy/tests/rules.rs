//! Rules of a connection one by one: what is sent, what is refused, and what is bounded.

use super::super::Misuse;
use super::super::frame::{goaway, ping, syn_stream as frame_of};
use super::super::headers::Encoder;
use super::*;

fn take(out: &mut Outbox) -> Vec<u8> {
    let bytes = wire(out);
    out.advance(bytes.len());
    bytes
}

/// A server half that opened and answered the first `count` streams client-go opens.
fn server(count: usize) -> (Spdy, Outbox) {
    let (mut spdy, mut out) = (Spdy::server(), Outbox::new());
    let mut input = BytesMut::from(hex(&CLIENT[..count]).as_slice());
    while let Some(event) = spdy.receive(&mut input, 64, &mut out).unwrap() {
        if let Event::Opened { id, .. } = event {
            spdy.reply(id, &mut out).unwrap();
        }
    }
    take(&mut out);
    (spdy, out)
}

#[test]
fn what_a_client_sends_is_what_client_go_sends() {
    let (mut spdy, mut out) = (client(), Outbox::new());
    spdy.send(3, BytesMut::from("abc"), false, &mut out)
        .unwrap();
    assert_eq!(take(&mut out), hex(&["0000000300000003616263"]));
    spdy.send(3, BytesMut::new(), true, &mut out).unwrap();
    assert_eq!(take(&mut out), hex(&["0000000301000000"]));
    spdy.send(1, BytesMut::new(), false, &mut out).unwrap();
    assert!(out.is_empty(), "an empty payload without FIN says nothing");
    spdy.reset(1, status::CANCEL, &mut out).unwrap();
    assert_eq!(take(&mut out), hex(&["80030003000000080000000100000005"]));
    let mark = out.written() + 12;
    assert_eq!(spdy.ping(&mut out), Ok(mark));
    spdy.ping(&mut out).unwrap();
    assert_eq!(take(&mut out), [ping(1), ping(3)].concat());
    spdy.goaway(&mut out).unwrap();
    assert_eq!(
        take(&mut out),
        goaway(0),
        "a client saw no stream of its peer's"
    );
}

#[test]
fn a_servers_goodbye_names_the_last_stream_it_saw() {
    let (mut spdy, mut out) = server(3);
    spdy.goaway(&mut out).unwrap();
    assert_eq!(take(&mut out), hex(&["80030007000000080000000500000000"]));
}

#[test]
fn a_ping_overtakes_payload_that_waits() {
    let (mut spdy, mut out) = (client(), Outbox::new());
    spdy.send(3, BytesMut::from("abc"), false, &mut out)
        .unwrap();
    assert_eq!(spdy.ping(&mut out), Ok(12));
    assert!(wire(&out).starts_with(&ping(1)));
}

#[test]
fn a_large_payload_is_not_copied_and_arrives_in_runs_the_caller_has_room_for() {
    let (mut sender, mut out) = (client(), Outbox::new());
    let payload = BytesMut::from([7_u8; 5000].as_slice());
    sender.send(3, payload, true, &mut out).unwrap();
    let chunks: Vec<usize> = out.chunks().map(<[u8]>::len).collect();
    assert_eq!(chunks, [8, 5000]);
    let mut input = BytesMut::from(take(&mut out).as_slice());
    let (mut receiver, mut out) = server(2);
    assert_eq!(receiver.receive(&mut input, 0, &mut out), Ok(None));
    let mut runs = Vec::new();
    while let Some(event) = receiver.receive(&mut input, 2048, &mut out).unwrap() {
        let Event::Data { payload, fin, .. } = event else {
            panic!("only data was sent");
        };
        runs.push((payload.len(), fin));
    }
    assert_eq!(runs, [(2048, false), (2048, false), (904, true)]);
}

#[test]
fn nothing_behind_a_goodbye_is_read() {
    let mut bytes = hex(SERVER);
    let (events, error) = three_feeds(client, &bytes);
    bytes.extend_from_slice(b"\xFF\xFF and no SPDY at all");
    assert_eq!(three_feeds(client, &bytes), (events, error));
}

#[test]
fn streams_beyond_the_bound_are_refused() {
    let (mut spdy, mut out) = (Spdy::server(), Outbox::new());
    let mut encoder = Encoder::default();
    let mut opened = 0;
    for index in 0..u32::try_from(limits::SPDY_STREAMS_MAX).unwrap() + 5 {
        let frame = frame_of(index * 2 + 1, &encoder.encode(&[("streamtype", "stdout")]));
        let mut input = BytesMut::from(frame.as_ref());
        while spdy.receive(&mut input, 64, &mut out).unwrap().is_some() {
            opened += 1;
        }
    }
    assert_eq!(opened, limits::SPDY_STREAMS_MAX);
    assert_eq!(
        out.len(),
        5 * 16,
        "one RST_STREAM for each that was too many"
    );
    assert!(wire(&out).ends_with(&[0, 0, 0, 3]), "REFUSED_STREAM");
}

#[test]
fn streams_that_cannot_be_read_or_are_pushed_at_a_client_are_refused() {
    let (mut spdy, mut out) = server(1);
    spdy.drop_inflater();
    let mut input = BytesMut::from(hex(&CLIENT[1..2]).as_slice());
    assert_eq!(spdy.receive(&mut input, 64, &mut out), Ok(None));
    assert_eq!(take(&mut out), hex(&["80030003000000080000000300000003"]));

    let pushed = frame_of(2, &Encoder::default().encode(&[("streamtype", "stdin")]));
    let mut input = BytesMut::from(pushed.as_ref());
    assert_eq!(client().receive(&mut input, 64, &mut out), Ok(None));
    assert_eq!(take(&mut out), hex(&["80030003000000080000000200000003"]));
}

#[test]
fn an_even_stream_id_is_reset() {
    let frame = frame_of(8, &Encoder::default().encode(&[("streamtype", "stdin")]));
    let (mut spdy, mut out) = (Spdy::server(), Outbox::new());
    let mut input = BytesMut::from(frame.as_ref());
    assert_eq!(spdy.receive(&mut input, 64, &mut out), Ok(None));
    assert_eq!(take(&mut out), hex(&["80030003000000080000000800000001"]));
}

#[test]
fn data_before_the_reply_and_behind_the_end_is_dropped() {
    let mut spdy = Spdy::server();
    let mut out = Outbox::new();
    let mut early = hex(&CLIENT[..1]);
    early.extend(hex(&["000000010000000568656c6c6f"]));
    let mut input = BytesMut::from(early.as_slice());
    assert!(spdy.receive(&mut input, 64, &mut out).unwrap().is_some());
    assert_eq!(
        spdy.receive(&mut input, 64, &mut out),
        Ok(None),
        "as Go does"
    );
    assert!(input.is_empty());

    let late = hex(&["00000001010000026f6b", "000000010000000568656c6c6f"]);
    let (mut spdy, mut out) = server(1);
    let mut input = BytesMut::from(late.as_slice());
    let last = spdy.receive(&mut input, 64, &mut out);
    assert_eq!(last, Ok(Some(data(1, b"ok", true))));
    assert_eq!(spdy.receive(&mut input, 64, &mut out), Ok(None));
}

#[test]
fn a_stream_reset_here_is_silent_at_once_even_inside_a_frame() {
    let (mut spdy, mut out) = (client(), Outbox::new());
    let frame = hex(&["000000050000000568656c6c6f", "0000000500000001", "78"]);
    let mut input = BytesMut::from(frame.as_slice());
    let run = spdy.receive(&mut input, 2, &mut out);
    assert_eq!(run, Ok(Some(data(5, b"he", false))));
    spdy.reset(5, status::CANCEL, &mut out).unwrap();
    assert_eq!(spdy.receive(&mut input, 2, &mut out), Ok(None));
    assert!(input.is_empty());
}

/// On a stream that is gone the peer may not have heard of its end; one that never was is a lie.
#[test]
fn data_on_a_stream_that_never_was_is_refused_before_any_of_it_is_held() {
    for frame in ["0000006300ffffff", "0000000200000001"] {
        let refused = (vec![], Some(Error::UnknownStream));
        assert_eq!(three_feeds(client, &hex(&[frame])), refused, "{frame}");
    }
    let (mut spdy, mut out) = (client(), Outbox::new());
    spdy.reset(5, status::CANCEL, &mut out).unwrap();
    let mut input = BytesMut::from(hex(&["0000000500ffffff"]).as_slice());
    for _ in 0..255 {
        input.resize(65536, 0);
        assert_eq!(spdy.receive(&mut input, 1, &mut out), Ok(None));
        assert!(input.is_empty());
    }
}

#[test]
fn a_stream_answered_twice_is_refused() {
    let (mut spdy, mut out) = (Spdy::server(), Outbox::new());
    let mut asked = Outbox::new();
    let mut asking = Spdy::client();
    let id = asking.open("error", &mut asked).unwrap();
    let mut input = BytesMut::from(wire(&asked).as_slice());
    spdy.receive(&mut input, 64, &mut out).unwrap();
    spdy.reply(id, &mut out).unwrap();
    let reply = wire(&out);
    let mut input = BytesMut::from([reply.as_slice(), &reply].concat().as_slice());
    let first = asking.receive(&mut input, 64, &mut asked);
    assert_eq!(first, Ok(Some(Event::Replied { id, fin: false })));
    let second = asking.receive(&mut input, 64, &mut asked);
    assert_eq!(second, Err(Error::RepliedTwice));
}

/// §2.6.8, per stream and for the whole connection; what was sent counts against what is granted.
#[test]
fn a_window_beyond_31_bits_is_refused() {
    for id in ["00000000", "00000005"] {
        let update = |bytes: u32| format!("8003000900000008{id}{bytes:08x}");
        let room = u32::try_from(i32::MAX).unwrap() - 64 * 1024;
        let fits = update(room);
        assert_eq!(three_feeds(client, &hex(&[&fits])), (vec![], None));
        let over = hex(&[&fits, &update(1)]);
        let refused = (vec![], Some(Error::WindowOverflow));
        assert_eq!(three_feeds(client, &over), refused, "{id}");

        let (mut spdy, mut out) = (client(), Outbox::new());
        spdy.send(5, BytesMut::from(&b"x"[..]), false, &mut out)
            .unwrap();
        let mut input = BytesMut::from(over.as_slice());
        assert_eq!(spdy.receive(&mut input, 64, &mut out), Ok(None));
    }
}

#[test]
fn frames_about_streams_that_are_gone_mean_nothing() {
    let noise = hex(&[
        "80030008000000040000000a",         // HEADERS without a block
        "80030002000000040000006f",         // SYN_REPLY of a stream that never was
        "80030003000000080000006f00000005", // RST_STREAM likewise
    ]);
    assert_eq!(three_feeds(client, &noise), (vec![], None));
}

#[test]
fn a_truncated_header_block_is_an_error_once_its_frame_is_over() {
    let in_two_feeds = |bytes: &[u8]| {
        let whole = feed(Spdy::server(), bytes, bytes.len(), 64);
        assert_eq!(feed(Spdy::server(), bytes, 1, 64), whole);
        whole
    };
    let mut frame = hex(&CLIENT[..1]);
    let under_way = &frame[..frame.len() - 1];
    assert_eq!(in_two_feeds(under_way), (vec![], None));
    frame.truncate(frame.len() - 12);
    frame[7] = u8::try_from(frame.len() - 8).unwrap();
    let refused = (vec![], Some(Error::HeaderBlock));
    assert_eq!(in_two_feeds(&frame), refused);
}

#[test]
fn an_error_sticks_and_is_not_answered() {
    let (mut spdy, mut out) = (Spdy::server(), Outbox::new());
    let mut input = BytesMut::from(hex(&["8003000a00000000"]).as_slice());
    assert_eq!(
        spdy.receive(&mut input, 64, &mut out),
        Err(Error::FrameType(10))
    );
    let mut input = BytesMut::from(ping(1).as_ref());
    assert_eq!(
        spdy.receive(&mut input, 64, &mut out),
        Err(Error::FrameType(10))
    );
    assert!(out.is_empty());
}

#[test]
fn a_flood_of_pings_cannot_fill_the_outbox() {
    let (mut spdy, mut out) = (Spdy::server(), Outbox::new());
    let mut input = BytesMut::from(ping(1).repeat(10_000).as_slice());
    while spdy.receive(&mut input, 64, &mut out).unwrap().is_some() {}
    assert_eq!(out.len(), 12 * limits::SPDY_REPLIES_MAX);
    take(&mut out);
    let mut input = BytesMut::from(ping(1).as_ref());
    spdy.receive(&mut input, 64, &mut out).unwrap();
    assert_eq!(
        take(&mut out),
        ping(1),
        "a peer that reads is answered again"
    );
}

#[test]
fn calls_we_must_not_make_are_refused() {
    let mut out = Outbox::new();
    let mut spdy = Spdy::server();
    assert_eq!(spdy.open("error", &mut out), Err(Misuse::WrongRole));
    assert_eq!(spdy.reply(1, &mut out), Err(Misuse::UnknownStream));
    let mut input = BytesMut::from(hex(&CLIENT[..1]).as_slice());
    spdy.receive(&mut input, 64, &mut out).unwrap();
    let early = spdy.send(1, BytesMut::from("x"), false, &mut out);
    assert_eq!(early, Err(Misuse::NotReplied));
    spdy.reply(1, &mut out).unwrap();
    assert_eq!(spdy.reply(1, &mut out), Err(Misuse::RepliedTwice));

    let mut spdy = client();
    assert_eq!(spdy.reply(1, &mut out), Err(Misuse::WrongRole));
    assert_eq!(spdy.open("std in", &mut out), Err(Misuse::StreamType));
    let unknown = spdy.send(99, BytesMut::new(), true, &mut out);
    assert_eq!(unknown, Err(Misuse::UnknownStream));
    assert_eq!(spdy.reset(1, 0, &mut out), Err(Misuse::ResetStatusZero));
    spdy.send(3, BytesMut::new(), true, &mut out).unwrap();
    let late = spdy.send(3, BytesMut::from("x"), false, &mut out);
    assert_eq!(late, Err(Misuse::StreamEnded));
    assert!(spdy.is_ended_here(3) && !spdy.is_ended_by_peer(3));
    spdy.reset(3, status::CANCEL, &mut out).unwrap();
    assert_eq!(
        spdy.reset(3, status::CANCEL, &mut out),
        Err(Misuse::StreamEnded)
    );
    while spdy.open("stdout", &mut out).is_ok() {}
    assert_eq!(spdy.open("stdout", &mut out), Err(Misuse::TooManyStreams));
    spdy.goaway(&mut out).unwrap();
    assert_eq!(spdy.ping(&mut out), Err(Misuse::GoawaySent));
}
