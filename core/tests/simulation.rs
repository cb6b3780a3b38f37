//! Thousands of seeded sessions over bad wires, with honest and lying peers.
//!
//! `SEED=n` runs one seed and prints its transcript; `SEEDS=n` sets how many are run; `FIRST=1`
//! stops at the first that fails.

#![cfg(feature = "sim")]
#![expect(
    clippy::print_stdout,
    reason = "the statistics are what this test is read for"
)]
#![expect(clippy::disallowed_methods, reason = "seeds come from the environment")]

use std::collections::BTreeMap;

use periscope_core::code::CloseDetail;
use periscope_core::sim::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn bytes_are_conserved_memory_is_bounded_and_every_session_ends_once() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(3000),
    };
    let one = seeds.end - seeds.start == 1;
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in seeds.clone() {
        let report = World::new(seed).run();
        if one {
            println!("{}", report.transcript.join("\n"));
        }
        for (what, count) in report.seen {
            *seen.entry(what).or_default() += count;
        }
        if !report.violations.is_empty() {
            failures.push(format!("SEED={seed}: {}", report.violations.join("; ")));
            if number("FIRST").is_some() {
                break;
            }
        }
    }
    println!("{} seeds", seeds.end - seeds.start);
    for (what, count) in &seen {
        println!("{count:>9}  {what}");
    }
    assert!(
        failures.is_empty(),
        "{} seeds failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    if !one {
        let mut missing = expected();
        missing.retain(|what| !seen.contains_key(what));
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    for seed in 0..200 {
        let [first, second] = [seed, seed].map(|seed| World::new(seed).run());
        assert_eq!(first.transcript, second.transcript, "SEED={seed}");
        assert_eq!(first.summary, second.summary, "SEED={seed}");
    }
}

/// Everything that has to occur, or the seeds prove less than they seem to.
fn expected() -> Vec<String> {
    let phases = [
        "dialing", "settling", "open", "doubt", "flushing", "closing",
    ];
    let transports = ["WebSocketV5", "Spdy", "WebSocketV4"];
    let faults = ["delay", "split", "stall", "reset"];
    let breaker = ["Success", "Failure", "NoVerdict"];
    let mut expected = vec!["ask: pod".to_owned(), "undisturbed".to_owned()];
    expected.extend(phases.map(|phase| format!("phase: {phase}")));
    expected.extend(transports.map(|transport| format!("transport: {transport}")));
    expected.extend(breaker.map(|verdict| format!("breaker: {verdict}")));
    for wire in ["browser", "api"] {
        expected.extend(faults.map(|fault| format!("fault: {fault} on the {wire} wire")));
    }
    // A crash of the gateway is found at the next start, by the host; no session can say it.
    let details = CloseDetail::ALL
        .iter()
        .filter(|detail| **detail != CloseDetail::GatewayCrash);
    expected.extend(details.map(|detail| format!("detail: {}", detail.as_str())));
    expected
}
