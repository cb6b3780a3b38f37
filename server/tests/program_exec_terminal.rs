//! `periscope exec -it` on a real terminal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod demo_support;
mod gateway_support;

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use demo_support::{Demo, PATIENCE};
use gateway_support::payload::Payload;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// A program on a terminal of its own.
struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn std::io::Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    screen: Arc<(Mutex<String>, Condvar)>,
    payload: Arc<Payload>,
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize {
        rows,
        cols,
        ..PtySize::default()
    }
}

impl Terminal {
    /// Runs a shell script on a terminal of 100 columns and 30 rows.
    fn run(demo: &Demo, script: &str) -> Self {
        let pair = native_pty_system().openpty(size(100, 30)).unwrap();
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", script]);
        command.env("EXE", env!("CARGO_BIN_EXE_periscope"));
        command.env("PERISCOPE_SERVER", demo.url());
        command.env("PERISCOPE_TOKEN", &demo.token);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let theirs = Arc::clone(&screen);
        let shown = Arc::clone(&demo.payload);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                shown.add(&bytes[..len]);
                let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                theirs.0.lock().unwrap().push_str(&text);
                theirs.1.notify_all();
            }
        });
        Self {
            keyboard: pair.master.take_writer().unwrap(),
            master: pair.master,
            child,
            screen,
            payload: Arc::clone(&demo.payload),
        }
    }

    fn types(&mut self, text: &str) {
        self.payload.add(text.as_bytes());
        self.keyboard.write_all(text.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits until the screen has shown this, and forgets it and what came before.
    fn shows(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut screen = self.screen.0.lock().unwrap();
        loop {
            if let Some(at) = screen.find(text) {
                let rest = screen.split_off(at + text.len());
                return std::mem::replace(&mut *screen, rest);
            }
            let wait = until.saturating_duration_since(Instant::now());
            assert!(!wait.is_zero(), "{text:?} never came: {screen:?}");
            screen = self.screen.1.wait_timeout(screen, wait).unwrap().0;
        }
    }

    fn exit_code(&mut self) -> u32 {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("it did not end: {:?}", self.screen.0.lock().unwrap());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
    }
}

/// The shell script around `periscope exec`: the terminal's mode before and after, then the code.
fn script(exec: &str) -> String {
    format!("stty -g; \"$EXE\" exec {exec}; code=$?; echo; stty -g; echo \"code=$code\"")
}

/// The terminal's mode is printed on lines of its own; both have to be the same.
fn modes(before: &str, after: &str) -> (String, String) {
    let mode = |text: &str| {
        let mut lines = text.lines().map(str::trim);
        let is_mode = |line: &&str| line.matches(':').count() > 10;
        lines.rfind(is_mode).expect("a mode").to_owned()
    };
    (mode(before), mode(after))
}

#[test]
fn keys_size_and_interrupt_reach_the_remote_terminal_and_ours_is_given_back() {
    let demo = Demo::start(&[], &[]);
    for cluster in ["modern", "legacy"] {
        let exec = format!("--cluster {cluster} -n default shell -it -- sh");
        let mut terminal = Terminal::run(&demo, &script(&exec));
        terminal.types("echo ready$((70+7))\r");
        let before = terminal.shows("ready77");
        terminal.types("stty size\r");
        terminal.shows("30 100");
        terminal.master.resize(size(132, 43)).unwrap();
        // The signal and the typed line take two ways; the shell asks until the size is there.
        terminal
            .types("until [ \"$(stty size)\" = \"43 132\" ]; do :; done; echo re$((3+4))sized\r");
        terminal.shows("re7sized");
        // Ctrl-C ends the remote program, not ours.
        terminal.types("echo sta$((1+1))rt; cat\r");
        terminal.shows("sta2rt");
        terminal.types("\u{3}");
        // An interrupt forgets what is typed before the shell is back.
        terminal.shows("^C");
        terminal.shows("$ ");
        terminal.types("echo alive$((40+2))\r");
        terminal.shows("alive42");
        terminal.types("exit 3\r");
        let after = terminal.shows("code=3");
        let (before, after) = modes(&before, &after);
        assert_eq!(before, after, "{cluster}");
        assert_eq!(terminal.exit_code(), 0);
    }
}

#[test]
fn a_signal_gives_the_terminal_back_and_ends_the_session() {
    let demo = Demo::start(&[], &[]);
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130), ("QUIT", 131)] {
        let exec = "--cluster modern -n default shell -it -- sh";
        // The program's own process id: `exec` keeps it.
        let script =
            script(exec).replace("\"$EXE\"", "sh -c 'echo pid=$$; exec \"$EXE\" \"$@\"' -");
        let mut terminal = Terminal::run(&demo, &script);
        let before = terminal.shows("pid=");
        let pid = terminal.shows("\n").trim().to_owned();
        terminal.types("echo ready$((70+7))\r");
        terminal.shows("ready77");
        let killed = std::process::Command::new("kill")
            .args(["-s", signal, &pid])
            .status();
        assert!(killed.unwrap().success());
        let after = terminal.shows(&format!("code={code}"));
        let (before, after) = modes(&before, &after);
        assert_eq!(before, after, "{signal}");
    }
    demo.wait_for_audit(|row| row["close_detail"] == "user_close");
}

#[test]
fn a_killed_session_gives_the_terminal_back_with_255_and_a_sentence() {
    let mut demo = Demo::start(&[], &[("PERISCOPE_DRAIN_SECONDS", "0")]);
    let exec = "--cluster modern -n default shell -it -- sh";
    let mut terminal = Terminal::run(&demo, &script(exec));
    terminal.types("echo ready$((70+7))\r");
    let before = terminal.shows("ready77");
    demo.signal("TERM");
    let sentence = terminal.shows("(E_DRAIN)");
    assert!(sentence.contains("periscope: "), "{sentence}");
    let after = terminal.shows("code=255");
    let (before, after) = modes(&before, &after);
    assert_eq!(before, after);
    assert_eq!(demo.wait().code(), Some(0));
}

#[test]
fn a_missing_terminal_is_said_and_the_command_runs_all_the_same() {
    let demo = Demo::start(&[], &[]);
    let mut command = demo_support::periscope();
    command
        .args([
            "exec",
            "--cluster",
            "modern",
            "-n",
            "default",
            "shell",
            "-it",
            "--",
        ])
        .args(["sh", "-c", "read line; echo got-$line"])
        .env("PERISCOPE_SERVER", demo.url())
        .env("PERISCOPE_TOKEN", &demo.token)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let line = b"canary-word\n";
    demo.payload.add(line);
    child.stdin.take().unwrap().write_all(line).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("got-canary-word"), "{stdout}");
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("not a terminal"), "{stderr}");
}
