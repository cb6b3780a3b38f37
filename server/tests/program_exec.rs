//! `periscope exec`, the program itself, through a demo's gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod demo_support;
mod gateway_support;

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use demo_support::{Demo, periscope, wait};

/// How much goes each way in the test of large streams.
const LARGE: usize = 50_000_000;

/// `periscope exec` on a pod of `default`.
fn exec(demo: &Demo, cluster: &str, options: &[&str], command: &[&str]) -> Command {
    let mut exec = periscope();
    exec.args(["exec", "--cluster", cluster, "-n", "default", "shell"])
        .args(options)
        .arg("--")
        .args(command)
        .env("PERISCOPE_SERVER", demo.url())
        .env("PERISCOPE_TOKEN", &demo.token)
        .stdin(Stdio::null());
    exec
}

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

#[test]
fn the_remote_exit_code_is_the_programs_own_over_both_transports() {
    let demo = Demo::start(&[], &[]);
    for cluster in ["modern", "legacy"] {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
            let script =
                format!("echo canary-$((40+1))-out; echo canary-$((40+2))-err >&2; {script}");
            let run = run(&mut exec(&demo, cluster, &[], &["sh", "-c", &script]));
            demo.payload.add(run.stdout.as_bytes());
            assert_eq!(run.code, Some(code), "{cluster} {script}: {}", run.stderr);
            // A gateway has one stream for both; which comes first is not said.
            let mut lines: Vec<_> = run.stdout.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, ["canary-41-out", "canary-42-err"]);
            assert_eq!(run.stderr, "");
        }
    }
    let ends = demo.wait_for_audit(|row| row["exit_code"] == 137);
    assert_eq!(ends["verb"], "pod.exec.session_end");
}

#[test]
fn without_i_the_command_sees_the_end_of_its_input_at_once() {
    let demo = Demo::start(&[], &[]);
    for cluster in ["modern", "legacy"] {
        let mut command = exec(&demo, cluster, &[], &["sh", "-c", "cat; echo done"]);
        // Nobody will ever write here.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(wait(&mut child).code(), Some(0));
        let mut stdout = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        assert_eq!(stdout, "done\n");
    }
}

/// Bytes that repeat only after 4 GiB, so that a lost or doubled piece shows.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

#[test]
fn fifty_megabytes_go_up_and_come_back_unchanged_at_the_same_time() {
    let demo = Demo::start(&[], &[]);
    let sent = noise(LARGE);
    for cluster in ["modern", "legacy"] {
        // It prints what it reads, so a gateway that waits for the one must not stop the other.
        let mut child = exec(&demo, cluster, &["-i"], &["cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let received = std::thread::scope(|scope| {
            scope.spawn(|| {
                stdin.write_all(&sent).unwrap();
                drop(stdin);
            });
            let mut received = Vec::with_capacity(LARGE);
            stdout.read_to_end(&mut received).unwrap();
            received
        });
        assert_eq!(wait(&mut child).code(), Some(0), "{cluster}");
        assert_eq!(received.len(), sent.len(), "{cluster}");
        assert!(received == sent, "{cluster}: the bytes differ");
    }
}

#[test]
fn a_file_as_input_has_the_same_checksum_on_the_other_side() {
    let demo = Demo::start(&[], &[]);
    let path = gateway_support::unused_dir();
    std::fs::write(&path, noise(3_000_000)).unwrap();
    let here = run(Command::new("cksum").stdin(std::fs::File::open(&path).unwrap())).stdout;
    for cluster in ["modern", "legacy"] {
        let mut command = exec(&demo, cluster, &["-i"], &["cksum"]);
        let there = run(command.stdin(std::fs::File::open(&path).unwrap()));
        demo.payload.add(there.stdout.as_bytes());
        assert_eq!((there.code, there.stdout), (Some(0), here.clone()));
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_reader_that_goes_away_ends_the_session() {
    let demo = Demo::start(&[], &[]);
    let mut child = exec(&demo, "modern", &[], &["yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 1000];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    assert_eq!(wait(&mut child).code(), Some(255));
    demo.wait_for_audit(|row| row["verb"] == "pod.exec.session_end");
}

#[test]
fn refusals_are_sentences_with_exit_code_255() {
    let demo = Demo::start(&["--fault", "rate-limit"], &[]);
    let refused = |mut command: Command, words: &[&str]| {
        let run = run(&mut command);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(255), ""),
            "{}",
            run.stderr
        );
        for word in words {
            assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
        }
        assert!(run.stderr.starts_with("periscope: ") && !run.stderr.contains(&demo.token));
    };
    refused(
        exec(&demo, "locked", &[], &["true"]),
        &["E_EXEC_DISABLED, HTTP 403"],
    );
    refused(
        exec(&demo, "nope", &[], &["true"]),
        &["no cluster of that name", "E_NOT_FOUND, HTTP 404"],
    );
    let mut wrong_token = exec(&demo, "modern", &[], &["true"]);
    wrong_token.env("PERISCOPE_TOKEN", "wrong");
    refused(wrong_token, &["E_AUTH, HTTP 401", "PERISCOPE_TOKEN"]);
    assert_eq!(
        run(&mut exec(&demo, "modern", &[], &["true"])).code,
        Some(0)
    );
    refused(
        exec(&demo, "modern", &[], &["true"]),
        &["E_RATE_LIMIT, HTTP 429"],
    );
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut nobody = exec(&demo, "modern", &[], &["true"]);
    nobody.env("PERISCOPE_SERVER", format!("http://{closed}"));
    refused(nobody, &["cannot connect to", &closed.to_string()]);
}

#[test]
fn failures_behind_the_handshake_are_sentences_too() {
    let demo = Demo::start(&["--fault", "status-429"], &[]);
    let failed = run(&mut exec(&demo, "modern", &[], &["true"]));
    assert_eq!(failed.code, Some(255));
    assert!(
        failed.stderr.contains("(E_CLUSTER_UNREACHABLE)"),
        "{}",
        failed.stderr
    );
    let missing = run(&mut exec(&demo, "legacy", &[], &["no-such-program"]));
    assert_eq!(missing.code, Some(255));
    assert!(
        missing.stderr.contains("(E_NO_SHELL)"),
        "{}",
        missing.stderr
    );
}

#[test]
fn wrong_usage_is_told_before_anything_is_sent() {
    let usage = |change: &dyn Fn(&mut Command), word: &str| {
        let mut command = periscope();
        command
            .args(["exec", "--cluster", "c", "-n", "ns", "pod"])
            .stdin(Stdio::null());
        change(&mut command);
        let run = run(&mut command);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    };
    usage(&|_| {}, "--server");
    usage(
        &|command| {
            command.env("PERISCOPE_SERVER", "gateway.example");
        },
        "https://",
    );
    usage(
        &|command| {
            command
                .env("PERISCOPE_SERVER", "http://gateway.example")
                .env("PERISCOPE_TOKEN", "secret");
        },
        "unencrypted",
    );
    usage(
        &|command| {
            command.args(["--server", "http://127.0.0.1:1", "-c", "../x"]);
        },
        "container",
    );
    usage(
        &|command| {
            command.args(["--server", "http://127.0.0.1:1", "--token", "x"]);
        },
        "--token",
    );
}
