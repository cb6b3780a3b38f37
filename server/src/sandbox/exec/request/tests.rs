use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Instant;

use http::Request;

use super::super::super::cluster::Flavour;
use super::super::super::pods;
use super::super::super::process::ProcessTable;
use super::*;

const V5: &str = "v5.channel.k8s.io";

fn cluster(flavour: Flavour, faults: &[Fault]) -> Cluster {
    Cluster {
        name: "test",
        flavour,
        address: "127.0.0.1:6443".to_owned(),
        token: "secret".to_owned(),
        faults: faults.to_vec(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        started: Instant::now(),
        all_pods: pods::pods("2026-01-01T00:00:00Z"),
        gone: Mutex::new(BTreeSet::new()),
        homes: "/nowhere".into(),
        processes: ProcessTable::default(),
    }
}

/// A WebSocket handshake for `sh` in a pod of `default`.
fn handshake(pod: &str, query: &str, subprotocols: &str) -> Parts {
    let target = format!("/api/v1/namespaces/default/pods/{pod}/exec?{query}");
    request(
        "GET",
        &target,
        &[
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", subprotocols),
        ],
    )
}

fn spdy(pod: &str, headers: &[(&str, &str)]) -> Parts {
    let target = format!("/api/v1/namespaces/default/pods/{pod}/exec?command=sh&stdout=true");
    request(
        "POST",
        &target,
        &[&[("upgrade", "SPDY/3.1")], headers].concat(),
    )
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("authorization", "Bearer secret")
        .header("connection", "keep-alive, Upgrade");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn plan(decision: Result<Plan, Denial>) -> Plan {
    decision.unwrap_or_else(|denial| panic!("refused: {denial:?}"))
}

fn refusal(decision: Result<Plan, Denial>) -> String {
    match decision {
        Err(Denial::Refuse(refusal)) => refusal.message,
        other => panic!("not refused with a Status: {other:?}"),
    }
}

#[test]
fn the_translator_takes_any_list_with_v5_and_the_runtime_the_first_it_knows() {
    let modern = cluster(Flavour::Modern, &[]);
    let legacy = cluster(Flavour::Legacy, &[]);
    let choice = |cluster: &Cluster, offered: &str| match decide(
        cluster,
        &handshake("shell", "command=sh&stdout=1", offered),
    ) {
        Ok(plan) => Some(plan.transport),
        Err(Denial::Bare) => None,
        other => panic!("{other:?}"),
    };
    let ws = |name| Some(Transport::WebSocket(Some(name)));
    assert_eq!(choice(&modern, V5), ws(Subprotocol::V5));
    assert_eq!(
        choice(&modern, "v4.channel.k8s.io, v5.channel.k8s.io"),
        ws(Subprotocol::V5)
    );
    assert_eq!(
        choice(&modern, "channel.k8s.io,v4.channel.k8s.io"),
        ws(Subprotocol::V1)
    );
    assert_eq!(choice(&modern, "v9.channel.k8s.io"), None);
    assert_eq!(choice(&legacy, V5), None);
    assert_eq!(
        choice(&legacy, "v5.channel.k8s.io, v4.channel.k8s.io"),
        ws(Subprotocol::V4)
    );
    assert_eq!(
        choice(&legacy, "base64.channel.k8s.io"),
        ws(Subprotocol::V1Base64)
    );
    assert_eq!(choice(&legacy, ""), Some(Transport::WebSocket(None)));
}

#[test]
fn spdy_needs_a_subprotocol_the_server_has() {
    let modern = cluster(Flavour::Modern, &[]);
    let name = "x-stream-protocol-version";
    let offered = spdy("shell", &[(name, V5), (name, "v4.channel.k8s.io")]);
    assert_eq!(plan(decide(&modern, &offered)).transport, Transport::Spdy);
    assert!(matches!(
        decide(&modern, &spdy("shell", &[])),
        Err(Denial::Text(StatusCode::BAD_REQUEST, _))
    ));
    let none = decide(&modern, &spdy("shell", &[(name, V5)]));
    assert!(
        matches!(none, Err(Denial::NoSpdySubprotocol(_))),
        "{none:?}"
    );
}

#[test]
fn a_get_needs_create_on_a_recent_cluster_only() {
    let create_forbidden = [Fault::ForbiddenCreate];
    let mut get = handshake("shell", "command=sh&stdout=true", V5);
    for (name, value) in [
        ("impersonate-user", "ada"),
        ("impersonate-group", "periscope-tier:write"),
    ] {
        get.headers.insert(name, value.parse().unwrap());
    }
    assert_eq!(
        refusal(decide(&cluster(Flavour::Modern, &create_forbidden), &get)),
        "pods \"shell\" is forbidden: "
    );
    // There the GET passes, and only v5 is refused.
    assert!(matches!(
        decide(&cluster(Flavour::Legacy, &create_forbidden), &get),
        Err(Denial::Bare)
    ));
    plan(decide(&cluster(Flavour::Modern, &[]), &get));

    get.headers.remove("impersonate-group");
    assert_eq!(
        refusal(decide(&cluster(Flavour::Legacy, &[]), &get)),
        "pods \"shell\" is forbidden: User \"ada\" cannot get resource \"pods/exec\" in API group \"\" in the \
         namespace \"default\""
    );
}

#[test]
fn pods_and_containers_are_checked_before_the_upgrade() {
    let modern = cluster(Flavour::Modern, &[]);
    let asked = |pod: &str, query: &str| decide(&modern, &handshake(pod, query, V5));
    assert_eq!(
        refusal(asked("nosuch", "command=sh&stdout=true")),
        "pods \"nosuch\" not found"
    );
    assert_eq!(
        refusal(asked("shell", "command=sh&container=nosuch&stdout=true")),
        "container nosuch is not valid for pod shell"
    );
    assert_eq!(
        refusal(asked("pending", "command=sh&stdout=true")),
        "pod pending does not have a host assigned"
    );
    let plain = request(
        "GET",
        "/api/v1/namespaces/default/pods/shell/exec?command=sh&stdout=true",
        &[],
    );
    assert_eq!(refusal(decide(&modern, &plain)), "Upgrade request required");
    for (pod, query, text) in [
        (
            "completed",
            "command=sh&stdout=true",
            "container not found (\"app\")",
        ),
        (
            "sidecar",
            "command=sh&stdout=true&container=init",
            "container not found (\"init\")",
        ),
        (
            "shell",
            "command=sh&stdout=false",
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
    ] {
        match asked(pod, query) {
            Err(Denial::Text(_, body)) => assert_eq!(body, text),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_query_says_what_runs_and_how() {
    let modern = cluster(Flavour::Modern, &[]);
    let query = "command=sh&command=-c&command=echo+hi%3B&container=proxy&stdin=true&stdout=1&stderr=true&tty=";
    let plan = plan(decide(&modern, &handshake("sidecar", query, V5)));
    assert_eq!(plan.spawn.argv, ["sh", "-c", "echo hi;"]);
    assert_eq!(
        plan.spawn.home,
        std::path::Path::new("/nowhere/default/sidecar/proxy")
    );
    // The kubelet drops stderr where there is a tty.
    assert_eq!(
        plan.asked,
        AskedStreams {
            stdin: true,
            stdout: true,
            stderr: false,
            tty: true
        }
    );
}

#[test]
fn special_pods_have_a_shell_of_their_own_but_run_other_commands_as_they_are() {
    let modern = cluster(Flavour::Modern, &[]);
    let runs = |query: &str| {
        plan(decide(&modern, &handshake("exits", query, V5)))
            .spawn
            .argv
    };
    assert_eq!(runs("command=sh&stdout=true"), ["sh", "-c", EXITS]);
    let default = "command=sh&command=-c&command=command+-v+bash+%3E%2Fdev%2Fnull+2%3E%261+%26%26+exec+bash%3B+exec+sh&stdout=true";
    assert_eq!(runs(default), ["sh", "-c", EXITS]);
    assert_eq!(runs("command=ls&stdout=true"), ["ls"]);
}

#[test]
fn only_exec_paths_are_execs() {
    assert_eq!(
        exec_path("/api/v1/namespaces/a/pods/b/exec"),
        Some(("a", "b"))
    );
    assert_eq!(exec_path("/api/v1/namespaces/a/pods/b/exec/"), None);
    assert_eq!(exec_path("/api/v1/namespaces/a/pods/b/log"), None);
    assert_eq!(exec_path("/apis/v1/namespaces/a/pods/b/exec"), None);
}
