//! What a session is told at its start.

use core::time::Duration;

use crate::session::io::Transport;

/// Everything the host decided before the session began.
#[derive(Clone, Debug)]
pub struct Config {
    /// Identifier in `hello`, audit and `Audit-ID`.
    pub session_id: String,
    /// The cluster's name in the registry.
    pub cluster: String,
    /// Namespace of the pod; a checked Kubernetes name.
    pub namespace: String,
    /// The pod; a checked Kubernetes name.
    pub pod: String,
    /// The container; none lets the apiserver choose.
    pub container: Option<String>,
    /// The command, argument by argument.
    pub command: Vec<String>,
    /// Whether the caller chose the command. Such a command is never tried twice.
    pub own_command: bool,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Columns and rows at the start, where the browser told them.
    pub size: Option<(u16, u16)>,
    /// Whether the browser acknowledges output (`flow=ack`, `flow=both`).
    pub flow_ack: bool,
    /// Whether the browser is told how much of its stdin went on (`flow=both`).
    pub stdin_ack: bool,
    /// Who the apiserver sees.
    pub identity: Identity,
    /// The three intervals an operator can set.
    pub timing: Timing,
    /// What to try first: [`Transport::Spdy`] while the cluster's breaker is open.
    pub first: Transport,
}

/// The identity the apiserver decides by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The impersonated user, or the gateway's own name.
    pub user: String,
    /// The impersonated groups.
    pub groups: Vec<String>,
}

/// The intervals of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Silence after which the session ends.
    pub idle: Duration,
    /// How long before that the browser is warned.
    pub idle_warn: Duration,
    /// Interval of pings.
    pub heartbeat: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(10),
            idle_warn: Duration::from_secs(30),
            heartbeat: Duration::from_secs(20),
        }
    }
}
