//! The `periscope` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    periscope_server::cli::main()
}
