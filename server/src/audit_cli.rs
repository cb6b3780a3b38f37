//! `periscope audit verify` and `periscope audit query`: read only, whether or not a gateway writes
//! the file meanwhile.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::cli::{Exit, fail};
use crate::config::{self, Environment};
use crate::gateway::audit::query::{BadFilter, Filter};
use crate::gateway::audit::{self, AuditKey, Head, verify};

/// Rows in an answer, unless it is asked otherwise.
const LIMIT_DEFAULT: &str = "100";

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check the hash chain. Exit code 0: intact; 1: tampered with, and the first bad row is named;
    /// 3: it cannot be told.
    Verify(VerifyArgs),
    /// Find records, newest first.
    Query(Box<QueryArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    file: FileArgs,
    /// A head that was kept elsewhere, from an `audit.head` line: the chain must still hold it.
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Head>,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    file: FileArgs,
    /// What happened, such as `pod.exec.session_start`.
    #[arg(long)]
    verb: Option<String>,
    /// The subject (`sub`) it happened to.
    #[arg(long)]
    actor: Option<String>,
    /// success, denied or failure.
    #[arg(long)]
    outcome: Option<String>,
    #[arg(long)]
    cluster: Option<String>,
    #[arg(long)]
    namespace: Option<String>,
    #[arg(long)]
    pod: Option<String>,
    /// The session's identifier.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Not before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How many, at most 500.
    #[arg(long, default_value = LIMIT_DEFAULT)]
    limit: String,
    /// How many of the newest to leave out.
    #[arg(long, default_value = "0")]
    offset: String,
    /// JSON lines or a table; a table if a person is looking.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The database file; without this, the one that `serve` would write.
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Table,
}

/// Runs one of the commands.
pub(crate) fn run(command: AuditCommand, environment: &Environment) -> Exit {
    let (path, key) = config::audit::file(environment);
    match command {
        AuditCommand::Verify(args) => run_verify(
            &args,
            args.file.db.as_deref().unwrap_or(&path),
            key.as_ref(),
        ),
        AuditCommand::Query(args) => run_query(&args, args.file.db.as_deref().unwrap_or(&path)),
    }
}

fn run_verify(args: &VerifyArgs, path: &Path, key: Option<&AuditKey>) -> Exit {
    match verify::verify(path, key, args.head) {
        Ok(Ok(intact)) => {
            let Head { seq, hash } = intact.head;
            let (rows, first, emptied) = (intact.rows, intact.first, intact.emptied);
            let text = format!(
                "intact: {rows} rows from {first} on, {emptied} of them emptied by retention, head {seq}:{hash}"
            );
            print(Exit::Good, &text)
        }
        Ok(Err(tampering)) => print(Exit::Failure, &format!("tampered: {tampering}")),
        Err(error) => fail(Exit::Configuration, &error),
    }
}

fn run_query(args: &QueryArgs, path: &Path) -> Exit {
    let filter = match filter(args) {
        Ok(filter) => filter,
        Err(error) => return fail(Exit::Usage, &error),
    };
    let page = match audit::find(path, &filter) {
        Ok(page) => page,
        Err(error) => return fail(Exit::Configuration, &error),
    };
    let format = args.format.unwrap_or(if io::stdout().is_terminal() {
        Format::Table
    } else {
        Format::Json
    });
    let mut text = String::new();
    match format {
        Format::Json => {
            for item in &page.items {
                text.push_str(item.get());
                text.push('\n');
            }
        }
        Format::Table => {
            let rows = page.items.iter().map(|item| table_row(item.get()));
            text = table(rows.collect());
            let count = page.items.len();
            text.extend([
                count.to_string(),
                " of ".to_owned(),
                page.total.to_string(),
                " rows".to_owned(),
            ]);
        }
    }
    print(Exit::Good, text.trim_end_matches('\n'))
}

fn filter(args: &QueryArgs) -> Result<Filter, BadFilter> {
    let mut filter = Filter::new();
    let values = [
        ("verb", args.verb.as_deref()),
        ("actor", args.actor.as_deref()),
        ("outcome", args.outcome.as_deref()),
        ("cluster", args.cluster.as_deref()),
        ("namespace", args.namespace.as_deref()),
        ("pod", args.pod.as_deref()),
        ("session", args.session.as_deref()),
        ("from", args.from.as_deref()),
        ("to", args.to.as_deref()),
        ("limit", Some(args.limit.as_str())),
        ("offset", Some(args.offset.as_str())),
    ];
    for (key, value) in values {
        if let Some(value) = value {
            filter.set(key, value)?;
        }
    }
    Ok(filter)
}

const COLUMNS: [&str; 7] = [
    "TIME", "VERB", "OUTCOME", "ACTOR", "PLACE", "SESSION", "DETAIL",
];

/// What a person wants to see of a row. Values come from users: a control character in one must not
/// reach the terminal.
fn table_row(item: &str) -> [String; COLUMNS.len()] {
    let item: Value = serde_json::from_str(item).unwrap_or_default();
    let text = |pointer: &str| match item.pointer(pointer) {
        Some(Value::String(text)) => text
            .chars()
            .map(|c| if c.is_control() { '·' } else { c })
            .collect(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let is_there = |text: &String| !text.is_empty();
    let place = ["/cluster", "/namespace", "/pod", "/container"].map(text);
    let place: Vec<_> = place.into_iter().filter(is_there).collect();
    let detail = ["/close_detail", "/code", "/count", "/first_seq"].map(text);
    [
        text("/timestamp"),
        text("/verb"),
        text("/outcome"),
        text("/actor/sub"),
        place.join("/"),
        text("/session_id"),
        detail.into_iter().find(is_there).unwrap_or_default(),
    ]
}

fn table(rows: Vec<[String; COLUMNS.len()]>) -> String {
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in std::iter::once(COLUMNS.map(str::to_owned)).chain(rows) {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Says something on stdout. Where nobody reads, the exit code still says it.
fn print(exit: Exit, text: &str) -> Exit {
    if !text.is_empty() {
        drop(writeln!(io::stdout(), "{text}"));
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_who_where_and_how_it_ended_and_no_control_character() {
        let end = r#"{"seq":2,"timestamp":"t","verb":"pod.exec.session_end","outcome":"success","actor":{"sub":"a\u001b[2Jb"},
            "cluster":"c","namespace":"n","pod":"p","container":null,"session_id":"s","close_detail":"idle"}"#;
        let text = table(vec![
            table_row(end),
            table_row(r#"{"verb":"audit.gap","count":3}"#),
        ]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], COLUMNS);
        assert_eq!(
            lines[1],
            [
                "t",
                "pod.exec.session_end",
                "success",
                "a·[2Jb",
                "c/n/p",
                "s",
                "idle"
            ]
        );
        assert_eq!(lines[2], ["audit.gap", "3"]);
    }
}
