//! `periscope config check`: the effective configuration, with the origin of each value.

use std::fmt::{self, Display, Write as _};

use super::environment::shown;
use super::{
    AuditConfig, AuthConfig, AwsConfig, BackendConfig, ClusterConfig, ExecConfig, Origin, Setting,
    Settings,
};
use crate::gateway::identity::{Authorization, Tier};
use crate::gateway::log::Format;
use crate::gateway::registry::Tags;

/// The whole configuration as text: one value a line, `name = value  # origin`, secrets redacted.
pub fn report(settings: &Settings) -> String {
    let mut report = Report::default();
    report.server(settings);
    report.auth(&settings.auth);
    report.audit(&settings.audit);
    report.section("exec (where a cluster says nothing)");
    report.exec(&settings.exec, false);
    if let Some(aws) = &settings.aws {
        report.aws(aws);
    }
    for cluster in &settings.clusters {
        report.cluster(cluster);
    }
    report.0.push(String::new());
    report.0.join("\n")
}

#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(String::new());
        }
        self.0.push(format!("[{}]", OneLine(name)));
    }

    fn line(&mut self, name: &str, value: impl Display, origin: &Origin) {
        let value = value.to_string();
        let origin = origin.to_string();
        let line = format!("{name} = {}  # {}", OneLine(&value), OneLine(&origin));
        self.0.push(line);
    }

    fn setting<T: Display>(&mut self, name: &str, setting: &Setting<T>) {
        self.line(name, &setting.value, &setting.origin);
    }

    fn optional<T: Display>(&mut self, name: &str, setting: Option<&Setting<T>>) {
        match setting {
            Some(setting) => self.setting(name, setting),
            None => self.line(name, "(none)", &Origin::Default),
        }
    }

    fn list(&mut self, name: &str, setting: &Setting<Vec<String>>) {
        self.line(name, List(&setting.value), &setting.origin);
    }

    fn server(&mut self, settings: &Settings) {
        self.section("server");
        let mode = &settings.auth_mode;
        self.line("authMode", mode.value.as_str(), &mode.origin);
        self.setting("listen", &settings.listen);
        match &settings.public_url {
            Some(url) => self.setting("publicURL", url),
            None => self.line(
                "publicURL",
                "the address it listens on",
                &Origin::Derived("PERISCOPE_AUTH_MODE=dev"),
            ),
        }
        let tls = settings.tls.as_ref();
        let path = |path: &std::path::PathBuf| path.display().to_string();
        let cert = tls.map(|tls| tls.cert.clone().map(|cert| path(&cert)));
        let key = tls.map(|tls| tls.key.clone().map(|key| path(&key)));
        self.optional("tlsCert", cert.as_ref());
        self.optional("tlsKey", key.as_ref());
        self.list("devAllowOrigins", &settings.dev_allow_origins);
        let process = &settings.process;
        let level = process.log_level.value.as_str().to_ascii_lowercase();
        self.line("logLevel", level, &process.log_level.origin);
        let format = match process.log_format.value {
            Format::Json => "json",
            Format::Logfmt => "logfmt",
        };
        self.line("logFormat", format, &process.log_format.origin);
        self.line(
            "drainSeconds",
            process.drain.value.as_secs(),
            &process.drain.origin,
        );
        self.setting("opensPerMinute", &settings.opens_per_minute);
        self.setting("probeClustersOnBoot", &settings.probe_on_boot);
    }

    fn auth(&mut self, auth: &AuthConfig) {
        if let Some(oidc) = &auth.oidc {
            self.section("auth oidc");
            self.setting("issuer", &oidc.issuer);
            self.setting("clientID", &oidc.client_id);
            let secret = oidc.client_secret.as_ref();
            let secret = secret.map(|secret| secret.clone().map(|_| "[redacted]"));
            self.optional("clientSecret", secret.as_ref());
            self.setting("redirectURL", &oidc.redirect_url);
            self.list("scopes", &oidc.scopes);
            self.optional("audience", oidc.audience.as_ref());
            self.optional("postLogoutRedirect", oidc.post_logout_redirect.as_ref());
            self.optional("providerName", oidc.provider_name.as_ref());
            self.section("auth session");
            let (idle, absolute) = (&auth.session.idle_timeout, &auth.session.absolute_timeout);
            self.line("idleTimeout", shown(idle.value), &idle.origin);
            self.line("absoluteTimeout", shown(absolute.value), &absolute.origin);
        } else {
            self.section("auth dev");
            let dev = &auth.dev;
            self.line("subject", &dev.value.sub, &dev.origin);
            let email = dev.value.email.as_deref().unwrap_or("(none)");
            self.line("email", email, &dev.origin);
            self.line("groups", List(&dev.value.groups), &dev.origin);
        }
        self.section("auth authorization");
        let mode = &auth.authorization.mode;
        self.line("mode", mode.value.as_str(), &mode.origin);
        match &mode.value {
            Authorization::Shared => {}
            Authorization::Tier {
                group_tiers,
                default_tier,
            } => {
                for (group, tier) in group_tiers {
                    self.line(
                        &format!("groupTiers.{}", OneLine(group)),
                        tier.as_str(),
                        &mode.origin,
                    );
                }
                let default = default_tier.map_or("(denied)", Tier::as_str);
                self.line("defaultTier", default, &mode.origin);
            }
            Authorization::Raw { group_prefix } => {
                self.line("groupPrefix", format!("{group_prefix:?}"), &mode.origin);
            }
        }
        self.list("allowedGroups", &auth.authorization.allowed_groups);
        self.setting("groupsClaim", &auth.authorization.groups_claim);
        self.list("auditAdminGroups", &auth.authorization.audit_admin_groups);
    }

    fn audit(&mut self, audit: &AuditConfig) {
        self.section("audit");
        self.setting("enabled", &audit.is_enabled);
        self.setting("required", &audit.is_required);
        let path = audit.db_path.value.display();
        self.line("dbPath", path, &audit.db_path.origin);
        self.setting("retentionDays", &audit.retention_days);
        self.setting("maxSizeMB", &audit.max_size_mib);
        let interval = &audit.vacuum_interval;
        self.line("vacuumInterval", shown(interval.value), &interval.origin);
        let key = audit.key.clone().map(|key| key.map(|_| "[redacted]"));
        self.optional("key", key.as_ref());
    }

    fn exec(&mut self, exec: &ExecConfig, is_of_cluster: bool) {
        if is_of_cluster {
            self.setting("exec.enabled", &exec.is_enabled);
        }
        self.setting("exec.serverIdleSeconds", &exec.idle);
        self.setting("exec.idleWarnSeconds", &exec.idle_warn);
        self.setting("exec.heartbeatSeconds", &exec.heartbeat);
        self.setting("exec.maxSessionsPerUser", &exec.sessions_per_user_max);
        self.setting("exec.maxSessionsTotal", &exec.sessions_total_max);
    }

    fn aws(&mut self, aws: &AwsConfig) {
        self.section("aws");
        self.optional("credentials", aws.credentials.as_ref());
        self.setting("region", &aws.region);
        self.optional("endpointURL.eks", aws.eks_endpoint.as_ref());
        self.optional("endpointURL.sts", aws.sts_endpoint.as_ref());
    }

    fn cluster(&mut self, cluster: &ClusterConfig) {
        self.section(&format!("cluster {}", cluster.name.value));
        let backend = &cluster.backend;
        self.line("backend", backend.value.as_str(), &backend.origin);
        if let BackendConfig::Kubeconfig { path, context } = &backend.value {
            self.line("kubeconfigPath", path.display(), &backend.origin);
            let context = context.as_deref().unwrap_or("(the file's current one)");
            self.line("kubeconfigContext", context, &backend.origin);
        }
        for (name, setting) in [
            ("region", &cluster.region),
            ("arn", &cluster.arn),
            ("environment", &cluster.environment),
        ] {
            if let Some(setting) = setting {
                self.setting(name, setting);
            }
        }
        if let Some(tags) = &cluster.tags {
            self.setting("tags", tags);
        }
        self.exec(&cluster.exec, true);
    }
}

/// Text of a file, kept to one line.
struct OneLine<'a>(&'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

struct List<'a>(&'a [String]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("(none)")
        } else {
            f.write_str(&self.0.join(", "))
        }
    }
}

impl Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => write!(f, "{}", List(words)),
            Self::Pairs(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(f, "{}", List(&pairs))
            }
        }
    }
}
