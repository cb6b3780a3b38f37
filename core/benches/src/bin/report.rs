//! `report PAGE`: puts criterion's times and callgrind's instruction counts into one table on the
//! page, between its two marks, and prints it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use periscope_core_benches::{CASES, Case, PEERS};

const BEGIN: &str = "<!-- codecs: written by `make bench` -->";
const END: &str = "<!-- codecs: end -->";

fn main() -> Result<(), Box<dyn Error>> {
    let page = env::args().nth(1).ok_or("usage: report PAGE")?;
    let page = Path::new(&page);
    let section = section()?;
    print!("{section}");
    let text = fs::read_to_string(page).unwrap_or_else(|_| format!("{TITLE}\n{BEGIN}\n{END}\n"));
    let (before, rest) = text.split_once(BEGIN).ok_or("the page has no begin mark")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no end mark")?;
    fs::write(page, format!("{before}{BEGIN}\n\n{section}\n{END}{after}"))?;
    Ok(())
}

const TITLE: &str = "# Benchmarks

Ratios are what counts here; absolute numbers belong to the machine they were measured on.
";

fn section() -> Result<String, Box<dyn Error>> {
    let mut text = String::from(
        "## Codecs\n\nOne process, one wire in memory, every codec with its defaults, ours with the driver's buffer sizes. The\n\
         ratio compares ours with the best of the three others in the same round: its median over the rounds, and its range.\n\
         Below 1 ours is faster.\n\n",
    );
    writeln!(text, "Machine: {}\n", machine())?;
    let heading = PEERS.join(" ns | ");
    writeln!(text, "| case | {heading} ns | ratio to the best | aim | |")?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|---|")?;
    for case in CASES {
        writeln!(text, "{}", times(&case)?)?;
    }
    writeln!(
        text,
        "\nInstructions for one message, counted with callgrind over the codec alone (N and 2N messages, subtracted):\n"
    )?;
    if Command::new("valgrind").arg("--version").output().is_err() {
        writeln!(text, "not counted: there is no valgrind on this machine.")?;
        return Ok(text);
    }
    writeln!(text, "| case | {} | ratio to the best |", PEERS.join(" | "))?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|")?;
    for case in CASES
        .iter()
        .filter(|case| case.is_encode || case.payload < 100)
    {
        writeln!(text, "{}", instructions(case)?)?;
    }
    Ok(text)
}

/// A row of times.
fn times(case: &Case) -> Result<String, Box<dyn Error>> {
    let mut by_peer = Vec::new();
    for peer in PEERS {
        let mut rounds = Vec::new();
        while let Some(time) = median_of(case, peer, rounds.len())? {
            rounds.push(time);
        }
        by_peer.push(rounds);
    }
    let (ours, others) = by_peer.split_first().ok_or("nobody was measured")?;
    let mut ratios: Vec<f64> = Vec::new();
    for (round, time) in ours.iter().enumerate() {
        let best = others
            .iter()
            .filter_map(|rounds| rounds.get(round).copied())
            .fold(f64::INFINITY, f64::min);
        ratios.push(time / best);
    }
    let (low, middle, high) = spread(&mut ratios).ok_or("no rounds: run the benchmark first")?;
    let mut row = format!("| {} |", case.title);
    for mut rounds in by_peer {
        let (_, time, _) = spread(&mut rounds).ok_or("a peer was not measured")?;
        write!(row, " {time:.1} |")?;
    }
    let verdict = if middle <= case.aim { "met" } else { "missed" };
    write!(
        row,
        " {middle:.2} ({low:.2}–{high:.2}) | ≤ {:.1} | {verdict} |",
        case.aim
    )?;
    Ok(row)
}

/// Criterion's median of one round, in nanoseconds.
fn median_of(case: &Case, peer: &str, round: usize) -> Result<Option<f64>, Box<dyn Error>> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folder = target.join("criterion").join(case.name).join(peer);
    let file = folder.join(round.to_string()).join("new/estimates.json");
    let Ok(text) = fs::read_to_string(file) else {
        return Ok(None);
    };
    let estimates: serde_json::Value = serde_json::from_str(&text)?;
    let median = estimates.pointer("/median/point_estimate");
    Ok(Some(
        median
            .and_then(serde_json::Value::as_f64)
            .ok_or("no median")?,
    ))
}

/// A row of instruction counts.
fn instructions(case: &Case) -> Result<String, Box<dyn Error>> {
    let messages: u64 = if case.payload > 100 { 512 } else { 16_384 };
    let mut counts = Vec::new();
    for peer in PEERS {
        let once = collected(case, peer, messages)?;
        let twice = collected(case, peer, messages * 2)?;
        counts.push(twice.saturating_sub(once) / messages);
    }
    let (ours, others) = counts.split_first().ok_or("nobody was counted")?;
    let best = others.iter().min().ok_or("nobody was counted")?;
    let mut row = format!("| {} |", case.title);
    for count in &counts {
        write!(row, " {count} |")?;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
    let ratio = *ours as f64 / *best as f64;
    write!(row, " {ratio:.2} |")?;
    Ok(row)
}

fn collected(case: &Case, peer: &str, messages: u64) -> Result<u64, Box<dyn Error>> {
    let program = env::current_exe()?.with_file_name("count");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured*"])
        .arg(program)
        .args([case.name, peer, &messages.to_string()])
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    let count = log
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse().ok());
    Ok(count.ok_or_else(|| format!("callgrind counted nothing: {log}"))?)
}

/// Smallest, median, largest.
fn spread(values: &mut [f64]) -> Option<(f64, f64, f64)> {
    values.sort_by(f64::total_cmp);
    let middle = *values.get(values.len() / 2)?;
    Some((*values.first()?, middle, *values.last()?))
}

/// Processor, cores, kernel and compiler.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let compiler = Command::new("rustc").arg("--version").output();
    let compiler = compiler.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    format!(
        "{model}, {cores} cores visible, Linux {}, {}.",
        kernel.trim().split('-').next().unwrap_or_default(),
        compiler.unwrap_or_else(|_| "unknown compiler".to_owned())
    )
}
