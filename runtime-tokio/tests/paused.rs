//! The timers with their real values, on tokio's paused clock: minutes pass in no time, and every
//! end is exact to the millisecond.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is a finding"
)]

use core::time::Duration;

use bytes::BytesMut;
use periscope_conformance::stage::config;
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::code::CloseDetail;
use periscope_core::drive::{Driver, Turn};
use periscope_core::http::ServerUpgrade;
use periscope_core::leg::exec_server::{Event as Exec, ExecServer, Streams};
use periscope_core::outbox::Outbox;
use periscope_core::session::{Ask, Dialed, Event, Order, Session, Summary, Timing};
use periscope_core::transport::Clock;
use periscope_core::ws::{self, Kind, WebSocket};
use periscope_runtime_tokio::{Socket, TokioClock, next};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const WIRE_BYTES: usize = 64 * 1024;

/// How the browser behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manners {
    /// Answers pings and Close.
    Polite,
    /// Reads and never says anything.
    Mute,
    /// Does not even read.
    Deaf,
}

/// What a session looked like.
struct Seen {
    end: Summary,
    lasted: Duration,
    /// Console messages and when they came.
    texts: Vec<(Duration, Value)>,
}

impl Seen {
    fn at(&self, kind: &str) -> Duration {
        let found = self.texts.iter().find(|(_, text)| text["type"] == kind);
        found.expect(kind).0
    }
}

async fn write(stream: &mut DuplexStream, out: &mut Outbox) {
    let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    out.advance(out.len());
    // A side that is gone is the session's to notice.
    let _ = stream.write_all(&bytes).await;
}

/// An apiserver whose process says `output` and then nothing.
async fn apiserver(mut stream: DuplexStream, output: Vec<u8>) {
    let (mut input, mut out) = (BytesMut::new(), Outbox::new());
    let mut upgrade = ServerUpgrade::new();
    while upgrade.receive(&mut input).unwrap().is_none() {
        assert!(stream.read_buf(&mut input).await.unwrap() > 0);
    }
    let v5 = Subprotocol::V5;
    let name = Some(v5.as_str());
    upgrade.accept_websocket(name, &mut out).unwrap();
    let streams = Streams {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let mut server = ExecServer::websocket(v5, streams, Vec::new());
    server.start(&mut out);
    server.output(Stream::Stdout, BytesMut::from(output.as_slice()), &mut out);
    loop {
        while let Some(event) = server.receive(&mut input, 4096, &mut out).unwrap() {
            assert!(matches!(event, Exec::Ready | Exec::Alive), "{event:?}");
        }
        write(&mut stream, &mut out).await;
        if !matches!(stream.read_buf(&mut input).await, Ok(len) if len > 0) {
            return;
        }
    }
}

async fn browser(
    mut stream: DuplexStream,
    manners: Manners,
    began: Instant,
) -> Vec<(Duration, Value)> {
    let (mut input, mut out) = (BytesMut::new(), Outbox::new());
    let mut ws = WebSocket::client([1; 32], u64::MAX);
    let (mut text, mut texts) = (Vec::new(), Vec::new());
    if manners == Manners::Deaf {
        sleep_until(began + Duration::from_hours(1)).await;
    }
    while matches!(stream.read_buf(&mut input).await, Ok(len) if len > 0) {
        while let Some(event) = ws.receive(&mut input, 1 << 20, &mut out).unwrap() {
            match event {
                ws::Event::Data {
                    kind: Kind::Text,
                    payload,
                    last,
                    ..
                } => {
                    text.extend_from_slice(&payload);
                    if last {
                        let value = serde_json::from_slice(&text).unwrap();
                        texts.push((began.elapsed(), value));
                        text.clear();
                    }
                }
                ws::Event::Close { code, .. } => ws.close(code, "", &mut out).unwrap(),
                ws::Event::Data { .. } | ws::Event::Ping | ws::Event::Pong { .. } => {}
            }
        }
        if manners == Manners::Polite {
            write(&mut stream, &mut out).await;
        }
    }
    texts
}

/// Plays one session; `order` is given at its time.
async fn play(manners: Manners, output: Vec<u8>, order: Option<(Duration, Order)>) -> Seen {
    let began = Instant::now();
    let clock = TokioClock::new(began);
    let (near, far) = duplex(WIRE_BYTES);
    let page: JoinHandle<_> = tokio::spawn(browser(far, manners, began));
    let mut config = config();
    config.timing = Timing::default();
    let session = Session::accepted(config, [2; 32], clock.now());
    let mut driver = Driver::new(session, Socket(near), BytesMut::new(), clock);
    let mut order = order;
    let mut end = None;
    loop {
        let order_at = order.map_or(began + Duration::from_hours(9), |(at, _)| began + at);
        let turn = tokio::select! {
            turn = next(&mut driver) => turn,
            () = sleep_until(order_at) => {
                let (_, order) = order.take().expect("nothing lasts nine hours");
                driver.order(order);
                continue;
            }
        };
        match turn {
            Turn::Ask(Ask::Dial(_)) => {
                let (near, far) = duplex(WIRE_BYTES);
                tokio::spawn(apiserver(far, output.clone()));
                let dialed = Dialed {
                    host: "h".to_owned(),
                    path_prefix: String::new(),
                    headers: Vec::new(),
                };
                driver.attach(Socket(near), dialed);
            }
            Turn::Event(Event::Ended(summary)) => end = Some(summary),
            Turn::Event(_) => {}
            Turn::Done => break,
            Turn::Ask(_) | Turn::CancelDial => panic!("{turn:?}"),
        }
    }
    drop(driver);
    let lasted = began.elapsed();
    Seen {
        end: end.expect("`Ended` came"),
        lasted,
        texts: page.await.unwrap(),
    }
}

/// Nothing is early, and a timer of tokio is a millisecond late at most.
fn about(at: Duration, expected: Duration) {
    let late = at.checked_sub(expected).expect("not early");
    assert!(late <= Duration::from_millis(2), "{at:?}, not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn idle_warns_after_570_seconds_and_ends_after_600() {
    let seen = play(Manners::Polite, b"$".to_vec(), None).await;
    assert_eq!(seen.end.detail, CloseDetail::Idle);
    about(seen.at("idle_warn"), Duration::from_secs(570));
    about(seen.at("closed"), Duration::from_mins(10));
    about(seen.lasted, Duration::from_mins(10));
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_answers_no_ping_is_lost_after_30_seconds() {
    let seen = play(Manners::Mute, b"$".to_vec(), None).await;
    assert_eq!(seen.end.detail, CloseDetail::HeartbeatLost);
    about(seen.at("closed"), Duration::from_secs(30));
    // One second more for a Close that never comes.
    about(seen.lasted, Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_reads_nothing_is_stalled_after_a_minute_and_gone_in_three_seconds() {
    let seen = play(Manners::Deaf, vec![b'x'; 2 * 1024 * 1024], None).await;
    assert_eq!(seen.end.detail, CloseDetail::Stalled);
    assert_eq!(seen.end.truncated, Some(true));
    about(seen.lasted, Duration::from_secs(63));
}

#[tokio::test(start_paused = true)]
async fn a_drain_warns_at_once_and_ends_after_its_seconds() {
    let order = (Duration::from_secs(5), Order::Drain { seconds: 10 });
    let seen = play(Manners::Polite, b"$".to_vec(), Some(order)).await;
    assert_eq!(seen.end.detail, CloseDetail::Drain);
    about(seen.at("drain"), Duration::from_secs(5));
    about(seen.at("error"), Duration::from_secs(15));
    about(seen.lasted, Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_up_drains_at_once() {
    // Without output it would be up half a second after the 101.
    let order = (Duration::from_millis(400), Order::Drain { seconds: 10 });
    let seen = play(Manners::Polite, Vec::new(), Some(order)).await;
    assert_eq!(seen.end.detail, CloseDetail::Drain);
    about(seen.lasted, Duration::from_millis(400));
}
