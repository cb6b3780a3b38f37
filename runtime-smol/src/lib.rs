//! Sockets and a clock of smol for the driver loop of `periscope-core`.
