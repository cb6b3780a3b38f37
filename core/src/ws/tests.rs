//! Both roles against the rules, and against each other.

use proptest::prelude::*;

use super::header::{Header, Opcode};
use super::*;
use crate::outbox::Outbox;

const MAX: u64 = 1 << 20;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a conversation amounts to, however it was cut into runs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(u16),
}

/// Everything one feed brought: whole messages and control frames in order, the bytes of an
/// unfinished message, the error, and what was answered.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    seen: Vec<Seen>,
    unfinished: Vec<u8>,
    error: Option<Error>,
    answered: Vec<u8>,
}

struct Listener {
    socket: WebSocket,
    input: BytesMut,
    out: Outbox,
    payload_max: usize,
    is_open: bool,
    heard: Heard,
}

impl Listener {
    fn new(socket: WebSocket, payload_max: usize) -> Self {
        let heard = Heard {
            seen: Vec::new(),
            unfinished: Vec::new(),
            error: None,
            answered: Vec::new(),
        };
        Self {
            socket,
            input: BytesMut::new(),
            out: Outbox::new(),
            payload_max,
            is_open: false,
            heard,
        }
    }

    /// Offers more bytes, takes all events, and lets the socket take what was answered.
    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            match self
                .socket
                .receive(&mut self.input, self.payload_max, &mut self.out)
            {
                Ok(Some(event)) => self.note(event),
                Ok(None) => break,
                Err(error) => {
                    self.heard.error = Some(error);
                    break;
                }
            }
            self.heard.answered.extend(drain(&mut self.out));
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Data {
                kind,
                payload,
                first,
                last,
            } => {
                assert!(
                    payload.len() <= self.payload_max,
                    "a run respects the caller's room"
                );
                assert_eq!(first, !self.is_open, "exactly the first run says so");
                assert!(
                    last || !payload.is_empty(),
                    "an empty run only ends a message"
                );
                self.heard.unfinished.extend_from_slice(&payload);
                self.is_open = !last;
                if last {
                    let message = core::mem::take(&mut self.heard.unfinished);
                    self.heard.seen.push(Seen::Message(kind, message));
                }
            }
            Event::Ping => self.heard.seen.push(Seen::Ping),
            Event::Pong { payload } => self.heard.seen.push(Seen::Pong(payload.to_vec())),
            Event::Close { code } => self.heard.seen.push(Seen::Close(code)),
        }
    }
}

fn drain(out: &mut Outbox) -> Vec<u8> {
    let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    out.advance(bytes.len());
    bytes
}

/// Which machine listens; its peer has the other role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Side {
    fn socket(self) -> WebSocket {
        match self {
            Self::Client => WebSocket::client([7; 32], MAX),
            Self::Server => WebSocket::server(MAX),
        }
    }

    /// One frame as this side's peer sends it.
    fn peer_frame(self, is_final: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mask = (self == Self::Server).then_some(KEY);
        let mut frame = Vec::new();
        Header {
            is_final,
            opcode,
            mask,
            len: payload.len() as u64,
        }
        .encode(&mut frame);
        let at = frame.len();
        frame.extend_from_slice(payload);
        if let Some(key) = mask {
            mask::apply(key, 0, &mut frame[at..]);
        }
        frame
    }
}

/// The three feeds of whole frames: whole, byte by byte, and whole with the begin of another frame
/// behind it. All must tell the same story; the third must leave the begun frame alone.
fn hear(side: Side, bytes: &[u8]) -> Heard {
    let heard = hear_twice(side, bytes);
    let mut trailing = Listener::new(side.socket(), usize::MAX);
    trailing.feed(&[bytes, &[0x82]].concat());
    assert_eq!(heard, trailing.heard, "whole and whole with more behind it");
    if heard.error.is_none() && !trailing.socket.is_close_received() {
        assert_eq!(&trailing.input[..], &[0x82]);
    }
    heard
}

/// The first two feeds, for bytes that may end inside a frame.
fn hear_twice(side: Side, bytes: &[u8]) -> Heard {
    let mut whole = Listener::new(side.socket(), usize::MAX);
    whole.feed(bytes);
    let mut single = Listener::new(side.socket(), usize::MAX);
    for byte in bytes {
        single.feed(&[*byte]);
    }
    if single.heard.error.is_some() {
        // Byte by byte, the good bytes before a bad one are passed on first.
        assert!(single.heard.unfinished.starts_with(&whole.heard.unfinished));
        single.heard.unfinished.clone_from(&whole.heard.unfinished);
    }
    assert_eq!(whole.heard, single.heard, "whole and byte by byte");
    whole.heard
}

fn hear_frames(side: Side, frames: &[(bool, Opcode, &[u8])]) -> Heard {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|(fin, opcode, data)| side.peer_frame(*fin, *opcode, data))
        .collect();
    hear(side, &bytes)
}

const TEXT: Opcode = Opcode::Data(Kind::Text);
const BINARY: Opcode = Opcode::Data(Kind::Binary);
const CONTINUATION: Opcode = Opcode::Continuation;
const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// RFC 6455 §5.7: the example frames, from the bytes printed there.
#[test]
fn the_rfcs_example_frames_are_understood() {
    let hello = || Seen::Message(Kind::Text, b"Hello".to_vec());
    let unmasked = hear(Side::Client, &[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(unmasked.seen, [hello()]);
    let masked = hear(
        Side::Server,
        &[
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ],
    );
    assert_eq!(masked.seen, [hello()]);
    let fragmented = hear(
        Side::Client,
        &[0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f],
    );
    assert_eq!(fragmented.seen, [hello()]);
    let pinged = hear(Side::Client, &[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(pinged.seen, [Seen::Ping]);
    let mut ponged = Listener::new(Side::Server.socket(), 1);
    ponged.feed(&pinged.answered);
    assert_eq!(ponged.heard.seen, [Seen::Pong(b"Hello".to_vec())]);
}

/// RFC 6455 §5.4: control frames may stand between fragments and do not disturb the message.
#[test]
fn control_frames_between_fragments_are_served_at_once() {
    for side in SIDES {
        let heard = hear_frames(
            side,
            &[
                (false, BINARY, b"ab"),
                (true, Opcode::Ping, b"1"),
                (false, CONTINUATION, b""),
                (true, Opcode::Pong, b"2"),
                (true, CONTINUATION, b"cd"),
            ],
        );
        let message = Seen::Message(Kind::Binary, b"abcd".to_vec());
        assert_eq!(heard.seen, [Seen::Ping, Seen::Pong(b"2".to_vec()), message]);
        assert!(heard.answered.len() >= 3 && heard.answered[0] == 0x8a);
    }
}

/// RFC 6455 §5.4: empty messages and empty fragments are legal; a message is announced once.
#[test]
fn empty_messages_and_empty_fragments_are_one_event() {
    for side in SIDES {
        let heard = hear_frames(
            side,
            &[
                (true, TEXT, b""),
                (false, BINARY, b""),
                (false, CONTINUATION, b""),
                (true, CONTINUATION, b""),
                (false, BINARY, b"x"),
                (true, CONTINUATION, b""),
            ],
        );
        assert_eq!(heard.error, None);
        assert_eq!(
            heard.seen,
            [
                Seen::Message(Kind::Text, vec![]),
                Seen::Message(Kind::Binary, vec![]),
                Seen::Message(Kind::Binary, b"x".to_vec()),
            ]
        );
    }
}

/// RFC 6455 §5.4: continuations need a begun message, new messages need a finished one.
#[test]
fn fragments_out_of_order_are_refused() {
    for side in SIDES {
        let orphan = hear_frames(side, &[(true, CONTINUATION, b"x")]);
        assert_eq!(orphan.error, Some(Error::NothingToContinue));
        let after = hear_frames(side, &[(true, TEXT, b"x"), (false, CONTINUATION, b"x")]);
        assert_eq!(after.error, Some(Error::NothingToContinue));
        let nested = hear_frames(side, &[(false, TEXT, b"x"), (true, BINARY, b"y")]);
        assert_eq!(nested.error, Some(Error::MessageUnfinished));
    }
}

/// RFC 6455 §5.1: the mask bit must fit the sender's role, also on control frames.
#[test]
fn frames_masked_for_the_wrong_role_are_refused() {
    for opcode in [TEXT, Opcode::Ping, Opcode::Close] {
        let masked = Side::Server.peer_frame(true, opcode, b"");
        assert_eq!(hear(Side::Client, &masked).error, Some(Error::Masked));
        let unmasked = Side::Client.peer_frame(true, opcode, b"");
        assert_eq!(hear(Side::Server, &unmasked).error, Some(Error::Unmasked));
    }
}

/// RFC 6455 §8.1: a text message is failed at the byte that cannot be UTF-8, before its end comes.
#[test]
fn text_that_is_not_utf8_is_refused_before_the_message_ends() {
    for side in SIDES {
        let heard = hear_frames(
            side,
            &[(false, TEXT, b"ok \xce"), (false, CONTINUATION, b"\x20")],
        );
        assert_eq!(heard.error, Some(Error::NotUtf8));
        let cut = hear_frames(side, &[(true, TEXT, b"\xf0\x9f\x90")]);
        assert_eq!(cut.error, Some(Error::NotUtf8));
        // A header that promises more: the bad byte alone suffices.
        let mut begun = side.peer_frame(true, TEXT, b"\xff and more");
        begun.truncate(begun.len() - 8);
        assert_eq!(hear(side, &begun).error, Some(Error::NotUtf8));
        let split = hear_frames(
            side,
            &[
                (false, TEXT, b"\xf0\x9f"),
                (true, CONTINUATION, b"\x90\x8b"),
            ],
        );
        assert_eq!(split.seen, [Seen::Message(Kind::Text, "\u{1f40b}".into())]);
        let binary = hear_frames(side, &[(true, BINARY, b"\xff")]);
        assert_eq!(binary.error, None);
        assert_eq!(Error::NotUtf8.close_code(), 1007);
    }
}

/// RFC 6455 §7.4.1: 1009 as soon as headers promise too much, over all fragments together.
#[test]
fn a_message_is_refused_when_its_headers_promise_more_than_the_limit() {
    let mut socket = WebSocket::client([0; 32], 10);
    let mut input = BytesMut::from(&[0x02, 6, 1, 2, 3, 4, 5, 6, 0x80, 5][..]);
    let mut out = Outbox::new();
    let event = socket.receive(&mut input, 64, &mut out).unwrap().unwrap();
    assert!(matches!(
        event,
        Event::Data {
            first: true,
            last: false,
            ..
        }
    ));
    for _ in 0..2 {
        let error = socket.receive(&mut input, 64, &mut out).unwrap_err();
        assert_eq!(error, Error::MessageTooLarge, "and the error sticks");
        assert_eq!(error.close_code(), 1009);
    }
    assert!(out.is_empty(), "a violation queues nothing");
    socket.close(1009, "", &mut out).unwrap();
    assert!(!out.is_empty(), "the caller closes with the error's code");
    // The limit itself passes, and counts anew with each message.
    let mut socket = WebSocket::client([0; 32], 10);
    let mut input = BytesMut::new();
    for _ in 0..3 {
        input.extend_from_slice(&[0x82, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(socket.receive(&mut input, 64, &mut out).unwrap().is_some());
    }
}

/// RFC 6455 §5.2: lengths up to 63 bits are legal; none of it is reserved in advance.
#[test]
fn a_huge_promised_length_reserves_nothing() {
    let mut socket = WebSocket::client([0; 32], u64::MAX);
    let mut out = Outbox::new();
    let mut input = BytesMut::from(
        &[
            0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255, b'a', b'b',
        ][..],
    );
    let before = input.capacity();
    let event = socket.receive(&mut input, 1, &mut out).unwrap().unwrap();
    let Event::Data {
        payload,
        last: false,
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(&payload[..], b"a");
    assert!(payload.capacity() + input.capacity() <= before);
}

/// RFC 6455 §5.5.1: the code travels, its absence is 1005, and later input is discarded.
#[test]
fn a_close_is_reported_and_everything_behind_it_discarded() {
    for side in SIDES {
        let empty = hear_frames(side, &[(true, Opcode::Close, b""), (true, TEXT, b"late")]);
        assert_eq!((empty.seen, empty.error), (vec![Seen::Close(1005)], None));
        let coded = hear_frames(
            side,
            &[(true, Opcode::Close, b"\x0f\xa0bye"), (true, TEXT, b"\xff")],
        );
        assert_eq!((coded.seen, coded.error), (vec![Seen::Close(4000)], None));
        for (body, error) in [
            (&b"\x03"[..], Error::CloseBodyTooShort),
            (&b"\x03\xed"[..], Error::CloseCode(1005)),
            (&b"\x03\xe8\xc0"[..], Error::CloseReasonNotUtf8),
        ] {
            let heard = hear_frames(side, &[(true, Opcode::Close, body)]);
            assert_eq!((heard.seen, heard.error), (vec![], Some(error)));
        }
    }
    assert_eq!(Error::CloseReasonNotUtf8.close_code(), 1007);
    assert_eq!(Error::CloseCode(1005).close_code(), 1002);
}

/// RFC 6455 §5.5.1: one Close, nothing after it; a ping no longer gets an answer.
#[test]
fn nothing_is_sent_after_our_close() {
    for side in SIDES {
        let mut socket = side.socket();
        let mut out = Outbox::new();
        assert_eq!(
            socket.close(1006, "", &mut out),
            Err(Misuse::CloseCode(1006))
        );
        assert_eq!(
            socket.close(1000, &"x".repeat(124), &mut out),
            Err(Misuse::ControlTooLong)
        );
        assert!(
            !socket.is_close_sent() && out.is_empty(),
            "a misuse changes nothing"
        );
        socket.close(1000, &"x".repeat(123), &mut out).unwrap();
        assert!(socket.is_close_sent() && !socket.is_close_received());
        let len = out.len();
        assert_eq!(socket.close(1000, "", &mut out), Err(Misuse::CloseSent));
        assert_eq!(socket.ping(b"", &mut out), Err(Misuse::CloseSent));
        assert_eq!(
            socket.send_urgent(Kind::Text, b"", &mut out),
            Err(Misuse::CloseSent)
        );
        let empty = BytesMut::new();
        assert_eq!(
            socket.send(Kind::Text, b"", empty, &mut out),
            Err(Misuse::CloseSent)
        );
        let mut input = BytesMut::from(&side.peer_frame(true, Opcode::Ping, b"?")[..]);
        assert_eq!(
            socket.receive(&mut input, 1, &mut out),
            Ok(Some(Event::Ping))
        );
        assert_eq!(out.len(), len);
        // Data under way is still passed on until the peer's Close.
        input.extend_from_slice(&side.peer_frame(true, BINARY, b"d"));
        assert!(matches!(
            socket.receive(&mut input, 1, &mut out),
            Ok(Some(Event::Data { .. }))
        ));
    }
}

/// RFC 6455 §5.5.3: while a pong waits for the socket, only the latest ping is owed an answer.
#[test]
fn pongs_are_coalesced_and_the_latest_ping_is_always_answered() {
    let mut socket = WebSocket::server(MAX);
    let mut out = Outbox::new();
    let mut input = BytesMut::new();
    for payload in [b"1", b"2", b"3"] {
        input.extend_from_slice(&Side::Server.peer_frame(true, Opcode::Ping, payload));
    }
    while socket.receive(&mut input, 1, &mut out).unwrap().is_some() {}
    assert_eq!(drain(&mut out), b"\x8a\x011");
    assert_eq!(socket.receive(&mut input, 1, &mut out), Ok(None));
    assert_eq!(drain(&mut out), b"\x8a\x013");
    assert_eq!(socket.receive(&mut input, 1, &mut out), Ok(None));
    assert!(out.is_empty(), "each is answered once");
}

/// RFC 6455 §5.3: every frame a client sends has a key of its own, and a seed replays them.
#[test]
fn a_client_masks_every_frame_with_a_fresh_key() {
    let frames = |seed: u8| -> Vec<u8> {
        let mut socket = WebSocket::client([seed; 32], MAX);
        let mut out = Outbox::new();
        for _ in 0..3 {
            socket
                .send(Kind::Binary, b"", BytesMut::new(), &mut out)
                .unwrap();
        }
        drain(&mut out)
    };
    let keys: Vec<&[u8]> = frames(1)
        .leak()
        .chunks(6)
        .map(|frame| &frame[2..])
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert_eq!(frames(1), frames(1));
    assert_ne!(frames(1), frames(2));
    assert!(
        !format!("{:?}", WebSocket::client([9; 32], 1)).contains('9'),
        "no seed in logs"
    );
}

/// The outbox's order: what is urgent passes what is queued, a Close does not.
#[test]
fn urgent_frames_overtake_queued_data() {
    let mut socket = WebSocket::server(MAX);
    let mut out = Outbox::new();
    socket
        .send(Kind::Binary, b"p", BytesMut::from(&b"data"[..]), &mut out)
        .unwrap();
    assert_eq!(socket.ping(b"hb", &mut out), Ok(4));
    socket.send_urgent(Kind::Text, b"{}", &mut out).unwrap();
    socket.close(1001, "", &mut out).unwrap();
    assert_eq!(
        drain(&mut out),
        b"\x89\x02hb\x81\x02{}\x82\x05pdata\x88\x02\x03\xe9"
    );
    assert_eq!(
        WebSocket::server(1).ping(&[0; 126], &mut out),
        Err(Misuse::ControlTooLong)
    );
    let long = socket.send(Kind::Text, &[0; 9], BytesMut::new(), &mut out);
    assert_eq!(long, Err(Misuse::PrefixTooLong));
}

/// Errors are returned by value on the hot path.
#[test]
fn errors_stay_small() {
    assert!(size_of::<Error>() <= 8 && size_of::<Misuse>() <= 8);
}

/// One message to send: its kind, prefix and payload.
type Sent = (bool, Vec<u8>, Vec<u8>);

fn sent_messages() -> impl Strategy<Value = Vec<Sent>> {
    let payload = prop_oneof![
        "[a-zß𐍈]{0,40}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..60),
        (0_usize..70_000).prop_map(|len| vec![0x61; len]),
    ];
    let prefix = proptest::collection::vec(0_u8..128, 0..=8);
    proptest::collection::vec((any::<bool>(), prefix, payload), 1..5)
}

/// Frames of a peer with fragmentation and control frames in between, good and bad.
fn peer_frames() -> impl Strategy<Value = Vec<(bool, u8, Vec<u8>)>> {
    let payload = prop_oneof![
        "[aß𐍈]{0,9}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..9),
        proptest::collection::vec(any::<u8>(), 120..130),
    ];
    let opcode = prop_oneof![
        Just(0_u8),
        Just(0),
        Just(1),
        Just(2),
        Just(8),
        Just(9),
        Just(10)
    ];
    proptest::collection::vec((any::<bool>(), opcode, payload), 0..8)
}

fn opcode(bits: u8) -> Opcode {
    match bits {
        0 => CONTINUATION,
        1 => TEXT,
        2 => BINARY,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        _ => Opcode::Pong,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// RFC 6455 §5: what one side sends the other receives, in both directions, cut anywhere.
    #[test]
    fn what_one_side_sends_the_other_receives(
        is_client: bool,
        seed: [u8; 32],
        messages in sent_messages(),
        step in 1_usize..5000,
        payload_max in 1_usize..5000,
    ) {
        let (mut sender, receiver) = if is_client {
            (WebSocket::client(seed, MAX), WebSocket::server(MAX))
        } else {
            (WebSocket::server(MAX), WebSocket::client(seed, MAX))
        };
        let mut out = Outbox::new();
        let mut expected = Vec::new();
        for (is_text, prefix, payload) in messages {
            let whole = [&prefix[..], &payload[..]].concat();
            let is_text = is_text && core::str::from_utf8(&whole).is_ok();
            let kind = if is_text { Kind::Text } else { Kind::Binary };
            sender.send(kind, &prefix, BytesMut::from(&payload[..]), &mut out).unwrap();
            expected.push(Seen::Message(kind, whole));
        }
        sender.close(1000, "done", &mut out).unwrap();
        expected.push(Seen::Close(1000));
        let mut listener = Listener::new(receiver, payload_max);
        for cut in drain(&mut out).chunks(step) {
            listener.feed(cut);
        }
        prop_assert_eq!(listener.heard.seen, expected);
        prop_assert_eq!(listener.heard.error, None);
    }

    /// RFC 6455 §5: however the bytes of any peer are cut, the story is the same.
    #[test]
    fn any_split_tells_the_same_story(
        is_server: bool,
        frames in peer_frames(),
        noise in proptest::collection::vec(any::<u8>(), 0..6),
        step in 1_usize..40,
        payload_max in 1_usize..20,
    ) {
        let side = if is_server { Side::Server } else { Side::Client };
        let mut bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(fin, bits, data)| side.peer_frame(*fin, opcode(*bits), data))
            .collect();
        bytes.extend(noise);
        let whole = hear_twice(side, &bytes);
        let mut cut = Listener::new(side.socket(), payload_max);
        for piece in bytes.chunks(step) {
            cut.feed(piece);
        }
        prop_assert_eq!(cut.heard.seen, whole.seen);
        prop_assert_eq!(cut.heard.error, whole.error);
        prop_assert_eq!(cut.heard.answered, whole.answered);
    }

    /// No bytes whatsoever make either side do more than refuse.
    #[test]
    fn arbitrary_bytes_are_refused_or_understood(
        is_server: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let side = if is_server { Side::Server } else { Side::Client };
        let heard = hear_twice(side, &bytes);
        if let Some(error) = heard.error {
            prop_assert!([1002, 1007, 1009].contains(&error.close_code()));
        }
    }
}
