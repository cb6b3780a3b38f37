//! The environment variables: one list, from which the defaults, the errors and the page
//! `docs/environment-variables.md` come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::findings::{Findings, Warning, nearest};
use super::place::{Place, Setting};

/// A variable this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds where it is not set, written as it would be set; empty for nothing.
    pub default: &'static str,
}

macro_rules! variables {
    ($($constant:ident = $name:literal, $default:literal;)*) => {
        $(pub(super) const $constant: Variable = Variable { name: $name, default: $default };)*
        /// Every variable this program reads by its own name or by the name AWS gave it, in the order
        /// of the page.
        pub const VARIABLES: &[Variable] = &[$($constant),*];
    };
}

variables! {
    AUTH_MODE = "PERISCOPE_AUTH_MODE", "";
    AUTH_FILE = "PERISCOPE_AUTH_FILE", "";
    CLUSTERS_FILE = "PERISCOPE_CLUSTERS_FILE", "";
    PORT = "PORT", "8080";
    LISTEN = "PERISCOPE_LISTEN", "0.0.0.0";
    PUBLIC_URL = "PERISCOPE_PUBLIC_URL", "";
    TLS_CERT = "PERISCOPE_TLS_CERT", "";
    TLS_KEY = "PERISCOPE_TLS_KEY", "";
    LOG_FORMAT = "PERISCOPE_LOG_FORMAT", "logfmt";
    LOG_LEVEL = "PERISCOPE_LOG_LEVEL", "info";
    IDLE = "PERISCOPE_EXEC_IDLE_SECONDS", "600";
    IDLE_WARN = "PERISCOPE_EXEC_IDLE_WARN_SECONDS", "30";
    HEARTBEAT = "PERISCOPE_EXEC_HEARTBEAT_SECONDS", "20";
    SESSIONS_PER_USER = "PERISCOPE_EXEC_MAX_SESSIONS_PER_USER", "5";
    SESSIONS_TOTAL = "PERISCOPE_EXEC_MAX_SESSIONS_TOTAL", "50";
    OPENS_PER_MINUTE = "PERISCOPE_EXEC_OPENS_PER_MINUTE", "30";
    DRAIN = "PERISCOPE_DRAIN_SECONDS", "10";
    PROBE_ON_BOOT = "PERISCOPE_PROBE_CLUSTERS_ON_BOOT", "false";
    AUDIT_ENABLED = "PERISCOPE_AUDIT_ENABLED", "false";
    AUDIT_REQUIRED = "PERISCOPE_AUDIT_REQUIRED", "false";
    AUDIT_DB_PATH = "PERISCOPE_AUDIT_DB_PATH", "/var/lib/periscope/audit/audit.db";
    AUDIT_RETENTION_DAYS = "PERISCOPE_AUDIT_RETENTION_DAYS", "30";
    AUDIT_MAX_SIZE_MB = "PERISCOPE_AUDIT_MAX_SIZE_MB", "1024";
    AUDIT_VACUUM_INTERVAL = "PERISCOPE_AUDIT_VACUUM_INTERVAL", "24h";
    AUDIT_KEY = "PERISCOPE_AUDIT_KEY", "";
    DEV_ALLOW_ORIGINS = "PERISCOPE_DEV_ALLOW_ORIGINS", "";
    AWS_ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID", "";
    AWS_SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY", "";
    AWS_SESSION_TOKEN = "AWS_SESSION_TOKEN", "";
    AWS_WEB_IDENTITY_TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE", "";
    AWS_ROLE_ARN = "AWS_ROLE_ARN", "";
    AWS_ROLE_SESSION_NAME = "AWS_ROLE_SESSION_NAME", "periscope";
    AWS_CONTAINER_CREDENTIALS_FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "";
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "";
    AWS_CONTAINER_AUTHORIZATION_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN", "";
    AWS_REGION = "AWS_REGION", "";
    AWS_DEFAULT_REGION = "AWS_DEFAULT_REGION", "";
    AWS_ENDPOINT_URL = "AWS_ENDPOINT_URL", "";
    AWS_ENDPOINT_URL_EKS = "AWS_ENDPOINT_URL_EKS", "";
    AWS_ENDPOINT_URL_STS = "AWS_ENDPOINT_URL_STS", "";
}

/// Variables of older installations that have no effect here, and what happens instead.
pub const NOT_HONOURED: &[(&str, &str)] = &[
    (
        "PERISCOPE_WATCH_STREAMS",
        "lists are fetched when they are asked for, nothing is watched",
    ),
    (
        "PERISCOPE_WATCH_PER_USER_LIMIT",
        "there are no watch streams to limit",
    ),
    (
        "PERISCOPE_AGENT_LISTEN_ADDR",
        "there are no agents, so nothing listens for them",
    ),
];

/// Variables that other commands of this program read.
const OF_COMMANDS: &[&str] = &["PERISCOPE_SERVER", "PERISCOPE_TOKEN"];

/// What Kubernetes puts into the environment of a pod beside a Service named `periscope`.
const SERVICE_LINKS: &[&str] = &["PERISCOPE_PORT", "PERISCOPE_SERVICE_"];

/// The variables of a process. A variable that is empty is one that is not set.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of any variable, also one of somebody else's.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The value of one of ours, parsed, or its default. What cannot be parsed is an error, and
    /// then the default stands in so that the rest can be checked, too.
    pub(super) fn read<T>(
        &self,
        variable: &Variable,
        expected: &str,
        findings: &mut Findings,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Setting<T>> {
        if let Some(text) = self.get(variable.name) {
            let place = variable.place();
            match parse(text) {
                Some(value) => return Some(Setting::set(value, place)),
                None => findings.wrong(&place, expected),
            }
        }
        parse(variable.default).map(Setting::default_of)
    }

    /// Names of this program's pattern that it does not read.
    pub(super) fn check_names(&self, findings: &mut Findings) {
        for name in self.variables.keys().map(String::as_str) {
            let is_ours = VARIABLES.iter().any(|variable| variable.name == name)
                || OF_COMMANDS.contains(&name)
                || SERVICE_LINKS.iter().any(|link| name.starts_with(link));
            if is_ours || !name.starts_with("PERISCOPE_") {
                continue;
            }
            let place = Place::Variable(Arc::from(name));
            if let Some((_, instead)) = NOT_HONOURED.iter().find(|(old, _)| *old == name) {
                findings.warn(Warning::NotHonoured { place, instead });
                continue;
            }
            let known = VARIABLES.iter().map(|variable| variable.name);
            let what = match nearest(name, known) {
                Some(meant) => format!("unknown variable; did you mean {meant}?"),
                None => "unknown variable".to_owned(),
            };
            findings.note(&place, what);
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self {
            variables: variables.filter(|(_, value)| !value.is_empty()).collect(),
        }
    }
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.variables.keys()).finish()
    }
}

impl Variable {
    pub(super) fn place(&self) -> Place {
        Place::Variable(Arc::from(self.name))
    }
}

/// `1`, `true`, `0` or `false`.
pub(super) const BOOLEAN: &str = "1, true, 0 or false";

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// The longest duration that is believed.
const DURATION_MAX: Duration = Duration::from_hours(24 * 365);

pub(super) const DURATION: &str =
    "a duration such as 90s, 30m or 24h, longer than zero and at most a year";

/// `<n>s`, `<n>m` or `<n>h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (digits, seconds_each) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (digits, "s") => (digits, 1),
        (digits, "m") => (digits, 60),
        (digits, "h") => (digits, 3600),
        _ => return None,
    };
    let duration = Duration::from_secs(whole(digits)?.checked_mul(seconds_each)?);
    (!duration.is_zero() && duration <= DURATION_MAX).then_some(duration)
}

/// Digits and nothing else: no sign, no blank.
pub(super) fn whole(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A duration as it would be written.
pub(super) fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds != 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds != 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_and_durations_are_the_documented_ones_only() {
        assert_eq!(boolean("1"), Some(true));
        assert_eq!(boolean("false"), Some(false));
        for text in ["yes", "True", "on", "", " 1", "2"] {
            assert_eq!(boolean(text), None, "{text:?}");
        }
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Some(Duration::from_mins(30)));
        assert_eq!(duration("24h"), Some(Duration::from_hours(24)));
        for text in [
            "",
            "s",
            "10",
            "1h30m",
            "-1s",
            "+1s",
            "0s",
            "1.5h",
            "10 s",
            "1d",
            "9000h",
            "99999999999999999999s",
            "1000000000000000000h",
            "ß",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
        for text in ["90s", "30m", "24h", "25h"] {
            assert_eq!(shown(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn an_unknown_variable_is_told_unless_kubernetes_made_it() {
        let environment: Environment = [
            ("PERISCOPE_EXEC_IDLE_SECOND", "5"),
            ("PERISCOPE_WATCH_STREAMS", "true"),
            ("PERISCOPE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("PERISCOPE_SERVICE_HOST", "10.0.0.1"),
            ("PERISCOPE_TOKEN", "x"),
            ("HOME", "/root"),
            ("PERISCOPE_FROBNICATE_ALL", ""),
        ]
        .into_iter()
        .collect();
        let mut findings = Findings::default();
        environment.check_names(&mut findings);
        let warnings: Vec<_> = findings.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "PERISCOPE_EXEC_IDLE_SECOND: unknown variable; did you mean PERISCOPE_EXEC_IDLE_SECONDS?",
                "PERISCOPE_WATCH_STREAMS is not honoured: lists are fetched when they are asked for, nothing is watched",
            ]
        );
        assert!(findings.errors.is_empty());
    }

    #[test]
    fn values_are_never_printed() {
        let environment: Environment = [("PERISCOPE_AUDIT_KEY", "hunter2")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), "[\"PERISCOPE_AUDIT_KEY\"]");
    }
}
