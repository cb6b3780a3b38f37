//! The client half: a captured server's bytes go into our leg, and what our leg says is held
//! against what the captured client said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use periscope_core::channel::status::Outcome;
use periscope_core::channel::{Subprotocol, resize};
use periscope_core::http::{SecretValue, UpgradeRequest, accept_key};
use periscope_core::leg::api::{ApiEvent, ApiLeg, Error, Refused};
use periscope_core::outbox::Outbox;
use periscope_core::refusal::{Answer, Verdict, classify_refusal};
use periscope_core::request::{ExecTarget, exec_target};
use periscope_core::spdy::{self, Spdy};

use super::capture::{Conversation, Head, parse_target};
use super::wire::{self, Cut, FIN, GOAWAY, RST_STREAM, SYN_REPLY, SYN_STREAM, SpdyFrame};

const KEY: [u8; 16] = *b"not a random key";

/// Headers of the captured clients that ours does not send.
const NOT_OURS: [&str; 2] = ["Kubectl-Command", "Kubectl-Session"];

/// What our leg made of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) seen: Vec<Seen>,
    pub(crate) output: Vec<u8>,
    pub(crate) refused: Option<Refused>,
}

/// An event; runs of output count once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Broken(Error),
    Ended,
    Opened,
    Output,
    Refused,
    Status(Outcome),
    Upgraded,
}

/// What a user did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Resize(u16, u16),
    Stdin(Vec<u8>),
    StdinEnd,
}

/// The subprotocol the captured server chose; none means v1.
pub(crate) fn chosen(conversation: &Conversation) -> Subprotocol {
    let name = conversation.response.field("sec-websocket-protocol");
    name.and_then(Subprotocol::parse).unwrap_or(Subprotocol::V1)
}

/// Our leg, asking for what the captured client asked for. `offer` replaces its subprotocols.
pub(crate) fn leg(conversation: &Conversation, offer: Option<&str>) -> ApiLeg {
    let captured = &conversation.request;
    let (path, _) = conversation.target();
    let parts: Vec<&str> = path.split('/').collect();
    let [
        "",
        "api",
        "v1",
        "namespaces",
        namespace,
        "pods",
        pod,
        "exec",
    ] = parts[..]
    else {
        panic!("not an exec path: {path}");
    };
    let target = exec_target(&ExecTarget {
        path_prefix: "",
        namespace,
        pod,
        container: conversation
            .query_values("container")
            .first()
            .map(String::as_str),
        command: &conversation.query_values("command"),
        tty: conversation.asks_for("tty"),
    });
    let headers: Vec<(String, SecretValue)> = ["User-Agent", "Impersonate-User"]
        .into_iter()
        .filter_map(|name| {
            let value = SecretValue::new(captured.field(name)?).unwrap();
            Some((name.to_owned(), value))
        })
        .collect();
    let spdy = conversation.is_spdy();
    let theirs = captured.field("sec-websocket-protocol").unwrap_or_default();
    let offered: Vec<&str> = match offer {
        Some(name) => vec![name],
        None if spdy => vec!["v4.channel.k8s.io"],
        None => theirs.split(", ").filter(|name| !name.is_empty()).collect(),
    };
    let request = UpgradeRequest {
        host: captured.field("host").unwrap(),
        target: &target,
        headers: &headers,
        subprotocols: &offered,
    };
    let tty = conversation.asks_for("tty");
    if spdy {
        ApiLeg::spdy(&request, tty).unwrap()
    } else {
        ApiLeg::websocket(&request, chosen(conversation), tty, KEY, [9; 32]).unwrap()
    }
}

/// The captured server's bytes as it would have sent them to us: with our key's accept value, and
/// with the stdin stream that we always open.
pub(crate) fn server_bytes_for_us(conversation: &Conversation) -> Vec<u8> {
    let mut bytes = conversation.response.bytes.clone();
    if let Some(theirs) = conversation.response.field("sec-websocket-accept") {
        let key = conversation.request.field("sec-websocket-key").unwrap();
        assert_eq!(theirs, accept_key(key), "of the captured key");
        let head = String::from_utf8(bytes).unwrap();
        let ours = accept_key(&STANDARD.encode(KEY));
        bytes = head.replace(theirs, &ours).into_bytes();
    }
    if conversation.is_upgraded() && conversation.is_spdy() && !conversation.asks_for("stdin") {
        bytes.extend(with_stdin_stream(&conversation.server_bytes));
    } else {
        bytes.extend(&conversation.server_bytes);
    }
    bytes
}

/// Moves every stream but the error stream up by one, and adds stdin's reply and reset.
fn with_stdin_stream(bytes: &[u8]) -> Vec<u8> {
    let mut frames = SpdyFrame::split(bytes);
    for frame in frames.iter_mut().filter(|frame| frame.id > 1) {
        frame.id += 2;
    }
    let stdin = |control, rest: &[u8]| SpdyFrame {
        control: Some(control),
        id: 3,
        flags: 0,
        rest: rest.to_vec(),
    };
    let reply = frames.iter().position(|frame| frame.is(SYN_REPLY)).unwrap();
    let block = frames[reply + 1].rest.clone();
    frames.insert(reply + 1, stdin(SYN_REPLY, &block));
    let goaway = frames.iter().position(|frame| frame.is(GOAWAY)).unwrap();
    frames.insert(goaway, stdin(RST_STREAM, &[0, 0, 0, 5]));
    SpdyFrame::join(&frames)
}

/// Feeds the bytes, cut into reads, and then the end of the connection.
pub(crate) fn play(leg: &mut ApiLeg, bytes: &[u8], cut: Cut) -> Transcript {
    let mut transcript = Transcript::default();
    let mut input = BytesMut::new();
    for (piece, room) in cut.pieces(bytes) {
        input.extend_from_slice(piece);
        loop {
            match leg.receive(&mut input, room) {
                Ok(None) => break,
                Ok(Some(event)) => transcript.note(event),
                Err(error) => {
                    transcript.seen.push(Seen::Broken(error));
                    return transcript;
                }
            }
        }
    }
    while let Some(event) = leg.eof(&mut input).unwrap() {
        let is_end = matches!(event, ApiEvent::Ended);
        transcript.note(event);
        if is_end {
            break;
        }
    }
    transcript
}

impl Transcript {
    fn note(&mut self, event: ApiEvent) {
        let seen = match event {
            ApiEvent::Alive => return,
            ApiEvent::Ended => Seen::Ended,
            ApiEvent::Opened => Seen::Opened,
            ApiEvent::Output(payload) => {
                assert!(!payload.is_empty(), "output without a byte");
                self.output.extend_from_slice(&payload);
                Seen::Output
            }
            ApiEvent::Refused(refused) => {
                self.refused = Some(refused);
                Seen::Refused
            }
            ApiEvent::Status(outcome) => Seen::Status(outcome),
            ApiEvent::Upgraded => Seen::Upgraded,
        };
        if seen != Seen::Output || self.seen.last() != Some(&Seen::Output) {
            self.seen.push(seen);
        }
    }

    /// What the refusal means.
    pub(crate) fn verdict(&self) -> Verdict {
        classify_refusal(&match self.refused.as_ref().expect("no refusal") {
            Refused::Answer(refusal) => Answer::Refused {
                status: refusal.status,
                body: &refusal.body,
            },
            Refused::WrongAccept => Answer::WrongAccept,
            Refused::WrongSubprotocol => Answer::WrongSubprotocol,
        })
    }
}

/// What the captured client did with its streams.
pub(crate) fn actions(conversation: &Conversation) -> Vec<Action> {
    if !conversation.is_spdy() {
        let frames = websocket_story(&conversation.client_bytes);
        return frames
            .into_iter()
            .map(|(_, message)| match message.split_first().unwrap() {
                (0, payload) => Action::Stdin(payload.to_vec()),
                (4, payload) => resize_action(payload),
                (0xff, [0]) => Action::StdinEnd,
                other => panic!("unknown message {other:?}"),
            })
            .collect();
    }
    let story = spdy_story(&conversation.client_bytes);
    story
        .into_iter()
        .filter_map(|frame| match (frame.stream.as_str(), frame.payload) {
            (_, Payload::Open(_)) => None,
            ("stdin", Payload::Data(data)) if frame.flags == FIN => {
                assert!(data.is_empty());
                Some(Action::StdinEnd)
            }
            ("stdin", Payload::Data(data)) => Some(Action::Stdin(data)),
            ("resize", Payload::Data(data)) => Some(resize_action(&data)),
            other => panic!("unknown frame {other:?}"),
        })
        .collect()
}

fn resize_action(json: &[u8]) -> Action {
    let size: serde_json::Value = serde_json::from_slice(json).unwrap();
    let side = |name: &str| u16::try_from(size[name].as_u64().unwrap()).unwrap();
    let (cols, rows) = (side("Width"), side("Height"));
    assert_eq!(resize::encode(cols, rows), json, "the captured spelling");
    Action::Resize(cols, rows)
}

/// Takes our leg to the point where it may send, does what the captured user did, and compares
/// every byte that leaves. Differences are those named here and in [`same_request`]: masks, keys,
/// header compression, the stdin stream that we always open, and the farewell (Close, RST, GOAWAY)
/// to a server that has closed its socket by then.
pub(crate) fn says_what_the_client_said(conversation: &Conversation) {
    let mut leg = leg(conversation, None);
    let bytes = server_bytes_for_us(conversation);
    let mut input = BytesMut::new();
    let mut rest = bytes.iter();
    let spdy = conversation.is_spdy();
    while conversation.is_upgraded() {
        match leg.receive(&mut input, 1).unwrap() {
            Some(ApiEvent::Upgraded) if !spdy => break,
            Some(ApiEvent::Opened) => break,
            Some(_) => {}
            None => input.extend_from_slice(&[*rest.next().expect("the streams never opened")]),
        }
    }
    for action in actions(conversation) {
        match action {
            Action::Resize(cols, rows) => leg.resize(cols, rows),
            Action::Stdin(payload) => leg.send_stdin(BytesMut::from(payload.as_slice())),
            Action::StdinEnd => assert!(leg.end_stdin(), "stdin can end"),
        }
    }
    let sent: Vec<u8> = leg.outbox().chunks().flatten().copied().collect();
    let head = Head::parse(&sent);
    let ours = &sent[head.bytes.len()..];
    same_request(&head, conversation);
    if !spdy {
        let theirs = websocket_story(&conversation.client_bytes);
        assert_eq!(websocket_story(ours), theirs);
        return;
    }
    if !conversation.is_upgraded() {
        return;
    }
    let mut ours = spdy_story(ours);
    if !conversation.asks_for("stdin") {
        let stdin = ours.remove(1);
        assert_eq!((stdin.stream.as_str(), stdin.id), ("stdin", 3));
        for frame in ours.iter_mut().filter(|frame| frame.id > 3) {
            frame.id -= 2;
        }
    }
    assert_eq!(ours, spdy_story(&conversation.client_bytes));
}

fn websocket_story(bytes: &[u8]) -> Vec<wire::WebSocketFrame> {
    let frames = wire::websocket_frames(bytes, true);
    let farewell = |(kind, _): &wire::WebSocketFrame| *kind == wire::CLOSE;
    frames
        .into_iter()
        .filter(|frame| !farewell(frame))
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct StoryFrame {
    stream: String,
    id: u32,
    flags: u8,
    payload: Payload,
}

#[derive(Debug, PartialEq, Eq)]
enum Payload {
    Data(Vec<u8>),
    /// Associated stream, priority and slot of a `SYN_STREAM`.
    Open(Vec<u8>),
}

fn spdy_story(bytes: &[u8]) -> Vec<StoryFrame> {
    let names = stream_names(bytes);
    SpdyFrame::split(bytes)
        .into_iter()
        .filter(|frame| !frame.is(RST_STREAM) && !frame.is(GOAWAY))
        .map(|frame| {
            let name = names.iter().find(|(id, _)| *id == frame.id);
            StoryFrame {
                stream: name.expect("a frame on an unknown stream").1.clone(),
                id: frame.id,
                flags: frame.flags,
                payload: match frame.control {
                    None => Payload::Data(frame.rest),
                    Some(SYN_STREAM) => Payload::Open(frame.rest[..6].to_vec()),
                    Some(other) => panic!("a client sent control frame {other}"),
                },
            }
        })
        .collect()
}

/// Ids and types of the opened streams, from their inflated header blocks.
fn stream_names(bytes: &[u8]) -> Vec<(u32, String)> {
    let mut server = Spdy::server();
    let mut names = Vec::new();
    let mut input = BytesMut::from(bytes);
    while let Some(event) = server
        .receive(&mut input, usize::MAX, &mut Outbox::new())
        .unwrap()
    {
        if let spdy::Event::Opened {
            id, stream_type, ..
        } = event
        {
            names.push((id, stream_type));
        }
    }
    names
}

/// Our request is the captured client's. Differences: stdin is always asked for; a blank is `%20`;
/// no `Kubectl-*` headers; the key; on SPDY only v4 is offered. A bare request was written down by
/// hand, so there the order of keys and headers means nothing.
fn same_request(ours: &Head, conversation: &Conversation) {
    let captured = &conversation.request;
    let by_hand = captured.field("User-Agent").is_none();
    let words = |head: &Head| -> Vec<String> { head.line.split(' ').map(str::to_owned).collect() };
    let (our_words, their_words) = (words(ours), words(captured));
    assert_eq!(our_words[0], their_words[0], "method");
    assert_eq!(our_words[2], their_words[2], "version");
    let (our_path, mut our_pairs) = parse_target(&our_words[1]);
    let (their_path, mut their_pairs) = conversation.target();
    assert_eq!(our_path, their_path);
    if !conversation.asks_for("stdin") {
        our_pairs.retain(|(key, _)| key != "stdin");
    }
    let asks_for_stderr = conversation.asks_for("stderr");
    if by_hand && !asks_for_stderr {
        our_pairs.retain(|(key, _)| key != "stderr");
    }
    let mut our_fields = comparable(ours);
    let mut their_fields = comparable(captured);
    if by_hand {
        for pairs in [
            &mut our_pairs,
            &mut their_pairs,
            &mut our_fields,
            &mut their_fields,
        ] {
            pairs.sort();
        }
    }
    assert_eq!(our_pairs, their_pairs);
    assert_eq!(our_fields, their_fields);
}

fn comparable(head: &Head) -> Vec<(String, String)> {
    let fields = head.fields.iter().cloned();
    fields
        .filter(|(name, value)| {
            let other_version = name == "X-Stream-Protocol-Version" && value != "v4.channel.k8s.io";
            !NOT_OURS.contains(&name.as_str()) && !other_version
        })
        .map(|(name, value)| match name.as_str() {
            "Sec-WebSocket-Key" => {
                assert_eq!(STANDARD.decode(value).unwrap().len(), 16);
                (name, "a key".to_owned())
            }
            _ => (name, value),
        })
        .collect()
}
