//! Timers and caps: the global ones, and what a cluster changes.

use std::time::Duration;

use super::environment::{
    Environment, HEARTBEAT, IDLE, IDLE_WARN, SESSIONS_PER_USER, SESSIONS_TOTAL, Variable, whole,
};
use super::findings::{Findings, Warning};
use super::place::{Place, Setting};
use super::yaml::{Node, Table, Value};
use crate::gateway::registry::ExecSettings;

/// Longer than a day is taken for a slip.
const SECONDS_MAX: u32 = 86_400;

/// More sessions than this are taken for a slip.
const SESSIONS_MAX: u32 = 100_000;

/// The exec settings of one cluster, or the global ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// Whether shells may be opened.
    pub is_enabled: Setting<bool>,
    /// Silence after which a session ends, in seconds.
    pub idle: Setting<u32>,
    /// How long before that the browser is warned, in seconds; always shorter than `idle`.
    pub idle_warn: Setting<u32>,
    /// Interval of pings, in seconds.
    pub heartbeat: Setting<u32>,
    /// Sessions of one subject over all clusters.
    pub sessions_per_user_max: Setting<u32>,
    /// Sessions on the cluster.
    pub sessions_total_max: Setting<u32>,
}

impl ExecConfig {
    /// What the gateway works with.
    pub fn settings(&self) -> ExecSettings {
        let seconds = |setting: &Setting<u32>| Duration::from_secs(setting.value.into());
        ExecSettings {
            is_enabled: self.is_enabled.value,
            idle: seconds(&self.idle),
            idle_warn: seconds(&self.idle_warn),
            heartbeat: seconds(&self.heartbeat),
            sessions_per_user_max: self.sessions_per_user_max.value,
            sessions_total_max: self.sessions_total_max.value,
        }
    }

    /// The settings of the environment, before any cluster's. The warning time is not clamped yet:
    /// a cluster may have a longer idle time.
    pub(super) fn global(environment: &Environment, findings: &mut Findings) -> Self {
        let mut read = |variable, max| number(environment, variable, max, findings);
        Self {
            is_enabled: Setting::default_of(true),
            idle: read(&IDLE, SECONDS_MAX),
            idle_warn: read(&IDLE_WARN, SECONDS_MAX),
            heartbeat: read(&HEARTBEAT, SECONDS_MAX),
            sessions_per_user_max: read(&SESSIONS_PER_USER, SESSIONS_MAX),
            sessions_total_max: read(&SESSIONS_TOTAL, SESSIONS_MAX),
        }
    }

    /// These settings with the changes of a cluster's `exec` table.
    pub(super) fn overridden(&self, exec: Option<&Node>, findings: &mut Findings) -> Self {
        let mut settings = self.clone();
        let Some(mut table) = exec.and_then(|exec| exec.table(findings)) else {
            return settings;
        };
        if let Some(node) = table.take("enabled") {
            match node.value {
                Value::Bool(is_enabled) => {
                    settings.is_enabled = Setting::set(is_enabled, node.place.clone());
                }
                _ => findings.wrong(&node.place, "true or false, without quotes"),
            }
        }
        let numbers = [
            ("serverIdleSeconds", SECONDS_MAX, &mut settings.idle),
            ("idleWarnSeconds", SECONDS_MAX, &mut settings.idle_warn),
            ("heartbeatSeconds", SECONDS_MAX, &mut settings.heartbeat),
            (
                "maxSessionsPerUser",
                SESSIONS_MAX,
                &mut settings.sessions_per_user_max,
            ),
            (
                "maxSessionsTotal",
                SESSIONS_MAX,
                &mut settings.sessions_total_max,
            ),
        ];
        for (key, max, setting) in numbers {
            change(&mut table, key, max, setting, findings);
        }
        table.finish(findings);
        settings
    }

    /// Makes the warning shorter than the idle time. `whose` names the settings in the warning.
    pub(super) fn clamp(&mut self, whose: &str, findings: &mut Findings) {
        let (idle, warn) = (self.idle.value, self.idle_warn.value);
        if warn < idle {
            return;
        }
        let clamped = idle.saturating_sub(1);
        let origin = &self.idle_warn.origin;
        findings.warn(Warning::Clamped {
            place: format!("{whose} ({origin})"),
            warn: warn.into(),
            idle: idle.into(),
            clamped: clamped.into(),
        });
        self.idle_warn.value = clamped;
    }
}

/// A number of the environment. A slip is ignored: the default stays.
fn number(
    environment: &Environment,
    variable: &Variable,
    max: u32,
    findings: &mut Findings,
) -> Setting<u32> {
    // The defaults of the list are such numbers, which a test shows.
    let default = believed(whole(variable.default), max).unwrap_or(1);
    let Some(text) = environment.get(variable.name) else {
        return Setting::default_of(default);
    };
    if let Some(value) = believed(whole(text), max) {
        return Setting::set(value, variable.place());
    }
    ignored(&variable.place(), format!("{text:?}"), max, findings);
    Setting::default_of(default)
}

/// A number of a file. A slip is ignored: what was in effect stays.
fn change(
    table: &mut Table<'_>,
    key: &'static str,
    max: u32,
    setting: &mut Setting<u32>,
    findings: &mut Findings,
) {
    let Some(node) = table.take(key) else { return };
    let given = match &node.value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Text(text) => whole(text),
        _ => None,
    };
    match believed(given, max) {
        Some(value) => *setting = Setting::set(value, node.place.clone()),
        None => ignored(&node.place, node.value.shown(), max, findings),
    }
}

fn believed(number: Option<u64>, max: u32) -> Option<u32> {
    let number = u32::try_from(number?).ok()?;
    (1..=max).contains(&number).then_some(number)
}

fn ignored(place: &Place, given: String, max: u32, findings: &mut Findings) {
    findings.warn(Warning::Ignored {
        place: place.clone(),
        given,
        max,
    });
}
