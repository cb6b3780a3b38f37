//! Runs cases and puts their tables on the page, each between two marks of its own.

use std::path::PathBuf;

use clap::Args;

use crate::{Failure, memory};

#[derive(Clone, Debug, Args)]
pub(crate) struct ReportOptions {
    /// The page.
    page: PathBuf,
    /// The program `periscope`, as it is released.
    #[arg(long)]
    program: PathBuf,
    /// The most sessions of a run.
    #[arg(long, default_value_t = 9000)]
    sessions: usize,
}

const BEGIN: &str = "<!-- memory: written by `make bench` -->";
const END: &str = "<!-- memory: end -->";

pub(crate) async fn run(options: &ReportOptions) -> Result<(), Failure> {
    let section = memory::table(&options.program, options.sessions).await?;
    print!("{section}");
    let text = std::fs::read_to_string(&options.page)?;
    let (before, rest) = text.split_once(BEGIN).ok_or("the page has no begin mark")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no end mark")?;
    std::fs::write(
        &options.page,
        format!("{before}{BEGIN}\n\n{section}\n{END}{after}"),
    )?;
    Ok(())
}
