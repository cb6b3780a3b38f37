//! The production server on tokio: the gateway, and the sandbox apiserver of `periscope demo`.

pub mod sandbox;
