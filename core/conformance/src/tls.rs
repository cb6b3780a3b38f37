//! What only TLS can break. All relay cases run over it too.

use std::io::Read;
use std::net::Shutdown;
use std::sync::mpsc::channel;

use periscope_core::channel::Stream;
use periscope_core::session::{BreakerVerdict, Transport};
use rustls::version::{TLS12, TLS13};

use crate::Runtime;
use crate::browser::{Browser, Rest};
use crate::certificates;
use crate::stage::{Report, Setup, Wire};

fn expect_unreachable(rest: &Rest, report: &Report) {
    assert_eq!(rest.errors, ["E_CLUSTER_UNREACHABLE"]);
    assert_eq!(rest.detail(), "unreachable");
    // No other transport can mend TLS, and WebSocket is not to blame.
    assert_eq!(
        report.attempts,
        [(Transport::WebSocketV5, "tls".to_owned())]
    );
    assert_eq!(report.breaker, [BreakerVerdict::NoVerdict]);
    assert_eq!(report.starts, 0);
}

/// The peer hears the alert and leaves.
pub fn a_certificate_of_another_authority_is_unreachable<R: Runtime>() {
    let mut setup = Setup::new(Wire::Tls);
    setup.client_tls = Some(certificates::client_of_another_authority());
    let (rest, report) = setup.play::<R, _>(
        |server| {
            let mut stream = server.accept_tcp();
            let config = certificates::server(rustls::DEFAULT_VERSIONS, 2);
            let mut tls = rustls::ServerConnection::new(config).unwrap();
            let error = tls.complete_io(&mut stream).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("UnknownCA"), "the alert says why: {text}");
        },
        Browser::rest,
    );
    expect_unreachable(&rest, &report);
}

/// The verdict does not depend on what the peer does with our alert.
pub fn a_wrong_certificate_is_found_though_the_peer_stays_silent<R: Runtime>() {
    let mut setup = Setup::new(Wire::Tls);
    setup.client_tls = Some(certificates::client_of_another_authority());
    let (told, is_told) = channel::<()>();
    let (rest, report) = setup.play::<R, _>(
        move |server| {
            let mut stream = server.accept_tcp();
            let config = certificates::server(rustls::DEFAULT_VERSIONS, 2);
            let mut tls = rustls::ServerConnection::new(config).unwrap();
            while tls.wants_read() && !tls.wants_write() {
                tls.read_tls(&mut stream).unwrap();
                tls.process_new_packets().unwrap();
            }
            while tls.wants_write() {
                tls.write_tls(&mut stream).unwrap();
            }
            // Open and silent until the browser has its verdict.
            is_told.recv().unwrap();
            drop(stream);
        },
        move |browser| {
            let rest = browser.rest();
            told.send(()).unwrap();
            rest
        },
    );
    expect_unreachable(&rest, &report);
}

/// A load balancer without a backend.
pub fn an_end_of_file_inside_the_handshake_is_unreachable<R: Runtime>() {
    let (rest, report) = Setup::new(Wire::Tls).play::<R, _>(
        |server| {
            let mut stream = server.accept_tcp();
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).unwrap();
            assert_eq!(hello[0], 22, "a handshake record");
            let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
            stream.read_exact(&mut rest).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // The gateway leaves by itself.
            while stream.read(&mut rest).is_ok_and(|len| len > 0) {}
        },
        Browser::rest,
    );
    expect_unreachable(&rest, &report);
}

/// A refusal whose body ends with the connection, as many servers end it: were that a TLS failure,
/// nobody would try SPDY.
pub fn an_end_of_file_without_close_notify_is_an_end_of_file<R: Runtime>() {
    let (rest, report) = Setup::new(Wire::Tls).play::<R, _>(
        |server| {
            let page = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>no</html>";
            server.call().refuse_cut_off(page);
            let mut exec = server.exec();
            exec.output(Stream::Stdout, b"over spdy");
            exec.exit(0);
        },
        Browser::rest,
    );
    assert_eq!(rest.output, b"over spdy");
    assert_eq!(report.dials, [Transport::WebSocketV5, Transport::Spdy]);
}

/// The server's last handshake message finds the request waiting: nobody else will wake it.
pub fn tls_1_2_without_tickets_needs_no_second_push<R: Runtime>() {
    handshakes::<R>(|setup| setup.server_tls = Some(certificates::server(&[&TLS12], 0)));
}

/// The same where the last handshake message is ours.
pub fn tls_1_3_without_tickets_needs_no_second_push<R: Runtime>() {
    handshakes::<R>(|setup| setup.server_tls = Some(certificates::server(&[&TLS13], 0)));
}

fn handshakes<R: Runtime>(change: impl Fn(&mut Setup)) {
    for _ in 0..20 {
        let mut setup = Setup::new(Wire::Tls);
        change(&mut setup);
        let (rest, report) = setup.play::<R, _>(|server| server.exec().exit(0), Browser::rest);
        assert_eq!(rest.detail(), "process_exit");
        assert_eq!(report.dials, [Transport::WebSocketV5]);
    }
}
