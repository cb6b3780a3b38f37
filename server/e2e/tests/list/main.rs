//! The end-to-end list: every row of one table, on two runtimes, three transports and two
//! apiservers, by a browser that is a black box. It prints the table; a cell that is not as the
//! table says fails the run.
//!
//! `LIST=<text>` plays only rows whose name contains the text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this crate is test code: a panic is a finding, and the table is its result"
)]

mod admission;
mod browser;
mod gateways;
#[path = "../../../tests/payload/mod.rs"]
mod payload;
mod peers;
mod print;
mod rows;
mod table;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;

use browser::PATIENCE;
use gateways::{Cluster, Gateway, Runtime};
use peers::{Peer, Peers, Transport};
use rows::Case;
use table::{COLUMNS, Cell, Host, LIST, Play, Row};
use wire::Wire;

/// Cases that run at a time, and long ones.
const AT_ONCE: usize = 12;
const LONG_AT_ONCE: usize = 2;

/// How long a case may take: the longest wait of the list is a dial's ten seconds.
const CASE_TIMEOUT: Duration = Duration::from_mins(5);

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    root: PathBuf,
    target: PathBuf,
    dir: PathBuf,
}

/// One cell, played.
struct Played {
    row: usize,
    column: usize,
    runtime: Runtime,
    failure: Option<String>,
    took: Duration,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run())
}

async fn run() -> ExitCode {
    let started = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let root = root.unwrap().to_owned();
    let target = std::env::current_exe().unwrap();
    let places = Places {
        target: target.ancestors().nth(3).unwrap().to_owned(),
        dir: std::env::temp_dir().join(format!("periscope-e2e-{}", uuid::Uuid::new_v4())),
        root,
    };
    std::fs::create_dir(&places.dir).unwrap();
    build(&places, "periscope-runtime-smol", "gateway").await;
    build(&places, "periscope-core", "blocking").await;
    let peers = Peers::start(&places.root, places.dir.clone())
        .await
        .unwrap();
    let filter = std::env::var("LIST").unwrap_or_default();
    payload::keep_log();
    let mut all = Vec::new();
    for runtime in Runtime::ALL {
        all.extend(prepare(runtime, &peers, &places, &filter).await);
    }
    // The one that leaves belongs to its stage alone, which searches for itself.
    let stay = all.iter().filter(|stage| stage.host != Host::Drain);
    let gateways: Vec<_> = stay
        .map(|stage| (stage.host, Arc::clone(&stage.gateway)))
        .collect();
    let mains: Vec<Arc<Gateway>> = all
        .iter()
        .filter(|stage: &&Stage| stage.host == Host::Main)
        .map(|stage| Arc::clone(&stage.gateway))
        .collect();
    let (places, peers) = (Arc::new(places), Arc::new(peers));
    let mut others = Vec::new();
    if filter.is_empty() {
        for runtime in Runtime::ALL {
            let (peers, places) = (Arc::clone(&peers), Arc::clone(&places));
            let play = tokio::spawn(async move { admission::play(runtime, &peers, &places).await });
            others.push((format!("admission on {}", runtime.name()), play));
        }
        let (peers, places) = (Arc::clone(&peers), Arc::clone(&places));
        let play = tokio::spawn(async move { play_blocking(&peers, &places).await });
        others.push(("a command without a runtime".to_owned(), play));
    }
    let played = play_all(all).await;
    print::table(&played, &filter);
    let mut failures = 0;
    for one in played.iter().filter(|one| one.failure.is_some()) {
        failures += 1;
        let (transport, peer) = COLUMNS[one.column];
        println!(
            "\nFAILED {} on {}, {}, {}:\n  {}",
            LIST[one.row].name,
            one.runtime.name(),
            transport.name(),
            peer.name(),
            one.failure.as_deref().unwrap_or_default()
        );
    }
    if let ([tokio, smol], true) = (mains.as_slice(), filter.is_empty()) {
        let (tokio, smol) = (Arc::clone(tokio), Arc::clone(smol));
        let play = tokio::spawn(async move { admission::compare_audit(&tokio, &smol).await });
        others.push(("audit rows with the same fields on both".to_owned(), play));
    }
    drop(mains);
    let search = tokio::task::spawn_blocking(move || search(&gateways, !filter.is_empty()));
    others.push((
        "no byte of a terminal in logs, audit rows and answers".to_owned(),
        search,
    ));
    for (name, play) in others {
        match play.await {
            Ok(()) => println!("{name}: ok"),
            Err(error) => {
                failures += 1;
                println!("FAILED {name}:\n  {}", reason(error));
            }
        }
    }
    if let Some(peers) = Arc::into_inner(peers) {
        peers.stop().await;
    }
    println!(
        "\n{} cells played, {failures} failed, {} s",
        played.len(),
        started.elapsed().as_secs()
    );
    if failures == 0 && !played.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// No byte of a terminal is in what these gateways wrote.
fn search(gateways: &[(Host, Arc<Gateway>)], is_part: bool) {
    for (host, gateway) in gateways {
        // Some rows and some gateways are about nothing that is typed or shown.
        let may_be_empty = is_part || *host != Host::Main;
        assert!(
            may_be_empty || !gateway.payload.is_empty(),
            "nobody saw anything"
        );
        gateway.expect_no_payload();
    }
}

/// Builds an example, so that what is played is what the source says.
async fn build(places: &Places, package: &str, example: &str) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "-p", package])
        .args(["--example", example, "--target-dir"])
        .arg(&places.target)
        .current_dir(&places.root)
        .status()
        .await
        .unwrap();
    assert!(status.success(), "{example} does not build");
}

/// The example without a runtime runs a command on both apiservers.
async fn play_blocking(peers: &Peers, places: &Places) {
    for peer in [Peer::Sandbox, Peer::Interop] {
        let access = peers.access(peer, Transport::V5);
        let ca = places.dir.join(format!("ca-{}.pem", peer.name()));
        std::fs::write(&ca, &access.ca_pem).unwrap();
        let mut child = Command::new(places.target.join("debug/examples/blocking"))
            .arg(&access.server)
            .arg(&ca)
            .args([
                "default",
                peer.pod(),
                "sh",
                "-c",
                "wc -c; echo done; exit 7",
            ])
            .env("TOKEN", &access.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let end = async {
            stdin.write_all(&vec![b'x'; 100_000]).await.unwrap();
            drop(stdin);
            child.wait_with_output().await.unwrap()
        };
        let output = tokio::time::timeout(PATIENCE, end).await;
        let output = output.expect("an end in time");
        let printed = String::from_utf8_lossy(&output.stdout);
        let words: Vec<&str> = printed.split_whitespace().collect();
        assert_eq!(words, ["100000", "done"], "{}", peer.name());
        assert_eq!(output.status.code(), Some(7), "{}", peer.name());
    }
}

/// One host of a runtime with the cases that are played on it.
struct Stage {
    runtime: Runtime,
    host: Host,
    gateway: Arc<Gateway>,
    cases: Vec<(usize, usize, Case)>,
}

/// Starts the gateways of a runtime, each with a cluster for every case.
async fn prepare(runtime: Runtime, peers: &Peers, places: &Places, filter: &str) -> Vec<Stage> {
    let mut stages = Vec::new();
    for host in Host::ALL {
        let mut prepared = Vec::new();
        for (row_index, row) in LIST.iter().enumerate() {
            if row.host != host || !row.name.contains(filter) {
                continue;
            }
            for (column, (transport, peer)) in COLUMNS.into_iter().enumerate() {
                if matches!((row.cell)(peer, transport), Cell::NotApplicable(_)) {
                    continue;
                }
                let access = peers.access(peer, transport);
                let wire = Wire::start(&access, row.acts(peer, transport))
                    .await
                    .unwrap();
                let cluster = Cluster {
                    name: format!("r{row_index}-{}-{}", transport.name(), peer.name()),
                    access: wire.access(),
                    is_exec_enabled: true,
                };
                prepared.push((row_index, column, wire, cluster));
            }
        }
        if prepared.is_empty() {
            continue;
        }
        let clusters: Vec<Cluster> = prepared.iter().map(|each| each.3.clone()).collect();
        let settings = host.settings();
        let gateway =
            Gateway::start(runtime, &clusters, settings, &places.target, &places.dir).await;
        let gateway = Arc::new(gateway.unwrap());
        let cases = prepared.into_iter().map(|(row, column, wire, cluster)| {
            let (transport, peer) = COLUMNS[column];
            let case = Case {
                gateway: Arc::clone(&gateway),
                cluster: cluster.name,
                peer,
                transport,
                wire,
            };
            (row, column, case)
        });
        stages.push(Stage {
            runtime,
            host,
            cases: cases.collect(),
            gateway,
        });
    }
    stages
}

async fn play_all(stages: Vec<Stage>) -> Vec<Played> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let long_places = Arc::new(Semaphore::new(LONG_AT_ONCE));
    let mut tasks = Vec::new();
    for stage in stages {
        if stage.host == Host::Drain {
            tasks.push(tokio::spawn(play_drain(stage)));
            continue;
        }
        for (row, column, case) in stage.cases {
            let places = Arc::clone(if LIST[row].is_long {
                &long_places
            } else {
                &places
            });
            let runtime = stage.runtime;
            tasks.push(tokio::spawn(async move {
                let place = places.acquire_owned().await.unwrap();
                let started = Instant::now();
                let play = tokio::spawn(async move {
                    if let Row {
                        play: Play::Whole(play),
                        ..
                    } = &LIST[row]
                    {
                        play(&case).await;
                    }
                    case.expect_nothing_left().await;
                });
                let failure = outcome(play).await;
                drop(place);
                vec![Played {
                    row,
                    column,
                    runtime,
                    failure,
                    took: started.elapsed(),
                }]
            }));
        }
    }
    let mut played = Vec::new();
    for task in tasks {
        played.extend(task.await.unwrap());
    }
    played
}

/// A gateway leaves once: all cases have their shells first, then it is told, then all look.
async fn play_drain(stage: Stage) -> Vec<Played> {
    let started = Instant::now();
    let Stage {
        runtime,
        gateway,
        cases,
        ..
    } = stage;
    let mut opened = Vec::new();
    for (row, column, case) in cases {
        let open = tokio::spawn(async move { (rows::before_the_drain(&case).await, case) });
        let opened_one = match open.await {
            Ok(both) => Ok(both),
            Err(error) => Err(reason(error)),
        };
        opened.push((row, column, opened_one));
    }
    // The cases hold the gateway too: only this task may tell it.
    let mut cases = Vec::new();
    let mut plays = Vec::new();
    let mut gateway = gateway;
    for (row, column, opened_one) in opened {
        match opened_one {
            Ok((shell, case)) => {
                cases.push((row, column, case));
                plays.push((row, column, Ok(shell)));
            }
            Err(failure) => plays.push((row, column, Err(failure))),
        }
    }
    let wires: Vec<Wire> = cases.into_iter().map(|(_, _, case)| case.wire).collect();
    let told = Arc::get_mut(&mut gateway).map(Gateway::terminate);
    let mut played = Vec::new();
    for (row, column, shell) in plays {
        let failure = match (shell, told) {
            (Ok(shell), Some(())) => outcome(tokio::spawn(rows::drained(shell))).await,
            (Ok(_), None) => Some("somebody still holds the gateway".to_owned()),
            (Err(failure), _) => Some(failure),
        };
        played.push(Played {
            row,
            column,
            runtime,
            failure,
            took: started.elapsed(),
        });
    }
    let left = async {
        let gateway = Arc::get_mut(&mut gateway).expect("the only holder");
        assert!(gateway.left().await, "rows or sessions were left behind");
        for wire in &wires {
            assert_eq!(wire.live(), 0, "an exec outlived its gateway");
        }
        gateway.expect_no_payload();
    };
    if let Err(failure) =
        futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(left)).await
        && let Some(first) = played.first_mut()
    {
        first.failure.get_or_insert_with(|| panic_text(&*failure));
    }
    played
}

async fn outcome(play: tokio::task::JoinHandle<()>) -> Option<String> {
    match tokio::time::timeout(CASE_TIMEOUT, play).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(reason(error)),
        Err(_) => Some("it took too long".to_owned()),
    }
}

fn reason(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_text(&*panic),
        Err(error) => error.to_string(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}
