//! What the log says about shells, and what it never says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use gateway_support::{Settings, World, payload};
use periscope_server::gateway::registry::ExecSettings;
use periscope_server::sandbox::Fault;

fn lines(event: &str) -> Vec<String> {
    let lines = payload::log_since(0);
    let of_event = lines
        .iter()
        .filter(|line| line.split(' ').next() == Some(event));
    // The session's identifier is another one every time.
    of_event
        .map(|line| {
            line.split(' ')
                .filter(|part| !part.starts_with("session="))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[tokio::test]
async fn the_log_tells_transports_breaker_and_caps_and_no_byte_of_a_terminal() {
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
    for _ in 0..4 {
        let mut shell = world.shell("modern", "shell", "").await;
        shell.type_in("echo canary$((70+7))typed\n").await;
        shell.shows("canary77typed").await;
        let refused = world
            .refused(&gateway_support::exec_path("modern", "shell", ""), &[])
            .await;
        assert_eq!(refused.status, 429);
        shell.type_in("exit 0\n").await;
        shell.closed().await;
        world.wait_for_sessions(0).await;
    }
    let choices = lines("exec.transport.choice");
    assert_eq!(
        choices[..3],
        vec!["exec.transport.choice cluster=modern transport=ws circuit_breaker=closed"; 3]
    );
    assert_eq!(
        choices[3..],
        ["exec.transport.choice cluster=modern transport=spdy circuit_breaker=open"]
    );
    let attempts = lines("exec.upgrade.attempt");
    // Three times WebSocket and then SPDY, then SPDY alone.
    assert_eq!(attempts.len(), 7, "{attempts:#?}");
    let refused = "exec.upgrade.attempt cluster=modern transport=ws upgrade_error=403 circuit_breaker_state=closed";
    assert_eq!(
        attempts.iter().filter(|line| *line == refused).count(),
        3,
        "{attempts:#?}"
    );
    let last = "exec.upgrade.attempt cluster=modern transport=spdy upgrade_error=none circuit_breaker_state=open";
    assert_eq!(attempts.last().unwrap(), last);
    let errors = lines("exec.upgrade.error");
    assert_eq!(
        errors,
        vec!["exec.upgrade.error cluster=modern transport=ws upgrade_error=403"; 3]
    );
    assert_eq!(
        lines("exec.cap.hit")[0],
        "exec.cap.hit cap=user cluster=modern limit=1 active=1 dry_run=false"
    );
    assert_eq!(lines("exec.session.start").len(), 4);
    let ends = lines("exec.session.end");
    assert_eq!(ends.len(), 4);
    assert!(
        ends[0].contains("close_detail=process_exit code=none exit_code=0 transport=spdy"),
        "{}",
        ends[0]
    );
    let everything = payload::log_since(0).join("\n");
    for secret in ["canary", "70+7", &world.token, "Bearer"] {
        assert!(!everything.contains(secret), "the log holds {secret:?}");
    }
}
