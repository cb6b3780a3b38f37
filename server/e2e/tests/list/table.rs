//! The list: what is played, on what, and what is expected where it cannot be the same everywhere.

use std::future::Future;
use std::pin::Pin;

use crate::gateways::Settings;
use crate::peers::{Peer, Transport};
use crate::rows::{self, Case};
use crate::wire::{Act, Acts};

/// What a row comes to in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// As everywhere.
    Plays,
    /// It plays, and this is expected instead.
    Instead(&'static str),
    /// It cannot be had there, for this reason.
    NotApplicable(&'static str),
}

/// Which gateway a row is played on: those that need other settings have one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Main,
    /// Sessions end after a few seconds of silence.
    Idle,
    /// The warning comes as soon, but the end is far away.
    Warned,
    /// The user may look but not open shells.
    Reader,
    /// It is told to leave once every case has its shell.
    Drain,
}

/// How a row is played.
pub(crate) enum Play {
    /// From its beginning to its end.
    Whole(for<'a> fn(&'a Case) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>),
    /// Up to a shell that is up; the rest follows once the gateway was told to leave.
    Drain,
}

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    /// What happens to the transport in question.
    pub(crate) act: fn(Peer) -> Act,
    pub(crate) cell: fn(Peer, Transport) -> Cell,
    pub(crate) play: Play,
    /// Moves so much that only a few at a time should.
    pub(crate) is_long: bool,
}

impl Row {
    /// What the middlebox of a case does.
    pub(crate) fn acts(&self, peer: Peer, transport: Transport) -> Acts {
        Acts::new(transport, (self.act)(peer))
    }
}

impl Host {
    pub(crate) const ALL: [Self; 5] = [
        Self::Main,
        Self::Idle,
        Self::Warned,
        Self::Reader,
        Self::Drain,
    ];

    pub(crate) fn settings(self) -> Settings {
        let settings = Settings::default();
        match self {
            Self::Main => settings,
            Self::Idle => Settings {
                idle_seconds: 5,
                idle_warn_seconds: 3,
                ..settings
            },
            Self::Warned => Settings {
                idle_seconds: 62,
                idle_warn_seconds: 60,
                ..settings
            },
            Self::Reader => Settings {
                tier: "read",
                ..settings
            },
            Self::Drain => Settings {
                drain_seconds: 3,
                ..settings
            },
        }
    }
}

/// The columns: what a gateway speaks, and to whom.
pub(crate) const COLUMNS: [(Transport, Peer); 6] = [
    (Transport::V5, Peer::Sandbox),
    (Transport::Spdy, Peer::Sandbox),
    (Transport::V4, Peer::Sandbox),
    (Transport::V5, Peer::Interop),
    (Transport::Spdy, Peer::Interop),
    (Transport::V4, Peer::Interop),
];

fn everywhere(_: Peer, _: Transport) -> Cell {
    Cell::Plays
}

fn pass(_: Peer) -> Act {
    Act::Pass
}

macro_rules! row {
    ($name:literal, $play:path) => {
        row!($name, Host::Main, pass, everywhere, $play)
    };
    ($name:literal, $host:expr, $act:expr, $cell:expr, $play:path) => {
        Row {
            name: $name,
            host: $host,
            act: $act,
            cell: $cell,
            play: Play::Whole(|case| Box::pin($play(case))),
            is_long: false,
        }
    };
}

/// The list.
pub(crate) const LIST: &[Row] = &[
    row!("echo in a shell", rows::echo),
    row!("stderr", rows::stderr),
    row!("exit 0", rows::exit_0),
    row!("exit 7", rows::exit_7),
    row!("exit 137", rows::exit_137),
    row!("silent exit 0", rows::silent_exit),
    row!(
        "stdin and eof",
        Host::Main,
        pass,
        |_, transport| match transport {
            Transport::V4 => Cell::Instead(
                "v4 over WebSocket cannot say eof: error E_PROTOCOL, and the session goes on"
            ),
            Transport::V5 | Transport::Spdy => Cell::Plays,
        },
        rows::stdin_and_eof
    ),
    row!("tty and resize", rows::tty_and_resize),
    Row {
        is_long: true,
        ..row!("100 MB down, checksum", rows::long_output)
    },
    Row {
        is_long: true,
        ..row!("100 MB up, checksum", rows::long_input)
    },
    Row {
        is_long: true,
        ..row!("slow reader", rows::slow_reader)
    },
    row!("no shell", rows::no_shell),
    row!(
        "403 of the access review",
        Host::Reader,
        pass,
        |peer, _| match peer {
            Peer::Sandbox => Cell::Plays,
            Peer::Interop => Cell::NotApplicable(
                "it has no RBAC: its review allows whatever its exec does not forbid"
            ),
        },
        rows::forbidden_by_review
    ),
    row!(
        "403 of the exec",
        Host::Main,
        // The sandbox decides an exec as it decides the review that precedes it, so the middlebox
        // says what a stricter authorizer would.
        |peer| match peer {
            Peer::Sandbox => Act::Forbidden,
            Peer::Interop => Act::Pass,
        },
        everywhere,
        rows::forbidden_by_exec
    ),
    row!("404: no such pod", rows::not_found),
    row!("400: no such container", rows::wrong_container),
    row!(
        "empty 403",
        Host::Main,
        |_| Act::Bare403,
        |_, transport| match transport {
            Transport::V5 => Cell::Instead("the shell comes over SPDY"),
            Transport::Spdy => Cell::Instead("the shell comes over v4 of WebSocket"),
            Transport::V4 => Cell::Instead("nothing is left to try: E_CLUSTER_UNREACHABLE"),
        },
        rows::empty_403
    ),
    row!(
        "browser gone: dialing",
        Host::Main,
        |_| Act::Silent,
        everywhere,
        rows::gone_while_dialing
    ),
    row!("browser gone: before up", rows::gone_before_up),
    row!("browser gone: up", rows::gone_while_up),
    row!("browser gone: in a flood", rows::gone_in_a_flood),
    row!(
        "browser gone: idle warned",
        Host::Warned,
        pass,
        everywhere,
        rows::gone_after_the_warning
    ),
    row!(
        "idle with warning",
        Host::Idle,
        pass,
        everywhere,
        rows::idle
    ),
    Row {
        name: "drain",
        host: Host::Drain,
        act: pass,
        cell: everywhere,
        play: Play::Drain,
        is_long: false,
    },
    row!("apiserver resets", rows::reset),
    row!(
        "apiserver says nothing",
        Host::Main,
        |_| Act::Silent,
        everywhere,
        rows::silence
    ),
];
