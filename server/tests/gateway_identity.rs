//! As whom the apiserver is asked, to the byte; and which names and pages a gateway with logins, or in
//! dev mode, answers to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;
mod login_support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gateway_support::{LoginMode, Settings, World, exec_path};
use login_support::{Browser, Key, Provider};
use periscope_server::gateway::identity::Authorization;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

type Heads = Arc<Mutex<Vec<String>>>;

/// An apiserver that says yes to every question, refuses every shell, and keeps every head it got.
async fn apiserver() -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Heads::default();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let has_body = head.starts_with("POST");
                    if has_body && serde_json::from_str::<Value>(body).is_err() {
                        continue;
                    }
                    kept.lock().unwrap().push(head.to_owned());
                    let (status, answer) = if head.contains("/exec?") {
                        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
                        ("404 Not Found", status)
                    } else if head.contains("selfsubjectaccessreviews") {
                        ("201 Created", json!({"status": {"allowed": true}}))
                    } else {
                        ("200 OK", json!({"items": []}))
                    };
                    let body = answer.to_string();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    drop(stream.write_all(answer.as_bytes()).await);
                    return;
                }
            });
        }
    });
    (address, heads)
}

/// The impersonation headers of a head, sorted; names in lower case.
fn impersonation(head: &str) -> Vec<(String, String)> {
    let fields = head.split("\r\n").skip(1);
    let mut found: Vec<_> = fields
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .filter(|(name, _)| name.starts_with("impersonate"))
        .collect();
    found.sort();
    found
}

async fn raw_world(provider: &Provider, at: SocketAddr) -> World {
    World::start(Settings {
        login: LoginMode::Oidc {
            issuer: provider.issuer.clone(),
            change: |_| {},
        },
        authorization: Some(Authorization::Raw {
            group_prefix: "idp:".to_owned(),
        }),
        modern_at: Some(at),
        ..Settings::default()
    })
    .await
}

#[tokio::test]
async fn three_hundred_groups_arrive_exactly_and_what_could_forge_a_header_does_not() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let (at, heads) = apiserver().await;
    let world = raw_world(&provider, at).await;
    let good: Vec<_> = (0..300).map(|index| format!("team {index:03} ü")).collect();
    let mut groups = vec![
        json!(""),
        json!("a\r\nImpersonate-Group: system:masters"),
        json!("tab\there"),
        json!("trailing "),
        json!(" leading"),
        json!("x".repeat(253)),
        json!(7),
    ];
    groups.extend(good.iter().rev().map(|group| json!(group)));
    groups.push(json!(good[0]));
    let mut claims = provider.claims("auth0|zoë", "");
    claims["groups"] = json!(groups);
    let token = format!("Bearer {}", key.sign(&claims));
    let forged = [
        ("Authorization", token.as_str()),
        ("Impersonate-User", "system:admin"),
        ("Impersonate-Group", "system:masters"),
        ("Impersonate-Uid", "0"),
        ("Impersonate-Extra-Scopes", "all"),
        ("X-Remote-User", "root"),
    ];
    let mut expected = vec![("impersonate-user".to_owned(), "auth0|zoë".to_owned())];
    expected.extend(
        good.into_iter()
            .map(|group| ("impersonate-group".to_owned(), format!("idp:{group}"))),
    );
    expected.sort();

    let path = "/api/clusters/modern/namespaces";
    assert_eq!(world.anonymous("GET", path, &forged, "").await.status, 200);
    let path = exec_path("modern", "shell", "?container=main");
    let mut shell = world.anonymous_handshake(&path, &forged).await.unwrap();
    let closed = shell.closed().await;
    assert_eq!(closed["detail"], "not_found");
    let denied = world.audit_row("pod.exec.session_denied").await;

    let heads = heads.lock().unwrap().clone();
    // The list, the review and the dial (with SPDY behind it, if there was one).
    assert!(heads.len() >= 3, "{}", heads.len());
    for head in &heads {
        assert!(impersonation(head) == expected, "{head}");
        assert!(
            !head.to_ascii_lowercase().contains("x-remote-user"),
            "{head}"
        );
    }
    let session = denied["session_id"].as_str().unwrap();
    let dials: Vec<_> = heads
        .iter()
        .filter(|head| head.contains("/exec?"))
        .collect();
    assert!(!dials.is_empty());
    for dial in dials {
        let ids: Vec<_> = dial
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("Audit-ID: "))
            .collect();
        assert_eq!(ids, [session]);
    }
    assert_eq!(denied["k8s_identity"]["user"], "auth0|zoë");
    assert_eq!(
        denied["k8s_identity"]["groups"].as_array().unwrap().len(),
        300
    );
}

#[tokio::test]
async fn a_prefix_cannot_make_a_system_group_and_shared_mode_impersonates_nobody() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    for (authorization, expected) in [
        (
            Authorization::Raw {
                group_prefix: "system".to_owned(),
            },
            vec![
                ("impersonate-group".to_owned(), "systemdevs".to_owned()),
                ("impersonate-user".to_owned(), "ann".to_owned()),
            ],
        ),
        (Authorization::Shared, Vec::new()),
    ] {
        let (at, heads) = apiserver().await;
        let world = World::start(Settings {
            login: LoginMode::Oidc {
                issuer: provider.issuer.clone(),
                change: |_| {},
            },
            authorization: Some(authorization),
            modern_at: Some(at),
            ..Settings::default()
        })
        .await;
        let mut claims = provider.claims("ann", "");
        claims["groups"] = json!([":masters", "devs"]);
        let token = format!("Bearer {}", key.sign(&claims));
        let headers = [("Authorization", token.as_str())];
        let path = "/api/clusters/modern/namespaces";
        assert_eq!(world.anonymous("GET", path, &headers, "").await.status, 200);
        let heads = heads.lock().unwrap().clone();
        assert_eq!(heads.len(), 1);
        assert_eq!(impersonation(&heads[0]), expected);
    }
}

/// Every route that changes something.
const CHANGING: [(&str, &str); 3] = [
    ("POST", "/api/clusters/modern/can-i"),
    ("POST", "/api/auth/logout"),
    (
        "DELETE",
        "/api/sessions/0190c8f0-0000-7000-8000-000000000000",
    ),
];

#[tokio::test]
async fn a_gateway_with_logins_answers_to_its_own_name_only() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let (at, _) = apiserver().await;
    let world = raw_world(&provider, at).await;
    let own = world.address.to_string();
    let mut browser = Browser::default();

    for host in ["evil.example", "localhost", "127.0.0.1"] {
        for path in [
            "/",
            "/api/clusters",
            "/api/auth/login",
            "/api/auth/callback",
        ] {
            let forwarded = [("Host", host), ("X-Forwarded-Host", own.as_str())];
            let answer = world.anonymous("GET", path, &forwarded, "").await;
            assert_eq!(answer.status, 421, "{host} {path}");
            assert!(answer.cookies.is_empty());
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = world.anonymous("GET", path, &[("Host", host)], "").await;
            assert_eq!(answer.status, 200, "{host} {path}");
        }
    }
    let lies = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "host=evil.example"),
    ];
    let begun = browser
        .request(&world, "GET", "/api/auth/login", &lies, "")
        .await;
    assert!(!begun.headers["location"].contains("evil"), "{begun:?}");
}

#[tokio::test]
async fn a_gateway_with_logins_does_what_its_own_page_asks_and_no_other() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let (at, _) = apiserver().await;
    let world = raw_world(&provider, at).await;
    let own = world.address.to_string();
    let mut browser = Browser::default();
    provider.log_in(&world, &mut browser, &key, "ann").await;

    let origin = format!("http://{own}");
    let exec = exec_path("modern", "shell", "?container=main");
    let cookie = browser.header();
    let token = format!("Bearer {}", key.sign(&provider.claims("ann", "")));
    for foreign in [
        "http://evil.example",
        "null",
        "https://127.0.0.1",
        "http://127.0.0.1:1",
    ] {
        let headers = [("Origin", foreign), ("X-Forwarded-Host", "evil.example")];
        for (method, path) in CHANGING {
            let answer = browser.request(&world, method, path, &headers, "").await;
            assert_eq!(
                answer.refusal(),
                (403, "E_ORIGIN".to_owned()),
                "{method} {path}"
            );
            let with_token = [("Authorization", token.as_str()), ("Origin", foreign)];
            let answer = world.anonymous(method, path, &with_token, "").await;
            assert_eq!(
                answer.refusal(),
                (403, "E_ORIGIN".to_owned()),
                "{method} {path}"
            );
        }
        let dry = browser.request(&world, "GET", &exec, &headers, "").await;
        assert_eq!(dry.refusal(), (403, "E_ORIGIN".to_owned()));
        for credential in [
            ("Cookie", cookie.as_str()),
            ("Authorization", token.as_str()),
        ] {
            let headers = [credential, ("Origin", foreign)];
            let refused = world
                .anonymous_handshake(&exec, &headers)
                .await
                .err()
                .unwrap();
            assert_eq!(refused.refusal(), (403, "E_ORIGIN".to_owned()));
        }
    }
    // Without an Origin: a page might hide behind a cookie, but not behind a token.
    for (method, path) in CHANGING {
        let answer = browser.request(&world, method, path, &[], "").await;
        assert_eq!(
            answer.refusal(),
            (403, "E_ORIGIN".to_owned()),
            "{method} {path}"
        );
    }
    let refused = world
        .anonymous_handshake(&exec, &[("Cookie", &cookie)])
        .await;
    assert_eq!(
        refused.err().unwrap().refusal(),
        (403, "E_ORIGIN".to_owned())
    );
    assert_eq!(
        browser.get(&world, &exec).await.status,
        200,
        "the dry run needs none"
    );
    let headers = [("Authorization", token.as_str())];
    assert!(world.anonymous_handshake(&exec, &headers).await.is_ok());
    let headers = [("Cookie", cookie.as_str()), ("Origin", &origin)];
    assert!(world.anonymous_handshake(&exec, &headers).await.is_ok());

    // A form of the own page's origin is refused for its type all the same.
    let form = [
        ("Origin", origin.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let answer = browser
        .request(&world, "POST", "/api/auth/logout", &form, "a=b")
        .await;
    assert_eq!(answer.refusal(), (415, "E_INVALID_REQUEST".to_owned()));
    assert_eq!(
        browser.get(&world, "/api/auth/whoami").await.status,
        200,
        "still logged in"
    );
}

#[tokio::test]
async fn dev_mode_needs_no_login_and_lets_no_foreign_page_in() {
    let (at, heads) = apiserver().await;
    let world = World::start(Settings {
        login: LoginMode::Dev,
        sub: "dev@localhost",
        authorization: Some(Authorization::Shared),
        modern_at: Some(at),
        ..Settings::default()
    })
    .await;
    let who = world
        .anonymous("GET", "/api/auth/whoami", &[], "")
        .await
        .json();
    assert_eq!(
        (
            &who["sub"],
            &who["mode"],
            &who["auditScope"],
            &who["expiresAt"]
        ),
        (
            &json!("dev@localhost"),
            &json!("shared"),
            &json!("all"),
            &Value::Null
        )
    );
    let exec = exec_path("modern", "shell", "?container=main");
    // A name that somebody has pointed at this machine.
    for path in ["/", "/api/auth/whoami", exec.as_str()] {
        let answer = world
            .anonymous("GET", path, &[("Host", "rebound.example")], "")
            .await;
        assert_eq!(answer.status, 421, "{path}");
    }
    let foreign = [("Origin", "http://evil.example")];
    let refused = world
        .anonymous_handshake(&exec, &foreign)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.refusal(), (403, "E_ORIGIN".to_owned()));
    assert_eq!(
        world.anonymous("GET", &exec, &foreign, "").await.status,
        403
    );
    for (method, path) in CHANGING {
        if path.ends_with("logout") {
            continue;
        }
        let answer = world.anonymous(method, path, &foreign, "").await;
        assert_eq!(
            answer.refusal(),
            (403, "E_ORIGIN".to_owned()),
            "{method} {path}"
        );
    }
    assert!(
        heads.lock().unwrap().is_empty(),
        "nothing of it got to the apiserver"
    );
    assert!(world.anonymous_handshake(&exec, &[]).await.is_ok());
}
