//! What was found, hop by hop, and how it is told.

use std::future::Future;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::text::wrap;

/// The hops, in the order in which they are told.
const HOPS: [&str; 13] = [
    "config",
    "dns",
    "tcp",
    "tls",
    "alpn",
    "credentials",
    "apiserver",
    "impersonation",
    "rbac",
    "pod",
    "websocket",
    "spdy",
    "shell",
];

/// Columns of the paragraph that says what to do.
const PARAGRAPH_COLUMNS: usize = 100;

/// How the findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A line for each hop, as it is walked.
    Text,
    /// One JSON object at the end.
    Json,
}

/// What a hop that works has shown.
#[derive(Debug)]
pub(super) struct Seen<T> {
    pub(super) value: T,
    pub(super) text: String,
    pub(super) warnings: Vec<String>,
}

impl<T> Seen<T> {
    pub(super) fn new(value: T, text: impl Into<String>) -> Self {
        Self {
            value,
            text: text.into(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }
}

/// Why a hop breaks, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) advice: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
        }
    }
}

/// A hop broke: the report has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// How a hop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Ok,
    Warn,
    Fail,
    Skip,
}

impl Mark {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        }
    }
}

/// One hop of the report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    hop: &'static str,
    result: Mark,
    milliseconds: Option<u64>,
    seen: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What it means that a hop takes too long.
fn silence(hop: &str) -> &'static str {
    match hop {
        "credentials" => {
            "Whoever hands out the gateway's credentials is slow or hangs: the plugin of the kubeconfig (run its command by hand with the same \
             environment), or for EKS the endpoints of AWS and the Pod Identity agent. The gateway waits up to 30 s for a plugin; --timeout \
             waits longer here, too."
        }
        "dns" => {
            "The resolver of this place does not answer: look at /etc/resolv.conf and, in a cluster, at its DNS pods and the NetworkPolicies \
             between them and the gateway."
        }
        "tcp" | "tls" => {
            "Packets on the way to the apiserver, or back, disappear: a firewall, security group or NetworkPolicy, or a load balancer without a \
             healthy apiserver behind it. --timeout waits longer."
        }
        _ => {
            "Something takes what is sent and does not answer: an apiserver that is overloaded or hangs, or a firewall or load balancer that \
             swallows packets. Try `kubectl get --raw /readyz` with the same kubeconfig, and look at the apiserver's health and at what is \
             between. --timeout waits longer."
        }
    }
}

/// The findings so far.
#[derive(Debug)]
pub(super) struct Report {
    output: Output,
    cluster: String,
    audit_id: String,
    lines: Vec<Line>,
    /// What became of stdout.
    written: io::Result<()>,
}

/// The whole report for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    cluster: &'a str,
    audit_id: &'a str,
    ok: bool,
    broken: Option<&'static str>,
    hops: &'a [Line],
}

impl Report {
    /// Begins to tell.
    pub(super) fn new(output: Output, cluster: &str, audit_id: &str) -> Self {
        let mut report = Self {
            output,
            cluster: cluster.to_owned(),
            audit_id: audit_id.to_owned(),
            lines: Vec::new(),
            written: Ok(()),
        };
        report.write(&format!(
            "cluster {cluster}; the apiserver's audit log has this run under Audit-ID {audit_id}\n\n"
        ));
        report
    }

    /// Walks one hop, which may take `limit`.
    pub(super) async fn walk<T>(
        &mut self,
        hop: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<Seen<T>, Fault>>,
    ) -> Result<T, Broken> {
        let start = Instant::now();
        let walked = tokio::time::timeout(limit, work).await;
        let walked = walked.unwrap_or_else(|_| {
            Err(Fault::new(
                format!("no answer within {} s", limit.as_secs()),
                silence(hop),
            ))
        });
        self.add(hop, Some(start.elapsed()), walked)
    }

    /// Tells of a hop that was walked elsewhere.
    pub(super) fn add<T>(
        &mut self,
        hop: &'static str,
        took: Option<Duration>,
        walked: Result<Seen<T>, Fault>,
    ) -> Result<T, Broken> {
        let milliseconds = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let (result, line) = match walked {
            Ok(seen) => {
                let result = if seen.warnings.is_empty() {
                    Mark::Ok
                } else {
                    Mark::Warn
                };
                let line = Line {
                    hop,
                    result,
                    milliseconds,
                    seen: seen.text,
                    warnings: seen.warnings,
                    advice: None,
                };
                (Ok(seen.value), line)
            }
            Err(fault) => {
                let line = Line {
                    hop,
                    result: Mark::Fail,
                    milliseconds,
                    seen: fault.what,
                    warnings: Vec::new(),
                    advice: Some(fault.advice),
                };
                (Err(Broken), line)
            }
        };
        self.push(line);
        result
    }

    /// Says that a hop is not walked, and why.
    pub(super) fn skip(&mut self, hop: &'static str, why: impl Into<String>) {
        self.push(Line {
            hop,
            result: Mark::Skip,
            milliseconds: None,
            seen: why.into(),
            warnings: Vec::new(),
            advice: None,
        });
    }

    /// Tells the rest. True if every hop that was walked works.
    pub(super) fn finish(mut self) -> io::Result<bool> {
        let broken = self.lines.iter().find(|line| line.result == Mark::Fail);
        let broken = broken.map(|line| (line.hop, line.advice.clone().unwrap_or_default()));
        for hop in HOPS {
            if self.lines.iter().all(|line| line.hop != hop) {
                let why = broken
                    .as_ref()
                    .map_or("not walked".to_owned(), |(first, _)| {
                        format!("not walked, because {first} is broken")
                    });
                self.skip(hop, why);
            }
        }
        let ok = broken.is_none();
        match self.output {
            Output::Json => {
                let whole = Whole {
                    cluster: &self.cluster,
                    audit_id: &self.audit_id,
                    ok,
                    broken: broken.map(|(hop, _)| hop),
                    hops: &self.lines,
                };
                let text = serde_json::to_string_pretty(&whole).map_err(io::Error::other)?;
                writeln!(io::stdout(), "{text}")?;
            }
            Output::Text => {
                let warnings: usize = self.lines.iter().map(|line| line.warnings.len()).sum();
                let end = match (broken, warnings) {
                    (Some((hop, advice)), _) => {
                        let text = format!("{hop} is the first hop that breaks. {advice}");
                        wrap(&text, PARAGRAPH_COLUMNS)
                    }
                    (None, 0) => "Every hop works.\n".to_owned(),
                    (None, _) => "Every hop works; see the warnings (!) above.\n".to_owned(),
                };
                self.write(&format!("\n{end}"));
            }
        }
        self.written.map(|()| ok)
    }

    fn push(&mut self, line: Line) {
        let took = line
            .milliseconds
            .map_or(String::new(), |milliseconds| format!("{milliseconds} ms"));
        let mut text = format!(
            "{:<4}  {:<13} {took:>8}  {}\n",
            line.result.as_str(),
            line.hop,
            line.seen
        );
        for warning in &line.warnings {
            text = format!("{text}{:>28}  ! {warning}\n", "");
        }
        self.write(&text);
        self.lines.push(line);
    }

    /// A piece of the text; nothing where JSON is wanted.
    fn write(&mut self, text: &str) {
        if self.output == Output::Text && self.written.is_ok() {
            let mut stdout = io::stdout();
            self.written = stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush());
        }
    }
}
