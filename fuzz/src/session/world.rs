//! A session behind the driver that ships, its host, its two peers, and time.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;

use bytes::BytesMut;
use periscope_core::code::CloseDetail;
use periscope_core::drive::{Driver, Turn};
use periscope_core::http::SecretValue;
use periscope_core::session::{
    Answer, Ask, Config, Dial, DialFailure, Dialed, Event, Identity, Order, PodState, Session,
    Summary, Timing, Transport,
};
use periscope_core::time::Instant;
use periscope_core::ws::Kind;

use super::acts::api_acts;
use super::operation::{Operation, Setup};
use super::peers::{Apiserver, Browser, leave, send_raw};
use super::socket::{Pipe, Socket, Time};

/// What one session may hold, buffers and queues of both legs together.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// More turns than any run needs before nothing moves.
const TURNS_MAX: usize = 2_000_000;

/// With both peers silent every session ends within this time.
const SILENCE: Duration = Duration::from_mins(15);

/// How bytes are cut on both connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) read_max: usize,
    pub(super) write_max: usize,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) summary: Option<Summary>,
    pub(super) events: Vec<Event>,
    pub(super) output: Vec<u8>,
    pub(super) texts: Vec<String>,
    pub(super) close_code: Option<u16>,
    pub(super) refusal: Option<u16>,
    /// What each connection's process got.
    pub(super) stdin: Vec<Vec<u8>>,
    /// Whether a socket took less than everything.
    pub(super) is_limited: bool,
}

pub(super) struct World {
    setup: Setup,
    cut: Cut,
    driver: Option<Driver<Socket, Socket, Time>>,
    time: Time,
    browser: Browser,
    api: Option<Apiserver>,
    asked_admission: bool,
    asked_dial: Option<Dial>,
    asked_pod: bool,
    events: Vec<Event>,
    summary: Option<Summary>,
    /// What the processes of earlier connections got.
    stdin: Vec<Vec<u8>>,
    typed: Vec<u8>,
    is_raw: bool,
    is_limited: bool,
    /// The host refused the browser.
    is_refused: bool,
}

impl World {
    pub(super) fn new(setup: Setup, cut: Cut) -> Self {
        let time = Time::default();
        let is_listening = setup.flags & 1 != 0;
        let pipe = pipe(cut);
        let session = if is_listening {
            Session::listening([9; 32], Instant::ZERO)
        } else {
            Session::accepted(config(setup), [9; 32], Instant::ZERO)
        };
        let socket = Socket(Rc::clone(&pipe));
        Self {
            setup,
            cut,
            driver: Some(Driver::new(session, socket, BytesMut::new(), time.clone())),
            time,
            browser: Browser::new(pipe, is_listening, setup.flags),
            api: None,
            asked_admission: false,
            asked_dial: None,
            asked_pod: false,
            events: Vec::new(),
            summary: None,
            stdin: Vec::new(),
            typed: Vec::new(),
            is_raw: false,
            is_limited: false,
            is_refused: false,
        }
    }

    /// Does what an operation says, and runs until nothing moves.
    pub(super) fn operate(&mut self, operation: &Operation) {
        match operation {
            Operation::Wait(index) => {
                let span = SPANS[usize::from(*index) % SPANS.len()];
                self.pass(self.time.now.get().after(span));
            }
            Operation::Request => self.browser.shake_hands(),
            Operation::Type(bytes) => {
                self.typed.extend_from_slice(bytes);
                self.browser_sends(Kind::Binary, bytes);
            }
            Operation::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                self.is_raw = true;
                self.browser_sends(Kind::Text, text.as_bytes());
            }
            Operation::Resize(cols, rows) => {
                let text = format!(r#"{{"type":"resize","cols":{cols},"rows":{rows}}}"#);
                self.browser_sends(Kind::Text, text.as_bytes());
            }
            Operation::Ack(how) => {
                let got = self.browser.output.len();
                let bytes = match how % 3 {
                    0 => got,
                    1 => got / 2,
                    _ => got + 1,
                };
                let text = format!(r#"{{"type":"ack","bytes":{bytes}}}"#);
                self.browser_sends(Kind::Text, text.as_bytes());
            }
            Operation::Eof => {
                if self.setup.flags & 2 != 0 {
                    self.typed.push(4);
                }
                self.browser_sends(Kind::Text, br#"{"type":"eof"}"#);
            }
            Operation::BrowserClose(code) => {
                let browser = &mut self.browser;
                // Refused for codes that may not travel.
                let _ = browser.websocket.close(*code, "", &mut browser.out).is_ok();
                browser.send();
            }
            Operation::BrowserRaw(bytes) => {
                self.is_raw = true;
                send_raw(bytes, &self.browser.pipe);
            }
            Operation::BrowserGone(how) => leave(&self.browser.pipe, how % 2 == 1),
            Operation::BrowserTakes(room) => {
                self.is_limited = true;
                self.browser.pipe.borrow_mut().room = Some(usize::from(*room));
            }
            Operation::ApiTakes(room) => {
                self.is_limited = true;
                if let Some(api) = &self.api {
                    api.pipe.borrow_mut().room = Some(usize::from(*room));
                }
            }
            Operation::Admit(_)
            | Operation::Connect
            | Operation::DialFails(_)
            | Operation::Pod(_)
            | Operation::Drain(_)
            | Operation::End(_) => self.host_acts(operation),
            Operation::Accept(_)
            | Operation::Refuse(_)
            | Operation::Output(..)
            | Operation::Status(_)
            | Operation::Reply
            | Operation::ApiEnd(_)
            | Operation::ApiRaw(_)
            | Operation::ApiGone(_) => {
                if let Some(mut api) = self.api.take() {
                    self.is_raw |= matches!(operation, Operation::ApiRaw(_));
                    api_acts(&mut api, operation);
                    api.send();
                    self.api = Some(api);
                }
            }
        }
        self.run();
    }

    /// Nobody does anything any more: the session must end by itself.
    pub(super) fn finish(mut self) -> Report {
        self.pass(self.time.now.get().after(SILENCE));
        assert!(self.driver.is_none(), "silence ends every session");
        self.stdin.extend(self.api.take().map(|api| api.stdin));
        self.check();
        Report {
            summary: self.summary,
            events: self.events,
            output: self.browser.output,
            texts: self.browser.texts,
            close_code: self.browser.close_code,
            refusal: self.browser.refusal,
            stdin: self.stdin,
            is_limited: self.is_limited,
        }
    }

    fn check(&self) {
        let is_open = self.browser.pipe.borrow().end.is_none();
        if self.is_refused && is_open && !self.is_limited {
            assert_eq!(self.browser.refusal, Some(403), "a refusal is told");
        }
        let of = |matches: fn(&Event) -> bool| self.events.iter().filter(|e| matches(e)).count();
        assert!(
            of(|event| matches!(event, Event::Started { .. })) <= 1,
            "one start"
        );
        assert!(
            of(|event| matches!(event, Event::Breaker(_))) <= 1,
            "one verdict"
        );
        assert!(self.browser.count("hello") <= 1 && self.browser.count("closed") <= 1);
        let Some(summary) = &self.summary else {
            assert!(self.events.is_empty(), "facts of a session that never was");
            assert!(self.setup.flags & 1 != 0, "an accepted session has an end");
            return;
        };
        let started = of(|event| matches!(event, Event::Started { .. })) == 1;
        assert_eq!(summary.started, started);
        assert!(self.browser.output.len() as u64 <= summary.bytes_stdout);
        let arrived: usize = self.stdin.iter().map(Vec::len).sum();
        assert!(arrived as u64 <= summary.bytes_stdin);
        let closed = self
            .browser
            .texts
            .last()
            .filter(|text| text.contains(r#""type":"closed""#));
        if let Some(closed) = closed {
            let detail = format!(r#""detail":"{}""#, summary.detail.as_str());
            assert!(closed.contains(&detail), "{closed}, {summary:?}");
            let exit_code = summary
                .exit_code
                .map_or("null".to_owned(), |code| code.to_string());
            assert!(
                closed.contains(&format!(r#""exitCode":{exit_code}"#)),
                "{closed}"
            );
        }
        if !self.is_raw {
            let arrived: Vec<u8> = self.stdin.concat();
            assert!(
                self.typed.starts_with(&arrived),
                "stdin in order, none made up"
            );
        }
    }

    fn browser_sends(&mut self, kind: Kind, bytes: &[u8]) {
        let browser = &mut self.browser;
        let message = BytesMut::from(bytes);
        // Refused once the browser has closed.
        let _ = browser
            .websocket
            .send(kind, &[], message, &mut browser.out)
            .is_ok();
        browser.send();
    }

    fn host_acts(&mut self, operation: &Operation) {
        let Some(driver) = &mut self.driver else {
            return;
        };
        match operation {
            Operation::Admit(how) if core::mem::take(&mut self.asked_admission) => {
                self.is_refused = how % 2 == 1;
                driver.answer(if how % 2 == 0 {
                    Answer::Admitted(Box::new(config(self.setup)))
                } else {
                    Answer::Refused {
                        status: 403,
                        body: r#"{"error":"E_FORBIDDEN"}"#.to_owned(),
                        retry_after: None,
                    }
                });
            }
            Operation::Connect if self.asked_dial.take().is_some() => {
                let pipe = pipe(self.cut);
                let fresh = Apiserver::new(Rc::clone(&pipe), self.setup.flags);
                let old = self.api.replace(fresh);
                self.stdin.extend(old.map(|old| old.stdin));
                driver.attach(Socket(pipe), dialed());
            }
            Operation::DialFails(how) if self.asked_dial.take().is_some() => {
                let failures = [
                    DialFailure::Credentials,
                    DialFailure::Dns,
                    DialFailure::Tcp,
                    DialFailure::Tls,
                ];
                let failure = failures[usize::from(*how) % failures.len()];
                driver.answer(Answer::DialFailed(failure));
            }
            Operation::Pod(how) if core::mem::take(&mut self.asked_pod) => {
                let states = [PodState::Gone, PodState::Same, PodState::Unknown];
                driver.answer(Answer::Pod(states[usize::from(*how) % states.len()]));
            }
            Operation::Drain(seconds) => driver.order(Order::Drain {
                seconds: u64::from(*seconds),
            }),
            Operation::End(how) => {
                let details = [
                    CloseDetail::UserClose,
                    CloseDetail::AdminKill,
                    CloseDetail::AuthExpired,
                    CloseDetail::Audit,
                    CloseDetail::Internal,
                ];
                driver.order(Order::End(details[usize::from(*how) % details.len()]));
            }
            _ => {}
        }
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, until: Instant) {
        self.run();
        for _ in 0..TURNS_MAX {
            let now = self.time.now.get();
            let next = self
                .time
                .deadline
                .get()
                .filter(|at| *at > now && *at <= until);
            self.time.now.set(next.unwrap_or(until));
            self.time.deadline.set(None);
            self.run();
            if next.is_none() {
                return;
            }
        }
        panic!("deadlines without end");
    }

    /// Runs everything until nothing moves.
    fn run(&mut self) {
        for _ in 0..TURNS_MAX {
            let driven = self.drive();
            let has_started = self.has_started();
            let browsed = self.browser.step(has_started);
            let served = self.api.as_mut().is_some_and(|api| api.step(has_started));
            if !(driven || browsed || served) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn has_started(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Started { .. }))
    }

    /// Polls the driver until it waits. Returns whether it had a turn for the host.
    fn drive(&mut self) -> bool {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut cx = Context::from_waker(&waker);
        let mut moved = false;
        for _ in 0..TURNS_MAX {
            let Some(driver) = &mut self.driver else {
                return moved;
            };
            let polled = driver.poll_next(&mut cx);
            let held = driver.session().held_bytes() + driver.unread();
            assert!(held <= HELD_BYTES_MAX, "{held} bytes held");
            match polled {
                Poll::Pending if flag.0.swap(false, Ordering::Relaxed) => {}
                Poll::Pending => return moved,
                Poll::Ready(turn) => {
                    moved = true;
                    self.on_turn(turn);
                }
            }
        }
        panic!("the driver never waits");
    }

    fn on_turn(&mut self, turn: Turn) {
        assert!(
            self.summary.is_none() || matches!(turn, Turn::Done),
            "{turn:?} after the end"
        );
        match turn {
            Turn::Ask(Ask::Admit(_)) => self.asked_admission = true,
            Turn::Ask(Ask::Dial(dial)) => {
                assert!(self.asked_dial.is_none(), "one dial at a time");
                self.asked_dial = Some(dial);
            }
            Turn::Ask(Ask::Pod) => self.asked_pod = true,
            Turn::CancelDial => {
                assert!(self.asked_dial.take().is_some(), "no dial to cancel");
            }
            Turn::Done => self.driver = None,
            Turn::Event(event) => {
                if let Event::Ended(summary) = &event {
                    self.summary = Some(summary.clone());
                }
                self.events.push(event);
            }
        }
    }
}

fn config(setup: Setup) -> Config {
    let flag = |bit: u8| setup.flags & (1 << bit) != 0;
    Config {
        session_id: "0190-session".to_owned(),
        cluster: "blue".to_owned(),
        namespace: "default".to_owned(),
        pod: "box".to_owned(),
        container: None,
        command: vec!["sh".to_owned()],
        own_command: flag(3),
        tty: flag(1),
        size: flag(6).then_some((80, 24)),
        flow_ack: flag(2),
        stdin_ack: false, // how acknowledgements are put together depends on how bytes are cut
        identity: Identity::default(),
        timing: Timing::default(),
        first: if flag(4) {
            Transport::Spdy
        } else {
            Transport::WebSocketV5
        },
    }
}

fn dialed() -> Dialed {
    Dialed {
        host: "127.0.0.1:6443".to_owned(),
        path_prefix: String::new(),
        headers: vec![(
            "Authorization".to_owned(),
            SecretValue::new("Bearer token").expect("a good value"),
        )],
    }
}

fn pipe(cut: Cut) -> Rc<RefCell<Pipe>> {
    Rc::new(RefCell::new(Pipe {
        sent: BytesMut::new(),
        written: BytesMut::new(),
        end: None,
        room: None,
        read_max: cut.read_max,
        write_max: cut.write_max,
    }))
}

const SPANS: [Duration; 8] = [
    Duration::from_millis(1),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(25),
    Duration::from_mins(1),
    Duration::from_secs(570),
];

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
