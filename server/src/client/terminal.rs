//! The terminal this program runs in.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Raw mode: every key goes to the remote terminal. Dropping it gives the old mode back, on panic
/// too.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    pub(super) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone has no mode to give back.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Drain, &self.before);
    }
}

/// Columns and rows of the terminal; none where there is no terminal, or one without a size.
pub(super) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdin().as_fd())
        .or_else(|_| tcgetwinsize(io::stdout().as_fd()))
        .ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Tells the person something. In raw mode a line needs its carriage return.
pub(super) fn say(text: &str) {
    let text = printable(text).replace('\n', "\r\n");
    // Where nobody reads, nobody is told.
    drop(write!(io::stderr(), "periscope: {text}\r\n"));
}

/// A text of a peer without what a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    let is_harmless = |c: &char| *c == '\n' || !c.is_control();
    text.chars().filter(is_harmless).collect()
}
