//! Replays the committed corpora: every input once found or made must keep its promises.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use periscope_fuzz::TARGETS;

/// All corpora together stay small enough to live in the repository.
const CORPORA_BYTES_MAX: u64 = 2 * 1024 * 1024;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_committed_input_is_decoded_without_a_broken_promise() {
    for (name, target) in TARGETS {
        let inputs = files(&corpora().join(name));
        assert!(inputs.len() >= 5, "{name}: a corpus of {}", inputs.len());
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let verdict = std::panic::catch_unwind(|| target(&bytes));
            assert!(verdict.is_ok(), "{}", input.display());
        }
    }
}

#[test]
fn inputs_too_short_for_their_parameters_are_no_failure() {
    for (_, target) in TARGETS {
        for len in 0..4 {
            target(&vec![0xff; len]);
        }
    }
}

#[test]
fn corpora_are_small_and_belong_to_a_target() {
    let mut bytes = 0;
    for folder in files(&corpora()) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(
            TARGETS.iter().any(|(target, _)| *target == name),
            "no target is called {name}"
        );
        for file in files(&folder) {
            bytes += fs::metadata(file).unwrap().len();
        }
    }
    assert!(bytes <= CORPORA_BYTES_MAX, "{bytes} bytes of corpora");
}
