//! Where a setting comes from, and where something is wrong.

use std::fmt;
use std::sync::Arc;

/// A spot an operator can go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An environment variable.
    Variable(Arc<str>),
    /// A key in one of the two files.
    Key {
        /// The file, as it was named.
        file: Arc<str>,
        /// The line of the key, from 1.
        line: u64,
        /// The way to the key, such as `clusters[1].exec.enabled`; empty for the whole file.
        key: String,
    },
}

/// Where an effective value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// Somebody did, here.
    Set(Place),
    /// It follows from another setting, which these words name.
    Derived(&'static str),
}

/// An effective value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value in effect.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value nobody chose.
    pub fn default_of(value: T) -> Self {
        Self {
            value,
            origin: Origin::Default,
        }
    }

    /// A value that was set at `place`.
    pub fn set(value: T, place: Place) -> Self {
        Self {
            value,
            origin: Origin::Set(place),
        }
    }

    /// The same origin with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        Setting {
            value: change(self.value),
            origin: self.origin,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Key { file, line, key } if key.is_empty() => write!(f, "{file}:{line}"),
            Self::Key { file, line, key } => write!(f, "{file}:{line}: {key}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Set(place) => write!(f, "{place}"),
            Self::Derived(from) => write!(f, "from {from}"),
        }
    }
}
