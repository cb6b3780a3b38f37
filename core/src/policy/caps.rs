//! How many sessions may be open: per user over all clusters, and per cluster over all users.

use std::collections::{BTreeMap, BTreeSet};

/// The slots that are taken. `D` describes a session to whoever is refused because of it.
///
/// Bounded by what it enforces: it holds one entry for each session that has a slot.
#[derive(Debug)]
pub struct Caps<D> {
    held: BTreeMap<Permit, Held<D>>,
    of_user: BTreeMap<String, BTreeSet<Permit>>,
    in_cluster: BTreeMap<String, u32>,
    last: Permit,
}

impl<D> Caps<D> {
    /// No slot is taken.
    pub fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            of_user: BTreeMap::new(),
            in_cluster: BTreeMap::new(),
            last: Permit(0),
        }
    }

    /// Gives a slot back and returns what held it; `None` if it was given back before.
    pub fn release(&mut self, permit: Permit) -> Option<D> {
        let held = self.held.remove(&permit)?;
        if let Some(permits) = self.of_user.get_mut(&held.user) {
            permits.remove(&permit);
            if permits.is_empty() {
                self.of_user.remove(&held.user);
            }
        }
        if let Some(count) = self.in_cluster.get_mut(&held.cluster) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.in_cluster.remove(&held.cluster);
            }
        }
        Some(held.session)
    }

    /// The description of a session, for what is learned after its slot was taken.
    pub fn session_mut(&mut self, permit: Permit) -> Option<&mut D> {
        self.held.get_mut(&permit).map(|held| &mut held.session)
    }

    /// Every session that holds a slot, oldest first.
    pub fn sessions(&self) -> impl Iterator<Item = (Permit, &D)> {
        self.held
            .iter()
            .map(|(permit, held)| (*permit, &held.session))
    }

    /// How many slots are taken.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no slot is taken.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many slots are taken in a cluster.
    pub fn count_in_cluster(&self, cluster: &str) -> u32 {
        self.in_cluster.get(cluster).copied().unwrap_or(0)
    }

    fn held_by(&self, user: &str) -> impl Iterator<Item = &Held<D>> {
        let permits = self.of_user.get(user).into_iter().flatten();
        permits.filter_map(|permit| self.held.get(permit))
    }
}

impl<D: Clone> Caps<D> {
    /// Takes a slot under both caps, or none.
    pub fn reserve(
        &mut self,
        user: &str,
        cluster: &str,
        limits: CapLimits,
        session: D,
    ) -> Result<Permit, CapHit<D>> {
        self.check(user, cluster, limits)?;
        self.last = Permit(self.last.0.saturating_add(1));
        let permit = self.last;
        let held = Held {
            user: user.to_owned(),
            cluster: cluster.to_owned(),
            session,
        };
        let replaced = self.held.insert(permit, held);
        debug_assert!(replaced.is_none(), "a permit is given once");
        self.of_user
            .entry(user.to_owned())
            .or_default()
            .insert(permit);
        let count = self.in_cluster.entry(cluster.to_owned()).or_default();
        *count = count.saturating_add(1);
        Ok(permit)
    }

    /// Whether a slot is free under both caps. The user's own cap is the one they can do
    /// something about, so it is named first.
    pub fn check(&self, user: &str, cluster: &str, limits: CapLimits) -> Result<(), CapHit<D>> {
        let used = self.of_user.get(user).map_or(0, BTreeSet::len);
        if used as u64 >= u64::from(limits.per_user) {
            let active = self
                .held_by(user)
                .map(|held| held.session.clone())
                .collect();
            return Err(CapHit::User {
                limit: limits.per_user,
                active,
            });
        }
        let count = self.count_in_cluster(cluster);
        if count >= limits.per_cluster {
            let here = self.held_by(user).filter(|held| held.cluster == cluster);
            let own: Vec<D> = here.map(|held| held.session.clone()).collect();
            let other = (count as usize).saturating_sub(own.len());
            return Err(CapHit::Cluster {
                limit: limits.per_cluster,
                own,
                other,
            });
        }
        Ok(())
    }
}

impl<D> Default for Caps<D> {
    fn default() -> Self {
        Self::new()
    }
}

/// A slot. Whoever got it gives it back exactly when both legs are gone; a second time does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permit(u64);

/// The caps in force for one open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapLimits {
    /// Sessions of one user, over all clusters.
    pub per_user: u32,
    /// Sessions in the cluster, of all users.
    pub per_cluster: u32,
}

/// Which cap is reached, and by which sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapHit<D> {
    /// The user's.
    User {
        /// The cap.
        limit: u32,
        /// The user's sessions in all clusters, oldest first.
        active: Vec<D>,
    },
    /// The cluster's.
    Cluster {
        /// The cap.
        limit: u32,
        /// The user's sessions in this cluster, oldest first: closing one makes room.
        own: Vec<D>,
        /// How many sessions other users have in this cluster.
        other: usize,
    },
}

#[derive(Debug)]
struct Held<D> {
    user: String,
    cluster: String,
    session: D,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: CapLimits = CapLimits {
        per_user: 2,
        per_cluster: 3,
    };

    #[test]
    fn the_users_cap_spans_clusters_and_lists_the_users_sessions() {
        let mut caps = Caps::new();
        caps.reserve("ann", "prod", LIMITS, "a").unwrap();
        caps.reserve("ann", "dev", LIMITS, "b").unwrap();
        let hit = caps.reserve("ann", "test", LIMITS, "c").unwrap_err();
        assert_eq!(
            hit,
            CapHit::User {
                limit: 2,
                active: vec!["a", "b"]
            }
        );
        assert!(caps.reserve("bob", "test", LIMITS, "d").is_ok());
        assert_eq!(caps.count_in_cluster("test"), 1, "a refusal holds nothing");
    }

    #[test]
    fn the_clusters_cap_lists_the_callers_own_and_only_counts_the_others() {
        let mut caps = Caps::new();
        caps.reserve("ann", "prod", LIMITS, "a").unwrap();
        caps.reserve("bob", "prod", LIMITS, "b").unwrap();
        caps.reserve("cy", "prod", LIMITS, "c").unwrap();
        caps.reserve("dee", "dev", LIMITS, "elsewhere").unwrap();
        let of = |caps: &mut Caps<_>, user| caps.reserve(user, "prod", LIMITS, "x").unwrap_err();
        assert_eq!(
            of(&mut caps, "ann"),
            CapHit::Cluster {
                limit: 3,
                own: vec!["a"],
                other: 2
            }
        );
        assert_eq!(
            of(&mut caps, "dee"),
            CapHit::Cluster {
                limit: 3,
                own: vec![],
                other: 3
            }
        );
    }

    #[test]
    fn the_target_clusters_limits_apply_to_all_of_a_users_sessions() {
        let mut caps = Caps::new();
        let generous = CapLimits {
            per_user: 10,
            per_cluster: 50,
        };
        for session in 0..4 {
            caps.reserve("ann", "incident", generous, session).unwrap();
        }
        let hit = caps.reserve("ann", "prod", LIMITS, 9).unwrap_err();
        assert_eq!(
            hit,
            CapHit::User {
                limit: 2,
                active: vec![0, 1, 2, 3]
            }
        );
        assert!(caps.reserve("ann", "incident", generous, 9).is_ok());
    }

    #[test]
    fn a_slot_is_given_back_once_however_often_it_is_released() {
        let mut caps = Caps::new();
        let first = caps.reserve("ann", "prod", LIMITS, "a").unwrap();
        let second = caps.reserve("ann", "prod", LIMITS, "b").unwrap();
        assert_eq!(caps.release(first), Some("a"));
        assert_eq!(caps.release(first), None);
        assert_eq!(caps.release(first), None);
        assert_eq!((caps.len(), caps.count_in_cluster("prod")), (1, 1));
        let third = caps.reserve("ann", "prod", LIMITS, "c").unwrap();
        assert_ne!(third, first, "a released permit is never given again");
        assert!(caps.reserve("ann", "prod", LIMITS, "d").is_err());
        caps.release(second);
        caps.release(third);
        assert!(caps.is_empty() && caps.of_user.is_empty() && caps.in_cluster.is_empty());
    }

    #[test]
    fn what_is_learned_later_shows_in_the_list() {
        let mut caps = Caps::new();
        let permit = caps.reserve("ann", "prod", LIMITS, "?").unwrap();
        *caps.session_mut(permit).unwrap() = "app";
        assert_eq!(caps.sessions().collect::<Vec<_>>(), [(permit, &"app")]);
        caps.release(permit);
        assert_eq!(caps.session_mut(permit), None);
    }

    proptest! {
        #[test]
        fn no_sequence_of_opens_and_ends_exceeds_a_cap(
            operations in proptest::collection::vec((0_u8..4, 0_u8..3, 0_usize..40, any::<bool>()), 1..200),
            per_user in 1_u32..5,
            per_cluster in 1_u32..7,
        ) {
            let limits = CapLimits { per_user, per_cluster };
            let mut caps = Caps::new();
            let mut permits: Vec<Permit> = Vec::new();
            let mut open: Vec<(Permit, String, String)> = Vec::new();
            for (user, cluster, index, is_open) in operations {
                let (user, cluster) = (format!("user {user}"), format!("cluster {cluster}"));
                let count = |by: &dyn Fn(&(Permit, String, String)) -> bool| open.iter().filter(|one| by(one)).count();
                let by_user = count(&|one| one.1 == user);
                let by_cluster = count(&|one| one.2 == cluster);
                if is_open {
                    let room = by_user < per_user as usize && by_cluster < per_cluster as usize;
                    let result = caps.reserve(&user, &cluster, limits, ());
                    prop_assert_eq!(result.is_ok(), room, "a slot is given if and only if both caps have room");
                    match result {
                        Ok(permit) => {
                            permits.push(permit);
                            open.push((permit, user, cluster));
                        }
                        Err(CapHit::User { active, .. }) => prop_assert_eq!(active.len(), by_user),
                        Err(CapHit::Cluster { own, other, .. }) => prop_assert_eq!(own.len() + other, by_cluster),
                    }
                } else if let Some(permit) = permits.get(index % permits.len().max(1)) {
                    let was_open = open.iter().any(|one| one.0 == *permit);
                    prop_assert_eq!(caps.release(*permit).is_some(), was_open);
                    open.retain(|one| one.0 != *permit);
                }
                prop_assert_eq!(caps.len(), open.len());
                for permits in caps.of_user.values() {
                    prop_assert!(permits.len() <= per_user as usize);
                }
                prop_assert!(caps.in_cluster.values().all(|count| *count <= per_cluster));
            }
        }
    }
}
