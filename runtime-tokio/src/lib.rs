//! Sockets and a clock of tokio for the driver loop of `periscope-core`.
