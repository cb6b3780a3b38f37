//! Where audit records are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::{
    AUDIT_DB_PATH, AUDIT_ENABLED, AUDIT_KEY, AUDIT_MAX_SIZE_MB, AUDIT_REQUIRED,
    AUDIT_RETENTION_DAYS, AUDIT_VACUUM_INTERVAL, BOOLEAN, DURATION, Environment, Variable, boolean,
    duration, whole,
};
use super::findings::{Fault, Findings};
use super::place::Setting;
use super::secret::SecretText;
use crate::gateway::audit::{AuditKey, DatabaseOptions};

/// The settings of audit persistence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// Whether records go to a database, too.
    pub is_enabled: Setting<bool>,
    /// Whether a shell needs its record in the database first.
    pub is_required: Setting<bool>,
    /// The database.
    pub db_path: Setting<PathBuf>,
    /// How long rows are kept, in days.
    pub retention_days: Setting<u32>,
    /// How large the database may become, in MiB.
    pub max_size_mib: Setting<u32>,
    /// How often old rows are looked for.
    pub vacuum_interval: Setting<Duration>,
    /// The key of the chain's HMAC; without one the chain is a plain hash.
    pub key: Option<Setting<SecretText>>,
}

impl AuditConfig {
    /// The database to open; none if no records are kept.
    pub fn database(&self) -> Option<DatabaseOptions> {
        self.is_enabled.value.then(|| DatabaseOptions {
            is_required: self.is_required.value,
            retention: Duration::from_hours(24 * u64::from(self.retention_days.value)),
            bytes_max: u64::from(self.max_size_mib.value) * 1024 * 1024,
            vacuum_interval: self.vacuum_interval.value,
            key: self
                .key
                .as_ref()
                .map(|key| AuditKey::new(key.value.reveal())),
            ..DatabaseOptions::new(self.db_path.value.clone())
        })
    }
}

/// Where the database would be, and its key, whether or not records are kept.
pub(crate) fn file(environment: &Environment) -> (PathBuf, Option<AuditKey>) {
    let path = environment.get(AUDIT_DB_PATH.name);
    (
        path.unwrap_or(AUDIT_DB_PATH.default).into(),
        environment.get(AUDIT_KEY.name).map(AuditKey::new),
    )
}

/// A hundred years.
const DAYS_MAX: u32 = 36_500;

/// A tebibyte.
const MIB_MAX: u32 = 1024 * 1024;

pub(super) fn read(environment: &Environment, findings: &mut Findings) -> Option<AuditConfig> {
    let flag =
        |variable, findings: &mut Findings| environment.read(variable, BOOLEAN, findings, boolean);
    let is_enabled = flag(&AUDIT_ENABLED, findings)?;
    let is_required = flag(&AUDIT_REQUIRED, findings)?;
    if is_required.value && !is_enabled.value {
        findings.error(Fault::Refused {
            place: AUDIT_REQUIRED.place(),
            what: format!(
                "no record can be required while none is kept; set {}=true as well",
                AUDIT_ENABLED.name
            ),
        });
    }
    let number = |variable: &Variable, max: u32, findings: &mut Findings| {
        let expected = format!("a whole number from 1 to {max}");
        environment.read(variable, &expected, findings, |text| {
            let number = u32::try_from(whole(text)?).ok()?;
            (1..=max).contains(&number).then_some(number)
        })
    };
    let db_path = environment.read(&AUDIT_DB_PATH, "a path", findings, |text| {
        Some(PathBuf::from(text))
    })?;
    let retention_days = number(&AUDIT_RETENTION_DAYS, DAYS_MAX, findings)?;
    let max_size_mib = number(&AUDIT_MAX_SIZE_MB, MIB_MAX, findings)?;
    let vacuum_interval = environment.read(&AUDIT_VACUUM_INTERVAL, DURATION, findings, duration)?;
    let key = environment
        .get(AUDIT_KEY.name)
        .map(|key| Setting::set(SecretText::new(key), AUDIT_KEY.place()));
    Some(AuditConfig {
        is_enabled,
        is_required,
        db_path,
        retention_days,
        max_size_mib,
        vacuum_interval,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(variables: &[(&str, &str)]) -> Option<DatabaseOptions> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut findings = Findings::default();
        let config = read(&variables.collect(), &mut findings).unwrap();
        assert!(findings.errors.is_empty());
        config.database()
    }

    #[test]
    fn the_database_is_opened_with_what_the_variables_say() {
        assert!(database(&[]).is_none());
        let default = database(&[("PERISCOPE_AUDIT_ENABLED", "true")]).unwrap();
        assert_eq!(default.retention, Duration::from_hours(30 * 24));
        assert_eq!((default.bytes_max, default.is_required), (1 << 30, false));
        let other = database(&[
            ("PERISCOPE_AUDIT_ENABLED", "true"),
            ("PERISCOPE_AUDIT_REQUIRED", "true"),
            ("PERISCOPE_AUDIT_DB_PATH", "/data/a.db"),
            ("PERISCOPE_AUDIT_RETENTION_DAYS", "2"),
            ("PERISCOPE_AUDIT_MAX_SIZE_MB", "3"),
            ("PERISCOPE_AUDIT_VACUUM_INTERVAL", "5m"),
            ("PERISCOPE_AUDIT_KEY", "a secret"),
        ])
        .unwrap();
        assert!(other.is_required);
        assert_eq!(other.path, PathBuf::from("/data/a.db"));
        assert_eq!(other.retention, Duration::from_hours(48));
        assert_eq!(other.bytes_max, 3 << 20);
        assert_eq!(other.vacuum_interval, Duration::from_mins(5));
        assert_eq!(other.key, Some(AuditKey::new("a secret")));
    }
}
