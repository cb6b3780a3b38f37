//! `auth.yaml`: login, its lifetimes, and as whom people act.

use std::time::Duration;

use super::environment::{DURATION, Environment, duration};
use super::findings::{Fault, Findings};
use super::place::{Origin, Setting};
use super::secret::{self, SecretText};
use super::yaml::{Node, Table, Value};
use super::{AuthMode, Files};
use crate::gateway::identity::{Authorization, ClaimValue, Subject, Tier};
use crate::gateway::origin::PublicUrl;

/// Everything `auth.yaml` says.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The identity provider; there in mode `oidc`.
    pub oidc: Option<OidcConfig>,
    /// How long a login lasts.
    pub session: SessionConfig,
    /// As whom people act.
    pub authorization: AuthorizationConfig,
    /// The one person of dev mode.
    pub dev: Setting<Subject>,
}

/// The identity provider.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// Its URL, from which its other addresses are discovered.
    pub issuer: Setting<String>,
    /// The name it knows this gateway by.
    pub client_id: Setting<String>,
    /// The secret it knows this gateway by; none for a public client.
    pub client_secret: Option<Setting<SecretText>>,
    /// Where it sends people back to.
    pub redirect_url: Setting<String>,
    /// The origin of `redirect_url`.
    pub redirect_origin: PublicUrl,
    /// What it is asked for.
    pub scopes: Setting<Vec<String>>,
    /// The audience of bearer tokens, where it is not the client's name.
    pub audience: Option<Setting<String>>,
    /// Where people go after logging out.
    pub post_logout_redirect: Option<Setting<String>>,
    /// What the UI calls it.
    pub provider_name: Option<Setting<String>>,
}

/// How long a login lasts.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Without a request.
    pub idle_timeout: Setting<Duration>,
    /// In any case.
    pub absolute_timeout: Setting<Duration>,
}

/// As whom people act.
#[derive(Clone, Debug)]
pub struct AuthorizationConfig {
    /// `shared`, `tier` or `raw`, with what belongs to it.
    pub mode: Setting<Authorization>,
    /// Only people in one of these may log in; nobody is turned away if there is none.
    pub allowed_groups: Setting<Vec<String>>,
    /// The claim that holds the groups.
    pub groups_claim: Setting<String>,
    /// Who sees and ends everybody's sessions.
    pub audit_admin_groups: Setting<Vec<String>>,
}

const MODE: &str = "shared, tier or raw";
const TIER: &str = "read, triage, write, maintain or admin";

/// Reads the file. `node` is none where there is no file.
pub(super) fn read(
    node: Option<&Node>,
    mode: AuthMode,
    environment: &Environment,
    files: &dyn Files,
    findings: &mut Findings,
) -> AuthConfig {
    let mut top = node.and_then(|node| node.table(findings));
    let mut section = |key, findings: &mut Findings| {
        let node = top.as_mut()?.take(key)?;
        node.table(findings)
    };
    let oidc = section("oidc", findings);
    let session = section("session", findings);
    let authorization = section("authorization", findings);
    let dev = section("dev", findings);
    let missing_place = top.as_ref().map(|top| top.place().clone());
    if let Some(top) = top {
        top.finish(findings);
    }
    let oidc = match (oidc, mode) {
        (Some(table), _) => read_oidc(table, mode, environment, files, findings),
        (None, AuthMode::Oidc) => {
            if let Some(place) = missing_place {
                findings.error(Fault::MissingKey {
                    place,
                    key: "oidc",
                    why: "PERISCOPE_AUTH_MODE=oidc needs an identity provider",
                });
            }
            None
        }
        (None, AuthMode::Dev) => None,
    };
    AuthConfig {
        oidc,
        session: read_session(session, findings),
        authorization: read_authorization(authorization, findings),
        dev: read_dev(dev, findings),
    }
}

/// The secret and the two URLs are looked at in mode `oidc` only: a developer need not have them.
fn read_oidc(
    mut table: Table<'_>,
    mode: AuthMode,
    environment: &Environment,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<OidcConfig> {
    let place = table.place().clone();
    let issuer = table.text("issuer", findings);
    let client_id = table.text("clientID", findings);
    let client_secret = table.take("clientSecret");
    let redirect_url = table.text("redirectURL", findings);
    let scopes = table.texts("scopes", findings);
    let audience = table.text("audience", findings);
    let post_logout_redirect = table.text("postLogoutRedirect", findings);
    let provider_name = table.text("providerName", findings);
    let required = ["issuer", "clientID", "redirectURL"].into_iter();
    let missing: Vec<_> = required.filter(|key| !table.has(key)).collect();
    table.finish(findings);
    if mode != AuthMode::Oidc {
        return None;
    }
    let client_secret = client_secret.and_then(|node| {
        let text = node.text(findings)?;
        secret::resolve(&text, &node.place, environment, files, findings)
    });
    for key in missing {
        findings.error(Fault::MissingKey {
            place: place.clone(),
            key,
            why: "login cannot work without it",
        });
    }
    let issuer = issuer.filter(|url| is_safe_url(url, findings));
    let redirect_url = redirect_url.filter(|url| is_safe_url(url, findings));
    let post_logout_redirect = post_logout_redirect.filter(|url| is_safe_url(url, findings));
    let redirect_origin = origin(&redirect_url.as_ref()?.value)?;
    let default_scopes = ["openid", "profile", "email"].map(str::to_owned).to_vec();
    let scopes = match scopes {
        Some(scopes) if !scopes.value.iter().any(|scope| scope == "openid") => {
            if let Origin::Set(place) = &scopes.origin {
                findings.wrong(place, "a list of scopes with `openid` among them");
            }
            scopes
        }
        Some(scopes) => scopes,
        None => Setting::default_of(default_scopes),
    };
    Some(OidcConfig {
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        redirect_url: redirect_url?,
        redirect_origin,
        scopes,
        audience,
        post_logout_redirect,
        provider_name,
    })
}

/// Whether a URL is https, or http on this machine; notes an error if not.
fn is_safe_url(url: &Setting<String>, findings: &mut Findings) -> bool {
    let is_safe =
        origin(&url.value).is_some_and(|origin| origin.is_https() || origin.is_loopback());
    if !is_safe && let Origin::Set(place) = &url.origin {
        findings.wrong(
            place,
            "an https URL, or an http URL of this machine (localhost)",
        );
    }
    is_safe
}

/// Scheme, host and port of a URL that may have a path.
pub(super) fn origin(url: &str) -> Option<PublicUrl> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    PublicUrl::parse(&format!("{scheme}://{authority}"))
}

fn read_session(table: Option<Table<'_>>, findings: &mut Findings) -> SessionConfig {
    let mut session = SessionConfig {
        idle_timeout: Setting::default_of(Duration::from_mins(30)),
        absolute_timeout: Setting::default_of(Duration::from_hours(8)),
    };
    let Some(mut table) = table else {
        return session;
    };
    for (key, setting) in [
        ("idleTimeout", &mut session.idle_timeout),
        ("absoluteTimeout", &mut session.absolute_timeout),
    ] {
        let Some(node) = table.take(key) else {
            continue;
        };
        let Some(text) = node.text(findings) else {
            continue;
        };
        match duration(&text.value) {
            Some(duration) => *setting = text.map(|_| duration),
            None => findings.wrong(&node.place, DURATION),
        }
    }
    let fixed =
        "the cookie's name and host follow from the public URL, so that no other site can set it";
    table.not_honoured("cookieName", fixed, findings);
    table.not_honoured("cookieDomain", fixed, findings);
    table.finish(findings);
    session
}

fn read_authorization(table: Option<Table<'_>>, findings: &mut Findings) -> AuthorizationConfig {
    let mut config = AuthorizationConfig {
        mode: Setting::default_of(Authorization::Shared),
        allowed_groups: Setting::default_of(Vec::new()),
        groups_claim: Setting::default_of("groups".to_owned()),
        audit_admin_groups: Setting::default_of(Vec::new()),
    };
    let Some(mut table) = table else {
        return config;
    };
    if let Some(groups) = table.texts("allowedGroups", findings) {
        config.allowed_groups = groups;
    }
    if let Some(claim) = table.text("groupsClaim", findings) {
        config.groups_claim = claim;
    }
    if let Some(groups) = table.texts("auditAdminGroups", findings) {
        config.audit_admin_groups = groups;
    }
    let group_tiers = read_group_tiers(table.take("groupTiers"), findings);
    let default_tier = table.text("defaultTier", findings).and_then(|text| {
        let tier = Tier::named(&text.value);
        if tier.is_none()
            && let Origin::Set(place) = &text.origin
        {
            findings.wrong(place, format!("{TIER}, or empty for no access"));
        }
        tier
    });
    let group_prefix = table.text("groupPrefix", findings);
    if let Some(mode) = table.text("mode", findings) {
        let authorization = match mode.value.as_str() {
            "shared" => Some(Authorization::Shared),
            "tier" => Some(Authorization::Tier {
                group_tiers,
                default_tier,
            }),
            "raw" => Some(Authorization::Raw {
                group_prefix: group_prefix.map(|prefix| prefix.value).unwrap_or_default(),
            }),
            _ => None,
        };
        match (authorization, &mode.origin) {
            (Some(authorization), _) => config.mode = mode.map(|_| authorization),
            (None, Origin::Set(place)) => findings.wrong(place, MODE),
            (None, _) => {}
        }
    }
    table.not_honoured(
        "canICacheTTL",
        "a yes of the apiserver counts for seconds, a no is never remembered",
        findings,
    );
    table.finish(findings);
    config
}

fn read_group_tiers(node: Option<&Node>, findings: &mut Findings) -> Vec<(String, Tier)> {
    let Some(node) = node else { return Vec::new() };
    let Value::Table(entries) = &node.value else {
        findings.wrong(&node.place, "a table of groups, each with its tier");
        return Vec::new();
    };
    let mut tiers = Vec::new();
    for (group, tier) in entries {
        let named = match &tier.value {
            Value::Text(name) => Tier::named(name),
            _ => None,
        };
        match named {
            Some(named) => tiers.push((group.clone(), named)),
            None => findings.wrong(&tier.place, TIER),
        }
    }
    tiers
}

fn read_dev(table: Option<Table<'_>>, findings: &mut Findings) -> Setting<Subject> {
    let default = "dev@localhost";
    let Some(mut table) = table else {
        return Setting::default_of(Subject {
            sub: default.to_owned(),
            email: Some(default.to_owned()),
            groups: Vec::new(),
        });
    };
    let place = table.place().clone();
    let sub = table.text("subject", findings);
    let email = table.text("email", findings).map(|email| email.value);
    let groups = table.texts("groups", findings);
    table.finish(findings);
    if let Some(sub) = &sub
        && ClaimValue::new(&sub.value).is_none()
        && let Origin::Set(place) = &sub.origin
    {
        findings.wrong(
            place,
            "a user name without control characters or outer blanks that does not begin with system:",
        );
    }
    let sub = sub.map_or_else(|| default.to_owned(), |sub| sub.value);
    let subject = Subject {
        email: email.or_else(|| Some(sub.clone())),
        sub,
        groups: groups.map(|groups| groups.value).unwrap_or_default(),
    };
    Setting::set(subject, place)
}
