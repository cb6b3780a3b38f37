//! The command line.

use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::audit_cli::{self, AuditCommand};
use crate::client;
use crate::config::{self, Environment, Findings};
use crate::demo::{self, DemoFault};
use crate::doctor;
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
    /// As the remote command of `exec` did.
    Remote(u8),
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
    /// Read the audit database: find records, check that none was changed.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Run the gateway, configured by environment and two YAML files. The default.
    Serve,
    /// Look at the configuration of `serve` without starting it.
    Config(ConfigArgs),
    Exec(client::ExecArgs),
    Doctor(doctor::DoctorArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration with the origin of each value, secrets redacted.
    Check,
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
    let environment = Environment::of_process();
    let (process, findings) = config::process(&environment);
    log::start(process.log_level.value, process.log_format.value);
    let command = cli.command.unwrap_or(Command::Serve);
    if let Command::Config(ConfigArgs {
        command: ConfigCommand::Check,
    }) = command
    {
        return check(&environment);
    }
    if !findings.errors.is_empty() && !matches!(command, Command::Serve) {
        return refuse(&findings);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Failure, &error),
    };
    let exit = match command {
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
                drain: process.drain.value,
            };
            runtime.block_on(demo::run(options))
        }
        Command::Serve => runtime.block_on(serve::run(&environment)),
        Command::Audit(command) => audit_cli::run(command, &environment),
        Command::Config(_) => Exit::Usage,
        Command::Exec(args) => runtime.block_on(client::run(args)),
        Command::Doctor(args) => runtime.block_on(doctor::run(args, &environment)),
    };
    // A thread that is stuck in a blocked stdout must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

/// Prints the effective configuration, or what is wrong with it.
fn check(environment: &Environment) -> Exit {
    let (settings, findings) = config::load(environment, &config::Disk);
    for warning in &findings.warnings {
        say(&format_args!("warning: {warning}"));
    }
    let Some(settings) = settings else {
        return refuse(&findings);
    };
    let report = config::check::report(&settings);
    match std::io::stdout().write_all(report.as_bytes()) {
        Ok(()) => Exit::Good,
        Err(error) => fail(Exit::Failure, &error),
    }
}

/// Says every error of the configuration.
pub(crate) fn refuse(findings: &Findings) -> Exit {
    for error in &findings.errors {
        say(&format_args!("error: {error}"));
    }
    Exit::Configuration
}

/// Says on stderr why the program ends.
pub(crate) fn fail(exit: Exit, reason: &dyn Display) -> Exit {
    say(reason);
    exit
}

/// A line on stderr.
fn say(what: &dyn Display) {
    // Where stderr is gone, the exit code still says it.
    drop(writeln!(std::io::stderr(), "periscope: {what}"));
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Configuration => 3,
            Exit::Remote(code) => code,
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
}
