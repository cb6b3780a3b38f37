//! Who may open a shell: every refusal before the 101, over real WebSocket handshakes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gateway_support::{Answer, Settings, World, exec_path};
use periscope_server::gateway::identity::Tier;
use periscope_server::gateway::registry::ExecSettings;
use periscope_server::sandbox::Fault;
use serde_json::json;

fn refusal(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

/// The dry run says the same as the handshake, which a browser cannot read.
async fn both(world: &World, path: &str) -> Answer {
    let dry = world.get(path).await;
    let real = world.refused(path, &[]).await;
    assert_eq!((dry.status, &dry.body), (real.status, &real.body), "{path}");
    real
}

#[tokio::test]
async fn refusals_come_in_the_documented_order_with_status_code_and_audit_row() {
    let world = World::start(Settings {
        tier: Tier::Read,
        ..Settings::default()
    })
    .await;
    let anonymous = world
        .anonymous_handshake(&exec_path("modern", "shell", ""), &[])
        .await
        .err()
        .unwrap();
    assert_eq!(anonymous.refusal(), refusal(401, "E_AUTH"));
    assert_eq!(
        both(&world, &exec_path("nope", "shell", ""))
            .await
            .refusal(),
        refusal(404, "E_NOT_FOUND")
    );
    let disabled = both(
        &world,
        "/api/clusters/locked/pods/NOT_A_NAME/x/exec?tty=maybe",
    )
    .await;
    assert_eq!(
        (disabled.status, disabled.body.as_str()),
        (403, r#"{"error":"E_EXEC_DISABLED"}"#)
    );
    let foreign = [("Origin", "http://evil.example")];
    let names_first = world
        .refused("/api/clusters/modern/pods/NOT_A_NAME/x/exec", &foreign)
        .await;
    assert_eq!(names_first.refusal(), refusal(400, "E_INVALID_REQUEST"));
    for query in [
        "?tty=maybe",
        "?tty=1&tty=1",
        "?command=%25%25",
        "?container=",
        "?cols=-1",
        "?flow=maybe",
        "?command=W10",
    ] {
        assert_eq!(
            both(&world, &exec_path("modern", "shell", query))
                .await
                .refusal(),
            refusal(400, "E_INVALID_REQUEST"),
            "{query}"
        );
    }
    let origin = world
        .refused(&exec_path("modern", "shell", ""), &foreign)
        .await;
    assert_eq!(origin.refusal(), refusal(403, "E_ORIGIN"));
    assert_eq!(
        both(&world, &exec_path("modern", "shell", ""))
            .await
            .refusal(),
        refusal(403, "E_FORBIDDEN")
    );
    let audit = world.final_audit();
    let rows: Vec<_> = audit
        .iter()
        .map(|row| (row["code"].clone(), row["outcome"].clone()))
        .collect();
    let expected = [
        ("E_NOT_FOUND", "failure"),
        ("E_EXEC_DISABLED", "denied"),
        ("E_INVALID_REQUEST", "failure"),
        ("E_ORIGIN", "denied"),
        ("E_FORBIDDEN", "denied"),
    ];
    // One row a minute for each code and cluster, none for dry runs and none without a login.
    assert_eq!(
        rows,
        expected.map(|(code, outcome)| (json!(code), json!(outcome)))
    );
    assert!(
        audit
            .iter()
            .all(|row| row["verb"] == "pod.exec.session_denied" && row["actor"]["sub"] == "ann")
    );
    assert!(world.sessions().await.is_empty());
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_refused_before_the_handshake() {
    let world = World::start(Settings::default()).await;
    let answer = both(&world, &exec_path("modern", "nope", "")).await;
    assert_eq!(answer.refusal(), refusal(404, "E_NOT_FOUND"));
    assert!(
        world.sessions().await.is_empty(),
        "the refusal gave the slot back"
    );
}

#[tokio::test]
async fn an_apiserver_that_is_away_or_refuses_the_gateway_is_told_apart() {
    for (fault, expected) in [
        (Fault::Unreachable, refusal(502, "E_CLUSTER_UNREACHABLE")),
        (Fault::TlsBadCert, refusal(502, "E_CLUSTER_UNREACHABLE")),
        (Fault::CannotImpersonate, refusal(500, "E_INTERNAL")),
        (Fault::ForbiddenCreate, refusal(403, "E_FORBIDDEN")),
    ] {
        let world = World::start(Settings {
            faults: vec![fault],
            ..Settings::default()
        })
        .await;
        assert_eq!(
            both(&world, &exec_path("modern", "shell", ""))
                .await
                .refusal(),
            expected,
            "{fault}"
        );
        assert!(world.sessions().await.is_empty());
    }
}

#[tokio::test]
async fn an_apiserver_that_accepts_and_says_nothing_costs_five_seconds_and_no_slot() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let modern_at = Some(silent.local_addr().unwrap());
    let world = World::start(Settings {
        modern_at,
        ..Settings::default()
    })
    .await;
    let before = std::time::Instant::now();
    let answer = world.refused(&exec_path("modern", "shell", ""), &[]).await;
    assert_eq!(answer.refusal(), refusal(502, "E_CLUSTER_UNREACHABLE"));
    assert!(before.elapsed() >= Duration::from_secs(5));
    assert!(world.sessions().await.is_empty());
}

#[tokio::test]
async fn a_browser_that_leaves_during_admission_leaves_no_slot_behind() {
    use tokio::io::AsyncWriteExt as _;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let modern_at = Some(silent.local_addr().unwrap());
    let world = World::start(Settings {
        modern_at,
        ..Settings::default()
    })
    .await;
    let mut browser = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let path = exec_path("modern", "shell", "");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        world.address, world.token
    );
    browser.write_all(head.as_bytes()).await.unwrap();
    world.wait_for_sessions(1).await;
    assert_eq!(world.sessions().await[0]["state"], "admitting");
    drop(browser);
    world.wait_for_sessions(0).await;
}

#[tokio::test]
async fn handshakes_that_no_browser_sends_are_refused() {
    let world = World::start(Settings::default()).await;
    let authorization = format!("Bearer {}", world.token);
    let path = exec_path("modern", "shell", "");
    let good = [
        ("Authorization", authorization.as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    for (name, value) in [
        ("Connection", "keep-alive"),
        ("Sec-WebSocket-Version", "8"),
        ("Sec-WebSocket-Key", "short"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAAA"),
        ("Sec-WebSocket-Key", ""),
    ] {
        let bad = good.map(|header| {
            if header.0 == name {
                (name, value)
            } else {
                header
            }
        });
        // The helper's own `Connection: close` would be a second one.
        let lines = bad.map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = lines.concat();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{head}\r\n",
            world.address
        );
        let answer = world.raw_upgrade(request.as_bytes()).await;
        assert_eq!(
            answer.refusal(),
            refusal(400, "E_PROTOCOL"),
            "{name}: {value}"
        );
        assert_eq!(
            answer.headers.contains_key("sec-websocket-version"),
            name == "Sec-WebSocket-Version"
        );
    }
}

#[tokio::test]
async fn only_the_gateways_own_page_opens_a_shell_with_a_cookie() {
    let world = World::start(Settings::default()).await;
    let entered = world
        .anonymous("GET", &format!("/?token={}", world.token), &[], "")
        .await;
    let cookie = entered.headers["set-cookie"]
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let path = exec_path("modern", "shell", "");
    let own = format!("http://{}", world.address);
    let refused = world
        .anonymous_handshake(&path, &[("Cookie", &cookie)])
        .await
        .err()
        .unwrap();
    assert_eq!(refused.refusal(), refusal(403, "E_ORIGIN"));
    for origin in ["http://evil.example", "null", "https://127.0.0.1"] {
        let headers = [("Cookie", cookie.as_str()), ("Origin", origin)];
        let refused = world
            .anonymous_handshake(&path, &headers)
            .await
            .err()
            .unwrap();
        assert_eq!(refused.refusal(), refusal(403, "E_ORIGIN"), "{origin}");
        let dry = world.anonymous("GET", &path, &headers, "").await;
        assert_eq!(dry.refusal(), refusal(403, "E_ORIGIN"), "{origin}");
    }
    // The dry run needs no Origin, but a login.
    let dry = world
        .anonymous("GET", &path, &[("Cookie", &cookie)], "")
        .await;
    assert_eq!((dry.status, dry.body.as_str()), (200, r#"{"ok":true}"#));
    let mut shell = world
        .anonymous_handshake(&path, &[("Cookie", &cookie), ("Origin", &own)])
        .await
        .unwrap();
    shell.message("hello").await;
}

#[tokio::test]
async fn the_users_cap_lists_what_is_open_and_frees_with_a_delete() {
    let exec = ExecSettings {
        sessions_per_user_max: 2,
        ..ExecSettings::default()
    };
    let world = World::start(Settings {
        exec,
        ..Settings::default()
    })
    .await;
    let mut first = world.shell("modern", "shell", "?container=app").await;
    let _second = world.shell("legacy", "sidecar", "").await;
    let refused = both(&world, &exec_path("modern", "shell", "")).await;
    assert_eq!(refused.refusal(), refusal(429, "E_CAP_USER"));
    assert_eq!(refused.json()["limit"], 2);
    let active = refused.json()["activeSessions"].as_array().unwrap().clone();
    let pods: Vec<_> = active
        .iter()
        .map(|s| (&s["cluster"], &s["pod"], &s["container"]))
        .collect();
    assert_eq!(
        pods,
        [
            (&json!("modern"), &json!("shell"), &json!("app")),
            (&json!("legacy"), &json!("sidecar"), &json!("app"))
        ]
    );
    let keys: Vec<_> = active[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "cluster",
            "container",
            "id",
            "namespace",
            "pod",
            "startedAt"
        ]
    );

    let id = active[0]["id"].as_str().unwrap();
    let path = format!("/api/sessions/{id}");
    let deleting = world.request("DELETE", &path, &[], "");
    let (deleted, closed) = tokio::join!(deleting, first.closed());
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    assert_eq!(closed["detail"], "user_close");
    assert_eq!(
        world.sessions().await.len(),
        1,
        "the slot is free once the answer is there"
    );
    let again = world
        .request("DELETE", &format!("/api/sessions/{id}"), &[], "")
        .await;
    assert_eq!(again.refusal(), refusal(404, "E_NOT_FOUND"));
    world.shell("modern", "shell", "").await;
    let end = world.audit_row("pod.exec.session_end").await;
    assert_eq!(
        (&end["close_reason"], &end["close_detail"], &end["ended_by"]),
        (&json!("client_close"), &json!("user_close"), &json!("ann"))
    );
}

#[tokio::test]
async fn the_clusters_cap_counts_only_its_own_sessions() {
    let exec = ExecSettings {
        sessions_total_max: 1,
        ..ExecSettings::default()
    };
    let world = World::start(Settings {
        exec,
        ..Settings::default()
    })
    .await;
    let _first = world.shell("modern", "shell", "").await;
    let refused = both(&world, &exec_path("modern", "shell", "")).await;
    assert_eq!(refused.refusal(), refusal(429, "E_CAP_CLUSTER"));
    let body = refused.json();
    assert_eq!(
        (&body["limit"], &body["otherSessions"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(body["activeSessions"].as_array().unwrap().len(), 1);
    world.shell("legacy", "shell", "").await;
}

#[tokio::test]
async fn a_dry_run_holds_no_slot_and_spends_no_opening() {
    let exec = ExecSettings {
        sessions_per_user_max: 1,
        ..ExecSettings::default()
    };
    let world = World::start(Settings {
        exec,
        opens_per_minute: 1,
        ..Settings::default()
    })
    .await;
    for _ in 0..5 {
        assert_eq!(
            world.get(&exec_path("modern", "shell", "")).await.body,
            r#"{"ok":true}"#
        );
        assert!(world.sessions().await.is_empty());
    }
    drop(world.shell("modern", "shell", "").await);
    world.wait_for_sessions(0).await;
    let refused = both(&world, &exec_path("modern", "shell", "")).await;
    assert_eq!(refused.refusal(), refusal(429, "E_RATE_LIMIT"));
    let seconds: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let rows = world.final_audit();
    let denied: Vec<_> = rows
        .iter()
        .filter(|row| row["verb"] == "pod.exec.session_denied")
        .collect();
    assert_eq!(denied.len(), 1, "dry runs leave no row: {denied:?}");
}

#[tokio::test]
async fn a_refusal_by_a_cap_spends_no_opening() {
    let exec = ExecSettings {
        sessions_per_user_max: 1,
        ..ExecSettings::default()
    };
    let world = World::start(Settings {
        exec,
        opens_per_minute: 2,
        ..Settings::default()
    })
    .await;
    let first = world.shell("modern", "shell", "").await;
    for _ in 0..5 {
        assert_eq!(
            world
                .refused(&exec_path("modern", "shell", ""), &[])
                .await
                .error(),
            "E_CAP_USER"
        );
    }
    drop(first);
    world.wait_for_sessions(0).await;
    drop(world.shell("modern", "shell", "").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_openings_at_once_never_pass_the_cap() {
    let exec = ExecSettings {
        sessions_per_user_max: 7,
        ..ExecSettings::default()
    };
    let world = Arc::new(
        World::start(Settings {
            exec,
            ..Settings::default()
        })
        .await,
    );
    let mut openings = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let world = Arc::clone(&world);
        openings.spawn(async move {
            world
                .handshake(&exec_path("modern", "shell", ""), &[])
                .await
        });
    }
    let mut open = Vec::new();
    while let Some(opening) = openings.join_next().await {
        match opening.unwrap() {
            Ok(shell) => open.push(shell),
            Err(refused) => assert_eq!(refused.refusal(), refusal(429, "E_CAP_USER")),
        }
        assert!(world.sessions().await.len() <= 7);
    }
    // Nobody left, so exactly as many got in as may.
    assert_eq!(open.len(), 7);
    let ids: HashSet<_> = world
        .sessions()
        .await
        .iter()
        .map(|s| s["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 7);
    drop(open);
    world.wait_for_sessions(0).await;
}
