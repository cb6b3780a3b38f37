//! What a flood costs `periscope serve` in memory, read from the system while the process runs.
//!
//! Both directions stand still: the process in the container writes without end and reads nothing,
//! the browser sends without end and reads nothing. So every queue, window and buffer on the way is
//! as full as it gets.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod serve_support;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::json;
use serve_support::{Place, Served, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

/// Shells that are flooded at the same time.
const SESSIONS: usize = 50;

/// What one of them may add to resident memory at its worst.
const SESSION_KIB_MAX: usize = 1024;

/// The part of that growth, in percent, that may still be there once the shells are gone: what
/// allocators and the runtime's own tables keep is a little a session, not its queues.
const KEPT_PERCENT_MAX: usize = 15;

/// How long the process may take to give the memory back.
const GIVEN_BACK: Duration = Duration::from_secs(10);

/// How long anything else here may take before the test fails: less than the minute after which a
/// browser that reads nothing is cut off.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long every counter has to stand still to count as the worst: the allocator gives pages back
/// a second after it last needed them.
const STILL: Duration = Duration::from_secs(2);

/// The receive buffer of a browser's socket: a small one is full sooner. The system keeps it, so it
/// is no memory of the process.
const RECEIVE_BYTES: u32 = 16 * 1024;

/// Floods beside each other would only make each other late.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn a_flood_over_websocket_stays_within_a_mebibyte_a_session_and_is_given_back() {
    flood("modern", "", Entrance::Plain).await;
}

#[tokio::test]
async fn a_flood_over_spdy_stays_within_a_mebibyte_a_session_and_is_given_back() {
    flood("legacy", "", Entrance::Plain).await;
}

#[tokio::test]
async fn a_flood_behind_a_closed_window_stays_within_a_mebibyte_a_session_and_is_given_back() {
    flood("modern", "&flow=both", Entrance::Plain).await;
}

#[tokio::test]
async fn a_flood_behind_the_gateways_own_tls_stays_within_a_mebibyte_a_session_and_is_given_back() {
    flood("modern", "", Entrance::Tls).await;
}

/// What a browser speaks on the way in.
#[derive(Clone, Copy, Debug)]
enum Entrance {
    Plain,
    Tls,
}

async fn flood(cluster: &str, flow: &str, entrance: Entrance) {
    let _turn = ONE_AT_A_TIME.lock().await;
    let place = Place::new(&[]).await;
    place.cluster_of_its_own(cluster);
    let variables = [
        ("PERISCOPE_EXEC_MAX_SESSIONS_PER_USER", "100"),
        ("PERISCOPE_EXEC_MAX_SESSIONS_TOTAL", "100"),
        ("PERISCOPE_EXEC_OPENS_PER_MINUTE", "0"),
    ];
    let served = match entrance {
        Entrance::Plain => Served::start(&place, &variables).await,
        Entrance::Tls => {
            let certificate = place.certificate();
            let files = [
                ("PERISCOPE_TLS_CERT", "cert.pem"),
                ("PERISCOPE_TLS_KEY", "key.pem"),
            ];
            let variables = [variables.as_slice(), &files].concat();
            Served::start_tls(&place, &variables, &certificate).await
        }
    };
    // The first shells pay for what every later one finds: pages of the program that nobody had
    // run yet, the pods' page, a TLS session to resume.
    drop(stalled(&served, cluster, flow, 2).await);
    all_gone(&served).await;
    let before = settled(&served).await;
    let browsers = stalled(&served, cluster, flow, SESSIONS).await;
    let worst = served.resident_kib();
    drop(browsers);
    all_gone(&served).await;
    let growth = worst.saturating_sub(before);
    let kept_max = growth * KEPT_PERCENT_MAX / 100;
    let since = Instant::now();
    let mut kept = served.resident_kib().saturating_sub(before);
    while kept > kept_max && since.elapsed() < GIVEN_BACK {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kept = served.resident_kib().saturating_sub(before);
    }
    let told = format!(
        "{cluster}{flow}, {entrance:?}: {before} KiB before, {} KiB more a session, {kept} of {growth} KiB kept after {:?}",
        growth / SESSIONS,
        since.elapsed(),
    );
    eprintln!("{told}");
    // Less than the output queue alone holds: then nothing was flooded.
    assert!(growth / SESSIONS > 700, "{told}");
    assert!(growth <= SESSIONS * SESSION_KIB_MAX, "{told}");
    assert!(kept <= kept_max, "{told}");
}

/// Opens shells, floods them both ways, and waits until nothing moves any more.
async fn stalled(served: &Served, cluster: &str, flow: &str, count: usize) -> JoinSet<()> {
    let before = served.carried().await;
    let request = request(served, cluster, flow);
    let opened = join_all((0..count).map(|_| open(served, &request)));
    let opened = tokio::time::timeout(PATIENCE, opened).await;
    let mut browsers = JoinSet::new();
    for browser in opened.expect("every hello in time") {
        browsers.spawn(send_without_end(browser));
    }
    let begun = Instant::now();
    let (mut last, mut since) = (before, Instant::now());
    loop {
        tokio::time::sleep(STILL / 5).await;
        let now = served.carried().await;
        if now != last {
            (last, since) = (now, Instant::now());
        } else if now != before && since.elapsed() >= STILL {
            return browsers;
        }
        assert!(begun.elapsed() < PATIENCE, "it never stands still");
    }
}

/// The handshake of a browser whose shell is a process that writes zeros and never reads.
fn request(served: &Served, cluster: &str, flow: &str) -> String {
    let command = URL_SAFE_NO_PAD.encode(json!(["cat", "/dev/zero"]).to_string());
    let path = format!("/api/clusters/{cluster}/pods/default/shell/exec");
    format!(
        "GET {path}?tty=false&command={command}{flow} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        served.address(),
    )
}

/// A browser that reads until its shell is up, and nothing after that.
async fn open(served: &Served, request: &str) -> Stream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    let socket = socket.connect(served.address()).await.unwrap();
    let mut stream = served.over(socket).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    // TLS may have taken it and handed nothing on yet.
    stream.flush().await.unwrap();
    let (mut seen, mut buffer) = (String::new(), [0; 1024]);
    while !seen.contains(r#""type":"hello""#) {
        let len = stream.read(&mut buffer).await.unwrap();
        assert!(len > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..len]));
        assert!(
            seen.starts_with("HTTP/1.1 101") || seen.len() < 12,
            "{seen}"
        );
    }
    stream
}

/// Types until the socket takes no more, and then waits.
async fn send_without_end(mut browser: Stream) {
    let payload = [b'x'; 4096];
    // A masked binary message (RFC 6455 §5.2) whose key changes nothing.
    let mut message = vec![0x82, 0xfe, 0x10, 0x00, 0, 0, 0, 0];
    message.extend_from_slice(&payload);
    while browser.write_all(&message).await.is_ok() {}
}

async fn all_gone(served: &Served) {
    let gone = async {
        while served.get("/api/sessions").await.1["items"] != json!([]) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.expect("the shells end in time");
}

/// Resident memory once it no longer falls.
async fn settled(served: &Served) -> usize {
    let mut smallest = served.resident_kib();
    let mut since = Instant::now();
    while since.elapsed() < STILL {
        tokio::time::sleep(STILL / 10).await;
        let now = served.resident_kib();
        if now < smallest {
            (smallest, since) = (now, Instant::now());
        }
    }
    smallest
}
