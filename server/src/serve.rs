//! `periscope serve`: the production server.

use crate::cli::{Exit, fail, refuse};
use crate::config::{self, Environment};

/// Says what is missing. Nothing may look as if it served while nobody can log in.
pub(crate) fn run(environment: &Environment) -> Exit {
    let (settings, findings) = config::load(environment, &config::Disk);
    if settings.is_none() {
        return refuse(&findings);
    }
    let reason = "this build serves the sandbox only (`periscope demo`); login and cluster backends of `serve` are not part of it yet";
    fail(Exit::Configuration, &reason)
}
