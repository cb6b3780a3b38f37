//! The decoders of texts: the Status, sizes of the terminal, the browser's query and its messages.

use bytes::BytesMut;
use periscope_core::channel::resize::{self as sizes, Decoder};
use periscope_core::channel::status::{self as statuses, Outcome, Shape};
use periscope_core::http::{ClientUpgrade, ServerUpgrade, UpgradeRequest};
use periscope_core::leg::browser::{BrowserEvent, BrowserLeg};
use periscope_core::leg::console::Control;
use periscope_core::limits::{COMMAND_ARGUMENTS_MAX, COMMAND_BYTES_MAX};
use periscope_core::outbox::Outbox;
use periscope_core::request::{ExecTarget, default_shell, exec_target, parse_exec_query};
use periscope_core::ws::{Kind, WebSocket};

use crate::feeds::{self, Parameters};

/// Bytes of an input that become a text of ours; more would only cost speed.
const TEXT_BYTES_MAX: usize = 256;

/// The whole input is a Status, then a text that a Status is made of.
pub fn status(data: &[u8]) {
    match statuses::parse(data) {
        Ok(Outcome::Exit(code)) => assert_ne!(code, 0, "zero is success"),
        Ok(Outcome::Success) => {
            let says = |word: &[u8]| data.windows(word.len()).any(|window| window == word);
            // Either may be written with escapes.
            assert!(
                says(b"Success") || says(b"ExitCode") || says(b"\\u"),
                "nothing is no success"
            );
        }
        Ok(Outcome::Failure(_)) | Err(_) => {}
    }
    let text = String::from_utf8_lossy(&data[..data.len().min(TEXT_BYTES_MAX)]);
    for shape in [Shape::Runtime, Shape::Translator] {
        let code = data.first().copied().unwrap_or_default();
        let command = [text.clone().into_owned()];
        let exit = statuses::parse(statuses::exit(code, &command, shape).as_bytes());
        let expected = if code == 0 {
            Outcome::Success
        } else {
            Outcome::Exit(code)
        };
        assert_eq!(exit, Ok(expected), "what we write can be read");
        let error = statuses::internal_error(&text, shape);
        let Ok(Outcome::Failure(failure)) = statuses::parse(error.as_bytes()) else {
            panic!("{error} is a failure");
        };
        assert!(
            failure.message.ends_with(text.as_ref()),
            "the text survives"
        );
    }
    let refusal = statuses::refusal(403, "Forbidden", &text, Some((&text, "pods")));
    let Ok(Outcome::Failure(failure)) = statuses::parse(refusal.as_bytes()) else {
        panic!("{refusal} is a failure");
    };
    assert_eq!(failure.message, text, "the text survives");
}

/// The input is the resize stream; its first two bytes say where it is cut.
pub fn resize(data: &[u8]) {
    let Some((cut, stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    let split = usize::from(u16::from_be_bytes(*cut));
    let _size = feeds::agree(stream, split, |pieces| {
        let mut decoder = Decoder::default();
        let mut size = None;
        for piece in pieces {
            match decoder.receive(piece) {
                Ok(newer) => size = newer.or(size),
                Err(error) => {
                    assert_eq!(
                        decoder.receive(&sizes::encode(80, 24)),
                        Err(error),
                        "it sticks"
                    );
                    return Err(error);
                }
            }
        }
        if let Some((cols, rows)) = size {
            assert!(cols > 0 && rows > 0, "{cols}×{rows} is no size");
            let encoded = sizes::encode(cols, rows);
            assert_eq!(Decoder::default().receive(&encoded), Ok(size));
        }
        Ok(size)
    });
}

/// The input is the query of the browser's request.
pub fn query(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let parsed = parse_exec_query(text);
    assert_eq!(
        parse_exec_query(&format!("{text}&later=1")),
        parsed,
        "an unknown key changes nothing"
    );
    let Ok(query) = parsed else { return };
    assert!(query.cols != Some(0) && query.rows != Some(0), "{query:?}");
    if let Some(command) = &query.command {
        assert!(command.first().is_some_and(|program| !program.is_empty()));
        assert!(command.len() <= COMMAND_ARGUMENTS_MAX);
        let bytes: usize = command.iter().map(String::len).sum();
        assert!(bytes <= COMMAND_BYTES_MAX);
        assert!(command.iter().all(|argument| !argument.contains('\0')));
    }
    // Whatever was accepted can be asked of an apiserver, and is read there as one request.
    let command = query.command.unwrap_or_else(default_shell);
    let target = exec_target(&ExecTarget {
        path_prefix: "/prefix",
        namespace: "default",
        pod: "box",
        container: query.container.as_deref(),
        command: &command,
        tty: query.tty,
    });
    let request = UpgradeRequest {
        host: "127.0.0.1:6443",
        target: &target,
        headers: &[],
        subprotocols: &["v5.channel.k8s.io"],
    };
    let mut out = Outbox::new();
    ClientUpgrade::websocket(&request, [1; 16], &mut out).expect("a target we made");
    let mut written = Vec::new();
    feeds::drain(&mut out, &mut written);
    let mut input = BytesMut::from(written.as_slice());
    let head = ServerUpgrade::new()
        .receive(&mut input)
        .expect("a request of ours fits what we accept")
        .expect("it is complete");
    assert!(input.is_empty(), "one request");
    assert_eq!(head.target, target);
    assert_eq!(commands(head.query()), command, "argument by argument");
}

/// The values of `command` in an apiserver's query.
fn commands(query: &str) -> Vec<String> {
    let values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("command="));
    values
        .map(|value| {
            let mut bytes = Vec::new();
            let mut rest = value.as_bytes();
            while let Some((&byte, after)) = rest.split_first() {
                rest = after;
                if byte == b'%' {
                    let (digits, after) = rest.split_at(2);
                    let digits = core::str::from_utf8(digits).expect("two digits");
                    bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                    rest = after;
                } else {
                    bytes.push(byte);
                }
            }
            String::from_utf8(bytes).expect("arguments are strings")
        })
        .collect()
}

/// The input is one text message of the browser, decoded alone and as a frame on its leg.
pub fn console(data: &[u8]) {
    let Some((parameters, text)) = Parameters::split_off(data) else {
        return;
    };
    let decoded = Control::decode(text);
    if let Some(Control::Resize { cols, rows }) = decoded {
        assert!(cols > 0 && rows > 0, "{cols}×{rows}");
    }
    let mut out = Outbox::new();
    WebSocket::client([7; 32], u64::MAX)
        .send(Kind::Text, &[], BytesMut::from(text), &mut out)
        .expect("a browser may send");
    let mut frame = Vec::new();
    feeds::drain(&mut out, &mut frame);
    let (controls, dropped) = feeds::agree(&frame, parameters.split, |pieces| {
        let mut leg = BrowserLeg::new();
        let mut input = BytesMut::new();
        let mut controls = Vec::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match leg.receive(&mut input, parameters.run_max) {
                    Ok(None) => break,
                    Ok(Some(BrowserEvent::Alive)) => {}
                    Ok(Some(BrowserEvent::Control(control))) => controls.push(control),
                    Ok(Some(other)) => panic!("{other:?} from a text message"),
                    Err(_) => {
                        assert!(core::str::from_utf8(text).is_err(), "good text is read");
                        return (Vec::new(), 0);
                    }
                }
            }
        }
        (controls, leg.dropped())
    });
    if core::str::from_utf8(text).is_ok() {
        let is_short = text.len() <= periscope_core::limits::BROWSER_TEXT_BYTES_MAX;
        let expected: Vec<Control> = decoded.into_iter().filter(|_| is_short).collect();
        assert_eq!(controls, expected);
        assert_eq!(
            dropped,
            u64::from(expected.is_empty()),
            "dropped ones are counted"
        );
    }
}
