//! Kubernetes `pods/exec` as pure state machines.
//!
//! See `ARCHITECTURE.md` in the repository for the map and the invariants.

pub mod channel;
pub mod code;
pub mod drive;
pub mod http;
pub mod leg;
pub mod limits;
pub mod names;
pub mod outbox;
pub mod policy;
pub mod refusal;
pub mod request;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod spdy;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
pub mod ws;
