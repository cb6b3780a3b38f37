//! `kubectl exec` against the sandbox: every client there is, over every transport.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test only by its attribute, not what tests call"
)]

mod sandbox_support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use sandbox_support::{Client, Run, TestSandbox, old, spdy, websocket};

/// Every client with every cluster it can meet: v5, SPDY, the fallback from a refused v5 to SPDY,
/// and an old client, which knows neither WebSocket nor the `default-container` annotation.
fn ways() -> Vec<(Client, &'static str)> {
    vec![
        (websocket(), "modern"),
        (websocket(), "legacy"),
        (spdy(), "modern"),
        (spdy(), "legacy"),
        (old(), "modern"),
        (old(), "legacy"),
        (websocket(), "locked"),
    ]
}

/// `kubectl exec [arguments]`, fed `stdin` if there is any.
fn exec(
    sandbox: &TestSandbox,
    way: &(Client, &str),
    stdin: Option<&[u8]>,
    arguments: &[&str],
) -> Run {
    let mut command = sandbox.kubectl(&way.0, way.1);
    command
        .arg("exec")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Some(stdin) = stdin else {
        return Run::of(&command.output().unwrap());
    };
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    Run::of(&child.wait_with_output().unwrap())
}

#[test]
fn stdout_and_stderr_arrive_apart_and_whole() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        let script = "echo out; echo err >&2; echo more";
        let run = exec(&sandbox, &way, None, &["shell", "--", "sh", "-c", script]);
        let wanted = Run {
            code: Some(0),
            stdout: "out\nmore\n".to_owned(),
            stderr: "err\n".to_owned(),
        };
        assert_eq!(run, wanted, "{way:?}");
    }
}

#[test]
fn exit_codes_arrive_those_of_signals_included() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        for (script, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("exit 255", 255),
            ("kill -9 $$", 137),
        ] {
            let run = exec(&sandbox, &way, None, &["shell", "--", "sh", "-c", script]);
            assert_eq!(run.code, Some(code), "{way:?} {script}: {run:?}");
        }
    }
}

#[test]
fn the_end_of_stdin_arrives_and_output_still_follows() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        let command = ["-i", "shell", "--", "sh", "-c", "cat; echo done"];
        let run = exec(&sandbox, &way, Some(b"one\ntwo\n"), &command);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(0), "one\ntwo\ndone\n"),
            "{way:?}: {run:?}"
        );
    }
}

#[test]
fn a_process_that_reads_no_stdin_ends_all_the_same() {
    let sandbox = TestSandbox::start(&[]);
    let stdin = vec![b'x'; 1 << 20];
    for way in ways() {
        let mut command = sandbox.kubectl(&way.0, way.1);
        command.args([
            "exec",
            "-i",
            "shell",
            "--",
            "sh",
            "-c",
            "echo ready; exit 3",
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut writer = child.stdin.take().unwrap();
        let stdin = stdin.clone();
        // The client may stop reading at any point, which is no failure.
        let feeding = thread::spawn(move || drop(writer.write_all(&stdin)));
        let run = Run::of(&child.wait_with_output().unwrap());
        feeding.join().unwrap();
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(3), "ready\n"),
            "{way:?}: {run:?}"
        );
    }
}

#[test]
fn a_missing_shell_is_the_runtimes_internal_error() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        let run = exec(&sandbox, &way, None, &["distroless", "--", "sh"]);
        let words = "OCI runtime exec failed: executable file `sh` not found in $PATH: No such file or directory: unknown";
        assert!(run.stderr.contains(words), "{way:?}: {run:?}");
        assert_eq!(run.code, Some(1), "{way:?}: {run:?}");
        let run = exec(&sandbox, &way, None, &["shell", "--", "nosuch"]);
        assert!(
            run.stderr
                .contains("executable file `nosuch` not found in $PATH"),
            "{way:?}: {run:?}"
        );
    }
}

#[test]
fn pods_and_containers_that_are_not_there_are_refused_in_the_apiservers_words() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        for (arguments, words) in [
            (&["nosuch", "--", "sh"][..], "pods \"nosuch\" not found"),
            (
                &["shell", "-c", "nosuch", "--", "sh"],
                "container nosuch is not valid for pod shell",
            ),
            (
                &["pending", "--", "sh"],
                "pod pending does not have a host assigned",
            ),
            (
                &["sidecar", "-c", "init", "--", "sh"],
                "container not found (\"init\")",
            ),
        ] {
            let run = exec(&sandbox, &way, None, arguments);
            assert!(run.stderr.contains(words), "{way:?} {arguments:?}: {run:?}");
            assert_eq!(run.code, Some(1), "{way:?} {arguments:?}");
        }
    }
}

#[test]
fn the_impersonated_tier_decides_who_may_exec() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        for (tier, code) in [
            ("read", 1),
            ("triage", 0),
            ("write", 0),
            ("maintain", 0),
            ("admin", 0),
        ] {
            let group = format!("periscope-tier:{tier}");
            let run = exec(
                &sandbox,
                &way,
                None,
                &["--as", "ada", "--as-group", &group, "shell", "--", "true"],
            );
            assert_eq!(run.code, Some(code), "{way:?} {tier}: {run:?}");
            assert_eq!(
                run.stderr.contains("pods \"shell\" is forbidden"),
                code == 1,
                "{way:?} {tier}: {run:?}"
            );
        }
    }
}

#[test]
fn the_default_container_is_the_annotations_choice() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways().into_iter().filter(|way| way.0.name != old().name) {
        let run = exec(&sandbox, &way, None, &["sidecar", "--", "pwd"]);
        assert!(run.stdout.ends_with("/sidecar/app\n"), "{way:?}: {run:?}");
    }
}

/// A `kubectl` on a terminal of its own.
struct Terminal {
    output: mpsc::Receiver<Vec<u8>>,
    writer: Box<dyn Write + Send>,
    master: Box<dyn portable_pty::MasterPty + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    seen: String,
}

impl Terminal {
    fn new(command: &Command) -> Self {
        let pair = native_pty_system().openpty(size(80, 24)).unwrap();
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env_clear();
        for (name, value) in command.get_envs() {
            builder.env(name, value.unwrap());
        }
        let child = pair.slave.spawn_command(builder).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        let writer = pair.master.take_writer().unwrap();
        Self {
            output,
            writer,
            master: pair.master,
            child,
            seen: String::new(),
        }
    }

    /// Reads on until `wanted`, and forgets everything up to there.
    fn expect(&mut self, wanted: &str) {
        assert!(
            self.comes_within(wanted, Duration::from_secs(30)),
            "{wanted:?} did not come after {:?}",
            self.seen
        );
    }

    fn comes_within(&mut self, wanted: &str, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(wanted) {
                self.seen.drain(..at + wanted.len());
                return true;
            }
            match self
                .output
                .recv_timeout(limit.saturating_sub(start.elapsed()))
            {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => return false,
            }
        }
    }

    fn type_in(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).unwrap();
    }
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize {
        rows,
        cols,
        pixel_width: 0,
        pixel_height: 0,
    }
}

#[test]
fn a_terminal_has_its_size_follows_its_window_and_tells_its_exit_code() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        let mut command = sandbox.kubectl(&way.0, way.1);
        command.args(["exec", "-it", "shell", "--", "bash"]);
        let mut terminal = Terminal::new(&command);
        terminal.expect("shell:~$ ");
        terminal.type_in("stty size; echo $'\\x65nd'\r");
        terminal.expect("24 80\r\nend");
        // The shell learns of the new size by its signal, while we type.
        terminal.type_in("until [ \"$(stty size)\" = '43 132' ]; do :; done; echo fo'und'\r");
        let mut changes = 0;
        loop {
            // `kubectl` drops a change that comes while it handles another.
            terminal.master.resize(size(131, 43)).unwrap();
            terminal.master.resize(size(132, 43)).unwrap();
            changes += 1;
            if terminal.comes_within("found\r\n", Duration::from_secs(1)) {
                break;
            }
            assert!(changes < 20, "{way:?}: the size did not arrive");
        }
        terminal.type_in("tty -s && exit 3\r");
        let status = terminal.child.wait().unwrap();
        assert_eq!(status.exit_code(), 3, "{way:?}");
    }
}

#[test]
fn ctrl_c_ends_a_flood_and_gives_a_prompt() {
    let sandbox = TestSandbox::start(&[]);
    for way in ways() {
        let mut command = sandbox.kubectl(&way.0, way.1);
        command.args(["exec", "-it", "flood", "--", "sh"]);
        let mut terminal = Terminal::new(&command);
        terminal.expect("This pod floods its terminal.");
        terminal.type_in("\x03");
        terminal.expect("flood:~$ ");
        terminal.type_in("exit\r");
        assert_eq!(terminal.child.wait().unwrap().exit_code(), 0, "{way:?}");
    }
}

/// 100 MB in which every part differs from every other, on the output of a process.
const LOTS: &str = "seq 1 13000000 | head -c 100000000";

/// The SHA-256 of what `LOTS` prints, as `sha256sum` shows it.
fn checksum_of_lots() -> String {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{LOTS} | sha256sum"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// One way per transport: v5, SPDY, and SPDY as old clients speak it.
fn transports() -> [(Client, &'static str); 3] {
    [
        (websocket(), "modern"),
        (spdy(), "modern"),
        (old(), "legacy"),
    ]
}

#[test]
fn a_hundred_megabytes_of_output_arrive_as_they_were() {
    let sandbox = TestSandbox::start(&[]);
    let wanted = checksum_of_lots();
    for way in transports() {
        let mut command = sandbox.kubectl(&way.0, way.1);
        command
            .args(["exec", "shell", "--", "sh", "-c", LOTS])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let checksum = Command::new("sha256sum")
            .stdin(child.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(child.wait().unwrap().success(), "{way:?}");
        assert_eq!(
            String::from_utf8(checksum.stdout).unwrap(),
            wanted,
            "{way:?}"
        );
    }
}

#[test]
fn a_hundred_megabytes_of_stdin_arrive_as_they_were() {
    let sandbox = TestSandbox::start(&[]);
    let wanted = checksum_of_lots();
    for way in transports() {
        let mut source = Command::new("sh")
            .args(["-c", LOTS])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut command = sandbox.kubectl(&way.0, way.1);
        command
            .args(["exec", "-i", "shell", "--", "sha256sum"])
            .stdin(source.stdout.take().unwrap());
        let run = Run::of(&command.output().unwrap());
        source.wait().unwrap();
        assert_eq!(
            (run.code, run.stdout),
            (Some(0), wanted.clone()),
            "{way:?}: {}",
            run.stderr
        );
    }
}
