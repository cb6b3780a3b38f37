//! Shells through the gateway, against the sandbox's real processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::time::Duration;

use gateway_support::{Settings, World, exec_path};
use periscope_server::gateway::registry::ExecSettings;
use periscope_server::gateway::shutdown::Left;
use periscope_server::sandbox::Fault;
use serde_json::json;

#[tokio::test]
async fn a_shell_greets_echoes_resizes_and_ends_with_its_exit_code() {
    for (cluster, transport, subprotocol) in [
        ("modern", "ws", "v5.channel.k8s.io"),
        ("legacy", "spdy", "v4.channel.k8s.io"),
    ] {
        let world = World::start(Settings::default()).await;
        let mut shell = world.shell(cluster, "sidecar", "?cols=100&rows=30").await;
        let hello = shell.message("hello").await;
        assert_eq!(hello["transport"], transport);
        assert_eq!(hello["subprotocol"], subprotocol);
        assert_eq!(hello["container"], "app", "the annotation's container");
        assert_eq!(
            hello["identity"],
            json!({"user": "ann", "groups": ["periscope-tier:admin"]})
        );
        assert_eq!(
            (&hello["idleSeconds"], &hello["heartbeatSeconds"]),
            (&json!(600), &json!(20))
        );
        shell.type_in("stty size; echo can$((40+2))ary\n").await;
        shell.shows("can42ary").await;
        assert!(shell.output.contains("30 100"), "{}", shell.output);
        shell
            .control(&json!({"type": "resize", "cols": 120, "rows": 40}))
            .await;
        shell.type_in("stty size\n").await;
        shell.shows("40 120").await;
        let listed = world.sessions().await;
        assert_eq!(listed.len(), 1);
        let session = &listed[0];
        assert_eq!(
            (&session["id"], &session["actor"]),
            (&hello["sessionId"], &json!("ann"))
        );
        assert_eq!(
            (&session["transport"], &session["state"]),
            (&json!(transport), &json!("open"))
        );
        assert_eq!(
            (&session["pod"], &session["container"]),
            (&json!("sidecar"), &json!("app"))
        );
        assert!(session["idleSeconds"].is_u64());
        shell.type_in("exit 7\n").await;
        let closed = shell.closed().await;
        let expected = json!({"type": "closed", "reason": "client_close", "detail": "process_exit", "exitCode": 7, "truncated": false});
        assert_eq!(closed, expected);
        assert_eq!(shell.close_code, Some(1000));
        world.wait_for_sessions(0).await;

        let start = world.audit_row("pod.exec.session_start").await;
        let end = world.audit_row("pod.exec.session_end").await;
        assert_eq!(
            (&start["session_id"], &end["session_id"]),
            (&hello["sessionId"], &hello["sessionId"])
        );
        assert_eq!(
            (&start["outcome"], &start["transport"]),
            (&json!("success"), &json!(transport))
        );
        let identity =
            json!({"user": "ann", "groups": ["periscope-tier:admin"], "base": "sandbox"});
        assert_eq!(start["k8s_identity"], identity);
        assert_eq!(
            (&end["exit_code"], &end["close_reason"]),
            (&json!(7), &json!("client_close"))
        );
        assert!(
            end["bytes_stdin"].as_u64() >= Some(20) && end["bytes_stdout"].as_u64() >= Some(20)
        );
        let rows = format!("{:?}", world.final_audit());
        assert!(
            !rows.contains("can42ary") && !rows.contains("40+2"),
            "no payload in the audit"
        );
    }
}

#[tokio::test]
async fn a_command_without_a_terminal_ends_with_its_input() {
    let world = World::start(Settings::default()).await;
    // ["sh","-c","wc -c; exit 3"]
    let query = "?tty=false&command=WyJzaCIsIi1jIiwid2MgLWM7IGV4aXQgMyJd";
    let mut shell = world.shell("modern", "shell", query).await;
    shell.type_in("0123456789").await;
    shell.control(&json!({"type": "eof"})).await;
    let closed = shell.closed().await;
    assert_eq!(closed["exitCode"], 3);
    assert_eq!(shell.output.trim(), "10");
    let start = world.audit_row("pod.exec.session_start").await;
    assert_eq!(
        (&start["command"], &start["tty"]),
        (&json!(["sh", "-c", "wc -c; exit 3"]), &json!(false))
    );
}

#[tokio::test]
async fn an_idle_shell_is_warned_and_then_closed() {
    let exec = ExecSettings {
        idle: Duration::from_secs(3),
        idle_warn: Duration::from_secs(2),
        ..ExecSettings::default()
    };
    let world = World::start(Settings {
        exec,
        ..Settings::default()
    })
    .await;
    let mut shell = world.shell("modern", "shell", "").await;
    assert_eq!(shell.message("idle_warn").await["secondsRemaining"], 2);
    let closed = shell.closed().await;
    assert_eq!(
        (&closed["reason"], &closed["detail"]),
        (&json!("server_idle"), &json!("idle"))
    );
    assert_eq!(shell.message("error").await["code"], "E_IDLE");
    world.wait_for_sessions(0).await;
    assert_eq!(
        world.audit_row("pod.exec.session_end").await["close_detail"],
        "idle"
    );
}

#[tokio::test]
async fn a_tab_that_goes_away_frees_its_slot() {
    let world = World::start(Settings::default()).await;
    drop(world.shell("modern", "shell", "").await);
    world.wait_for_sessions(0).await;
    let end = world.audit_row("pod.exec.session_end").await;
    assert_eq!(
        (&end["close_detail"], &end["ended_by"]),
        (&json!("tab_gone"), &json!(null))
    );
}

#[tokio::test]
async fn what_goes_wrong_after_the_handshake_travels_as_frames_and_into_the_audit() {
    for (fault, pod, code, detail) in [
        (None, "distroless", "E_NO_SHELL", "no_shell"),
        (Some(Fault::Status401), "shell", "E_INTERNAL", "internal"),
        (
            Some(Fault::Status429),
            "shell",
            "E_CLUSTER_UNREACHABLE",
            "unreachable",
        ),
        (Some(Fault::Status500), "shell", "E_INTERNAL", "internal"),
    ] {
        let world = World::start(Settings {
            faults: fault.into_iter().collect(),
            ..Settings::default()
        })
        .await;
        let mut shell = world
            .handshake(&exec_path("modern", pod, ""), &[])
            .await
            .unwrap();
        let closed = shell.closed().await;
        assert_eq!(closed["detail"], detail, "{fault:?}");
        assert_eq!(shell.message("error").await["code"], code, "{fault:?}");
        let row = world.audit_row("pod.exec.session_denied").await;
        assert_eq!(
            (&row["code"], &row["outcome"]),
            (&json!(code), &json!("failure"))
        );
        world.wait_for_sessions(0).await;
    }
}

#[tokio::test]
async fn bytes_sent_right_behind_the_handshake_are_not_lost() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::start(Settings::default()).await;
    let mut browser = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let mut bytes = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        exec_path("modern", "shell", "?tty=false"), world.address, world.token
    )
    .into_bytes();
    // One masked binary frame (mask zero) in the same segment: "echo early\n".
    bytes.extend_from_slice(&[0x82, 0x80 | 0x0b, 0, 0, 0, 0]);
    bytes.extend_from_slice(b"echo early\n");
    browser.write_all(&bytes).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("early\n") {
        let len = browser.read_buf(&mut seen).await.unwrap();
        assert!(len > 0, "{}", String::from_utf8_lossy(&seen));
    }
    assert!(seen.starts_with(b"HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_process_that_leaves_warns_refuses_and_waits_for_its_shells() {
    let mut world = World::start(Settings::default()).await;
    let mut shell = world.shell("modern", "shell", "").await;
    let address = world.address;
    let token = world.token.clone();
    let drained = world.drain(std::future::pending());
    let session = async {
        assert_eq!(shell.message("drain").await["secondsRemaining"], 10);
        let ready = http(address, "GET", "/readyz", &token).await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        let refused = http(address, "GET", &exec_path("modern", "shell", ""), &token).await;
        assert!(
            refused.starts_with("HTTP/1.1 503") && refused.contains("E_DRAIN"),
            "{refused}"
        );
        assert!(refused.contains("retry-after: "), "{refused}");
        shell.type_in("exit 0\n").await;
        shell.closed().await
    };
    let before = std::time::Instant::now();
    let (left, closed) = tokio::join!(drained, session);
    assert_eq!(closed["detail"], "process_exit");
    assert_eq!(left, Left::default());
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "it leaves as soon as no session is left"
    );
    assert_eq!(
        world.audit().last().unwrap()["verb"],
        "pod.exec.session_end"
    );
}

#[tokio::test]
async fn shells_that_stay_are_ended_when_their_time_is_over() {
    let drain = Duration::from_secs(1);
    let mut world = World::start(Settings {
        drain,
        ..Settings::default()
    })
    .await;
    let mut shell = world.shell("modern", "shell", "").await;
    let (left, closed) = tokio::join!(world.drain(std::future::pending()), shell.closed());
    assert_eq!(
        (&closed["reason"], &closed["detail"]),
        (&json!("forced_close"), &json!("drain"))
    );
    assert_eq!(shell.message("error").await["code"], "E_DRAIN");
    assert_eq!(shell.close_code, Some(1001));
    assert_eq!(left, Left::default());
    assert_eq!(
        world.audit_row("pod.exec.session_end").await["close_detail"],
        "drain"
    );
}

#[tokio::test]
async fn a_second_signal_skips_the_wait_but_not_the_records() {
    let drain = Duration::from_hours(1);
    let mut world = World::start(Settings {
        drain,
        ..Settings::default()
    })
    .await;
    let mut shell = world.shell("modern", "shell", "").await;
    let (left, closed) = tokio::join!(world.drain(std::future::ready(())), shell.closed());
    assert_eq!(closed["detail"], "drain");
    assert_eq!(left, Left::default());
    assert_eq!(
        world.audit_row("pod.exec.session_end").await["close_detail"],
        "drain"
    );
}

#[tokio::test]
async fn output_that_nobody_reads_waits_and_arrives_whole() {
    let world = World::start(Settings::default()).await;
    // ["sh","-c","head -c 20000000 /dev/zero | tr '\\0' x"]
    let query = "?tty=false&command=WyJzaCIsIi1jIiwiaGVhZCAtYyAyMDAwMDAwMCAvZGV2L3plcm8gfCB0ciAnXFwwJyB4Il0";
    let mut shell = world.shell("modern", "shell", query).await;
    let closed = shell.closed().await;
    assert_eq!(
        (&closed["exitCode"], shell.output.len()),
        (&json!(0), 20_000_000)
    );
}

async fn http(address: std::net::SocketAddr, method: &str, path: &str, token: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_audit_nobody_reads_holds_up_no_shell() {
    let (unblock, blocked_by) = std::sync::mpsc::channel();
    let world = World::start(Settings {
        audit_blocked_by: Some(blocked_by),
        ..Settings::default()
    })
    .await;
    for _ in 0..3 {
        let mut shell = world.shell("modern", "shell", "").await;
        shell.type_in("exit 4\n").await;
        assert_eq!(shell.closed().await["exitCode"], 4);
    }
    world.wait_for_sessions(0).await;
    assert!(world.audit().is_empty());
    drop(unblock);
    let rows = world.final_audit();
    let verbs: Vec<_> = rows
        .iter()
        .map(|row| row["verb"].as_str().unwrap())
        .collect();
    assert_eq!(
        verbs,
        ["pod.exec.session_start", "pod.exec.session_end"].repeat(3)
    );
}

#[tokio::test]
async fn a_shell_that_breaks_after_it_may_have_run_has_a_start_and_an_end() {
    for (fault, code, detail) in [
        (Fault::EofAfter101, "E_CLUSTER_UNREACHABLE", "unreachable"),
        (Fault::GarbageAfter101, "E_INTERNAL", "protocol_error"),
        (Fault::NoStatus, "E_CLUSTER_UNREACHABLE", "transport_error"),
        (Fault::PodGone, "E_NOT_FOUND", "pod_gone"),
    ] {
        let world = World::start(Settings {
            faults: vec![fault],
            ..Settings::default()
        })
        .await;
        let mut shell = world
            .handshake(&exec_path("modern", "shell", "?container=app"), &[])
            .await
            .unwrap();
        if matches!(fault, Fault::NoStatus | Fault::PodGone) {
            shell.message("hello").await;
            shell.type_in("x").await;
        }
        let closed = shell.closed().await;
        assert_eq!(
            (&closed["detail"], &closed["exitCode"]),
            (&json!(detail), &json!(null)),
            "{fault}"
        );
        assert_eq!(shell.message("error").await["code"], code, "{fault}");
        world.wait_for_sessions(0).await;
        let rows = world.final_audit();
        let verbs: Vec<_> = rows
            .iter()
            .map(|row| row["verb"].as_str().unwrap())
            .collect();
        assert_eq!(
            verbs,
            ["pod.exec.session_start", "pod.exec.session_end"],
            "{fault}"
        );
        assert_eq!(
            (&rows[1]["close_detail"], &rows[1]["outcome"]),
            (&json!(detail), &json!("failure")),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_translator_that_cannot_reach_the_kubelet_is_passed_by() {
    let world = World::start(Settings {
        faults: vec![Fault::TranslatorFail],
        ..Settings::default()
    })
    .await;
    let mut shell = world.shell("modern", "shell", "").await;
    assert_eq!(shell.message("hello").await["transport"], "spdy");
}

#[tokio::test]
async fn a_cluster_behind_a_proxy_that_refuses_everything_is_unreachable() {
    let world = World::start(Settings {
        faults: vec![Fault::RefuseAll],
        ..Settings::default()
    })
    .await;
    let mut shell = world
        .handshake(&exec_path("modern", "shell", ""), &[])
        .await
        .unwrap();
    assert_eq!(shell.closed().await["detail"], "unreachable");
    assert_eq!(
        shell.message("error").await["code"],
        "E_CLUSTER_UNREACHABLE"
    );
    assert_eq!(
        world.audit_row("pod.exec.session_denied").await["code"],
        "E_CLUSTER_UNREACHABLE"
    );
}

#[tokio::test]
async fn an_apiserver_that_accepts_and_says_nothing_ends_within_the_limit_of_all_dials() {
    let world = World::start(Settings {
        faults: vec![Fault::Silent],
        ..Settings::default()
    })
    .await;
    let before = std::time::Instant::now();
    let mut shell = world
        .handshake(&exec_path("modern", "shell", ""), &[])
        .await
        .unwrap();
    assert_eq!(shell.closed().await["detail"], "unreachable");
    let took = before.elapsed();
    assert!((9..27).contains(&took.as_secs()), "{took:?}");
    world.wait_for_sessions(0).await;
}

#[tokio::test]
async fn a_session_that_is_deleted_while_it_connects_frees_its_slot() {
    let world = World::start(Settings {
        faults: vec![Fault::Silent],
        ..Settings::default()
    })
    .await;
    let mut shell = world
        .handshake(&exec_path("modern", "shell", ""), &[])
        .await
        .unwrap();
    let id = world.sessions().await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/sessions/{id}");
    let deleting = world.request("DELETE", &path, &[], "");
    let (deleted, closed) = tokio::join!(deleting, shell.closed());
    assert_eq!(
        (deleted.status, &closed["detail"]),
        (204, &json!("user_close"))
    );
    assert!(world.sessions().await.is_empty());
}
