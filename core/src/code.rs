//! What a session can end with: error codes, close details, and how each is told to the browser.
//!
//! Two tables and nothing else. [`ErrorCode`] is what a person sees, [`CloseDetail`] is what the
//! audit trail keeps; [`Failure`] joins one of each with the sentence that goes with them.

use core::fmt;

/// What went wrong, as the browser and the REST interface name it (`E_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// Not logged in, or the login has ended.
    Auth,
    /// A policy said no: the cluster's RBAC, or the gateway's own authorization.
    Forbidden,
    /// Exec is switched off for the cluster.
    ExecDisabled,
    /// A page of another origin made the request.
    Origin,
    /// The request is malformed, or the apiserver refused it as such.
    InvalidRequest,
    /// The browser broke the frame protocol, or asked for what the transport cannot do.
    Protocol,
    /// No such pod or container, or none that runs.
    NotFound,
    /// The user has as many sessions as one user may have.
    CapUser,
    /// The cluster has as many sessions as it may have.
    CapCluster,
    /// The user opens sessions too fast.
    RateLimit,
    /// The cluster gives no usable answer.
    ClusterUnreachable,
    /// The gateway is shutting down.
    Drain,
    /// The audit record that must come first could not be written.
    Audit,
    /// The gateway, its set-up or the apiserver failed.
    Internal,
    /// The image has no shell, or not the command that was asked for.
    NoShell,
    /// The session saw no byte for too long.
    Idle,
    /// The browser's connection is lost or takes no bytes.
    Heartbeat,
}

impl ErrorCode {
    /// Every code, in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::Auth,
        Self::Forbidden,
        Self::ExecDisabled,
        Self::Origin,
        Self::InvalidRequest,
        Self::Protocol,
        Self::NotFound,
        Self::CapUser,
        Self::CapCluster,
        Self::RateLimit,
        Self::ClusterUnreachable,
        Self::Drain,
        Self::Audit,
        Self::Internal,
        Self::NoShell,
        Self::Idle,
        Self::Heartbeat,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status of an HTTP answer that carries this code. `E_NO_SHELL`, `E_IDLE` and
    /// `E_HEARTBEAT` travel in frames only; an answer with one of them is our own fault, so 500.
    pub const fn http_status(self) -> u16 {
        self.row().1
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub const fn is_retryable(self) -> bool {
        matches!(self.row().2, Retry::Yes)
    }

    /// Whether a policy said no, as opposed to something that did not work: `denied` in the audit.
    pub const fn is_denial(self) -> bool {
        matches!(
            self,
            Self::Auth
                | Self::CapCluster
                | Self::CapUser
                | Self::ExecDisabled
                | Self::Forbidden
                | Self::Origin
                | Self::RateLimit
        )
    }

    /// A sentence a person can act on.
    pub const fn message(self) -> &'static str {
        self.row().3
    }

    /// The table: name, status, retryable, sentence.
    #[rustfmt::skip]
    const fn row(self) -> (&'static str, u16, Retry, &'static str) {
        use Retry::{No, Yes};
        match self {
            Self::Auth =>               ("E_AUTH",                401, No,  "You are not logged in, or your login has ended. Log in again."),
            Self::Forbidden =>          ("E_FORBIDDEN",           403, No,  "You may not open a shell here. Ask for the right to create pods/exec in this namespace."),
            Self::ExecDisabled =>       ("E_EXEC_DISABLED",       403, No,  "Shells are switched off for this cluster. Ask its operators if you need one."),
            Self::Origin =>             ("E_ORIGIN",              403, No,  "The request came from a page of another site. Open the shell from Periscope's own page."),
            Self::InvalidRequest =>     ("E_INVALID_REQUEST",     400, No,  "The request was refused as invalid. Check the pod, the container and the command."),
            Self::Protocol =>           ("E_PROTOCOL",            400, No,  "The client sent something this connection cannot carry. Reload the page."),
            Self::NotFound =>           ("E_NOT_FOUND",           404, No,  "The pod or container does not exist or is not running. Refresh the list and pick another."),
            Self::CapUser =>            ("E_CAP_USER",            429, No,  "You have as many shells open as one user may. Close one and open this one again."),
            Self::CapCluster =>         ("E_CAP_CLUSTER",         429, No,  "This cluster has as many shells open as it may. Close one of yours or wait for another to end."),
            Self::RateLimit =>          ("E_RATE_LIMIT",          429, Yes, "You are opening shells faster than allowed. Wait a moment and try again."),
            Self::ClusterUnreachable => ("E_CLUSTER_UNREACHABLE", 502, Yes, "The cluster gives no usable answer. Try again, and tell its operators if that does not help."),
            Self::Drain =>              ("E_DRAIN",               503, Yes, "The gateway is restarting. Connect again in a moment."),
            Self::Audit =>              ("E_AUDIT",               503, Yes, "The audit record cannot be written, so no shell is opened. Try again, or tell the gateway's operators."),
            Self::Internal =>           ("E_INTERNAL",            500, No,  "The gateway or the apiserver failed. Tell the gateway's operators the session id."),
            Self::NoShell =>            ("E_NO_SHELL",            500, No,  "The container's image has no shell. Run a command that is in the image, or use a debug container."),
            Self::Idle =>               ("E_IDLE",                500, No,  "The shell was closed because nothing happened in it. Open it again when you need it."),
            Self::Heartbeat =>          ("E_HEARTBEAT",           500, Yes, "The connection to your browser was lost or stood still. Connect again."),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who ended the session, as coarsely as the operator guide names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The process or the person did.
    ClientClose,
    /// The gateway did, because nothing happened.
    ServerIdle,
    /// Something else did.
    ForcedClose,
}

impl CloseReason {
    /// The name on the wire and in the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClose => "client_close",
            Self::ServerIdle => "server_idle",
            Self::ForcedClose => "forced_close",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why exactly the session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseDetail {
    /// The process in the container ended; its Status says how.
    ProcessExit,
    /// The person closed the shell, or deleted their own session.
    UserClose,
    /// The browser's connection ended without a word.
    TabGone,
    /// The page closed the shell because its tab was hidden and silent.
    Hidden,
    /// No byte for the idle time.
    Idle,
    /// A ping stayed unanswered.
    HeartbeatLost,
    /// The browser took no bytes although some waited.
    Stalled,
    /// An audit administrator deleted the session.
    AdminKill,
    /// The gateway shut down.
    Drain,
    /// The login or the bearer token reached its end.
    AuthExpired,
    /// The pod no longer exists.
    PodGone,
    /// The apiserver's connection ended without a Status.
    TransportError,
    /// A peer broke its protocol.
    ProtocolError,
    /// The image lacks the shell or the command.
    NoShell,
    /// RBAC said no.
    Forbidden,
    /// No such pod or container, or none that runs.
    NotFound,
    /// The apiserver refused the request as invalid.
    Rejected,
    /// The cluster gave no usable answer.
    Unreachable,
    /// The required audit record could not be written.
    Audit,
    /// The gateway died; written at its next start.
    GatewayCrash,
    /// The gateway, its set-up or the apiserver failed.
    Internal,
}

impl CloseDetail {
    /// Every detail, in the order of the table.
    pub const ALL: [Self; 21] = [
        Self::ProcessExit,
        Self::UserClose,
        Self::TabGone,
        Self::Hidden,
        Self::Idle,
        Self::HeartbeatLost,
        Self::Stalled,
        Self::AdminKill,
        Self::Drain,
        Self::AuthExpired,
        Self::PodGone,
        Self::TransportError,
        Self::ProtocolError,
        Self::NoShell,
        Self::Forbidden,
        Self::NotFound,
        Self::Rejected,
        Self::Unreachable,
        Self::Audit,
        Self::GatewayCrash,
        Self::Internal,
    ];

    /// The name on the wire and in the audit trail.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The reason this detail belongs to.
    pub const fn reason(self) -> CloseReason {
        self.row().1
    }

    /// The close code of the browser's WebSocket. `protocol_error` means the browser's fault here;
    /// when it was the apiserver's, [`Failure::close_code`] says 1011.
    pub const fn close_code(self) -> u16 {
        self.row().2
    }

    /// The code of the `error` frame that precedes `closed`; `None` where nothing went wrong.
    /// `protocol_error` means the browser's fault here (the apiserver's is `E_INTERNAL`).
    pub const fn error(self) -> Option<ErrorCode> {
        self.row().3
    }

    /// The table: name, reason, WebSocket close code, error code.
    #[rustfmt::skip]
    const fn row(self) -> (&'static str, CloseReason, u16, Option<ErrorCode>) {
        use CloseReason::{ClientClose, ForcedClose, ServerIdle};
        use ErrorCode as E;
        match self {
            Self::ProcessExit =>    ("process_exit",    ClientClose, 1000, None),
            Self::UserClose =>      ("user_close",      ClientClose, 1000, None),
            Self::TabGone =>        ("tab_gone",        ClientClose, 1011, None),
            Self::Hidden =>         ("hidden",          ClientClose, 1000, None),
            Self::Idle =>           ("idle",            ServerIdle,  1000, Some(E::Idle)),
            Self::HeartbeatLost =>  ("heartbeat_lost",  ForcedClose, 1011, Some(E::Heartbeat)),
            Self::Stalled =>        ("stalled",         ForcedClose, 1011, Some(E::Heartbeat)),
            Self::AdminKill =>      ("admin_kill",      ForcedClose, 1008, None),
            Self::Drain =>          ("drain",           ForcedClose, 1001, Some(E::Drain)),
            Self::AuthExpired =>    ("auth_expired",    ForcedClose, 1008, Some(E::Auth)),
            Self::PodGone =>        ("pod_gone",        ForcedClose, 1011, Some(E::NotFound)),
            Self::TransportError => ("transport_error", ForcedClose, 1011, Some(E::ClusterUnreachable)),
            Self::ProtocolError =>  ("protocol_error",  ForcedClose, 1002, Some(E::Protocol)),
            Self::NoShell =>        ("no_shell",        ForcedClose, 1011, Some(E::NoShell)),
            Self::Forbidden =>      ("forbidden",       ForcedClose, 1011, Some(E::Forbidden)),
            Self::NotFound =>       ("not_found",       ForcedClose, 1011, Some(E::NotFound)),
            Self::Rejected =>       ("rejected",        ForcedClose, 1011, Some(E::InvalidRequest)),
            Self::Unreachable =>    ("unreachable",     ForcedClose, 1011, Some(E::ClusterUnreachable)),
            Self::Audit =>          ("audit",           ForcedClose, 1011, Some(E::Audit)),
            Self::GatewayCrash =>   ("gateway_crash",   ForcedClose, 1011, Some(E::Internal)),
            Self::Internal =>       ("internal",        ForcedClose, 1011, Some(E::Internal)),
        }
    }
}

impl fmt::Display for CloseDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A session's error: what the browser is told and what the audit trail keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code of the `error` frame.
    pub code: ErrorCode,
    /// The detail of the `closed` frame and the audit record.
    pub detail: CloseDetail,
    /// Whether the page may try again by itself.
    pub retryable: bool,
    /// A sentence a person can act on. Never a peer's text.
    pub message: &'static str,
}

impl Failure {
    /// A failure with a sentence of its own, as retryable as its code.
    pub const fn new(code: ErrorCode, detail: CloseDetail, message: &'static str) -> Self {
        Self {
            code,
            detail,
            retryable: code.is_retryable(),
            message,
        }
    }

    /// A failure with the sentence of its code.
    pub const fn plain(code: ErrorCode, detail: CloseDetail) -> Self {
        Self::new(code, detail, code.message())
    }

    /// The failure a detail stands for; `None` where nothing went wrong.
    pub const fn of(detail: CloseDetail) -> Option<Self> {
        match detail.error() {
            Some(code) => Some(Self::plain(code, detail)),
            None => None,
        }
    }

    /// The close code of the browser's WebSocket: a broken protocol is 1002 only if the browser
    /// broke it.
    pub const fn close_code(&self) -> u16 {
        match (self.detail, self.code) {
            (CloseDetail::ProtocolError, ErrorCode::Internal) => 1011,
            (detail, _) => detail.close_code(),
        }
    }
}

/// `bool` with a name, so that the table reads.
#[derive(Clone, Copy)]
enum Retry {
    No,
    Yes,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Written out a second time, from the rules: code, status (0 = frames only), retryable.
    const CODES: [(&str, u16, bool); 17] = [
        ("E_AUTH", 401, false),
        ("E_FORBIDDEN", 403, false),
        ("E_EXEC_DISABLED", 403, false),
        ("E_ORIGIN", 403, false),
        ("E_INVALID_REQUEST", 400, false),
        ("E_PROTOCOL", 400, false),
        ("E_NOT_FOUND", 404, false),
        ("E_CAP_USER", 429, false),
        ("E_CAP_CLUSTER", 429, false),
        ("E_RATE_LIMIT", 429, true),
        ("E_CLUSTER_UNREACHABLE", 502, true),
        ("E_DRAIN", 503, true),
        ("E_AUDIT", 503, true),
        ("E_INTERNAL", 500, false),
        ("E_NO_SHELL", 0, false),
        ("E_IDLE", 0, false),
        ("E_HEARTBEAT", 0, true),
    ];

    #[test]
    fn every_code_has_the_status_and_the_retryability_of_the_rules() {
        for (code, (name, status, retryable)) in ErrorCode::ALL.into_iter().zip(CODES) {
            assert_eq!(code.as_str(), name);
            assert_eq!(code.to_string(), name);
            assert_eq!(
                code.http_status(),
                if status == 0 { 500 } else { status },
                "{name}"
            );
            assert_eq!(code.is_retryable(), retryable, "{name}");
        }
    }

    #[test]
    fn every_message_is_a_sentence_that_says_what_to_do_and_no_two_are_alike() {
        let messages: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.message()).collect();
        assert_eq!(messages.len(), ErrorCode::ALL.len());
        for message in messages {
            let sentences = message.matches(". ").count() + 1;
            assert!(sentences >= 2, "what happened and what to do: {message}");
            assert!(
                message.starts_with(char::is_uppercase) && message.ends_with('.'),
                "{message}"
            );
        }
    }

    #[test]
    fn details_group_into_the_three_reasons() {
        let of = |reason| -> Vec<&str> {
            let details = CloseDetail::ALL
                .iter()
                .filter(|detail| detail.reason() == reason);
            details.map(|detail| detail.as_str()).collect()
        };
        let client = ["process_exit", "user_close", "tab_gone", "hidden"];
        let forced = "heartbeat_lost stalled admin_kill drain auth_expired pod_gone transport_error \
                      protocol_error no_shell forbidden not_found rejected unreachable audit \
                      gateway_crash internal";
        assert_eq!(of(CloseReason::ClientClose), client);
        assert_eq!(of(CloseReason::ServerIdle), ["idle"]);
        assert_eq!(of(CloseReason::ForcedClose).join(" "), forced);
        assert_eq!(CloseReason::ClientClose.to_string(), "client_close");
        assert_eq!(CloseReason::ServerIdle.to_string(), "server_idle");
        assert_eq!(CloseReason::ForcedClose.to_string(), "forced_close");
    }

    #[test]
    fn the_browser_sees_the_close_code_of_its_detail() {
        for detail in CloseDetail::ALL {
            let code = match detail.as_str() {
                "process_exit" | "user_close" | "hidden" | "idle" => 1000,
                "drain" => 1001,
                "protocol_error" => 1002,
                "admin_kill" | "auth_expired" => 1008,
                _ => 1011,
            };
            assert_eq!(detail.close_code(), code, "{detail}");
        }
    }

    #[test]
    fn a_protocol_broken_by_the_apiserver_is_not_blamed_on_the_browser() {
        let browser = Failure::of(CloseDetail::ProtocolError).unwrap();
        assert_eq!(
            (browser.code, browser.close_code()),
            (ErrorCode::Protocol, 1002)
        );
        let apiserver = Failure::plain(ErrorCode::Internal, CloseDetail::ProtocolError);
        assert_eq!(apiserver.close_code(), 1011);
    }

    #[test]
    fn ends_without_a_fault_carry_no_error_and_all_others_do() {
        for detail in CloseDetail::ALL {
            let code = match detail.as_str() {
                "process_exit" | "user_close" | "tab_gone" | "hidden" | "admin_kill" => None,
                "idle" => Some("E_IDLE"),
                "heartbeat_lost" | "stalled" => Some("E_HEARTBEAT"),
                "drain" => Some("E_DRAIN"),
                "auth_expired" => Some("E_AUTH"),
                "audit" => Some("E_AUDIT"),
                "pod_gone" | "not_found" => Some("E_NOT_FOUND"),
                "transport_error" | "unreachable" => Some("E_CLUSTER_UNREACHABLE"),
                "protocol_error" => Some("E_PROTOCOL"),
                "no_shell" => Some("E_NO_SHELL"),
                "forbidden" => Some("E_FORBIDDEN"),
                "rejected" => Some("E_INVALID_REQUEST"),
                "gateway_crash" | "internal" => Some("E_INTERNAL"),
                other => panic!("{other} is in no row"),
            };
            assert_eq!(detail.error().map(ErrorCode::as_str), code, "{detail}");
            assert_eq!(
                Failure::of(detail).map(|failure| failure.code.as_str()),
                code
            );
        }
    }
}
