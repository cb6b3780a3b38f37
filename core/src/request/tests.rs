//! Both directions of the exec request, against the wire and against each other.

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

fn target<'a>(command: &'a [String], container: Option<&'a str>, tty: bool) -> ExecTarget<'a> {
    ExecTarget {
        path_prefix: "",
        namespace: "default",
        pod: "web-0",
        container,
        command,
        tty,
    }
}

fn parse(query: &str) -> Result<ExecQuery, QueryError> {
    parse_exec_query(query)
}

fn command_of(query: &str) -> Result<Option<Vec<String>>, QueryError> {
    parse(query).map(|query| query.command)
}

#[test]
fn the_exec_target_has_the_keys_and_the_order_of_kubernetes_own_client() {
    let command = words(&["sh", "-c", "echo hi; exit 5"]);
    assert_eq!(
        exec_target(&target(&command, Some("main"), false)),
        "/api/v1/namespaces/default/pods/web-0/exec?command=sh&command=-c\
         &command=echo%20hi%3B%20exit%205&container=main&stderr=true&stdin=true&stdout=true"
    );
    assert_eq!(
        exec_target(&target(&command[..1], None, true)),
        "/api/v1/namespaces/default/pods/web-0/exec?command=sh&stdin=true&stdout=true&tty=true"
    );
}

#[test]
fn a_server_url_with_a_path_keeps_it() {
    let command = words(&["sh"]);
    for prefix in [
        "/k8s/clusters/c-1",
        "/k8s/clusters/c-1/",
        "k8s/clusters/c-1",
    ] {
        let mut target = target(&command, None, true);
        target.path_prefix = prefix;
        assert!(exec_target(&target).starts_with("/k8s/clusters/c-1/api/v1/namespaces/"));
    }
    let mut target = target(&command, None, true);
    target.path_prefix = "/";
    assert!(exec_target(&target).starts_with("/api/v1/namespaces/"));
}

#[test]
fn nothing_in_an_argument_can_end_its_pair() {
    let command = words(&["a&b=c#d;e+f%g h\u{e4}\n~._-", ""]);
    let path = exec_target(&target(&command, None, true));
    assert!(path.contains("?command=a%26b%3Dc%23d%3Be%2Bf%25g%20h%C3%A4%0A~._-&command=&stdin"));
}

#[test]
fn an_empty_query_means_the_default_shell_on_a_terminal() {
    let expected = ExecQuery {
        container: None,
        command: None,
        tty: true,
        cols: None,
        rows: None,
        flow_ack: false,
        stdin_ack: false,
    };
    assert_eq!(parse("").unwrap(), expected);
    let shell = [
        "sh",
        "-c",
        "command -v bash >/dev/null 2>&1 && exec bash; exec sh",
    ];
    assert_eq!(default_shell(), shell);
}

#[test]
fn every_known_key_is_read() {
    let query =
        parse("container=app&command=WyJscyJd&tty=false&cols=120&rows=40&flow=ack").unwrap();
    let expected = ExecQuery {
        container: Some("app".to_owned()),
        command: Some(words(&["ls"])),
        tty: false,
        cols: Some(120),
        rows: Some(40),
        flow_ack: true,
        stdin_ack: false,
    };
    assert_eq!(query, expected);
    let both = parse("flow=both").unwrap();
    assert!(both.flow_ack && both.stdin_ack);
}

#[test]
fn booleans_are_the_four_words_and_nothing_else() {
    for (value, tty) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        assert_eq!(parse(&format!("tty={value}")).unwrap().tty, tty);
    }
    for value in ["", "TRUE", "yes", "on", "2", " 1", "t"] {
        assert_eq!(
            parse(&format!("tty={value}")),
            Err(QueryError::Malformed { key: "tty" })
        );
    }
    assert_eq!(parse("tty"), Err(QueryError::Malformed { key: "tty" }));
}

#[test]
fn sizes_are_positive_decimals_of_sixteen_bits() {
    assert_eq!(parse("cols=65535&rows=1").unwrap().cols, Some(65535));
    for value in [
        "", "0", "-1", "+80", "65536", "8e1", "80.0", "0x50", "%2080",
    ] {
        assert_eq!(
            parse(&format!("cols={value}")),
            Err(QueryError::Malformed { key: "cols" })
        );
        assert_eq!(
            parse(&format!("rows={value}")),
            Err(QueryError::Malformed { key: "rows" })
        );
    }
}

#[test]
fn a_known_key_twice_is_refused_by_name_even_with_equal_values() {
    for (key, value) in [
        ("container", "a"),
        ("command", "WyJscyJd"),
        ("tty", "1"),
        ("cols", "1"),
        ("rows", "1"),
        ("flow", "ack"),
    ] {
        let query = format!("{key}={value}&x=y&{key}={value}");
        assert_eq!(parse(&query), Err(QueryError::Repeated { key }));
        assert_eq!(QueryError::Repeated { key }.key(), key);
    }
    // Its name can be spelled with escapes and is still the same key.
    assert_eq!(
        parse("tty=1&%74ty=1"),
        Err(QueryError::Repeated { key: "tty" })
    );
}

#[test]
fn malformed_values_are_refused_by_name_and_never_quoted() {
    for (key, query) in [
        ("container", "container="),
        ("container", "container=%"),
        ("container", "container=%2"),
        ("container", "container=%zz"),
        ("container", "container=%ff"),
        ("flow", "flow=none"),
        ("flow", "flow="),
    ] {
        let error = parse(query).unwrap_err();
        assert_eq!(error, QueryError::Malformed { key });
        assert_eq!(
            error.to_string(),
            format!("the query key `{key}` is malformed")
        );
    }
}

#[test]
fn unknown_keys_are_ignored_whatever_they_look_like() {
    assert!(parse("theme=dark&theme=light&%=1&%ff=2&&=&shell").is_ok());
}

#[test]
fn a_command_may_be_base64url_or_base64_padded_or_not() {
    let json = r#"["sh","-c","echo ~~~???>>>"]"#;
    let expected = words(&["sh", "-c", "echo ~~~???>>>"]);
    for encoded in [
        URL_SAFE.encode(json),
        URL_SAFE_NO_PAD.encode(json),
        STANDARD.encode(json),
        STANDARD_NO_PAD.encode(json),
        STANDARD
            .encode(json)
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D"),
    ] {
        assert_eq!(
            command_of(&format!("command={encoded}")),
            Ok(Some(expected.clone()))
        );
    }
}

#[test]
fn a_command_that_could_not_be_started_as_sent_is_malformed() {
    let malformed = Err(QueryError::Malformed { key: "command" });
    for json in [
        "",
        "[]",
        "{}",
        "\"sh\"",
        "[1]",
        "[null]",
        r#"[""]"#,
        r#"["sh","a\u0000b"]"#,
        r#"["sh"]x"#,
        r#"["sh""#,
    ] {
        let query = format!("command={}", URL_SAFE_NO_PAD.encode(json));
        assert_eq!(command_of(&query), malformed, "{json}");
    }
    for raw in ["", "*", "WyJscyJd=x", "a b", "W"] {
        assert_eq!(command_of(&format!("command={raw}")), malformed, "{raw}");
    }
}

#[test]
fn a_command_is_bounded_in_bytes_and_in_arguments() {
    let too_long = Err(QueryError::TooLong { key: "command" });
    let query_of = |command: &[String]| {
        format!(
            "command={}",
            URL_SAFE_NO_PAD.encode(serde_json::to_string(command).unwrap())
        )
    };
    let longest = words(&["x".repeat(limits::COMMAND_BYTES_MAX - 4).as_str()]);
    assert_eq!(command_of(&query_of(&longest)), Ok(Some(longest)));
    for extra in [1, 2, 3, 100_000] {
        let longer = words(&["x".repeat(limits::COMMAND_BYTES_MAX - 4 + extra).as_str()]);
        assert_eq!(command_of(&query_of(&longer)), too_long);
    }
    let most = vec!["x".to_owned(); limits::COMMAND_ARGUMENTS_MAX];
    assert_eq!(command_of(&query_of(&most)), Ok(Some(most)));
    let more = vec!["x".to_owned(); limits::COMMAND_ARGUMENTS_MAX + 1];
    assert_eq!(command_of(&query_of(&more)), too_long);
}

/// What Go's `url.ParseQuery` makes of a query, for pairs without `;`.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap();
        (decoded(key).unwrap(), decoded(value).unwrap())
    };
    query.split('&').map(pair).collect()
}

proptest! {
    #[test]
    fn every_command_arrives_at_the_apiserver_as_it_was_given(
        command in proptest::collection::vec("\\PC{0,12}|[\\x00-\\x7f]{0,12}", 1..6),
        tty: bool,
    ) {
        let path = exec_target(&target(&command, Some("app"), tty));
        let (_, query) = path.split_once('?').unwrap();
        prop_assert!(query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%&=".contains(&byte)));
        let arguments: Vec<String> =
            pairs(query).into_iter().filter(|(key, _)| key == "command").map(|(_, value)| value).collect();
        prop_assert_eq!(arguments, command);
    }

    #[test]
    fn every_command_comes_back_from_the_query(command in proptest::collection::vec("[^\\x00]{1,20}", 1..6)) {
        let json = serde_json::to_string(&command).unwrap();
        prop_assert_eq!(command_of(&format!("command={}", URL_SAFE.encode(&json))), Ok(Some(command.clone())));
        prop_assert_eq!(command_of(&format!("command={}", STANDARD.encode(&json))), Ok(Some(command)));
    }

    #[test]
    fn no_query_makes_the_parser_panic(query in "\\PC*|[a-z=&%0-9]*") {
        let _ = parse(&query);
    }
}
