//! What is decided before a session: the same questions to both gateways, the same answers.

use serde_json::{Value, json};

use crate::Places;
use crate::browser::{Answer, Shell, command, get, open};
use crate::gateways::{Cluster, Gateway, Runtime, Settings, until};
use crate::peers::{Peer, Peers, Transport};

/// Everything about one gateway's admission. Panics at what is not as it should be.
pub(crate) async fn play(runtime: Runtime, peers: &Peers, places: &Places) {
    let access = peers.access(Peer::Sandbox, Transport::V5);
    let cluster = |name: &str| Cluster {
        name: name.to_owned(),
        access: access.clone(),
        is_exec_enabled: name != "locked",
    };
    let mut nowhere = cluster("nowhere");
    // Bound and never listening: nobody else can get the port.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nowhere.access.server = format!("https://{}", held.local_addr().unwrap());
    drop(held);
    let clusters = [cluster("one"), cluster("two"), cluster("locked"), nowhere];
    let settings = Settings {
        per_user: 2,
        per_cluster: 1,
        drain_seconds: 30,
        ..Settings::default()
    };
    let gateway = Gateway::start(runtime, &clusters, settings, &places.target, &places.dir).await;
    let mut gateway = gateway.unwrap();
    refusals(&gateway).await;
    dry_runs(&gateway).await;
    caps(&gateway).await;
    drain(&mut gateway).await;

    let settings = Settings {
        opens_per_minute: 2,
        per_cluster: 5,
        ..Settings::default()
    };
    let gateway = Gateway::start(runtime, &clusters, settings, &places.target, &places.dir).await;
    rate(&gateway.unwrap()).await;
}

fn path(cluster: &str, query: &str) -> String {
    format!("/api/clusters/{cluster}/pods/default/shell/exec{query}")
}

async fn refusals(gateway: &Gateway) {
    let long = format!("/api/clusters/one/pods/default/{}/exec", "a".repeat(254));
    let command = format!("?command={}", command(&[]));
    for (path, status, error) in [
        (path("nosuch", ""), 404, "E_NOT_FOUND"),
        (path("locked", ""), 403, "E_EXEC_DISABLED"),
        (
            "/api/clusters/one/pods/De_fault/shell/exec".to_owned(),
            400,
            "E_INVALID_REQUEST",
        ),
        (
            "/api/clusters/one/pods/default/..%2Fx/exec".to_owned(),
            400,
            "E_INVALID_REQUEST",
        ),
        (long, 400, "E_INVALID_REQUEST"),
        (path("one", "?container=UPPER"), 400, "E_INVALID_REQUEST"),
        (path("one", "?tty=maybe"), 400, "E_INVALID_REQUEST"),
        (path("one", "?tty=1&tty=1"), 400, "E_INVALID_REQUEST"),
        (path("one", "?flow=yes"), 400, "E_INVALID_REQUEST"),
        (path("one", &command), 400, "E_INVALID_REQUEST"),
        (path("nowhere", ""), 502, "E_CLUSTER_UNREACHABLE"),
        (
            "/api/clusters/one/pods/default/nosuch/exec".to_owned(),
            404,
            "E_NOT_FOUND",
        ),
    ] {
        let answer = gateway.open(&path).await.expect_err(&path);
        assert_eq!(answer.refusal(), (status, error.to_owned()), "{path}");
        // The dry run says the same, in a way a browser can read.
        assert_eq!(
            gateway.get(&path).await.refusal(),
            answer.refusal(),
            "{path}"
        );
    }
    let disabled = gateway.open(&path("locked", "")).await.err().unwrap();
    assert_eq!(disabled.json(), json!({"error": "E_EXEC_DISABLED"}));

    let bearer = format!("Bearer {}", gateway.token);
    let authorization = ("Authorization", bearer.as_str());
    let own = format!("http://{}", gateway.address);
    for (headers, status, error) in [
        (vec![], 401, "E_AUTH"),
        (vec![("Authorization", "Bearer wrong")], 401, "E_AUTH"),
        (vec![("Authorization", "Basic dTpw")], 401, "E_AUTH"),
        (
            vec![authorization, ("Origin", "http://evil.example")],
            403,
            "E_ORIGIN",
        ),
        (vec![authorization, ("Origin", "null")], 403, "E_ORIGIN"),
        (
            vec![authorization, ("Host", "evil.example")],
            421,
            "E_INVALID_REQUEST",
        ),
    ] {
        let answer = open(gateway.address, &path("one", ""), &headers).await;
        let answer = answer.err().unwrap_or_else(|| panic!("{headers:?}"));
        assert_eq!(answer.refusal(), (status, error.to_owned()), "{headers:?}");
    }
    let same = open(
        gateway.address,
        &path("one", ""),
        &[authorization, ("Origin", &own)],
    )
    .await;
    close(same.expect("a page of its own")).await;

    let denied = gateway.audit_row("locked", "session_denied").await;
    assert_eq!(
        (&denied["outcome"], &denied["code"], &denied["session_id"]),
        (&json!("denied"), &json!("E_EXEC_DISABLED"), &Value::Null)
    );
}

async fn dry_runs(gateway: &Gateway) {
    for _ in 0..3 {
        let answer = gateway.get(&path("two", "?container=app")).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"ok": true})));
    }
    assert_eq!(
        get(gateway.address, &path("two", ""), &[]).await.status,
        401
    );
    // The row of a later attempt at another cluster is there, and none of these came before it.
    gateway.open(&path("locked", "")).await.err().unwrap();
    gateway.audit_row("locked", "session_denied").await;
    assert!(gateway.audit("two").is_empty(), "a dry run leaves no row");
}

async fn caps(gateway: &Gateway) {
    // What came before has to be gone.
    let mut first = wait_for_slot(gateway, &path("one", "")).await;
    let hello = first.message("hello").await;
    let full = gateway.open(&path("one", "")).await.err().unwrap();
    assert_eq!(full.refusal(), (429, "E_CAP_CLUSTER".to_owned()));
    let body = full.json();
    assert_eq!(
        (&body["limit"], &body["otherSessions"]),
        (&json!(1), &json!(0))
    );
    expect_listed(&body, &hello);
    let mut second = wait_for_slot(gateway, &path("two", "")).await;
    second.message("hello").await;
    let full = gateway.open(&path("two", "")).await.err().unwrap();
    assert_eq!(full.refusal(), (429, "E_CAP_USER".to_owned()));
    let body = full.json();
    assert_eq!(body["limit"], 2);
    assert_eq!(body["activeSessions"].as_array().unwrap().len(), 2);
    assert!(body.get("otherSessions").is_none(), "{body}");
    expect_listed(&body, &hello);
    let dry = gateway.get(&path("two", "")).await;
    assert_eq!(dry.refusal(), (429, "E_CAP_USER".to_owned()));
    close(second).await;
    close(first).await;
    close(wait_for_slot(gateway, &path("two", "")).await).await;
}

fn expect_listed(body: &Value, hello: &Value) {
    let listed = &body["activeSessions"][0];
    assert_eq!(listed["id"], hello["sessionId"]);
    let mut keys: Vec<&String> = listed.as_object().unwrap().keys().collect();
    keys.sort();
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
}

async fn rate(gateway: &Gateway) {
    for _ in 0..2 {
        close(gateway.open(&path("one", "?container=app")).await.unwrap()).await;
    }
    let answer = gateway
        .open(&path("one", "?container=app"))
        .await
        .err()
        .unwrap();
    assert_eq!(answer.refusal(), (429, "E_RATE_LIMIT".to_owned()));
    let seconds: u64 = answer.headers["retry-after"].parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
}

async fn drain(gateway: &mut Gateway) {
    // With a session left, the gateway stays to say no.
    let mut shell = wait_for_slot(gateway, &path("one", "?container=app")).await;
    shell.message("hello").await;
    gateway.terminate();
    shell.message("drain").await;
    let answer = gateway.open(&path("two", "")).await.err().unwrap();
    expect_drain(&answer);
    expect_drain(&gateway.get(&path("two", "")).await);
    close(shell).await;
    assert!(gateway.left().await, "nothing was lost");
}

fn expect_drain(answer: &Answer) {
    assert_eq!(answer.refusal(), (503, "E_DRAIN".to_owned()));
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
}

/// Opens as soon as the last session has given its slot back.
async fn wait_for_slot(gateway: &Gateway, path: &str) -> Shell {
    loop {
        match gateway.open(path).await {
            Ok(shell) => return shell,
            Err(answer) if answer.status == 429 => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(answer) => panic!("{answer:?}"),
        }
    }
}

async fn close(mut shell: Shell) {
    shell.control(json!({"type": "close"})).await;
    assert_eq!(shell.closed().await["detail"], "user_close");
}

/// Both gateways' rows have the same fields: one reader reads both.
pub(crate) async fn compare_audit(tokio: &Gateway, smol: &Gateway) {
    for verb in ["session_start", "session_end", "session_denied"] {
        let keys = async |gateway: &Gateway| {
            let wanted = format!("pod.exec.{verb}");
            let rows = until(verb, || {
                let mut all = gateway.all_audit().into_iter();
                all.find(|row| row["verb"] == wanted.as_str())
            });
            let row = rows.await;
            let mut keys: Vec<String> = row.as_object().unwrap().keys().cloned().collect();
            for nested in ["actor", "k8s_identity"] {
                let fields = row[nested].as_object().into_iter().flatten();
                keys.extend(fields.map(|(name, _)| format!("{nested}.{name}")));
            }
            keys.sort();
            keys
        };
        assert_eq!(keys(tokio).await, keys(smol).await, "{verb}");
    }
}
