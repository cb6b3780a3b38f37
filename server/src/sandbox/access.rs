//! Who is asking, and what they may do: as the tier roles the chart ships decide.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::fault::Fault;
use super::status::Refusal;

/// The user the kubeconfig's token belongs to. May do everything, like the gateway's own service
/// account may not: so what the sandbox allows a user is decided by the impersonated groups alone.
const OWNER: &str = "sandbox-owner";

/// Prefix of the groups the gateway impersonates in tier mode.
const TIER_PREFIX: &str = "periscope-tier:";

/// Who a request is evaluated as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    is_owner: bool,
}

/// What is asked for: a verb on a resource of the core group, or of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) namespace: &'a str,
}

/// The periscope tiers, lowest first.
const TIERS: [&str; 5] = ["read", "triage", "write", "maintain", "admin"];

impl Identity {
    /// Who sent these headers: the token's owner, or whom the owner impersonates.
    pub(super) fn of(headers: &HeaderMap, token: &str, faults: &[Fault]) -> Result<Self, Refusal> {
        let given = headers
            .get(AUTHORIZATION)
            .map_or(&b""[..], |value| value.as_bytes());
        let wanted = format!("Bearer {token}");
        if !bool::from(given.ct_eq(wanted.as_bytes())) {
            return Err(Refusal::unauthorized());
        }
        let values = |name: &str| -> Result<Vec<String>, Refusal> {
            let mut values = Vec::new();
            for value in headers.get_all(name) {
                let value = core::str::from_utf8(value.as_bytes())
                    .map_err(|_| Refusal::bad_request(format!("{name} is not UTF-8")))?;
                values.push(value.to_owned());
            }
            Ok(values)
        };
        let mut groups = values("impersonate-group")?;
        let Some(user) = values("impersonate-user")?
            .into_iter()
            .next()
            .filter(|user| !user.is_empty())
        else {
            if groups.is_empty() {
                let groups = vec![
                    "system:masters".to_owned(),
                    "system:authenticated".to_owned(),
                ];
                return Ok(Self {
                    user: OWNER.to_owned(),
                    groups,
                    is_owner: true,
                });
            }
            let message = "requested impersonation of groups without impersonating a user";
            return Err(Refusal::bad_request(message));
        };
        if faults.contains(&Fault::CannotImpersonate) {
            let message = format!(
                "User \"{OWNER}\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
            );
            return Err(Refusal::forbidden("users", &user, &message));
        }
        groups.push("system:authenticated".to_owned());
        Ok(Self {
            user,
            groups,
            is_owner: false,
        })
    }

    /// Whether the identity may do this; the reason names the role that says yes.
    pub(super) fn allows(&self, action: &Action<'_>, faults: &[Fault]) -> Option<String> {
        if self.is_owner {
            return Some("the owner of the sandbox's token may do everything".to_owned());
        }
        let tier = TIERS.iter().rev().find(|tier| {
            self.groups
                .iter()
                .any(|group| group.strip_prefix(TIER_PREFIX) == Some(tier))
        })?;
        let reads = matches!(action.verb, "get" | "list" | "watch");
        let allowed = match (action.group, action.resource, action.subresource) {
            ("", "pods" | "namespaces", "") => reads,
            ("", "pods", "exec") => match action.verb {
                "get" => *tier != "read",
                "create" => *tier != "read" && !faults.contains(&Fault::ForbiddenCreate),
                _ => false,
            },
            _ => false,
        };
        allowed.then(|| {
            let role = format!("{TIER_PREFIX}{tier}");
            format!("RBAC: allowed by ClusterRoleBinding \"{role}\" of ClusterRole \"{role}\" to Group \"{role}\"")
        })
    }

    /// Refuses what the identity may not do, in the apiserver's words.
    pub(super) fn require(
        &self,
        action: &Action<'_>,
        name: &str,
        faults: &[Fault],
    ) -> Result<(), Refusal> {
        if self.allows(action, faults).is_some() {
            return Ok(());
        }
        let kind = match action.resource {
            "namespaces" => "namespaces",
            _ => "pods",
        };
        let resource = match action.subresource {
            "" => action.resource.to_owned(),
            subresource => format!("{}/{subresource}", action.resource),
        };
        let scope = match action.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let message = format!(
            "User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
            self.user, action.verb, action.group
        );
        Err(Refusal::forbidden(kind, name, &message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEC: Action<'static> = Action {
        verb: "create",
        group: "",
        resource: "pods",
        subresource: "exec",
        namespace: "default",
    };
    const LIST: Action<'static> = Action {
        verb: "list",
        group: "",
        resource: "pods",
        subresource: "",
        namespace: "default",
    };

    fn identity(headers: &[(&'static str, &str)]) -> Result<Identity, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Identity::of(&map, "secret", &[])
    }

    fn tier(tier: &str) -> Identity {
        let group = format!("periscope-tier:{tier}");
        let headers = [
            ("authorization", "Bearer secret"),
            ("impersonate-user", "ada"),
            ("impersonate-group", &group),
        ];
        identity(&headers).unwrap()
    }

    #[test]
    fn only_the_kubeconfigs_token_gets_in() {
        assert_eq!(identity(&[]), Err(Refusal::unauthorized()));
        assert_eq!(
            identity(&[("authorization", "Bearer secre")]),
            Err(Refusal::unauthorized())
        );
        assert_eq!(
            identity(&[("authorization", "Bearer secret2")]),
            Err(Refusal::unauthorized())
        );
        assert!(
            identity(&[("authorization", "Bearer secret")])
                .unwrap()
                .allows(&EXEC, &[])
                .is_some()
        );
    }

    #[test]
    fn every_tier_reads_and_all_but_the_lowest_exec() {
        for name in TIERS {
            assert!(tier(name).allows(&LIST, &[]).is_some(), "{name}");
            assert_eq!(
                tier(name).allows(&EXEC, &[]).is_some(),
                name != "read",
                "{name}"
            );
            let delete = Action {
                verb: "delete",
                subresource: "",
                ..EXEC
            };
            assert!(tier(name).allows(&delete, &[]).is_none(), "{name}");
        }
        assert!(tier("root").allows(&LIST, &[]).is_none());
    }

    #[test]
    fn an_impersonated_user_without_groups_may_nothing_and_is_told_so() {
        let alice = identity(&[
            ("authorization", "Bearer secret"),
            ("impersonate-user", "alice"),
        ])
        .unwrap();
        let refusal = alice.require(&LIST, "", &[]).unwrap_err();
        assert_eq!(
            refusal.message,
            "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the \
             namespace \"default\""
        );
    }

    #[test]
    fn groups_without_a_user_are_a_bad_request() {
        let headers = [
            ("authorization", "Bearer secret"),
            ("impersonate-group", "periscope-tier:admin"),
        ];
        assert_eq!(identity(&headers).unwrap_err().code, 400);
    }
}
