//! `periscope doctor` as a process: every hop that can break, broken, and what it says then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::unnecessary_wraps,
    reason = "an impostor may also give no answer at all"
)]

mod doctor_support;
mod impostor;

use std::time::{Duration, Instant};

use doctor_support::Clinic;
use impostor::{Disguise, Impostor};
use periscope_server::sandbox::Fault;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The shell of an ordinary pod.
const SHELL: [&str; 3] = ["-n", "default", "shell"];

const TIER: &str = "authorization: {mode: tier, groupTiers: {staff: write, visitors: read}}\n";

const RAW: &str = "authorization: {mode: raw, groupPrefix: \"periscope-tier:\"}\n";

#[tokio::test]
async fn every_hop_works_on_new_and_old_clusters_in_every_identity_mode() {
    let clinic = Clinic::new(&[]).await;
    let staff = ["--as", "ann", "--group", "staff"];
    let triage = ["--as", "ann", "--group", "triage"];
    let cases: [(&str, &[&str], &str); 4] = [
        ("authorization: {mode: shared}\n", &[], "skip"),
        (TIER, &[], "periscope-tier:triage"),
        (TIER, &staff, "periscope-tier:write"),
        (RAW, &triage, "ann in periscope-tier:triage"),
    ];
    for (auth, named, seen) in cases {
        clinic.write("auth.yaml", auth);
        for cluster in ["modern", "legacy"] {
            let walk = clinic.walk(cluster, &[named, &SHELL[..]].concat()).await;
            walk.works();
            let (mark, impersonated) = walk.hop("impersonation");
            assert!(mark == seen || impersonated.contains(seen), "{walk:#?}");
            let is_modern = cluster == "modern";
            for hop in [
                "config",
                "dns",
                "tcp",
                "tls",
                "alpn",
                "credentials",
                "apiserver",
                "rbac",
                "pod",
                "spdy",
                "shell",
            ] {
                assert_eq!(walk.hop(hop).0, "ok", "{hop}: {walk:#?}");
            }
            assert!(
                walk.hop("tls").1.contains("periscope sandbox authority"),
                "{walk:#?}"
            );
            assert!(walk.hop("alpn").1.contains("http/1.1"), "{walk:#?}");
            assert!(
                walk.hop("credentials").1.contains("fixed token"),
                "{walk:#?}"
            );
            let server = walk.hop("apiserver").1;
            if is_modern {
                // It hands our Audit-ID back, else there were a warning.
                assert!(
                    server.contains("v1.36.2; we are sandbox-owner"),
                    "{walk:#?}"
                );
                assert_eq!(walk.hop("websocket").0, "ok", "{walk:#?}");
            } else {
                assert!(
                    server.contains("v1.20.2; it does not say who we are"),
                    "{walk:#?}"
                );
                walk.warns("websocket", "falls back to SPDY");
            }
        }
    }
}

#[tokio::test]
async fn without_a_pod_nothing_runs_and_the_last_hops_are_skipped() {
    let clinic = Clinic::new(&[]).await;
    clinic.write("auth.yaml", TIER);
    for namespace in [&[][..], &["-n", "default"]] {
        let walk = clinic.walk("modern", namespace).await;
        walk.works();
        for hop in ["pod", "websocket", "spdy", "shell"] {
            let (mark, why) = walk.hop(hop);
            assert!(
                mark == "skip" && why.contains("no POD is named"),
                "{walk:#?}"
            );
        }
    }
}

#[tokio::test]
async fn what_the_gateway_would_not_start_with_is_exit_code_3() {
    let clinic = Clinic::new(&[]).await;
    let walk = clinic.walk("nowhere", &[]).await;
    assert_eq!(walk.code, 3);
    let (mark, seen) = walk.hop("config");
    assert!(
        mark == "FAIL" && seen.contains("there is no cluster nowhere"),
        "{walk:#?}"
    );
    assert!(
        walk.text.contains("It has: modern, legacy, locked, other."),
        "{walk:#?}"
    );
    // The kubeconfig of `other` is not there.
    let walk = clinic.walk("other", &[]).await;
    assert_eq!(walk.code, 3);
    assert!(
        walk.hop("config").1.contains("other cannot be read"),
        "{walk:#?}"
    );
    clinic.write("auth.yaml", "authorisation: {mode: shared}\n");
    let walk = clinic.walk("modern", &[]).await;
    assert_eq!(walk.code, 3);
    assert!(walk.hop("config").1.contains("auth.yaml:1"), "{walk:#?}");
    let walk = clinic.run(&["--cluster", "modern"], &[], &[]).await;
    assert_eq!(walk.code, 3);
    assert!(
        walk.hop("config")
            .1
            .contains("PERISCOPE_CLUSTERS_FILE is not set"),
        "{walk:#?}"
    );
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2() {
    let clinic = Clinic::new(&[]).await;
    let cases: [(&str, &[&str]); 8] = [
        ("shared", &["--as", "ann"]),
        ("raw", &[]),
        ("raw", &["--tier", "admin"]),
        ("tier", &["--tier", "root"]),
        ("tier", &["--as", "system:admin"]),
        ("tier", &["--timeout", "0"]),
        ("tier", &["shell"]),
        ("tier", &["-n", "de/fault"]),
    ];
    for (mode, arguments) in cases {
        clinic.write("auth.yaml", &format!("authorization: {{mode: {mode}}}\n"));
        let walk = clinic.walk("modern", arguments).await;
        assert!(
            walk.code == 2 && !walk.stderr.is_empty(),
            "{arguments:?}: {walk:#?}"
        );
    }
    assert_eq!(clinic.walk("mo/dern", &[]).await.code, 2);
    let help = clinic.run(&["--help"], &[], &[]).await;
    assert_eq!(help.code, 0);
    for promise in ["started in that pod", "the line `exit` is typed"] {
        assert!(help.text.contains(promise), "{promise}: {help:#?}");
    }
}

#[tokio::test]
async fn a_cluster_whose_shells_are_switched_off_says_so_first() {
    let clinic = Clinic::new(&[]).await;
    let walk = clinic.walk("locked", &SHELL).await;
    walk.breaks_at(
        "config",
        "exec.enabled is false for locked",
        "E_EXEC_DISABLED",
    );
}

#[tokio::test]
async fn names_and_ports_that_lead_nowhere() {
    let clinic = Clinic::new(&[Fault::Unreachable]).await;
    let mut config = clinic.kubeconfig();
    config["clusters"][0]["cluster"]["server"] = json!("https://apiserver.invalid:6443");
    let walk = clinic.walk_other(&config, &SHELL).await;
    walk.breaks_at(
        "dns",
        "apiserver.invalid cannot be resolved",
        "Check the server URL",
    );
    let walk = clinic.walk("modern", &SHELL).await;
    walk.breaks_at("tcp", "Connection refused", "nothing listens on that port");
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_hangs_up() {
    let clinic = Clinic::new(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = tokio::spawn(async move {
        let mut talks = true;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if std::mem::take(&mut talks) {
                let page = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
                tokio::io::AsyncWriteExt::write_all(&mut stream, page)
                    .await
                    .unwrap();
                // What it sent must not be cut off by a reset.
                let mut rest = Vec::new();
                drop(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await);
            }
        }
    });
    let mut config = clinic.kubeconfig();
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
    let walk = clinic.walk_other(&config, &SHELL).await;
    walk.breaks_at("tls", "does not speak TLS", "Is the port in the server URL");
    let walk = clinic.walk_other(&config, &SHELL).await;
    walk.breaks_at("tls", "ends inside the handshake", "hangs up");
    answers.abort();
}

#[tokio::test]
async fn certificates_that_do_not_prove_the_apiserver() {
    let clinic = Clinic::new(&[Fault::TlsBadCert]).await;
    let walk = clinic.walk("modern", &SHELL).await;
    walk.breaks_at(
        "tls",
        "an authority that is not trusted",
        "certificate-authority-data does not vouch",
    );
    // Whose it is helps to find out who is in between.
    assert!(
        walk.hop("tls")
            .1
            .contains("issued by \"CN=periscope sandbox authority\""),
        "{walk:#?}"
    );
    let clinic = Clinic::new(&[]).await;
    let mut config = clinic.kubeconfig();
    config["clusters"][0]["cluster"]["tls-server-name"] = json!("other.example");
    let walk = clinic.walk_other(&config, &SHELL).await;
    walk.breaks_at("tls", "not for other.example", "tls-server-name");
    assert!(
        walk.hop("tls").1.contains("localhost, 127.0.0.1, ::1"),
        "{walk:#?}"
    );
    let mut disguise = Disguise::default();
    disguise.certificate.not_before = rcgen::date_time_ymd(2019, 1, 1);
    disguise.certificate.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let impostor = Impostor::start(disguise, |_, _| None).await;
    let walk = clinic.walk_other(&impostor.kubeconfig(), &SHELL).await;
    walk.breaks_at("tls", "the certificate has expired", "kubeadm certs renew");
    assert!(
        walk.hop("tls").1.contains("expired 2020-01-01"),
        "{walk:#?}"
    );
    // Nothing was said to whoever showed them.
    assert!(impostor.asked().is_empty());
}

/// An apiserver behind a proxy, with a clock of its own, that is older than the question who we are.
fn behind_a_proxy(line: &str, _: &str) -> Option<(u16, String, String)> {
    if line.contains("/version") {
        let headers = "Date: Sun, 01 Mar 2020 12:00:00 GMT\r\nVia: 1.1 squid\r\nAudit-Id: 7\r\n";
        let body = json!({"gitVersion": "v1.2\u{1b}[31m"}).to_string();
        Some((200, headers.to_owned(), body))
    } else if line.contains("selfsubjectaccessreviews") {
        let body = json!({"status": {"allowed": true}}).to_string();
        Some((201, String::new(), body))
    } else {
        Some((404, String::new(), "{}".to_owned()))
    }
}

#[tokio::test]
async fn what_does_not_break_a_shell_is_a_warning() {
    let clinic = Clinic::new(&[]).await;
    let mut disguise = Disguise::default();
    disguise.alpn.clear();
    let soon = std::time::SystemTime::now() + Duration::from_hours(60);
    disguise.certificate.not_after = soon.into();
    let impostor = Impostor::start(disguise, behind_a_proxy).await;
    let walk = clinic.walk_other(&impostor.kubeconfig(), &[]).await;
    walk.works();
    walk.warns("tls", "the certificate expires in 2 days");
    walk.warns("alpn", "something else ends TLS here");
    walk.warns("apiserver", "the clocks differ by");
    walk.warns("apiserver", "a proxy is in between (via: 1.1 squid)");
    walk.warns("apiserver", "something on the way drops ours");
    // A peer's text cannot command the terminal.
    assert!(
        !walk.text.contains('\u{1b}') && walk.text.contains("v1.2\\u{1b}[31m"),
        "{walk:#?}"
    );
    // Every request of the walk bears the id that was printed.
    let id = walk.text.split("Audit-ID ").nth(1).unwrap();
    let id = id.lines().next().unwrap();
    let asked = impostor.asked();
    assert!(asked.len() >= 4, "{asked:?}");
    for request in asked {
        assert!(
            request
                .head
                .to_lowercase()
                .contains(&format!("audit-id: {id}")),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_only_speaks_http_2_cannot_be_upgraded() {
    let clinic = Clinic::new(&[]).await;
    let disguise = Disguise {
        alpn: vec![b"h2".to_vec()],
        ..Disguise::default()
    };
    let impostor = Impostor::start(disguise, |_, _| None).await;
    let walk = clinic.walk_other(&impostor.kubeconfig(), &SHELL).await;
    walk.breaks_at("tls", "does not take HTTP/1.1", "let it pass TCP through");
}

#[tokio::test]
async fn credentials_that_are_missing_wrong_or_over() {
    let clinic = Clinic::new(&[]).await;
    let with = |user: Value| {
        let mut config = clinic.kubeconfig();
        config["users"][0]["user"] = user;
        config
    };
    let walk = clinic
        .walk_other(&with(json!({"tokenFile": "missing"})), &SHELL)
        .await;
    walk.breaks_at(
        "credentials",
        "missing: the gateway's credentials could not be read",
        "is it mounted",
    );
    let plugin = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never",
    }});
    let walk = clinic.walk_other(&with(plugin), &SHELL).await;
    walk.breaks_at("credentials", "plugin false", "run its command by hand");
    assert!(walk.stderr.contains("kube.plugin.failed"), "{walk:#?}");
    let plugin = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["90"],
    }});
    let arguments = [&SHELL[..], &["--timeout", "1"]].concat();
    let walk = clinic.walk_other(&with(plugin), &arguments).await;
    walk.breaks_at(
        "credentials",
        "no answer within 1 s",
        "the plugin of the kubeconfig",
    );
    let walk = clinic
        .walk_other(&with(json!({"token": "canary"})), &SHELL)
        .await;
    walk.breaks_at("apiserver", "401", "kubectl auth whoami");
    // {"exp":1577880000}, which is in 2020.
    let over = "canary.eyJleHAiOjE1Nzc4ODAwMDB9.canary";
    let walk = clinic
        .walk_other(&with(json!({"token": over})), &SHELL)
        .await;
    walk.breaks_at("apiserver", "401", "wrong cluster");
    walk.warns("credentials", "the token is over");
    // A plugin that works is asked once in the whole walk.
    let script = format!(
        "echo run >> runs; printf '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\
         \"status\":{{\"token\":\"{}\"}}}}'",
        clinic.sandbox.clusters()[0].token
    );
    clinic.write("plugin.sh", &script);
    let plugin = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": [clinic.dir.join("plugin.sh")],
    }});
    let walk = clinic.walk_other(&with(plugin), &SHELL).await;
    walk.works();
    assert!(walk.hop("credentials").1.contains("plugin sh"), "{walk:#?}");
    let runs = std::fs::read_to_string(clinic.dir.join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 1);
}

#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let clinic = Clinic::new(&[Fault::CannotImpersonate]).await;
    clinic.write("auth.yaml", TIER);
    let walk = clinic.walk("modern", &SHELL).await;
    walk.breaks_at(
        "impersonation",
        "cannot impersonate resource \"users\"",
        "--clusterrole=periscope-gateway --user=sandbox-owner",
    );
    let clinic = Clinic::new(&[Fault::ForbiddenCreate]).await;
    clinic.write("auth.yaml", TIER);
    let walk = clinic.walk("modern", &SHELL).await;
    walk.breaks_at(
        "rbac",
        "create pods/exec in namespace default: no",
        "ClusterRoleBinding periscope-tier:triage",
    );
    // Without a namespace it may still be there in some.
    let walk = clinic.walk("modern", &[]).await;
    walk.works();
    walk.warns("rbac", "name one with -n");
    let walk = clinic
        .walk(
            "legacy",
            &[&SHELL[..], &["--as", "ann", "--group", "visitors"]].concat(),
        )
        .await;
    walk.breaks_at("rbac", "no", "The tier read does not include shells");
    let walk = clinic
        .walk(
            "legacy",
            &[&SHELL[..], &["--as", "ann", "--group", "strangers"]].concat(),
        )
        .await;
    walk.breaks_at(
        "impersonation",
        "none of your groups",
        "authorization.groupTiers",
    );
    clinic.write("auth.yaml", RAW);
    let walk = clinic
        .walk(
            "legacy",
            &[&SHELL[..], &["--as", "ann", "--group", "devs"]].concat(),
        )
        .await;
    walk.breaks_at(
        "rbac",
        "no",
        "kubectl auth can-i create pods/exec -n default --as ann --as-group periscope-tier:devs",
    );
}

/// An apiserver, or something in front of it, that forgets whom the gateway impersonates.
fn forgetful(line: &str, _: &str) -> Option<(u16, String, String)> {
    let body = if line.contains("/version") {
        json!({"gitVersion": "v1.31.0"})
    } else if line.contains("selfsubjectreviews") {
        json!({"status": {"userInfo": {"username": "the-gateway", "groups": ["system:masters"]}}})
    } else {
        json!({"status": {"allowed": true}})
    };
    Some((200, String::new(), body.to_string()))
}

#[tokio::test]
async fn impersonation_that_gets_lost_on_the_way_is_no_good_one() {
    let clinic = Clinic::new(&[]).await;
    clinic.write("auth.yaml", TIER);
    let impostor = Impostor::start(Disguise::default(), forgetful).await;
    let walk = clinic.walk_other(&impostor.kubeconfig(), &SHELL).await;
    walk.breaks_at(
        "impersonation",
        "the apiserver sees the-gateway in system:masters instead of user periscope-doctor",
        "a proxy between here and the apiserver drops",
    );
}

/// An apiserver whose role has only `create` on `pods/exec`, and nothing else.
fn create_only(line: &str, body: &str) -> Option<(u16, String, String)> {
    let answer = if line.contains("/version") {
        (200, json!({"gitVersion": "v1.31.0"}))
    } else if line.contains("selfsubjectreviews") {
        let user = json!({"username": "periscope-doctor", "groups": []});
        (201, json!({"status": {"userInfo": user}}))
    } else if line.contains("selfsubjectaccessreviews") {
        let allowed = body.contains("\"create\"");
        (201, json!({"status": {"allowed": allowed}}))
    } else {
        (
            403,
            json!({"kind": "Status", "reason": "Forbidden", "message": "no"}),
        )
    };
    Some((answer.0, String::new(), answer.1.to_string()))
}

#[tokio::test]
async fn a_role_with_create_alone_is_told_what_that_costs() {
    let clinic = Clinic::new(&[]).await;
    clinic.write("auth.yaml", TIER);
    let impostor = Impostor::start(Disguise::default(), create_only).await;
    let walk = clinic.walk_other(&impostor.kubeconfig(), &SHELL).await;
    walk.warns("rbac", "get pods/exec: no");
    walk.warns("pod", "get pods: no");
    walk.breaks_at(
        "websocket",
        "refused: status:Forbidden",
        "an admission webhook or policy",
    );
}

#[tokio::test]
async fn a_gateway_that_falls_back_is_no_broken_one() {
    for (fault, said) in [
        (Fault::RefuseWs, "refused: 403"),
        (Fault::SilentWs, "no answer in time"),
        (Fault::TranslatorFail, "the node was not reached"),
    ] {
        let clinic = Clinic::new(&[fault]).await;
        let arguments = [&SHELL[..], &["--timeout", "3"]].concat();
        let walk = clinic.walk("modern", &arguments).await;
        walk.works();
        walk.warns("websocket", "falls back to SPDY");
        assert!(walk.hop("websocket").1.contains(said), "{walk:#?}");
        assert_eq!(walk.hop("spdy").0, "ok", "{walk:#?}");
        assert_eq!(walk.hop("shell").0, "ok", "{walk:#?}");
    }
    let clinic = Clinic::new(&[Fault::RefuseSpdy]).await;
    let walk = clinic.walk("modern", &SHELL).await;
    walk.works();
    assert_eq!(walk.hop("websocket").0, "ok", "{walk:#?}");
    walk.warns("spdy", "nothing to fall back to");
    let clinic = Clinic::new(&[Fault::OnlyV4]).await;
    let walk = clinic.walk("modern", &SHELL).await;
    walk.works();
    walk.warns("spdy", "last resort works");
    assert_eq!(walk.hop("websocket-v4").0, "ok", "{walk:#?}");
    assert_eq!(walk.hop("shell").0, "ok", "{walk:#?}");
}

#[tokio::test]
async fn upgrades_that_nobody_lets_through() {
    for (fault, seen, advice) in [
        (
            Fault::RefuseAll,
            "refused: 426",
            "does not let upgrades pass",
        ),
        (
            Fault::Status500,
            "refused: status:InternalError",
            "port 10250",
        ),
        (
            Fault::Status401,
            "refused: status:Unauthorized",
            "refuses them for exec",
        ),
        (Fault::EofAfter101, "upgraded, then", "a proxy on the way"),
    ] {
        let clinic = Clinic::new(&[fault]).await;
        let walk = clinic.walk("modern", &SHELL).await;
        walk.breaks_at("websocket", seen, advice);
        assert_eq!(walk.hop("spdy").0, "FAIL", "{walk:#?}");
        assert_eq!(walk.hop("shell").0, "skip", "{walk:#?}");
    }
}

#[tokio::test]
async fn pods_and_containers_in_which_nothing_can_run() {
    let clinic = Clinic::new(&[]).await;
    clinic.write("auth.yaml", TIER);
    let walk = clinic.walk("modern", &["-n", "default", "nowhere"]).await;
    walk.breaks_at(
        "pod",
        "there is no pod nowhere in namespace default",
        "kubectl get pods -n default",
    );
    let walk = clinic.walk("modern", &["-n", "default", "completed"]).await;
    walk.breaks_at("pod", "terminated", "only in a running container");
    let walk = clinic
        .walk("modern", &["-n", "default", "sidecar", "-c", "nowhere"])
        .await;
    walk.breaks_at(
        "pod",
        "there are proxy, app, init",
        "Name one of them with -c",
    );
    let walk = clinic
        .walk("modern", &["-n", "default", "sidecar", "-c", "proxy"])
        .await;
    walk.works();
    assert!(
        walk.hop("pod").1.contains("container proxy is running"),
        "{walk:#?}"
    );
    // The way there is sound, though the image has no shell.
    for cluster in ["modern", "legacy"] {
        let walk = clinic.walk(cluster, &["-n", "default", "distroless"]).await;
        walk.breaks_at("shell", "there is no sh in the container", "kubectl debug");
        assert_eq!(walk.hop("spdy").0, "ok", "{walk:#?}");
    }
    let walk = clinic.walk("modern", &["-n", "default", "exits"]).await;
    walk.works();
    walk.warns("shell", "exit code 7");
}

#[tokio::test]
async fn an_apiserver_that_hangs_is_not_waited_for_longer_than_asked() {
    let begun = Instant::now();
    let clinic = Clinic::new(&[Fault::Silent]).await;
    let short = ["--timeout", "1"];
    let walk = clinic.walk("modern", &[&SHELL[..], &short].concat()).await;
    walk.breaks_at("websocket", "no answer in time", "never answered");
    assert_eq!(walk.hop("spdy").0, "FAIL", "{walk:#?}");
    let impostor = Impostor::start(Disguise::default(), |_, _| None).await;
    let walk = clinic
        .walk_other(&impostor.kubeconfig(), &[&SHELL[..], &short].concat())
        .await;
    walk.breaks_at("apiserver", "no answer within 1 s", "hangs");
    // The gateway's own limits alone would take 25 s for the first walk and 10 s for the second.
    assert!(begun.elapsed() < Duration::from_secs(20));
    let page = |_: &str, _: &str| {
        Some((
            503,
            "Content-Type: text/html\r\n".to_owned(),
            "<h1>down</h1>".to_owned(),
        ))
    };
    let impostor = Impostor::start(Disguise::default(), page).await;
    let walk = clinic.walk_other(&impostor.kubeconfig(), &SHELL).await;
    walk.breaks_at(
        "apiserver",
        "503 with text/html",
        "no answer of a healthy apiserver",
    );
}

#[tokio::test]
async fn programs_read_the_same_as_json() {
    let clinic = Clinic::new(&[Fault::RefuseAll]).await;
    let walk = clinic
        .walk("modern", &[&SHELL[..], &["--output", "json"]].concat())
        .await;
    assert_eq!(walk.code, 1, "{walk:#?}");
    let report: Value = serde_json::from_str(&walk.text).unwrap();
    assert_eq!(report["cluster"], "modern");
    assert_eq!(report["ok"], false);
    assert_eq!(report["broken"], "websocket");
    assert!(
        report["auditId"].as_str().is_some_and(|id| id.len() == 36),
        "{report}"
    );
    let hops = report["hops"].as_array().unwrap();
    let hop = |name: &str| hops.iter().find(|hop| hop["hop"] == name).unwrap();
    assert_eq!(hop("tls")["result"], "ok");
    assert_eq!(hop("websocket")["result"], "fail");
    assert!(hop("websocket")["advice"].is_string() && hop("websocket")["milliseconds"].is_u64());
    assert_eq!(hop("shell")["result"], "skip");
}
