//! `periscope serve` as a process: real configuration files, real kubeconfigs, a sandbox for a
//! cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod impostor;
mod serve_support;

use impostor::{Disguise, Impostor};
use periscope_server::sandbox::Fault;
use serde_json::{Value, json};
use serve_support::{Place, Served};

const TIER: &str = "authorization: {mode: tier, groupTiers: {staff: admin}}\ndev: {subject: ann, groups: [staff]}\n";

#[tokio::test]
async fn a_shell_opens_through_serve_and_sigterm_ends_it_with_its_records() {
    let place = Place::new(&[]).await;
    let token = place.token();
    place.kubeconfig(&json!({ "token": token }));
    place.write("auth.yaml", TIER);
    let variables = [
        ("PERISCOPE_EXEC_IDLE_SECONDS", "777"),
        ("PERISCOPE_AUDIT_ENABLED", "true"),
        ("PERISCOPE_AUDIT_REQUIRED", "true"),
        ("PERISCOPE_AUDIT_DB_PATH", "audit.db"),
    ];
    let mut served = Served::start(&place, &variables).await;
    let clusters = served.get("/api/clusters").await.1;
    assert_eq!(clusters["items"][0]["environment"], "test");
    assert_eq!(clusters["items"][0]["tags"], json!({"team": "payments"}));
    assert_eq!(clusters["items"][0]["backend"], "kubeconfig");
    let mut shell = served.shell("shell").await;
    let hello = shell.message("hello").await;
    assert_eq!(hello["identity"]["user"], "ann");
    assert_eq!(hello["identity"]["groups"], json!(["periscope-tier:admin"]));
    assert_eq!(hello["idleSeconds"], 777);
    shell.type_in("echo $((6*7))-periscope\n").await;
    shell.shows("42-periscope").await;
    served.signal("TERM");
    shell.message("drain").await;
    // A second signal skips the wait for people, not the records.
    served.signal("TERM");
    let closed = shell.message("closed").await;
    assert_eq!(closed["reason"], "forced_close");
    let (code, stdout) = served.ended().await;
    assert_eq!(code, Some(0), "{:?}", served.log());
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let rows: Vec<Value> = lines
        .filter(|row: &Value| row["close_detail"].is_string())
        .collect();
    assert_eq!(rows.len(), 1, "{stdout}");
    assert_eq!(rows[0]["verb"], "pod.exec.session_end");
    assert_eq!(rows[0]["close_detail"], "drain");
    assert_eq!(
        place.audited(),
        [
            "pod.exec.session_intent",
            "pod.exec.session_start",
            "pod.exec.session_end",
        ]
    );
    let log = served.logged("msg=drain.end").await;
    assert!(!log.contains("security.shared_identity"), "{log}");
    assert!(!log.contains(&token), "{log}");
}

#[tokio::test]
async fn shared_mode_and_an_unchecked_certificate_are_told_at_every_start() {
    let place = Place::new(&[]).await;
    let mut config = place.kubeconfig_of(&json!({ "token": place.token() }));
    let cluster = config.pointer_mut("/clusters/0/cluster").unwrap();
    *cluster = json!({ "server": cluster["server"], "insecure-skip-tls-verify": true });
    place.write("kubeconfig", &config.to_string());
    let served = Served::start(&place, &[]).await;
    let log = served.log().join("\n");
    assert!(log.contains("msg=security.shared_identity"), "{log}");
    assert!(
        log.contains("msg=security.tls_not_verified cluster=modern"),
        "{log}"
    );
    assert_eq!(
        served.get("/api/clusters/modern").await.1["reachable"],
        true
    );
    // The same without the permission is not trusted: the sandbox's authority is its own.
    let mut config = place.kubeconfig_of(&json!({ "token": place.token() }));
    let cluster = config.pointer_mut("/clusters/0/cluster").unwrap();
    *cluster = json!({ "server": cluster["server"] });
    place.write("kubeconfig", &config.to_string());
    let served = Served::start(&place, &[]).await;
    let log = served.log().join("\n");
    assert!(!log.contains("tls_not_verified"), "{log}");
    assert_eq!(
        served.get("/api/clusters/modern").await.1["reachable"],
        false
    );
}

#[tokio::test]
async fn a_token_file_is_read_again_when_it_was_rotated() {
    let place = Place::new(&[]).await;
    place.write("token", "stale\n");
    // Relative to the kubeconfig, as everywhere in one.
    place.kubeconfig(&json!({ "tokenFile": "token" }));
    let served = Served::start(&place, &[]).await;
    let namespaces = "/api/clusters/modern/namespaces";
    let (status, body) = served.get(namespaces).await;
    assert_eq!((status, &body["error"]), (500, &json!("E_INTERNAL")));
    place.write("token", &format!("{}\n", place.token()));
    assert_eq!(served.get(namespaces).await.0, 200);
}

#[tokio::test]
async fn a_plugin_is_asked_once_and_again_after_a_401() {
    let place = Place::new(&[]).await;
    // The first token is refused.
    place.plugin(&format!(
        "if [ \"$(wc -l < runs)\" -gt 1 ]; then token='{}'; else token=stale; fi",
        place.token()
    ));
    let served = Served::start(&place, &[]).await;
    assert_eq!(
        place.plugin_runs(),
        0,
        "nothing is asked before it is needed"
    );
    for _ in 0..3 {
        let (status, body) = served.get("/api/clusters/modern/namespaces").await;
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(place.plugin_runs(), 2);
    let mut shell = served.shell("shell").await;
    shell.message("hello").await;
    assert_eq!(place.plugin_runs(), 2);
    // The environment of the gateway holds secrets of its own.
    assert_eq!(place.read("saw"), "unset\n".repeat(2));
    let info: Value = serde_json::from_str(place.read("info").lines().next().unwrap()).unwrap();
    assert_eq!(info["kind"], "ExecCredential");
    assert_eq!(info["spec"]["interactive"], false);
    assert!(info["spec"]["cluster"]["server"].is_string(), "{info}");
}

#[tokio::test]
async fn a_401_to_the_dial_itself_fetches_the_credentials_anew() {
    let place = Place::new(&[Fault::Status401]).await;
    place.plugin(&format!("token='{}'", place.token()));
    let served = Served::start(&place, &[]).await;
    let mut shell = served.shell("shell").await;
    let error = shell.message("error").await;
    assert_eq!(error["code"], "E_INTERNAL");
    assert_eq!(place.plugin_runs(), 2, "{:?}", served.log());
}

#[tokio::test]
async fn a_plugin_that_fails_says_nothing_of_what_it_said() {
    let place = Place::new(&[]).await;
    for (script, reason) in [
        ("echo hunter2; exit 1", "ended with an error"),
        ("echo hunter2; exit 0", "no ExecCredential"),
        ("token='a\\nb'", "cannot be used"),
        ("exec head -c 3000000 /dev/zero", "no ExecCredential"),
    ] {
        place.plugin(script);
        let served = Served::start(&place, &[("PERISCOPE_LOG_LEVEL", "trace")]).await;
        let (status, body) = served.get("/api/clusters/modern/namespaces").await;
        assert_eq!(
            (status, &body["error"]),
            (500, &json!("E_INTERNAL")),
            "{script}"
        );
        let log = served.logged("kube.plugin.failed").await;
        assert!(
            log.contains(reason) || script.contains("head"),
            "{script}: {log}"
        );
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn shells_work_behind_our_own_tls() {
    let place = Place::new(&[]).await;
    place.kubeconfig(&json!({ "token": place.token() }));
    let authority = place.certificate();
    let variables = [
        ("PERISCOPE_TLS_CERT", "cert.pem"),
        ("PERISCOPE_TLS_KEY", "key.pem"),
    ];
    let served = Served::start_tls(&place, &variables, &authority).await;
    assert_eq!(served.get("/api/clusters").await.0, 200);
    let mut shell = served.shell("shell").await;
    shell.message("hello").await;
    // More than any buffer on the way holds, and back: nothing is lost or stuck.
    shell
        .type_in("head -c 2000000 /dev/zero | tr '\\0' x; echo; echo en''d\n")
        .await;
    shell.shows("\nend").await;
    assert!(shell.output().matches('x').count() >= 2_000_000);
    shell.type_in("exit 3\n").await;
    let closed = shell.message("closed").await;
    assert_eq!(closed["exitCode"], 3);
    // A foreign page is one with another scheme, too.
    let origin = format!("http://{}", served.address());
    assert_eq!(served.dry_run("shell", &origin).await, 403);
    let origin = format!("https://{}", served.address());
    assert_eq!(served.dry_run("shell", &origin).await, 200);
}

#[tokio::test]
async fn what_cannot_be_served_is_exit_code_3_with_the_reason() {
    let place = Place::new(&[]).await;
    let kubeconfig = |user: Value| place.kubeconfig_of(&user).to_string();
    let good = kubeconfig(json!({ "token": place.token() }));
    let cases = [
        ("{", "is not what a kubeconfig has there"),
        ("clusters: 5", "line 1 is not"),
        ("{}", "no current-context"),
        ("current-context: x", "it has no context \"x\""),
        (
            &good.replace("https://", "ftp://"),
            "not an http or https URL",
        ),
        (
            &kubeconfig(json!({ "client-certificate": "nowhere.pem" })),
            "nowhere.pem cannot be read",
        ),
        (
            &kubeconfig(json!({ "client-certificate-data": "AAAA" })),
            "needed together",
        ),
        (
            &kubeconfig(json!({ "client-certificate-data": "!", "client-key-data": "AA==" })),
            "not base64",
        ),
        (
            &kubeconfig(json!({ "client-certificate-data": "AAAA", "client-key-data": "AAAA" })),
            "client certificate or its key cannot be used",
        ),
        (
            &kubeconfig(json!({ "username": "hunter2", "password": "hunter2" })),
            "username is not supported",
        ),
        (
            &kubeconfig(json!({ "auth-provider": { "name": "gcp" } })),
            "auth-provider is not supported",
        ),
        (&kubeconfig(json!({ "as": "root" })), "as is not supported"),
        (
            &kubeconfig(json!({ "token": ["hunter2"] })),
            "is not what a kubeconfig has there",
        ),
        (
            &kubeconfig(
                json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x" } }),
            ),
            "exec.apiVersion is not supported",
        ),
        (
            &kubeconfig(json!({ "exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "x", "interactiveMode": "Always" } })),
            "exec.interactiveMode is not supported",
        ),
    ];
    for (text, reason) in cases {
        place.write("kubeconfig", text);
        let (code, stderr) = Served::refused(&place, &[]);
        assert!(
            code == Some(3) && stderr.contains(reason) && stderr.contains("cluster modern"),
            "{text}: {code:?} {stderr}"
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    place.write("kubeconfig", &good);
    place.write("cert.pem", "no certificate");
    let tls = [
        ("PERISCOPE_TLS_CERT", "cert.pem"),
        ("PERISCOPE_TLS_KEY", "cert.pem"),
    ];
    let (code, stderr) = Served::refused(&place, &tls);
    assert!(
        code == Some(3) && stderr.contains("no certificate in PEM"),
        "{stderr}"
    );
    place.write(
        "clusters.yaml",
        "clusters: [{name: here, backend: in-cluster}]",
    );
    let (code, stderr) = Served::refused(&place, &[]);
    assert!(
        code == Some(3) && stderr.contains("cluster here: this is no pod"),
        "{stderr}"
    );
    // A port that is taken is a failure, not a wrong configuration.
    place.write("clusters.yaml", "clusters: []");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, stderr) = Served::refused(&place, &[("PORT", &port)]);
    assert!(
        code == Some(1) && stderr.contains("cannot listen"),
        "{stderr}"
    );
}

#[tokio::test]
async fn dev_mode_answers_to_names_of_this_machine_only() {
    let place = Place::new(&[]).await;
    place.kubeconfig(&json!({ "token": place.token() }));
    let served = Served::start(&place, &[]).await;
    assert_eq!(
        served.get_as("shell.evil.example", "/api/clusters").await,
        421
    );
    assert_eq!(served.get_as("localhost", "/api/clusters").await, 200);
    assert_eq!(served.dry_run("shell", "https://evil.example").await, 403);
}

#[tokio::test]
async fn the_boot_probe_warms_credentials_and_holds_nothing_up_for_long() {
    let place = Place::new(&[]).await;
    place.plugin(&format!("token='{}'", place.token()));
    let probe = [("PERISCOPE_PROBE_CLUSTERS_ON_BOOT", "1")];
    let served = Served::start(&place, &probe).await;
    served
        .logged("msg=kube.probe cluster=modern result=ok")
        .await;
    assert_eq!(place.plugin_runs(), 1);
    let (status, _) = served.get("/api/clusters/modern/namespaces").await;
    assert_eq!((status, place.plugin_runs()), (200, 1));
    // A plugin that never ends is not waited for: it listens all the same.
    place.plugin("exec sleep 90");
    let served = Served::start(&place, &probe).await;
    served.logged("msg=kube.probe.slow").await;
    assert_eq!(served.get("/api/clusters").await.0, 200);
}

/// An apiserver that says yes to every access review.
fn yes(line: &str, _: &str) -> Option<(u16, String, String)> {
    let body = if line.contains("/selfsubjectaccessreviews ") {
        json!({"status": {"allowed": true}})
    } else if line.contains("/namespaces?") {
        json!({"items": []})
    } else {
        return None;
    };
    Some((200, String::new(), body.to_string()))
}

#[tokio::test]
async fn the_boot_probe_asks_for_the_right_to_exec_before_anybody_else_does() {
    let place = Place::new(&[]).await;
    let impostor = Impostor::start(Disguise::default(), yes).await;
    place.write("kubeconfig", &impostor.kubeconfig().to_string());
    place.write("auth.yaml", TIER);
    let served = Served::start(&place, &[]).await;
    assert!(impostor.asked().is_empty(), "nobody asked for the probe");
    drop(served);
    let served = Served::start(&place, &[("PERISCOPE_PROBE_CLUSTERS_ON_BOOT", "1")]).await;
    // It listens only after the probe.
    let asked = impostor.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let line = asked[0].head.lines().next().unwrap();
    assert!(
        line.starts_with("POST ") && line.contains("/selfsubjectaccessreviews "),
        "{line}"
    );
    let question: Value = serde_json::from_str(&asked[0].body).unwrap();
    let attributes = &question["spec"]["resourceAttributes"];
    assert_eq!(attributes["verb"], "create");
    assert_eq!(attributes["resource"], "pods");
    assert_eq!(attributes["subresource"], "exec");
    // As the gateway itself, with its credentials.
    let head = asked[0].head.to_lowercase();
    assert!(
        head.contains("authorization: bearer ") && !head.contains("impersonate-"),
        "{head}"
    );
    // The first person's request finds the connection there.
    let (status, _) = served.get("/api/clusters/modern/namespaces").await;
    let asked = impostor.asked();
    assert_eq!((status, asked.len()), (200, 2), "{asked:?}");
    assert_eq!(asked[1].connection, asked[0].connection, "{asked:?}");
}

#[tokio::test]
async fn records_that_could_not_be_written_are_counted_and_make_the_exit_code_1() {
    let place = Place::new(&[]).await;
    place.kubeconfig(&json!({ "token": place.token() }));
    let variables = [
        ("PERISCOPE_AUDIT_ENABLED", "true"),
        ("PERISCOPE_AUDIT_DB_PATH", "audit.db"),
    ];
    let mut served = Served::start(&place, &variables).await;
    let other = rusqlite::Connection::open(place.path("audit.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut shell = served.shell("shell").await;
    shell.type_in("echo $((6*7))-not-lost\n").await;
    shell.shows("42-not-lost").await;
    served.signal("TERM");
    shell.message("drain").await;
    served.signal("TERM");
    shell.message("closed").await;
    let (code, stdout) = served.ended().await;
    assert_eq!(code, Some(1), "{:?}", served.log());
    let log = served.logged("msg=drain.end").await;
    assert!(log.contains("msg=drain.end records=2 sessions=0"), "{log}");
    // What the file did not take, stdout has.
    for verb in ["session_start", "session_end"] {
        assert!(stdout.contains(&format!("pod.exec.{verb}")), "{stdout}");
    }
    drop(other);
    assert_eq!(place.audited(), Vec::<String>::new());
    // The next process knows nothing of it and starts.
    let again = Served::start(&place, &variables).await;
    assert_eq!(again.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn an_audit_database_that_cannot_be_had_ends_the_start_with_3() {
    let place = Place::new(&[]).await;
    let token = place.token();
    place.kubeconfig(&json!({ "token": token }));
    place.write("auth.yaml", TIER);
    let with = |path| {
        [
            ("PERISCOPE_AUDIT_ENABLED", "true"),
            ("PERISCOPE_AUDIT_DB_PATH", path),
        ]
    };
    let served = Served::start(&place, &with("audit.db")).await;
    // The second process waits for the first to leave, which it does not.
    let (code, stderr) = Served::refused(&place, &with("audit.db"));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("another running process"), "{stderr}");
    assert_eq!(served.get("/api/audit").await.0, 200);
    // Not even root may make files here.
    let (code, stderr) = Served::refused(&place, &with("/sys/audit.db"));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("/sys/audit.db"), "{stderr}");
    place.write("other.db", "this is not a database, and longer than a hundred bytes, because that is what SQLite looks at first of all files");
    let (code, stderr) = Served::refused(&place, &with("other.db"));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("not an audit database"), "{stderr}");
}
