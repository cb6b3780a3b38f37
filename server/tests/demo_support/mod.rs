//! A demo as a process of its own, ended with the test.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::gateway_support::payload::Payload;
use super::gateway_support::{Answer, exchange};

/// How long anything here may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How often something outside this process is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running `periscope demo`.
pub(crate) struct Demo {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) kubeconfig: PathBuf,
    stdout: Lines,
    stderr: Lines,
    /// What was typed and shown in its shells, as far as a test says so.
    pub(crate) payload: Arc<Payload>,
}

/// A stream's lines so far, read by a thread, so that nobody blocks on a full pipe.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// The program, with nothing of this machine's own configuration.
pub(crate) fn periscope() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_periscope"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PERISCOPE_") {
            command.env_remove(name);
        }
    }
    command
}

impl Demo {
    /// Starts one on ports the system picks.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = periscope();
        command
            .args(["demo", "--listen", "127.0.0.1:0"])
            .args(arguments)
            // The most it can say, so that everything it must not say would be seen.
            .env("PERISCOPE_LOG_LEVEL", "trace")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        let first = stdout.wait(|lines| (lines.len() >= 2).then(|| lines[..2].to_vec()));
        let url = first[0].strip_prefix("http://").expect("a URL");
        let (address, token) = url.split_once("/?token=").expect("a token");
        let kubeconfig = first[1]
            .strip_prefix("export KUBECONFIG=")
            .expect("the second line");
        Self {
            child,
            address: address.parse().unwrap(),
            token: token.to_owned(),
            kubeconfig: kubeconfig.into(),
            stdout,
            stderr,
            payload: Arc::default(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// A request with the token.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let (address, authorization) = (self.address, self.authorization());
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
        );
        exchange(address, request.as_bytes()).await
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
    }

    /// Waits for the process and everything it wrote.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait(&mut self.child);
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Resolves once the log has what is looked for.
    pub(crate) fn wait_for_log<T>(&self, found: impl Fn(&[String]) -> Option<T>) -> T {
        self.stderr.wait(found)
    }

    /// The audit so far.
    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        let rows = self.stdout.all();
        rows.iter()
            .skip(2)
            .map(|row| serde_json::from_str(row).unwrap())
            .collect()
    }

    /// The first audit row that is looked for, once it is written.
    pub(crate) fn wait_for_audit(
        &self,
        is_wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        self.stdout.wait(|lines| {
            let rows = lines.iter().skip(2);
            rows.map(|row| serde_json::from_str(row).unwrap())
                .find(|row| is_wanted(row))
        })
    }
}

/// Waits for a process, and ends it where it takes too long.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("the process did not end");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        // A test that has failed already has its reason.
        if !std::thread::panicking() {
            let (log, printed) = (self.log().join("\n"), self.stdout.all().join("\n"));
            self.payload.expect_nowhere(&log, &printed, &[]);
        }
    }
}

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                theirs.lock().unwrap().push(line);
            }
        });
        Self {
            lines,
            reader: Some(reader),
        }
    }

    fn all(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    fn wait<T>(&self, found: impl Fn(&[String]) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            let lines = self.all();
            if let Some(found) = found(&lines) {
                return found;
            }
            assert!(
                Instant::now() < until,
                "it never came:\n{}",
                lines.join("\n")
            );
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}
