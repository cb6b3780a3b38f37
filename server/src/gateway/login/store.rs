//! The logins of browsers. They live in this process only, so a logout is an entry that is gone, and
//! a restart means one silent trip to the identity provider.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::super::identity::Subject;
use super::super::lock;
use super::{NoRandomness, Secret};

/// Logins at the same time, of everybody. A login with 300 groups takes some 15 KiB. When there are
/// more, the one that was used longest ago is forgotten; its browser goes to the provider once more.
pub(crate) const LOGINS_MAX: usize = 10_000;

/// Logins of one subject at the same time, so that one person's script cannot push others out.
pub(crate) const LOGINS_PER_SUBJECT_MAX: usize = 50;

/// All logins.
#[derive(Debug)]
pub(crate) struct Logins {
    by_key: Mutex<HashMap<LoginKey, Entry>>,
    lifetimes: Lifetimes,
    count_max: usize,
}

/// How long logins last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Without a request.
    pub idle: Duration,
    /// Altogether.
    pub absolute: Duration,
}

/// Which login: the hash of its cookie. So the table holds nothing that could be used as a cookie,
/// and looking one up takes no time that depends on how much of a guess was right.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LoginKey([u8; 32]);

/// A login.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) subject: Arc<Subject>,
    pub(crate) is_audit_admin: bool,
    /// The provider's own word for this login, wanted back at logout; none if it is too long.
    pub(crate) hint: Option<Arc<Secret>>,
    pub(crate) expires_at: Timestamp,
    used_at: Timestamp,
}

/// What a new login starts from.
#[derive(Debug)]
pub(crate) struct NewLogin {
    pub(crate) subject: Arc<Subject>,
    pub(crate) is_audit_admin: bool,
    pub(crate) hint: Option<Secret>,
}

impl Logins {
    pub(crate) fn new(lifetimes: Lifetimes) -> Self {
        Self {
            by_key: Mutex::default(),
            lifetimes,
            count_max: LOGINS_MAX,
        }
    }

    /// Begins a login and gives the value of its cookie.
    pub(crate) fn open(
        &self,
        new: NewLogin,
        now: Timestamp,
    ) -> Result<(Secret, LoginKey), NoRandomness> {
        let secret = Secret::random()?;
        let key = LoginKey::of(secret.reveal());
        let entry = Entry {
            subject: new.subject,
            is_audit_admin: new.is_audit_admin,
            hint: new.hint.map(Arc::new),
            expires_at: after(now, self.lifetimes.absolute),
            used_at: now,
        };
        let mut logins = lock(&self.by_key);
        self.make_room(&mut logins, &entry.subject.sub, now);
        logins.insert(key.clone(), entry);
        Ok((secret, key))
    }

    /// The login of a cookie, which counts as used now.
    pub(crate) fn find(&self, cookie: &str, now: Timestamp) -> Option<(LoginKey, Entry)> {
        let key = LoginKey::of(cookie);
        let mut logins = lock(&self.by_key);
        let entry = logins.get_mut(&key)?;
        if self.is_over(entry, now) {
            logins.remove(&key);
            return None;
        }
        entry.used_at = entry.used_at.max(now);
        Some((key, entry.clone()))
    }

    /// Ends a login. From now on its cookie is worth nothing, whoever has a copy.
    pub(crate) fn close(&self, key: &LoginKey) -> Option<Entry> {
        lock(&self.by_key).remove(key)
    }

    /// Whether the login has neither been ended nor forgotten.
    pub(crate) fn contains(&self, key: &LoginKey) -> bool {
        lock(&self.by_key).contains_key(key)
    }

    /// Forgets what is over, and then, where a bound is reached, what was used longest ago.
    fn make_room(&self, logins: &mut HashMap<LoginKey, Entry>, sub: &str, now: Timestamp) {
        let is_own = |entry: &Entry| entry.subject.sub == sub;
        let count_own = |logins: &HashMap<LoginKey, Entry>| {
            logins.values().filter(|entry| is_own(entry)).count()
        };
        if logins.len() < self.count_max && count_own(logins) < LOGINS_PER_SUBJECT_MAX {
            return;
        }
        logins.retain(|_, entry| !self.is_over(entry, now));
        if count_own(logins) >= LOGINS_PER_SUBJECT_MAX {
            forget_oldest(logins, is_own);
        }
        if logins.len() >= self.count_max {
            forget_oldest(logins, |_| true);
        }
    }

    fn is_over(&self, entry: &Entry, now: Timestamp) -> bool {
        entry.expires_at <= now || after(entry.used_at, self.lifetimes.idle) <= now
    }
}

impl LoginKey {
    fn of(cookie: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, cookie.as_bytes());
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(key)
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginKey")
    }
}

fn forget_oldest(logins: &mut HashMap<LoginKey, Entry>, belongs: impl Fn(&Entry) -> bool) {
    let candidates = logins.iter().filter(|(_, entry)| belongs(entry));
    let oldest = candidates.min_by_key(|(_, entry)| entry.used_at);
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        logins.remove(&key);
        log::warn!(logins = logins.len() as u64; "login.forgotten");
    }
}

/// The end of time is late enough for a sum that does not fit.
fn after(at: Timestamp, duration: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| at.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        idle: Duration::from_mins(30),
        absolute: Duration::from_hours(8),
    };

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    fn new(sub: &str) -> NewLogin {
        let subject = Subject {
            sub: sub.to_owned(),
            email: None,
            groups: Vec::new(),
        };
        NewLogin {
            subject: Arc::new(subject),
            is_audit_admin: false,
            hint: None,
        }
    }

    #[test]
    fn use_renews_the_idle_lifetime_and_nothing_renews_the_absolute_one() {
        let logins = Logins::new(LIFETIMES);
        let (cookie, _) = logins.open(new("ann"), at(0)).unwrap();
        for minute in (29..480).step_by(29) {
            let (_, entry) = logins.find(cookie.reveal(), at(minute)).unwrap();
            assert_eq!(entry.expires_at, at(480));
        }
        assert!(logins.find(cookie.reveal(), at(480)).is_none());
        let (cookie, key) = logins.open(new("ann"), at(0)).unwrap();
        assert!(logins.find(cookie.reveal(), at(30)).is_none());
        // It does not come back when the clock does.
        assert!(logins.find(cookie.reveal(), at(1)).is_none());
        assert!(!logins.contains(&key));
    }

    #[test]
    fn a_closed_login_is_worth_nothing_to_whoever_copied_the_cookie() {
        let logins = Logins::new(LIFETIMES);
        let (cookie, key) = logins.open(new("ann"), at(0)).unwrap();
        let (other, _) = logins.open(new("ann"), at(0)).unwrap();
        assert_eq!(logins.find(cookie.reveal(), at(1)).unwrap().0, key);
        assert!(logins.close(&key).is_some());
        assert!(logins.find(cookie.reveal(), at(1)).is_none());
        assert!(logins.find(other.reveal(), at(1)).is_some());
        assert!(logins.find("", at(1)).is_none());
        assert!(logins.find(&format!("{key:?}"), at(1)).is_none());
    }

    #[test]
    fn one_subject_pushes_out_nobody_elses_logins() {
        let logins = Logins::new(LIFETIMES);
        let (bob, _) = logins.open(new("bob"), at(0)).unwrap();
        let first = logins.open(new("ann"), at(1)).unwrap().0;
        for minute in 0..LOGINS_PER_SUBJECT_MAX {
            let minute = i64::try_from(minute % 20).unwrap() + 2;
            logins.open(new("ann"), at(minute)).unwrap();
        }
        assert!(logins.find(first.reveal(), at(22)).is_none());
        assert!(logins.find(bob.reveal(), at(22)).is_some());
        assert_eq!(lock(&logins.by_key).len(), LOGINS_PER_SUBJECT_MAX + 1);
    }

    #[test]
    fn a_full_table_forgets_the_login_that_was_used_longest_ago() {
        let mut logins = Logins::new(LIFETIMES);
        logins.count_max = 100;
        let (oldest, _) = logins.open(new("sub0"), at(0)).unwrap();
        let (second, _) = logins.open(new("sub1"), at(1)).unwrap();
        for index in 2..logins.count_max {
            logins.open(new(&format!("sub{index}")), at(2)).unwrap();
        }
        // Used just now, so it is no longer the one.
        assert!(logins.find(oldest.reveal(), at(3)).is_some());
        logins.open(new("late"), at(4)).unwrap();
        assert_eq!(lock(&logins.by_key).len(), 100);
        assert!(logins.find(oldest.reveal(), at(5)).is_some());
        assert!(logins.find(second.reveal(), at(5)).is_none());
        // What is over goes first.
        logins.open(new("later"), at(300)).unwrap();
        assert_eq!(lock(&logins.by_key).len(), 1);
    }

    #[test]
    fn neither_keys_nor_entries_print_secrets() {
        let logins = Logins::new(LIFETIMES);
        let (cookie, _) = logins.open(new("ann"), at(0)).unwrap();
        let printed = format!("{logins:?}");
        assert!(!printed.contains(cookie.reveal()), "{printed}");
    }
}
