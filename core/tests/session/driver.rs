//! The driver's promises: it may be cancelled at any point, reads what was said before an end, and
//! takes a broken write for what it is.

use core::task::{Context, Poll, Waker};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::BytesMut;
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::code::CloseDetail;
use periscope_core::drive::{Driver, Turn};
use periscope_core::http::ServerUpgrade;
use periscope_core::leg::exec_server::{Ending, ExecServer, Streams};
use periscope_core::outbox::Outbox;
use periscope_core::session::{Answer, Ask, Dialed, Event, Order, Session, Summary};
use periscope_core::time::Instant;
use periscope_core::transport::{Clock, Transport};

use crate::rig::{V4, V5, config, secs};

const HANDSHAKE: &[u8] = b"GET /exec HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A socket that hands out prepared bytes and keeps what it is given, both in slivers.
#[derive(Clone, Debug, Default)]
struct Slivers(Rc<RefCell<Wire>>);

#[derive(Debug, Default)]
struct Wire {
    /// For the session to read.
    incoming: Vec<u8>,
    /// What comes after that.
    ends: bool,
    /// What the session wrote.
    written: Vec<u8>,
    refuses: bool,
    is_broken: bool,
}

impl Slivers {
    fn says(&self, bytes: &[u8]) {
        self.0.borrow_mut().incoming.extend_from_slice(bytes);
    }

    fn written(&self) -> Vec<u8> {
        self.0.borrow().written.clone()
    }
}

impl Transport for Slivers {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let len = wire.incoming.len().min(max).min(3);
        if len == 0 {
            return if wire.ends {
                Poll::Ready(Ok(0))
            } else {
                Poll::Pending
            };
        }
        buf.extend(wire.incoming.drain(..len));
        Poll::Ready(Ok(len))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        if wire.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if wire.refuses {
            return Poll::Pending;
        }
        let all = chunks.iter().flat_map(|chunk| chunk.iter());
        let taken: Vec<u8> = all.take(5).copied().collect();
        wire.written.extend_from_slice(&taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
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

type Drive = Driver<Slivers, Slivers, HandClock>;

/// Polls until the host is needed; the future a runtime would make of each poll is dropped.
fn next(driver: &mut Drive) -> Option<Turn> {
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

fn dialed() -> Dialed {
    Dialed {
        host: "h".to_owned(),
        path_prefix: String::new(),
        headers: Vec::new(),
    }
}

#[test]
fn a_driver_that_is_cancelled_after_every_poll_loses_nothing() {
    let (browser, api, clock) = (Slivers::default(), Slivers::default(), HandClock::default());
    let session = Session::listening([7; 32], Instant::ZERO);
    let leftover = BytesMut::from(&HANDSHAKE[..30]);
    let mut driver = Driver::new(session, browser.clone(), leftover, clock.clone());
    assert!(next(&mut driver).is_none());
    browser.says(&HANDSHAKE[30..]);
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
    let written = browser.written();
    assert!(written.starts_with(b"HTTP/1.1 101 ") && written.ends_with(b"\r\n\r\n"));
    driver.attach(api.clone(), dialed());
    assert!(next(&mut driver).is_none());
    let request = api.written();
    assert!(request.starts_with(b"GET ") && request.ends_with(b"\r\n\r\n"));
    driver.order(Order::End(CloseDetail::AdminKill));
    let (summary, ends) = finish(&mut driver, &clock);
    assert_eq!(ends, 1);
    assert_eq!(summary.detail, CloseDetail::AdminKill);
}

/// Lets a driver run until it is done: the end it told, and how often.
fn finish(driver: &mut Drive, clock: &HandClock) -> (Summary, usize) {
    let mut ended = Vec::new();
    for _ in 0..200 {
        match next(driver) {
            Some(Turn::Done) => {
                let count = ended.len();
                return (ended.remove(0), count);
            }
            Some(Turn::Event(Event::Ended(summary))) => ended.push(summary),
            Some(_) => {}
            None => clock.advance(secs(1)),
        }
    }
    panic!("never done");
}

/// A session that is up over v4 with a terminal, and the apiserver's half of it.
fn up() -> (Drive, Slivers, Slivers, HandClock, ExecServer, Outbox) {
    let (browser, api, clock) = (Slivers::default(), Slivers::default(), HandClock::default());
    let mut config = config();
    config.first = V4;
    let session = Session::accepted(config, [7; 32], Instant::ZERO);
    let mut driver = Driver::new(session, browser.clone(), BytesMut::new(), clock.clone());
    let Some(Turn::Ask(Ask::Dial(_))) = next(&mut driver) else {
        panic!("no dial");
    };
    driver.attach(api.clone(), dialed());
    assert!(next(&mut driver).is_none());
    let mut upgrade = ServerUpgrade::new();
    let mut request = BytesMut::from(api.written().as_slice());
    upgrade.receive(&mut request).unwrap().unwrap();
    let mut out = Outbox::new();
    upgrade
        .accept_websocket(Some("v4.channel.k8s.io"), &mut out)
        .unwrap();
    let streams = Streams {
        stdin: true,
        stdout: true,
        stderr: false,
        tty: true,
    };
    let mut exec = ExecServer::websocket(Subprotocol::V4, streams, Vec::new());
    exec.start(&mut out);
    exec.output(Stream::Stdout, BytesMut::from("$ "), &mut out);
    flush(&mut out, &api);
    while !driver.session().is_up() {
        assert!(next(&mut driver).is_some(), "not up");
    }
    while next(&mut driver).is_some() {}
    (driver, browser, api, clock, exec, out)
}

fn flush(out: &mut Outbox, api: &Slivers) {
    let bytes = out.chunks().collect::<Vec<&[u8]>>().concat();
    out.advance(bytes.len());
    api.says(&bytes);
}

/// A masked (with zeros) binary message.
fn typed(text: &[u8]) -> Vec<u8> {
    let len = u8::try_from(text.len()).unwrap();
    [&[0x82, 0x80 | len, 0, 0, 0, 0], text].concat()
}

#[test]
fn a_status_behind_a_write_that_failed_is_still_read() {
    let (mut driver, browser, api, clock, mut exec, mut out) = up();
    exec.finish(&Ending::Exit(3), &mut out);
    flush(&mut out, &api);
    api.0.borrow_mut().ends = true;
    api.0.borrow_mut().is_broken = true;
    browser.says(&typed(b"too late"));
    let (summary, _) = finish(&mut driver, &clock);
    assert_eq!(summary.detail, CloseDetail::ProcessExit);
    assert_eq!(summary.exit_code, Some(3));
}

#[test]
fn an_end_of_file_is_told_behind_the_bytes_before_it() {
    let (mut driver, browser, _api, clock, _exec, _out) = up();
    let close = br#"{"type":"close"}"#;
    let head = [0x81, 0x80 | u8::try_from(close.len()).unwrap(), 0, 0, 0, 0];
    browser.says(&[&head, close.as_slice()].concat());
    browser.0.borrow_mut().ends = true;
    let (summary, _) = finish(&mut driver, &clock);
    assert_eq!(summary.detail, CloseDetail::UserClose);
}

#[test]
fn half_a_message_does_not_hide_the_end_behind_it() {
    let (mut driver, browser, _api, clock, _exec, _out) = up();
    browser.says(&typed(b"half")[..3]);
    browser.0.borrow_mut().ends = true;
    let (summary, _) = finish(&mut driver, &clock);
    assert_eq!(summary.detail, CloseDetail::TabGone);
}

#[test]
fn a_browser_that_cannot_be_written_to_is_gone() {
    let (mut driver, browser, api, clock, mut exec, mut out) = up();
    browser.0.borrow_mut().is_broken = true;
    exec.output(Stream::Stdout, BytesMut::from("more"), &mut out);
    flush(&mut out, &api);
    let (summary, _) = finish(&mut driver, &clock);
    assert_eq!(summary.detail, CloseDetail::TabGone);
    assert_eq!(summary.truncated, Some(true));
}

#[test]
fn a_browser_that_left_while_unread_shows_at_the_next_ping() {
    let (mut driver, browser, api, clock, _exec, _out) = up();
    api.0.borrow_mut().refuses = true;
    for _ in 0..1000 {
        browser.says(&typed(&[b'x'; 120]));
    }
    browser.0.borrow_mut().ends = true;
    while next(&mut driver).is_some() {}
    for _ in 0..4000 {
        assert!(next(&mut driver).is_none());
    }
    assert!(!browser.0.borrow().incoming.is_empty(), "not read");
    browser.0.borrow_mut().is_broken = true;
    clock.advance(secs(20));
    let (summary, _) = finish(&mut driver, &clock);
    assert_eq!(summary.detail, CloseDetail::TabGone);
}
