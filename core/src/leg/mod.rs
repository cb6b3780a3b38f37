//! The two connections of a session: each joins a handshake, a framing and a vocabulary.

pub mod api;
pub mod browser;
pub mod console;
pub mod exec_server;
