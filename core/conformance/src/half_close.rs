//! `eof` ends the process's input, as far as the transport can say so.

use std::sync::mpsc::channel;

use periscope_core::channel::Stream;
use periscope_core::session::Transport;

use crate::Runtime;
use crate::browser::{Browser, Message};
use crate::stage::{PATIENCE, Setup, Wire};

/// The v5 close signal.
pub fn eof_ends_standard_input_on_v5<R: Runtime>() {
    half_close::<R>(Transport::WebSocketV5);
}

/// The FIN of SPDY.
pub fn eof_ends_standard_input_on_spdy<R: Runtime>() {
    half_close::<R>(Transport::Spdy);
}

fn half_close<R: Runtime>(transport: Transport) {
    let setup = Setup::new(Wire::Tcp).with(|config| config.first = transport);
    let (rest, report) = setup.play::<R, _>(
        |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            exec.expect_stdin(b"last words");
            assert_eq!(exec.stdin(), None);
            // Only one direction is closed.
            exec.output(Stream::Stdout, b"still talking");
            exec.exit(0);
        },
        |mut browser| {
            browser.text("hello");
            browser.output(1);
            browser.send(b"last words");
            browser.control(r#"{"type":"eof"}"#);
            browser.rest()
        },
    );
    assert_eq!(rest.output, b"still talking");
    assert_eq!(rest.detail(), "process_exit");
    assert!(rest.errors.is_empty());
    assert_eq!(report.summary().bytes_stdin, 10);
}

/// v4 over WebSocket has no word for it: the user is told, and the session goes on.
pub fn eof_cannot_be_said_on_v4<R: Runtime>() {
    let setup = Setup::new(Wire::Tcp).with(|config| config.first = Transport::WebSocketV4);
    let (told, is_told) = channel();
    let (rest, _) = setup.play::<R, _>(
        move |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            exec.expect_stdin(b"before");
            is_told.recv_timeout(PATIENCE).unwrap();
            exec.output(Stream::Stdout, b"on");
            exec.exit(0);
        },
        move |mut browser| {
            browser.text("hello");
            browser.output(1);
            browser.send(b"before");
            browser.control(r#"{"type":"eof"}"#);
            let error = browser.text("error");
            assert_eq!(error["code"], "E_PROTOCOL");
            told.send(()).unwrap();
            browser.rest()
        },
    );
    assert_eq!(rest.output, b"on");
    assert_eq!(rest.detail(), "process_exit");
}

/// With a terminal the line discipline ends the input, not the connection.
pub fn eof_is_a_key_on_a_terminal<R: Runtime>() {
    for transport in [Transport::WebSocketV5, Transport::Spdy] {
        let setup = Setup::new(Wire::Tcp).with(|config| {
            config.first = transport;
            config.tty = true;
        });
        let (rest, _) = setup.play::<R, _>(
            |server| {
                let mut exec = server.exec();
                exec.output(Stream::Stdout, b"$");
                exec.expect_stdin(b"exit\x04");
                exec.output(Stream::Stdout, b"bye");
                exec.exit(0);
            },
            |mut browser| {
                browser.text("hello");
                assert_eq!(browser.message(), Message::Output((&b"$"[..]).into()));
                browser.send(b"exit");
                browser.control(r#"{"type":"eof"}"#);
                Browser::rest(browser)
            },
        );
        assert_eq!(rest.output, b"bye");
    }
}
