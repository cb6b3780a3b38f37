//! The rules of a session, one subject per file, each told as a scenario between a hand clock and
//! two hand-made peers. Only the session's public verbs are used.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod dials;
mod driver;
mod ends;
mod flow;
mod hostile;
mod listening;
mod liveness;
mod no_shell;
mod rig;
mod stdin;
mod transport_table;
mod up;
