//! What `/metrics` counts, read as a scraper reads it: over HTTP, without a login.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use gateway_support::{Settings, World, exec_path};
use periscope_server::gateway::registry::ExecSettings;
use periscope_server::sandbox::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Samples by their name with labels, as they stand on the page.
async fn scrape(world: &World) -> BTreeMap<String, f64> {
    let host = [("Host", "prometheus.example:9090")];
    let answer = world.anonymous("GET", "/metrics", &host, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text;"));
    assert!(answer.body.ends_with("# EOF\n"));
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}

/// Scrapes until a sample has this value.
async fn wait_for(world: &World, name: &str, value: f64) -> BTreeMap<String, f64> {
    let wait = async {
        loop {
            let samples = scrape(world).await;
            let found = samples.get(name).copied().unwrap_or_default();
            if (found - value).abs() < 0.5 {
                return samples;
            }
            assert!(found < value, "{name} is {found} already");
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(gateway_support::PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{name} never became {value}"))
}

#[tokio::test]
async fn a_scrape_counts_sessions_dials_refusals_breaker_and_audit_rows() {
    let exec = ExecSettings {
        sessions_per_user_max: 1,
        ..ExecSettings::default()
    };
    let world = World::start(Settings {
        faults: vec![Fault::RefuseWs],
        exec,
        ..Settings::default()
    })
    .await;
    let before = scrape(&world).await;
    let at = |samples: &BTreeMap<String, f64>, name: &str| {
        let found = samples.get(name).copied();
        format!(
            "{name} {}",
            found.map_or("none".to_owned(), |value| value.to_string())
        )
    };
    for quiet in [
        r#"periscope_exec_sessions_live{cluster="modern"} 0"#,
        r#"periscope_exec_breaker_state{cluster="legacy",state="closed"} 1"#,
        r#"periscope_exec_cap_hits_total{cluster="modern",cap="user",dry_run="false"} 0"#,
        r#"periscope_exec_bytes_total{direction="stdin"} 0"#,
        r#"periscope_audit_lost_total{sink="stdout"} 0"#,
        "periscope_exec_unauthenticated_total 0",
        "periscope_draining 0",
        concat!(
            r#"periscope_build_info{version=""#,
            env!("CARGO_PKG_VERSION"),
            r#""} 1"#
        ),
    ] {
        let name = quiet.rsplit_once(' ').unwrap().0;
        assert_eq!(at(&before, name), quiet);
    }

    let path = exec_path("modern", "shell", "");
    assert!(world.anonymous_handshake(&path, &[]).await.is_err());
    for _ in 0..3 {
        let mut shell = world.shell("modern", "shell", "").await;
        let up = scrape(&world).await;
        let live = r#"periscope_exec_sessions_live{cluster="modern"}"#;
        assert_eq!(at(&up, live), format!("{live} 1"));
        assert_eq!(world.refused(&path, &[]).await.status, 429);
        assert_eq!(world.get(&path).await.status, 429);
        shell.type_in("echo $((70+7))\n").await;
        shell.shows("77").await;
        shell.type_in("exit 3\n").await;
        assert_eq!(shell.closed().await["exitCode"], 3);
        world.wait_for_sessions(0).await;
    }
    assert_eq!(
        world
            .refused(&exec_path("nope\u{21}", "shell", ""), &[])
            .await
            .status,
        404
    );

    let samples = wait_for(
        &world,
        r#"periscope_exec_breaker_state{cluster="modern",state="open"}"#,
        1.0,
    )
    .await;
    for expected in [
        r#"periscope_exec_sessions_live{cluster="modern"} 0"#,
        r#"periscope_exec_sessions_opened_total{cluster="modern",transport="spdy",subprotocol="v4.channel.k8s.io"} 3"#,
        r#"periscope_exec_sessions_ended_total{cluster="modern",close_reason="client_close",close_detail="process_exit"} 3"#,
        "periscope_exec_session_duration_seconds_count 3",
        r#"periscope_exec_upgrade_attempts_total{cluster="modern",transport="ws",upgrade_error="403"} 3"#,
        r#"periscope_exec_upgrade_attempts_total{cluster="modern",transport="spdy",upgrade_error="none"} 3"#,
        r#"periscope_exec_breaker_state{cluster="modern",state="closed"} 0"#,
        r#"periscope_exec_breaker_state{cluster="legacy",state="closed"} 1"#,
        r#"periscope_exec_cap_hits_total{cluster="modern",cap="user",dry_run="false"} 3"#,
        r#"periscope_exec_cap_hits_total{cluster="modern",cap="user",dry_run="true"} 3"#,
        r#"periscope_exec_denied_total{code="E_CAP_USER"} 3"#,
        r#"periscope_exec_denied_total{code="E_NOT_FOUND"} 1"#,
        r#"periscope_exec_bytes_total{direction="stdin"} 66"#,
        "periscope_exec_unauthenticated_total 1",
    ] {
        let name = expected.rsplit_once(' ').unwrap().0;
        assert_eq!(at(&samples, name), expected);
    }
    // Three pairs, one row of the cap's refusals and one of the unknown cluster's.
    assert!(samples[r#"periscope_audit_rows_total{sink="stdout"}"#] >= 8.0);
    assert!(samples[r#"periscope_exec_bytes_total{direction="stdout"}"#] >= 6.0);
}

#[tokio::test]
async fn no_label_names_a_user_a_namespace_or_a_pod_whatever_is_asked_for() {
    let world = World::start(Settings {
        sub: "marker-user",
        ..Settings::default()
    })
    .await;
    let mut shell = world.shell("modern", "shell", "?tty=false").await;
    for path in [
        "/api/clusters/marker-cluster/pods/default/shell/exec",
        "/api/clusters/modern/pods/marker-namespace/shell/exec",
        "/api/clusters/modern/pods/default/marker-pod/exec",
        "/api/clusters/modern/pods/default/shell/exec?container=marker-container",
    ] {
        // The last one is refused by the apiserver, behind the 101.
        if let Ok(mut shell) = world.handshake(path, &[]).await {
            shell.closed().await;
        }
    }
    shell.type_in("exit\n").await;
    shell.closed().await;
    let samples = wait_for(
        &world,
        r#"periscope_exec_sessions_ended_total{cluster="modern",close_reason="client_close",close_detail="process_exit"}"#,
        1.0,
    )
    .await;
    let denied: f64 = samples
        .iter()
        .filter(|(name, _)| name.starts_with("periscope_exec_denied_total"))
        .map(|(_, count)| count)
        .sum();
    assert!((denied - 4.0).abs() < 0.5, "{samples:?}");
    let page: String = samples.keys().map(String::as_str).collect();
    for name in ["marker", "default", "demo"] {
        assert!(!page.contains(name), "{name} is in {page}");
    }
    let labels: BTreeSet<&str> = samples
        .keys()
        .filter_map(|name| name.split_once('{'))
        .flat_map(|(_, labels)| labels.trim_end_matches('}').split("\","))
        .map(|label| label.split_once('=').unwrap().0)
        .collect();
    let allowed = [
        "cap",
        "close_detail",
        "close_reason",
        "cluster",
        "code",
        "direction",
        "dry_run",
        "le",
        "sink",
        "state",
        "subprotocol",
        "transport",
        "upgrade_error",
        "version",
    ];
    let unknown: Vec<_> = labels
        .iter()
        .filter(|label| !allowed.contains(label))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn metrics_answer_while_draining_and_to_get_only() {
    let mut world = World::start(Settings::default()).await;
    let answer = world.anonymous("POST", "/metrics", &[], "").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["allow"], "GET, HEAD");
    let shell = world.shell("modern", "shell", "").await;
    let address = world.address;
    let (hurry, hurried) = tokio::sync::oneshot::channel::<()>();
    let scraping = async move {
        while !page(address).await.contains("periscope_draining 1\n") {}
        hurry.send(()).unwrap();
    };
    let draining = world.drain(async { hurried.await.unwrap() });
    let (left, ()) = tokio::join!(draining, scraping);
    assert_eq!(left.sessions, 0);
    drop(shell);
}

/// The page at an address, headers included.
async fn page(address: SocketAddr) -> String {
    let read = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    };
    let read = tokio::time::timeout(gateway_support::PATIENCE, read);
    read.await.expect("a page in time")
}
