//! `periscope serve`: the production server.

use crate::cli::{Exit, fail};

/// Says what is missing. Nothing may look as if it served while nobody can log in.
pub(crate) fn run() -> Exit {
    let missing: Vec<&str> = ["PERISCOPE_AUTH_MODE", "PERISCOPE_CLUSTERS_FILE"]
        .into_iter()
        .filter(|name| std::env::var_os(name).is_none_or(|value| value.is_empty()))
        .collect();
    let reason = if missing.is_empty() {
        "this build serves the sandbox only (`periscope demo`); login and cluster backends of `serve` are not part of it yet".to_owned()
    } else {
        format!(
            "`serve` needs {}; to look around without a cluster, run `periscope demo`",
            missing.join(" and ")
        )
    };
    fail(Exit::Configuration, &reason)
}
