//! The server half: a captured client's bytes go into ours, and what it writes for the same
//! command is held against what the captured server wrote.

use std::collections::BTreeMap;

use bytes::BytesMut;
use periscope_core::channel::status::{self, Outcome};
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::http::ServerUpgrade;
use periscope_core::leg::exec_server::{Ending, Event, ExecServer, Streams};
use periscope_core::outbox::Outbox;

use super::capture::{Conversation, Head};
use super::client::{Action, actions, chosen};
use super::table::End;
use super::wire::{self, Cut, FIN, GOAWAY, RST_STREAM, SYN_REPLY, SpdyFrame};

fn server(conversation: &Conversation) -> ExecServer {
    let streams = Streams {
        stdin: conversation.asks_for("stdin"),
        stdout: conversation.asks_for("stdout"),
        stderr: conversation.asks_for("stderr"),
        tty: conversation.asks_for("tty"),
    };
    let command = conversation.query_values("command");
    if conversation.is_spdy() {
        ExecServer::spdy(streams, command)
    } else {
        ExecServer::websocket(chosen(conversation), streams, command)
    }
}

/// The captured client's bytes up to its farewell, which followed the server's.
fn client_bytes(conversation: &Conversation) -> Vec<u8> {
    if !conversation.is_spdy() {
        return conversation.client_bytes.clone();
    }
    let frames = SpdyFrame::split(&conversation.client_bytes);
    let talk: Vec<SpdyFrame> = frames
        .into_iter()
        .filter(|frame| !frame.is(RST_STREAM) && !frame.is(GOAWAY))
        .collect();
    SpdyFrame::join(&talk)
}

/// Our server understands what the captured client did, however it is cut.
pub(crate) fn hears_what_the_client_did(conversation: &Conversation, cut: Cut) {
    let mut server = server(conversation);
    let mut out = Outbox::new();
    server.start(&mut out);
    let (mut heard, mut ready) = (Vec::new(), false);
    let mut input = BytesMut::new();
    let bytes = client_bytes(conversation);
    let silence: (&[u8], usize) = (&[], 1); // some clients say nothing at all
    for (piece, room) in cut.pieces(&bytes).into_iter().chain([silence]) {
        input.extend_from_slice(piece);
        while let Some(event) = server.receive(&mut input, room, &mut out).unwrap() {
            if event == Event::Ready {
                assert!(!ready && heard.is_empty(), "ready comes once and first");
                ready = true;
            }
            match (heard.last_mut(), event) {
                (_, Event::Alive | Event::Ready | Event::Closed) => {}
                (_, Event::Resize { cols, rows }) => heard.push(Action::Resize(cols, rows)),
                (_, Event::StdinEof) => heard.push(Action::StdinEnd),
                (Some(Action::Stdin(bytes)), Event::Stdin(more)) => bytes.extend_from_slice(&more),
                (_, Event::Stdin(bytes)) => heard.push(Action::Stdin(bytes.to_vec())),
            }
        }
    }
    assert!(ready, "never ready");
    assert_eq!(heard, joined(actions(conversation)), "{cut:?}");
}

/// Neighbouring pieces of stdin as one.
fn joined(actions: Vec<Action>) -> Vec<Action> {
    let mut all = Vec::new();
    for action in actions {
        match (all.last_mut(), action) {
            (Some(Action::Stdin(bytes)), Action::Stdin(more)) => bytes.extend(more),
            (_, action) => all.push(action),
        }
    }
    all
}

/// Our server, with the same output in the same pieces and the same end, writes the captured bytes.
pub(crate) fn writes_what_the_server_wrote(conversation: &Conversation, end: End) {
    let mut server = server(conversation);
    let mut out = Outbox::new();
    server.start(&mut out);
    let mut input = BytesMut::from(client_bytes(conversation).as_slice());
    while server
        .receive(&mut input, usize::MAX, &mut out)
        .unwrap()
        .is_some()
    {}
    for (stream, payload) in output(conversation) {
        server.output(stream, BytesMut::from(payload.as_slice()), &mut out);
    }
    server.finish(&ending(conversation, end), &mut out);
    assert!(server.has_finished());
    let written: Vec<u8> = out.chunks().flatten().copied().collect();
    let captured = &conversation.server_bytes;
    if conversation.is_spdy() {
        assert_eq!(Ordered::of(&written), Ordered::of(captured));
    } else {
        assert_eq!(
            wire::websocket_frames(&written, false),
            wire::websocket_frames(captured, false)
        );
        assert_eq!(&written, captured);
    }
}

/// Output in the pieces the captured server sent.
fn output(conversation: &Conversation) -> Vec<(Stream, Vec<u8>)> {
    let bytes = &conversation.server_bytes;
    if conversation.is_spdy() {
        let ids = stream_ids(conversation);
        return SpdyFrame::split(bytes)
            .into_iter()
            .filter(|frame| frame.control.is_none() && !frame.rest.is_empty())
            .filter_map(|frame| {
                let stream = ids.iter().find(|(_, id)| *id == frame.id)?.0;
                (stream != Stream::Error).then_some((stream, frame.rest))
            })
            .collect();
    }
    let base64 = chosen(conversation).is_base64();
    wire::websocket_frames(bytes, false)
        .into_iter()
        .filter(|(kind, payload)| *kind != wire::CLOSE && payload.len() > 1)
        .filter_map(|(_, payload)| {
            let (channel, payload) = payload.split_first().unwrap();
            let stream = match channel {
                1 | b'1' => Stream::Stdout,
                2 | b'2' => Stream::Stderr,
                _ => return None,
            };
            let payload = if base64 {
                super::decode_base64(payload)
            } else {
                payload.to_vec()
            };
            Some((stream, payload))
        })
        .collect()
}

/// In client-go's order.
fn stream_ids(conversation: &Conversation) -> Vec<(Stream, u32)> {
    let tty = conversation.asks_for("tty");
    [
        (Stream::Error, true),
        (Stream::Stdin, conversation.asks_for("stdin")),
        (Stream::Stdout, conversation.asks_for("stdout")),
        (Stream::Stderr, conversation.asks_for("stderr") && !tty),
        (Stream::Resize, tty),
    ]
    .into_iter()
    .filter_map(|(stream, asked)| asked.then_some(stream))
    .zip((1..).step_by(2))
    .collect()
}

fn ending(conversation: &Conversation, end: End) -> Ending {
    match end {
        End::Exit(code) | End::Sentence(code) => Ending::Exit(code),
        End::NoShell => {
            let text = status_text(conversation);
            let Ok(Outcome::Failure(failure)) = status::parse(&text) else {
                panic!("not a failure");
            };
            let v5 = !conversation.is_spdy() && chosen(conversation) == Subprotocol::V5;
            let prefix = "Internal error occurred: ".repeat(if v5 { 2 } else { 1 });
            let text = failure.message.strip_prefix(&prefix).unwrap();
            Ending::InternalError(text.to_owned())
        }
    }
}

/// What the captured server wrote on its error stream.
fn status_text(conversation: &Conversation) -> Vec<u8> {
    if conversation.is_spdy() {
        let frames = SpdyFrame::split(&conversation.server_bytes).into_iter();
        let on_error = frames.filter(|frame| frame.control.is_none() && frame.id == 1);
        return on_error.flat_map(|frame| frame.rest).collect();
    }
    let frames = wire::websocket_frames(&conversation.server_bytes, false);
    let message = frames.into_iter().find(|(_, payload)| payload[0] == 3);
    message.unwrap().1[1..].to_vec()
}

/// A data frame's flags and payload.
type Piece = (u8, Vec<u8>);

/// SPDY frames without what a race decides: outputs end each in its own time, and the order of
/// the resets is that of a Go map. Header blocks may be compressed or not.
#[derive(Debug, PartialEq, Eq)]
struct Ordered {
    replies: Vec<(u32, u8)>,
    /// Data and FINs before the status, by stream.
    outputs: BTreeMap<u32, Vec<Piece>>,
    status: (u8, Vec<u8>),
    resets: Vec<SpdyFrame>,
    last: SpdyFrame,
}

impl Ordered {
    fn of(bytes: &[u8]) -> Self {
        let frames = SpdyFrame::split(bytes);
        assert_eq!(SpdyFrame::join(&frames), bytes, "half a frame at the end");
        let mut frames = frames.into_iter().peekable();
        let mut replies = Vec::new();
        while let Some(frame) = frames.next_if(|frame| frame.is(SYN_REPLY)) {
            replies.push((frame.id, frame.flags));
        }
        let mut outputs: BTreeMap<u32, Vec<Piece>> = BTreeMap::new();
        while let Some(frame) = frames.next_if(|frame| frame.control.is_none() && frame.id != 1) {
            let pieces = outputs.entry(frame.id).or_default();
            pieces.push((frame.flags, frame.rest));
        }
        for pieces in outputs.values() {
            // Where no process ran there is no output to end; its streams are reset.
            let fins = pieces.iter().filter(|(flags, _)| *flags == FIN).count();
            assert_eq!((fins, pieces.last().unwrap().0), (1, FIN), "one FIN, last");
        }
        let status = frames.next().unwrap();
        assert_eq!((status.control, status.id), (None, 1), "the status");
        let mut resets: Vec<SpdyFrame> = Vec::new();
        while let Some(frame) = frames.next_if(|frame| frame.is(RST_STREAM)) {
            resets.push(frame);
        }
        resets.sort_by_key(|frame| frame.id);
        let last = frames.next().unwrap();
        assert!(last.is(GOAWAY) && frames.next().is_none(), "GOAWAY is last");
        Self {
            replies,
            outputs,
            status: (status.flags, status.rest),
            resets,
            last,
        }
    }
}

/// The head of our 101 is the captured one, for the captured request. Difference: where no
/// subprotocol was asked for, Go writes an empty `Sec-WebSocket-Protocol`, and we write none.
pub(crate) fn accepts_as_the_server_did(conversation: &Conversation) {
    let mut upgrade = ServerUpgrade::new();
    let mut out = Outbox::new();
    let request = upgrade
        .receive(&mut BytesMut::from(conversation.request.bytes.as_slice()))
        .unwrap()
        .unwrap();
    assert_eq!(request.is_spdy(), conversation.is_spdy());
    if conversation.is_spdy() {
        upgrade.accept_spdy("v4.channel.k8s.io", &mut out).unwrap();
    } else {
        let name = conversation.response.field("sec-websocket-protocol");
        let name = name.filter(|name| !name.is_empty());
        upgrade.accept_websocket(name, &mut out).unwrap();
    }
    let written: Vec<u8> = out.chunks().flatten().copied().collect();
    let captured = String::from_utf8(conversation.response.bytes.clone()).unwrap();
    let captured = captured.replace("Sec-WebSocket-Protocol: \r\n", "");
    assert_eq!(String::from_utf8(written).unwrap(), captured);
}

/// A refusal as ours writes it: without a body bare, with one the Status of its captured parts.
pub(crate) fn refuses_as_the_server_did(conversation: &Conversation) {
    let captured = &conversation.server_bytes;
    let status = conversation.response.status();
    if captured.is_empty() {
        let mut upgrade = ServerUpgrade::new();
        let mut out = Outbox::new();
        upgrade
            .receive(&mut BytesMut::from(conversation.request.bytes.as_slice()))
            .unwrap()
            .unwrap();
        upgrade.refuse_bare(status, &mut out).unwrap();
        let written: Vec<u8> = out.chunks().flatten().copied().collect();
        let (ours, theirs) = (Head::parse(&written), &conversation.response);
        assert_eq!(ours.line, theirs.line);
        assert_eq!(ours.fields, theirs.fields);
        return;
    }
    let parts: serde_json::Value = serde_json::from_slice(captured).unwrap();
    let text = |part: &'static str| parts[part].as_str().unwrap();
    let details = &parts["details"];
    let object = details["name"].as_str().zip(details["kind"].as_str());
    let ours = status::refusal(status, text("reason"), text("message"), object);
    assert_eq!(ours.as_bytes(), captured);
    assert_eq!(
        conversation.response.field("content-type"),
        Some("application/json")
    );
}
