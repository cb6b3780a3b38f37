//! Kubernetes `pods/exec` as pure state machines.
//!
//! See `ARCHITECTURE.md` in the repository for the map and the invariants.

pub mod code;
pub mod http;
pub mod limits;
pub mod names;
pub mod outbox;
pub mod policy;
pub mod refusal;
pub mod request;
pub mod time;
pub mod ws;
