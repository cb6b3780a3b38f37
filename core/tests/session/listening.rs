//! Sessions that read the browser's handshake themselves, and the driver's promises.

use core::task::{Context, Poll, Waker};
use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;

use bytes::BytesMut;
use periscope_core::code::CloseDetail;
use periscope_core::drive::{Driver, Turn};
use periscope_core::session::{Answer, Ask, Order, Session};
use periscope_core::time::Instant;
use periscope_core::transport::{Clock, Transport};

use crate::rig::{Rig, V5, config, millis, secs};

const HANDSHAKE: &[u8] = b"GET /exec HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked (with zeros) message `hi`, and a ping.
const EARLY: &[u8] = &[0x82, 0x82, 0, 0, 0, 0, b'h', b'i', 0x89, 0x80, 0, 0, 0, 0];

fn listening() -> Rig {
    let mut rig = Rig::of(Session::listening([7; 32], Instant::ZERO));
    rig.raw = Some(Vec::new());
    rig
}

fn raw(rig: &Rig) -> String {
    String::from_utf8_lossy(rig.raw.as_deref().unwrap_or_default()).into_owned()
}

#[test]
fn a_handshake_asks_for_admission_and_yes_is_the_101() {
    let mut rig = listening();
    for piece in HANDSHAKE.chunks(5) {
        assert_eq!(rig.count("ask admit"), 0);
        rig.browser_says(piece);
    }
    assert_eq!(rig.admissions[0].path(), "/exec");
    assert_eq!(raw(&rig), "", "the answer waits for the host");
    rig.answer(Answer::Admitted(Box::new(config())));
    let text = raw(&rig);
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
    rig.in_order(&["ask admit", "dial WebSocketV5"]);
}

#[test]
fn early_bytes_are_stdin_and_nothing_overtakes_the_101() {
    let mut rig = listening();
    rig.browser_takes = 0;
    rig.browser_says(&[HANDSHAKE, EARLY].concat());
    rig.answer(Answer::Admitted(Box::new(config())));
    rig.accept();
    rig.advance(secs(21)); // a ping of ours is due as well
    rig.browser_takes = usize::MAX;
    rig.pump();
    assert!(raw(&rig).starts_with("HTTP/1.1 101 "), "{:?}", raw(&rig));
    assert_eq!(rig.stdin, b"hi");
}

#[test]
fn a_refusal_is_answered_in_http_and_the_connection_closed_in_order() {
    let mut rig = listening();
    rig.browser_says(HANDSHAKE);
    rig.answer(Answer::Refused {
        status: 403,
        body: r#"{"error":"E_EXEC_DISABLED"}"#.to_owned(),
    });
    let text = raw(&rig);
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    assert!(
        text.contains("Content-Type: application/json\r\n"),
        "{text}"
    );
    assert!(text.ends_with(r#"{"error":"E_EXEC_DISABLED"}"#), "{text}");
    rig.in_order(&["shutdown Browser", "over"]);
    assert!(rig.summary.is_none(), "there was no session");
}

#[test]
fn a_broken_head_is_a_400_and_a_request_for_something_else_too() {
    let mut rig = listening();
    rig.browser_says(b"\x16\x03\x01 what\r\n\r\n");
    assert!(raw(&rig).starts_with("HTTP/1.1 400 "), "{}", raw(&rig));
    rig.in_order(&["over"]);

    let mut rig = listening();
    rig.browser_says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.answer(Answer::Admitted(Box::new(config())));
    assert!(raw(&rig).starts_with("HTTP/1.1 400 "), "{}", raw(&rig));
    rig.in_order(&["over"]);
}

#[test]
fn a_head_has_ten_seconds_and_the_host_fifteen() {
    let mut rig = listening();
    rig.advance(secs(5));
    rig.browser_says(&HANDSHAKE[..20]);
    rig.advance(millis(4999));
    assert_eq!(rig.count("over"), 0);
    rig.advance(millis(1));
    rig.advance(secs(1));
    rig.in_order(&["over"]);
    assert_eq!(rig.count("ask admit"), 0);

    let mut rig = listening();
    rig.browser_says(HANDSHAKE);
    rig.advance(millis(14_999));
    assert_eq!(rig.count("over"), 0);
    rig.advance(millis(1));
    assert!(raw(&rig).starts_with("HTTP/1.1 500 "), "{}", raw(&rig));
    assert!(raw(&rig).contains(r#""error":"E_INTERNAL""#));
    assert!(raw(&rig).contains(r#""message":""#));
    rig.in_order(&["over"]);
    rig.answer(Answer::Admitted(Box::new(config())));
    assert_eq!(rig.count("dial WebSocketV5"), 0, "too late");
}

#[test]
fn a_browser_that_leaves_and_an_order_end_a_handshake_at_once() {
    for asking in [true, false] {
        let mut rig = listening();
        if asking {
            rig.browser_says(HANDSHAKE);
        }
        rig.browser_vanishes();
        rig.in_order(&["abort browser", "over"]);
        let mut rig = listening();
        if asking {
            rig.browser_says(HANDSHAKE);
        }
        rig.order(Order::End(CloseDetail::Internal));
        rig.in_order(&["over"]);
    }
}

#[test]
fn a_refusal_nobody_takes_is_cut_off_after_a_second() {
    let mut rig = listening();
    rig.browser_takes = 0;
    rig.browser_says(HANDSHAKE);
    rig.answer(Answer::Refused {
        status: 429,
        body: "{}".to_owned(),
    });
    assert_eq!(rig.until_over(), secs(1));
    rig.in_order(&["abort browser"]);
}

/// A socket that hands out prepared bytes and keeps what it is given, both in slivers.
#[derive(Clone, Debug, Default)]
struct Slivers(Rc<RefCell<(Vec<u8>, Vec<u8>)>>);

impl Transport for Slivers {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<std::io::Result<usize>> {
        let mut both = self.0.borrow_mut();
        let len = both.0.len().min(max).min(3);
        if len == 0 {
            return Poll::Pending;
        }
        buf.extend(both.0.drain(..len));
        Poll::Ready(Ok(len))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let taken: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| chunk.iter())
            .take(5)
            .copied()
            .collect();
        self.0.borrow_mut().1.extend_from_slice(&taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Debug, Default)]
struct HandClock(Rc<RefCell<Instant>>);

impl HandClock {
    fn advance(&self, duration: core::time::Duration) {
        let now = self.now();
        *self.0.borrow_mut() = now.after(duration);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        *self.0.borrow()
    }

    fn poll_until(&mut self, _: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.now() >= deadline {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Polls until the host is needed; the future a runtime would make of each poll is dropped.
fn next(driver: &mut Driver<Slivers, Slivers, HandClock>) -> Option<Turn> {
    for _ in 0..10 {
        let turn = {
            let mut future = core::pin::pin!(core::future::poll_fn(|cx| driver.poll_next(cx)));
            let mut cx = Context::from_waker(Waker::noop());
            Future::poll(future.as_mut(), &mut cx)
        };
        if let Poll::Ready(turn) = turn {
            return Some(turn);
        }
    }
    None
}

#[test]
fn a_driver_that_is_cancelled_after_every_poll_loses_nothing() {
    let (browser, api, clock) = (Slivers::default(), Slivers::default(), HandClock::default());
    let session = Session::listening([7; 32], Instant::ZERO);
    let leftover = BytesMut::from(&HANDSHAKE[..30]);
    let mut driver = Driver::new(session, browser.clone(), leftover, clock.clone());
    assert!(next(&mut driver).is_none());
    browser.0.borrow_mut().0.extend_from_slice(&HANDSHAKE[30..]);
    let Some(Turn::Ask(Ask::Admit(head))) = next(&mut driver) else {
        panic!("no admission");
    };
    assert_eq!(head.path(), "/exec");
    assert!(next(&mut driver).is_none(), "a question is put once");
    driver.answer(Answer::Admitted(Box::new(config())));
    let Some(Turn::Ask(Ask::Dial(dial))) = next(&mut driver) else {
        panic!("no dial");
    };
    assert_eq!(dial.transport, V5);
    assert!(next(&mut driver).is_none());
    let written = browser.0.borrow_mut().1.clone();
    assert!(written.starts_with(b"HTTP/1.1 101 ") && written.ends_with(b"\r\n\r\n"));
    driver.attach(
        api.clone(),
        periscope_core::session::Dialed {
            host: "h".to_owned(),
            path_prefix: String::new(),
            headers: Vec::new(),
        },
    );
    assert!(next(&mut driver).is_none());
    let request = api.0.borrow_mut().1.clone();
    assert!(request.starts_with(b"GET ") && request.ends_with(b"\r\n\r\n"));
    driver.order(Order::End(CloseDetail::AdminKill));
    let mut turns = Vec::new();
    while let Some(turn) = next(&mut driver) {
        let done = matches!(turn, Turn::Done);
        turns.push(format!("{turn:?}"));
        if done {
            break;
        }
        clock.advance(secs(1));
    }
    clock.advance(secs(2));
    while let Some(turn) = next(&mut driver) {
        turns.push(format!("{turn:?}"));
        if matches!(turn, Turn::Done) {
            break;
        }
    }
    assert_eq!(
        turns
            .iter()
            .filter(|turn| turn.starts_with("Event(Ended"))
            .count(),
        1
    );
    assert_eq!(turns.last().map(String::as_str), Some("Done"));
}
