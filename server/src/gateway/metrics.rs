//! What `/metrics` counts. The facts are those of the log lines and audit rows.
//!
//! No label names a user, a namespace or a pod, and every label has a bounded set of values: names
//! of configured clusters, and words of ours. So the page cannot grow, whoever asks for what.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderValue, Response, header};
use http_body_util::Full;
use periscope_core::code::{CloseDetail, ErrorCode};
use periscope_core::policy::BreakerState;
use periscope_core::refusal::UpgradeError;
use periscope_core::session::{Carried, Summary, Transport};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Gateway;
use super::respond::{ApiError, Reply};

/// Borders of the durations: from a look at a log to a working day.
const DURATION_SECONDS: [f64; 9] = [
    1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 28_800.0,
];

/// HTTP answers to an upgrade that have a series of their own. An apiserver can send any number, so
/// all others share one series a hundred.
const STATUSES: [u16; 14] = [
    400, 401, 403, 404, 405, 408, 426, 429, 500, 501, 502, 503, 504, 505,
];

/// All series.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    live: Family<OfCluster, Gauge>,
    opened: Family<Opened, Counter>,
    ended: Family<Ended, Counter>,
    duration: Histogram,
    denied: Family<Denied, Counter>,
    unauthenticated: Counter,
    cap_hits: Family<CapHits, Counter>,
    attempts: Family<Attempt, Counter>,
    breaker: Family<Breaker, Gauge>,
    bytes: Family<Bytes, Counter>,
    dropped_controls: Counter,
    dropped_groups: Counter,
    draining: Gauge,
    audit_rows: Family<OfSink, Counter>,
    audit_lost: Family<OfSink, Counter>,
    audit_queue: Family<OfSink, Gauge>,
}

/// Which of the two caps was hit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cap {
    User,
    Cluster,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCluster {
    cluster: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Opened {
    cluster: String,
    transport: &'static str,
    subprotocol: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    cluster: String,
    close_reason: &'static str,
    close_detail: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Denied {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CapHits {
    cluster: String,
    cap: &'static str,
    dry_run: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Attempt {
    cluster: String,
    transport: &'static str,
    upgrade_error: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Breaker {
    cluster: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Bytes {
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfSink {
    sink: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("periscope"),
            live: Family::default(),
            opened: Family::default(),
            ended: Family::default(),
            duration: Histogram::new(DURATION_SECONDS),
            denied: Family::default(),
            unauthenticated: Counter::default(),
            cap_hits: Family::default(),
            attempts: Family::default(),
            breaker: Family::default(),
            bytes: Family::default(),
            dropped_controls: Counter::default(),
            dropped_groups: Counter::default(),
            draining: Gauge::default(),
            audit_rows: Family::default(),
            audit_lost: Family::default(),
            audit_queue: Family::default(),
        };
        metrics.register();
        metrics
    }

    #[rustfmt::skip]
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new(Build { version: env!("CARGO_PKG_VERSION") });
        registry.register("build", "The program", build);
        registry.register("draining", "1 while the process leaves", self.draining.clone());
        registry.register("exec_sessions_live", "Sessions that hold a slot", self.live.clone());
        registry.register("exec_sessions_opened", "Shells that came up", self.opened.clone());
        registry.register("exec_sessions_ended", "Shells that came up and have ended", self.ended.clone());
        registry.register("exec_session_duration_seconds", "From start to end of a shell", self.duration.clone());
        registry.register("exec_denied", "Attempts of known users that were refused or failed", self.denied.clone());
        registry.register("exec_unauthenticated", "Attempts without a login", self.unauthenticated.clone());
        registry.register("exec_cap_hits", "Refusals because of a cap", self.cap_hits.clone());
        registry.register("exec_upgrade_attempts", "Dials to an apiserver", self.attempts.clone());
        registry.register("exec_breaker_state", "1 for the state the circuit breaker is in", self.breaker.clone());
        registry.register("exec_bytes", "Terminal bytes carried", self.bytes.clone());
        registry.register("exec_controls_dropped", "Control messages of browsers that made no sense", self.dropped_controls.clone());
        registry.register("identity_groups_dropped", "Groups of logins that must not be sent to a cluster", self.dropped_groups.clone());
        registry.register("audit_rows", "Audit rows taken", self.audit_rows.clone());
        registry.register("audit_lost", "Audit rows lost", self.audit_lost.clone());
        registry.register("audit_queue", "Audit rows that wait to be written", self.audit_queue.clone());
    }

    /// A shell is up.
    pub(crate) fn on_started(&self, cluster: &str, transport: Transport) {
        let labels = Opened {
            cluster: cluster.to_owned(),
            transport: transport.as_str(),
            subprotocol: transport.subprotocol(),
        };
        self.opened.get_or_create(&labels).inc();
    }

    /// A shell that was up has ended.
    pub(crate) fn on_ended(&self, cluster: &str, detail: CloseDetail, duration: Duration) {
        let labels = Ended {
            cluster: cluster.to_owned(),
            close_reason: detail.reason().as_str(),
            close_detail: detail.as_str(),
        };
        self.ended.get_or_create(&labels).inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// What a session leaves behind, whether its shell was up or not.
    pub(crate) fn on_summary(&self, summary: &Summary) {
        self.dropped_controls.inc_by(summary.dropped_controls);
    }

    /// An attempt of a known user was refused, or failed before its shell was up.
    pub(crate) fn on_denied(&self, code: ErrorCode) {
        self.denied
            .get_or_create(&Denied {
                code: code.as_str(),
            })
            .inc();
    }

    /// An attempt without a login. Returns how many there were.
    pub(crate) fn on_unauthenticated(&self) -> u64 {
        self.unauthenticated.inc().saturating_add(1)
    }

    /// A cap said no.
    pub(crate) fn on_cap_hit(&self, cluster: &str, cap: Cap, dry_run: bool) {
        self.cap_hits
            .get_or_create(&CapHits {
                cluster: cluster.to_owned(),
                cap: cap.as_str(),
                dry_run,
            })
            .inc();
    }

    /// A dial to an apiserver got its answer.
    pub(crate) fn on_attempt(&self, cluster: &str, transport: Transport, error: UpgradeError) {
        let labels = Attempt {
            cluster: cluster.to_owned(),
            transport: transport.as_str(),
            upgrade_error: error_label(error),
        };
        self.attempts.get_or_create(&labels).inc();
    }

    /// A session has carried `after`, and `before` was counted already.
    pub(crate) fn on_carried(&self, before: Carried, after: Carried) {
        let both = [
            ("stdin", before.stdin, after.stdin),
            ("stdout", before.stdout, after.stdout),
        ];
        for (direction, before, after) in both {
            if after > before {
                self.bytes
                    .get_or_create(&Bytes { direction })
                    .inc_by(after.saturating_sub(before));
            }
        }
    }

    /// Groups of a login that are not sent.
    pub(crate) fn on_groups_dropped(&self, count: usize) {
        self.dropped_groups.inc_by(count as u64);
    }

    /// The answer to a scrape.
    pub(crate) fn reply(gateway: &Gateway) -> Reply {
        let metrics = &gateway.metrics;
        metrics.observe(gateway);
        let mut page = String::new();
        if text::encode(&mut page, &metrics.registry).is_err() {
            return ApiError::new(ErrorCode::Internal).reply();
        }
        let mut reply = Response::new(Full::new(page.into()));
        let headers = reply.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }

    /// Looks at what is not counted but is.
    fn observe(&self, gateway: &Gateway) {
        self.draining.set(i64::from(gateway.is_draining()));
        for cluster in gateway.registry.iter() {
            let count = gateway.sessions.live_in(&cluster.name);
            let name = cluster.name.clone();
            self.live
                .get_or_create(&OfCluster { cluster: name })
                .set(i64::from(count));
            for cap in [Cap::User, Cap::Cluster] {
                drop(self.cap_hits.get_or_create(&CapHits {
                    cluster: cluster.name.clone(),
                    cap: cap.as_str(),
                    dry_run: false,
                }));
            }
            let present = gateway.sessions.breaker_state(&cluster.name);
            for state in [
                BreakerState::Closed,
                BreakerState::Open,
                BreakerState::HalfOpen,
            ] {
                self.breaker
                    .get_or_create(&Breaker {
                        cluster: cluster.name.clone(),
                        state: state.as_str(),
                    })
                    .set(i64::from(state == present));
            }
        }
        for direction in ["stdin", "stdout"] {
            drop(self.bytes.get_or_create(&Bytes { direction }));
        }
        for tally in gateway.audit.tallies() {
            let labels = OfSink { sink: tally.sink };
            // The sink counts; the series only repeats it.
            let repeat = |counter: &Counter, count| counter.inner().store(count, Ordering::Relaxed);
            repeat(&self.audit_rows.get_or_create(&labels), tally.rows);
            repeat(&self.audit_lost.get_or_create(&labels), tally.lost);
            self.audit_queue
                .get_or_create(&labels)
                .set(tally.queued.try_into().unwrap_or(i64::MAX));
        }
    }
}

impl Cap {
    /// The name in log lines and labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cluster => "cluster",
        }
    }
}

fn error_label(error: UpgradeError) -> String {
    match error {
        UpgradeError::Http(status) if !STATUSES.contains(&status) => {
            format!("{}xx", (status / 100).min(9))
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_apiserver_cannot_make_series_by_answering_with_odd_numbers() {
        let labels: HashSet<String> = (0..=u16::MAX)
            .map(|status| error_label(UpgradeError::Http(status)))
            .collect();
        assert_eq!(labels.len(), STATUSES.len() + 10);
        assert_eq!(error_label(UpgradeError::Http(403)), "403");
        assert_eq!(error_label(UpgradeError::Http(418)), "4xx");
        assert_eq!(
            error_label(UpgradeError::Status("Forbidden")),
            "status:Forbidden"
        );
        assert_eq!(error_label(UpgradeError::None), "none");
    }
}
