//! As whom the cluster is asked.

use crate::gateway::identity::{Authorization, Identity, IdentityError, Subject, Tier};

/// The user that is impersonated where nobody is named: one that owns nothing.
pub(super) const DEFAULT_SUBJECT: &str = "periscope-doctor";

/// Who was named on the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) subject: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) tier: Option<Tier>,
}

/// Why nobody can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdentityFault {
    /// What was named does not fit the configured mode.
    #[error("{0}")]
    Usage(String),
    /// A login like that has no access at all.
    #[error("{0}")]
    Denied(IdentityError),
}

/// The identity of a person like the one that was named, as the gateway makes it of a login.
pub(super) fn choose(
    authorization: &Authorization,
    named: &Named,
) -> Result<Identity, IdentityFault> {
    let usage = |text: &str| Err(IdentityFault::Usage(text.to_owned()));
    let is_named = named.subject.is_some() || !named.groups.is_empty() || named.tier.is_some();
    let subject = Subject {
        sub: named
            .subject
            .clone()
            .unwrap_or_else(|| DEFAULT_SUBJECT.to_owned()),
        email: None,
        groups: named.groups.clone(),
    };
    let identity = match authorization {
        Authorization::Shared if is_named => {
            return usage(
                "authorization mode shared impersonates nobody, so --as, --group and --tier make no sense",
            );
        }
        Authorization::Raw { .. } if named.tier.is_some() => {
            return usage("--tier belongs to authorization mode tier; in mode raw, name --group");
        }
        Authorization::Raw { .. } if !is_named => {
            return usage(
                "authorization mode raw impersonates a person and their groups: name somebody with --as, and their \
                 groups with --group",
            );
        }
        Authorization::Tier { .. } if named.groups.is_empty() => {
            // The lowest tier that may open shells, unless another is wanted.
            let tier = named.tier.unwrap_or(Tier::Triage);
            let of_tier = Authorization::Tier {
                group_tiers: Vec::new(),
                default_tier: Some(tier),
            };
            of_tier.identity(&subject)
        }
        as_configured => as_configured.identity(&subject),
    };
    identity.map_err(|error| match error {
        IdentityError::BadSubject => IdentityFault::Usage(
            "--as names somebody who is never impersonated: empty, too long, with control characters, or system:…"
                .to_owned(),
        ),
        IdentityError::NoTier => IdentityFault::Denied(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier_mode() -> Authorization {
        Authorization::Tier {
            group_tiers: vec![("staff".to_owned(), Tier::Write)],
            default_tier: None,
        }
    }

    fn named(subject: Option<&str>, groups: &[&str], tier: Option<Tier>) -> Named {
        Named {
            subject: subject.map(str::to_owned),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            tier,
        }
    }

    #[test]
    fn tier_mode_asks_as_the_lowest_tier_with_shells_unless_somebody_is_named() {
        let of = |named: Named| {
            let identity = choose(&tier_mode(), &named).unwrap();
            let groups: Vec<_> = identity.groups().map(str::to_owned).collect();
            (identity.user().unwrap().to_owned(), groups.join(" "))
        };
        let doctor = |tier: &str| (DEFAULT_SUBJECT.to_owned(), format!("periscope-tier:{tier}"));
        assert_eq!(of(Named::default()), doctor("triage"));
        assert_eq!(of(named(None, &[], Some(Tier::Read))), doctor("read"));
        assert_eq!(
            of(named(Some("ann"), &["staff"], None)),
            ("ann".to_owned(), "periscope-tier:write".to_owned())
        );
        assert_eq!(
            choose(&tier_mode(), &named(Some("ann"), &["others"], None)),
            Err(IdentityFault::Denied(IdentityError::NoTier))
        );
        assert!(matches!(
            choose(&tier_mode(), &named(Some("system:admin"), &[], None)),
            Err(IdentityFault::Usage(_))
        ));
    }

    #[test]
    fn the_other_modes_take_what_makes_sense_in_them() {
        let shared = choose(&Authorization::Shared, &Named::default()).unwrap();
        assert_eq!(shared.user(), None);
        let raw = Authorization::Raw {
            group_prefix: "idp:".to_owned(),
        };
        let identity = choose(&raw, &named(Some("ann"), &["devs"], None)).unwrap();
        assert_eq!(identity.groups().collect::<Vec<_>>(), ["idp:devs"]);
        for (mode, named) in [
            (&Authorization::Shared, named(Some("ann"), &[], None)),
            (&Authorization::Shared, named(None, &[], Some(Tier::Admin))),
            (&raw, Named::default()),
            (&raw, named(Some("ann"), &[], Some(Tier::Admin))),
        ] {
            assert!(
                matches!(choose(mode, &named), Err(IdentityFault::Usage(_))),
                "{named:?}"
            );
        }
    }
}
