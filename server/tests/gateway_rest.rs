//! The gateway's HTTP surface without shells, over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::time::Duration;

use gateway_support::{Settings, World, exec_path};
use periscope_server::demo::{Demo, DemoOptions};
use periscope_server::gateway::identity::Tier;
use periscope_server::gateway::shutdown::Left;
use periscope_server::sandbox::Fault;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn the_ui_finds_its_way_from_clusters_to_a_pod() {
    let world = World::start(Settings::default()).await;
    let whoami = world.get("/api/auth/whoami").await.json();
    let expected = json!({
        "sub": "ann", "email": null, "groups": ["everyone"], "tier": "admin",
        "auditScope": "all", "mode": "tier", "expiresAt": null
    });
    assert_eq!(whoami, expected);
    let clusters = world.get("/api/clusters").await.json();
    let enabled: Vec<_> = clusters["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["name"], &c["execEnabled"]))
        .collect();
    assert_eq!(
        enabled,
        [
            (&json!("modern"), &json!(true)),
            (&json!("legacy"), &json!(true)),
            (&json!("locked"), &json!(false))
        ]
    );
    let cluster = world.get("/api/clusters/modern").await.json();
    assert_eq!(cluster["reachable"], true);
    assert!(
        cluster["serverVersion"]
            .as_str()
            .unwrap()
            .starts_with("v1.36"),
        "{cluster}"
    );
    let namespaces = world.get("/api/clusters/modern/namespaces").await.json();
    assert!(
        namespaces["items"]
            .as_array()
            .unwrap()
            .contains(&json!({"name": "default"})),
        "{namespaces}"
    );
    let pods = world
        .get("/api/clusters/modern/pods?namespace=default")
        .await
        .json();
    let pods = pods["items"].as_array().unwrap();
    assert!(
        pods.iter()
            .all(|pod| pod["namespace"] == "default" && pod.get("defaultContainer").is_none())
    );
    let pending = pods.iter().find(|pod| pod["name"] == "pending").unwrap();
    assert_eq!(pending["phase"], "Pending");
    let all = world.get("/api/clusters/modern/pods").await.json();
    assert!(all["items"].as_array().unwrap().len() > pods.len());
}

#[tokio::test]
async fn a_pods_page_names_the_container_a_shell_opens_in() {
    let world = World::start(Settings::default()).await;
    let page = world
        .get("/api/clusters/modern/pods/default/sidecar")
        .await
        .json();
    // The annotation wins over the first container.
    assert_eq!(page["defaultContainer"], "app");
    assert_eq!(page["containers"][0]["name"], "proxy");
    let kinds: Vec<_> = page["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["container", "container", "init"]);
    let keys: Vec<_> = page["containers"][0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["image", "kind", "name", "ready", "restarts", "state"]
    );
    let keys: Vec<_> = page.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "containers",
            "createdAt",
            "defaultContainer",
            "name",
            "namespace",
            "node",
            "phase",
            "reason"
        ]
    );
    let page = world
        .get("/api/clusters/modern/pods/default/shell")
        .await
        .json();
    assert_eq!(page["defaultContainer"], "app");
}

#[tokio::test]
async fn rights_are_asked_one_by_one_or_in_a_list() {
    let world = World::start(Settings {
        tier: Tier::Read,
        ..Settings::default()
    })
    .await;
    let path = "/api/clusters/modern/can-i";
    let exec = json!({"verb": "create", "resource": "pods/exec", "namespace": "default"});
    let read = json!({"verb": "list", "resource": "pods", "namespace": "default"});
    let one = world
        .request("POST", path, &[JSON], &exec.to_string())
        .await;
    assert_eq!((one.status, &one.json()["allowed"]), (200, &json!(false)));
    assert!(one.json()["reason"].is_string());
    let body = json!({"checks": [read, exec, read]}).to_string();
    let many = world.request("POST", path, &[JSON], &body).await.json();
    let allowed: Vec<_> = many["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["allowed"].as_bool().unwrap())
        .collect();
    assert_eq!(allowed, [true, false, true]);
    let none = world
        .request("POST", path, &[JSON], r#"{"checks":[]}"#)
        .await;
    assert_eq!(none.json(), json!({"results": []}));
    let body = json!({"checks": vec![read; 33]}).to_string();
    let too_many = world.request("POST", path, &[JSON], &body).await;
    assert_eq!(too_many.refusal(), (400, "E_INVALID_REQUEST".to_owned()));
}

#[tokio::test]
async fn bodies_are_small_json_objects_or_refused() {
    let world = World::start(Settings::default()).await;
    let path = "/api/clusters/modern/can-i";
    let body = r#"{"verb":"get","resource":"pods"}"#;
    let text = world
        .request("POST", path, &[("Content-Type", "text/plain")], body)
        .await;
    assert_eq!(text.refusal(), (415, "E_INVALID_REQUEST".to_owned()));
    assert_eq!(world.request("POST", path, &[], body).await.status, 415);
    let charset = world
        .request(
            "POST",
            path,
            &[("Content-Type", "application/json; charset=utf-8")],
            body,
        )
        .await;
    assert_eq!(charset.status, 200);
    for bad in [
        "{",
        "[]",
        "{}",
        r#"{"verb":1,"resource":"pods"}"#,
        "\"canary-7f3a\"",
    ] {
        let answer = world.request("POST", path, &[JSON], bad).await;
        assert_eq!(
            answer.refusal(),
            (400, "E_INVALID_REQUEST".to_owned()),
            "{bad}"
        );
        assert!(
            !answer.body.contains("canary"),
            "what was sent is not repeated"
        );
    }
    let large = format!(r#"{{"verb":"{}","resource":"pods"}}"#, "x".repeat(70_000));
    assert_eq!(
        world.request("POST", path, &[JSON], &large).await.status,
        413
    );
}

#[tokio::test]
async fn nothing_is_shown_without_a_login_but_health_and_the_page() {
    let world = World::start(Settings::default()).await;
    for path in [
        "/api/auth/whoami",
        "/api/clusters",
        "/api/clusters/modern",
        "/api/sessions",
        "/api/clusters/modern/pods",
    ] {
        let answer = world.anonymous("GET", path, &[], "").await;
        assert_eq!(answer.refusal(), (401, "E_AUTH".to_owned()), "{path}");
        assert!(answer.headers.contains_key("www-authenticate"));
        let wrong = world
            .anonymous("GET", path, &[("Authorization", "Bearer 00")], "")
            .await;
        assert_eq!(wrong.refusal(), (401, "E_AUTH".to_owned()), "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        let answer = world
            .anonymous("GET", path, &[("Host", "anything.example")], "")
            .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "ok\n"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn unknown_routes_are_json_and_wrong_methods_say_which_is_right() {
    let world = World::start(Settings::default()).await;
    for path in [
        "/api",
        "/api/",
        "/api/nope",
        "/api/audit",
        "/api/clusters/modern/pods/default/shell/attach",
        "/api/clusters/",
    ] {
        assert_eq!(
            world.get(path).await.refusal(),
            (404, "E_NOT_FOUND".to_owned()),
            "{path}"
        );
    }
    for (method, path, allowed) in [
        ("POST", "/api/clusters", "GET"),
        ("PUT", "/api/clusters/modern/can-i", "POST"),
        ("GET", "/api/sessions/x", "DELETE"),
        (
            "POST",
            "/api/clusters/modern/pods/default/shell/exec",
            "GET",
        ),
        ("DELETE", "/", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
    ] {
        let answer = world.request(method, path, &[], "").await;
        assert_eq!(
            answer.refusal(),
            (405, "E_INVALID_REQUEST".to_owned()),
            "{method} {path}"
        );
        assert_eq!(answer.headers["allow"], allowed);
    }
    let unknown = world.get("/api/clusters/nope/namespaces").await;
    assert_eq!(unknown.refusal(), (404, "E_NOT_FOUND".to_owned()));
    let gone = world.get("/api/clusters/modern/pods/default/nope").await;
    assert_eq!(gone.refusal(), (404, "E_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn names_that_would_mean_something_in_a_url_never_reach_the_apiserver() {
    let world = World::start(Settings::default()).await;
    let hostile = [
        "..",
        ".",
        "a%2Fb",
        "%2e%2e",
        "a%00",
        "A",
        "-a",
        "a;b",
        "a%3Fx",
        "%2F",
        &"a".repeat(300),
    ];
    for name in hostile {
        for path in [
            format!("/api/clusters/modern/pods/{name}/shell"),
            format!("/api/clusters/modern/pods/default/{name}"),
            format!("/api/clusters/modern/pods?namespace={name}"),
            format!("/api/clusters/modern/pods/{name}/shell/exec"),
            format!("/api/clusters/modern/pods/default/{name}/exec"),
            exec_path("modern", "shell", &format!("?container={name}")),
        ] {
            assert_eq!(
                world.get(&path).await.refusal(),
                (400, "E_INVALID_REQUEST".to_owned()),
                "{path}"
            );
        }
        let cluster = world.get(&format!("/api/clusters/{name}/namespaces")).await;
        assert_eq!(cluster.refusal(), (404, "E_NOT_FOUND".to_owned()), "{name}");
    }
}

#[tokio::test]
async fn a_rebound_name_gets_nothing_from_a_loopback_gateway() {
    let world = World::start(Settings::default()).await;
    let port = world.address.port();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1.evil.example".to_owned(),
        "0.0.0.0".to_owned(),
    ] {
        for path in [
            "/",
            "/api/clusters",
            "/api/nope",
            "/assets/x.js",
            "/api/clusters/modern/pods/default/shell/exec",
        ] {
            let answer = world.request("GET", path, &[("Host", &host)], "").await;
            assert_eq!(
                answer.refusal(),
                (421, "E_INVALID_REQUEST".to_owned()),
                "{host} {path}"
            );
        }
    }
    let forwarded = world
        .request(
            "GET",
            "/api/clusters",
            &[("Host", "evil.example"), ("X-Forwarded-Host", "localhost")],
            "",
        )
        .await;
    assert_eq!(forwarded.status, 421);
    for host in ["localhost", "[::1]:1234", "127.0.0.1"] {
        assert_eq!(
            world
                .request("GET", "/api/clusters", &[("Host", host)], "")
                .await
                .status,
            200,
            "{host}"
        );
    }
    assert_eq!(
        world
            .raw(b"GET /api/clusters HTTP/1.1\r\nConnection: close\r\n\r\n")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_foreign_page_changes_nothing() {
    let world = World::start(Settings::default()).await;
    let own = format!("http://{}", world.address);
    let body = r#"{"verb":"get","resource":"pods"}"#;
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        for (method, path) in [
            ("POST", "/api/clusters/modern/can-i"),
            (
                "DELETE",
                "/api/sessions/00000000-0000-0000-0000-000000000000",
            ),
        ] {
            let answer = world
                .request(method, path, &[JSON, ("Origin", origin)], body)
                .await;
            assert_eq!(
                answer.refusal(),
                (403, "E_ORIGIN".to_owned()),
                "{origin} {path}"
            );
        }
    }
    let same = world
        .request(
            "POST",
            "/api/clusters/modern/can-i",
            &[JSON, ("Origin", &own)],
            body,
        )
        .await;
    assert_eq!(same.status, 200);
    // A cookie vouches for requests nobody meant to send, so it needs an Origin.
    let cookie = log_in(&world).await;
    let path = "/api/clusters/modern/can-i";
    let without = world
        .anonymous("POST", path, &[JSON, ("Cookie", &cookie)], body)
        .await;
    assert_eq!(without.refusal(), (403, "E_ORIGIN".to_owned()));
    let with = world
        .anonymous(
            "POST",
            path,
            &[JSON, ("Cookie", &cookie), ("Origin", &own)],
            body,
        )
        .await;
    assert_eq!(with.status, 200);
}

#[tokio::test]
async fn the_printed_url_logs_in_once_and_leaves_no_token_behind() {
    let world = World::start(Settings::default()).await;
    let entered = world
        .anonymous(
            "GET",
            &format!("/clusters?token={}&tab=1", world.token),
            &[],
            "",
        )
        .await;
    assert_eq!(entered.status, 303);
    assert_eq!(entered.headers["location"], "/clusters?tab=1");
    assert_eq!(entered.headers["referrer-policy"], "no-referrer");
    let cookie = &entered.headers["set-cookie"];
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax"),
        "{cookie}"
    );
    let cookie = log_in(&world).await;
    let answer = world
        .anonymous("GET", "/api/auth/whoami", &[("Cookie", &cookie)], "")
        .await;
    assert_eq!(answer.json()["sub"], "ann");
    let wrong = world.anonymous("GET", "/?token=0000", &[], "").await;
    assert_eq!(wrong.status, 401);
    assert!(!wrong.headers.contains_key("set-cookie"));
    // The token is no cookie, and the API takes no token from a URL.
    let path = format!("/api/clusters?token={}", world.token);
    assert_eq!(world.anonymous("GET", &path, &[], "").await.status, 401);
}

#[tokio::test]
async fn every_answer_carries_its_headers() {
    let world = World::start(Settings::default()).await;
    let answer = world.get("/api/clusters").await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["content-type"], "application/json");
    let other = world.get("/api/clusters").await;
    assert_ne!(
        answer.headers["x-request-id"],
        other.headers["x-request-id"]
    );
}

#[tokio::test]
async fn heads_are_bounded() {
    let world = World::start(Settings::default()).await;
    let fields = "X-Field: y\r\n".repeat(10_000);
    let many = world
        .raw(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes())
        .await;
    assert_eq!(many.status, 431);
    let large = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "y".repeat(1024 * 1024)
    );
    assert_eq!(world.raw(large.as_bytes()).await.status, 431);
    assert_eq!(world.get("/api/clusters").await.status, 200);
}

#[tokio::test]
async fn a_subject_has_twenty_requests_a_second_that_cost_the_apiserver_something() {
    let world = World::start(Settings::default()).await;
    let mut taken = 0;
    let refused = loop {
        let answer = world.get("/api/clusters/modern/namespaces").await;
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken < 500, "nothing limits the requests");
    };
    assert!(taken >= 20, "{taken}");
    assert_eq!(refused.refusal(), (429, "E_RATE_LIMIT".to_owned()));
    assert!(refused.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    assert_eq!(
        world.get("/api/clusters").await.status,
        200,
        "what costs nothing is not counted"
    );
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_said_to_be_so() {
    let world = World::start(Settings {
        faults: vec![Fault::Unreachable],
        ..Settings::default()
    })
    .await;
    let cluster = world.get("/api/clusters/modern").await.json();
    assert_eq!(
        (&cluster["reachable"], &cluster["serverVersion"]),
        (&json!(false), &json!(null))
    );
    let pods = world.get("/api/clusters/modern/pods").await;
    assert_eq!(pods.refusal(), (502, "E_CLUSTER_UNREACHABLE".to_owned()));
    assert_eq!(
        world.get("/api/clusters/legacy").await.json()["reachable"],
        true
    );
    let world = World::start(Settings {
        faults: vec![Fault::TlsBadCert],
        ..Settings::default()
    })
    .await;
    let pods = world.get("/api/clusters/modern/pods").await;
    assert_eq!(pods.refusal(), (502, "E_CLUSTER_UNREACHABLE".to_owned()));
}

#[tokio::test]
async fn a_gateway_that_may_not_impersonate_blames_itself() {
    let world = World::start(Settings {
        faults: vec![Fault::CannotImpersonate],
        ..Settings::default()
    })
    .await;
    let pods = world.get("/api/clusters/modern/pods").await;
    assert_eq!(pods.refusal(), (500, "E_INTERNAL".to_owned()));
    assert!(pods.body.contains("impersonate"), "{}", pods.body);
}

#[tokio::test]
async fn a_login_without_a_usable_name_is_denied_everywhere() {
    let world = World::start(Settings {
        sub: "system:masters",
        ..Settings::default()
    })
    .await;
    for path in [
        "/api/clusters/modern/pods",
        &exec_path("modern", "shell", ""),
    ] {
        assert_eq!(
            world.get(path).await.refusal(),
            (403, "E_FORBIDDEN".to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_demo_starts_with_its_kubeconfig_and_leaves_nothing_behind() {
    let any = "127.0.0.1:0".parse().unwrap();
    let options = DemoOptions {
        listen: any,
        kube_listen: any,
        faults: Vec::new(),
        drain: Duration::from_secs(1),
    };
    let demo = Demo::start(options.clone(), Box::new(std::io::sink()))
        .await
        .unwrap();
    assert_eq!(
        demo.url(),
        format!("http://{}/?token={}", demo.address(), demo.token())
    );
    let kubeconfig = demo.kubeconfig().to_owned();
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    assert!(
        text.contains("current-context") && text.contains("legacy"),
        "{text}"
    );
    assert_eq!(demo.stop(std::future::pending()).await, Left::default());
    assert!(!kubeconfig.exists() && !kubeconfig.parent().unwrap().exists());
    let everywhere = DemoOptions {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..options.clone()
    };
    assert!(
        Demo::start(everywhere, Box::new(std::io::sink()))
            .await
            .is_err()
    );
    let everywhere = DemoOptions {
        kube_listen: "0.0.0.0:0".parse().unwrap(),
        ..options
    };
    assert!(
        Demo::start(everywhere, Box::new(std::io::sink()))
            .await
            .is_err()
    );
}

/// The cookie the printed URL gives, as a browser sends it back.
async fn log_in(world: &World) -> String {
    let entered = world
        .anonymous("GET", &format!("/?token={}", world.token), &[], "")
        .await;
    entered.headers["set-cookie"]
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn whatever_an_apiserver_answers_becomes_one_of_our_errors_without_its_words() {
    let http = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let impersonation = r#"{"message":"User \"canary\" cannot impersonate resource \"users\""}"#;
    let endless = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
        u32::MAX,
        "x".repeat(3_000_000)
    );
    for (answer, status, error) in [
        ("canary\r\n\r\n".to_owned(), 502, "E_CLUSTER_UNREACHABLE"),
        (String::new(), 502, "E_CLUSTER_UNREACHABLE"),
        (http("200 OK", "canary"), 502, "E_CLUSTER_UNREACHABLE"),
        (http("200 OK", "[]"), 502, "E_CLUSTER_UNREACHABLE"),
        (endless, 502, "E_CLUSTER_UNREACHABLE"),
        (http("302 Found", "canary"), 502, "E_CLUSTER_UNREACHABLE"),
        (http("400 Bad Request", "canary"), 400, "E_INVALID_REQUEST"),
        (http("401 Unauthorized", "canary"), 500, "E_INTERNAL"),
        (http("403 Forbidden", "canary"), 403, "E_FORBIDDEN"),
        (http("403 Forbidden", impersonation), 500, "E_INTERNAL"),
        (http("404 Not Found", "canary"), 404, "E_NOT_FOUND"),
        (
            http("429 Too Many Requests", "canary"),
            502,
            "E_CLUSTER_UNREACHABLE",
        ),
        (
            http("503 Service Unavailable", "canary"),
            502,
            "E_CLUSTER_UNREACHABLE",
        ),
    ] {
        let apiserver = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let modern_at = Some(apiserver.local_addr().unwrap());
        let said = answer.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = apiserver.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    assert!(stream.read_buf(&mut head).await.unwrap() > 0);
                }
                // The gateway may hang up before it has read everything.
                drop(stream.write_all(said.as_bytes()).await);
            }
        });
        let world = World::start(Settings {
            modern_at,
            ..Settings::default()
        })
        .await;
        let reply = world.get("/api/clusters/modern/pods/default/shell").await;
        let answer: String = answer.chars().take(60).collect();
        assert_eq!(reply.refusal(), (status, error.to_owned()), "{answer:?}");
        assert!(!reply.body.contains("canary"), "{}", reply.body);
    }
}
