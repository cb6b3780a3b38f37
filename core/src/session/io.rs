//! Everything that can go into a session and come out of it.

use bytes::BytesMut;

use crate::code::{CloseDetail, ErrorCode};
use crate::http::{RequestHead, SecretValue};
use crate::refusal::UpgradeError;
use crate::session::config::Config;
use crate::time::Instant;

/// One of the two connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leg {
    /// Towards the apiserver.
    Api,
    /// Towards the browser.
    Browser,
}

/// What the world did.
#[derive(Debug)]
pub enum Input<'a> {
    /// The host's reply to an [`Ask`].
    Answer(Answer),
    /// Bytes of a leg that were read and not yet taken. What the session leaves in `data` is
    /// offered again.
    Bytes {
        /// The leg they came from.
        leg: Leg,
        /// Unread bytes, oldest first.
        data: &'a mut BytesMut,
        /// How many of them arrived since the last offer: zero means "the same bytes again".
        fresh: usize,
    },
    /// The peer closed its direction. Told only once the bytes before it were taken or cannot be.
    Eof {
        /// The leg that ended.
        leg: Leg,
    },
    /// The connection broke.
    Failed {
        /// The leg that broke.
        leg: Leg,
        /// How.
        failure: IoFailure,
    },
    /// Somebody with the right to do so wants something of this session.
    Order(Order),
    /// Time passed; `now` says how much.
    Timeout,
    /// The socket took the first `len` bytes of what was lent.
    Wrote {
        /// The leg whose socket took them.
        leg: Leg,
        /// How many.
        len: usize,
    },
}

/// How a connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoFailure {
    /// Reset, broken pipe, or any other I/O error.
    Reset,
    /// The TLS layer refused: certificate, alert, or an end of file inside the handshake.
    Tls,
}

/// A question only the host can answer. Each needs exactly one [`Answer`] and has a deadline.
#[derive(Debug)]
pub enum Ask {
    /// A browser's handshake arrived on a listening session: may it have a shell?
    Admit(Box<RequestHead>),
    /// Connect to the apiserver. Answered by `Driver::attach` or [`Answer::DialFailed`].
    Dial(Dial),
    /// Does the pod still exist, with the same uid? Answered by [`Answer::Pod`].
    Pod,
}

/// What to connect for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The protocol that will be spoken on the connection.
    pub transport: Transport,
    /// The apiserver said 401: cached credentials must not be used again.
    pub fresh_credentials: bool,
}

/// The ways to `pods/exec`, in the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// `v5.channel.k8s.io` over WebSocket.
    WebSocketV5,
    /// SPDY/3.1.
    Spdy,
    /// `v4.channel.k8s.io` over WebSocket, where SPDY is blocked and v5 unknown.
    WebSocketV4,
}

impl Transport {
    /// The name in `hello`, log lines and audit records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocketV4 | Self::WebSocketV5 => "ws",
            Self::Spdy => "spdy",
        }
    }

    /// The subprotocol this transport speaks.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::WebSocketV5 => "v5.channel.k8s.io",
            Self::Spdy | Self::WebSocketV4 => "v4.channel.k8s.io",
        }
    }
}

/// The host's reply to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// [`Ask::Admit`]: yes, with the session's configuration.
    Admitted(Box<Config>),
    /// [`Ask::Dial`]: connected; the driver has the connection.
    Dialed(Dialed),
    /// [`Ask::Dial`]: no connection.
    DialFailed(DialFailure),
    /// [`Ask::Pod`].
    Pod(PodState),
    /// [`Ask::Admit`]: no session, but this HTTP answer.
    Refused {
        /// HTTP status: 4xx or 5xx, or 200 for a request that only asks whether it might.
        status: u16,
        /// JSON body.
        body: String,
        /// `Retry-After` in seconds, where waiting helps.
        retry_after: Option<u64>,
    },
}

/// What the upgrade request towards a connected apiserver needs.
#[derive(Clone, Debug)]
pub struct Dialed {
    /// The `Host` header.
    pub host: String,
    /// Path of the apiserver's URL before `/api/…`, without a slash at its end.
    pub path_prefix: String,
    /// Credentials, impersonation, `Audit-ID`, `User-Agent`: checked values in sending order.
    pub headers: Vec<(String, SecretValue)>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// The gateway could not prepare the dial, for example its credentials could not be had.
    Credentials,
    /// The name did not resolve.
    Dns,
    /// Refused, unreachable, or no answer.
    Tcp,
    /// The TLS configuration of this cluster is unusable.
    Tls,
}

/// What the apiserver says about the pod of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// Not found, or another pod bears its name now.
    Gone,
    /// Still the pod the session was opened on.
    Same,
    /// No usable answer.
    Unknown,
}

/// What somebody outside the two legs wants of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The process leaves: warn now, end after `seconds`.
    Drain {
        /// Time the user gets.
        seconds: u64,
    },
    /// End now: `user_close`, `admin_kill`, `auth_expired`, `audit` or `internal`.
    End(CloseDetail),
}

/// What the session wants or says next.
#[derive(Debug)]
pub enum Output {
    /// Drop the leg's connection without any farewell.
    Abort {
        /// The leg to drop.
        leg: Leg,
    },
    /// A question; see [`Ask`].
    Ask(Ask),
    /// The pending [`Ask::Dial`] is void: stop dialing, its answer would be ignored.
    CancelDial,
    /// A fact; needs no answer.
    Event(Event),
    /// The session is over and nothing more will come.
    Over,
    /// Close the leg's sending direction in order.
    Shutdown {
        /// The leg to close.
        leg: Leg,
    },
    /// Nothing more for now. Call again with [`Input::Timeout`] at this instant, if there is one.
    Timeout(Option<Instant>),
}

/// A fact for the host's audit, log and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One attempt towards the apiserver got its answer.
    Attempt {
        /// What was tried.
        transport: Transport,
        /// [`UpgradeError::None`] for a good 101.
        error: UpgradeError,
    },
    /// What the v5 attempt of this session means for the cluster's breaker. At most once.
    Breaker(BreakerVerdict),
    /// The session is over. Exactly once, the last event.
    Ended(Summary),
    /// The command runs, or may have run: the start record is due.
    Started {
        /// The transport in use.
        transport: Transport,
    },
}

/// What a v5 attempt means for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerVerdict {
    /// WebSocket failed where SPDY then worked.
    Failure,
    /// Neither: give a probe back.
    NoVerdict,
    /// WebSocket works.
    Success,
}

/// Terminal bytes a session has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes of stdin sent to the apiserver.
    pub stdin: u64,
    /// Bytes of stdout and stderr taken from the apiserver.
    pub stdout: u64,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The detail; its reason follows from it.
    pub detail: CloseDetail,
    /// The error code that was or would have been told.
    pub code: Option<ErrorCode>,
    /// The process's exit code where it is known.
    pub exit_code: Option<u8>,
    /// Whether output was lost; `None` where it cannot be known.
    pub truncated: Option<bool>,
    /// Whether [`Event::Started`] came: if not, the attempt is a `session_denied`.
    pub started: bool,
    /// The transport of the last attempt, if one was made.
    pub transport: Option<Transport>,
    /// Bytes of stdin sent to the apiserver.
    pub bytes_stdin: u64,
    /// Bytes of stdout and stderr taken from the apiserver.
    pub bytes_stdout: u64,
    /// Control messages of the browser that were dropped: unknown, malformed or too long.
    pub dropped_controls: u64,
}
