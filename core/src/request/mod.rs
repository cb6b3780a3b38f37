//! The exec request on both sides: the browser's query, and the path sent to the apiserver.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

use crate::limits;

/// What to run, where. stdin and stdout are always asked for; stderr only without a terminal,
/// because a runtime that gets both refuses them or never opens the stream.
#[derive(Clone, Copy, Debug)]
pub struct ExecTarget<'a> {
    /// Path of the cluster's server URL, percent-encoded as it stands there; empty or `/` for none.
    pub path_prefix: &'a str,
    /// The namespace; the caller has checked it ([`crate::names`]).
    pub namespace: &'a str,
    /// The pod; the caller has checked it.
    pub pod: &'a str,
    /// The container, checked too; without one the apiserver chooses.
    pub container: Option<&'a str>,
    /// The argument vector.
    pub command: &'a [String],
    /// Whether the process gets a terminal.
    pub tty: bool,
}

/// The request target (RFC 9112 §3.2.1) of `pods/exec`, its keys in the order Kubernetes' own
/// client writes them.
pub fn exec_target(target: &ExecTarget<'_>) -> String {
    debug_assert!(
        crate::names::is_label(target.namespace),
        "the caller checks names"
    );
    debug_assert!(
        crate::names::is_subdomain(target.pod),
        "the caller checks names"
    );
    let mut path = String::new();
    let prefix = target.path_prefix.trim_matches('/');
    if !prefix.is_empty() {
        path.push('/');
        path.push_str(prefix);
    }
    path.push_str("/api/v1/namespaces/");
    push_encoded(&mut path, target.namespace);
    path.push_str("/pods/");
    push_encoded(&mut path, target.pod);
    path.push_str("/exec?");
    for argument in target.command {
        push_pair(&mut path, "command", argument);
    }
    if let Some(container) = target.container {
        push_pair(&mut path, "container", container);
    }
    if !target.tty {
        push_pair(&mut path, "stderr", "true");
    }
    push_pair(&mut path, "stdin", "true");
    push_pair(&mut path, "stdout", "true");
    if target.tty {
        push_pair(&mut path, "tty", "true");
    }
    path
}

/// The command where the caller names none: bash if the container has it, else sh. Both names are
/// left to the runtime's PATH.
pub fn default_shell() -> Vec<String> {
    [
        "sh",
        "-c",
        "command -v bash >/dev/null 2>&1 && exec bash; exec sh",
    ]
    .map(str::to_owned)
    .into()
}

/// The browser's wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecQuery {
    /// The container as sent; its name is still to be checked.
    pub container: Option<String>,
    /// The caller's own command; `None` means [`default_shell`].
    pub command: Option<Vec<String>>,
    /// Whether the process gets a terminal; true where the query is silent.
    pub tty: bool,
    /// Columns of the terminal.
    pub cols: Option<u16>,
    /// Rows of the terminal.
    pub rows: Option<u16>,
    /// Whether the browser acknowledges output.
    pub flow_ack: bool,
    /// Whether it wants to know how much of its stdin went on.
    pub stdin_ack: bool,
}

/// What is wrong with a query. The sender's fault; names the key, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// The key's value is not what the key takes.
    #[error("the query key `{key}` is malformed")]
    Malformed {
        /// The key.
        key: &'static str,
    },
    /// The key stands there twice: which one is meant?
    #[error("the query key `{key}` is repeated")]
    Repeated {
        /// The key.
        key: &'static str,
    },
    /// The key's value is longer than a command may be.
    #[error("the query key `{key}` is too long")]
    TooLong {
        /// The key.
        key: &'static str,
    },
}

impl QueryError {
    /// The key that is wrong.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Malformed { key } | Self::Repeated { key } | Self::TooLong { key } => key,
        }
    }
}

/// Reads the query of an exec request (without its `?`). Keys it does not know are ignored, so
/// that a newer page still works.
pub fn parse_exec_query(query: &str) -> Result<ExecQuery, QueryError> {
    let mut values: [Option<String>; KEYS.len()] = Default::default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = decoded(name) else { continue };
        for (key, slot) in KEYS.into_iter().zip(&mut values) {
            if key != name {
                continue;
            }
            if slot.is_some() {
                return Err(QueryError::Repeated { key });
            }
            *slot = Some(decoded(value).ok_or(QueryError::Malformed { key })?);
        }
    }
    let [container, command, tty, cols, rows, flow] = values;
    let (flow_ack, stdin_ack) = flow.map_or(Ok((false, false)), |value| parse_flow(&value))?;
    Ok(ExecQuery {
        container: container
            .map(|value| non_empty("container", value))
            .transpose()?,
        command: command.map(|value| parse_command(&value)).transpose()?,
        tty: tty.map_or(Ok(true), |value| parse_bool("tty", &value))?,
        cols: cols.map(|value| parse_cells("cols", &value)).transpose()?,
        rows: rows.map(|value| parse_cells("rows", &value)).transpose()?,
        flow_ack,
        stdin_ack,
    })
}

/// base64 of a JSON array of strings that could be the arguments of a process.
fn parse_command(value: &str) -> Result<Vec<String>, QueryError> {
    let malformed = QueryError::Malformed { key: "command" };
    let too_long = QueryError::TooLong { key: "command" };
    if value.len() / 4 > limits::COMMAND_BYTES_MAX.div_ceil(3) {
        return Err(too_long);
    }
    // Both alphabets are one: `-` and `_` stand for `+` and `/`.
    let standard = value.replace('-', "+").replace('_', "/");
    let json = BASE64.decode(standard).map_err(|_| malformed)?;
    if json.len() > limits::COMMAND_BYTES_MAX {
        return Err(too_long);
    }
    let command: Vec<String> = serde_json::from_slice(&json).map_err(|_| malformed)?;
    if command.len() > limits::COMMAND_ARGUMENTS_MAX {
        return Err(too_long);
    }
    // An argument ends at its NUL, so one with a NUL inside would run something else.
    let runnable = command.first().is_some_and(|program| !program.is_empty())
        && !command.iter().any(|argument| argument.contains('\0'));
    if runnable {
        Ok(command)
    } else {
        Err(malformed)
    }
}

fn parse_bool(key: &'static str, value: &str) -> Result<bool, QueryError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(QueryError::Malformed { key }),
    }
}

fn parse_cells(key: &'static str, value: &str) -> Result<u16, QueryError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let cells = value.parse().ok().filter(|cells| digits && *cells > 0);
    cells.ok_or(QueryError::Malformed { key })
}

/// Whether output is acknowledged, and whether stdin is.
fn parse_flow(value: &str) -> Result<(bool, bool), QueryError> {
    match value {
        "ack" => Ok((true, false)),
        "both" => Ok((true, true)),
        _ => Err(QueryError::Malformed { key: "flow" }),
    }
}

fn non_empty(key: &'static str, value: String) -> Result<String, QueryError> {
    if value.is_empty() {
        Err(QueryError::Malformed { key })
    } else {
        Ok(value)
    }
}

/// Percent-decodes UTF-8 (RFC 3986 §2.1). `+` stays what it is: no known key takes a blank, and
/// standard base64 has it.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(high << 4 | low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

fn push_pair(path: &mut String, key: &str, value: &str) {
    if !path.ends_with('?') {
        path.push('&');
    }
    path.push_str(key);
    path.push('=');
    push_encoded(path, value);
}

/// Percent-encodes everything but RFC 3986 §2.3's unreserved characters. Go's parser drops a pair
/// with a bare `;`, so nothing else is left as it is.
fn push_encoded(path: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            for digit in [byte >> 4, byte & 15] {
                path.extend(
                    char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()),
                );
            }
        }
    }
}

/// The known keys, in the order of [`ExecQuery`]'s fields.
const KEYS: [&str; 6] = ["container", "command", "tty", "cols", "rows", "flow"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);
