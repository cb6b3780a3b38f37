//! What a seed decides: who does what, and which wires are bad.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::code::CloseDetail;
use crate::session::{DialFailure, Order, PodState, Transport};
use crate::sim::net::{Faults, pick};
use crate::time::Instant;

/// Everything one run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number that made it.
    pub seed: u64,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Whether the browser acknowledges output.
    pub flow_ack: bool,
    /// Whether the caller chose the command.
    pub own_command: bool,
    /// What the breaker lets the session try first.
    pub first: Transport,
    /// What a dial for each transport meets.
    pub v5: Attempt,
    /// See [`Self::v5`].
    pub spdy: Attempt,
    /// See [`Self::v5`].
    pub v4: Attempt,
    /// What the process does, once an honest attempt reached it.
    pub process: Process,
    /// What the person does.
    pub person: Person,
    /// The browser's wire.
    pub browser_wire: Faults,
    /// The apiserver's wires.
    pub api_wire: Faults,
    /// What somebody else wants of the session, and when.
    pub order: Option<(Instant, Order)>,
    /// What the host finds when it looks for the pod; none: it never answers.
    pub pod: Option<PodState>,
    /// How long the host takes to connect.
    pub dial_delay: Duration,
}

/// What a dial meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// The peer does what Kubernetes does.
    Honest,
    /// The host cannot connect.
    HostFails(Reason),
    /// The host never says anything.
    HostSilent,
    /// 403 without headers and body.
    BareForbidden,
    /// 401 Status.
    Unauthorized,
    /// 403 Status.
    Forbidden,
    /// 404 Status.
    NotFound,
    /// 400 Status of another kind.
    Rejected,
    /// 400 `Upgrade request required`.
    UpgradeRequired,
    /// 502 with a proxy's page.
    ProxyPage,
    /// Half a head, then the end.
    EofInHead,
    /// Bytes that are no HTTP.
    Garbage,
    /// Takes the request and says nothing.
    Silent,
    /// A 101 for somebody else.
    WrongAccept,
    /// A 101 for another protocol.
    WrongSubprotocol,
    /// A 101, then the translator's failure.
    NotStarted,
    /// A 101, then the end.
    EofAfterUpgrade,
    /// A 101, then bytes that are no frames.
    GarbageAfterUpgrade,
    /// A 101, then nothing at all.
    SilentAfterUpgrade,
}

/// [`DialFailure`] with an order, for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No name.
    Dns,
    /// No connection.
    Tcp,
    /// Unusable TLS settings.
    Tls,
    /// No credentials.
    Credentials,
}

impl Reason {
    /// The host's answer.
    pub fn failure(self) -> DialFailure {
        match self {
            Self::Credentials => DialFailure::Credentials,
            Self::Dns => DialFailure::Dns,
            Self::Tcp => DialFailure::Tcp,
            Self::Tls => DialFailure::Tls,
        }
    }
}

/// What runs in the container.
#[derive(Clone, Debug)]
pub struct Process {
    /// Bytes it writes.
    pub output: u64,
    /// Largest piece it writes at once.
    pub piece: usize,
    /// Pause between pieces.
    pub pause: Duration,
    /// stdin bytes it waits for before it ends.
    pub wait_for_stdin: u64,
    /// Whether it reads its stdin at all.
    pub reads: bool,
    /// How it ends.
    pub end: ProcessEnd,
}

/// How the process ends, once its output is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProcessEnd {
    /// With an exit code.
    Exit(u8),
    /// The runtime could not start it.
    NoShell,
    /// The runtime reported an error of its own.
    Internal,
    /// The connection ends without a status.
    NoStatus,
    /// It stays, silently.
    Never,
}

/// What the person in front of the browser does.
#[derive(Clone, Debug)]
pub struct Person {
    /// stdin bytes they type or paste.
    pub stdin: u64,
    /// Largest message.
    pub piece: usize,
    /// Pause between messages.
    pub pause: Duration,
    /// What they do besides, and when.
    pub acts: Vec<(Instant, Act)>,
    /// From when on the browser reads nothing.
    pub deaf_from: Option<Instant>,
    /// From when on the browser reads but never answers: neither pong nor acknowledgement.
    pub mute_from: Option<Instant>,
}

/// One thing a browser does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A new size.
    Resize,
    /// No more stdin.
    Eof,
    /// `close{}`.
    Close,
    /// `close{reason:"hidden"}`.
    Hide,
    /// A Close frame, code 1000.
    CloseFrame,
    /// A Close frame, code 1001.
    GoAway,
    /// The socket ends.
    Vanish,
    /// An unmasked frame.
    Unmasked,
    /// A text message that is no UTF-8.
    BadText,
    /// A message over 1 MiB is announced.
    TooLong,
    /// An acknowledgement of more than was sent.
    BadAck,
    /// A control message nobody knows.
    UnknownControl,
    /// A control message that is too long.
    LongControl,
}

impl Plan {
    /// The plan of a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let honest = dice.one_in(2);
        let mut plan = Self {
            seed,
            tty: dice.one_in(2),
            flow_ack: dice.one_in(2),
            own_command: dice.one_in(4),
            first: if dice.one_in(4) {
                Transport::Spdy
            } else {
                Transport::WebSocketV5
            },
            v5: if honest {
                Attempt::Honest
            } else {
                dice.attempt(true)
            },
            spdy: if dice.one_in(3) {
                dice.attempt(false)
            } else {
                Attempt::Honest
            },
            v4: if dice.one_in(4) {
                dice.attempt(false)
            } else {
                Attempt::Honest
            },
            process: dice.process(),
            person: dice.person(),
            browser_wire: dice.faults(),
            api_wire: dice.faults(),
            order: None,
            pod: match dice.below(4) {
                0 => Some(PodState::Gone),
                1 => Some(PodState::Unknown),
                2 => None,
                _ => Some(PodState::Same),
            },
            dial_delay: Duration::from_millis(dice.below(200)),
        };
        if dice.one_in(6) {
            plan.order = Some((dice.instant(4000), dice.order()));
        }
        if dice.one_in(40) {
            plan.dial_delay = Duration::from_secs(11);
        }
        plan
    }

    /// What a dial over `transport` meets.
    pub fn attempt(&self, transport: Transport) -> Attempt {
        match transport {
            Transport::WebSocketV5 => self.v5,
            Transport::Spdy => self.spdy,
            Transport::WebSocketV4 => self.v4,
        }
    }
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, len: u64) -> u64 {
        self.0.next_u64() % len.max(1)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T], default: T) -> T {
        choices
            .get(pick(&mut self.0, choices.len()))
            .copied()
            .unwrap_or(default)
    }

    fn instant(&mut self, millis: u64) -> Instant {
        Instant::from_micros(self.below(millis.saturating_mul(1000)))
    }

    fn attempt(&mut self, v5: bool) -> Attempt {
        if self.one_in(12) {
            let reasons = [Reason::Dns, Reason::Tcp, Reason::Tls, Reason::Credentials];
            return Attempt::HostFails(self.of(&reasons, Reason::Dns));
        }
        if v5 && self.one_in(8) {
            return Attempt::NotStarted;
        }
        let choices = [
            Attempt::HostSilent,
            Attempt::BareForbidden,
            Attempt::BareForbidden,
            Attempt::Unauthorized,
            Attempt::Forbidden,
            Attempt::NotFound,
            Attempt::Rejected,
            Attempt::UpgradeRequired,
            Attempt::ProxyPage,
            Attempt::EofInHead,
            Attempt::Garbage,
            Attempt::Silent,
            Attempt::WrongAccept,
            Attempt::WrongSubprotocol,
            Attempt::EofAfterUpgrade,
            Attempt::GarbageAfterUpgrade,
            Attempt::SilentAfterUpgrade,
        ];
        self.of(&choices, Attempt::Silent)
    }

    fn process(&mut self) -> Process {
        let output = match self.below(8) {
            0 => 0,
            1 => 900_000 + self.below(700_000),
            2 => self.below(100_000),
            _ => self.below(3000),
        };
        let end = match self.below(12) {
            0 => ProcessEnd::NoShell,
            1 => ProcessEnd::Internal,
            2 => ProcessEnd::NoStatus,
            3 | 4 => ProcessEnd::Never,
            5 => ProcessEnd::Exit(0),
            _ => ProcessEnd::Exit(u8::try_from(self.below(256)).unwrap_or_default()),
        };
        Process {
            output,
            piece: piece(&mut self.0, output, 30_000),
            pause: Duration::from_micros(if self.one_in(2) {
                0
            } else {
                self.below(40_000)
            }),
            wait_for_stdin: if self.one_in(3) { self.below(2000) } else { 0 },
            reads: !self.one_in(8),
            end,
        }
    }

    fn person(&mut self) -> Person {
        let stdin = match self.below(8) {
            0 => 200_000 + self.below(200_000),
            1 | 2 => 0,
            _ => self.below(2500),
        };
        let acts = [
            Act::Close,
            Act::Hide,
            Act::CloseFrame,
            Act::GoAway,
            Act::Vanish,
            Act::Unmasked,
            Act::BadText,
            Act::TooLong,
            Act::BadAck,
            Act::Eof,
            Act::Eof,
            Act::UnknownControl,
            Act::LongControl,
        ];
        let mut chosen: Vec<(Instant, Act)> = (0..self.below(3))
            .map(|_| (self.instant(3000), Act::Resize))
            .collect();
        if self.one_in(2) {
            let act = self.of(&acts, Act::Close);
            // Some while dialing, most while the shell is up.
            let span = if self.one_in(4) { 300 } else { 6000 };
            chosen.push((self.instant(span), act));
        }
        chosen.sort();
        Person {
            stdin,
            piece: piece(&mut self.0, stdin, 20_000),
            pause: Duration::from_micros(if self.one_in(2) {
                0
            } else {
                self.below(60_000)
            }),
            acts: chosen,
            deaf_from: self.one_in(12).then(|| self.instant(3000)),
            mute_from: self.one_in(12).then(|| self.instant(3000)),
        }
    }

    fn faults(&mut self) -> Faults {
        let from = self.instant(4000);
        let lasts = Duration::from_millis(self.below(30_000));
        Faults {
            delay: Duration::from_millis(if self.one_in(3) { 0 } else { self.below(60) }),
            split: self.one_in(2),
            stall: self.one_in(8).then(|| (from, from.after(lasts))),
            reset_at: self.one_in(12).then(|| self.instant(5000)),
        }
    }

    fn order(&mut self) -> Order {
        let details = [
            CloseDetail::AdminKill,
            CloseDetail::UserClose,
            CloseDetail::AuthExpired,
            CloseDetail::Audit,
            CloseDetail::Internal,
        ];
        match self.below(6) {
            0 => Order::Drain {
                seconds: self.below(12),
            },
            _ => Order::End(self.of(&details, CloseDetail::AdminKill)),
        }
    }
}

/// The largest message of a stream: small ones for short streams, so that a run stays a matter of
/// milliseconds whatever was drawn.
fn piece(rng: &mut ChaCha8Rng, total: u64, max: usize) -> usize {
    let least = usize::try_from(total / 200).unwrap_or(max);
    let most = if total > 100_000 { max } else { 600 };
    least.saturating_add(1).saturating_add(pick(rng, most))
}
