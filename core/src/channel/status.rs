//! The Status on the error channel: what it says, and how a server half writes it.
//!
//! Shapes are those of `k8s.io/cri-streaming` (runtime) and of the apiserver's stream translator.

use serde::{Deserialize, Serialize};

/// How a command ended, as the error channel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The process ended with this code, not zero.
    Exit(u8),
    /// Something else went wrong; there is no exit code.
    Failure(Failure),
    /// The process ended with code zero (or so the apiserver says).
    Success,
}

/// A failure that is not an exit code. Its message is a peer's text: never log it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP-like code.
    pub code: Option<u16>,
    /// Kubernetes reason.
    pub reason: Option<String>,
    /// A sentence of the runtime, the kubelet or the apiserver.
    pub message: String,
}

/// A Status that is none. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No bytes. Unlike client-go we do not take this for success.
    #[error("an empty status")]
    Empty,
    /// `NonZeroExitCode` without an `ExitCode` cause from 0 to 255.
    #[error("a status without a usable exit code")]
    ExitCode,
    /// Not a JSON object of a Status.
    #[error("a status that is not JSON")]
    Json,
    /// Neither `Success` nor `Failure`.
    #[error("a status of an unknown kind")]
    Unknown,
}

/// Reads a Status (`k8s.io/client-go/tools/remotecommand`, protocol v4).
pub fn parse(text: &[u8]) -> Result<Outcome, Error> {
    #[derive(Deserialize)]
    struct Wire {
        status: Option<String>,
        reason: Option<String>,
        message: Option<String>,
        code: Option<i64>,
        details: Option<WireDetails>,
    }
    #[derive(Deserialize)]
    struct WireDetails {
        causes: Option<Vec<WireCause>>,
    }
    #[derive(Deserialize)]
    struct WireCause {
        reason: Option<String>,
        message: Option<String>,
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Empty);
    }
    let wire: Wire = serde_json::from_slice(text).map_err(|_| Error::Json)?;
    match wire.status.as_deref() {
        Some("Success") => Ok(Outcome::Success),
        Some("Failure") if wire.reason.as_deref() == Some(NON_ZERO_EXIT_CODE) => {
            let causes = wire
                .details
                .and_then(|details| details.causes)
                .unwrap_or_default();
            let cause = causes
                .into_iter()
                .find(|cause| cause.reason.as_deref() == Some(EXIT_CODE));
            let code = cause
                .and_then(|cause| cause.message)
                .ok_or(Error::ExitCode)?;
            // Digits only: Rust would take a plus sign, Go does not.
            let digits = Some(code).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
            match digits.and_then(|digits| digits.parse::<u8>().ok()) {
                Some(0) => Ok(Outcome::Success),
                Some(code) => Ok(Outcome::Exit(code)),
                None => Err(Error::ExitCode),
            }
        }
        Some("Failure") => Ok(Outcome::Failure(Failure {
            code: wire.code.and_then(|code| u16::try_from(code).ok()),
            reason: wire.reason,
            message: wire.message.unwrap_or_default(),
        })),
        Some(_) | None => Err(Error::Unknown),
    }
}

const NON_ZERO_EXIT_CODE: &str = "NonZeroExitCode";
const EXIT_CODE: &str = "ExitCode";

/// Who writes the error channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The container runtime: SPDY, and WebSocket below v5.
    Runtime,
    /// The apiserver's or kubelet's stream translator: v5.
    Translator,
}

/// A Status, as the writers of real ones order its fields.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(rename = "apiVersion", skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    metadata: Empty,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<WrittenDetails<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct WrittenDetails<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causes: Option<[WrittenCause<'a>; 1]>,
}

#[derive(Serialize)]
struct WrittenCause<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    message: &'a str,
}

impl Written<'_> {
    const SUCCESS: Self = Self {
        kind: None,
        api_version: None,
        metadata: Empty {},
        status: "Success",
        message: None,
        reason: None,
        details: None,
        code: None,
    };

    /// JSON with the characters escaped that Go's encoder escapes so that JSON may stand in HTML
    /// and in scripts.
    fn encode(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        json.replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
    }
}

/// The Status of exit code zero.
pub fn success() -> String {
    Written::SUCCESS.encode()
}

/// The Status of another exit code. The runtime names the command, the translator does not.
pub fn exit(code: u8, command: &[String], shape: Shape) -> String {
    let message = exit_message(code, command, shape);
    let code = code.to_string();
    let cause = WrittenCause {
        reason: Some(EXIT_CODE),
        message: &code,
    };
    Written {
        status: "Failure",
        message: Some(&message),
        reason: Some(NON_ZERO_EXIT_CODE),
        details: Some(WrittenDetails {
            name: None,
            kind: None,
            causes: Some([cause]),
        }),
        ..Written::SUCCESS
    }
    .encode()
}

/// The sentence of an exit code, which is all that protocol v1 says.
pub fn exit_message(code: u8, command: &[String], shape: Shape) -> String {
    let prefix = "command terminated with non-zero exit code:";
    match shape {
        Shape::Runtime => {
            let command = command.join(" ");
            format!("{prefix} error executing command [{command}], exit code {code}")
        }
        Shape::Translator => format!("{prefix} command terminated with exit code {code}"),
    }
}

/// The Status of anything else, from the runtime's own text. The translator doubles the prefix.
pub fn internal_error(text: &str, shape: Shape) -> String {
    let inner = match shape {
        Shape::Runtime => text.to_owned(),
        Shape::Translator => internal_message(text),
    };
    let message = internal_message(&inner);
    let cause = WrittenCause {
        reason: None,
        message: &inner,
    };
    Written {
        status: "Failure",
        message: Some(&message),
        reason: Some("InternalError"),
        details: Some(WrittenDetails {
            name: None,
            kind: None,
            causes: Some([cause]),
        }),
        code: Some(500),
        ..Written::SUCCESS
    }
    .encode()
}

/// The sentence of an internal error.
pub fn internal_message(text: &str) -> String {
    format!("Internal error occurred: {text}")
}

/// The body of an apiserver's refusal, with the line feed it ends with. `object` is the name and
/// resource kind that some refusals carry.
pub fn refusal(code: u16, reason: &str, message: &str, object: Option<(&str, &str)>) -> String {
    let details = object.map(|(name, kind)| WrittenDetails {
        name: Some(name),
        kind: Some(kind),
        causes: None,
    });
    let mut body = Written {
        kind: Some("Status"),
        api_version: Some("v1"),
        status: "Failure",
        message: Some(message),
        reason: Some(reason).filter(|reason| !reason.is_empty()),
        details,
        code: Some(code),
        ..Written::SUCCESS
    }
    .encode();
    body.push('\n');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT_7_RUNTIME: &str = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command [sh -c exit 7], exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
    const EXIT_7_TRANSLATOR: &str = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command terminated with exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
    const NO_SHELL_RUNTIME: &str = r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: error executing command in container: it's `sh`","reason":"InternalError","details":{"causes":[{"message":"error executing command in container: it's `sh`"}]},"code":500}"#;
    const NO_SHELL_TRANSLATOR: &str = r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: Internal error occurred: error executing command in container: it's `sh`","reason":"InternalError","details":{"causes":[{"message":"Internal error occurred: error executing command in container: it's `sh`"}]},"code":500}"#;

    #[test]
    fn statuses_are_written_as_the_captured_ones() {
        let command: Vec<String> = ["sh", "-c", "exit 7"].map(str::to_owned).to_vec();
        let text = "error executing command in container: it's `sh`";
        assert_eq!(success(), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(exit(7, &command, Shape::Runtime), EXIT_7_RUNTIME);
        assert_eq!(exit(7, &command, Shape::Translator), EXIT_7_TRANSLATOR);
        assert_eq!(internal_error(text, Shape::Runtime), NO_SHELL_RUNTIME);
        assert_eq!(internal_error(text, Shape::Translator), NO_SHELL_TRANSLATOR);
    }

    #[test]
    fn refusals_are_written_as_the_captured_ones() {
        assert_eq!(
            refusal(
                404,
                "NotFound",
                "pods \"nosuch\" not found",
                Some(("nosuch", "pods"))
            ),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"pods \\\"nosuch\\\" not found\",\"reason\":\"NotFound\",\"details\":{\"name\":\"nosuch\",\"kind\":\"pods\"},\"code\":404}\n"
        );
        assert_eq!(
            refusal(400, "BadRequest", "a <b> & c\u{2028}", None),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"a \\u003cb\\u003e \\u0026 c\\u2028\",\"reason\":\"BadRequest\",\"code\":400}\n"
        );
    }

    #[test]
    fn every_real_shape_is_read() {
        assert_eq!(parse(br#"{"status":"Success"}"#), Ok(Outcome::Success));
        assert_eq!(parse(success().as_bytes()), Ok(Outcome::Success));
        for text in [EXIT_7_RUNTIME, EXIT_7_TRANSLATOR] {
            assert_eq!(parse(text.as_bytes()), Ok(Outcome::Exit(7)));
        }
        let Ok(Outcome::Failure(failure)) = parse(NO_SHELL_TRANSLATOR.as_bytes()) else {
            panic!("not a failure");
        };
        assert_eq!(
            (failure.code, failure.reason.as_deref()),
            (Some(500), Some("InternalError"))
        );
        assert!(
            failure
                .message
                .starts_with("Internal error occurred: Internal error")
        );
    }

    #[test]
    fn what_is_no_status_is_never_success() {
        let exit = |code: &str| {
            format!(
                r#"{{"status":"Failure","reason":"NonZeroExitCode","details":{{"causes":[{{"reason":"Other","message":"1"}},{{"reason":"ExitCode","message":"{code}"}}]}}}}"#
            )
        };
        assert_eq!(parse(exit("255").as_bytes()), Ok(Outcome::Exit(255)));
        for code in ["256", "-1", "+7", " 7", "7.0", "", "x"] {
            assert_eq!(parse(exit(code).as_bytes()), Err(Error::ExitCode), "{code}");
        }
        assert_eq!(parse(b""), Err(Error::Empty));
        assert_eq!(parse(b" \n"), Err(Error::Empty));
        assert_eq!(parse(b"{"), Err(Error::Json));
        assert_eq!(parse(b"[]"), Err(Error::Json));
        assert_eq!(parse(b"{}"), Err(Error::Unknown));
        assert_eq!(parse(br#"{"status":"Later"}"#), Err(Error::Unknown));
        for bare in [
            r#"{"status":"Failure","reason":"NonZeroExitCode"}"#,
            r#"{"status":"Failure","reason":"NonZeroExitCode","details":null}"#,
            r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":null}}"#,
            r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode"}]}}"#,
        ] {
            assert_eq!(parse(bare.as_bytes()), Err(Error::ExitCode), "{bare}");
        }
        assert_eq!(
            parse(b"{\"status\":\"Success\"} and more"),
            Err(Error::Json)
        );
        assert_eq!(parse("[".repeat(100_000).as_bytes()), Err(Error::Json));
    }
}
