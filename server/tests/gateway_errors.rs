//! Every error code, provoked over real HTTP and WebSocket: status, body, headers and audit row.
//! And what must not get in: foreign hosts, foreign pages, dots and slashes in names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::time::Duration;

use gateway_support::{Settings, Shell, World, exec_path};
use periscope_server::gateway::identity::Tier;
use periscope_server::gateway::registry::ExecSettings;
use periscope_server::sandbox::Fault;
use serde_json::Value;

/// A code that an HTTP answer carries, and how to get it.
struct Case {
    code: &'static str,
    status: u16,
    /// Of the audit row; none where there is no row.
    outcome: Option<&'static str>,
    has_retry_after: bool,
    settings: Settings,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    /// A shell that has to be open before.
    before: bool,
    with_token: bool,
}

fn case(code: &'static str, status: u16, outcome: &'static str) -> Case {
    Case {
        code,
        status,
        outcome: Some(outcome),
        has_retry_after: false,
        settings: Settings::default(),
        path: exec_path("modern", "shell", ""),
        headers: Vec::new(),
        before: false,
        with_token: true,
    }
}

fn faulty(fault: Fault) -> Settings {
    Settings {
        faults: vec![fault],
        ..Settings::default()
    }
}

fn capped(per_user: u32, total: u32) -> Settings {
    Settings {
        exec: ExecSettings {
            sessions_per_user_max: per_user,
            sessions_total_max: total,
            ..ExecSettings::default()
        },
        ..Settings::default()
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            outcome: None,
            with_token: false,
            ..case("E_AUTH", 401, "")
        },
        Case {
            settings: Settings {
                tier: Tier::Read,
                ..Settings::default()
            },
            ..case("E_FORBIDDEN", 403, "denied")
        },
        Case {
            path: exec_path("locked", "shell", ""),
            ..case("E_EXEC_DISABLED", 403, "denied")
        },
        Case {
            headers: vec![("Origin", "https://evil.example")],
            ..case("E_ORIGIN", 403, "denied")
        },
        Case {
            path: exec_path("modern", "shell", "?tty=perhaps"),
            ..case("E_INVALID_REQUEST", 400, "failure")
        },
        Case {
            path: exec_path("nowhere", "shell", ""),
            ..case("E_NOT_FOUND", 404, "failure")
        },
        Case {
            settings: capped(1, 50),
            before: true,
            ..case("E_CAP_USER", 429, "denied")
        },
        Case {
            settings: capped(5, 1),
            before: true,
            ..case("E_CAP_CLUSTER", 429, "denied")
        },
        Case {
            settings: Settings {
                opens_per_minute: 1,
                ..Settings::default()
            },
            before: true,
            has_retry_after: true,
            ..case("E_RATE_LIMIT", 429, "denied")
        },
        Case {
            settings: faulty(Fault::Unreachable),
            ..case("E_CLUSTER_UNREACHABLE", 502, "failure")
        },
        Case {
            settings: faulty(Fault::CannotImpersonate),
            ..case("E_INTERNAL", 500, "failure")
        },
    ]
}

#[tokio::test]
async fn every_error_code_that_http_can_carry_is_answered_as_documented() {
    for case in cases() {
        let code = case.code;
        let world = World::start(case.settings).await;
        let open = if case.before {
            Some(world.shell("modern", "shell", "").await)
        } else {
            None
        };
        let answer = if case.with_token {
            world.refused(&case.path, &case.headers).await
        } else {
            let refused = world.anonymous_handshake(&case.path, &case.headers).await;
            refused.err().expect("a refusal")
        };
        assert_eq!(answer.refusal(), (case.status, code.to_owned()));
        assert_eq!(
            answer.headers.contains_key("retry-after"),
            case.has_retry_after,
            "{code}"
        );
        assert_eq!(answer.headers["content-type"], "application/json", "{code}");
        if code == "E_EXEC_DISABLED" {
            assert_eq!(answer.body, r#"{"error":"E_EXEC_DISABLED"}"#);
        } else {
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.len() > 15, "{code}: {message}");
        }
        if code.starts_with("E_CAP") {
            let body = answer.json();
            assert_eq!(body["limit"], 1);
            let sessions = body["activeSessions"].as_array().unwrap();
            assert_eq!(sessions.len(), 1);
            for key in [
                "id",
                "cluster",
                "namespace",
                "pod",
                "container",
                "startedAt",
            ] {
                assert!(sessions[0][key].is_string(), "{code}: {key}");
            }
            assert_eq!(body.get("otherSessions").is_some(), code == "E_CAP_CLUSTER");
        }
        drop(open);
        let rows = world.final_audit();
        let denied: Vec<_> = rows
            .iter()
            .filter(|row| row["verb"] == "pod.exec.session_denied")
            .map(|row| {
                (
                    row["code"].as_str().unwrap(),
                    row["outcome"].as_str().unwrap(),
                )
            })
            .collect();
        let expected: Vec<_> = case
            .outcome
            .map(|outcome| (code, outcome))
            .into_iter()
            .collect();
        assert_eq!(denied, expected);
    }
}

#[tokio::test]
async fn a_handshake_without_its_upgrade_header_is_a_protocol_error_with_a_row() {
    let world = World::start(Settings::default()).await;
    let headers = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = world
        .request("GET", &exec_path("modern", "shell", ""), &headers, "")
        .await;
    assert_eq!(answer.refusal(), (400, "E_PROTOCOL".to_owned()));
    let rows = world.final_audit();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["code"], &rows[0]["outcome"]),
        (&Value::from("E_PROTOCOL"), &Value::from("failure"))
    );
}

#[tokio::test]
async fn a_gateway_that_leaves_answers_drain_with_retry_after_and_a_row() {
    let mut world = World::start(Settings::default()).await;
    let mut shell = world.shell("modern", "shell", "").await;
    let (address, authorization) = (world.address, format!("Bearer {}", world.token));
    let (hurry, hurried) = tokio::sync::oneshot::channel::<()>();
    let asking = async {
        shell.message("drain").await;
        let headers = [("Authorization", authorization.as_str())];
        let path = exec_path("modern", "shell", "");
        let answer = gateway_support::open(address, &path, &headers)
            .await
            .err()
            .unwrap();
        assert_eq!(answer.refusal(), (503, "E_DRAIN".to_owned()));
        assert_eq!(answer.headers["retry-after"], "10");
        hurry.send(()).unwrap();
        let closed = shell.closed().await;
        assert_eq!(shell.message("error").await["code"], "E_DRAIN");
        assert_eq!(
            (&closed["reason"], &closed["detail"]),
            (&Value::from("forced_close"), &Value::from("drain"))
        );
        assert_eq!(shell.close_code, Some(1001));
    };
    let (left, ()) = tokio::join!(world.drain(async { hurried.await.unwrap() }), asking);
    assert_eq!((left.sessions, left.records), (0, 0));
    let rows = world.audit();
    let codes: Vec<_> = rows.iter().filter_map(|row| row["code"].as_str()).collect();
    assert_eq!(codes, ["E_DRAIN"]);
}

/// Reads a session to its end: its errors' codes, its detail, its close code.
async fn end(mut shell: Shell) -> (Vec<String>, String, u16) {
    let closed = shell.closed().await;
    let errors = shell
        .messages
        .iter()
        .filter(|message| message["type"] == "error");
    let codes = errors.map(|error| error["code"].as_str().unwrap().to_owned());
    (
        codes.collect(),
        closed["detail"].as_str().unwrap().to_owned(),
        shell.close_code.unwrap(),
    )
}

#[tokio::test]
async fn every_error_code_of_frames_ends_its_session_as_documented() {
    let quick = Settings {
        exec: ExecSettings {
            idle: Duration::from_secs(2),
            idle_warn: Duration::from_secs(1),
            heartbeat: Duration::from_secs(1),
            ..ExecSettings::default()
        },
        ..Settings::default()
    };
    let world = World::start(quick).await;
    let told = |codes: &[&str], detail: &str, close| {
        let codes = codes
            .iter()
            .map(|&code| code.to_owned())
            .collect::<Vec<_>>();
        (codes, detail.to_owned(), close)
    };
    let silent = world.shell("modern", "shell", "").await;
    assert_eq!(end(silent).await, told(&["E_IDLE"], "idle", 1000));
    let distroless = world
        .handshake(&exec_path("modern", "distroless", ""), &[])
        .await
        .unwrap();
    assert_eq!(
        end(distroless).await,
        told(&["E_NO_SHELL"], "no_shell", 1011)
    );
    let mut liar = world.shell("modern", "shell", "?flow=ack").await;
    liar.control(&serde_json::json!({"type": "ack", "bytes": 1_000_000}))
        .await;
    assert_eq!(
        end(liar).await,
        told(&["E_PROTOCOL"], "protocol_error", 1002)
    );
    let rows = world.final_audit();
    let details: Vec<_> = rows
        .iter()
        .filter(|row| row["verb"] == "pod.exec.session_end")
        .map(|row| row["close_detail"].as_str().unwrap())
        .collect();
    assert_eq!(details, ["idle", "protocol_error"]);
    let denied = rows
        .iter()
        .find(|row| row["verb"] == "pod.exec.session_denied");
    assert_eq!(denied.unwrap()["code"], "E_NO_SHELL");
}

#[tokio::test]
async fn a_browser_that_answers_no_ping_loses_its_shell_with_e_heartbeat() {
    let world = World::start(Settings {
        exec: ExecSettings {
            heartbeat: Duration::from_secs(1),
            ..ExecSettings::default()
        },
        ..Settings::default()
    })
    .await;
    // Without being read, the socket of this test answers nothing.
    let deaf = world.shell("modern", "shell", "").await;
    let row = world.audit_row("pod.exec.session_end").await;
    assert_eq!(
        (&row["close_reason"], &row["close_detail"]),
        (&Value::from("forced_close"), &Value::from("heartbeat_lost"))
    );
    let (codes, detail, _) = end(deaf).await;
    assert_eq!(
        (codes, detail.as_str()),
        (vec!["E_HEARTBEAT".to_owned()], "heartbeat_lost")
    );
}

/// Every route that is not a GET, with a body it takes.
const CHANGES: [(&str, &str, &str); 3] = [
    (
        "POST",
        "/api/clusters/modern/can-i",
        r#"{"verb":"get","resource":"pods"}"#,
    ),
    (
        "DELETE",
        "/api/sessions/00000000-0000-0000-0000-000000000000",
        "",
    ),
    ("POST", "/api/auth/logout", ""),
];

#[tokio::test]
async fn every_route_that_changes_something_refuses_a_foreign_page() {
    let world = World::start(Settings::default()).await;
    for (method, path, body) in CHANGES {
        for origin in [
            "https://evil.example",
            "null",
            "http://127.0.0.1",
            "https://localhost",
        ] {
            let headers = [("Origin", origin), ("Content-Type", "application/json")];
            let answer = world.request(method, path, &headers, body).await;
            assert_eq!(
                answer.refusal(),
                (403, "E_ORIGIN".to_owned()),
                "{method} {path} {origin}"
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_host_is_answered_by_no_route_but_health_and_metrics() {
    let world = World::start(Settings::default()).await;
    let routes = [
        ("GET", "/"),
        ("GET", "/api/auth/whoami"),
        ("GET", "/api/clusters"),
        ("GET", "/api/clusters/modern"),
        ("GET", "/api/clusters/modern/namespaces"),
        ("GET", "/api/clusters/modern/pods"),
        ("GET", "/api/clusters/modern/pods/default/shell"),
        ("GET", "/api/clusters/modern/pods/default/shell/exec"),
        ("POST", "/api/clusters/modern/can-i"),
        ("GET", "/api/sessions"),
        (
            "DELETE",
            "/api/sessions/00000000-0000-0000-0000-000000000000",
        ),
        ("GET", "/api/nothing"),
    ];
    for host in [
        "rebound.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ] {
        for (method, path) in routes {
            let answer = world.request(method, path, &[("Host", host)], "").await;
            assert_eq!(answer.status, 421, "{method} {path} {host}");
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = world.anonymous("GET", path, &[("Host", host)], "").await;
            assert_eq!(answer.status, 200, "{path}");
        }
        let refused = world
            .handshake(&exec_path("modern", "shell", ""), &[])
            .await
            .map(drop);
        assert!(refused.is_ok(), "the right host still works");
    }
}

#[tokio::test]
async fn dots_and_slashes_in_any_part_of_a_path_lead_nowhere() {
    let world = World::start(Settings::default()).await;
    let tricks = [
        "..",
        ".",
        "%2e%2e",
        "%2F",
        "..%2f..",
        "%5c",
        "a%00b",
        "shell%2Fexec",
        "%252e%252e",
        ";",
        "shell;x=1",
    ];
    for trick in tricks {
        for path in [
            format!("/api/clusters/{trick}"),
            format!("/api/clusters/{trick}/namespaces"),
            format!("/api/clusters/{trick}/pods"),
            format!("/api/clusters/{trick}/pods/default/shell"),
            format!("/api/clusters/modern/pods/{trick}/shell"),
            format!("/api/clusters/modern/pods/default/{trick}"),
            format!("/api/clusters/{trick}/pods/default/shell/exec"),
            format!("/api/clusters/modern/pods/{trick}/shell/exec"),
            format!("/api/clusters/modern/pods/default/{trick}/exec"),
            format!("/api/clusters/modern/pods/default/shell/exec?container={trick}"),
            format!("/api/clusters/modern/pods?namespace={trick}"),
        ] {
            let answer = world.get(&path).await;
            assert!(
                matches!(answer.status, 400 | 404),
                "{path}: {} {}",
                answer.status,
                answer.body
            );
            assert!(answer.error().starts_with("E_"), "{path}");
        }
        let answer = world
            .request("DELETE", &format!("/api/sessions/{trick}"), &[], "")
            .await;
        assert_eq!(answer.refusal(), (404, "E_NOT_FOUND".to_owned()), "{trick}");
    }
}
