//! The program itself: what it prints, how it ends, what it leaves behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

fn periscope() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_periscope"));
    for name in [
        "PERISCOPE_AUTH_MODE",
        "PERISCOPE_CLUSTERS_FILE",
        "PERISCOPE_DRAIN_SECONDS",
        "PERISCOPE_LOG_LEVEL",
        "PERISCOPE_LOG_FORMAT",
    ] {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = periscope().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn exit_codes_and_streams_are_the_documented_ones() {
    let (code, stdout, _) = run(&["--version"]);
    assert_eq!(
        (code, stdout.as_str()),
        (
            Some(0),
            concat!("periscope ", env!("CARGO_PKG_VERSION"), "\n")
        )
    );
    let (code, stdout, _) = run(&["--help"]);
    assert!(
        code == Some(0) && stdout.contains("demo") && stdout.contains("serve"),
        "{stdout}"
    );
    for usage in [
        &["--nonsense"][..],
        &["demo", "--fault", "nonsense"],
        &["demo", "--listen", "0.0.0.0:0"],
        &["demo", "--kube-listen", "[::]:0"],
    ] {
        let (code, stdout, stderr) = run(usage);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{usage:?}");
        assert!(!stderr.is_empty());
    }
    for configuration in [&["serve"][..], &[]] {
        let (code, _, stderr) = run(configuration);
        assert_eq!(code, Some(3));
        assert!(
            stderr.contains("PERISCOPE_AUTH_MODE") && stderr.contains("PERISCOPE_CLUSTERS_FILE"),
            "{stderr}"
        );
    }
    let bad = periscope()
        .arg("demo")
        .env("PERISCOPE_DRAIN_SECONDS", "soon")
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("PERISCOPE_DRAIN_SECONDS"));
}

/// A demo process, ended with the test.
struct Demo {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    url: String,
    kubeconfig: PathBuf,
}

impl Demo {
    fn start() -> Self {
        let mut command = periscope();
        command
            .args(["demo", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let (url, export) = (line(), line());
        let kubeconfig = export
            .strip_prefix("export KUBECONFIG=")
            .expect("the second line")
            .into();
        Self {
            child,
            stdout,
            url,
            kubeconfig,
        }
    }

    fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_demo_prints_its_url_and_kubeconfig_and_tidies_up_on_both_signals() {
    for signal in ["TERM", "INT"] {
        let mut demo = Demo::start();
        let (address, token) = demo
            .url
            .strip_prefix("http://")
            .unwrap()
            .split_once("/?token=")
            .unwrap();
        assert_eq!(token.len(), 64);
        let mut stream = TcpStream::connect(address).unwrap();
        let request =
            format!("GET /?token={token} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
        assert!(demo.kubeconfig.exists());
        demo.signal(signal);
        assert_eq!(demo.child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(!demo.kubeconfig.parent().unwrap().exists(), "{signal}");
        let mut rest = String::new();
        demo.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nobody had a shell, so the audit is empty");
    }
}

#[test]
fn a_demo_on_a_taken_port_says_so_and_leaves_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stdout, stderr) = run(&["demo", "--listen", &address]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains(&address), "{stderr}");
}
