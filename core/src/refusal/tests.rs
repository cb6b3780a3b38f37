//! Bodies called "captured" are what kube-apiserver 1.36.2 and 1.20.2 (containerd with crun) put
//! on the wire, read from recorded traffic. Those called "by hand" are not recordings: they
//! follow the wording of runc, CRI-O, cri-dockerd, the kubelet and Go's dialer.

use proptest::prelude::*;

use super::*;

/// Captured, 1.36.2 and 1.20.2 alike: GET without `get pods/exec`.
const FORBIDDEN_GET: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"box\" is forbidden: User \"alice\" cannot get resource \"pods/exec\" in API group \"\" in the namespace \"default\"","reason":"Forbidden","details":{"name":"box","kind":"pods"},"code":403}
"#;
/// Captured, both versions: POST without `create pods/exec`.
const FORBIDDEN_CREATE: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"box\" is forbidden: User \"alice\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"default\"","reason":"Forbidden","details":{"name":"box","kind":"pods"},"code":403}
"#;
/// By hand: the second check of 1.35 and later says nothing behind its colon.
const FORBIDDEN_SILENT: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"box\" is forbidden: ","reason":"Forbidden","details":{"name":"box","kind":"pods"},"code":403}
"#;
/// By hand: the gateway may not impersonate, up to 1.35 and since 1.36.
const IMPERSONATE: [&str; 2] = [
    r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"users \"alice\" is forbidden: User \"gateway\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope","reason":"Forbidden","details":{"name":"alice","kind":"users"},"code":403}"#,
    r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"box\" is forbidden: User \"gateway\" cannot impersonate-on:user-info:get resource \"pods/exec\" in API group \"\" in the namespace \"default\"","reason":"Forbidden","details":{"name":"box","kind":"pods"},"code":403}"#,
];
/// Captured, both versions.
const NO_POD: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"nosuch\" not found","reason":"NotFound","details":{"name":"nosuch","kind":"pods"},"code":404}
"#;
/// Captured, both versions.
const NO_CONTAINER: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"container nosuch is not valid for pod box","reason":"BadRequest","code":400}
"#;
/// Captured, 1.36.2: a request without an Upgrade header.
const NO_UPGRADE: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Upgrade request required","reason":"BadRequest","code":400}
"#;
/// Captured over SPDY, 1.36.2: `sh` in an image without one, under crun. v5 doubles the prefix.
const CRUN_NO_SHELL: &str = "Internal error occurred: error executing command in container: failed to exec in container: failed to start exec \"96d733cb0200ab3ad5b5a9cfe27aa7bb93622768ce8574ad925f9715364ff0c2\": OCI runtime exec failed: executable file `sh` not found in $PATH: No such file or directory: unknown";
/// By hand: containerd with runc, a bare name and a path.
const RUNC_NO_SHELL: [&str; 2] = [
    "Internal error occurred: error executing command in container: failed to exec in container: failed to start exec \"0a\": OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": executable file not found in $PATH: unknown",
    "Internal error occurred: error executing command in container: failed to exec in container: failed to start exec \"0a\": OCI runtime exec failed: exec failed: unable to start container process: exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown",
];
/// By hand: a working directory that does not exist, as runc (new, old) and crun word it.
const NO_DIRECTORY: [&str; 3] = [
    "Internal error occurred: error executing command in container: failed to start exec \"0a\": OCI runtime exec failed: exec failed: unable to start container process: exec: chdir to cwd (\"/app\") set in config.json failed: no such file or directory: unknown",
    "Internal error occurred: error executing command in container: OCI runtime exec failed: exec: \"chdir to cwd (\\\"/app\\\") set in config.json failed: stat /app: no such file or directory\": unknown",
    "Internal error occurred: error executing command in container: OCI runtime exec failed: exec: chdir: No such file or directory: unknown",
];
/// By hand: the translator did not get to the node.
const NOT_STARTED: [&str; 5] = [
    "Internal error occurred: error sending request: Post \"https://10.0.0.1:10250/exec/default/box/app?command=sh\": dial tcp 10.0.0.1:10250: connect: connection refused",
    "Internal error occurred: error sending request: Post \"//[::]:1/cri/exec/x\": http: server gave HTTP response to HTTPS client",
    "Internal error occurred: error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout",
    "Internal error occurred: unable to upgrade connection: 404 page not found",
    "Internal error occurred: unable to upgrade connection: Unauthorized",
];
/// By hand: what kubelets and runtimes say in an answer of their own, with its status, and what
/// the person is told. v5 wraps the same words in an `InternalError`.
const OWN_TEXTS: [(u16, &str, &str); 6] = [
    (
        500,
        "container not found (\"app\")",
        "E_NOT_FOUND/not_found",
    ),
    (404, "pod does not exist", "E_NOT_FOUND/not_found"),
    (
        400,
        "container app is not valid for pod box",
        "E_NOT_FOUND/not_found",
    ),
    (
        500,
        "failed to exec in container: container is in CONTAINER_EXITED state",
        "E_NOT_FOUND/not_found",
    ),
    (
        403,
        "Forbidden (user=apiserver, verb=create, resource=nodes, subresource(s)=[proxy])",
        "E_INTERNAL/internal",
    ),
    (
        405,
        "Debug endpoints are disabled.",
        "E_INVALID_REQUEST/rejected",
    ),
];

fn refused(status: u16, body: &str) -> Verdict {
    classify_refusal(&Answer::Refused {
        status,
        body: body.as_bytes(),
    })
}

/// A Status body with the parts that decide.
fn status_body(code: u16, reason: &str, message: &str) -> String {
    let body =
        serde_json::json!({"kind": "Status", "code": code, "reason": reason, "message": message});
    body.to_string()
}

fn v5(message: &str) -> StatusContext<'_> {
    StatusContext {
        code: Some(500),
        reason: Some("InternalError"),
        message,
        is_v5: true,
        up: false,
        own_command: false,
    }
}

fn told(verdict: &Verdict) -> String {
    format!("{}/{}", verdict.failure.code, verdict.failure.detail)
}

/// Row, next and breaker in one line, so that a test reads like the table.
fn line(verdict: &Verdict) -> String {
    format!(
        "{} {:?} {:?}",
        verdict.row.number(),
        verdict.next,
        verdict.breaker
    )
}

#[test]
fn row_1_any_status_but_row_7s_shows_that_v5_works() {
    let messages = RUNC_NO_SHELL
        .into_iter()
        .chain(NO_DIRECTORY)
        .chain([CRUN_NO_SHELL, "", "oops"]);
    for message in messages {
        assert_eq!(
            line(&classify_status(&v5(message))),
            "1 None Success",
            "{message}"
        );
    }
    let context = StatusContext {
        code: None,
        reason: None,
        ..v5("unable to upgrade connection")
    };
    assert_eq!(
        line(&classify_status(&context)),
        "1 None Success",
        "no InternalError"
    );
}

#[test]
fn row_2_forbidden_goes_to_spdy_and_never_counts() {
    for body in [FORBIDDEN_GET, FORBIDDEN_CREATE, FORBIDDEN_SILENT] {
        let verdict = refused(403, body);
        assert_eq!(line(&verdict), "2 Spdy Never");
        assert_eq!(told(&verdict), "E_FORBIDDEN/forbidden");
        assert_eq!(verdict.log.to_string(), "status:Forbidden");
        assert!(!verdict.answered && !verdict.failure.retryable && !verdict.may_have_run);
    }
    for body in IMPERSONATE {
        let verdict = refused(403, body);
        assert_eq!(line(&verdict), "2 Spdy Never");
        assert_eq!(told(&verdict), "E_INTERNAL/internal");
        assert!(
            verdict
                .failure
                .message
                .contains("lacks the right to impersonate")
        );
    }
}

#[test]
fn row_2_matches_on_reason_or_code_and_not_on_the_sentence() {
    assert_eq!(
        refused(403, r#"{"kind":"Status","reason":"Forbidden"}"#).row,
        Row::Forbidden
    );
    assert_eq!(
        refused(403, r#"{"kind":"Status","code":403}"#).row,
        Row::Forbidden
    );
    assert_eq!(
        refused(403, r#"{"kind":"Status","message":""}"#).row,
        Row::Forbidden
    );
    assert_eq!(
        refused(404, &status_body(404, "NotFound", "x is forbidden")).row,
        Row::OwnError
    );
}

#[test]
fn row_3_a_lost_upgrade_header_goes_to_spdy_and_counts() {
    let verdict = refused(400, NO_UPGRADE);
    assert_eq!(line(&verdict), "3 Spdy Counts");
    assert_eq!(told(&verdict), "E_INVALID_REQUEST/rejected");
    assert!(verdict.answered);
    assert_eq!(verdict.log.to_string(), "status:BadRequest");
}

#[test]
fn row_4_every_other_status_is_the_sessions_own_error() {
    for (status, body, code) in [
        (404, NO_POD.to_owned(), "E_NOT_FOUND/not_found"),
        (400, NO_CONTAINER.to_owned(), "E_NOT_FOUND/not_found"),
        (
            400,
            status_body(400, "BadRequest", "pod p does not have a host assigned"),
            "E_INVALID_REQUEST/rejected",
        ),
        (
            400,
            status_body(
                400,
                "BadRequest",
                "a container name must be specified for pod p",
            ),
            "E_INVALID_REQUEST/rejected",
        ),
        (
            422,
            status_body(422, "Invalid", "webhook"),
            "E_INVALID_REQUEST/rejected",
        ),
        (
            409,
            status_body(409, "Conflict", "webhook"),
            "E_INVALID_REQUEST/rejected",
        ),
        (
            401,
            status_body(401, "Unauthorized", "Unauthorized"),
            "E_INTERNAL/internal",
        ),
        (
            429,
            status_body(429, "TooManyRequests", "slow down"),
            "E_CLUSTER_UNREACHABLE/unreachable",
        ),
        (
            500,
            status_body(
                500,
                "",
                "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout",
            ),
            "E_CLUSTER_UNREACHABLE/unreachable",
        ),
        (
            500,
            status_body(500, "", "invalid upgrade response: status code 302"),
            "E_CLUSTER_UNREACHABLE/unreachable",
        ),
        (
            500,
            status_body(500, "InternalError", "Internal error occurred: x"),
            "E_INTERNAL/internal",
        ),
        (
            503,
            status_body(503, "ServiceUnavailable", "x"),
            "E_CLUSTER_UNREACHABLE/unreachable",
        ),
        (
            504,
            status_body(504, "Timeout", "x"),
            "E_CLUSTER_UNREACHABLE/unreachable",
        ),
        (200, status_body(200, "", "x"), "E_INTERNAL/internal"),
    ] {
        let verdict = refused(status, &body);
        assert_eq!(line(&verdict), "4 None Never", "{body}");
        assert_eq!(told(&verdict), code, "{body}");
        assert!(!verdict.answered, "{body}");
        assert_eq!(
            verdict.retry_with_fresh_credentials,
            status == 401,
            "{body}"
        );
        assert_eq!(
            verdict.failure.retryable,
            code.starts_with("E_CLUSTER"),
            "{body}"
        );
    }
}

#[test]
fn row_4_texts_of_kubelet_and_runtime_are_the_sessions_own_error_in_every_wrapping() {
    for (status, text, code) in OWN_TEXTS {
        let bare = refused(status, &format!("{text}\n"));
        assert_eq!(
            (line(&bare).as_str(), told(&bare).as_str()),
            ("4 None Never", code),
            "{text}"
        );
        assert_eq!(bare.log, UpgradeError::Http(status));
        let wrapped = format!("Internal error occurred: unable to upgrade connection: {text}");
        for up in [false, true] {
            let verdict = classify_status(&StatusContext { up, ..v5(&wrapped) });
            assert_eq!(
                (line(&verdict).as_str(), told(&verdict).as_str()),
                ("4 None Never", code)
            );
        }
        let spdy = classify_status(&StatusContext {
            is_v5: false,
            ..v5(&wrapped)
        });
        assert_eq!(
            (line(&spdy).as_str(), told(&spdy).as_str()),
            ("4 None Never", code)
        );
        // The same words inside a proxy's page are the proxy's.
        assert_eq!(
            refused(status, &format!("<html>{text}</html>")).row,
            Row::NotUnderstood
        );
    }
}

#[test]
fn row_4_a_401_or_429_needs_no_status() {
    for body in ["", "Unauthorized", "<html>"] {
        let verdict = refused(401, body);
        assert_eq!(
            (line(&verdict), told(&verdict)),
            ("4 None Never".into(), "E_INTERNAL/internal".into())
        );
        assert!(verdict.retry_with_fresh_credentials);
        let verdict = refused(429, body);
        assert_eq!(line(&verdict), "4 None Never");
        assert_eq!(told(&verdict), "E_CLUSTER_UNREACHABLE/unreachable");
        assert!(!verdict.retry_with_fresh_credentials && verdict.failure.retryable);
    }
}

#[test]
fn row_5_refusals_without_a_status_go_to_spdy_and_count() {
    // Captured: 403 and nothing else is a subprotocol the server lacks (1.36.2 v2, v9; 1.20.2 v5).
    for (status, body) in [
        (403, ""),
        (400, ""),
        (426, ""),
        (501, "Not Implemented"),
        (502, "<html><h1>502 Bad Gateway</h1></html>"),
        (404, "404 page not found"),
        (405, "bad method"),
        (200, "<html>login</html>"),
        (302, ""),
        (403, r#"{"error":"access denied by policy"}"#),
        (403, r#"["Status"]"#),
        (403, r#"{"kind":"Status","code":"403"}"#),
    ] {
        let verdict = refused(status, body);
        assert_eq!(line(&verdict), "5 Spdy Counts", "{status} {body}");
        assert_eq!(
            told(&verdict),
            "E_CLUSTER_UNREACHABLE/unreachable",
            "{status} {body}"
        );
        assert!(verdict.answered && !verdict.may_have_run);
        assert_eq!(verdict.log.to_string(), status.to_string());
    }
}

#[test]
fn row_5_a_wrong_101_or_none_goes_to_spdy_and_counts() {
    for (answer, log, answered, may_have_run) in [
        (Answer::WrongAccept, "accept", true, true),
        (Answer::WrongSubprotocol, "subprotocol", true, true),
        (Answer::Garbage, "accept", true, false),
        (Answer::Eof, "tcp", false, false),
        (Answer::Timeout, "timeout", false, true),
    ] {
        let verdict = classify_refusal(&answer);
        assert_eq!(line(&verdict), "5 Spdy Counts", "{answer:?}");
        assert_eq!(
            told(&verdict),
            "E_CLUSTER_UNREACHABLE/unreachable",
            "{answer:?}"
        );
        assert_eq!(verdict.log.to_string(), log);
        assert_eq!(
            (verdict.answered, verdict.may_have_run),
            (answered, may_have_run),
            "{answer:?}"
        );
    }
}

#[test]
fn row_6_no_connection_is_no_matter_of_transport() {
    for (answer, log) in [
        (Answer::Dns, "tcp"),
        (Answer::Tcp, "tcp"),
        (Answer::Tls, "tls"),
    ] {
        let verdict = classify_refusal(&answer);
        assert_eq!(line(&verdict), "6 None Never");
        assert_eq!(told(&verdict), "E_CLUSTER_UNREACHABLE/unreachable");
        assert_eq!(verdict.log.to_string(), log);
        assert!(!verdict.answered && !verdict.may_have_run && verdict.failure.retryable);
    }
}

#[test]
fn row_7_a_v5_101_without_a_node_behind_it_goes_to_spdy_and_counts() {
    for message in NOT_STARTED {
        let verdict = classify_status(&v5(message));
        assert_eq!(line(&verdict), "7 Spdy Counts", "{message}");
        assert!(!verdict.answered, "v4 is for answers before a 101");
        let unreachable = message.contains("dial tcp");
        let code = if unreachable {
            "E_CLUSTER_UNREACHABLE/unreachable"
        } else {
            "E_INTERNAL/internal"
        };
        assert_eq!(told(&verdict), code, "{message}");
        assert_eq!(verdict.failure.retryable, unreachable);
        assert_eq!(verdict.log.to_string(), "status:InternalError");
    }
}

#[test]
fn row_7_is_for_v5_before_up_only() {
    for message in NOT_STARTED {
        let up = classify_status(&StatusContext {
            up: true,
            ..v5(message)
        });
        assert_eq!(line(&up), "1 None Success");
        let spdy = classify_status(&StatusContext {
            is_v5: false,
            ..v5(message)
        });
        assert_eq!(
            line(&spdy),
            "1 None Never",
            "only v5 attempts move the breaker"
        );
        let other = classify_status(&StatusContext {
            reason: Some("BadRequest"),
            ..v5(message)
        });
        assert_eq!(line(&other), "1 None Success", "only an InternalError");
    }
}

#[test]
fn a_callers_own_command_is_not_run_twice() {
    for message in NOT_STARTED {
        let verdict = classify_status(&StatusContext {
            own_command: true,
            ..v5(message)
        });
        assert_eq!(
            (verdict.next, verdict.failure.retryable),
            (Next::None, false)
        );
    }
    let never = [
        Answer::WrongAccept,
        Answer::WrongSubprotocol,
        Answer::Timeout,
    ];
    for answer in never {
        let verdict = classify_refusal(&answer).for_own_command();
        assert_eq!(
            (verdict.next, verdict.failure.retryable),
            (Next::None, false),
            "{answer:?}"
        );
    }
    let again = [
        Answer::Eof,
        Answer::Garbage,
        Answer::Refused {
            status: 403,
            body: b"",
        },
    ];
    for answer in again {
        let verdict = classify_refusal(&answer);
        assert_eq!(
            verdict.for_own_command(),
            verdict,
            "{answer:?} came before any 101"
        );
    }
}

#[test]
fn a_missing_shell_is_told_from_its_message() {
    let doubled = format!("Internal error occurred: {CRUN_NO_SHELL}");
    let upper = RUNC_NO_SHELL[1].to_uppercase();
    let messages =
        RUNC_NO_SHELL
            .into_iter()
            .chain([CRUN_NO_SHELL, doubled.as_str(), upper.as_str()]);
    for message in messages {
        let verdict = classify_status(&v5(message));
        assert_eq!(told(&verdict), "E_NO_SHELL/no_shell", "{message}");
        assert_eq!(verdict.failure.message, ErrorCode::NoShell.message());
        assert!(!verdict.failure.retryable);
        let own = classify_status(&StatusContext {
            own_command: true,
            ..v5(message)
        });
        assert_eq!(told(&own), "E_NO_SHELL/no_shell");
        assert!(
            own.failure
                .message
                .contains("command was not found in the container")
        );
    }
    for name in ["cwd", "chdir", "/opt/cwd/tool", "/opt/chdir"] {
        let message = format!(
            "Internal error occurred: exec: \"{name}\": stat {name}: no such file or directory: unknown"
        );
        let verdict = classify_status(&v5(&message));
        assert_eq!(
            told(&verdict) == "E_NO_SHELL/no_shell",
            name.starts_with('/'),
            "{message}"
        );
    }
}

#[test]
fn a_missing_directory_and_other_faults_are_no_missing_shell() {
    let others = [
        "Internal error occurred: error executing command in container: exec: \"sh\": permission denied: unknown",
        "Internal error occurred: lstat /run/x: no such file or directory",
        "Internal error occurred: open /proc/self/fd: no such file or directory",
        "Internal error occurred: not found: executable file",
    ];
    for message in NO_DIRECTORY.into_iter().chain(others) {
        assert_eq!(
            told(&classify_status(&v5(message))),
            "E_INTERNAL/internal",
            "{message}"
        );
    }
    let bad_request = StatusContext {
        reason: Some("BadRequest"),
        code: Some(400),
        ..v5(CRUN_NO_SHELL)
    };
    assert_eq!(
        told(&classify_status(&bad_request)),
        "E_INVALID_REQUEST/rejected"
    );
}

#[test]
fn a_missing_shell_can_come_as_an_exit_code_with_the_runtimes_text() {
    // By hand: cri-dockerd (126, on stdout), CRI-O (255, its log line on stderr), 127 likewise.
    let docker = b"OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": executable file not found in $PATH: unknown\r\n";
    let crio = b"time=\"2026-11-23T07:00:00Z\" level=error msg=\"exec failed: unable to start container process: exec: \\\"sh\\\": executable file not found in $PATH\"\n";
    for output in [&docker[..], &crio[..]] {
        for code in [126, 127, 255] {
            assert!(is_no_shell_exit(code, output, false));
            assert!(!is_no_shell_exit(code, output, true), "somebody typed it");
        }
        for code in [0, 1, 2, 125, 128, 137, 254] {
            assert!(!is_no_shell_exit(code, output, false), "{code}");
        }
    }
    assert!(!is_no_shell_exit(127, b"sh: 1: nosuch: not found\n", false));
    assert!(!is_no_shell_exit(127, b"", false));
}

#[test]
fn the_runtimes_text_is_looked_for_in_the_first_4_kib_only() {
    for (ahead, found) in [(4096 - 12, true), (4096 - 11, false), (100_000, false)] {
        let mut output = vec![b'x'; ahead];
        output.extend_from_slice(b"exec failed:");
        assert_eq!(is_no_shell_exit(126, &output, false), found, "{ahead}");
    }
}

#[test]
fn every_row_of_the_outcome_table_can_be_reached_and_speaks_to_a_person() {
    for (index, (sign, failure)) in OUTCOMES.iter().enumerate() {
        let status = match *sign {
            Sign::Says(text) => Status {
                code: None,
                reason: None,
                message: format!("x {text} y"),
            },
            Sign::Number(first, _) => Status {
                code: Some(first),
                reason: None,
                message: String::new(),
            },
            Sign::InternalError => Status {
                code: None,
                reason: Some("InternalError".into()),
                message: String::new(),
            },
        };
        let reached = outcome(&status);
        assert_eq!(&reached, failure, "row {index} is hidden by one before it");
        let (code, detail) = (failure.code, failure.detail);
        assert_eq!(
            detail.error(),
            Some(code),
            "row {index} disagrees with the detail's own code"
        );
        assert!(failure.message.starts_with(char::is_uppercase) && failure.message.ends_with('.'));
    }
    let nothing = Status {
        code: None,
        reason: None,
        message: String::new(),
    };
    assert_eq!(
        outcome(&nothing),
        Failure::plain(ErrorCode::Internal, CloseDetail::Internal)
    );
}

#[test]
fn the_log_never_repeats_a_peers_text() {
    let verdict = refused(500, &status_body(500, "node 10.0.0.1 is down", "x"));
    assert_eq!(verdict.log.to_string(), "500");
    let context = StatusContext {
        code: None,
        reason: Some("10.0.0.1"),
        ..v5("x")
    };
    assert_eq!(classify_status(&context).log.to_string(), "status:unknown");
    for (reason, _) in REASONS {
        assert_eq!(
            refused(500, &status_body(500, reason, "")).log,
            UpgradeError::Status(reason)
        );
    }
    assert_eq!(UpgradeError::None.to_string(), "none");
}

proptest! {
    #[test]
    fn no_body_makes_the_classifier_panic_or_succeed(status in 100_u16..=599, body: Vec<u8>) {
        let verdict = classify_refusal(&Answer::Refused { status, body: &body });
        prop_assert!(verdict.row != Row::Reached && verdict.breaker != BreakerEffect::Success);
    }

    #[test]
    fn every_status_ends_in_a_row_with_its_own_consequences(
        code: Option<u16>,
        reason in proptest::option::of("[A-Za-z]{0,12}|InternalError|Forbidden"),
        message in "\\PC{0,40}|.{0,10}(error dialing backend|container not found|dial tcp|exec:).{0,10}",
        is_v5: bool,
        up: bool,
        own_command: bool,
    ) {
        let context = StatusContext { code, reason: reason.as_deref(), message: &message, is_v5, up, own_command };
        let verdict = classify_status(&context);
        prop_assert!(matches!(verdict.row, Row::Reached | Row::OwnError | Row::NotStarted));
        prop_assert_eq!(verdict.next == Next::Spdy, verdict.row == Row::NotStarted && !own_command);
        prop_assert!(is_v5 || verdict.breaker == BreakerEffect::Never);
        prop_assert!(!own_command || !verdict.failure.retryable);
    }
}
