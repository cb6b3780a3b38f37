use clap::Parser;

use super::gateway::refused;
use super::terminal::printable;
use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    exec: ExecArgs,
}

fn parse(arguments: &[&str]) -> Result<ExecArgs, clap::Error> {
    let all = ["exec", "--server", "http://127.0.0.1:1"];
    Cli::try_parse_from(all.iter().chain(arguments)).map(|cli| cli.exec)
}

#[test]
fn the_command_line_is_that_of_kubectl() {
    let args = parse(&[
        "--cluster",
        "c",
        "-n",
        "ns",
        "pod",
        "-it",
        "--",
        "sh",
        "-c",
        "exit 3",
    ]);
    let args = args.unwrap();
    assert!(args.stdin && args.tty);
    assert_eq!(args.command, ["sh", "-c", "exit 3"]);
    assert_eq!(
        path(&args, Some((80, 24))),
        "/api/clusters/c/pods/ns/pod/exec?tty=true&flow=both&command=WyJzaCIsIi1jIiwiZXhpdCAzIl0&cols=80&rows=24"
    );
    let args = parse(&["--cluster", "c", "-n", "ns", "pod", "-c", "web"]).unwrap();
    assert!(!args.stdin && !args.tty);
    assert_eq!(
        path(&args, None),
        "/api/clusters/c/pods/ns/pod/exec?tty=false&flow=both&container=web"
    );
    for wrong in [
        &["-n", "ns", "pod"][..],
        &["--cluster", "c", "pod"],
        &["--cluster", "c", "-n", "ns"],
        &["--cluster", "c", "-n", "ns", "pod", "sh"],
        &["--cluster", "c", "-n", "ns", "pod", "--token", "x"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_refusal_is_a_sentence_and_cannot_drive_the_terminal() {
    let text = |status, body: &str| refused(status, body.as_bytes()).to_string();
    let disabled = text(403, r#"{"error":"E_EXEC_DISABLED"}"#);
    assert!(
        disabled.ends_with("(E_EXEC_DISABLED, HTTP 403)") && disabled.len() > 60,
        "{disabled}"
    );
    let cap = text(
        429,
        r#"{"error":"E_CAP_USER","message":"Too many.","activeSessions":[{"id":"1","cluster":"c","namespace":"n","pod":"p\u001b[2J"}]}"#,
    );
    assert_eq!(
        cap,
        "Too many. (E_CAP_USER, HTTP 429)\n  open: c n/p[2J (1)"
    );
    assert!(text(401, r#"{"error":"E_AUTH","message":"Log in."}"#).contains(TOKEN_VARIABLE));
    let page = text(502, "<html>secret node</html>");
    assert!(page.contains("502") && !page.contains("node"), "{page}");
    assert_eq!(printable("a\u{1b}]0;x\u{7}\r\nb\u{9b}"), "a]0;x\nb");
}
