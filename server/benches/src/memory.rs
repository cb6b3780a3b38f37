//! Case 10: what an idle session costs in memory, both legs, TLS towards the upstream.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::Failure;
use crate::peers::{Peer, Running};

/// Sessions of a run. Twice as many files are open in the gateway: 9,000 is the top where a process
/// may open 20,000.
const SIZES: [usize; 3] = [1000, 4000, 9000];

/// The table, in Markdown.
pub(crate) async fn table(program: &Path, sizes_max: usize) -> Result<String, Failure> {
    let sizes: Vec<usize> = SIZES
        .into_iter()
        .filter(|size| *size <= sizes_max)
        .collect();
    let mut text = String::from(
        "## Memory of an idle session\n\nBoth legs open, TLS towards the upstream, one echo through each session, then silence: what resident memory grows by from a \
         quarter of the sessions to all of them, divided by their number. KiB a session.\n\n",
    );
    let heads: Vec<String> = sizes
        .iter()
        .map(|size| format!("{size} sessions"))
        .collect();
    writeln!(
        text,
        "| gateway | {} |\n|---|{}",
        heads.join(" | "),
        "--:|".repeat(sizes.len())
    )?;
    for peer in Peer::ALL {
        let mut cells = Vec::new();
        for size in &sizes {
            // Who cannot hold so many has no number; the others still have theirs.
            let cell = match slope(peer, *size, program).await {
                Ok(slope) => format!("{slope:.1}"),
                Err(error) => {
                    eprintln!("{}, {size} sessions: {error}", peer.title());
                    "–".to_owned()
                }
            };
            eprintln!("{}, {size} sessions: {cell} KiB", peer.title());
            cells.push(cell);
        }
        writeln!(text, "| {} | {} |", peer.title(), cells.join(" | "))?;
    }
    Ok(text)
}

async fn slope(peer: Peer, sessions: usize, program: &Path) -> Result<f64, Failure> {
    let dir = Scratch::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("upstream").arg("--dir").arg(&dir.0);
    let (upstream, address) = Running::start_and_listen(command).await?;
    let (running, front) = peer.start(address.parse()?, &dir.0, program).await?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "load",
        "--speech",
        peer.speech().as_str(),
        "--sessions",
        &sessions.to_string(),
    ]);
    command.args([
        "--url",
        &peer.url(front, &["echo"]),
        "--pid",
        &running.pid()?.to_string(),
    ]);
    command.stderr(Stdio::inherit());
    let (load, line) = Running::start_and_listen(command).await?;
    let said: Value = serde_json::from_str(&line)?;
    let number = |key: &str| {
        said.get(key)
            .and_then(Value::as_f64)
            .ok_or("the load generator's line lacks a number")
    };
    let slope =
        (number("kib")? - number("quarter_kib")?) / (number("sessions")? - number("quarter")?);
    load.stop().await?;
    running.stop().await?;
    upstream.stop().await?;
    Ok(slope)
}

/// A folder of this run's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("periscope-rig-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
