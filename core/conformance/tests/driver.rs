//! `core::drive` by hand: polled only when something woke it, over wires with every bad habit, on
//! a clock that stands still until everybody waits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: a panic is a finding"
)]

mod pipe;

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use periscope_conformance::stage::config;
use periscope_conformance::{certificates, pattern};
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::code::CloseDetail;
use periscope_core::drive::{Driver, Turn};
use periscope_core::http::ServerUpgrade;
use periscope_core::leg::exec_server::{Ending, Event, ExecServer, Streams};
use periscope_core::limits::CLOSE_TIMEOUT;
use periscope_core::outbox::Outbox;
use periscope_core::session::{
    Answer, Ask, Dialed, Event as Fact, Order, Phase, Session, Summary, Transport as Way,
};
use periscope_core::time::Instant;
use periscope_core::tls::{Tls, Upstream};
use periscope_core::transport::{Clock, Transport};
use periscope_core::ws::{self, Kind, WebSocket};
use rustls::ServerConnection;

use self::pipe::{Counter, Far, Manners, Near, connect};

/// Time that only the test moves.
#[derive(Clone, Debug, Default)]
struct TestClock(Rc<RefCell<Time>>);

#[derive(Debug, Default)]
struct Time {
    now: Instant,
    waits: Option<(Instant, Waker)>,
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.0.borrow().now
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let time = &mut *self.0.borrow_mut();
        if time.now >= deadline {
            return Poll::Ready(());
        }
        time.waits = Some((deadline, cx.waker().clone()));
        Poll::Pending
    }
}

impl TestClock {
    /// Goes to the next deadline. False when nobody waits for one.
    fn advance(&self) -> bool {
        let time = &mut *self.0.borrow_mut();
        let Some((deadline, waker)) = time.waits.take() else {
            return false;
        };
        time.now = time.now.max(deadline);
        waker.wake();
        true
    }
}

/// Bytes to and from a peer's socket, with or without TLS, without ever blocking.
struct Socket {
    far: Far,
    tls: Option<ServerConnection>,
    input: BytesMut,
    outbox: Outbox,
    ended: bool,
}

impl Socket {
    fn new(far: Far, tls: Option<ServerConnection>) -> Self {
        Self {
            far,
            tls,
            input: BytesMut::new(),
            outbox: Outbox::new(),
            ended: false,
        }
    }

    fn receive(&mut self) -> bool {
        let mut buffer = vec![0; 8_000];
        let mut moved = false;
        while !self.ended {
            let read = match &mut self.tls {
                None => self.far.read(&mut buffer),
                Some(tls) => match tls.reader().read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let read = tls.read_tls(&mut self.far);
                        tls.process_new_packets().unwrap();
                        if matches!(read, Ok(len) if len > 0) {
                            moved = true;
                            continue;
                        }
                        read
                    }
                    read => read,
                },
            };
            match read {
                Ok(len) => {
                    self.ended = len == 0;
                    self.input.extend_from_slice(&buffer[..len]);
                    moved = true;
                }
                Err(_) => return moved,
            }
        }
        moved
    }

    fn send(&mut self) -> bool {
        let mut moved = false;
        loop {
            let first = self.outbox.chunks().next().unwrap_or_default();
            let sent = match &mut self.tls {
                None if first.is_empty() => return moved,
                None => self.far.write(first),
                Some(tls) if tls.wants_write() => {
                    let wrote = tls.write_tls(&mut self.far).map(|_| 0);
                    moved |= wrote.is_ok();
                    wrote
                }
                Some(tls) if first.is_empty() || tls.is_handshaking() => return moved,
                Some(tls) => tls.writer().write(first),
            };
            match sent {
                Ok(len) => {
                    self.outbox.advance(len);
                    moved |= len > 0;
                }
                Err(_) => return moved,
            }
        }
    }
}

/// Gives everything back; ends when stdin does.
struct Api {
    socket: Socket,
    upgrade: ServerUpgrade,
    server: Option<ExecServer>,
    way: Way,
}

impl Api {
    fn step(&mut self) -> bool {
        let mut moved = self.socket.receive();
        let Socket { input, outbox, .. } = &mut self.socket;
        if self.server.is_none() && self.upgrade.receive(input).unwrap().is_some() {
            let streams = Streams {
                stdin: true,
                stdout: true,
                stderr: true,
                tty: false,
            };
            let name = self.way.subprotocol();
            let mut server = if self.way == Way::Spdy {
                self.upgrade.accept_spdy(name, outbox).unwrap();
                ExecServer::spdy(streams, Vec::new())
            } else {
                self.upgrade.accept_websocket(Some(name), outbox).unwrap();
                let spoken = Subprotocol::parse(name).unwrap();
                ExecServer::websocket(spoken, streams, Vec::new())
            };
            server.start(outbox);
            self.server = Some(server);
        }
        if let Some(server) = &mut self.server {
            // A process that cannot write does not read.
            while outbox.len() < 50_000 {
                let Some(event) = server.receive(input, 4_000, outbox).unwrap() else {
                    break;
                };
                moved = true;
                match event {
                    Event::Ready => server.output(Stream::Stderr, BytesMut::from("$"), outbox),
                    Event::Stdin(payload) => server.output(Stream::Stdout, payload, outbox),
                    Event::StdinEof => server.finish(&Ending::Exit(7), outbox),
                    Event::Alive | Event::Closed | Event::Resize { .. } => {}
                }
            }
        }
        self.socket.send() | moved
    }
}

/// Types, reads, and says eof.
struct Browser {
    socket: Socket,
    ws: WebSocket,
    typed: usize,
    total: usize,
    got: usize,
    texts: String,
}

impl Browser {
    fn step(&mut self) -> bool {
        let mut moved = self.socket.receive();
        let Socket { input, outbox, .. } = &mut self.socket;
        while let Some(event) = self.ws.receive(input, 4_000, outbox).unwrap() {
            moved = true;
            match event {
                ws::Event::Data {
                    kind: Kind::Binary,
                    payload,
                    ..
                } => {
                    let from = self.got;
                    self.got += payload.len();
                    // The first byte is the prompt.
                    let skip = usize::from(from == 0);
                    pattern::check((from + skip) - 1, &payload[skip..]);
                }
                ws::Event::Data { payload, .. } => {
                    let text = String::from_utf8(payload.to_vec()).unwrap();
                    self.texts.push_str(&text);
                }
                ws::Event::Close { code, .. } => self.ws.close(code, "", outbox).unwrap(),
                ws::Event::Ping | ws::Event::Pong { .. } => {}
            }
        }
        if outbox.is_empty() && self.typed < self.total && !self.ws.is_close_sent() {
            let run = pattern::run(self.typed, (self.total - self.typed).min(30_001));
            self.typed += run.len();
            let payload = BytesMut::from(run.as_slice());
            self.ws.send(Kind::Binary, &[], payload, outbox).unwrap();
            if self.typed == self.total {
                let eof = BytesMut::from(r#"{"type":"eof"}"#);
                self.ws.send(Kind::Text, &[], eof, outbox).unwrap();
            }
        }
        self.socket.send() | moved
    }
}

fn dialed() -> Dialed {
    Dialed {
        host: "h".to_owned(),
        path_prefix: String::new(),
        headers: Vec::new(),
    }
}

/// One whole session. Returns its end and when it came.
fn run(way: Way, tls: bool, seed: u64, total: usize) -> (Summary, Instant, String) {
    let manners = |salt: u64| Manners {
        capacity: [700, 5_000, 60_000][usize::try_from((seed + salt) % 3).unwrap()],
        chaos: Some(seed * 31 + salt),
    };
    let clock = TestClock::default();
    let mut config = config();
    config.first = way;
    let (browser_near, browser_far) = connect(manners(0));
    let session = Session::accepted(config, [5; 32], clock.now());
    let mut driver = Driver::new(session, browser_near, BytesMut::new(), clock.clone());
    let mut browser = Browser {
        socket: Socket::new(browser_far, None),
        ws: WebSocket::client([1; 32], u64::MAX),
        typed: 0,
        total,
        got: 0,
        texts: String::new(),
    };
    let mut api: Option<Api> = None;
    let mut end = None;
    let (wakes, waker) = Counter::pair();
    let mut polls = 0;
    waker.wake_by_ref();
    loop {
        let mut moved = false;
        if wakes.take() > 0 {
            moved = true;
            polls += 1;
            match driver.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Pending => {}
                Poll::Ready(turn) => {
                    // The host asks again.
                    waker.wake_by_ref();
                    match turn {
                        Turn::Ask(Ask::Dial(_)) => {
                            let (near, far) = connect(manners(1));
                            let (near, tls) = wrap(near, tls);
                            api = Some(Api {
                                socket: Socket::new(far, tls),
                                upgrade: ServerUpgrade::new(),
                                server: None,
                                way,
                            });
                            driver.attach(near, dialed());
                        }
                        Turn::Event(Fact::Ended(summary)) => end = Some(summary),
                        Turn::Done => break,
                        Turn::Event(_) => {}
                        Turn::Ask(_) | Turn::CancelDial => panic!("seed {seed}: {turn:?}"),
                    }
                }
            }
        }
        moved |= browser.step();
        if let Some(api) = &mut api {
            moved |= api.step();
        }
        if !moved {
            assert!(clock.advance(), "seed {seed}: everybody waits for a wake");
        }
    }
    while browser.step() {}
    assert_eq!(browser.got, total + 1, "seed {seed}");
    assert!(polls < 200_000, "seed {seed}: {polls} polls");
    (end.expect("an end"), clock.now(), browser.texts)
}

fn wrap(near: Near, tls: bool) -> (Upstream<Near>, Option<ServerConnection>) {
    if !tls {
        return (Upstream::Plain(near), None);
    }
    let tls = Tls::new(near, certificates::client(), certificates::server_name()).unwrap();
    let server = certificates::server(rustls::DEFAULT_VERSIONS, 0);
    let server = ServerConnection::new(server).unwrap();
    (Upstream::Tls(Box::new(tls)), Some(server))
}

/// A lost wake shows as time that passed: no timer is needed for bytes to flow.
#[test]
fn a_session_needs_no_timer_to_move_its_bytes() {
    for tls in [false, true] {
        for way in [Way::WebSocketV5, Way::Spdy] {
            for seed in 1..40 {
                let (end, at, texts) = run(way, tls, seed, 100_000);
                let what = format!("{way:?}, tls {tls}, seed {seed}");
                assert_eq!(end.detail, CloseDetail::ProcessExit, "{what}");
                assert_eq!(end.exit_code, Some(7), "{what}");
                assert_eq!(end.truncated, Some(false), "{what}");
                assert_eq!(end.bytes_stdin, 100_000, "{what}");
                assert_eq!(at, Instant::ZERO, "{what}: a timer had to help");
                assert!(texts.starts_with(r#"{"type":"hello""#), "{what}: {texts:?}");
                assert!(
                    texts.contains(r#"{"type":"closed""#),
                    "{what}: {texts:?} {end:?}"
                );
            }
        }
    }
}

/// A socket that does what the test says and counts how often it was asked.
#[derive(Clone, Debug, Default)]
struct Puppet(Rc<RefCell<Strings>>);

#[derive(Debug, Default)]
struct Strings {
    input: BytesMut,
    written: usize,
    reads: usize,
    writes: usize,
    flushes: usize,
    shutdowns: usize,
    /// How many shutdowns stay pending.
    slow_shutdowns: usize,
    waker: Option<Waker>,
}

impl Transport for Puppet {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let strings = &mut *self.0.borrow_mut();
        strings.reads += 1;
        strings.waker = Some(cx.waker().clone());
        let len = strings.input.len().min(max);
        buf.extend_from_slice(&strings.input.split_to(len));
        if len == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(len))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let strings = &mut *self.0.borrow_mut();
        strings.writes += 1;
        let len = chunks.iter().map(|chunk| chunk.len()).sum();
        strings.written += len;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let strings = &mut *self.0.borrow_mut();
        strings.shutdowns += 1;
        if strings.shutdowns > strings.slow_shutdowns {
            return Poll::Ready(Ok(()));
        }
        strings.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

type PuppetDriver = Driver<Puppet, Puppet, TestClock>;

fn next(driver: &mut PuppetDriver) -> Poll<Turn> {
    driver.poll_next(&mut Context::from_waker(Waker::noop()))
}

/// A handshake that is refused ends the browser's socket in order.
fn refused(slow_shutdowns: usize) -> (PuppetDriver, Puppet, TestClock) {
    let clock = TestClock::default();
    let browser = Puppet::default();
    browser.0.borrow_mut().slow_shutdowns = slow_shutdowns;
    browser.0.borrow_mut().input = BytesMut::from("nonsense\r\n\r\n");
    let session = Session::listening([0; 32], clock.now());
    let driver = Driver::new(session, browser.clone(), BytesMut::new(), clock.clone());
    (driver, browser, clock)
}

#[test]
fn a_slow_farewell_is_waited_for() {
    let (mut driver, browser, _) = refused(3);
    for _ in 0..3 {
        let turn = next(&mut driver);
        assert!(turn.is_pending(), "{turn:?} {:?}", browser.0);
    }
    assert!(browser.0.borrow().written > 0, "the refusal");
    assert!(matches!(next(&mut driver), Poll::Ready(Turn::Done)));
    assert_eq!(browser.0.borrow().shutdowns, 4);
    // The socket is gone, and asking again is harmless.
    assert_eq!(Rc::strong_count(&browser.0), 1);
    assert!(matches!(next(&mut driver), Poll::Ready(Turn::Done)));
}

#[test]
fn a_farewell_without_end_is_given_up() {
    let (mut driver, browser, clock) = refused(usize::MAX);
    assert!(next(&mut driver).is_pending());
    let began = clock.now();
    assert!(clock.advance(), "a deadline");
    assert_eq!(clock.now(), began.after(CLOSE_TIMEOUT));
    assert!(matches!(next(&mut driver), Poll::Ready(Turn::Done)));
    assert_eq!(Rc::strong_count(&browser.0), 1);
}

#[test]
fn a_turn_without_news_asks_every_socket_once() {
    let (mut driver, browser, api) = dialing();
    driver.attach(api.clone(), dialed());
    assert!(next(&mut driver).is_pending());
    for puppet in [&browser, &api] {
        *puppet.0.borrow_mut() = Strings::default();
    }
    for round in 1..4 {
        assert!(next(&mut driver).is_pending());
        for puppet in [&browser, &api] {
            let strings = puppet.0.borrow();
            assert_eq!((strings.reads, strings.writes), (round, 0));
            assert_eq!(strings.flushes, round);
        }
    }
}

/// A session that waits for its connection.
fn dialing() -> (PuppetDriver, Puppet, Puppet) {
    let clock = TestClock::default();
    let (browser, api) = (Puppet::default(), Puppet::default());
    let session = Session::accepted(config(), [0; 32], clock.now());
    let mut driver = Driver::new(session, browser.clone(), BytesMut::new(), clock);
    let turn = next(&mut driver);
    assert!(matches!(turn, Poll::Ready(Turn::Ask(Ask::Dial(_)))));
    (driver, browser, api)
}

#[test]
fn a_connection_nobody_asked_for_is_dropped_and_harms_no_other() {
    let (mut driver, _, api) = dialing();
    driver.attach(api.clone(), dialed());
    assert!(next(&mut driver).is_pending());
    let asked = api.0.borrow().written;
    assert!(asked > 0, "the upgrade request");
    let late = Puppet::default();
    driver.attach(late.clone(), dialed());
    assert!(next(&mut driver).is_pending());
    assert_eq!(Rc::strong_count(&late.0), 1, "the late one is dropped");
    assert_eq!(Rc::strong_count(&api.0), 2, "the one in use stays");
    assert_eq!(driver.session().phase(), Some(Phase::Dialing));
}

#[test]
fn a_connection_that_comes_after_the_end_is_dropped() {
    let (mut driver, _, api) = dialing();
    driver.order(Order::End(CloseDetail::AdminKill));
    assert!(matches!(next(&mut driver), Poll::Ready(Turn::CancelDial)));
    driver.attach(api.clone(), dialed());
    driver.answer(Answer::DialFailed(
        periscope_core::session::DialFailure::Tcp,
    ));
    assert_eq!(Rc::strong_count(&api.0), 1);
    assert_eq!(api.0.borrow().written, 0);
}
