//! The configuration: environment variables and two YAML files, read once at the start.
//!
//! Everything is checked and everything that is wrong is told at once. Each value in effect knows
//! where it comes from. Nothing here opens a connection, and the only files read are the two and
//! the ones that hold secrets.

pub(crate) mod audit;
mod auth;
mod aws;
pub mod check;
mod clusters;
mod environment;
mod exec;
mod findings;
mod place;
mod secret;
mod yaml;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use audit::AuditConfig;
pub use auth::{AuthConfig, AuthorizationConfig, OidcConfig, SessionConfig};
pub use aws::{AwsConfig, AwsCredentialsConfig, ContainerAuthorization};
pub use clusters::{BackendConfig, ClusterConfig, EksConfig};
pub use environment::{Environment, NOT_HONOURED, VARIABLES, Variable};
pub use exec::ExecConfig;
pub use findings::{Fault, Findings, Warning};
pub use place::{Origin, Place, Setting};
pub use secret::SecretText;

use crate::gateway::log::Format;
use crate::gateway::origin::PublicUrl;
use environment::{
    AUTH_FILE, AUTH_MODE, BOOLEAN, CLUSTERS_FILE, DEV_ALLOW_ORIGINS, DRAIN, LISTEN, LOG_FORMAT,
    LOG_LEVEL, OPENS_PER_MINUTE, PORT, PROBE_ON_BOOT, PUBLIC_URL, TLS_CERT, TLS_KEY, boolean,
    whole,
};

/// Everything `periscope serve` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How people are known.
    pub auth_mode: Setting<AuthMode>,
    /// Where the server listens.
    pub listen: Setting<SocketAddr>,
    /// Certificate and key of the listener; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// The origin browsers use; none in dev mode, where it is the listener's own.
    pub public_url: Option<Setting<PublicUrl>>,
    /// Further origins that count as our own; dev mode only.
    pub dev_allow_origins: Setting<Vec<String>>,
    /// Log lines and the time to leave.
    pub process: ProcessConfig,
    /// Shells one subject may open in a minute; 0 for no limit.
    pub opens_per_minute: Setting<u32>,
    /// Whether every cluster is tried at the start.
    pub probe_on_boot: Setting<bool>,
    /// Timers and caps where a cluster says nothing.
    pub exec: ExecConfig,
    /// The clusters, in the file's order.
    pub clusters: Vec<ClusterConfig>,
    /// How AWS is reached; none where no cluster needs it.
    pub aws: Option<AwsConfig>,
    /// Login.
    pub auth: AuthConfig,
    /// Audit persistence.
    pub audit: AuditConfig,
}

/// What every command reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// How much is logged.
    pub log_level: Setting<log::LevelFilter>,
    /// How a line is written.
    pub log_format: Setting<Format>,
    /// How long sessions may go on once the process is asked to leave.
    pub drain: Setting<Duration>,
}

/// How people are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// One person, who is whoever reaches the loopback address.
    Dev,
    /// An identity provider.
    Oidc,
}

/// Certificate and key of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub cert: Setting<PathBuf>,
    /// Its key, PEM.
    pub key: Setting<PathBuf>,
}

/// Where files come from: the disk, or a test.
pub trait Files {
    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The files of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

/// The longest drain that is believed, in seconds.
const DRAIN_SECONDS_MAX: u64 = 86_400;

/// More shells a minute than this are taken for a mistake.
const OPENS_MAX: u32 = 100_000;

/// Reads what every command needs. The settings are there even if something is wrong, so that it
/// can be told in the wanted form.
pub fn process(environment: &Environment) -> (ProcessConfig, Findings) {
    let mut findings = Findings::default();
    let process = read_process(environment, &mut findings);
    (process, findings)
}

/// Reads everything. The settings are there only if nothing is wrong.
pub fn load(environment: &Environment, files: &dyn Files) -> (Option<Settings>, Findings) {
    let mut findings = Findings::default();
    let settings = read_all(environment, files, &mut findings);
    environment.check_names(&mut findings);
    let settings = settings.filter(|_| findings.errors.is_empty());
    (settings, findings)
}

fn read_all(
    environment: &Environment,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<Settings> {
    let process = read_process(environment, findings);
    let auth_mode = read_auth_mode(environment, findings);
    // Where the mode is not known, the rest is checked as for dev: less is asked for.
    let mode = auth_mode.as_ref().map_or(AuthMode::Dev, |mode| mode.value);
    let listen = read_listen(environment, mode, findings);
    let tls = read_tls(environment, findings);
    let mut exec = ExecConfig::global(environment, findings);
    let clusters_node = read_file(environment, &CLUSTERS_FILE, files, findings);
    if environment.get(CLUSTERS_FILE.name).is_none() {
        findings.error(Fault::MissingVariable {
            name: CLUSTERS_FILE.name,
            why: "it names the YAML file with the clusters; to look around without a cluster, run `periscope demo`",
        });
    }
    // The clusters override what was asked for, not what became of it.
    let unclamped = exec.clone();
    exec.clamp("globally", findings);
    let clusters =
        clusters_node.map(|node| clusters::read(&node, environment, &unclamped, findings));
    let aws = aws::read(
        clusters.as_deref().unwrap_or_default(),
        environment,
        findings,
    );
    let auth_node = read_file(environment, &AUTH_FILE, files, findings);
    if mode == AuthMode::Oidc && environment.get(AUTH_FILE.name).is_none() {
        findings.error(Fault::MissingVariable {
            name: AUTH_FILE.name,
            why: "it names the YAML file with the identity provider, which PERISCOPE_AUTH_MODE=oidc needs",
        });
    }
    let auth = auth::read(auth_node.as_ref(), mode, environment, files, findings);
    let public_url = read_public_url(environment, mode, &auth, findings);
    let dev_allow_origins = read_dev_allow_origins(environment, mode, findings);
    let opens = format!("a whole number from 0 (no limit) to {OPENS_MAX}");
    let opens_per_minute = environment.read(&OPENS_PER_MINUTE, &opens, findings, |text| {
        let opens = u32::try_from(whole(text)?).ok()?;
        (opens <= OPENS_MAX).then_some(opens)
    });
    let probe_on_boot = environment.read(&PROBE_ON_BOOT, BOOLEAN, findings, boolean);
    let audit = audit::read(environment, findings);
    Some(Settings {
        auth_mode: auth_mode?,
        listen: listen?,
        tls,
        public_url,
        dev_allow_origins,
        process,
        opens_per_minute: opens_per_minute?,
        probe_on_boot: probe_on_boot?,
        exec,
        clusters: clusters?,
        aws,
        auth,
        audit: audit?,
    })
}

fn read_process(environment: &Environment, findings: &mut Findings) -> ProcessConfig {
    let level = "off, error, warn, info, debug or trace";
    let log_level = environment.read(&LOG_LEVEL, level, findings, |text| text.parse().ok());
    let log_format = environment.read(&LOG_FORMAT, "logfmt or json", findings, |text| match text {
        "logfmt" => Some(Format::Logfmt),
        "json" => Some(Format::Json),
        _ => None,
    });
    let seconds = format!("a number of seconds, at most {DRAIN_SECONDS_MAX}");
    let drain = environment.read(&DRAIN, &seconds, findings, |text| {
        let seconds = whole(text)?;
        (seconds <= DRAIN_SECONDS_MAX).then(|| Duration::from_secs(seconds))
    });
    // The defaults of the list can be parsed, which a test shows.
    ProcessConfig {
        log_level: log_level.unwrap_or(Setting::default_of(log::LevelFilter::Info)),
        log_format: log_format.unwrap_or(Setting::default_of(Format::Logfmt)),
        drain: drain.unwrap_or(Setting::default_of(Duration::from_secs(10))),
    }
}

fn read_auth_mode(environment: &Environment, findings: &mut Findings) -> Option<Setting<AuthMode>> {
    if environment.get(AUTH_MODE.name).is_none() {
        findings.error(Fault::MissingVariable {
            name: AUTH_MODE.name,
            why: "it says how people are known: oidc, or dev for one person on this machine",
        });
    }
    environment.read(&AUTH_MODE, "dev or oidc", findings, |text| match text {
        "dev" => Some(AuthMode::Dev),
        "oidc" => Some(AuthMode::Oidc),
        _ => None,
    })
}

fn read_listen(
    environment: &Environment,
    mode: AuthMode,
    findings: &mut Findings,
) -> Option<Setting<SocketAddr>> {
    let dev = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ip = environment.read(&LISTEN, "an IP address", findings, |text| text.parse().ok())?;
    let ip = match (mode, &ip.origin) {
        (AuthMode::Oidc, _) => ip,
        (AuthMode::Dev, Origin::Set(place)) if ip.value != dev => {
            findings.error(Fault::Refused {
                place: place.clone(),
                what:
                    "in dev mode nobody has to log in, so it listens on 127.0.0.1 and nothing else"
                        .to_owned(),
            });
            return None;
        }
        (AuthMode::Dev, Origin::Set(_)) => ip,
        (AuthMode::Dev, _) => Setting {
            value: dev,
            origin: Origin::Derived("PERISCOPE_AUTH_MODE=dev"),
        },
    };
    let expected = "a port from 0 (any free one) to 65535";
    let port = environment.read(&PORT, expected, findings, |text| {
        u16::try_from(whole(text)?).ok()
    })?;
    let origin = match port.origin {
        Origin::Default => ip.origin,
        set => set,
    };
    Some(Setting {
        value: SocketAddr::new(ip.value, port.value),
        origin,
    })
}

fn read_tls(environment: &Environment, findings: &mut Findings) -> Option<TlsFiles> {
    let file = |variable: &Variable| {
        let path = environment.get(variable.name)?;
        Some(Setting::set(PathBuf::from(path), variable.place()))
    };
    match (file(&TLS_CERT), file(&TLS_KEY)) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            findings.error(Fault::MissingVariable {
                name: TLS_KEY.name,
                why: "PERISCOPE_TLS_CERT needs the key that belongs to it",
            });
            None
        }
        (None, Some(_)) => {
            findings.error(Fault::MissingVariable {
                name: TLS_CERT.name,
                why: "PERISCOPE_TLS_KEY needs the certificate that belongs to it",
            });
            None
        }
    }
}

fn read_public_url(
    environment: &Environment,
    mode: AuthMode,
    auth: &AuthConfig,
    findings: &mut Findings,
) -> Option<Setting<PublicUrl>> {
    let place = PUBLIC_URL.place();
    let set = environment.get(PUBLIC_URL.name).and_then(|text| {
        let url = PublicUrl::parse(text.trim_end_matches('/'));
        let url = url.filter(|url| url.is_https() || url.is_loopback());
        if url.is_none() {
            findings.wrong(
                &place,
                "https://HOST[:PORT] without a path, or the same with http for localhost",
            );
        }
        url
    });
    match (mode, set) {
        (AuthMode::Dev, Some(url)) if !url.is_loopback() => {
            findings.wrong(
                &place,
                "a URL of this machine in dev mode: localhost, 127.0.0.1 or [::1]",
            );
            None
        }
        (AuthMode::Dev, url) => url.map(|url| Setting::set(url, place)),
        (AuthMode::Oidc, url) => {
            let oidc = auth.oidc.as_ref()?;
            let Some(url) = url else {
                return Some(Setting {
                    value: oidc.redirect_origin.clone(),
                    origin: Origin::Derived("oidc.redirectURL"),
                });
            };
            if url != oidc.redirect_origin
                && let Origin::Set(redirect) = &oidc.redirect_url.origin
            {
                findings.wrong(redirect, format!("a URL below {url}, the public URL"));
            }
            Some(Setting::set(url, place))
        }
    }
}

fn read_dev_allow_origins(
    environment: &Environment,
    mode: AuthMode,
    findings: &mut Findings,
) -> Setting<Vec<String>> {
    let Some(text) = environment.get(DEV_ALLOW_ORIGINS.name) else {
        return Setting::default_of(Vec::new());
    };
    let place = DEV_ALLOW_ORIGINS.place();
    if mode != AuthMode::Dev {
        findings.error(Fault::Refused {
            place,
            what: "foreign pages may talk to a gateway in dev mode only".to_owned(),
        });
        return Setting::default_of(Vec::new());
    }
    let origins: Vec<_> = text
        .split(',')
        .map(|origin| origin.trim().to_owned())
        .collect();
    if origins
        .iter()
        .any(|origin| PublicUrl::parse(origin).is_none())
    {
        findings.wrong(
            &place,
            "a list of origins such as http://localhost:5173, with commas between them",
        );
    }
    Setting::set(origins, place)
}

fn read_file(
    environment: &Environment,
    variable: &Variable,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<yaml::Node> {
    let path = environment.get(variable.name)?;
    let text = match files.read(Path::new(path)) {
        Ok(text) => text,
        Err(error) => {
            findings.error(Fault::Unreadable {
                place: variable.place(),
                path: path.to_owned(),
                reason: error.to_string(),
            });
            return None;
        }
    };
    match yaml::parse(&Arc::from(path), &text) {
        Ok(node) => Some(node),
        Err(fault) => {
            findings.error(fault);
            None
        }
    }
}

impl AuthMode {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Oidc => "oidc",
        }
    }
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let file = File::open(path)?;
        let read = file
            .take(yaml::FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)?;
        if u64::try_from(read).is_ok_and(|read| read <= yaml::FILE_BYTES_MAX) {
            Ok(text)
        } else {
            Err(io::Error::other("it is larger than 4 MiB"))
        }
    }
}

#[cfg(test)]
mod tests;
