//! A gateway that reads the browser's handshake itself also has to say no.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use periscope_core::drive::{Driver, Turn};
use periscope_core::session::{Answer, Ask, Session};
use periscope_core::tls::Upstream;
use periscope_core::transport::Clock;

use crate::Runtime;
use crate::browser::TARGET;
use crate::stage::PATIENCE;

/// The host's answer arrives whole, and the socket ends in order.
pub fn a_refused_browser_reads_why<R: Runtime>() {
    let request = format!(
        "GET {TARGET} HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    let (answer, asks) = refuse::<R>(&request);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.ends_with(r#"{"error":"E_FORBIDDEN"}"#), "{answer}");
    assert_eq!(asks, 1);
}

/// Nobody is asked about a request that is none.
pub fn a_broken_request_is_answered_with_400<R: Runtime>() {
    let (answer, asks) = refuse::<R>("NONSENSE\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("whole JSON");
    assert_eq!(body["error"], "E_INVALID_REQUEST");
    assert_eq!(asks, 0);
}

/// Sends a request to a gateway that refuses everybody. Returns all that came back, and how often
/// the host was asked.
fn refuse<R: Runtime>(request: &str) -> (String, usize) {
    let entrance = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = entrance.local_addr().unwrap();
    thread::scope(|scope| {
        let browser = scope.spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let (stream, _) = entrance.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let asks = R::block_on(async {
            let clock = R::clock();
            let session = Session::listening([3; 32], clock.now());
            let browser = R::accept(stream).unwrap();
            let mut driver: Driver<_, Upstream<R::Socket>, _> =
                Driver::new(session, browser, bytes::BytesMut::new(), clock);
            let mut asks = 0;
            loop {
                match R::next(&mut driver).await {
                    Turn::Ask(Ask::Admit(_)) => {
                        asks += 1;
                        driver.answer(Answer::Refused {
                            status: 403,
                            body: r#"{"error":"E_FORBIDDEN"}"#.to_owned(),
                            retry_after: None,
                        });
                    }
                    Turn::Done => return asks,
                    turn => panic!("{turn:?}"),
                }
            }
        });
        (browser.join().expect("the browser's findings"), asks)
    })
}
