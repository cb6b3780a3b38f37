//! Every capture, and what must come of it.

/// What a conversation must come to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// The upgrade is refused: row, next and breaker of the transport table, code and detail of the
    /// outcome table, and what the log says.
    Refused(&'static str),
    /// The command runs: all of its output, then its end.
    Runs(Output, End),
}

/// The bytes of stdout and stderr in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Is(&'static str),
    /// The numbers from 1 to this, each on its line.
    CountsTo(u32),
}

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(u8),
    /// The runtime finds no such executable.
    NoShell,
    /// With this exit code, told in a sentence as v1 does. Our client does not speak v1 and takes
    /// the sentence for a broken Status.
    Sentence(u8),
}

use End::{Exit, NoShell, Sentence};
use Expected::{Refused, Runs};
use Output::{CountsTo, Is};

const NO_SUBPROTOCOL: Expected =
    Refused("5 Spdy Counts E_CLUSTER_UNREACHABLE/unreachable upgrade_error=403");
const FORBIDDEN: Expected =
    Refused("2 Spdy Never E_FORBIDDEN/forbidden upgrade_error=status:Forbidden");
const NO_CONTAINER: Expected =
    Refused("4 None Never E_NOT_FOUND/not_found upgrade_error=status:BadRequest");
const NO_POD: Expected =
    Refused("4 None Never E_NOT_FOUND/not_found upgrade_error=status:NotFound");
const NO_UPGRADE: Expected =
    Refused("3 Spdy Counts E_INVALID_REQUEST/rejected upgrade_error=status:BadRequest");

const HELLO: Expected = Runs(Is("hello\n"), Exit(0));
const HI: Expected = Runs(Is("hi\n"), Exit(5));
const HI_V1: Expected = Runs(Is("hi\n"), Sentence(5));
const SILENT_7: Expected = Runs(Is(""), Exit(7));
const KILLED: Expected = Runs(Is(""), Exit(137));
const MISSING: Expected = Runs(Is(""), NoShell);
const OUT_ERR: Expected = Runs(Is("out\nerr\n"), Exit(0));
const ERR_OUT: Expected = Runs(Is("err\nout\n"), Exit(0));
const CAT: Expected = Runs(Is("line one\nline two\ndone\n"), Exit(0));
const CAT_AB: Expected = Runs(Is("a\nb\ndone\n"), Exit(0));
const SEQ: Expected = Runs(CountsTo(60_000), Exit(0));
const BASH: Expected = Runs(
    Is("bash-5.2# echo attached\r\nattached\r\nbash-5.2# exit 0\r\nexit\r\n"),
    Exit(0),
);
const TTY: Expected = Runs(
    Is(
        "\r\n\r\nBusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) built-in shell (ash)\r\n\
        Enter 'help' for a list of built-in commands.\r\n\r\n/ # \x1b[6n\r/ # \x1b[J\
        stty size\r\n24 80\r\n/ # \x1b[6n\r/ # \x1b[J\
        stty size\r\n43 132\r\n/ # \x1b[6nexit 3\r\n",
    ),
    Exit(3),
);
const TTY_HI: Expected = Runs(
    Is(
        "\r\n\r\nBusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) built-in shell (ash)\r\n\
        Enter 'help' for a list of built-in commands.\r\n\r\n/ # \x1b[6n\r/ # \x1b[J\
        echo hi; stty size\r\nhi\r\n24 80\r\n/ # \x1b[6n\r/ # \x1b[J\
        stty size\r\n40 100\r\n/ # \x1b[6nexit 3\r\n",
    ),
    Exit(3),
);

/// By name, with one expectation for each connection.
#[rustfmt::skip]
pub(crate) const CAPTURES: &[(&str, &[Expected])] = &[
    ("v1.20-spdy-echo.jsonl",           &[HELLO]),
    ("v1.20-spdy-exit7.jsonl",          &[SILENT_7]),
    ("v1.20-spdy-forbidden.jsonl",      &[FORBIDDEN]),
    ("v1.20-spdy-noshell.jsonl",        &[MISSING]),
    ("v1.20-spdy-stderr.jsonl",         &[OUT_ERR]),
    ("v1.20-spdy-stdin-eof.jsonl",      &[CAT]),
    ("v1.20-spdy-tty.jsonl",            &[TTY]),
    ("v1.20-ws-echo.jsonl",             &[NO_SUBPROTOCOL, HELLO]),
    ("v1.20-ws-exit7.jsonl",            &[NO_SUBPROTOCOL, SILENT_7]),
    ("v1.20-ws-forbidden.jsonl",        &[FORBIDDEN]),
    ("v1.20-ws-nocontainer.jsonl",      &[NO_CONTAINER]),
    ("v1.20-ws-nopod.jsonl",            &[NO_POD]),
    ("v1.20-ws-noshell.jsonl",          &[NO_SUBPROTOCOL, MISSING]),
    ("v1.20-ws-stderr.jsonl",           &[NO_SUBPROTOCOL, OUT_ERR]),
    ("v1.20-ws-stdin-eof.jsonl",        &[NO_SUBPROTOCOL, CAT]),
    ("v1.20-ws-tty.jsonl",              &[NO_SUBPROTOCOL, TTY]),
    ("v1.20-ws-v1.jsonl",               &[HI_V1]),
    ("v1.20-ws-v4.jsonl",               &[HI]),
    ("v1.20-ws-v5.jsonl",               &[NO_SUBPROTOCOL]),
    ("v1.20-ws-v5v4.jsonl",             &[HI]),
    ("v1.36-noupgrade.jsonl",           &[NO_UPGRADE]),
    ("v1.36-spdy-echo.jsonl",           &[HELLO]),
    ("v1.36-spdy-exit7.jsonl",          &[SILENT_7]),
    ("v1.36-spdy-forbidden.jsonl",      &[FORBIDDEN]),
    ("v1.36-spdy-k120-echo.jsonl",      &[HELLO]),
    ("v1.36-spdy-k120-exit7.jsonl",     &[Runs(Is("out\nerr\n"), Exit(7))]),
    ("v1.36-spdy-k120-stdin-eof.jsonl", &[CAT_AB]),
    ("v1.36-spdy-k120-tty.jsonl",       &[TTY_HI]),
    ("v1.36-spdy-kill.jsonl",           &[KILLED]),
    ("v1.36-spdy-nocontainer.jsonl",    &[NO_CONTAINER]),
    ("v1.36-spdy-nopod.jsonl",          &[NO_POD]),
    ("v1.36-spdy-noshell.jsonl",        &[MISSING]),
    ("v1.36-spdy-seq.jsonl",            &[SEQ]),
    ("v1.36-spdy-stderr.jsonl",         &[ERR_OUT]),
    ("v1.36-spdy-stdin-eof.jsonl",      &[CAT]),
    ("v1.36-spdy-tty-bash.jsonl",       &[BASH]),
    ("v1.36-spdy-tty.jsonl",            &[TTY]),
    ("v1.36-ws-badproto.jsonl",         &[NO_SUBPROTOCOL]),
    ("v1.36-ws-base64-v4.jsonl",        &[HI]),
    ("v1.36-ws-echo.jsonl",             &[HELLO]),
    ("v1.36-ws-exit7.jsonl",            &[SILENT_7]),
    ("v1.36-ws-forbidden.jsonl",        &[FORBIDDEN]),
    ("v1.36-ws-k137-echo.jsonl",        &[HELLO]),
    ("v1.36-ws-k137-exit7.jsonl",       &[Runs(Is("err\nout\n"), Exit(7))]),
    ("v1.36-ws-k137-stdin-eof.jsonl",   &[CAT_AB]),
    ("v1.36-ws-k137-tty.jsonl",         &[TTY_HI]),
    ("v1.36-ws-kill.jsonl",             &[KILLED]),
    ("v1.36-ws-nocontainer.jsonl",      &[NO_CONTAINER, NO_CONTAINER]),
    ("v1.36-ws-nopod.jsonl",            &[NO_POD]),
    ("v1.36-ws-noproto.jsonl",          &[HI_V1]),
    ("v1.36-ws-noshell.jsonl",          &[MISSING]),
    ("v1.36-ws-seq.jsonl",              &[SEQ]),
    ("v1.36-ws-stderr.jsonl",           &[ERR_OUT]),
    ("v1.36-ws-stdin-eof.jsonl",        &[CAT]),
    ("v1.36-ws-tty-bash.jsonl",         &[BASH]),
    ("v1.36-ws-tty.jsonl",              &[TTY]),
    ("v1.36-ws-v1.jsonl",               &[HI_V1]),
    ("v1.36-ws-v2.jsonl",               &[NO_SUBPROTOCOL]),
    ("v1.36-ws-v3.jsonl",               &[NO_SUBPROTOCOL]),
    ("v1.36-ws-v4.jsonl",               &[HI]),
];

impl Output {
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Is(text) => text.into(),
            Self::CountsTo(last) => (1..=last)
                .flat_map(|number| format!("{number}\n").into_bytes())
                .collect(),
        }
    }
}
