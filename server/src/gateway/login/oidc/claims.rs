//! What a token says, and who may come in with it.

use jiff::Timestamp;
use openidconnect::AdditionalClaims;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::super::identity::Subject;

/// Groups of one login. What is beyond is dropped and counted: no request to an apiserver could
/// carry it.
pub(crate) const GROUPS_MAX: usize = 1000;

/// The longest subject. OpenID Connect Core §2 allows 255 characters.
const SUB_BYTES_MAX: usize = 1024;

/// The longest e-mail address that is kept; longer ones are left out.
const EMAIL_BYTES_MAX: usize = 320;

/// The claims that have no place of their own in OpenID Connect: groups, above all.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Extra(Map<String, Value>);

impl AdditionalClaims for Extra {}

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Extra")
    }
}

/// The facts of a verified token.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) sub: String,
    pub(super) email: Option<String>,
    pub(super) extra: Extra,
    pub(super) expires_at: Timestamp,
}

/// Who may come in, and who sees everything.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    /// The claim that lists groups.
    pub(super) groups_claim: String,
    /// One of these is needed; empty lets everybody in.
    pub(super) allowed_groups: Vec<String>,
    /// Members see and end everyone's sessions.
    pub(super) audit_admin_groups: Vec<String>,
}

/// Somebody who may come in.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) subject: Subject,
    pub(super) is_audit_admin: bool,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// In none of the allowed groups.
    Group,
    /// A subject that cannot be one.
    Subject,
}

impl Extra {
    /// When the token begins to count, if it says so: `nbf`, in seconds.
    pub(super) fn not_before(&self) -> Option<f64> {
        self.0.get("nbf").and_then(Value::as_f64)
    }

    /// Whether there is such a claim.
    pub(super) fn has(&self, claim: &str) -> bool {
        self.0.contains_key(claim)
    }

    /// Takes over the claims it lacks.
    pub(super) fn fill(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            self.0.entry(name).or_insert_with(|| value.clone());
        }
    }

    /// The strings of a claim that is a list or one string. What is neither is left out.
    fn strings(&self, claim: &str) -> Vec<&str> {
        match self.0.get(claim) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

impl Admission {
    /// Lets somebody in, or not.
    pub(super) fn admit(&self, facts: &Facts) -> Result<Guest, NotAdmitted> {
        if facts.sub.is_empty() || facts.sub.len() > SUB_BYTES_MAX {
            return Err(NotAdmitted::Subject);
        }
        let mut groups = facts.extra.strings(&self.groups_claim);
        let is_in = |wanted: &[String], groups: &[&str]| {
            wanted.iter().any(|group| groups.contains(&group.as_str()))
        };
        // Before the list is cut, so that no order of the provider's decides.
        let is_allowed = self.allowed_groups.is_empty() || is_in(&self.allowed_groups, &groups);
        let is_audit_admin = is_in(&self.audit_admin_groups, &groups);
        if !is_allowed {
            return Err(NotAdmitted::Group);
        }
        if groups.len() > GROUPS_MAX {
            let dropped = groups.len().saturating_sub(GROUPS_MAX);
            log::warn!(dropped = dropped as u64; "login.groups.dropped");
            groups.truncate(GROUPS_MAX);
        }
        let email = facts.email.clone();
        let subject = Subject {
            sub: facts.sub.clone(),
            email: email.filter(|email| email.len() <= EMAIL_BYTES_MAX),
            groups: groups.into_iter().map(str::to_owned).collect(),
        };
        Ok(Guest {
            subject,
            is_audit_admin,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(sub: &str, claims: &Value) -> Facts {
        Facts {
            sub: sub.to_owned(),
            email: None,
            extra: serde_json::from_value(claims.clone()).unwrap(),
            expires_at: Timestamp::MAX,
        }
    }

    fn admission(allowed: &[&str], admins: &[&str]) -> Admission {
        let owned = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
        Admission {
            groups_claim: "roles".to_owned(),
            allowed_groups: owned(allowed),
            audit_admin_groups: owned(admins),
        }
    }

    #[test]
    fn groups_come_from_the_configured_claim_as_a_list_or_one_string() {
        let open = admission(&[], &[]);
        let groups = |claims: Value| open.admit(&facts("ann", &claims)).unwrap().subject.groups;
        assert_eq!(
            groups(json!({"roles": ["a", "b"], "groups": ["c"]})),
            ["a", "b"]
        );
        assert_eq!(groups(json!({"roles": "a b"})), ["a b"]);
        assert_eq!(groups(json!({"roles": ["a", 1, null, ["b"]]})), ["a"]);
        for none in [json!({}), json!({"roles": {"a": "b"}}), json!({"roles": 7})] {
            assert!(groups(none).is_empty());
        }
    }

    #[test]
    fn only_members_of_an_allowed_group_come_in_and_admins_are_named() {
        let admission = admission(&["devs", "ops"], &["audit"]);
        let enter = |claims: Value| admission.admit(&facts("ann", &claims));
        assert!(
            !enter(json!({"roles": ["x", "ops"]}))
                .unwrap()
                .is_audit_admin
        );
        let both = enter(json!({"roles": ["audit", "devs"]})).unwrap();
        assert!(both.is_audit_admin);
        for none in [
            json!({"roles": ["audit"]}),
            json!({}),
            json!({"groups": ["devs"]}),
        ] {
            assert_eq!(enter(none).unwrap_err(), NotAdmitted::Group);
        }
    }

    #[test]
    fn the_order_of_a_long_list_does_not_decide_who_comes_in() {
        let mut all: Vec<_> = (0..GROUPS_MAX).map(|index| format!("g{index}")).collect();
        all.push("devs".to_owned());
        all.push("audit".to_owned());
        let guest = admission(&["devs"], &["audit"])
            .admit(&facts("ann", &json!({"roles": all})))
            .unwrap();
        assert!(guest.is_audit_admin);
        assert_eq!(guest.subject.groups.len(), GROUPS_MAX);
    }

    #[test]
    fn a_subject_is_neither_empty_nor_endless() {
        let open = admission(&[], &[]);
        for sub in ["", &"x".repeat(SUB_BYTES_MAX + 1)] {
            let admitted = open.admit(&facts(sub, &json!({})));
            assert_eq!(admitted.unwrap_err(), NotAdmitted::Subject);
        }
    }
}
