//! One seed, one run, one report.

use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use bytes::BytesMut;

use crate::code::CloseDetail;
use crate::drive::{Driver, Turn};
use crate::policy::{CapLimits, Caps, Permit};
use crate::session::{
    Answer, Ask, BreakerVerdict, Config, Dial, Dialed, Event, Identity, Order, Phase, Session,
    Summary, Timing, Transport,
};
use crate::sim::apiserver::Apiserver;
use crate::sim::browser::Browser;
use crate::sim::clock::SimClock;
use crate::sim::net::{End, connect};
use crate::sim::plan::{Act, Attempt, Plan, ProcessEnd};
use crate::time::Instant;
use crate::transport::Clock;

/// Data in flight that one session may hold, in bytes.
pub const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Moves at one instant after which a run counts as stuck in a loop.
const MOVES_MAX: usize = 50_000;

/// Virtual time after which a session that still lives is leaked.
const LIFE_MAX: Duration = Duration::from_hours(2);

/// A session with everything around it.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    clock: SimClock,
    driver: Option<Driver<End, End, SimClock>>,
    browser: Browser,
    servers: Vec<Apiserver>,
    dialing: Option<(Instant, Dial)>,
    pod_due: Option<Instant>,
    order: Option<(Instant, Order)>,
    caps: Caps<u64>,
    permit: Option<Permit>,
    phase: Option<Phase>,
    report: Report,
}

/// What one run showed.
#[derive(Debug, Default)]
pub struct Report {
    /// Events and answers with their times: the same for the same seed.
    pub transcript: Vec<String>,
    /// The end.
    pub summary: Option<Summary>,
    /// When the host was told that everything is over.
    pub over_at: Option<Instant>,
    /// What must never happen, in words.
    pub violations: Vec<String>,
    /// How often phases, transports, faults, ends and acts occurred.
    pub seen: BTreeMap<String, u64>,
    breaker: Option<BreakerVerdict>,
    held_max: usize,
    transport: Option<Transport>,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        Self::with_plan(Plan::from_seed(seed))
    }

    /// The world of a plan.
    pub fn with_plan(plan: Plan) -> Self {
        let clock = SimClock::default();
        let mut seed = [0; 32];
        for (slot, byte) in seed.iter_mut().zip(plan.seed.to_be_bytes().iter().cycle()) {
            *slot = *byte;
        }
        let (gateway, peer) = connect(&clock, plan.browser_wire, plan.seed ^ 1);
        let session = Session::accepted(config(&plan), seed, clock.now());
        let driver = Driver::new(session, gateway, BytesMut::new(), clock.clone());
        let browser = Browser::new(peer, plan.person.clone(), plan.flow_ack, seed);
        let mut caps = Caps::default();
        let limits = CapLimits {
            per_user: 1,
            per_cluster: 1,
        };
        let permit = caps.reserve("user", "cluster", limits, plan.seed).ok();
        let mut world = Self {
            clock,
            driver: Some(driver),
            browser,
            servers: Vec::new(),
            dialing: None,
            pod_due: None,
            order: plan.order,
            caps,
            permit,
            phase: None,
            report: Report::default(),
            plan,
        };
        world.count_plan();
        world
    }

    /// Runs until nothing happens any more, and checks what came out.
    pub fn run(mut self) -> Report {
        let mut moves = 0_usize;
        loop {
            let now = self.clock.now();
            if self.step(now) {
                moves += 1;
                if moves > MOVES_MAX {
                    self.violate(&format!("a loop that makes no time pass at {now}"));
                    break;
                }
                continue;
            }
            moves = 0;
            let Some(next) = self.next_event(now) else {
                break;
            };
            if next.since(Instant::ZERO) > LIFE_MAX {
                break;
            }
            self.clock.set(next);
        }
        self.check();
        self.report
    }

    fn step(&mut self, now: Instant) -> bool {
        let host = self.answer_due(now);
        let driver = self.poll_driver(now);
        let browser = self.browser.step(now);
        let mut servers = false;
        for server in &mut self.servers {
            servers |= server.step(now);
        }
        self.watch();
        host || driver || browser || servers
    }

    fn next_event(&self, now: Instant) -> Option<Instant> {
        let driver = self.driver.as_ref().and_then(|_| self.clock.deadline());
        let servers = self
            .servers
            .iter()
            .filter_map(|server| server.next_event(now));
        let order = self.driver.as_ref().and(self.order.map(|(at, _)| at));
        let dialing = self.dialing.map(|(at, _)| at);
        [
            driver,
            self.browser.next_event(now),
            order,
            dialing,
            self.pod_due,
        ]
        .into_iter()
        .flatten()
        .chain(servers)
        .filter(|at| *at > now)
        .min()
    }

    /// What the host owes: a connection, a look at the pod, somebody's order.
    fn answer_due(&mut self, now: Instant) -> bool {
        let mut moved = false;
        if let Some((_, dial)) = self.dialing.filter(|(at, _)| *at <= now) {
            self.dialing = None;
            self.connect(now, dial);
            moved = true;
        }
        let Some(driver) = self.driver.as_mut() else {
            return moved;
        };
        if self.pod_due.is_some_and(|at| at <= now) {
            self.pod_due = None;
            if let Some(pod) = self.plan.pod {
                driver.answer(Answer::Pod(pod));
            }
            moved = true;
        }
        if let Some((_, order)) = self.order.filter(|(at, _)| *at <= now) {
            self.order = None;
            self.report.transcript.push(format!("{now} {order:?}"));
            driver.order(order);
            moved = true;
        }
        moved
    }

    fn connect(&mut self, now: Instant, dial: Dial) {
        let Some(driver) = self.driver.as_mut() else {
            return;
        };
        let attempt = self.plan.attempt(dial.transport);
        self.report.transport = Some(dial.transport);
        match attempt {
            Attempt::HostSilent => {}
            Attempt::HostFails(reason) => driver.answer(Answer::DialFailed(reason.failure())),
            // Fresh credentials are what this peer wanted.
            _ => {
                let honest = attempt == Attempt::Unauthorized && dial.fresh_credentials;
                let attempt = if honest { Attempt::Honest } else { attempt };
                let index = self.servers.len() as u64;
                let seed = self.plan.seed.wrapping_mul(31).wrapping_add(index);
                let (gateway, peer) = connect(&self.clock, self.plan.api_wire, seed);
                self.servers
                    .push(Apiserver::new(peer, attempt, self.plan.process.clone()));
                driver.attach(
                    gateway,
                    Dialed {
                        host: "apiserver".to_owned(),
                        path_prefix: String::new(),
                        headers: Vec::new(),
                    },
                );
            }
        }
        self.report
            .transcript
            .push(format!("{now} {dial:?} meets {attempt:?}"));
    }

    fn poll_driver(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some(driver) = self.driver.as_mut() {
            self.clock.forget_deadline();
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let polled = driver.poll_next(&mut Context::from_waker(&waker));
            let Poll::Ready(turn) = polled else {
                // A driver that yields to others wants to go on at once.
                return moved || woken.is_set();
            };
            moved = true;
            match turn {
                Turn::Ask(Ask::Dial(dial)) => {
                    self.count(format!("transport: {:?}", dial.transport));
                    self.dialing = Some((now.after(self.plan.dial_delay), dial));
                }
                Turn::Ask(Ask::Pod) => {
                    self.count("ask: pod".to_owned());
                    self.pod_due = Some(now.after(Duration::from_millis(100)));
                }
                Turn::Ask(Ask::Admit(_)) => self.violate("an accepted session asks for admission"),
                Turn::CancelDial => self.dialing = None,
                Turn::Done => {
                    self.driver = None;
                    self.report.over_at = Some(now);
                    if let Some(permit) = self.permit.take() {
                        self.caps.release(permit);
                    }
                }
                Turn::Event(event) => self.on_event(now, event),
            }
        }
        moved
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        self.report.transcript.push(format!("{now} {event:?}"));
        if self.report.summary.is_some() {
            self.violate("an event after the end");
        }
        match event {
            Event::Attempt { .. } => {}
            Event::Breaker(verdict) => {
                self.count(format!("breaker: {verdict:?}"));
                if self.report.breaker.replace(verdict).is_some() {
                    self.violate("two verdicts for the breaker");
                }
            }
            Event::Started { .. } => {
                if self.browser.notes.hello.is_some() {
                    self.violate("hello overtook the start record");
                }
            }
            Event::Ended(summary) => {
                self.count(format!("detail: {}", summary.detail.as_str()));
                if self.report.summary.replace(summary).is_some() {
                    self.violate("a second end");
                }
            }
        }
    }

    /// What must hold at every moment.
    fn watch(&mut self) {
        let Some(driver) = self.driver.as_ref() else {
            return;
        };
        let phase = driver.session().phase();
        let held = driver
            .session()
            .held_bytes()
            .saturating_add(driver.unread());
        if let Some(phase) = phase.filter(|_| phase != self.phase) {
            self.phase = Some(phase);
            self.count(format!("phase: {}", phase.as_str()));
        }
        self.report.held_max = self.report.held_max.max(held);
        if held > HELD_BYTES_MAX {
            self.violate("more than 1 MiB in flight");
        }
    }

    /// What must hold at the end.
    fn check(&mut self) {
        let violations = &mut self.report.violations;
        violations.append(&mut self.browser.notes.violations);
        for server in &mut self.servers {
            violations.append(&mut server.ledger.violations);
        }
        if self.driver.is_some() {
            violations.push("the session never ended".to_owned());
        }
        if !self.caps.is_empty() {
            violations.push("a slot was leaked".to_owned());
        }
        let Some(summary) = self.report.summary.clone() else {
            violations.push("no end was told".to_owned());
            return;
        };
        self.check_bytes(&summary);
        self.check_facts(&summary);
        self.check_time(&summary);
        if self.is_undisturbed() {
            self.check_undisturbed(&summary);
        }
    }

    fn check_bytes(&mut self, summary: &Summary) {
        let typed = self.browser.typed() + 1; // Ctrl-D of an `eof` is not typed
        let stdin = self
            .servers
            .iter()
            .map(|server| server.ledger.stdin)
            .max()
            .unwrap_or(0);
        let output = self
            .servers
            .iter()
            .map(|server| server.ledger.output)
            .max()
            .unwrap_or(0);
        let seen = self.browser.notes.output;
        for (what, less, more) in [
            ("stdin was invented", stdin, typed),
            ("stdin was counted wrong", stdin, summary.bytes_stdin),
            ("stdin was counted twice", summary.bytes_stdin, typed),
            ("output was invented", seen, output),
            ("output was counted wrong", seen, summary.bytes_stdout),
            ("output was counted twice", summary.bytes_stdout, output),
        ] {
            if less > more {
                self.violate(&format!("{what}: {less} > {more}"));
            }
        }
        // Whoever is told that nothing is missing must have everything.
        let closed = self.browser.notes.closed.as_ref();
        let complete = closed.is_some_and(|closed| closed.get("truncated") == Some(&false.into()));
        if complete && summary.exit_code.is_some() && seen != output {
            self.violate(&format!("complete, but {seen} of {output} bytes"));
        }
        if self.plan.own_command {
            let starts: u64 = self.servers.iter().map(|server| server.ledger.starts).sum();
            if starts > 1 {
                self.violate("a caller's own command ran twice");
            }
        }
    }

    fn check_facts(&mut self, summary: &Summary) {
        if let Some(code) = summary.exit_code
            && self.plan.process.end != ProcessEnd::Exit(code)
        {
            self.violate(&format!("exit code {code} out of nowhere"));
        }
        if (self.report.breaker.is_some()) != (self.plan.first == Transport::WebSocketV5) {
            self.violate("the breaker was told nothing, or without an attempt");
        }
        let notes = &self.browser.notes;
        let mut wrong = Vec::new();
        if notes.hello.is_some() && !summary.started {
            wrong.push("hello without a start record");
        }
        if let Some(closed) = &notes.closed {
            let field = |name: &str| closed.get(name).cloned().unwrap_or_default();
            if field("detail") != summary.detail.as_str() {
                wrong.push("closed and the record differ in detail");
            }
            if field("exitCode").as_u64() != summary.exit_code.map(u64::from) {
                wrong.push("closed and the record differ in exit code");
            }
            let told = notes.errors.last().map(String::as_str);
            let code = summary.code.map(crate::code::ErrorCode::as_str);
            if code.is_some() && told != code {
                wrong.push("closed without its error");
            }
        }
        for text in wrong {
            self.violate(text);
        }
    }

    fn check_time(&mut self, summary: &Summary) {
        let Some(over_at) = self.report.over_at else {
            return;
        };
        if let Some((at, Order::End(_))) = self.plan.order
            && self.order.is_none()
            && over_at > at.after(Duration::from_secs(4))
            && summary.exit_code.is_none()
        {
            self.violate(&format!("killed at {at}, over at {over_at}"));
        }
        // No session outlives silence: idle, plus a flush, a Close, and the last activity's time.
        let bound = Duration::from_mins(13);
        if over_at.since(Instant::ZERO) > bound {
            self.violate(&format!("over only at {over_at}"));
        }
        let mute = self.plan.person.mute_from.is_some() && self.plan.person.deaf_from.is_none();
        let started = summary.started && self.browser.notes.hello.is_some();
        let never = self.plan.process.end == ProcessEnd::Never;
        // Whose stdin we do not read is not judged by its silence.
        let mute = mute && self.plan.process.reads && self.plan.api_wire.stall.is_none();
        if mute && started && never && over_at.since(Instant::ZERO) > Duration::from_secs(150) {
            self.violate(&format!("a mute browser was kept until {over_at}"));
        }
    }

    /// Nothing stands in the way of this session: its end is known beforehand.
    fn is_undisturbed(&self) -> bool {
        let plan = &self.plan;
        let good =
            |faults: &crate::sim::net::Faults| faults.reset_at.is_none() && faults.stall.is_none();
        let harmless = |(_, act): &(Instant, Act)| {
            matches!(act, Act::Resize | Act::UnknownControl | Act::LongControl)
        };
        let fed = plan.process.wait_for_stdin == 0
            || (plan.process.reads && plan.process.wait_for_stdin <= plan.person.stdin);
        plan.attempt(plan.first) == Attempt::Honest
            && matches!(plan.process.end, ProcessEnd::Exit(_))
            && fed
            && good(&plan.browser_wire)
            && good(&plan.api_wire)
            && plan.person.acts.iter().all(harmless)
            && plan.person.deaf_from.is_none()
            && plan.person.mute_from.is_none()
            && plan.order.is_none()
            && plan.dial_delay < Duration::from_secs(1)
    }

    fn check_undisturbed(&mut self, summary: &Summary) {
        self.count("undisturbed".to_owned());
        // A process that ends while stdin or a size is on its way resets the connection, and its
        // last words may be lost with it, as on real sockets.
        let sends = self.plan.person.stdin > 0 || !self.plan.person.acts.is_empty();
        let cut = sends && summary.detail != CloseDetail::ProcessExit;
        if cut {
            return;
        }
        let output = self
            .servers
            .iter()
            .map(|server| server.ledger.output)
            .max()
            .unwrap_or(0);
        let notes = &self.browser.notes;
        let whole = output == self.plan.process.output && notes.output == output;
        let exits = matches!(self.plan.process.end, ProcessEnd::Exit(code) if summary.exit_code == Some(code));
        let told = notes.closed.is_some() && notes.close_code == Some(1000) && notes.ended;
        if !(whole && exits && told && notes.errors.is_empty()) {
            let seen = notes.output;
            let text = format!("undisturbed, but {seen} of {output} bytes, {summary:?}");
            self.violate(&text);
        }
    }

    fn count_plan(&mut self) {
        let plan = self.plan.clone();
        for (wire, faults) in [("browser", plan.browser_wire), ("api", plan.api_wire)] {
            for (fault, present) in [
                ("delay", faults.delay > Duration::ZERO),
                ("split", faults.split),
                ("stall", faults.stall.is_some()),
                ("reset", faults.reset_at.is_some()),
            ] {
                if present {
                    self.count(format!("fault: {fault} on the {wire} wire"));
                }
            }
        }
        for attempt in [plan.v5, plan.spdy, plan.v4] {
            self.count(format!("peer: {attempt:?}"));
        }
        for (_, act) in &plan.person.acts {
            self.count(format!("act: {act:?}"));
        }
        let end = match plan.process.end {
            ProcessEnd::Exit(_) => "Exit".to_owned(),
            other => format!("{other:?}"),
        };
        self.count(format!("process: {end}"));
    }

    fn count(&mut self, what: String) {
        let count = self.report.seen.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    fn violate(&mut self, what: &str) {
        self.report.violations.push(what.to_owned());
    }
}

/// Notes that the driver woke itself.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Woken {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn config(plan: &Plan) -> Config {
    Config {
        session_id: format!("{:016x}", plan.seed),
        cluster: "cluster".to_owned(),
        namespace: "ns".to_owned(),
        pod: "p".to_owned(),
        container: None,
        command: vec!["sh".to_owned()],
        own_command: plan.own_command,
        tty: plan.tty,
        size: Some((80, 24)),
        flow_ack: plan.flow_ack,
        stdin_ack: plan.flow_ack,
        identity: Identity::default(),
        timing: Timing::default(),
        first: plan.first,
    }
}
