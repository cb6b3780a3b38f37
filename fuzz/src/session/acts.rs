//! What the apiserver of a session can do.

use bytes::BytesMut;
use periscope_core::channel::{Channels, Stream, status};
use periscope_core::spdy::{self, Spdy};
use periscope_core::ws::WebSocket;

use super::operation::Operation;
use super::peers::{Apiserver, Stage, leave, send_raw};

/// What an apiserver can do. What its machine refuses by now is not sent.
pub(super) fn api_acts(api: &mut Apiserver, operation: &Operation) {
    match operation {
        Operation::Accept(how) => accept(api, *how),
        Operation::Refuse(how) => {
            if let Stage::Head(upgrade) | Stage::Asked(upgrade, _) = &mut api.stage {
                let (status, body) = refusal(*how);
                let answered = if how % 8 == 7 {
                    upgrade.refuse_bare(status, &mut api.out)
                } else {
                    let json = "application/json";
                    upgrade.refuse(status, json, body.as_bytes(), &[], &mut api.out)
                };
                if answered.is_ok() {
                    api.stage = Stage::Refused;
                }
            }
        }
        Operation::Output(stream, times, bytes) => {
            let stream = Stream::from_channel(stream % 5).unwrap_or(Stream::Stdout);
            speak(api, stream, &bytes.repeat(usize::from(*times)));
        }
        Operation::Status(how) => {
            let text = outcome(*how);
            speak(api, Stream::Error, text.as_bytes());
        }
        Operation::Reply => {
            if let Stage::Spdy {
                spdy, unreplied, ..
            } = &mut api.stage
            {
                for id in unreplied.drain(..) {
                    // Refused after GOAWAY.
                    let _ = spdy.reply(id, &mut api.out).is_ok();
                }
            }
        }
        Operation::ApiEnd(how) => end(api, *how),
        Operation::ApiRaw(bytes) => send_raw(bytes, &api.pipe),
        Operation::ApiGone(how) => leave(&api.pipe, how % 2 == 1),
        _ => {}
    }
}

fn accept(api: &mut Apiserver, how: u8) {
    let stage = core::mem::replace(&mut api.stage, Stage::Refused);
    let Stage::Asked(mut upgrade, head) = stage else {
        api.stage = stage;
        return;
    };
    let protocol = if head.is_spdy() {
        "SPDY/3.1"
    } else {
        "websocket"
    };
    let wrong = match how % 4 {
        1 => Some("Sec-WebSocket-Accept: AAAA\r\n"),
        2 => Some("X-Stream-Protocol-Version: v9\r\nSec-WebSocket-Protocol: v9\r\n"),
        3 => Some(""),
        _ => None,
    };
    if let Some(fields) = wrong {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n{fields}\r\n"
        );
        send_raw(head.as_bytes(), &api.pipe);
        return;
    }
    api.stage = if head.is_spdy() {
        let chosen = head.subprotocols()[0];
        upgrade
            .accept_spdy(chosen, &mut api.out)
            .expect("it was offered");
        Stage::Spdy {
            spdy: Spdy::server(),
            streams: Vec::new(),
            unreplied: Vec::new(),
            replies: how & 4 == 0,
        }
    } else {
        let subprotocol = Apiserver::subprotocol(&head);
        let chosen = Some(subprotocol.as_str());
        upgrade
            .accept_websocket(chosen, &mut api.out)
            .expect("it was offered");
        Stage::Channels(Channels::server(WebSocket::server(u64::MAX), subprotocol))
    };
}

fn speak(api: &mut Apiserver, stream: Stream, bytes: &[u8]) {
    let payload = BytesMut::from(bytes);
    let id = api.id_of(stream);
    match &mut api.stage {
        Stage::Channels(channels) => {
            let _ = channels.send(stream, payload, &mut api.out).is_ok();
        }
        Stage::Spdy { spdy, .. } => {
            if let Some(id) = id {
                let _ = spdy.send(id, payload, false, &mut api.out).is_ok();
            }
        }
        Stage::Head(_) | Stage::Asked(..) | Stage::Refused => {}
    }
}

/// On channels a Close; on SPDY any of: the ends of the outputs, a reset of the error stream,
/// resets of all streams, GOAWAY.
fn end(api: &mut Apiserver, how: u8) {
    let ids = [Stream::Stdout, Stream::Stderr, Stream::Error].map(|stream| api.id_of(stream));
    match &mut api.stage {
        Stage::Channels(channels) => {
            let codes = [1000, 1001, 1005, 1011];
            let code = codes[usize::from(how) % codes.len()];
            let _ = channels.close(code, &mut api.out).is_ok();
        }
        Stage::Spdy { spdy, streams, .. } => {
            let out = &mut api.out;
            if how & 1 != 0 {
                for id in ids[..2].iter().flatten() {
                    let _ = spdy.send(*id, BytesMut::new(), true, out).is_ok();
                }
            }
            if let (true, Some(id)) = (how & 2 != 0, ids[2]) {
                let _ = spdy.reset(id, spdy::status::CANCEL, out).is_ok();
            }
            if how & 4 != 0 {
                for (_, id) in streams.iter() {
                    let _ = spdy.reset(*id, spdy::status::CANCEL, out).is_ok();
                }
            }
            if how & 8 != 0 {
                let _ = spdy.goaway(out).is_ok();
            }
        }
        Stage::Head(_) | Stage::Asked(..) | Stage::Refused => {}
    }
}

fn outcome(how: u8) -> String {
    let command = ["sh".to_owned()];
    match how % 8 {
        0 => status::success(),
        1 => status::exit(7, &command, status::Shape::Translator),
        2 => status::exit(127, &command, status::Shape::Runtime),
        3 => status::internal_error("error sending request: dial tcp", status::Shape::Translator),
        4 => status::internal_error(
            "executable file `sh` not found in $PATH",
            status::Shape::Runtime,
        ),
        5 => "{".to_owned(),
        6 => r#"{"status":"Later"}"#.to_owned(),
        _ => status::refusal(404, "NotFound", "pods \"box\" not found", None),
    }
}

fn refusal(how: u8) -> (u16, String) {
    let of = |code, reason, message| (code, status::refusal(code, reason, message, None));
    match how % 8 {
        0 => of(401, "Unauthorized", "Unauthorized"),
        1 => of(403, "Forbidden", "pods \"box\" is forbidden"),
        2 => of(404, "NotFound", "pods \"box\" not found"),
        3 => of(400, "BadRequest", "Upgrade request required"),
        4 => of(400, "BadRequest", "container main is not valid"),
        5 => (502, "<html>bad gateway</html>".to_owned()),
        6 => of(500, "InternalError", "it broke"),
        _ => (403, String::new()),
    }
}
