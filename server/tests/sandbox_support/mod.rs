//! A sandbox, and real `kubectl` programs to point at it.

#![allow(dead_code, reason = "every test program uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test without its set-up has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use periscope_server::sandbox::{Fault, Sandbox, SandboxOptions};

/// A running sandbox with a runtime of its own, so that blocking tests can use it.
pub(crate) struct TestSandbox {
    // Before the runtime, which its end needs.
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) dir: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl TestSandbox {
    pub(crate) fn start(faults: &[Fault]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = std::env::temp_dir().join(format!("periscope-sandbox-{}", uuid::Uuid::new_v4()));
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = SandboxOptions {
            listen,
            faults: faults.to_vec(),
            dir: dir.clone(),
        };
        let sandbox = runtime.block_on(Sandbox::start(options)).unwrap();
        Self {
            sandbox: Some(sandbox),
            dir,
            runtime,
        }
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            self.runtime.block_on(sandbox.stop());
        }
    }

    /// `kubectl` with this sandbox's kubeconfig and nothing else from the environment.
    pub(crate) fn kubectl(&self, client: &Client, context: &str) -> Command {
        let mut command = Command::new(&client.program);
        command
            .env_clear()
            .env("HOME", &self.dir)
            .env("PATH", "/usr/bin:/bin")
            .env("KUBECONFIG", self.sandbox().kubeconfig())
            .envs(client.environment.iter().copied())
            .arg("--context")
            .arg(context)
            .arg("--cache-dir")
            .arg(self.dir.join("cache"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `kubectl` to its end.
    pub(crate) fn run(&self, client: &Client, context: &str, arguments: &[&str]) -> Run {
        Run::of(
            &self
                .kubectl(client, context)
                .args(arguments)
                .output()
                .unwrap(),
        )
    }
}

impl Drop for TestSandbox {
    fn drop(&mut self) {
        self.stop();
        // The client's own cache is left in the directory.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a program said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// One way to run `kubectl`.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

/// The `kubectl` of this machine, over WebSocket.
pub(crate) fn websocket() -> Client {
    Client {
        name: "kubectl over WebSocket",
        program: installed(),
        environment: Vec::new(),
    }
}

/// The `kubectl` of this machine, over SPDY.
pub(crate) fn spdy() -> Client {
    let environment = vec![("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")];
    Client {
        name: "kubectl over SPDY",
        program: installed(),
        environment,
    }
}

/// A `kubectl` 1.20, which knows SPDY only.
pub(crate) fn old() -> Client {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.join("tests/tools/kubectl-1.20.sh");
        let output = Command::new("sh").arg(&script).output().unwrap();
        assert!(
            output.status.success(),
            "there is no kubectl 1.20: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    });
    Client {
        name: "kubectl 1.20",
        program: program.clone(),
        environment: Vec::new(),
    }
}

fn installed() -> PathBuf {
    let directories = std::env::var("PATH").unwrap();
    let found = directories
        .split(':')
        .map(|directory| Path::new(directory).join("kubectl"))
        .find(|path| path.is_file());
    found.expect("these tests need kubectl 1.30 or later in the PATH")
}
