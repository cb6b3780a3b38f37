//! The `periscope` program.

fn main() {}
