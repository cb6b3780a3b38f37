//! `periscope exec`: the same shell from a terminal, through a gateway.
//!
//! It speaks what a browser speaks, with the core's own WebSocket, and asks for flow control, so
//! that a flood stops where the reader of its output stops. Its exit code is the remote one.

mod address;
mod gateway;
mod relay;
mod streams;
mod terminal;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use periscope_core::http::SecretValue;
use periscope_core::names;

use self::address::Address;
use self::gateway::Gateway;
use self::relay::{Ended, Relay, Settings};
use self::terminal::Raw;
use crate::cli::{Exit, fail};

/// What this program exits with when the gateway, not the remote command, has failed; as ssh does.
const GATEWAY_FAILED: u8 = 255;

/// Where the token is read from: never from a flag, which every user of the machine can see.
const TOKEN_VARIABLE: &str = "PERISCOPE_TOKEN";

/// Run a command in a container, or open a shell there, through a gateway.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// URL of the gateway.
    #[arg(long, value_name = "URL", env = "PERISCOPE_SERVER")]
    server: String,
    /// Name of the cluster.
    #[arg(long, value_name = "CLUSTER")]
    cluster: String,
    /// Namespace of the pod.
    #[arg(short, long, value_name = "NS")]
    namespace: String,
    /// Name of the pod.
    #[arg(value_name = "POD")]
    pod: String,
    /// Container; without it the pod's default one.
    #[arg(short, long, value_name = "CONTAINER")]
    container: Option<String>,
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    tty: bool,
    /// What to run; without it a shell.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Why there is no exit code of the remote command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The caller's arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The gateway cannot be reached or trusted.
    #[error("{0}")]
    Connect(String),
    /// The gateway said no, in a sentence.
    #[error("{0}")]
    Refused(String),
    /// The session ended without an exit code.
    #[error("{0}")]
    Ended(String),
    /// A stream of this process failed.
    #[error("cannot {what}: {error}")]
    Stream {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The process was told to leave by this signal.
    #[error("ended by a signal")]
    Signal(u8),
}

/// Runs the command.
pub(crate) async fn run(args: ExecArgs) -> Exit {
    match exec(args).await {
        Ok(code) => Exit::Remote(code),
        Err(ClientError::Usage(reason)) => fail(Exit::Usage, &reason),
        // As a shell reports a program that a signal has ended.
        Err(ClientError::Signal(number)) => Exit::Remote(number.saturating_add(128)),
        Err(error) => fail(Exit::Remote(GATEWAY_FAILED), &error),
    }
}

async fn exec(args: ExecArgs) -> Result<u8, ClientError> {
    let usage = |error: &dyn std::fmt::Display| ClientError::Usage(error.to_string());
    names::check_cluster(&args.cluster).map_err(|error| usage(&error))?;
    names::check_namespace(&args.namespace).map_err(|error| usage(&error))?;
    names::check_pod(&args.pod).map_err(|error| usage(&error))?;
    if let Some(container) = &args.container {
        names::check_container(container).map_err(|error| usage(&error))?;
    }
    let address = Address::parse(&args.server).map_err(|error| usage(&error))?;
    let token = token(&address)?;
    let is_terminal = io::stdin().is_terminal();
    if args.tty && args.stdin && !is_terminal {
        terminal::say(
            "standard input is not a terminal, so the remote one is not under its control",
        );
    }
    let path = path(&args, args.tty.then(terminal::size).flatten());
    let gateway = Gateway::new(address, token)?;
    gateway.dry_run(&path).await?;
    let connection = gateway.upgrade(&path).await?;
    // From here on keys are the remote terminal's. Dropping this gives ours back.
    let raw = if args.tty && args.stdin && is_terminal {
        Some(Raw::enter().map_err(|error| ClientError::Stream {
            what: "control the terminal",
            error,
        })?)
    } else {
        None
    };
    let settings = Settings {
        stdin: args.stdin,
        tty: args.tty,
    };
    let ended = Relay::new(connection, settings)?.run().await;
    drop(raw);
    match ended? {
        Ended {
            exit_code: Some(_),
            truncated: Some(true),
            ..
        } => Err(ClientError::Ended(
            "the end of the output was lost on the way, so the result is not the command's"
                .to_owned(),
        )),
        Ended {
            exit_code: Some(code),
            ..
        } => Ok(code),
        Ended { reason, .. } => Err(ClientError::Ended(reason)),
    }
}

/// The token, if there is one. It must not cross a network in the clear.
fn token(address: &Address) -> Result<Option<SecretValue>, ClientError> {
    let Some(token) = std::env::var_os(TOKEN_VARIABLE).filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    let bad = || ClientError::Usage(format!("{TOKEN_VARIABLE} is not a token"));
    let token = token.into_string().map_err(|_| bad())?;
    if !address.is_private() {
        return Err(ClientError::Usage(format!(
            "{TOKEN_VARIABLE} would cross the network unencrypted; use an https URL"
        )));
    }
    let value = SecretValue::new(&format!("Bearer {}", token.trim())).map_err(|_| bad())?;
    Ok(Some(value))
}

/// Path and query of the shell. The names are checked and need no escapes.
fn path(args: &ExecArgs, size: Option<(u16, u16)>) -> String {
    let mut path = format!(
        "/api/clusters/{}/pods/{}/{}/exec?tty={}&flow=both",
        args.cluster, args.namespace, args.pod, args.tty
    );
    if let Some(container) = &args.container {
        path.push_str("&container=");
        path.push_str(container);
    }
    if !args.command.is_empty() {
        // An array of strings always has a JSON form.
        let json = serde_json::to_vec(&args.command).unwrap_or_default();
        path.push_str("&command=");
        URL_SAFE_NO_PAD.encode_string(json, &mut path);
    }
    if let Some((cols, rows)) = size {
        // Writing to a string cannot fail.
        let _ = write!(path, "&cols={cols}&rows={rows}");
    }
    path
}
