//! Every fault does what its name says, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows a test only by its attribute, not what tests call"
)]

mod sandbox_support;

use std::time::{Duration, Instant};

use periscope_server::sandbox::Fault;
use sandbox_support::{TestSandbox, read_all, read_answer, websocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WEBSOCKET: [&str; 5] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: v5.channel.k8s.io",
];

const SPDY: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: SPDY/3.1",
    "Content-Length: 0",
    "X-Stream-Protocol-Version: v4.channel.k8s.io",
];

const HELLO: &str =
    "/api/v1/namespaces/default/pods/shell/exec?command=echo&command=hello&stdout=true";

/// Everything a WebSocket exec of `echo hello` gets, up to the end of the connection.
fn websocket_exec(sandbox: &TestSandbox) -> String {
    exec(sandbox, &format!("GET {HELLO}"), &WEBSOCKET)
}

fn exec(sandbox: &TestSandbox, request_line: &str, headers: &[&str]) -> String {
    let bytes = sandbox.block_on(async {
        let mut stream = sandbox.send("modern", request_line, headers).await;
        read_all(&mut stream).await
    });
    bytes.into_iter().map(char::from).collect()
}

/// The first bytes a SPDY exec gets: its 101, if there is one.
fn spdy_head(sandbox: &TestSandbox) -> String {
    let bytes = sandbox.block_on(async {
        let mut stream = sandbox
            .send("modern", &format!("POST {HELLO}"), &SPDY)
            .await;
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "{bytes:?}");
        }
        bytes
    });
    String::from_utf8_lossy(&bytes).into_owned()
}

const FRAMES: &str = "\u{82}\u{1}\u{1}\u{82}\u{7}\u{1}hello\n\u{82}#\u{3}{\"metadata\":{},\"status\":\"Success\"}\u{88}\u{2}\u{3}\u{e8}";

#[test]
fn a_certificate_of_another_authority_is_not_trusted() {
    let sandbox = TestSandbox::start(&[Fault::TlsBadCert]);
    let error = sandbox.block_on(sandbox.connect("modern")).unwrap_err();
    assert!(
        error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
    sandbox.block_on(sandbox.connect("legacy")).unwrap();
    let run = sandbox.run(&websocket(), "modern", &["exec", "shell", "--", "true"]);
    assert!(
        run.stderr
            .contains("certificate signed by unknown authority"),
        "{run:?}"
    );
}

#[test]
fn a_silent_cluster_answers_everything_but_exec() {
    let sandbox = TestSandbox::start(&[Fault::Silent]);
    sandbox.block_on(async {
        let mut version = sandbox.send("modern", "GET /version", &[]).await;
        assert!(
            read_answer(&mut version)
                .await
                .0
                .starts_with("HTTP/1.1 200 OK")
        );
        let mut exec = sandbox
            .send("modern", &format!("GET {HELLO}"), &WEBSOCKET)
            .await;
        let mut bytes = Vec::new();
        let read =
            tokio::time::timeout(Duration::from_millis(300), exec.read_buf(&mut bytes)).await;
        assert!(read.is_err(), "{bytes:?}");
    });
}

#[test]
fn refused_websockets_leave_spdy() {
    let sandbox = TestSandbox::start(&[Fault::RefuseWs]);
    assert_eq!(
        websocket_exec(&sandbox),
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"
    );
    assert!(spdy_head(&sandbox).starts_with("HTTP/1.1 101 "));
    let run = sandbox.run(
        &websocket(),
        "modern",
        &["exec", "shell", "--", "echo", "hello"],
    );
    assert_eq!(run.stdout, "hello\n", "{run:?}");
}

#[test]
fn a_proxy_in_front_refuses_every_transport_with_its_page() {
    let sandbox = TestSandbox::start(&[Fault::RefuseAll]);
    for answer in [websocket_exec(&sandbox), spdy_head(&sandbox)] {
        assert!(
            answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("ontent-") && answer.contains("text/html"),
            "{answer}"
        );
    }
}

#[test]
fn a_good_101_may_be_all_there_is() {
    let sandbox = TestSandbox::start(&[Fault::EofAfter101]);
    let answer = websocket_exec(&sandbox);
    assert!(
        answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("v5.channel.k8s.io\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn a_good_101_may_be_followed_by_garbage() {
    let sandbox = TestSandbox::start(&[Fault::GarbageAfter101]);
    let answer = websocket_exec(&sandbox);
    assert!(
        answer.contains("v5.channel.k8s.io\r\n\r\nHTTP/1.1 200 OK"),
        "{answer}"
    );
}

#[test]
fn a_session_may_end_without_a_status() {
    let sandbox = TestSandbox::start(&[Fault::NoStatus]);
    let answer = websocket_exec(&sandbox);
    assert!(
        answer.ends_with("\r\n\r\n\u{82}\u{1}\u{1}\u{82}\u{7}\u{1}hello\n"),
        "{answer}"
    );
}

#[test]
fn a_session_without_a_status_is_cut_by_the_first_input() {
    let sandbox = TestSandbox::start(&[Fault::NoStatus]);
    let request =
        "GET /api/v1/namespaces/default/pods/shell/exec?command=cat&stdin=true&stdout=true";
    let bytes = sandbox.block_on(async {
        let mut stream = sandbox.send("modern", request, &WEBSOCKET).await;
        // One masked message, its mask all zeros: stdin "x".
        stream.write_all(b"\x82\x82\0\0\0\0\0x").await.unwrap();
        read_all(&mut stream).await
    });
    assert!(
        bytes.ends_with(b"\r\n\r\n\x82\x01\x01"),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
}

#[test]
fn a_pod_may_go_with_its_session() {
    let sandbox = TestSandbox::start(&[Fault::PodGone]);
    assert!(!websocket_exec(&sandbox).contains("status"));
    let (head, body) = sandbox.block_on(async {
        let mut stream = sandbox
            .send("modern", "GET /api/v1/namespaces/default/pods/shell", &[])
            .await;
        read_answer(&mut stream).await
    });
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert!(body.contains("pods \\\"shell\\\" not found"), "{body}");
}

#[test]
fn a_translator_that_cannot_reach_the_kubelet_says_so_after_its_101_and_spdy_works() {
    let sandbox = TestSandbox::start(&[Fault::TranslatorFail]);
    let answer = websocket_exec(&sandbox);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains("\"reason\":\"InternalError\"")
            && answer.contains("error dialing backend: dial tcp"),
        "{answer}"
    );
    assert!(spdy_head(&sandbox).starts_with("HTTP/1.1 101 "));
}

#[test]
fn refusals_by_status_say_what_they_are() {
    for (fault, line, reason) in [
        (
            Fault::Status401,
            "HTTP/1.1 401 Unauthorized\r\n",
            "Unauthorized",
        ),
        (
            Fault::Status429,
            "HTTP/1.1 429 Too Many Requests\r\n",
            "TooManyRequests",
        ),
        (
            Fault::Status500,
            "HTTP/1.1 500 Internal Server Error\r\n",
            "InternalError",
        ),
    ] {
        let sandbox = TestSandbox::start(&[fault]);
        for answer in [
            websocket_exec(&sandbox),
            exec(&sandbox, &format!("POST {HELLO}"), &SPDY),
        ] {
            assert!(answer.starts_with(line), "{fault}: {answer}");
            assert!(
                answer.contains(&format!("\"reason\":\"{reason}\"")),
                "{fault}: {answer}"
            );
            let has_retry = answer.to_lowercase().contains("\r\nretry-after: 1\r\n");
            assert_eq!(has_retry, fault == Fault::Status429, "{answer}");
        }
    }
}

#[test]
fn a_slow_cluster_takes_three_seconds_for_its_101() {
    let sandbox = TestSandbox::start(&[Fault::SlowUp]);
    let start = Instant::now();
    let answer = websocket_exec(&sandbox);
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert!(answer.ends_with(FRAMES), "{answer}");
}

const ADA: [&str; 2] = [
    "Impersonate-User: ada",
    "Impersonate-Group: periscope-tier:admin",
];

#[test]
fn create_may_be_forbidden_to_all_but_the_owner() {
    let sandbox = TestSandbox::start(&[Fault::ForbiddenCreate]);
    let answer = exec(
        &sandbox,
        &format!("POST {HELLO}"),
        &[&SPDY[..], &ADA].concat(),
    );
    assert!(
        answer.contains("User \\\"ada\\\" cannot create resource \\\"pods/exec\\\""),
        "{answer}"
    );
    let answer = exec(
        &sandbox,
        &format!("GET {HELLO}"),
        &[&WEBSOCKET[..], &ADA].concat(),
    );
    assert!(
        answer.contains("\"message\":\"pods \\\"shell\\\" is forbidden: \""),
        "{answer}"
    );
    assert!(websocket_exec(&sandbox).ends_with(FRAMES));
}

#[test]
fn the_owner_may_lack_the_right_to_impersonate() {
    let sandbox = TestSandbox::start(&[Fault::CannotImpersonate]);
    let answer = exec(
        &sandbox,
        &format!("GET {HELLO}"),
        &[&WEBSOCKET[..], &ADA].concat(),
    );
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("cannot impersonate"),
        "{answer}"
    );
    assert!(websocket_exec(&sandbox).ends_with(FRAMES));
}
