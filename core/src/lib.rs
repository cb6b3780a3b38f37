//! Kubernetes `pods/exec` as pure state machines.
//!
//! See `ARCHITECTURE.md` in the repository for the map and the invariants.

pub mod limits;
pub mod outbox;
pub mod time;
pub mod ws;
