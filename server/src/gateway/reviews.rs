//! Access reviews that said yes, remembered for a few seconds: the dry run and the open that
//! follows it ask the same question.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::identity::Identity;
use super::lock;

/// How long a yes counts. Whoever loses a right loses it here this much later.
const YES_COUNTS: Duration = Duration::from_secs(5);

/// Answers that are remembered.
const ANSWERS_MAX: usize = 4096;

/// The remembered answers.
#[derive(Debug, Default)]
pub(crate) struct Reviews {
    yes_until: Mutex<HashMap<Question, Instant>>,
}

/// May this identity open shells in this namespace of this cluster?
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) identity: Identity,
}

impl Reviews {
    pub(crate) fn is_yes(&self, question: &Question, now: Instant) -> bool {
        lock(&self.yes_until)
            .get(question)
            .is_some_and(|until| *until > now)
    }

    pub(crate) fn remember_yes(&self, question: Question, now: Instant) {
        let mut yes_until = lock(&self.yes_until);
        if yes_until.len() >= ANSWERS_MAX {
            yes_until.retain(|_, until| *until > now);
        }
        if yes_until.len() < ANSWERS_MAX {
            yes_until.insert(question, now + YES_COUNTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Authorization, Subject};
    use super::*;

    fn question(sub: &str) -> Question {
        let subject = Subject {
            sub: sub.to_owned(),
            email: None,
            groups: Vec::new(),
        };
        let identity = Authorization::Raw {
            group_prefix: String::new(),
        }
        .identity(&subject)
        .unwrap();
        Question {
            cluster: "modern".to_owned(),
            namespace: "demo".to_owned(),
            identity,
        }
    }

    #[test]
    fn a_yes_counts_for_seconds_and_for_nobody_else() {
        let reviews = Reviews::default();
        let now = Instant::now();
        reviews.remember_yes(question("ann"), now);
        assert!(reviews.is_yes(&question("ann"), now + Duration::from_secs(4)));
        assert!(!reviews.is_yes(&question("ann"), now + YES_COUNTS));
        assert!(!reviews.is_yes(&question("bob"), now));
        let elsewhere = Question {
            namespace: "kube-system".to_owned(),
            ..question("ann")
        };
        assert!(!reviews.is_yes(&elsewhere, now));
    }

    #[test]
    fn the_table_is_bounded() {
        let reviews = Reviews::default();
        let now = Instant::now();
        for index in 0..ANSWERS_MAX + 5 {
            reviews.remember_yes(question(&format!("sub{index}")), now);
        }
        assert_eq!(lock(&reviews.yes_until).len(), ANSWERS_MAX);
        reviews.remember_yes(question("late"), now + YES_COUNTS);
        assert_eq!(lock(&reviews.yes_until).len(), 1);
    }
}
