//! What is played in each row of the list, by a browser that knows nothing of what is behind the
//! gateway but what the row is about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::browser::{PATIENCE, Shell, command};
use crate::gateways::{Gateway, until};
use crate::peers::{Peer, Transport};
use crate::wire::Wire;

/// One cell of the table, ready to be played: a gateway, and a cluster of its own behind a
/// middlebox of its own.
pub(crate) struct Case {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) cluster: String,
    pub(crate) peer: Peer,
    pub(crate) transport: Transport,
    pub(crate) wire: Wire,
}

/// Bytes of the long rows, each way.
const LONG: usize = 100 * 1000 * 1000;

/// Bytes of the row with the slow reader: far more than the sockets on the way can hold.
const SLOW: usize = 64 * 1000 * 1000;

impl Case {
    /// The exec path of a pod; the query begins behind the container.
    fn path(&self, pod: &str, query: &str) -> String {
        format!(
            "/api/clusters/{}/pods/default/{pod}/exec?{query}",
            self.cluster
        )
    }

    /// A command without a terminal.
    fn run_path(&self, arguments: &[&str]) -> String {
        let query = format!(
            "container={}&tty=false&command={}",
            self.peer.container(),
            command(arguments)
        );
        self.path(self.peer.pod(), &query)
    }

    /// Opens a shell that is to be had. The access review has five seconds by rule: on a machine
    /// that stands still for longer the answer is a 502 that says "try again", so that is done.
    async fn open(&self, path: &str) -> Shell {
        let started = Instant::now();
        loop {
            match self.gateway.open(path).await {
                Ok(shell) => return shell,
                Err(answer) if answer.status == 502 && started.elapsed() < PATIENCE => {}
                Err(answer) => panic!("refused: {answer:?}"),
            }
        }
    }

    /// A shell that is up, on the transport this case is about.
    async fn up(&self, path: &str) -> Shell {
        let mut shell = self.open(path).await;
        let hello = shell.message("hello").await;
        expect_transport(&hello, self.transport);
        shell
    }

    async fn run(&self, script: &str) -> Shell {
        self.up(&self.run_path(&["sh", "-c", script])).await
    }

    /// Nothing is left: no connection, no slot, and every start has its end.
    pub(crate) async fn expect_nothing_left(&self) {
        until("the end of every exec connection", || {
            (self.wire.live() == 0).then_some(())
        })
        .await;
        until("an end for every start", || {
            let rows = self.gateway.audit(&self.cluster);
            let count = |verb: &str| rows.iter().filter(|row| row["verb"] == verb).count();
            let (starts, ends) = (
                count("pod.exec.session_start"),
                count("pod.exec.session_end"),
            );
            (starts == ends).then_some(())
        })
        .await;
    }

    /// The one slot of the cluster is free again: somebody else gets in.
    async fn expect_free_slot(&self, path: &str) {
        let wait = async {
            loop {
                match self.gateway.open(path).await {
                    Ok(shell) => return shell.vanish(),
                    // A machine that stands still, as in `open`.
                    Err(answer) if answer.status == 502 => {}
                    Err(answer) => {
                        assert_eq!(answer.refusal(), (429, "E_CAP_CLUSTER".to_owned()));
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.expect("a slot in time");
    }
}

/// What `hello` says of the way to the apiserver.
fn expect_transport(hello: &Value, transport: Transport) {
    let expected = match transport {
        Transport::V5 => ("ws", "v5.channel.k8s.io"),
        Transport::Spdy => ("spdy", "v4.channel.k8s.io"),
        Transport::V4 => ("ws", "v4.channel.k8s.io"),
    };
    let told = (hello["transport"].as_str(), hello["subprotocol"].as_str());
    assert_eq!(told, (Some(expected.0), Some(expected.1)));
}

/// The end of a process, told in full.
fn expect_exit(closed: &Value, code: i32) {
    let expected = json!({"type": "closed", "reason": "client_close", "detail": "process_exit", "exitCode": code, "truncated": false});
    assert_eq!(closed, &expected);
}

/// An end that is an error: its code, then `closed` with its detail.
async fn expect_error(shell: &mut Shell, code: &str, detail: &str) -> Value {
    let closed = shell.closed().await;
    let error = shell
        .messages
        .iter()
        .find(|message| message["type"] == "error");
    assert_eq!(error.expect("an error")["code"], code, "{}", shell.story());
    assert_eq!(closed["detail"], detail, "{}", shell.story());
    closed
}

pub(crate) async fn echo(case: &Case) {
    let query = format!("container={}&cols=80&rows=24", case.peer.container());
    let mut shell = case.up(&case.path(case.peer.pod(), &query)).await;
    shell.send(b"echo can$((40+2))ary\n").await;
    shell.shows("can42ary").await;
    shell.send(b"exit 3\n").await;
    expect_exit(&shell.closed().await, 3);
    assert_eq!(shell.close_code, Some(1000));
}

pub(crate) async fn stderr(case: &Case) {
    let mut shell = case.run("echo to-stdout; echo to-stderr >&2").await;
    let closed = shell.closed().await;
    let output = String::from_utf8(shell.output.clone()).unwrap();
    assert!(output.contains("to-stdout\n"), "{output:?}");
    assert!(output.contains("to-stderr\n"), "{output:?}");
    expect_exit(&closed, 0);
}

pub(crate) async fn exit_0(case: &Case) {
    let mut shell = case.run("echo done").await;
    expect_exit(&shell.closed().await, 0);
    assert_eq!(shell.output, b"done\n");
}

pub(crate) async fn exit_7(case: &Case) {
    let mut shell = case.run("echo failed; exit 7").await;
    expect_exit(&shell.closed().await, 7);
    let end = case.gateway.audit_row(&case.cluster, "session_end").await;
    assert_eq!(
        (&end["exit_code"], &end["bytes_stdout"]),
        (&json!(7), &json!(7))
    );
}

pub(crate) async fn exit_137(case: &Case) {
    let mut shell = case.run("echo doomed; kill -9 $$").await;
    expect_exit(&shell.closed().await, 137);
}

pub(crate) async fn silent_exit(case: &Case) {
    let mut shell = case.up(&case.run_path(&["true"])).await;
    expect_exit(&shell.closed().await, 0);
    assert!(shell.output.is_empty(), "{}", shell.story());
}

pub(crate) async fn stdin_and_eof(case: &Case) {
    let mut shell = case.run("wc -c; echo counted").await;
    shell.send(&vec![b'x'; 40_000]).await;
    shell.send(&[b'y'; 2_345]).await;
    shell.control(json!({"type": "eof"})).await;
    if case.transport == Transport::V4 {
        // v4 over WebSocket has no way to say it: the session goes on.
        let error = shell.message("error").await;
        assert_eq!(error["code"], "E_PROTOCOL");
        assert!(shell.output.is_empty(), "{}", shell.story());
        shell.control(json!({"type": "close"})).await;
        assert_eq!(shell.closed().await["detail"], "user_close");
        return;
    }
    expect_exit(&shell.closed().await, 0);
    let output = String::from_utf8(shell.output.clone()).unwrap();
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words, ["42345", "counted"]);
}

pub(crate) async fn tty_and_resize(case: &Case) {
    let script = "stty size; while read line; do stty size; done";
    let query = format!(
        "container={}&tty=true&cols=101&rows=31&command={}",
        case.peer.container(),
        command(&["sh", "-c", script])
    );
    let mut shell = case.up(&case.path(case.peer.pod(), &query)).await;
    // The size travels beside the process: the first answer may come before it.
    loop {
        shell.send(b"\n").await;
        let before = shell.output.len();
        shell
            .until(|shell| (shell.output.len() > before).then_some(()))
            .await;
        if String::from_utf8_lossy(&shell.output).contains("31 101") {
            break;
        }
    }
    shell
        .control(json!({"type": "resize", "cols": 123, "rows": 45}))
        .await;
    loop {
        shell.send(b"\n").await;
        let before = shell.output.len();
        shell
            .until(|shell| (shell.output.len() > before).then_some(()))
            .await;
        if String::from_utf8_lossy(&shell.output).contains("45 123") {
            break;
        }
    }
    // On a terminal `eof` is a key, so the shell's `read` finds the end.
    shell.control(json!({"type": "eof"})).await;
    expect_exit(&shell.closed().await, 0);
}

/// Lines that differ, so that a lost, doubled or moved piece shows: what `seq` prints.
fn sequence(len: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut number = 0_u64;
    let mut left = len;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let mut piece = Vec::with_capacity(33 * 1024);
        while piece.len() < 32 * 1024 {
            number += 1;
            piece.extend_from_slice(number.to_string().as_bytes());
            piece.push(b'\n');
        }
        piece.truncate(left);
        left -= piece.len();
        Some(piece)
    })
}

/// The checksum of a sequence. Made once, and not on a thread that moves sessions' bytes.
async fn checksum(len: usize) -> String {
    static LONG_SUM: OnceCell<String> = OnceCell::const_new();
    static SLOW_SUM: OnceCell<String> = OnceCell::const_new();
    let sum = move || {
        let mut hash = Sha256::new();
        for piece in sequence(len) {
            hash.update(&piece);
        }
        hex(&hash.finalize())
    };
    let cell = if len == LONG { &LONG_SUM } else { &SLOW_SUM };
    let made = cell.get_or_init(async || tokio::task::spawn_blocking(sum).await.unwrap());
    made.await.clone()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Reads `len` bytes of output and returns their checksum.
async fn output_checksum(shell: &mut Shell, len: usize) -> String {
    let mut hash = Sha256::new();
    let mut count = 0;
    loop {
        hash.update(&shell.output);
        count += shell.output.len();
        shell.output.clear();
        if count >= len {
            assert_eq!(count, len, "{}", shell.story());
            return hex(&hash.finalize());
        }
        assert!(
            shell.close_code.is_none(),
            "{count} bytes came: {}",
            shell.story()
        );
        shell.next().await;
    }
}

pub(crate) async fn long_output(case: &Case) {
    let script = format!("seq 1 99999999 2>/dev/null | head -c {LONG}; read line; exit 5");
    let mut shell = case.run(&script).await;
    let got = output_checksum(&mut shell, LONG).await;
    assert_eq!(got, checksum(LONG).await);
    shell.send(b"\n").await;
    let closed = shell.closed().await;
    assert_eq!(
        (&closed["detail"], &closed["exitCode"]),
        (&json!("process_exit"), &json!(5))
    );
    let end = case.gateway.audit_row(&case.cluster, "session_end").await;
    assert_eq!(end["bytes_stdout"], LONG);
}

pub(crate) async fn long_input(case: &Case) {
    let shell = case.run(&format!("head -c {LONG} | sha256sum")).await;
    let sending = async {
        let (mut sender, mut receiver) = shell.socket.split();
        let send = async {
            for piece in sequence(LONG) {
                sender
                    .send(async_tungstenite::tungstenite::Message::binary(piece))
                    .await
                    .unwrap();
            }
        };
        // Pings are answered meanwhile, and the answer is kept.
        let receive = async {
            let mut output = Vec::new();
            while let Some(message) = receiver.next().await {
                match message.unwrap() {
                    async_tungstenite::tungstenite::Message::Binary(bytes) => {
                        output.extend_from_slice(&bytes);
                    }
                    message if message.is_text() => {
                        let message: Value =
                            serde_json::from_str(message.to_text().unwrap()).unwrap();
                        if message["type"] == "closed" {
                            return (output, message);
                        }
                    }
                    _ => {}
                }
            }
            panic!("end of file");
        };
        futures_util::future::join(send, receive).await.1
    };
    let (output, closed) = tokio::time::timeout(PATIENCE * 2, sending)
        .await
        .expect("in time");
    expect_exit(&closed, 0);
    let printed = String::from_utf8(output).unwrap();
    assert_eq!(
        printed.split(' ').next(),
        Some(checksum(LONG).await.as_str())
    );
    let end = case.gateway.audit_row(&case.cluster, "session_end").await;
    assert_eq!(end["bytes_stdin"], LONG);
}

/// Nothing is read until nothing moves any more; then everything is there.
pub(crate) async fn slow_reader(case: &Case) {
    let script = format!("seq 1 99999999 2>/dev/null | head -c {SLOW}; read line");
    let mut shell = case.run(&script).await;
    let stalled = stalled_at(case).await;
    assert!(
        stalled < SLOW as u64 / 2,
        "{stalled} bytes went to a gateway whose browser reads nothing"
    );
    let got = output_checksum(&mut shell, SLOW).await;
    assert_eq!(got, checksum(SLOW).await);
    shell.send(b"\n").await;
    assert_eq!(shell.closed().await["detail"], "process_exit");
}

/// Waits until the gateway takes nothing any more, and says how much it took.
async fn stalled_at(case: &Case) -> u64 {
    let mut seen = (0, 0);
    until("a gateway that stops reading", || {
        let down = case.wire.down();
        seen = if seen.0 == down {
            (down, seen.1 + 1)
        } else {
            (down, 0)
        };
        // A second without a byte.
        (down > 1_000_000 && seen.1 >= 100).then_some(down)
    })
    .await
}

pub(crate) async fn no_shell(case: &Case) {
    let pod = case.peer.pod_without_shell();
    let mut shell = case.open(&case.path(pod, "tty=true")).await;
    expect_error(&mut shell, "E_NO_SHELL", "no_shell").await;
    assert_eq!(shell.close_code, Some(1011));
}

pub(crate) async fn forbidden_by_review(case: &Case) {
    let answer = case.gateway.open(&case.run_path(&["true"])).await;
    let answer = answer.expect_err("a refusal before the 101");
    assert_eq!(answer.refusal(), (403, "E_FORBIDDEN".to_owned()));
    let denied = case
        .gateway
        .audit_row(&case.cluster, "session_denied")
        .await;
    assert_eq!(
        (&denied["outcome"], &denied["code"]),
        (&json!("denied"), &json!("E_FORBIDDEN"))
    );
    assert_eq!(case.wire.opened(), 0, "nothing was tried");
}

pub(crate) async fn forbidden_by_exec(case: &Case) {
    let (pod, container) = match case.peer {
        Peer::Sandbox => (case.peer.pod(), case.peer.container()),
        Peer::Interop => ("forbidden", "forbidden"),
    };
    let query = format!("container={container}&tty=false");
    let mut shell = case.open(&case.path(pod, &query)).await;
    expect_error(&mut shell, "E_FORBIDDEN", "forbidden").await;
    let denied = case
        .gateway
        .audit_row(&case.cluster, "session_denied")
        .await;
    assert_eq!(
        (&denied["outcome"], &denied["code"]),
        (&json!("denied"), &json!("E_FORBIDDEN"))
    );
}

pub(crate) async fn not_found(case: &Case) {
    let query = format!("container={}", case.peer.container());
    let mut shell = case.open(&case.path("nosuch", &query)).await;
    expect_error(&mut shell, "E_NOT_FOUND", "not_found").await;
    let denied = case
        .gateway
        .audit_row(&case.cluster, "session_denied")
        .await;
    assert_eq!(
        (&denied["outcome"], &denied["code"]),
        (&json!("failure"), &json!("E_NOT_FOUND"))
    );
}

pub(crate) async fn wrong_container(case: &Case) {
    let mut shell = case
        .open(&case.path(case.peer.pod(), "container=nosuch"))
        .await;
    expect_error(&mut shell, "E_NOT_FOUND", "not_found").await;
}

/// The transport this case is about is refused with a 403 that says nothing.
pub(crate) async fn empty_403(case: &Case) {
    let mut shell = case.open(&case.run_path(&["echo", "reached"])).await;
    let next = match case.transport {
        Transport::V5 => Transport::Spdy,
        Transport::Spdy => Transport::V4,
        Transport::V4 => {
            expect_error(&mut shell, "E_CLUSTER_UNREACHABLE", "unreachable").await;
            return;
        }
    };
    let hello = shell.message("hello").await;
    expect_transport(&hello, next);
    expect_exit(&shell.closed().await, 0);
    assert_eq!(shell.output, b"reached\n");
}

pub(crate) async fn gone_while_dialing(case: &Case) {
    let path = case.run_path(&["sleep", "1000"]);
    let shell = case.open(&path).await;
    let tried = match case.transport {
        Transport::V5 => 1,
        Transport::Spdy => 2,
        Transport::V4 => 3,
    };
    until("the dial", || (case.wire.opened() >= tried).then_some(())).await;
    shell.vanish();
    let denied = case
        .gateway
        .audit_row(&case.cluster, "session_denied")
        .await;
    assert_eq!(
        (&denied["outcome"], &denied["code"]),
        (&json!("failure"), &Value::Null)
    );
    until("the end of the dial", || {
        (case.wire.live() == 0).then_some(())
    })
    .await;
    case.expect_free_slot(&path).await;
}

/// The 101 of the apiserver is there, `hello` perhaps not yet: the command may have run.
pub(crate) async fn gone_before_up(case: &Case) {
    let path = case.run_path(&["sleep", "1000"]);
    let shell = case.open(&path).await;
    until("the apiserver's 101", || {
        (case.wire.upgraded() > 0).then_some(())
    })
    .await;
    shell.vanish();
    expect_tab_gone(case, &path).await;
}

pub(crate) async fn gone_while_up(case: &Case) {
    let path = case.run_path(&["sleep", "1000"]);
    case.up(&path).await.vanish();
    expect_tab_gone(case, &path).await;
}

pub(crate) async fn gone_in_a_flood(case: &Case) {
    let path = case.run_path(&["yes", "a flood that nobody reads"]);
    let shell = case.up(&path).await;
    stalled_at(case).await;
    shell.vanish();
    expect_tab_gone(case, &path).await;
}

pub(crate) async fn gone_after_the_warning(case: &Case) {
    let path = case.run_path(&["sleep", "1000"]);
    let mut shell = case.up(&path).await;
    shell.message("idle_warn").await;
    shell.vanish();
    expect_tab_gone(case, &path).await;
}

async fn expect_tab_gone(case: &Case, path: &str) {
    let end = case.gateway.audit_row(&case.cluster, "session_end").await;
    assert_eq!(
        (&end["close_reason"], &end["close_detail"]),
        (&json!("client_close"), &json!("tab_gone"))
    );
    assert_eq!(end["exit_code"], Value::Null);
    until("the end of the exec", || {
        (case.wire.live() == 0).then_some(())
    })
    .await;
    case.expect_free_slot(path).await;
}

pub(crate) async fn idle(case: &Case) {
    let mut shell = case.run("echo up; sleep 1000").await;
    let warning = shell.message("idle_warn").await;
    let seconds = warning["secondsRemaining"].as_u64().unwrap();
    assert!((1..=3).contains(&seconds), "{warning}");
    let closed = expect_error(&mut shell, "E_IDLE", "idle").await;
    assert_eq!(closed["reason"], "server_idle");
    assert_eq!(shell.close_code, Some(1000));
}

pub(crate) async fn reset(case: &Case) {
    let mut shell = case.run("echo up; sleep 1000").await;
    shell.shows("up\n").await;
    case.wire.reset();
    let closed = expect_error(&mut shell, "E_CLUSTER_UNREACHABLE", "transport_error").await;
    assert_eq!(
        (&closed["exitCode"], &closed["truncated"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(shell.close_code, Some(1011));
}

/// A command of the caller's own is not tried again after a silence: it may have run.
pub(crate) async fn silence(case: &Case) {
    let mut shell = case.open(&case.run_path(&["true"])).await;
    expect_error(&mut shell, "E_CLUSTER_UNREACHABLE", "unreachable").await;
    let error = &shell.messages[0];
    assert_eq!(error["retryable"], false, "{error}");
    assert!(shell.output.is_empty(), "{}", shell.story());
}

/// Half of the row: a session that is up when its gateway is told to leave. The other half, what
/// follows the order, is [`drained`].
pub(crate) async fn before_the_drain(case: &Case) -> Shell {
    let mut shell = case.run("echo up; sleep 1000").await;
    shell.shows("up\n").await;
    shell
}

pub(crate) async fn drained(mut shell: Shell) {
    let drain = shell.message("drain").await;
    assert!(drain["secondsRemaining"].as_u64() <= Some(3), "{drain}");
    expect_error(&mut shell, "E_DRAIN", "drain").await;
    assert_eq!(shell.close_code, Some(1001));
}
