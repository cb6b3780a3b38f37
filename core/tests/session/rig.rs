//! A session on a bench: a hand clock, two sockets that take what a test lets them take, and two
//! peers that say what a test tells them to say.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use periscope_core::channel::{Stream, Subprotocol, status};
use periscope_core::http::{RequestHead, ServerUpgrade};
use periscope_core::leg::exec_server::{Ending, ExecServer, Streams};
use periscope_core::outbox::Outbox;
use periscope_core::session::{
    Answer, Config, Dial, DialFailure, Dialed, Identity, Input, IoFailure, Leg, Order, PodState,
    Session, Summary, Timing, Transport,
};
use periscope_core::time::Instant;
use periscope_core::ws::{Kind, WebSocket};
use serde_json::Value;

mod moves;

/// Something a test does to a session.
pub(crate) type Act<'a> = &'a dyn Fn(&mut Rig);

pub(crate) const V5: Transport = Transport::WebSocketV5;
pub(crate) const SPDY: Transport = Transport::Spdy;
pub(crate) const V4: Transport = Transport::WebSocketV4;

/// Everything a test may want to vary at the start, with what most tests want.
pub(crate) fn config() -> Config {
    Config {
        session_id: "0123456789abcdef".to_owned(),
        cluster: "prod".to_owned(),
        namespace: "shop".to_owned(),
        pod: "cart-0".to_owned(),
        container: Some("app".to_owned()),
        command: vec!["sh".to_owned()],
        own_command: false,
        tty: true,
        size: None,
        flow_ack: false,
        stdin_ack: false,
        identity: Identity {
            user: "alice".to_owned(),
            groups: vec!["periscope-tier:write".to_owned()],
        },
        timing: Timing::default(),
        first: V5,
    }
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The apiserver's end of the connection in use.
enum Peer {
    None,
    Head(Box<ServerUpgrade>),
    Upgrade(Box<ServerUpgrade>, Box<RequestHead>),
    Exec(Box<ExecServer>),
    Raw,
}

pub(crate) struct Rig {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    /// What happened, in order: what the session wanted, said, and what both peers saw.
    pub(crate) log: Vec<String>,
    /// When each line of `log` was written.
    pub(crate) times: Vec<Instant>,
    dials: VecDeque<Dial>,
    pub(crate) admissions: Vec<RequestHead>,
    pub(crate) summary: Option<Summary>,
    pub(crate) over_at: Option<Instant>,
    deadline: Option<Instant>,

    peer: Peer,
    peer_input: BytesMut,
    peer_outbox: Outbox,
    /// Bytes on their way to the session.
    api_input: BytesMut,
    /// What the apiserver's socket still takes.
    pub(crate) api_takes: usize,
    /// Whether the peer's bytes stay with the peer.
    pub(crate) api_holds: bool,
    api_end: Option<Input<'static>>,
    pub(crate) stdin: Vec<u8>,

    browser: WebSocket,
    browser_outbox: Outbox,
    browser_input: BytesMut,
    browser_bytes: BytesMut,
    text: Vec<u8>,
    /// What the browser's socket still takes.
    pub(crate) browser_takes: usize,
    /// Whether the browser answers pings.
    pub(crate) pongs: bool,
    /// Whether the browser answers a Close.
    pub(crate) answers_close: bool,
    browser_gone: bool,
    pub(crate) output: Vec<u8>,
    pub(crate) texts: Vec<Value>,
    pub(crate) close_code: Option<u16>,
    /// Raw bytes the browser's socket took, kept where the test reads HTTP itself.
    pub(crate) raw: Option<Vec<u8>>,
}

impl Rig {
    /// A session whose browser was accepted elsewhere.
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::of(Session::accepted(config, [7; 32], Instant::ZERO))
    }

    pub(crate) fn of(session: Session) -> Self {
        let mut rig = Self {
            session,
            now: Instant::ZERO,
            log: Vec::new(),
            times: Vec::new(),
            dials: VecDeque::new(),
            admissions: Vec::new(),
            summary: None,
            over_at: None,
            deadline: None,
            peer: Peer::None,
            peer_input: BytesMut::new(),
            peer_outbox: Outbox::new(),
            api_input: BytesMut::new(),
            api_takes: usize::MAX,
            api_holds: false,
            api_end: None,
            stdin: Vec::new(),
            browser: WebSocket::client([9; 32], u64::MAX),
            browser_outbox: Outbox::new(),
            browser_input: BytesMut::new(),
            browser_bytes: BytesMut::new(),
            text: Vec::new(),
            browser_takes: usize::MAX,
            pongs: true,
            answers_close: true,
            browser_gone: false,
            output: Vec::new(),
            texts: Vec::new(),
            close_code: None,
            raw: None,
        };
        rig.pump();
        rig
    }

    /// A session that is *up* over this transport, with an empty log.
    pub(crate) fn up(first: Transport, change: impl FnOnce(&mut Config)) -> Self {
        let mut rig = Self::new(|config| {
            change(config);
            config.first = first;
        });
        rig.accept();
        rig.advance(millis(500));
        assert!(rig.session.is_up(), "{:#?}", rig.log);
        rig.forget();
        rig
    }

    /// The log starts anew.
    pub(crate) fn forget(&mut self) {
        self.log.clear();
        self.times.clear();
        self.texts.clear();
    }

    // ---- the apiserver -------------------------------------------------------------------

    /// The transport the session asks a connection for.
    #[track_caller]
    pub(crate) fn dialing(&self) -> Option<Transport> {
        self.dials.front().map(|dial| dial.transport)
    }

    /// The host connects, and the request arrives.
    #[track_caller]
    pub(crate) fn connect(&mut self) -> RequestHead {
        let head = self.connect_until_written();
        head.expect("the request was not written whole")
    }

    /// The host connects; the request arrives if the socket takes it.
    #[track_caller]
    pub(crate) fn connect_until_written(&mut self) -> Option<RequestHead> {
        self.dials.pop_front().expect("no dial was asked for");
        self.peer = Peer::Head(Box::default());
        self.peer_input.clear();
        self.peer_outbox.clear();
        self.api_input.clear();
        self.api_end = None;
        self.late_dialed();
        match &self.peer {
            Peer::Upgrade(_, head) => Some((**head).clone()),
            _ => None,
        }
    }

    /// The host's answer to a dial, asked for or not.
    pub(crate) fn late_dialed(&mut self) {
        self.answer(Answer::Dialed(Dialed {
            host: "apiserver:6443".to_owned(),
            path_prefix: String::new(),
            headers: Vec::new(),
        }));
    }

    pub(crate) fn dial_fails(&mut self, failure: DialFailure) {
        self.dials.pop_front().expect("no dial was asked for");
        self.answer(Answer::DialFailed(failure));
    }

    /// Connects and answers with a refusal.
    #[track_caller]
    pub(crate) fn refuse(&mut self, status: u16, body: &str) {
        self.connect();
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.api_says(text.as_bytes());
    }

    /// Connects and answers with a refusal that is a Status.
    #[track_caller]
    pub(crate) fn refuse_status(&mut self, code: u16, reason: &str, message: &str) {
        self.refuse(code, &status::refusal(code, reason, message, None));
    }

    /// Connects and upgrades as asked.
    #[track_caller]
    pub(crate) fn accept(&mut self) {
        self.connect();
        self.upgrade();
    }

    /// Answers the request that came with the 101 it wants, and begins to serve.
    #[track_caller]
    pub(crate) fn upgrade(&mut self) {
        let peer = core::mem::replace(&mut self.peer, Peer::Raw);
        let Peer::Upgrade(mut upgrade, head) = peer else {
            panic!("no request to answer");
        };
        let name = head.subprotocols()[0].to_owned();
        let tty = head.query().contains("tty=true");
        let streams = Streams {
            stdin: true,
            stdout: true,
            stderr: !tty,
            tty,
        };
        let out = &mut self.peer_outbox;
        let mut exec = if head.is_spdy() {
            upgrade.accept_spdy(&name, out).unwrap();
            ExecServer::spdy(streams, Vec::new())
        } else {
            upgrade.accept_websocket(Some(&name), out).unwrap();
            ExecServer::websocket(Subprotocol::parse(&name).unwrap(), streams, Vec::new())
        };
        exec.start(out);
        self.peer = Peer::Exec(Box::new(exec));
        self.pump();
    }

    /// Bytes of the apiserver that no machine made.
    pub(crate) fn api_says(&mut self, bytes: &[u8]) {
        self.peer_outbox.push(Bytes::copy_from_slice(bytes));
        self.pump();
    }

    /// The next held message of the apiserver goes out.
    pub(crate) fn release(&mut self) {
        let message: Vec<u8> = self.peer_outbox.chunks().next().unwrap().to_vec();
        self.peer_outbox.advance(message.len());
        self.api_input.extend_from_slice(&message);
        self.pump();
    }

    /// The process writes to stdout.
    pub(crate) fn prints(&mut self, bytes: &[u8]) {
        self.serve(|exec, out| exec.output(Stream::Stdout, BytesMut::from(bytes), out));
    }

    /// The process ended.
    pub(crate) fn finishes(&mut self, ending: &Ending) {
        self.serve(|exec, out| exec.finish(ending, out));
    }

    pub(crate) fn exits(&mut self, code: u8) {
        self.finishes(&Ending::Exit(code));
    }

    /// The runtime or kubelet reports an error instead of an exit code.
    pub(crate) fn fails(&mut self, text: &str) {
        self.finishes(&Ending::InternalError(text.to_owned()));
    }

    fn serve(&mut self, act: impl FnOnce(&mut ExecServer, &mut Outbox)) {
        let Peer::Exec(exec) = &mut self.peer else {
            panic!("nothing is served: {:#?}", self.log);
        };
        act(exec, &mut self.peer_outbox);
        self.pump();
    }

    /// The apiserver's connection ends behind what it said.
    pub(crate) fn api_eof(&mut self) {
        self.api_end = Some(Input::Eof { leg: Leg::Api });
        self.pump();
    }

    pub(crate) fn api_fails(&mut self, failure: IoFailure) {
        self.api_end = Some(Input::Failed {
            leg: Leg::Api,
            failure,
        });
        self.pump();
    }

    // ---- the browser ---------------------------------------------------------------------

    pub(crate) fn types(&mut self, bytes: &[u8]) {
        self.send(Kind::Binary, bytes);
    }

    pub(crate) fn says(&mut self, json: &str) {
        self.send(Kind::Text, json.as_bytes());
    }

    fn send(&mut self, kind: Kind, bytes: &[u8]) {
        let out = &mut self.browser_outbox;
        self.browser
            .send(kind, &[], BytesMut::from(bytes), out)
            .unwrap();
        self.pump();
    }

    /// An unasked pong: the browser lives, and nothing else.
    pub(crate) fn pong(&mut self) {
        // Masked with zeros.
        self.browser_says(&[0x8a, 0x80, 0, 0, 0, 0]);
    }

    /// Bytes of the browser that no machine made.
    pub(crate) fn browser_says(&mut self, bytes: &[u8]) {
        self.browser_outbox.push(Bytes::copy_from_slice(bytes));
        self.pump();
    }

    pub(crate) fn browser_closes(&mut self, code: u16) {
        self.browser
            .close(code, "", &mut self.browser_outbox)
            .unwrap();
        self.pump();
    }

    pub(crate) fn browser_vanishes(&mut self) {
        self.browser_gone = true;
        self.input(Input::Eof { leg: Leg::Browser });
    }

    /// Bytes of the browser that the session does not read yet.
    pub(crate) fn unread(&self) -> usize {
        self.browser_bytes.len()
    }

    /// A message of the browser, by its type.
    #[track_caller]
    pub(crate) fn text(&self, kind: &str) -> &Value {
        let found = self.texts.iter().find(|text| text["type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}: {:#?}", self.log))
    }

    pub(crate) fn has_text(&self, kind: &str) -> bool {
        self.texts.iter().any(|text| text["type"] == kind)
    }

    // ---- the host ------------------------------------------------------------------------

    pub(crate) fn answer(&mut self, answer: Answer) {
        self.input(Input::Answer(answer));
    }

    pub(crate) fn pod(&mut self, state: PodState) {
        self.answer(Answer::Pod(state));
    }

    pub(crate) fn order(&mut self, order: Order) {
        self.input(Input::Order(order));
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.session.handle_input(self.now, input);
        self.pump();
    }

    /// Lets time pass, and fires every deadline at its very instant.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let until = self.now.after(duration);
        while let Some(deadline) = self.deadline.filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            self.input(Input::Timeout);
        }
        self.now = until;
        self.pump();
    }

    /// Lets time pass until the session is over; how long that took.
    #[track_caller]
    pub(crate) fn until_over(&mut self) -> Duration {
        let from = self.now;
        while self.over_at.is_none() {
            let deadline = self.deadline.expect("the session waits for ever");
            self.now = self.now.max(deadline);
            self.input(Input::Timeout);
            assert!(self.now.since(from) < secs(7200), "{:#?}", self.log);
        }
        self.over_at.unwrap().since(from)
    }
}
