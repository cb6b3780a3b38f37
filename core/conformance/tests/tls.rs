//! `core::tls` by hand: what it does at every call, and whom it wakes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: a panic is a finding"
)]

mod pipe;

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use periscope_conformance::{certificates, pattern};
use periscope_core::limits::TLS_WRITE_BYTES_MAX;
use periscope_core::tls::Tls;
use periscope_core::transport::Transport;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, SupportedProtocolVersion};

use self::pipe::{Counter, Far, Manners, Near, connect};

const ROOMY: Manners = Manners {
    capacity: 1 << 20,
    chaos: None,
};

/// Client and server, their wire, and a waker that counts.
struct Pair {
    tls: Tls<Near>,
    server: ServerConnection,
    far: Far,
    wakes: Arc<Counter>,
    waker: Waker,
}

impl Pair {
    fn new(manners: Manners, version: &'static SupportedProtocolVersion) -> Self {
        Self::with_client(manners, version, certificates::client())
    }

    fn with_client(
        manners: Manners,
        version: &'static SupportedProtocolVersion,
        config: Arc<rustls::ClientConfig>,
    ) -> Self {
        let (near, far) = connect(manners);
        let (wakes, waker) = Counter::pair();
        Self {
            tls: Tls::new(near, config, certificates::server_name()).unwrap(),
            server: ServerConnection::new(certificates::server(&[version], 0)).unwrap(),
            far,
            wakes,
            waker,
        }
    }

    fn read(&mut self, buf: &mut BytesMut, max: usize) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(&self.waker);
        self.tls.poll_read(&mut cx, buf, max)
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(&self.waker);
        self.tls.poll_write(&mut cx, &[IoSlice::new(bytes)])
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(&self.waker);
        self.tls.poll_flush(&mut cx)
    }

    fn shutdown(&mut self) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(&self.waker);
        self.tls.poll_shutdown(&mut cx)
    }

    /// The server takes what came and sends what it has.
    fn serve(&mut self) {
        let far = &mut self.far;
        while far.unread() > 0 {
            self.server.read_tls(far).unwrap();
            self.server.process_new_packets().unwrap();
        }
        self.send();
    }

    fn send(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.far).unwrap();
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.server.writer().write_all(bytes).unwrap();
        self.send();
    }

    /// What the server can read.
    fn heard(&mut self) -> Vec<u8> {
        self.serve();
        let mut heard = vec![0; 1 << 20];
        let len = match self.server.reader().read(&mut heard) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        heard.truncate(len);
        heard
    }

    fn shake_hands(mut self) -> Self {
        let mut buf = BytesMut::new();
        for _ in 0..3 {
            assert!(self.read(&mut buf, 1).is_pending());
            self.serve();
        }
        assert!(!self.server.is_handshaking(), "the client says nothing");
        assert!(self.read(&mut buf, 1).is_pending());
        self.wakes.take();
        self
    }
}

fn kind<T: std::fmt::Debug>(polled: Poll<io::Result<T>>) -> io::ErrorKind {
    match polled {
        Poll::Ready(Err(error)) => error.kind(),
        other => panic!("an error was expected, got {other:?}"),
    }
}

fn len(polled: Poll<io::Result<usize>>) -> usize {
    match polled {
        Poll::Ready(Ok(len)) => len,
        other => panic!("bytes were expected, got {other:?}"),
    }
}

#[test]
fn a_read_that_ends_the_handshake_sends_our_last_words_and_wakes_the_writer() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(ROOMY, version);
        let mut buf = BytesMut::new();
        // The writer always comes before the server's answer and the reader after it. TLS 1.2
        // takes two flights.
        let woken = (0..3).any(|_| {
            assert!(pair.write(b"request").is_pending());
            pair.serve();
            pair.wakes.take();
            assert!(pair.read(&mut buf, 1).is_pending());
            pair.wakes.take() > 0
        });
        assert!(woken, "{version:?}: nobody wakes the writer");
        pair.serve();
        assert!(!pair.server.is_handshaking(), "{version:?}: no Finished");
        assert_eq!(len(pair.write(b"request")), 7);
        assert_eq!(pair.heard(), b"request");
    }
}

#[test]
fn a_wrong_certificate_is_told_to_the_reader_too() {
    let config = certificates::client_of_another_authority();
    let mut pair = Pair::with_client(ROOMY, &TLS13, config);
    assert!(pair.write(b"request").is_pending());
    pair.serve();
    assert_eq!(kind(pair.write(b"request")), io::ErrorKind::InvalidData);
    let mut buf = BytesMut::new();
    for _ in 0..2 {
        let told = kind(pair.read(&mut buf, 10));
        assert_eq!(told, io::ErrorKind::InvalidData);
        assert_eq!(kind(pair.write(b"request")), io::ErrorKind::InvalidData);
    }
    assert!(pair.far.unread() > 0, "the alert");
}

#[test]
fn what_the_peer_said_is_read_though_writing_fails() {
    let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
    pair.far.set_capacity(0);
    assert_eq!(len(pair.write(b"stuck")), 5);
    pair.far.set_capacity(1 << 20);
    pair.far.break_writes(io::ErrorKind::BrokenPipe);
    pair.say(b"last words");
    assert_eq!(kind(pair.write(b"more")), io::ErrorKind::BrokenPipe);
    let mut buf = BytesMut::new();
    assert_eq!(len(pair.read(&mut buf, 100)), 10);
    assert_eq!(&buf[..], b"last words");
    pair.far.finish();
    assert_eq!(len(pair.read(&mut buf, 100)), 0);
}

#[test]
fn what_came_before_a_broken_record_is_read() {
    let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
    pair.say(b"good");
    pair.far.write_all(&[23, 3, 3, 0, 20]).unwrap();
    pair.far.write_all(&[0; 20]).unwrap();
    let mut buf = BytesMut::new();
    assert_eq!(len(pair.read(&mut buf, 100)), 4);
    assert_eq!(&buf[..], b"good");
    assert_eq!(kind(pair.read(&mut buf, 100)), io::ErrorKind::InvalidData);
    assert_eq!(kind(pair.read(&mut buf, 100)), io::ErrorKind::InvalidData);
    assert_eq!(kind(pair.write(b"more")), io::ErrorKind::InvalidData);
}

#[test]
fn an_end_of_file_in_the_handshake_is_a_failure_of_tls() {
    for answer in [&b""[..], &[22, 3, 3, 0, 50, 2]] {
        let mut pair = Pair::new(ROOMY, &TLS13);
        let mut buf = BytesMut::new();
        assert!(pair.read(&mut buf, 10).is_pending());
        pair.far.write_all(answer).unwrap();
        pair.far.finish();
        assert_eq!(kind(pair.read(&mut buf, 10)), io::ErrorKind::InvalidData);
        assert_eq!(kind(pair.write(b"x")), io::ErrorKind::InvalidData);
    }
}

#[test]
fn an_answer_that_is_not_tls_is_a_failure_of_tls() {
    let mut pair = Pair::new(ROOMY, &TLS13);
    pair.far
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .unwrap();
    let mut buf = BytesMut::new();
    assert_eq!(kind(pair.read(&mut buf, 10)), io::ErrorKind::InvalidData);
}

#[test]
fn an_end_of_file_is_an_end_with_or_without_close_notify_and_inside_a_record() {
    let half_a_record = [23, 3, 3, 0, 100, 1, 2, 3];
    for (notify, junk) in [(true, &[][..]), (false, &[]), (false, &half_a_record)] {
        let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
        pair.say(b"end");
        if notify {
            pair.server.send_close_notify();
            pair.send();
        }
        pair.far.write_all(junk).unwrap();
        let mut buf = BytesMut::new();
        if !notify {
            pair.far.finish();
        }
        assert_eq!(len(pair.read(&mut buf, 2)), 2);
        assert_eq!(len(pair.read(&mut buf, 2)), 1);
        assert_eq!(&buf[..], b"end");
        for _ in 0..3 {
            assert_eq!(len(pair.read(&mut buf, 2)), 0);
        }
    }
}

#[test]
fn plaintext_is_taken_only_when_no_ciphertext_waits() {
    let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
    pair.far.set_capacity(0);
    let bytes = pattern::run(0, 1 << 20);
    let taken = len(pair.write(&bytes));
    assert!(taken <= TLS_WRITE_BYTES_MAX, "{taken} bytes in one write");
    for _ in 0..3 {
        assert!(pair.write(&bytes[taken..]).is_pending());
        assert!(pair.flush().is_pending());
    }
    // Room for a part only: still nothing more is taken, and the waker stands.
    pair.far.set_capacity(100);
    assert!(pair.wakes.take() > 0, "nobody wakes the writer");
    assert!(pair.flush().is_pending());
    assert!(pair.write(&bytes[taken..]).is_pending());
    pair.far.set_capacity(1 << 20);
    assert!(pair.wakes.take() > 0, "nobody wakes the writer");
    assert!(matches!(pair.flush(), Poll::Ready(Ok(()))));
    let heard = pair.heard();
    assert_eq!(heard.len(), taken);
    pattern::check(0, &heard);
}

#[test]
fn nothing_is_read_from_the_wire_while_plaintext_waits() {
    let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
    let sent = pattern::run(0, 200_000);
    for piece in sent.chunks(10_000) {
        pair.say(piece);
    }
    let waiting = pair.far.unread_by_near();
    let mut buf = BytesMut::new();
    assert_eq!(len(pair.read(&mut buf, 1)), 1);
    let after_one = pair.far.unread_by_near();
    assert!(waiting - after_one <= 64 * 1024, "{}", waiting - after_one);
    for _ in 0..9_000 {
        assert_eq!(len(pair.read(&mut buf, 1)), 1);
    }
    assert_eq!(pair.far.unread_by_near(), after_one);
    while buf.len() < sent.len() {
        assert!(len(pair.read(&mut buf, 3_000)) <= 3_000);
    }
    pattern::check(0, &buf);
}

#[test]
fn shutdown_says_close_notify_and_then_fin() {
    let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
    pair.far.set_capacity(0);
    assert_eq!(len(pair.write(b"last")), 4);
    for _ in 0..3 {
        assert!(pair.shutdown().is_pending());
        assert!(!pair.far.is_finished(), "FIN before close_notify");
    }
    pair.far.set_capacity(1 << 20);
    assert!(pair.wakes.take() > 0, "nobody wakes who shuts down");
    assert!(matches!(pair.shutdown(), Poll::Ready(Ok(()))));
    assert!(pair.far.is_finished());
    assert_eq!(pair.heard(), b"last");
    let state = pair.server.process_new_packets().unwrap();
    assert!(state.peer_has_closed(), "no close_notify");
}

#[test]
fn a_drop_says_nothing() {
    let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
    assert_eq!(pair.heard(), b"");
    let Pair { tls, far, .. } = pair;
    drop(tls);
    assert!(far.is_near_gone());
    assert_eq!(far.unread(), 0);
}

#[test]
fn a_key_update_is_answered() {
    let mut pair = Pair::new(ROOMY, &TLS13).shake_hands();
    let mut buf = BytesMut::new();
    for round in 0..5 {
        pair.server.refresh_traffic_keys().unwrap();
        pair.say(b"new keys");
        buf.clear();
        assert_eq!(len(pair.read(&mut buf, 100)), 8, "round {round}");
        assert_eq!(len(pair.write(b"yours too")), 9);
        assert_eq!(pair.heard(), b"yours too");
    }
}

/// Both ends stream to each other over a wire with every bad habit, polled only when woken. A
/// lost wake stops the stream, a busy loop shows in the count of polls.
#[test]
fn streams_flow_both_ways_when_polled_only_after_a_wake() {
    const TOTAL: usize = 150_000;
    for seed in 1..60 {
        let version = if seed % 2 == 0 { &TLS12 } else { &TLS13 };
        let manners = Manners {
            capacity: [1, 100, 5_000, 40_000][usize::try_from(seed % 4).unwrap()].max(600),
            chaos: Some(seed),
        };
        let mut pair = Pair::new(manners, version);
        let (mut sent, mut got) = (0, BytesMut::new());
        let (mut server_sent, mut server_got) = (0, 0);
        let mut polls = 0_usize;
        pair.waker.wake_by_ref();
        while got.len() < TOTAL || server_got < TOTAL {
            let mut moved = false;
            if pair.wakes.take() > 0 {
                moved = true;
                // As the driver does it: until nothing moves.
                loop {
                    polls += 1;
                    let wrote = if sent < TOTAL {
                        let run = pattern::run(sent, (TOTAL - sent).min(30_000));
                        match pair.write(&run) {
                            Poll::Ready(taken) => {
                                sent += taken.unwrap();
                                true
                            }
                            Poll::Pending => false,
                        }
                    } else {
                        assert!(!matches!(pair.flush(), Poll::Ready(Err(_))));
                        false
                    };
                    let read = match pair.read(&mut got, 10_000) {
                        Poll::Ready(len) => len.unwrap() > 0,
                        Poll::Pending => false,
                    };
                    if !(wrote || read) {
                        break;
                    }
                }
            }
            moved |= pair.step_server(&mut server_sent, &mut server_got, TOTAL);
            assert!(moved, "seed {seed}: everybody waits for a wake");
        }
        pattern::check(0, &got);
        assert!(polls < 200_000, "seed {seed}: {polls} polls");
    }
}

impl Pair {
    fn step_server(&mut self, sent: &mut usize, got: &mut usize, total: usize) -> bool {
        let mut moved = false;
        while let Ok(len) = self.server.read_tls(&mut self.far) {
            assert!(len > 0, "the client left");
            moved = true;
            self.server.process_new_packets().unwrap();
            let mut plain = vec![0; 100_000];
            if let Ok(len) = self.server.reader().read(&mut plain) {
                pattern::check(*got, &plain[..len]);
                *got += len;
            }
        }
        if !self.server.is_handshaking() && !self.server.wants_write() && *sent < total {
            let run = pattern::run(*sent, (total - *sent).min(20_000));
            *sent += self.server.writer().write(&run).unwrap();
        }
        while self.server.wants_write() {
            match self.server.write_tls(&mut self.far) {
                Ok(_) => moved = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        moved
    }
}
