//! Recorded conversations of real apiservers, played through both halves of `pods/exec`.
//!
//! Where the recordings come from is told in `captures/README.md`. [`table::CAPTURES`] names every
//! file and what must come of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods)] // this test reads files

#[path = "replay/capture.rs"]
mod capture;
#[path = "replay/client.rs"]
mod client;
#[path = "replay/server.rs"]
mod server;
#[path = "replay/table.rs"]
mod table;
#[path = "replay/wire.rs"]
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_core::channel::Subprotocol;
use periscope_core::channel::status::{self, Outcome};
use periscope_core::leg::api::Error;
use periscope_core::refusal::{StatusContext, Verdict, classify_status};

use self::capture::{Capture, Conversation};
use self::client::{Seen, Transcript, chosen, leg, play, server_bytes_for_us};
use self::table::{CAPTURES, End, Expected};
use self::wire::Cut;

/// Every conversation with its file's name and its expectation.
fn conversations() -> Vec<(Capture, &'static [Expected])> {
    let all: Vec<(Capture, &[Expected])> = CAPTURES
        .iter()
        .map(|(name, expected)| (Capture::read(name), *expected))
        .collect();
    for (capture, expected) in &all {
        let connections = capture.conversations.len();
        assert_eq!(connections, expected.len(), "{}", capture.name);
    }
    all
}

fn each(mut check: impl FnMut(&Conversation, Expected)) {
    for (capture, expected) in conversations() {
        for (conversation, expected) in capture.conversations.iter().zip(expected) {
            // Shown when the check fails.
            eprintln!("{}: {}", capture.name, conversation.request.line);
            check(conversation, *expected);
        }
    }
}

fn decode_base64(text: &[u8]) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn line(verdict: &Verdict) -> String {
    format!(
        "{} {:?} {:?} {}/{} upgrade_error={}",
        verdict.row.number(),
        verdict.next,
        verdict.breaker,
        verdict.failure.code,
        verdict.failure.detail,
        verdict.log
    )
}

#[test]
fn every_capture_is_in_the_table_and_the_table_names_no_other() {
    let named: Vec<&str> = CAPTURES.iter().map(|(name, _)| *name).collect();
    assert_eq!(capture::names(), named);
}

#[test]
fn the_table_agrees_with_kubectls_own_exit_code() {
    for (capture, expected) in conversations() {
        let last = match expected.last().unwrap() {
            Expected::Refused(_) | Expected::Runs(_, End::NoShell) => 1,
            Expected::Runs(_, End::Exit(code) | End::Sentence(code)) => *code,
        };
        if let Some(exit) = capture.kubectl_exit {
            assert_eq!(exit, last, "{}", capture.name);
        }
    }
}

#[test]
fn our_client_sees_what_the_captured_server_said_however_it_is_cut() {
    each(|conversation, expected| {
        let bytes = server_bytes_for_us(conversation);
        for cut in Cut::ALL {
            let transcript = play(&mut leg(conversation, None), &bytes, cut);
            match expected {
                Expected::Refused(verdict) => {
                    assert_eq!(transcript.seen, [Seen::Refused]);
                    assert_eq!(line(&transcript.verdict()), verdict, "{cut:?}");
                }
                Expected::Runs(output, end) => {
                    assert!(
                        transcript.output == output.bytes(),
                        "{cut:?}: other output, {} bytes",
                        transcript.output.len()
                    );
                    check_story(&transcript, conversation, end);
                }
            }
        }
    });
}

/// Upgraded, opened, output, the outcome, the end: in this order, each once.
fn check_story(transcript: &Transcript, conversation: &Conversation, end: End) {
    let mut seen = transcript.seen.iter();
    assert_eq!(seen.next(), Some(&Seen::Upgraded));
    if conversation.is_spdy() {
        assert_eq!(seen.next(), Some(&Seen::Opened));
    }
    if !transcript.output.is_empty() {
        assert_eq!(seen.next(), Some(&Seen::Output));
    }
    match (end, seen.next()) {
        (End::Exit(0), Some(Seen::Status(Outcome::Success))) => {}
        (End::Exit(code), Some(Seen::Status(Outcome::Exit(told)))) => assert_eq!(*told, code),
        (End::NoShell, Some(Seen::Status(Outcome::Failure(failure)))) => {
            let is_v5 = !conversation.is_spdy() && chosen(conversation) == Subprotocol::V5;
            let verdict = classify_status(&StatusContext {
                code: failure.code,
                reason: failure.reason.as_deref(),
                message: &failure.message,
                is_v5,
                up: false,
                own_command: false,
            });
            let breaker = if is_v5 { "Success" } else { "Never" };
            assert_eq!(
                line(&verdict),
                format!("1 None {breaker} E_NO_SHELL/no_shell upgrade_error=status:InternalError")
            );
        }
        (End::Sentence(_), told) => {
            let broken = Seen::Broken(Error::Status(status::Error::Json));
            assert_eq!(told, Some(&broken));
            assert_eq!(seen.next(), None);
            return;
        }
        (end, told) => panic!("expected {end:?}, saw {told:?}"),
    }
    assert_eq!(seen.next(), Some(&Seen::Ended));
    assert_eq!(seen.next(), None);
}

#[test]
fn a_server_that_answers_v5_with_an_older_subprotocol_is_sent_to_spdy() {
    let mut checked = 0;
    each(|conversation, _| {
        let other = !conversation.is_spdy() && chosen(conversation) != Subprotocol::V5;
        if conversation.is_upgraded() && other {
            let mut leg = leg(conversation, Some("v5.channel.k8s.io"));
            let bytes = server_bytes_for_us(conversation);
            let transcript = play(&mut leg, &bytes, Cut::Whole);
            assert_eq!(transcript.seen, [Seen::Refused]);
            assert_eq!(
                line(&transcript.verdict()),
                "5 Spdy Counts E_CLUSTER_UNREACHABLE/unreachable upgrade_error=subprotocol"
            );
            checked += 1;
        }
    });
    assert_eq!(checked, 7);
}

#[test]
fn our_client_says_what_the_captured_client_said() {
    each(|conversation, _| {
        if conversation.request.field("upgrade").is_some() {
            client::says_what_the_client_said(conversation);
        }
    });
}

#[test]
fn our_server_hears_what_the_captured_client_did_however_it_is_cut() {
    each(|conversation, _| {
        if conversation.is_upgraded() {
            for cut in Cut::ALL {
                server::hears_what_the_client_did(conversation, cut);
            }
        }
    });
}

#[test]
fn our_server_writes_what_the_captured_server_wrote() {
    each(|conversation, expected| {
        if let Expected::Runs(_, end) = expected {
            server::accepts_as_the_server_did(conversation);
            server::writes_what_the_server_wrote(conversation, end);
        }
    });
}

#[test]
fn our_server_refuses_as_the_captured_server_did() {
    each(|conversation, expected| {
        if matches!(expected, Expected::Refused(_)) {
            server::refuses_as_the_server_did(conversation);
        }
    });
}
