//! The log lines an operator greps for, as the program itself writes them, in both formats.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod demo_support;
mod gateway_support;

use demo_support::Demo;
use gateway_support::{exec_path, open};
use serde_json::Value;

/// What differs from run to run.
const VARYING: [&str; 3] = ["ts", "session", "duration_ms"];

/// The pairs of a logfmt line. No value of the lines read here has a blank.
fn logfmt(line: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("{line}"));
        (key.to_owned(), value.trim_matches('"').to_owned())
    };
    line.split(' ').map(pair).collect()
}

/// The pairs of a JSON line.
fn json(line: &str) -> Vec<(String, String)> {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let pairs = object.as_object().unwrap().iter();
    pairs
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// One line, its pairs in the order of their keys, without what varies.
fn canonical(mut pairs: Vec<(String, String)>) -> String {
    assert!(pairs.iter().any(|(key, _)| key == "ts"));
    pairs.retain(|(key, _)| !VARYING.contains(&key.as_str()));
    pairs.sort();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(" ")
}

/// Runs four shells on a cluster that refuses WebSockets, each with a second one that the cap
/// refuses, and returns the log.
async fn four_shells(format: &str) -> Vec<String> {
    let mut demo = Demo::start(
        &["--fault", "refuse-ws", "--fault", "cap-user"],
        &[
            ("PERISCOPE_LOG_FORMAT", format),
            ("PERISCOPE_LOG_LEVEL", "info"),
        ],
    );
    let authorization = demo.authorization();
    let headers = [("Authorization", authorization.as_str())];
    let path = exec_path("modern", "shell", "?tty=false");
    for _ in 0..4 {
        let mut shell = open(demo.address, &path, &headers).await.unwrap();
        shell.message("hello").await;
        let refused = open(demo.address, &path, &headers).await.err().unwrap();
        assert_eq!(refused.refusal(), (429, "E_CAP_USER".to_owned()));
        shell.type_in("echo secret; exit 7\n").await;
        shell.shows("secret").await;
        assert_eq!(shell.closed().await["exitCode"], 7);
        // The line comes before the slot is free.
        while demo.get("/api/sessions").await.body != r#"{"items":[]}"# {}
    }
    demo.signal("TERM");
    assert_eq!(demo.wait().code(), Some(0));
    demo.log()
}

/// What a shell writes, in this order. `last` is the breaker's state behind the SPDY dial.
fn shell_lines(last: &str) -> Vec<String> {
    [
        "circuit_breaker=closed cluster=modern level=info msg=exec.transport.choice transport=ws",
        "circuit_breaker_state=closed cluster=modern level=info msg=exec.upgrade.attempt transport=ws upgrade_error=403",
        "cluster=modern level=warn msg=exec.upgrade.error transport=ws upgrade_error=403",
        &format!("circuit_breaker_state={last} cluster=modern level=info msg=exec.upgrade.attempt transport=spdy upgrade_error=none"),
        START,
        CAP,
        END,
    ]
    .map(str::to_owned)
    .to_vec()
}

const START: &str = "cluster=modern level=info msg=exec.session.start namespace=default pod=shell subprotocol=v4.channel.k8s.io transport=spdy";
const CAP: &str =
    "active=1 cap=user cluster=modern dry_run=false level=info limit=1 msg=exec.cap.hit";
const END: &str = "bytes_stdin=20 bytes_stdout=7 close_detail=process_exit close_reason=client_close cluster=modern code=none dropped_controls=0 exit_code=7 level=info msg=exec.session.end transport=spdy";

fn expected() -> Vec<String> {
    let mut lines = [
        shell_lines("closed"),
        shell_lines("closed"),
        // The third failure opens the breaker once SPDY has worked.
        shell_lines("open"),
    ]
    .concat();
    lines.extend(
        [
            "circuit_breaker=open cluster=modern level=info msg=exec.transport.choice transport=spdy",
            "circuit_breaker_state=open cluster=modern level=info msg=exec.upgrade.attempt transport=spdy upgrade_error=none",
            START,
            CAP,
            END,
        ]
        .map(str::to_owned),
    );
    lines
}

fn exec_lines(lines: &[String], parse: fn(&str) -> Vec<(String, String)>) -> Vec<String> {
    let exec = lines.iter().filter(|line| line.contains("exec."));
    exec.map(|line| canonical(parse(line))).collect()
}

#[tokio::test]
async fn logfmt_tells_every_dial_choice_border_and_cap() {
    let lines = four_shells("logfmt").await;
    assert_eq!(exec_lines(&lines, logfmt), expected());
    // The line itself, once, as `grep` sees it.
    let attempt = lines
        .iter()
        .find(|line| line.contains("exec.upgrade.attempt"))
        .unwrap();
    assert!(
        attempt.ends_with(
            " cluster=modern transport=ws upgrade_error=403 circuit_breaker_state=closed"
        ),
        "{attempt}"
    );
    assert!(!lines.join("\n").contains("secret"));
}

#[tokio::test]
async fn json_tells_the_same_with_numbers_as_numbers() {
    let lines = four_shells("json").await;
    assert_eq!(exec_lines(&lines, json), expected());
    let cap: Value = lines
        .iter()
        .find(|line| line.contains("exec.cap.hit"))
        .map(|line| serde_json::from_str(line).unwrap())
        .unwrap();
    assert_eq!(
        (&cap["limit"], &cap["active"]),
        (&Value::from(1), &Value::from(1))
    );
    assert_eq!(cap["dry_run"], Value::from(false));
}
