//! Who asks, and as whom the apiserver is asked.
//!
//! A claim of a login becomes a header towards the apiserver. Nothing a user controls may add,
//! split or replace a header, so a claim is only ever sent as a [`ClaimValue`], and there is one
//! way to make one.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use periscope_core::http::SecretValue;
use serde::Serialize;

/// The longest user or group that is sent, in bytes.
pub const CLAIM_BYTES_MAX: usize = 256;

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// A logged-in person, as the login said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The subject: the key of caps, rates and audit rows.
    pub sub: String,
    /// For display only.
    pub email: Option<String>,
    /// The groups of the login, unchecked.
    pub groups: Vec<String>,
}

/// How logins become Kubernetes identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// No impersonation: everyone acts as the gateway itself.
    Shared,
    /// Impersonates the subject in one of five fixed groups.
    Tier {
        /// The tier of a group of the identity provider.
        group_tiers: Vec<(String, Tier)>,
        /// The tier of those in no such group; none denies them.
        default_tier: Option<Tier>,
    },
    /// Impersonates the subject in the groups of the login.
    Raw {
        /// Put in front of every group.
        group_prefix: String,
    },
}

/// The tiers of the shipped roles, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// May look. No exec.
    Read,
    /// May open shells.
    Triage,
    /// May change things.
    Write,
    /// May change more.
    Maintain,
    /// May do everything.
    Admin,
}

/// As whom the apiserver is asked. Made by [`Authorization::identity`] only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    user: Option<ClaimValue>,
    groups: Vec<ClaimValue>,
}

/// A user or group that may stand in an impersonation header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimValue(Arc<str>);

/// Why a login has no Kubernetes identity. Each is answered with 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The subject is not fit for a header, or claims to be part of the system.
    #[error("your login's subject cannot be used as a Kubernetes user name")]
    BadSubject,
    /// Tier mode, and no group of the login has a tier.
    #[error("none of your groups gives you access to clusters here")]
    NoTier,
}

impl Authorization {
    /// The identity of a subject. Groups that are not fit for a header are left out and counted in
    /// the log: a bad group takes rights away, never the login.
    pub fn identity(&self, subject: &Subject) -> Result<Identity, IdentityError> {
        let groups = match self {
            Self::Shared => {
                return Ok(Identity {
                    user: None,
                    groups: Vec::new(),
                });
            }
            Self::Tier { .. } => {
                let tier = self.tier(subject).ok_or(IdentityError::NoTier)?;
                vec![ClaimValue(Arc::from(format!(
                    "periscope-tier:{}",
                    tier.as_str()
                )))]
            }
            Self::Raw { group_prefix } => {
                let all = subject.groups.iter();
                let mut groups: Vec<_> = all
                    .filter_map(|group| ClaimValue::group(group_prefix, group))
                    .collect();
                let dropped = subject.groups.len().saturating_sub(groups.len());
                if dropped > 0 {
                    log::warn!(dropped = dropped as u64; "identity.groups.dropped");
                }
                groups.sort();
                groups.dedup();
                groups
            }
        };
        let user = ClaimValue::new(&subject.sub).ok_or(IdentityError::BadSubject)?;
        Ok(Identity {
            user: Some(user),
            groups,
        })
    }

    /// How many of a subject's groups would be sent, and must not be.
    pub(crate) fn unsendable_groups(&self, subject: &Subject) -> usize {
        let Self::Raw { group_prefix } = self else {
            return 0;
        };
        let is_bad = |group: &&String| ClaimValue::group(group_prefix, group).is_none();
        subject.groups.iter().filter(is_bad).count()
    }

    /// The highest tier of a subject's groups; none outside tier mode.
    pub fn tier(&self, subject: &Subject) -> Option<Tier> {
        let Self::Tier {
            group_tiers,
            default_tier,
        } = self
        else {
            return None;
        };
        let of_groups = group_tiers
            .iter()
            .filter(|(group, _)| subject.groups.contains(group));
        of_groups.map(|(_, tier)| *tier).max().or(*default_tier)
    }

    /// The mode's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Tier { .. } => "tier",
            Self::Raw { .. } => "raw",
        }
    }
}

impl Tier {
    /// The tier of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Read,
            Self::Triage,
            Self::Write,
            Self::Maintain,
            Self::Admin,
        ];
        all.into_iter().find(|tier| tier.as_str() == name)
    }

    /// The tier's name, as it stands in the group's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Triage => "triage",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        }
    }
}

impl Identity {
    /// The gateway itself: nobody is impersonated.
    pub(crate) fn own() -> Self {
        Self {
            user: None,
            groups: Vec::new(),
        }
    }

    /// The impersonated user; none where the gateway acts as itself.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(ClaimValue::as_str)
    }

    /// The impersonated groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(ClaimValue::as_str)
    }

    /// Adds the impersonation headers to a request of the REST client.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        if let Some(user) = &self.user {
            headers.insert(IMPERSONATE_USER, user.header());
        }
        for group in &self.groups {
            headers.append(IMPERSONATE_GROUP, group.header());
        }
    }

    /// The impersonation headers for the core's own handshake.
    pub(crate) fn headers(
        &self,
    ) -> Result<Vec<(String, SecretValue)>, periscope_core::http::Misuse> {
        let user = self.user.iter().map(|user| ("Impersonate-User", user));
        let groups = self.groups.iter().map(|group| ("Impersonate-Group", group));
        user.chain(groups)
            .map(|(name, value)| Ok((name.to_owned(), SecretValue::new(value.as_str())?)))
            .collect()
    }
}

impl ClaimValue {
    /// Accepts a claim that is safe to send: not empty, not long, no control characters, no outer
    /// blanks, and none of the names Kubernetes keeps for itself.
    pub fn new(claim: &str) -> Option<Self> {
        let is_safe = !claim.is_empty()
            && claim.len() <= CLAIM_BYTES_MAX
            && claim.trim() == claim
            && !claim.chars().any(char::is_control)
            && !claim.starts_with("system:")
            && HeaderValue::from_bytes(claim.as_bytes()).is_ok();
        is_safe.then(|| Self(Arc::from(claim)))
    }

    /// Accepts a group that is safe to send with a prefix in front. The prefix makes no group of an
    /// empty one and hides no blank.
    fn group(prefix: &str, group: &str) -> Option<Self> {
        if group.is_empty() || group.trim() != group {
            return None;
        }
        Self::new(&format!("{prefix}{group}"))
    }

    /// The claim.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn header(&self) -> HeaderValue {
        // `new` has tried this very conversion.
        HeaderValue::from_bytes(self.0.as_bytes())
            .unwrap_or(HeaderValue::from_static("system:anonymous"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(sub: &str, groups: &[&str]) -> Subject {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Subject {
            sub: sub.to_owned(),
            email: None,
            groups,
        }
    }

    #[test]
    fn claims_that_could_forge_a_header_or_a_system_name_are_never_sent() {
        let long = "x".repeat(CLAIM_BYTES_MAX + 1);
        let bad = [
            "",
            " ann",
            "ann ",
            "ann\r\nImpersonate-Group: system:masters",
            "ann\0",
            "a\tb",
            "ann\u{7f}",
            "ann\u{85}",
            "\u{a0}ann",
            "system:masters",
            "system:admin",
            &long,
        ];
        for claim in bad {
            assert_eq!(ClaimValue::new(claim), None, "{claim:?}");
            let raw = Authorization::Raw {
                group_prefix: String::new(),
            };
            assert_eq!(
                raw.identity(&subject(claim, &[])),
                Err(IdentityError::BadSubject)
            );
            let identity = raw.identity(&subject("ann", &[claim, "devs"])).unwrap();
            assert_eq!(identity.groups().collect::<Vec<_>>(), ["devs"]);
        }
        for claim in [
            "ann",
            "zoë",
            "a b",
            "auth0|5f7",
            "SYSTEM:x",
            "x:system:y",
            &"x".repeat(CLAIM_BYTES_MAX),
        ] {
            assert!(ClaimValue::new(claim).is_some(), "{claim:?}");
        }
    }

    #[test]
    fn a_prefix_can_neither_complete_a_system_name_nor_mend_a_bad_group() {
        let raw = Authorization::Raw {
            group_prefix: "idp:".to_owned(),
        };
        let subject_of = subject("ann", &["", " devs", "system:masters"]);
        let identity = raw.identity(&subject_of).unwrap();
        assert_eq!(
            identity.groups().collect::<Vec<_>>(),
            ["idp:system:masters"]
        );
        assert_eq!(raw.unsendable_groups(&subject_of), 2);
        let raw = Authorization::Raw {
            group_prefix: "sys".to_owned(),
        };
        let identity = raw
            .identity(&subject("ann", &["tem:masters", "devs"]))
            .unwrap();
        assert_eq!(identity.groups().collect::<Vec<_>>(), ["sysdevs"]);
    }

    #[test]
    fn the_highest_tier_wins_and_no_tier_denies() {
        let group_tiers = vec![
            ("ops".to_owned(), Tier::Admin),
            ("devs".to_owned(), Tier::Triage),
            ("all".to_owned(), Tier::Read),
        ];
        let tier = Authorization::Tier {
            group_tiers: group_tiers.clone(),
            default_tier: None,
        };
        let identity = tier
            .identity(&subject("ann", &["all", "ops", "devs"]))
            .unwrap();
        assert_eq!(
            identity.groups().collect::<Vec<_>>(),
            ["periscope-tier:admin"]
        );
        assert_eq!(identity.user(), Some("ann"));
        assert_eq!(
            tier.identity(&subject("bob", &["other"])),
            Err(IdentityError::NoTier)
        );
        let tier = Authorization::Tier {
            group_tiers,
            default_tier: Some(Tier::Read),
        };
        let identity = tier.identity(&subject("bob", &["other"])).unwrap();
        assert_eq!(
            identity.groups().collect::<Vec<_>>(),
            ["periscope-tier:read"]
        );
    }

    #[test]
    fn shared_mode_sends_no_header_at_all() {
        let identity = Authorization::Shared
            .identity(&subject("system:masters", &["x"]))
            .unwrap();
        let mut headers = HeaderMap::new();
        identity.apply(&mut headers);
        assert!(headers.is_empty());
        assert!(identity.headers().unwrap().is_empty());
    }

    #[test]
    fn both_clients_send_the_same_headers() {
        let raw = Authorization::Raw {
            group_prefix: "idp:".to_owned(),
        };
        let identity = raw.identity(&subject("ann", &["b", "a", "b"])).unwrap();
        let mut map = HeaderMap::new();
        identity.apply(&mut map);
        let groups: Vec<_> = map.get_all("impersonate-group").iter().collect();
        assert_eq!(groups, ["idp:a", "idp:b"]);
        assert_eq!(map["impersonate-user"], "ann");
        let list = identity.headers().unwrap();
        let list: Vec<_> = list
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            list,
            [
                ("Impersonate-User", "ann"),
                ("Impersonate-Group", "idp:a"),
                ("Impersonate-Group", "idp:b")
            ]
        );
    }
}
