//! Gateways that are killed, and disks that are full: processes of their own, so that the signals
//! and limits hit nobody else.
//!
//! The process is this test program itself, started again to run `the_gateway_of_the_other_tests`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use async_tungstenite::tokio::client_async;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::handshake::client::generate_key;
use futures_util::StreamExt as _;
use gateway_support::{PATIENCE, Settings, World, exec_path, unused_dir};
use periscope_server::gateway::audit::{DatabaseOptions, find, query::Filter, verify};
use periscope_server::gateway::registry::ExecSettings;
use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use tokio::net::TcpStream;

/// Tells the child where its database is; without it there is nothing to run.
const DATABASE: &str = "PERISCOPE_TEST_AUDIT_DB";
const REQUIRED: &str = "PERISCOPE_TEST_AUDIT_REQUIRED";

/// How often a gateway is killed, by two threads at the same time.
const ROUNDS: usize = 50;
const WORKERS: usize = 2;

/// Shells that are being opened when it happens.
const SHELLS: usize = 4;

#[tokio::test]
async fn the_gateway_of_the_other_tests() {
    let Some(path) = std::env::var_os(DATABASE) else {
        return;
    };
    let world = World::start(Settings {
        exec: ExecSettings {
            sessions_per_user_max: 100,
            sessions_total_max: 100,
            ..ExecSettings::default()
        },
        database: Some(DatabaseOptions {
            is_required: std::env::var_os(REQUIRED).is_some(),
            ..DatabaseOptions::new(path.into())
        }),
        ..Settings::default()
    })
    .await;
    // stderr is not captured when it is written to directly.
    writeln!(std::io::stderr(), "ready {} {}", world.address, world.token).unwrap();
    let mut line = String::new();
    tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line))
        .await
        .unwrap()
        .unwrap();
    world.final_audit();
}

/// A gateway in a process of its own.
struct Gateway {
    child: Child,
    _stdin: ChildStdin,
    address: SocketAddr,
    token: String,
}

/// A folder for everything the processes leave behind, removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let dir = unused_dir();
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn db(&self) -> PathBuf {
        self.0.join("audit.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Gateway {
    fn start(folder: &Folder, is_required: bool) -> Self {
        // A file that may not grow is an error to find, not a signal to die of.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "the_gateway_of_the_other_tests", "--nocapture"])
            .env(DATABASE, folder.db())
            .env("TMPDIR", &folder.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if is_required {
            command.env(REQUIRED, "1");
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines
            .find_map(|line| Some(line.unwrap().strip_prefix("ready ")?.to_owned()))
            .expect("a gateway that is ready");
        std::thread::spawn(move || lines.for_each(drop));
        let (address, token) = ready.split_once(' ').unwrap();
        Self {
            _stdin: child.stdin.take().unwrap(),
            address: address.parse().unwrap(),
            token: token.to_owned(),
            child,
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn limit_files(&self, bytes: Option<u64>) {
        let pid = Pid::from_child(&self.child);
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Opens a shell and returns the session's identifier from its `hello`; none if the gateway was
/// killed before that. With a line to type in, waits for the end of the session.
async fn open(address: SocketAddr, token: String, line: Option<&str>) -> Option<String> {
    let request = http::Request::builder()
        .uri(format!(
            "ws://{address}{}",
            exec_path("modern", "shell", "?container=app")
        ))
        .header("Host", address.to_string())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header("Authorization", format!("Bearer {token}"));
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut socket, _) = client_async(request.body(()).unwrap(), stream).await.ok()?;
    let mut session = None;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "hello" {
            session = Some(message["sessionId"].as_str().unwrap().to_owned());
            let Some(line) = line else {
                return session;
            };
            let sent = socket.send(Message::binary(line.as_bytes().to_vec())).await;
            sent.unwrap();
        }
    }
    session
}

fn rows(path: &Path, verb: &str, session: Option<&str>) -> Vec<Value> {
    let filter = Filter {
        verb: Some(verb.to_owned()),
        session: session.map(str::to_owned),
        ..Filter::new()
    };
    let page = find(path, &filter).unwrap();
    let rows = page
        .items
        .iter()
        .map(|item| serde_json::from_str(item.get()).unwrap());
    rows.collect()
}

#[test]
fn whoever_saw_hello_has_an_intent_and_an_end_however_often_the_gateway_is_killed() {
    let seen: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || kill_often(worker)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    // A kill that always comes too early or too late would show nothing.
    assert!(seen > ROUNDS / 2, "{seen} hellos in {ROUNDS} rounds");
}

fn kill_often(worker: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = Folder::new();
    let mut seen: Vec<String> = Vec::new();
    for round in 0..ROUNDS / WORKERS {
        let gateway = Gateway::start(&folder, true);
        runtime.block_on(async {
            let (told, mut hellos) = tokio::sync::mpsc::unbounded_channel();
            for _ in 0..SHELLS {
                let opening = open(gateway.address, gateway.token.clone(), None);
                let told = told.clone();
                tokio::spawn(async move {
                    if let Some(session) = opening.await {
                        told.send(session).unwrap();
                    }
                });
            }
            // Some rounds kill before, some amid, some behind the hellos.
            for _ in 0..(round + worker) % (SHELLS + 1) {
                let hello = tokio::time::timeout(PATIENCE, hellos.recv()).await;
                seen.extend(hello.expect("a hello in time"));
            }
            gateway.kill();
            drop(told);
            while let Some(session) = hellos.recv().await {
                seen.push(session);
            }
        });
    }
    // The last start writes the last ends.
    drop(Gateway::start(&folder, true));
    let path = folder.db();
    for session in &seen {
        let count = |verb| rows(&path, verb, Some(session)).len();
        assert_eq!(count("pod.exec.session_intent"), 1, "{session}");
        assert_eq!(count("pod.exec.session_end"), 1, "{session}");
    }
    let sql = Connection::open(&path).unwrap();
    let open = "SELECT count(*) FROM events AS begun WHERE verb IN ('pod.exec.session_intent', 'pod.exec.session_start')
        AND NOT EXISTS (SELECT 1 FROM events AS ended WHERE ended.session = begun.session AND ended.verb = 'pod.exec.session_end')";
    let open: i64 = sql.query_row(open, [], |row| row.get(0)).unwrap();
    assert_eq!(open, 0, "intents and starts without an end");
    assert!(verify::verify(&path, None, None).unwrap().is_ok());
    seen.len()
}

#[tokio::test]
async fn a_full_disk_delays_rows_and_no_shell() {
    let folder = Folder::new();
    let gateway = Gateway::start(&folder, false);
    let session = || open(gateway.address, gateway.token.clone(), Some("exit 0\n"));
    assert!(session().await.is_some());
    wait_for_ends(&folder.db(), 1).await;
    gateway.limit_files(Some(4096));
    for _ in 0..3 {
        assert!(session().await.is_some(), "a shell as always");
    }
    assert_eq!(rows(&folder.db(), "pod.exec.session_end", None).len(), 1);
    gateway.limit_files(None);
    wait_for_ends(&folder.db(), 4).await;
    assert_eq!(rows(&folder.db(), "pod.exec.session_start", None).len(), 4);
    assert_eq!(rows(&folder.db(), "audit.gap", None).len(), 0);
    assert_eq!(
        verify::verify(&folder.db(), None, None)
            .unwrap()
            .unwrap()
            .rows,
        8
    );
}

async fn wait_for_ends(path: &Path, count: usize) {
    let wait = async {
        while rows(path, "pod.exec.session_end", None).len() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("that many ends in time");
}
