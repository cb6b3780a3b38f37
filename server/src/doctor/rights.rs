//! What to do about a right that is missing: the object, and the command that shows whether it is there.

use super::report::Fault;
use super::text::{list, shown};
use crate::gateway::identity::{Authorization, Identity};

/// The gateway lacks the right to act as somebody else. `us` is who the apiserver says the gateway is.
pub(super) fn no_impersonation(us: Option<&str>, identity: &Identity, message: &str) -> Fault {
    let checks: Vec<String> = identity
        .groups()
        .map(|group| {
            format!(
                " and `{}`",
                may_impersonate(us, &format!("groups/{}", shown(group)))
            )
        })
        .collect();
    let groups = list(identity.groups());
    let groups = if groups.is_empty() {
        String::new()
    } else {
        format!(", and on the groups {groups}")
    };
    Fault::new(
        format!("403: {message}"),
        format!(
            "{} lacks the verb impersonate, so every shell ends with E_INTERNAL. It needs it on users{groups}. The chart's ClusterRole and \
             ClusterRoleBinding periscope-gateway give it; on a cluster where the chart is not installed, apply them there. If the role is there \
             (`kubectl get clusterrole periscope-gateway -o yaml`), the binding is missing: `kubectl create clusterrolebinding \
             periscope-gateway --clusterrole=periscope-gateway {}`, in the chart rbac.gateway.extraSubjects. Check with `{}`{}.",
            named(us),
            bound(us),
            may_impersonate(us, "users"),
            checks.concat()
        ),
    )
}

fn may_impersonate(us: Option<&str>, what: &str) -> String {
    let us = us.map_or("GATEWAY".to_owned(), shown);
    format!("kubectl auth can-i impersonate {what} --as {us}")
}

fn named(us: Option<&str>) -> String {
    us.map_or("The gateway's own user".to_owned(), shown)
}

/// How `kubectl create` names the gateway as the subject of a binding.
fn bound(us: Option<&str>) -> String {
    let Some(us) = us else {
        return "--user=GATEWAY".to_owned();
    };
    let account = us.strip_prefix("system:serviceaccount:");
    account.map_or_else(
        || format!("--user={}", shown(us)),
        |account| format!("--serviceaccount={}", shown(account)),
    )
}

/// Which right on `pods/exec` is missing, whose, and how to give it.
pub(super) fn missing_right(
    us: Option<&str>,
    identity: &Identity,
    authorization: &Authorization,
    namespace: &str,
) -> String {
    let Some(user) = identity.user() else {
        let bound = bound(us);
        return format!(
            "In mode shared everybody acts as the gateway itself, so {} needs create and get on pods/exec in {namespace}: `kubectl create role \
             periscope-exec -n {namespace} --verb=create,get --resource=pods/exec` and `kubectl create rolebinding periscope-exec -n \
             {namespace} --role=periscope-exec {bound}`.",
            named(us)
        );
    };
    let groups: Vec<String> = identity.groups().map(shown).collect();
    let as_groups: Vec<String> = groups
        .iter()
        .map(|group| format!(" --as-group {group}"))
        .collect();
    let check = format!(
        "Check with `kubectl auth can-i create pods/exec -n {namespace} --as {}{}`.",
        shown(user),
        as_groups.concat()
    );
    match (authorization, groups.first()) {
        (Authorization::Tier { .. }, Some(group)) if group == "periscope-tier:read" => format!(
            "The tier read does not include shells; triage, write, maintain and admin do. If this person should have one, map \
             one of their groups to a higher tier in authorization.groupTiers. {check}"
        ),
        (Authorization::Tier { .. }, Some(group)) => format!(
            "The cluster lacks the ClusterRole {group} with create and get on pods/exec, or the ClusterRoleBinding {group} that gives it to \
             the group {group}. The chart makes both (rbac.tiers.create); on a cluster where the chart is not installed they have to be \
             applied by themselves. Look with `kubectl get clusterrole,clusterrolebinding {group} -o yaml`. {check}"
        ),
        _ => format!(
            "Nothing gives the user {} or one of the groups ({}) the verb create on pods/exec in {namespace}: a Role with create and get \
             on pods/exec and a RoleBinding to one of them are missing. {check}",
            shown(user),
            groups.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Named, choose};
    use super::*;

    #[test]
    fn the_missing_object_is_named_with_its_subject() {
        let tier = Authorization::Tier {
            group_tiers: Vec::new(),
            default_tier: None,
        };
        let identity = choose(&tier, &Named::default()).unwrap();
        let us = Some("system:serviceaccount:periscope:gateway");
        let fault = no_impersonation(us, &identity, "cannot impersonate");
        for part in [
            "--clusterrole=periscope-gateway --serviceaccount=periscope:gateway`",
            "`kubectl auth can-i impersonate users --as system:serviceaccount:periscope:gateway`",
            "impersonate groups/periscope-tier:triage --as",
        ] {
            assert!(fault.advice.contains(part), "{part}: {}", fault.advice);
        }
        let shared = Identity::own();
        let advice = missing_right(Some("ann"), &shared, &Authorization::Shared, "prod");
        assert!(
            advice.contains("rolebinding periscope-exec -n prod --role=periscope-exec --user=ann`"),
            "{advice}"
        );
        let advice = missing_right(None, &shared, &Authorization::Shared, "prod");
        assert!(advice.contains("--user=GATEWAY"), "{advice}");
    }
}
