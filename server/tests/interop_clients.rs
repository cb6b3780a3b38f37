//! client-go's own exec clients against the sandbox: the WebSocket executor, the SPDY executor, and
//! the fallback from the one to the other that kubectl makes of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test only by its attribute, not what tests call"
)]

mod interop_support;
mod sandbox_support;

use std::process::{Command, Stdio};

use interop_support::program;
use sandbox_support::{Run, TestSandbox};

/// A transport and the cluster it is used with.
type Way = (&'static str, &'static str);

/// Every way that leads to a command.
const WAYS: [Way; 5] = [
    ("websocket", "modern"),
    ("spdy", "modern"),
    ("fallback", "modern"),
    ("spdy", "legacy"),
    ("fallback", "legacy"),
];

/// The exit code of what is not the command's own.
const REFUSED: Option<i32> = Some(255);

fn exec(sandbox: &TestSandbox, (transport, cluster): Way, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("HOME", &sandbox.dir)
        .arg("exec")
        .arg("--kubeconfig")
        .arg(sandbox.sandbox().kubeconfig())
        .args(["--transport", transport, "--context", cluster])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(sandbox: &TestSandbox, way: Way, arguments: &[&str]) -> Run {
    Run::of(&exec(sandbox, way, arguments).output().unwrap())
}

#[test]
fn stdout_and_stderr_arrive_apart_and_the_exit_code_with_them() {
    let sandbox = TestSandbox::start(&[]);
    for way in WAYS {
        for (end, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("exit 255", 255),
            ("kill -9 $$", 137),
        ] {
            let script = format!("echo out; echo err >&2; echo more; {end}");
            let run = run(&sandbox, way, &["shell", "--", "sh", "-c", &script]);
            let wanted = Run {
                code: Some(code),
                stdout: "out\nmore\n".to_owned(),
                stderr: "err\n".to_owned(),
            };
            assert_eq!(run, wanted, "{way:?} {end}");
        }
    }
}

#[test]
fn the_end_of_stdin_arrives_and_output_still_follows() {
    let sandbox = TestSandbox::start(&[]);
    for way in WAYS {
        let mut source = Command::new("printf")
            .arg("one\\ntwo\\n")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut command = exec(
            &sandbox,
            way,
            &["--stdin", "shell", "--", "sh", "-c", "cat; echo done"],
        );
        let run = Run::of(
            &command
                .stdin(source.stdout.take().unwrap())
                .output()
                .unwrap(),
        );
        source.wait().unwrap();
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(0), "one\ntwo\ndone\n"),
            "{way:?}: {run:?}"
        );
    }
}

#[test]
fn a_terminal_has_its_size_and_follows_its_window() {
    let sandbox = TestSandbox::start(&[]);
    // The client changes its size when it reads the line `resize`.
    let script = "until [ \"$(stty size)\" = '24 80' ]; do sleep 0.1; done; echo small; echo resize; \
                  until [ \"$(stty size)\" = '43 132' ]; do sleep 0.1; done; echo large; tty -s && exit 3";
    for way in WAYS {
        let arguments = [
            "--tty",
            "--sizes",
            "80x24,132x43",
            "shell",
            "--",
            "sh",
            "-c",
            script,
        ];
        let run = run(&sandbox, way, &arguments);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(3), "small\r\nresize\r\nlarge\r\n"),
            "{way:?}: {run:?}"
        );
    }
}

/// 100 MB in which every part differs from every other, on the output of a process.
const LOTS: &str = "seq 1 13000000 | head -c 100000000";

/// The SHA-256 of what `LOTS` prints.
fn checksum_of_lots() -> String {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{LOTS} | sha256sum"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_hundred_megabytes_arrive_as_they_were_in_both_directions() {
    let sandbox = TestSandbox::start(&[]);
    let wanted = checksum_of_lots();
    for way in [("websocket", "modern"), ("spdy", "legacy")] {
        let down = run(
            &sandbox,
            way,
            &["--digest", "shell", "--", "sh", "-c", LOTS],
        );
        assert_eq!(
            down.stdout,
            format!("{wanted} 100000000\n"),
            "{way:?}: {down:?}"
        );
        assert_eq!(down.code, Some(0), "{way:?}");

        let mut source = Command::new("sh")
            .args(["-c", LOTS])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut command = exec(&sandbox, way, &["--stdin", "shell", "--", "sha256sum"]);
        command.stdin(source.stdout.take().unwrap());
        let up = Run::of(&command.output().unwrap());
        source.wait().unwrap();
        assert_eq!(up.stdout, format!("{wanted}  -\n"), "{way:?}: {up:?}");
        assert_eq!(up.code, Some(0), "{way:?}");
    }
}

#[test]
fn what_is_refused_is_told_in_the_apiservers_words() {
    let sandbox = TestSandbox::start(&[]);
    let forbidden = ["--as", "ada", "--as-group", "periscope-tier:read"];
    for way in WAYS {
        for (arguments, words) in [
            (
                &["distroless", "--", "sh"][..],
                "executable file `sh` not found in $PATH",
            ),
            (&["nosuch", "--", "sh"], "pods \"nosuch\" not found"),
            (
                &["--container", "nosuch", "shell", "--", "sh"],
                "container nosuch is not valid for pod shell",
            ),
            (
                &[&forbidden[..], &["shell", "--", "sh"]].concat(),
                "pods \"shell\" is forbidden",
            ),
        ] {
            let run = run(&sandbox, way, arguments);
            assert!(run.stderr.contains(words), "{way:?} {arguments:?}: {run:?}");
            assert_eq!(run.code, REFUSED, "{way:?} {arguments:?}");
            assert_eq!(run.stdout, "", "{way:?} {arguments:?}");
        }
    }
}

#[test]
fn a_websocket_alone_does_not_reach_an_old_cluster() {
    let sandbox = TestSandbox::start(&[]);
    let run = run(&sandbox, ("websocket", "legacy"), &["shell", "--", "true"]);
    assert!(
        run.stderr.contains("bad handshake (403 Forbidden)"),
        "{run:?}"
    );
    assert_eq!(run.code, REFUSED);
}
