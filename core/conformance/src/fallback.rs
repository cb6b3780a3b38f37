//! What does not speak v5 is asked for SPDY, and at last for v4, each on a fresh connection.

use std::net::TcpListener;

use periscope_core::channel::Stream;
use periscope_core::session::{BreakerVerdict, Transport};

use crate::Runtime;
use crate::browser::Browser;
use crate::stage::{Setup, Wire};

/// What Go's server says to a WebSocket it does not know, without headers and body.
pub fn a_bare_403_leads_to_spdy<R: Runtime>() {
    let (rest, report) = Setup::new(Wire::Tcp).play::<R, _>(
        |server| {
            server.call().refuse_bare(403);
            let call = server.call();
            assert_eq!(call.transport(), Transport::Spdy);
            let mut exec = call.accept();
            exec.output(Stream::Stdout, b"over spdy");
            exec.exit(0);
        },
        Browser::rest,
    );
    assert_eq!(rest.output, b"over spdy");
    assert_eq!(rest.detail(), "process_exit");
    assert_eq!(report.dials, [Transport::WebSocketV5, Transport::Spdy]);
    assert_eq!(report.breaker, [BreakerVerdict::Failure]);
}

/// Where SPDY is refused too.
pub fn a_second_bare_403_leads_to_v4<R: Runtime>() {
    let (rest, report) = Setup::new(Wire::Tcp).play::<R, _>(
        |server| {
            server.call().refuse_bare(403);
            server.call().refuse_bare(403);
            let call = server.call();
            assert_eq!(call.transport(), Transport::WebSocketV4);
            let mut exec = call.accept();
            exec.output(Stream::Stdout, b"over v4");
            exec.exit(0);
        },
        Browser::rest,
    );
    assert_eq!(rest.output, b"over v4");
    let expected = [
        Transport::WebSocketV5,
        Transport::Spdy,
        Transport::WebSocketV4,
    ];
    assert_eq!(report.dials, expected);
    // SPDY could not do it either, so nothing speaks against WebSocket.
    assert_eq!(report.breaker, [BreakerVerdict::NoVerdict]);
}

/// A proxy that swallows upgrades.
pub fn an_end_of_file_instead_of_an_answer_leads_to_spdy<R: Runtime>() {
    let (rest, report) = Setup::new(Wire::Tcp).play::<R, _>(
        |server| {
            server.call().hang_up();
            server.exec().exit(0);
        },
        Browser::rest,
    );
    assert_eq!(rest.detail(), "process_exit");
    assert_eq!(report.dials, [Transport::WebSocketV5, Transport::Spdy]);
    assert_eq!(report.breaker, [BreakerVerdict::Failure]);
}

/// Nobody listens: an outage, which no other transport can mend.
pub fn a_refused_connection_is_unreachable<R: Runtime>() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = Setup::new(Wire::Tcp);
    setup.dial_elsewhere = Some(free.local_addr().unwrap());
    drop(free);
    let (rest, report) = setup.play::<R, _>(drop, Browser::rest);
    assert_eq!(rest.errors, ["E_CLUSTER_UNREACHABLE"]);
    assert_eq!(rest.detail(), "unreachable");
    assert_eq!(report.dials, [Transport::WebSocketV5]);
    assert_eq!((report.starts, report.summary().started), (0, false));
    assert_eq!(report.breaker, [BreakerVerdict::NoVerdict]);
}
