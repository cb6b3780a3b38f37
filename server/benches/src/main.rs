//! `rig`: everything that stands around a gateway while it is measured. Each part is a process of
//! its own, so that what is counted is the gateway's alone.

#![allow(
    clippy::print_stdout,
    reason = "the processes talk to each other in lines"
)]

mod bridge;
mod load;
mod memory;
mod peers;
mod procfs;
mod report;
mod tls;
mod upstream;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// What a measurement that cannot go on says.
type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(name = "rig", disable_help_subcommand = true)]
enum Command {
    /// Serve a make-believe apiserver until stdin ends: TLS, v5, one pod that echoes.
    Upstream {
        /// Where the certificate and the gateway's configuration go.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Run the naive bridge until stdin ends.
    Bridge {
        /// The upstream.
        #[arg(long)]
        upstream: SocketAddr,
        /// The certificate authority of the upstream.
        #[arg(long)]
        ca: PathBuf,
        /// tungstenite's buffers, both ways, in bytes; its defaults where absent.
        #[arg(long)]
        buffers: Option<usize>,
    },
    /// Open sessions, echo once through each, keep them, and measure a process.
    Load(load::LoadOptions),
    /// Run a case against every peer and write its table to a page.
    Report(report::ReportOptions),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    match Command::parse() {
        Command::Upstream { dir } => upstream::run(&dir).await,
        Command::Bridge {
            upstream,
            ca,
            buffers,
        } => bridge::run(upstream, &ca, buffers).await,
        Command::Load(options) => load::run(&options).await,
        Command::Report(options) => report::run(&options).await,
    }
}

/// Resolves when whoever started this process is done with it.
async fn stdin_ended() {
    use tokio::io::AsyncReadExt as _;
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 256];
    while stdin.read(&mut bytes).await.is_ok_and(|len| len > 0) {}
}
