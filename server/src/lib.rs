//! The production server on tokio: the gateway, and the sandbox apiserver of `periscope demo`.

mod audit_cli;
pub mod cli;
mod client;
pub mod config;
pub mod demo;
mod doctor;
pub mod gateway;
mod renewal;
pub mod sandbox;
mod serve;
mod signals;
