//! Rules about the source itself: layers, what the core may not touch, sizes, and the page of
//! limits. They are the promises of `ARCHITECTURE.md`, checked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // this test reads files

#[path = "tidy/page.rs"]
mod page;
#[path = "tidy/source.rs"]
mod source;

use std::fs;

use self::page::limits_page;
use self::source::{Source, names, root, sources};

/// Which modules of the core a module may name. Everybody may also name [`EVERYBODYS`].
/// A call goes down, a value comes back; session and policy never name each other.
const LAYERS: [(&str, &[&str]); 21] = [
    ("lib", &[]),
    // Everybody's.
    ("time", &[]),
    ("limits", &[]),
    ("outbox", &[]),
    ("code", &[]),
    // Rules without a connection.
    ("names", &[]),
    ("request", &["names"]),
    ("kube", &["names"]),
    ("refusal", &[]),
    ("policy", &[]),
    // Machines.
    ("http", &[]),
    ("ws", &[]),
    ("spdy", &[]),
    ("channel", &["ws"]),
    // One side of a session.
    ("leg", MACHINES),
    // Both sides.
    (
        "session",
        &[
            "leg", "http", "ws", "spdy", "channel", "names", "request", "refusal",
        ],
    ),
    // Bytes and time for a session.
    ("transport", &[]),
    ("tls", &["transport"]),
    ("drive", &["session", "transport"]),
    (
        "sim",
        &[
            "drive",
            "session",
            "leg",
            "http",
            "ws",
            "spdy",
            "channel",
            "names",
            "request",
            "refusal",
            "policy",
            "transport",
            "tls",
        ],
    ),
    // Entry points of the simulator's scenarios.
    ("scenario", &["sim", "drive", "session", "leg", "transport"]),
];

const MACHINES: &[&str] = &[
    "http", "ws", "spdy", "channel", "names", "request", "refusal",
];

const EVERYBODYS: [&str; 4] = ["time", "limits", "outbox", "code"];

/// Stricter than the layers: policy decides by names, numbers and instants alone.
const POLICY_USES: [&str; 2] = ["time", "limits"];

/// Modules that carry bytes, and so know of polling and of I/O errors.
const BYTE_CARRIERS: [&str; 4] = ["drive", "sim", "tls", "transport"];

/// What only those may name.
const POLLING: [&str; 5] = [
    "core::task",
    "std::task",
    "std::io",
    "core::future",
    "core::pin",
];

/// What nobody in the core may name: the host owns clocks, randomness, I/O, threads and locks.
const FOREIGN: [&str; 33] = [
    "async fn",
    "async move",
    ".await",
    "std::time::Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::os",
    "std::path",
    "std::thread",
    "thread_local!",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "std::sync::mpsc",
    "std::sync::atomic",
    "core::sync::atomic",
    "tokio",
    "smol",
    "async_std",
    "futures",
    "rand::rng",
    "rand::random",
    "thread_rng",
    "OsRng",
    "getrandom",
    "HashMap",
    "HashSet",
];

const LINES_MAX: usize = 600;
const LINES_WITH_TESTS_MAX: usize = 700;
const ADAPTER_LINES_MAX: usize = 150;

#[test]
fn modules_name_only_the_layers_below_them() {
    let mut faults = Vec::new();
    for source in sources("core/src", "rs") {
        let module = source.module();
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            faults.push(format!(
                "{}: module `{module}` is in no layer; add it to LAYERS",
                source.path
            ));
            continue;
        };
        for used in source.uses() {
            let allowed = match module.as_str() {
                "policy" => POLICY_USES.contains(&used.as_str()),
                _ => EVERYBODYS.contains(&used.as_str()) || below.contains(&used.as_str()),
            };
            if used != module && !allowed {
                faults.push(format!("{}: `{module}` may not name `{used}`", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_core_touches_no_clock_no_randomness_no_io_and_no_lock() {
    let mut faults = Vec::new();
    for source in sources("core/src", "rs") {
        let carries_bytes = BYTE_CARRIERS.contains(&source.module().as_str());
        let polling = if carries_bytes { &[][..] } else { &POLLING[..] };
        for (number, line) in source.code.lines().enumerate() {
            for name in FOREIGN
                .iter()
                .chain(polling)
                .filter(|name| names(line, name))
                // The simulator is a host: its waker has to be one that threads could share.
                .filter(|name| !(source.path.contains("/sim/") && name.ends_with("::atomic")))
            {
                faults.push(format!(
                    "{}:{}: `{name}` is the host's",
                    source.path,
                    number + 1
                ));
            }
        }
        if source.code.contains("std::time::{") {
            faults.push(format!(
                "{}: import from core::time by full path",
                source.path
            ));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn files_are_short_enough_to_read() {
    let mut faults = Vec::new();
    for source in sources(".", "rs")
        .into_iter()
        .chain(sources("server/web", "ts"))
    {
        let (with_tests, without) = (source.text.lines().count(), source.lines_without_tests());
        if with_tests > LINES_WITH_TESTS_MAX || (without > LINES_MAX && !source.is_test()) {
            faults.push(format!(
                "{}: {without} lines, {with_tests} with tests",
                source.path
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "cut by state or by concern, not by size: {faults:#?}"
    );
}

#[test]
fn every_file_of_the_core_says_what_it_is() {
    let files = sources("core/src", "rs")
        .into_iter()
        .chain(sources("core/tests", "rs"));
    let silent: Vec<String> = files
        .filter(|one| !one.text.starts_with("//!"))
        .map(|one| one.path)
        .collect();
    assert!(silent.is_empty(), "no module documentation: {silent:#?}");
}

#[test]
fn nothing_is_left_for_later_and_nothing_names_one_persons_machine() {
    let later =
        ["TO", "FIX"].map(|half| format!("{half}{}", if half == "TO" { "DO" } else { "ME" }));
    let machine = format!("/{}", "work");
    let mut faults = Vec::new();
    for extension in [
        "rs", "ts", "toml", "md", "yaml", "yml", "html", "css", "sh", "tpl", "json",
    ] {
        for source in sources(".", extension) {
            for (number, line) in source.text.lines().enumerate() {
                let unfinished = matches!(extension, "rs" | "ts" | "sh")
                    && later.iter().any(|word| names(line, word));
                if unfinished || names(line, &machine) {
                    faults.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn adapters_are_thin_and_decide_nothing() {
    for adapter in ["runtime-tokio/src", "runtime-smol/src"] {
        let files = sources(adapter, "rs");
        let lines: usize = files
            .iter()
            .filter(|one| !one.is_test())
            .map(Source::lines_of_code)
            .sum();
        assert!(
            lines <= ADAPTER_LINES_MAX,
            "{adapter} has {lines} lines of code"
        );
        for source in &files {
            for word in ["Event::", "Ask::", "Answer::", "session::Event"] {
                assert!(
                    !source.code.contains(word),
                    "{} decides on `{word}`: that is the session's",
                    source.path
                );
            }
        }
    }
}

#[test]
fn the_page_of_limits_says_what_the_code_says() {
    let page = root().join("docs/limits.md");
    let expected = limits_page(&fs::read_to_string(root().join("core/src/limits.rs")).unwrap());
    if std::env::var_os("PERISCOPE_UPDATE_DOCS").is_some() {
        fs::write(&page, &expected).unwrap();
    }
    let found = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == expected,
        "docs/limits.md is behind core/src/limits.rs; write it with:\n\
         PERISCOPE_UPDATE_DOCS=1 cargo test -p periscope-core --test tidy"
    );
}
