//! What is wrong with a configuration: all of it at once, so that nobody has to start the program
//! five times to find five slips.

use super::place::Place;

/// Everything that was noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The program starts, and says so.
    pub warnings: Vec<Warning>,
    /// The program does not start.
    pub errors: Vec<Fault>,
}

/// Something that stops the start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A key nobody knows.
    #[error("{place}: unknown key; {hint}")]
    UnknownKey {
        /// The key.
        place: Place,
        /// What was probably meant, or what there is.
        hint: String,
    },
    /// A value of the wrong kind, or outside of what is allowed.
    #[error("{place} must be {expected}")]
    Wrong {
        /// The key or variable.
        place: Place,
        /// What it takes.
        expected: String,
    },
    /// Something that has to be there is not.
    #[error("{place}: `{key}` is missing; {why}")]
    MissingKey {
        /// The table it belongs to.
        place: Place,
        /// Its name.
        key: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// A variable that has to be set is not.
    #[error("{name} is not set; {why}")]
    MissingVariable {
        /// Its name.
        name: &'static str,
        /// What it is needed for, and what it takes.
        why: &'static str,
    },
    /// Something this program does not do, on purpose.
    #[error("{place}: {what}")]
    Refused {
        /// The key or variable.
        place: Place,
        /// What is refused, and what to do instead.
        what: String,
    },
    /// A file that cannot be read.
    #[error("{place}: {path} cannot be read: {reason}")]
    Unreadable {
        /// Who names the file.
        place: Place,
        /// The file.
        path: String,
        /// What the machine said.
        reason: String,
    },
    /// A file that is not YAML.
    #[error("{place}: {reason}")]
    Syntax {
        /// File and line.
        place: Place,
        /// What the parser said.
        reason: String,
    },
}

/// Something that does not stop the start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A number that is taken for a slip.
    #[error("{place}: {given} is ignored, it must be a whole number from 1 to {max}")]
    Ignored {
        /// The key or variable.
        place: Place,
        /// What stands there.
        given: String,
        /// The largest number that is believed.
        max: u32,
    },
    /// A warning time that would come before the session.
    #[error(
        "{place}: the idle warning of {warn} s is not shorter than the idle time of {idle} s; {clamped} s is used"
    )]
    Clamped {
        /// The setting that is changed.
        place: String,
        /// What was asked for.
        warn: u64,
        /// The idle time it meets.
        idle: u64,
        /// What is used instead.
        clamped: u64,
    },
    /// A key or variable of older installations that has no effect here.
    #[error("{place} is not honoured: {instead}")]
    NotHonoured {
        /// The key or variable.
        place: Place,
        /// What happens instead.
        instead: &'static str,
    },
    /// Anything else somebody should look at.
    #[error("{place}: {what}")]
    Note {
        /// The key or variable.
        place: Place,
        /// What to look at.
        what: String,
    },
}

impl Findings {
    /// Notes an error.
    pub(super) fn error(&mut self, fault: Fault) {
        self.errors.push(fault);
    }

    /// Notes that a value is not what it must be.
    pub(super) fn wrong(&mut self, place: &Place, expected: impl Into<String>) {
        self.error(Fault::Wrong {
            place: place.clone(),
            expected: expected.into(),
        });
    }

    /// Notes a warning.
    pub(super) fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    /// Notes something to look at.
    pub(super) fn note(&mut self, place: &Place, what: impl Into<String>) {
        self.warn(Warning::Note {
            place: place.clone(),
            what: what.into(),
        });
    }
}

/// The known name that somebody who wrote `given` probably meant.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    known
        .map(|name| (distance(&given, &name.to_ascii_lowercase()), name))
        // Half of the letters may be wrong: more is another word.
        .filter(|(distance, name)| distance * 2 <= name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits (insert, remove, replace) that turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(index + 1);
        for ((pair, before), &target) in row.windows(2).zip(0..).zip(&other) {
            let [diagonal, above] = pair else { continue };
            let left = next.get(before).copied().unwrap_or(usize::MAX - 1);
            let replaced = diagonal + usize::from(letter != target);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["serverIdleSeconds", "idleWarnSeconds", "enabled"];
        let nearest = |given| nearest(given, known.into_iter());
        assert_eq!(nearest("serverIdleSecond"), Some("serverIdleSeconds"));
        assert_eq!(nearest("serveridleseconds"), Some("serverIdleSeconds"));
        assert_eq!(nearest("idelWarnSeconds"), Some("idleWarnSeconds"));
        assert_eq!(nearest("enable"), Some("enabled"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn the_distance_counts_edits() {
        for (one, other, edits) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }
}
