//! The command line.

use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::demo::{self, DemoFault};
use crate::gateway::log;
use crate::serve;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As asked.
    Good,
    /// A failure or a finding.
    Failure,
    /// Wrong usage.
    Usage,
    /// Wrong configuration.
    Configuration,
}

/// A shell in a Kubernetes container, in a browser.
#[derive(Debug, Parser)]
#[command(name = "periscope", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine, without Kubernetes: gateway, web UI and a sandbox apiserver
    /// whose containers are processes of yours. Loopback only.
    Demo(DemoArgs),
    /// Run the gateway, configured by environment and two YAML files. The default.
    Serve,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Loopback address of the gateway; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Loopback address of the sandbox's first cluster; port 0 picks free ones.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    kube_listen: SocketAddr,
    /// Misbehave on purpose. May be given several times; an unknown name lists all.
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<DemoFault>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" with exit code 0. Where nobody reads, nobody is told.
            drop(error.print());
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Good.into()
            };
        }
    };
    run(cli).into()
}

fn run(cli: Cli) -> Exit {
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => return fail(Exit::Configuration, &error),
    };
    log::start(environment.log_level, environment.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Failure, &error),
    };
    let exit = match cli.command.unwrap_or(Command::Serve) {
        Command::Demo(args) => {
            let DemoArgs {
                listen,
                kube_listen,
                faults,
            } = args;
            let options = demo::DemoOptions {
                listen,
                kube_listen,
                faults,
                drain: environment.drain,
            };
            runtime.block_on(demo::run(options))
        }
        Command::Serve => serve::run(),
    };
    // A thread that is stuck in a blocked stdout must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

/// Says on stderr why the program ends.
pub(crate) fn fail(exit: Exit, reason: &dyn Display) -> Exit {
    // Where stderr is gone, the exit code still says it.
    drop(writeln!(std::io::stderr(), "periscope: {reason}"));
    exit
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Configuration => 3,
        })
    }
}

/// What every command reads from the environment.
#[derive(Debug)]
struct Environment {
    log_level: ::log::LevelFilter,
    log_format: log::Format,
    drain: Duration,
}

/// A variable that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be {expected}")]
struct BadVariable {
    name: &'static str,
    expected: &'static str,
}

impl Environment {
    fn read() -> Result<Self, BadVariable> {
        Self::from_lookup(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, BadVariable> {
        let read = |name: &'static str, expected: &'static str| {
            lookup(name).map(|value| (value, BadVariable { name, expected }))
        };
        let log_level = match read(
            "PERISCOPE_LOG_LEVEL",
            "off, error, warn, info, debug or trace",
        ) {
            Some((value, error)) => value.parse().map_err(|_| error)?,
            None => ::log::LevelFilter::Info,
        };
        let log_format = match read("PERISCOPE_LOG_FORMAT", "logfmt or json") {
            Some((value, _)) if value == "json" => log::Format::Json,
            Some((value, _)) if value == "logfmt" => log::Format::Logfmt,
            Some((_, error)) => return Err(error),
            None => log::Format::default(),
        };
        let drain = match read(
            "PERISCOPE_DRAIN_SECONDS",
            "a number of seconds, at most 86400",
        ) {
            Some((value, error)) => match value.parse() {
                Ok(seconds @ 0..=86_400) => Duration::from_secs(seconds),
                _ => return Err(error),
            },
            None => Duration::from_secs(10),
        };
        Ok(Self {
            log_level,
            log_format,
            drain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_what_the_manual_says() {
        let cli = Cli::try_parse_from(["periscope"]).unwrap();
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from([
            "periscope",
            "demo",
            "--fault",
            "silent",
            "--fault",
            "cap-user",
        ])
        .unwrap();
        let Some(Command::Demo(args)) = cli.command else {
            panic!("demo")
        };
        assert_eq!(args.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(args.kube_listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!(args.faults.len(), 2);
        for wrong in [
            &["demo", "--fault", "nonsense"][..],
            &["demo", "--listen", "x"],
            &["frobnicate"],
            &["--what"],
        ] {
            let error = Cli::try_parse_from([&["periscope"], wrong].concat()).unwrap_err();
            assert!(error.use_stderr(), "{wrong:?}");
        }
        for asked in ["--help", "--version"] {
            assert!(
                !Cli::try_parse_from(["periscope", asked])
                    .unwrap_err()
                    .use_stderr()
            );
        }
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_named_with_what_it_takes() {
        let with = |name: &'static str, value: &'static str| {
            Environment::from_lookup(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(
            with("PERISCOPE_DRAIN_SECONDS", "3").unwrap().drain,
            Duration::from_secs(3)
        );
        assert_eq!(
            with("PERISCOPE_LOG_FORMAT", "json").unwrap().log_format,
            log::Format::Json
        );
        let bad = [
            ("PERISCOPE_DRAIN_SECONDS", "10s"),
            ("PERISCOPE_DRAIN_SECONDS", "-1"),
            ("PERISCOPE_DRAIN_SECONDS", "86401"),
            ("PERISCOPE_LOG_FORMAT", "xml"),
            ("PERISCOPE_LOG_LEVEL", "loud"),
        ];
        for (name, value) in bad {
            let error = with(name, value).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
