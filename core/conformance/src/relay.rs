//! Bytes go through: both ways, on every transport, and the exit code comes back.

use bytes::BytesMut;
use periscope_core::channel::Stream;
use periscope_core::code::CloseDetail;
use periscope_core::leg::exec_server::Event;
use periscope_core::session::{BreakerVerdict, Transport};

use crate::apiserver::ApiServer;
use crate::browser::{Browser, Message};
use crate::stage::{Setup, Wire};
use crate::{Runtime, pattern};

/// Keys come back from the process, and its end is told.
pub fn keys_are_echoed_over_v5<R: Runtime>(wire: Wire) {
    echo::<R>(wire, Transport::WebSocketV5);
}

/// The same over SPDY.
pub fn keys_are_echoed_over_spdy<R: Runtime>(wire: Wire) {
    echo::<R>(wire, Transport::Spdy);
}

/// The same over the last resort.
pub fn keys_are_echoed_over_v4<R: Runtime>(wire: Wire) {
    echo::<R>(wire, Transport::WebSocketV4);
}

fn echo<R: Runtime>(wire: Wire, transport: Transport) {
    let setup = Setup::new(wire).with(|config| {
        config.first = transport;
        config.tty = true;
        config.size = Some((100, 30));
    });
    let (rest, report) = setup.play::<R, _>(
        move |server| {
            let call = server.call();
            assert_eq!(call.transport(), transport);
            let mut exec = call.accept();
            let size = Event::Resize {
                cols: 100,
                rows: 30,
            };
            assert_eq!(exec.event(), Some(size));
            exec.output(Stream::Stdout, b"$ ");
            exec.echo();
            exec.exit(0);
        },
        |mut browser| {
            let hello = browser.text("hello");
            assert_eq!(hello["transport"], transport.as_str());
            assert_eq!(hello["subprotocol"], transport.subprotocol());
            assert_eq!(browser.output(2), b"$ ");
            for keys in ["l", "s\r", "ünïcödé"] {
                browser.send(keys.as_bytes());
                assert_eq!(browser.output(keys.len()), keys.as_bytes());
            }
            browser.send(b"q");
            browser.rest()
        },
    );
    assert_eq!(rest.detail(), "process_exit");
    assert_eq!(rest.closed["exitCode"], 0);
    assert_eq!(rest.closed["truncated"], false);
    assert_eq!((rest.close_code, rest.reset), (Some(1000), false));
    let summary = report.summary();
    assert_eq!(summary.detail, CloseDetail::ProcessExit);
    assert_eq!(summary.bytes_stdin, 15);
    assert_eq!(summary.bytes_stdout, 16);
    assert_eq!(report.starts, 1);
    assert_eq!(report.attempts, [(transport, "none".to_owned())]);
    let expected: &[BreakerVerdict] = if transport == Transport::WebSocketV5 {
        &[BreakerVerdict::Success]
    } else {
        &[]
    };
    assert_eq!(report.breaker, expected);
}

/// A host with an HTTP server of its own hands over the socket and what was read too much.
pub fn a_session_accepted_elsewhere_gets_the_bytes_behind_its_handshake<R: Runtime>(wire: Wire) {
    let mut early = Browser::detached();
    early.queue(b"early");
    let mut setup = Setup::new(wire);
    setup.accepted = Some(early.take_queued());
    let (rest, _) = setup.play::<R, _>(
        |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"$");
            exec.expect_stdin(b"early");
            exec.output(Stream::Stdout, b"seen");
            exec.exit(0);
        },
        Browser::rest,
    );
    assert_eq!(rest.output, b"$seen");
}

/// Both streams arrive as one, in the order they were sent.
pub fn standard_error_is_merged_without_a_terminal<R: Runtime>(wire: Wire) {
    for transport in [Transport::WebSocketV5, Transport::Spdy] {
        let setup = Setup::new(wire).with(|config| config.first = transport);
        let (rest, _) = setup.play::<R, _>(
            |server| {
                let mut exec = server.exec();
                exec.output(Stream::Stdout, b"one ");
                exec.output(Stream::Stderr, b"two ");
                exec.output(Stream::Stdout, b"three");
                exec.exit(0);
            },
            Browser::rest,
        );
        assert_eq!(rest.output, b"one two three");
    }
}

/// Zero, an ordinary and the largest code, on every transport.
pub fn exit_codes_arrive<R: Runtime>(wire: Wire) {
    let transports = [
        Transport::WebSocketV5,
        Transport::Spdy,
        Transport::WebSocketV4,
    ];
    for (transport, code) in transports.into_iter().zip([255_u8, 0, 7]) {
        let setup = Setup::new(wire).with(|config| config.first = transport);
        let (rest, report) =
            setup.play::<R, _>(move |server| server.exec().exit(code), Browser::rest);
        assert_eq!(rest.closed["exitCode"], code, "{transport:?}");
        assert_eq!(report.summary().exit_code, Some(code), "{transport:?}");
    }
}

/// `eof` acts after the bytes before it, and the process may still answer.
pub fn input_ends_with_eof<R: Runtime>(wire: Wire) {
    for transport in [Transport::WebSocketV5, Transport::Spdy] {
        let setup = Setup::new(wire).with(|config| config.first = transport);
        let (rest, _) = setup.play::<R, _>(
            |server| {
                let mut exec = server.exec();
                let mut count = 0;
                while let Some(payload) = exec.stdin() {
                    count += payload.len();
                }
                exec.output(Stream::Stdout, count.to_string().as_bytes());
                exec.exit(3);
            },
            |mut browser| {
                for _ in 0..10 {
                    browser.send(&[b'x'; 10_000]);
                }
                browser.control(r#"{"type":"eof"}"#);
                browser.rest()
            },
        );
        assert_eq!(rest.output, b"100000", "{transport:?}");
        assert_eq!(rest.closed["exitCode"], 3, "{transport:?}");
        assert!(rest.errors.is_empty(), "{:?}", rest.errors);
    }
}

/// Every byte of a large transfer in both directions at once.
pub fn megabytes_go_both_ways_unharmed_over_v5<R: Runtime>(wire: Wire) {
    megabytes::<R>(wire, Transport::WebSocketV5);
}

/// The same over SPDY.
pub fn megabytes_go_both_ways_unharmed_over_spdy<R: Runtime>(wire: Wire) {
    megabytes::<R>(wire, Transport::Spdy);
}

fn megabytes<R: Runtime>(wire: Wire, transport: Transport) {
    const TOTAL: usize = 6 * 1024 * 1024 + 13;
    let setup = Setup::new(wire).with(|config| config.first = transport);
    let ((), report) = setup.play::<R, _>(
        |server: ApiServer| {
            let mut exec = server.exec();
            let mut position = 0;
            while let Some(payload) = exec.stdin() {
                pattern::check(position, &payload);
                position += payload.len();
                exec.output(Stream::Stdout, &payload);
            }
            assert_eq!(position, TOTAL);
            exec.exit(0);
        },
        |mut browser| {
            let mut typist = browser.typist();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let mut position = 0;
                    // Odd sizes, so that frames, records and reads never line up.
                    for size in [1, 999, 70_001, 200_003].into_iter().cycle() {
                        let size = size.min(TOTAL - position);
                        if size == 0 {
                            break;
                        }
                        typist.send(&pattern::run(position, size));
                        position += size;
                    }
                    typist.control(r#"{"type":"eof"}"#);
                });
                let mut position = 0;
                let mut last = None;
                loop {
                    match browser.message() {
                        Message::Output(payload) => {
                            pattern::check(position, &payload);
                            position += BytesMut::len(&payload);
                        }
                        Message::Text(value) => last = Some(value),
                        Message::Close(_) => {}
                        Message::Eof => break,
                        Message::Reset => panic!("reset"),
                    }
                }
                assert_eq!(position, TOTAL);
                assert_eq!(last.expect("`closed`")["detail"], "process_exit");
            });
        },
    );
    let summary = report.summary();
    assert_eq!(summary.bytes_stdin, TOTAL as u64);
    assert_eq!(summary.bytes_stdout, TOTAL as u64);
}
