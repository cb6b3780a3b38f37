//! What an apiserver's refusal means: the transport table and the outcome table.
//!
//! [`Row::consequences`] is the transport table's right half (what to try next, whether the
//! breaker hears of it), `row_of_answer` and `row_of_status` are its left half, and [`OUTCOMES`]
//! says what the person is told. Peers' texts are matched here and go no further: they can hold
//! node addresses and command lines.

#[cfg(test)]
mod tests;
mod texts;

use core::fmt;

use serde::Deserialize;

pub use self::texts::is_no_shell_exit;
use self::texts::{says_no_shell, says_not_started, says_own_error};
pub use crate::code::Failure;
use crate::code::{CloseDetail, ErrorCode};

/// The sentence of `E_NO_SHELL` when the caller chose the command.
pub const COMMAND_NOT_FOUND: &str =
    "The command was not found in the container. Check its name, or run one that is in the image.";

/// How a dial ended that got no usable 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// An HTTP answer other than 101.
    Refused {
        /// The status of its status line.
        status: u16,
        /// Its body, possibly cut.
        body: &'a [u8],
    },
    /// A 101 that does not prove that the peer read our request.
    WrongAccept,
    /// A 101 with a subprotocol we did not offer, or none.
    WrongSubprotocol,
    /// End of file before the head was complete.
    Eof,
    /// Bytes that are no HTTP head.
    Garbage,
    /// No head within the dial limit, after TLS.
    Timeout,
    /// The host's name has no address.
    Dns,
    /// No TCP connection.
    Tcp,
    /// No TLS session.
    Tls,
}

/// A `Failure` from the error channel that is not an exit code, and when it came.
#[derive(Clone, Copy, Debug)]
pub struct StatusContext<'a> {
    /// The Status's `code`.
    pub code: Option<u16>,
    /// The Status's `reason`.
    pub reason: Option<&'a str>,
    /// The Status's `message`.
    pub message: &'a str,
    /// Whether it came over `v5.channel.k8s.io`, whose 101 may precede the node's answer.
    pub is_v5: bool,
    /// Whether the session was *up* already.
    pub up: bool,
    /// Whether the caller chose the command.
    pub own_command: bool,
}

/// The rows of the transport table, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// 1: the right 101, then *up* or any Status but row 7's.
    Reached,
    /// 2: Status `Forbidden`.
    Forbidden,
    /// 3: Status 400 `Upgrade request required`.
    UpgradeRequired,
    /// 4: any other Status, a text of the kubelet or the runtime, 401, 429.
    OwnError,
    /// 5: any other refusal without a Status, a wrong 101, end of file, garbage, silence.
    NotUnderstood,
    /// 6: no connection to speak over.
    NoConnection,
    /// 7: a v5 101, and then the node was not reached.
    NotStarted,
}

impl Row {
    /// The row's number in the table.
    pub const fn number(self) -> u8 {
        match self {
            Self::Reached => 1,
            Self::Forbidden => 2,
            Self::UpgradeRequired => 3,
            Self::OwnError => 4,
            Self::NotUnderstood => 5,
            Self::NoConnection => 6,
            Self::NotStarted => 7,
        }
    }

    /// The right half of the table: what to try after a v5 attempt, and what its breaker hears.
    #[rustfmt::skip]
    #[expect(clippy::match_same_arms, reason = "one line for each row of the table")]
    const fn consequences(self) -> (Next, BreakerEffect) {
        match self {
            Self::Reached =>         (Next::None, BreakerEffect::Success),
            Self::Forbidden =>       (Next::Spdy, BreakerEffect::Never), // SPDY needs `create`, not `get`
            Self::UpgradeRequired => (Next::Spdy, BreakerEffect::Counts),
            Self::OwnError =>        (Next::None, BreakerEffect::Never),
            Self::NotUnderstood =>   (Next::Spdy, BreakerEffect::Counts),
            Self::NoConnection =>    (Next::None, BreakerEffect::Never),
            Self::NotStarted =>      (Next::Spdy, BreakerEffect::Counts),
        }
    }
}

/// What to try after a v5 attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// SPDY on a fresh connection.
    Spdy,
    /// Nothing: this is the session's error.
    None,
}

/// What the breaker hears of a v5 attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerEffect {
    /// WebSocket works here.
    Success,
    /// Nothing: the answer says nothing about the transport.
    Never,
    /// A failure, once the SPDY attempt that follows got its 101.
    Counts,
}

/// Everything that follows from one answer. `next` and `breaker` are those of a v5 attempt: after
/// SPDY or v4 the caller ignores them, and the rest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The row of the transport table.
    pub row: Row,
    /// What to try next.
    pub next: Next,
    /// What the breaker hears.
    pub breaker: BreakerEffect,
    /// The session's error, if this was the last attempt.
    pub failure: Failure,
    /// Whether an answer refused the transport: v4 is tried only if v5 and SPDY both got one.
    pub answered: bool,
    /// Whether the command may have run: a 101 was seen, or nothing at all after the request.
    pub may_have_run: bool,
    /// Whether the dial may be repeated once with fresh credentials.
    pub retry_with_fresh_credentials: bool,
    /// What the log line of this dial says.
    pub log: UpgradeError,
}

impl Verdict {
    /// The same verdict for a command the caller chose, which must not run twice.
    #[must_use]
    pub const fn for_own_command(mut self) -> Self {
        if self.may_have_run {
            self.next = Next::None;
            self.failure.retryable = false;
        }
        self
    }
}

/// The `upgrade_error=` of a dial's log line. Holds nothing a peer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The dial got its 101.
    None,
    /// No head within the dial limit.
    Timeout,
    /// No TLS session.
    Tls,
    /// No address, no connection, or one that ended before the head.
    Tcp,
    /// A 101 with a subprotocol we did not offer.
    Subprotocol,
    /// An answer that is no HTTP, or a 101 to somebody else's request.
    Accept,
    /// A Status; its reason, if it is one Kubernetes defines.
    Status(&'static str),
    /// An HTTP answer without a Status, or with one that has no known reason.
    Http(u16),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Timeout => f.write_str("timeout"),
            Self::Tls => f.write_str("tls"),
            Self::Tcp => f.write_str("tcp"),
            Self::Subprotocol => f.write_str("subprotocol"),
            Self::Accept => f.write_str("accept"),
            Self::Status(reason) => write!(f, "status:{reason}"),
            Self::Http(status) => write!(f, "{status}"),
        }
    }
}

/// Classifies what came instead of a usable 101.
pub fn classify_refusal(answer: &Answer<'_>) -> Verdict {
    let status = Status::parse(answer);
    let row = row_of_answer(answer, status.as_ref());
    let (next, breaker) = row.consequences();
    let silent = matches!(answer, Answer::Eof | Answer::Timeout);
    let number = status.as_ref().and_then(Status::number);
    Verdict {
        row,
        next,
        breaker,
        failure: failure_of_answer(answer, row, status.as_ref()),
        answered: matches!(row, Row::UpgradeRequired | Row::NotUnderstood) && !silent,
        may_have_run: matches!(
            answer,
            Answer::WrongAccept | Answer::WrongSubprotocol | Answer::Timeout
        ),
        retry_with_fresh_credentials: matches!(answer, Answer::Refused { status: 401, .. })
            || number == Some(401),
        log: log_of_answer(answer, status.as_ref()),
    }
}

/// Classifies a `Failure` from the error channel that is not an exit code.
pub fn classify_status(context: &StatusContext<'_>) -> Verdict {
    let status = Status {
        code: context.code,
        reason: context.reason.map(str::to_owned),
        message: context.message.to_owned(),
    };
    let no_shell = status.is_internal_error() && says_no_shell(&status.message);
    let row = row_of_status(&status, no_shell, context.is_v5 && !context.up);
    let (next, breaker) = row.consequences();
    let failure = match (no_shell, context.own_command) {
        (true, true) => Failure::new(ErrorCode::NoShell, CloseDetail::NoShell, COMMAND_NOT_FOUND),
        (true, false) => Failure::plain(ErrorCode::NoShell, CloseDetail::NoShell),
        (false, _) => outcome(&status),
    };
    let verdict = Verdict {
        row,
        next,
        breaker: if context.is_v5 {
            breaker
        } else {
            BreakerEffect::Never
        },
        failure,
        answered: false,
        may_have_run: true,
        retry_with_fresh_credentials: false,
        log: status.log(None),
    };
    if context.own_command {
        verdict.for_own_command()
    } else {
        verdict
    }
}

/// The left half of the transport table, before a 101: the body decides before the status.
fn row_of_answer(answer: &Answer<'_>, status: Option<&Status>) -> Row {
    match (*answer, status) {
        (_, Some(status)) if status.number() == Some(403) => Row::Forbidden,
        (_, Some(status)) if status.is_upgrade_required() => Row::UpgradeRequired,
        (_, Some(_))
        | (
            Answer::Refused {
                status: 401 | 429, ..
            },
            None,
        ) => Row::OwnError,
        (Answer::Refused { body, .. }, None) if is_own_text(body) => Row::OwnError,
        (Answer::Dns | Answer::Tcp | Answer::Tls, None) => Row::NoConnection,
        (_, None) => Row::NotUnderstood,
    }
}

/// The left half of the transport table, after a 101.
fn row_of_status(status: &Status, no_shell: bool, may_be_unstarted: bool) -> Row {
    if no_shell {
        Row::Reached
    } else if says_own_error(&status.message) {
        Row::OwnError
    } else if may_be_unstarted && status.is_internal_error() && says_not_started(&status.message) {
        Row::NotStarted
    } else {
        Row::Reached
    }
}

fn failure_of_answer(answer: &Answer<'_>, row: Row, status: Option<&Status>) -> Failure {
    let unreachable = |sentence| {
        Failure::new(
            ErrorCode::ClusterUnreachable,
            CloseDetail::Unreachable,
            sentence,
        )
    };
    match (*answer, status) {
        (_, Some(status)) => outcome(status),
        (Answer::Refused { status, body }, None) if row == Row::OwnError => outcome(&Status {
            code: Some(status),
            reason: None,
            message: String::from_utf8_lossy(body).into_owned(),
        }),
        (Answer::Refused { .. } | Answer::WrongAccept | Answer::WrongSubprotocol, _) => {
            unreachable(TRANSPORT_REFUSED)
        }
        (Answer::Garbage, _) => unreachable(NOT_AN_APISERVER),
        (Answer::Eof | Answer::Timeout, _) => unreachable(NO_ANSWER),
        (Answer::Dns, _) => unreachable(NO_ADDRESS),
        (Answer::Tcp, _) => unreachable(NO_TCP),
        (Answer::Tls, _) => unreachable(NO_TLS),
    }
}

fn log_of_answer(answer: &Answer<'_>, status: Option<&Status>) -> UpgradeError {
    match *answer {
        Answer::Refused { status: number, .. } => status
            .map_or(UpgradeError::Http(number), |status| {
                status.log(Some(number))
            }),
        Answer::WrongSubprotocol => UpgradeError::Subprotocol,
        Answer::WrongAccept | Answer::Garbage => UpgradeError::Accept,
        Answer::Timeout => UpgradeError::Timeout,
        Answer::Tls => UpgradeError::Tls,
        Answer::Dns | Answer::Tcp | Answer::Eof => UpgradeError::Tcp,
    }
}

/// Whether a body without a Status is what a kubelet or runtime wrote, not a proxy's page.
fn is_own_text(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    !text.trim_start().starts_with('<') && says_own_error(&text)
}

/// The first rule of [`OUTCOMES`] that fits; whatever fits none is the apiserver's fault.
fn outcome(status: &Status) -> Failure {
    let fits = |sign: &Sign| match *sign {
        Sign::Says(text) => status.message.contains(text),
        Sign::InternalError => status.is_internal_error(),
        Sign::Number(first, last) => status
            .number()
            .is_some_and(|number| (first..=last).contains(&number)),
    };
    let rule = OUTCOMES.iter().find(|(sign, _)| fits(sign));
    rule.map_or(
        Failure::plain(ErrorCode::Internal, CloseDetail::Internal),
        |(_, failure)| *failure,
    )
}

/// What the outcome table looks for.
#[derive(Clone, Copy, Debug)]
enum Sign {
    Says(&'static str),
    /// The Status's number, from the first to the last.
    Number(u16, u16),
    InternalError,
}

/// The outcome table: what a Status or a node's text is to the person. First match wins.
#[rustfmt::skip]
const OUTCOMES: [(Sign, Failure); 19] = [
    (Sign::Says(texts::CANNOT_IMPERSONATE),   Failure::new(ErrorCode::Internal,           CloseDetail::Internal,    "The gateway lacks the right to impersonate. Its operators must grant it.")),
    (Sign::Says(texts::NODE_FORBIDS),         Failure::new(ErrorCode::Internal,           CloseDetail::Internal,    "The apiserver lacks the right to use the node. The cluster's operators must grant it.")),
    (Sign::Says(texts::CONTAINER_NOT_FOUND),  Failure::new(ErrorCode::NotFound,           CloseDetail::NotFound,    "The container is not running. Wait until it is, or pick another.")),
    (Sign::Says(texts::POD_DOES_NOT_EXIST),   Failure::new(ErrorCode::NotFound,           CloseDetail::NotFound,    "The pod does not exist on its node. Refresh the list and pick another.")),
    (Sign::Says(texts::NOT_VALID_FOR_POD),    Failure::new(ErrorCode::NotFound,           CloseDetail::NotFound,    "The pod has no container of that name. Pick one from the list.")),
    (Sign::Says(texts::CONTAINER_EXITED),     Failure::new(ErrorCode::NotFound,           CloseDetail::NotFound,    "The container has exited. Wait until it runs again, or pick another.")),
    (Sign::Says(texts::UPGRADE_REQUIRED),     Failure::new(ErrorCode::InvalidRequest,     CloseDetail::Rejected,    "A proxy before the apiserver drops the upgrade. It must pass Connection and Upgrade on.")),
    (Sign::Says(texts::CONTAINER_NEEDED),     Failure::new(ErrorCode::InvalidRequest,     CloseDetail::Rejected,    "The pod has several containers. Choose one.")),
    (Sign::Says(texts::NOT_SCHEDULED),        Failure::new(ErrorCode::InvalidRequest,     CloseDetail::Rejected,    "The pod is on no node yet. Wait until it runs.")),
    (Sign::Says(texts::NODE_EXEC_OFF),        Failure::new(ErrorCode::InvalidRequest,     CloseDetail::Rejected,    "Exec is switched off on the node. The cluster's operators can switch it on.")),
    (Sign::Number(401, 401),                  Failure::new(ErrorCode::Internal,           CloseDetail::Internal,    "The cluster refuses the gateway's credentials. Its operators must renew them.")),
    (Sign::Number(403, 403),                  Failure::plain(ErrorCode::Forbidden,        CloseDetail::Forbidden)),
    (Sign::Number(404, 404),                  Failure::plain(ErrorCode::NotFound,         CloseDetail::NotFound)),
    (Sign::Number(429, 429),                  Failure::new(ErrorCode::ClusterUnreachable, CloseDetail::Unreachable, "The cluster is too busy. Wait a moment and try again.")),
    (Sign::Number(400, 499),                  Failure::plain(ErrorCode::InvalidRequest,   CloseDetail::Rejected)),
    (Sign::Says(texts::DIAL_TCP),             Failure::new(ErrorCode::ClusterUnreachable, CloseDetail::Unreachable, "The apiserver does not reach the pod's node. Try again, or tell the cluster's operators.")),
    (Sign::InternalError,                     Failure::plain(ErrorCode::Internal,         CloseDetail::Internal)),
    (Sign::Number(500, 599),                  Failure::plain(ErrorCode::ClusterUnreachable, CloseDetail::Unreachable)),
    (Sign::Number(100, 399),                  Failure::plain(ErrorCode::Internal,         CloseDetail::Internal)),
];

const TRANSPORT_REFUSED: &str = "Something before the apiserver refuses exec connections. Ask the cluster's operators to let \
     WebSocket or SPDY through.";
const NOT_AN_APISERVER: &str =
    "The cluster's address answers, but not as an apiserver. Check the server URL of its entry.";
const NO_ANSWER: &str = "The apiserver gave no answer. Try again, or tell the cluster's operators.";
const NO_ADDRESS: &str =
    "The apiserver's name has no address. Check the server URL of the cluster's entry.";
const NO_TCP: &str =
    "The apiserver takes no connection. Check the network between the gateway and the cluster.";
const NO_TLS: &str = "The apiserver's TLS is not to be trusted or not to be agreed on. Check the certificate authority \
     of the cluster's entry.";

/// The three fields of a Kubernetes Status that decide anything.
#[derive(Debug)]
struct Status {
    code: Option<u16>,
    reason: Option<String>,
    message: String,
}

impl Status {
    /// The Status in a refusal's body. Its number defaults to the answer's status.
    fn parse(answer: &Answer<'_>) -> Option<Self> {
        let Answer::Refused { status, body } = *answer else {
            return None;
        };
        let body: Body = serde_json::from_slice(body).ok()?;
        (body.kind == "Status").then(|| Self {
            code: body.code.or(Some(status)),
            reason: body.reason.filter(|reason| !reason.is_empty()),
            message: body.message.unwrap_or_default(),
        })
    }

    /// The HTTP number: a reason that names one comes first, as it is what Kubernetes' own
    /// clients match on.
    fn number(&self) -> Option<u16> {
        let reason = self.reason.as_deref();
        let known = REASONS.iter().find(|(name, _)| Some(*name) == reason);
        known.and_then(|(_, number)| *number).or(self.code)
    }

    fn is_internal_error(&self) -> bool {
        match self.reason.as_deref() {
            Some(reason) => reason == INTERNAL_ERROR,
            None => {
                self.code == Some(500) && self.message.starts_with(texts::INTERNAL_ERROR_PREFIX)
            }
        }
    }

    fn is_upgrade_required(&self) -> bool {
        self.number() == Some(400) && self.message.contains(texts::UPGRADE_REQUIRED)
    }

    fn log(&self, answered: Option<u16>) -> UpgradeError {
        let reason = self.reason.as_deref();
        let known = REASONS.iter().find(|(name, _)| Some(*name) == reason);
        match (known, self.code.or(answered)) {
            (Some((name, _)), _) => UpgradeError::Status(name),
            (None, Some(number)) => UpgradeError::Http(number),
            (None, None) => UpgradeError::Status("unknown"),
        }
    }
}

/// A Status as JSON. Everything is optional: a proxy may have written it.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    kind: String,
    code: Option<u16>,
    reason: Option<String>,
    message: Option<String>,
}

const INTERNAL_ERROR: &str = "InternalError";

/// The reasons Kubernetes defines, with the number each one means where it means one.
const REASONS: [(&str, Option<u16>); 20] = [
    ("Unauthorized", Some(401)),
    ("Forbidden", Some(403)),
    ("NotFound", Some(404)),
    ("AlreadyExists", Some(409)),
    ("Conflict", Some(409)),
    ("Gone", Some(410)),
    ("Invalid", Some(422)),
    ("ServerTimeout", Some(500)),
    ("StoreReadError", Some(500)),
    ("Timeout", Some(504)),
    ("TooManyRequests", Some(429)),
    ("BadRequest", Some(400)),
    ("MethodNotAllowed", Some(405)),
    ("NotAcceptable", Some(406)),
    ("RequestEntityTooLarge", Some(413)),
    ("UnsupportedMediaType", Some(415)),
    (INTERNAL_ERROR, Some(500)),
    ("Expired", Some(410)),
    ("ServiceUnavailable", Some(503)),
    ("NonZeroExitCode", None),
];
