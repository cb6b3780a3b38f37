//! The gateway against an apiserver made of Kubernetes' own modules: the stream translator and the
//! upgrade-aware proxy in front of the exec server of container runtimes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test only by its attribute, not what tests call"
)]

mod gateway_support;
mod interop_support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_support::{Settings, World, exec_path};
use interop_support::Peer;
use periscope_server::sandbox::ClusterAccess;
use serde_json::{Value, json};

/// A gateway in front of both kinds of apiserver.
struct Peers {
    world: World,
    translating: Peer,
    untranslating: Peer,
}

impl Peers {
    async fn start() -> Self {
        let (translating, untranslating) = (Peer::translating(), Peer::untranslating());
        let peers = vec![copy(&translating.access), copy(&untranslating.access)];
        let settings = Settings {
            peers,
            ..Settings::default()
        };
        Self {
            world: World::start(settings).await,
            translating,
            untranslating,
        }
    }

    /// Each apiserver, with the transport and subprotocol that the gateway ends up with.
    fn ways(&self) -> [(&'static str, &'static str, &'static str); 2] {
        [
            (self.translating.access.name, "ws", "v5.channel.k8s.io"),
            // v5 is refused there with an empty 403.
            (self.untranslating.access.name, "spdy", "v4.channel.k8s.io"),
        ]
    }
}

fn copy(access: &ClusterAccess) -> ClusterAccess {
    ClusterAccess {
        name: access.name,
        server: access.server.clone(),
        ca_pem: access.ca_pem.clone(),
        token: access.token.clone(),
        exec_enabled: access.exec_enabled,
    }
}

/// The query of a command without a terminal.
fn piped(command: &[&str]) -> String {
    let encoded = URL_SAFE_NO_PAD.encode(serde_json::to_vec(command).unwrap());
    format!("?tty=false&command={encoded}")
}

#[tokio::test]
async fn a_shell_echoes_follows_its_window_and_ends_with_its_exit_code() {
    let peers = Peers::start().await;
    for (cluster, transport, subprotocol) in peers.ways() {
        let mut shell = peers.world.shell(cluster, "box", "?cols=100&rows=30").await;
        let hello = shell.message("hello").await;
        assert_eq!(
            (&hello["transport"], &hello["subprotocol"]),
            (&json!(transport), &json!(subprotocol)),
            "{cluster}"
        );
        assert_eq!(hello["container"], "box", "{cluster}");
        shell.type_in("echo can$((40+2))ary\n").await;
        shell.shows("can42ary").await;
        // As in a cluster, the window's size may come after the first prompt.
        shell
            .type_in("until [ \"$(stty size)\" = '30 100' ]; do :; done; echo fir'st'\n")
            .await;
        shell.shows("first\r\n").await;
        shell
            .control(&json!({"type": "resize", "cols": 132, "rows": 43}))
            .await;
        shell
            .type_in("until [ \"$(stty size)\" = '43 132' ]; do :; done; echo sec'ond'\n")
            .await;
        shell.shows("second\r\n").await;
        shell.type_in("exit 7\n").await;
        let closed = shell.closed().await;
        let expected = json!({"type": "closed", "reason": "client_close", "detail": "process_exit", "exitCode": 7, "truncated": false});
        assert_eq!(closed, expected, "{cluster}");
    }
    peers.world.wait_for_sessions(0).await;
}

#[tokio::test]
async fn a_command_ends_with_its_input_and_its_code() {
    let peers = Peers::start().await;
    for (cluster, ..) in peers.ways() {
        for (script, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("exit 255", 255),
            ("kill -9 $$", 137),
        ] {
            let script = format!("wc -c; echo err >&2; {script}");
            let mut shell = peers
                .world
                .shell(cluster, "box", &piped(&["sh", "-c", &script]))
                .await;
            shell.type_in("0123456789").await;
            shell.control(&json!({"type": "eof"})).await;
            let closed = shell.closed().await;
            assert_eq!(closed["exitCode"], code, "{cluster} {script}: {closed}");
            assert_eq!(closed["truncated"], false, "{cluster} {script}: {closed}");
            // stdout and stderr come on streams of their own, in any order.
            let mut lines: Vec<&str> = shell.output.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, ["10", "err"], "{cluster} {script}");
        }
    }
}

#[tokio::test]
async fn ten_megabytes_arrive_as_they_were_in_both_directions() {
    const LEN: usize = 10_000_000;
    let wanted: String = (1..)
        .map(|number: u32| format!("{number}\n"))
        .take(1_400_000)
        .collect();
    let wanted = &wanted[..LEN];
    let peers = Peers::start().await;
    for (cluster, ..) in peers.ways() {
        // The process stays until everything is here: a translator that pings a runtime which has
        // closed already loses what is still on its way, and reports success.
        let script = "seq 1 1400000 | head -c 10000000; cat";
        let command = piped(&["sh", "-c", script]);
        let mut shell = peers.world.shell(cluster, "box", &command).await;
        shell.receives(LEN).await;
        shell.control(&json!({"type": "eof"})).await;
        let closed = shell.closed().await;
        assert_eq!(closed["exitCode"], 0, "{cluster}: {closed}");
        assert!(
            shell.output == wanted,
            "{cluster}: {} bytes",
            shell.output.len()
        );

        let command = piped(&["sh", "-c", "cksum"]);
        let mut shell = peers.world.shell(cluster, "box", &command).await;
        for piece in wanted.as_bytes().chunks(32 * 1024) {
            shell.type_in(std::str::from_utf8(piece).unwrap()).await;
        }
        shell.control(&json!({"type": "eof"})).await;
        let closed = shell.closed().await;
        assert_eq!(closed["exitCode"], 0, "{cluster}: {closed}");
        assert_eq!(shell.output, checksum(), "{cluster}");
    }
}

/// What `cksum` says of those ten megabytes.
fn checksum() -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", "seq 1 1400000 | head -c 10000000 | cksum"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_the_apiserver_or_the_runtime_refuses_gets_its_code() {
    let peers = Peers::start().await;
    let shellless = piped(&["/bin/sh"]);
    for (cluster, ..) in peers.ways() {
        for (pod, query, code, detail) in [
            ("noshell", "", "E_NO_SHELL", "no_shell"),
            ("noshell", shellless.as_str(), "E_NO_SHELL", "no_shell"),
            ("forbidden", "", "E_FORBIDDEN", "forbidden"),
            ("box", "?container=nosuch", "E_NOT_FOUND", "not_found"),
            ("nosuch", "?container=box", "E_NOT_FOUND", "not_found"),
        ] {
            let path = exec_path(cluster, pod, query);
            let mut shell = peers.world.handshake(&path, &[]).await.unwrap();
            let closed = shell.closed().await;
            let messages: Vec<&Value> = shell.messages.iter().collect();
            let error = messages
                .iter()
                .find(|message| message["type"] == "error")
                .unwrap_or_else(|| panic!("{cluster} {pod} {query}: {messages:?}"));
            assert_eq!(error["code"], code, "{cluster} {pod} {query}");
            assert_eq!(closed["detail"], detail, "{cluster} {pod} {query}");
            assert_eq!(closed["exitCode"], Value::Null, "{cluster} {pod} {query}");
            let greeted = messages.iter().any(|message| message["type"] == "hello");
            assert!(!greeted, "{cluster} {pod} {query}: {messages:?}");
        }
        let refused = peers
            .world
            .refused(&exec_path(cluster, "nosuch", ""), &[])
            .await;
        assert_eq!(refused.refusal(), (404, "E_NOT_FOUND".to_owned()));
    }
    peers.world.wait_for_sessions(0).await;
}

#[tokio::test]
async fn the_first_of_two_containers_is_the_one() {
    let peers = Peers::start().await;
    for (cluster, ..) in peers.ways() {
        let mut shell = peers.world.shell(cluster, "pair", &piped(&["true"])).await;
        assert_eq!(shell.message("hello").await["container"], "first");
        assert_eq!(shell.closed().await["exitCode"], 0, "{cluster}");
    }
}
