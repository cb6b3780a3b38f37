//! The breaker's third state in the log. It takes 30 minutes to get there, so the clock is moved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::sync::Mutex;
use std::time::Duration;

use gateway_support::{Settings, World};
use log::{LevelFilter, Log, Metadata, Record};
use periscope_server::gateway::log::{Format, render};
use periscope_server::sandbox::Fault;

/// Every line of ours, in both formats.
static LINES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

struct Capture;

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("periscope")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let lines = (render(record, Format::Logfmt), render(record, Format::Json));
            LINES.lock().unwrap().push(lines);
        }
    }

    fn flush(&self) {}
}

/// The attempts and choices so far: transport, and the breaker in either format.
fn told(event: &str, key: &str) -> Vec<(String, String)> {
    let lines = LINES.lock().unwrap();
    let of_event = lines.iter().filter(|(logfmt, _)| logfmt.contains(event));
    let facts = of_event.map(|(logfmt, json)| {
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let value = |key: &str| {
            let value = json[key].as_str().unwrap().to_owned();
            assert!(logfmt.contains(&format!(" {key}={value}")), "{logfmt}");
            value
        };
        (value("transport"), value(key))
    });
    facts.collect()
}

#[tokio::test]
async fn after_thirty_minutes_one_probe_is_logged_as_half_open_and_pins_again() {
    log::set_logger(&Capture).unwrap();
    log::set_max_level(LevelFilter::Info);
    let world = World::start(Settings {
        faults: vec![Fault::RefuseWs],
        ..Settings::default()
    })
    .await;
    let shell = async || {
        let mut shell = world.shell("modern", "shell", "?tty=false").await;
        shell.type_in("exit\n").await;
        shell.closed().await;
        world.wait_for_sessions(0).await;
    };
    let pair = |transport: &str, state: &str| (transport.to_owned(), state.to_owned());
    for _ in 0..4 {
        shell().await;
    }
    let attempts = || told("exec.upgrade.attempt", "circuit_breaker_state");
    assert_eq!(attempts().last(), Some(&pair("spdy", "open")));

    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(30)).await;
    tokio::time::resume();
    let before = attempts().len();
    shell().await;
    let probe = attempts().split_off(before);
    assert_eq!(probe[0], pair("ws", "half_open"));
    assert_eq!(probe[1].0, "spdy");
    shell().await;
    assert_eq!(attempts().last(), Some(&pair("spdy", "open")));
    let choices = told("exec.transport.choice", "circuit_breaker");
    let expected = [
        pair("ws", "closed"),
        pair("ws", "closed"),
        pair("ws", "closed"),
        pair("spdy", "open"),
        pair("ws", "closed"),
        pair("spdy", "open"),
    ];
    assert_eq!(choices, expected);
}
