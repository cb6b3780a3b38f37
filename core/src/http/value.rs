//! Header values that may be secret.

use core::fmt;

use super::Misuse;

/// A header value that never shows in logs: a bearer token, a cookie, an impersonated name.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// A value fit for the wire (RFC 9110 §5.5): without control characters, so that no value can
    /// end its line and begin another header, and without outer blanks, which a receiver strips.
    pub fn new(value: &str) -> Result<Self, Misuse> {
        if value.chars().any(char::is_control) {
            return Err(Misuse::ControlCharacter);
        }
        if value.starts_with(' ') || value.ends_with(' ') {
            return Err(Misuse::OuterBlank);
        }
        Ok(Self(value.to_owned()))
    }

    /// The value itself. Do not log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A received value, whose syntax the parser has checked. Bytes that are not UTF-8 become
    /// U+FFFD: such a value then equals nothing we compare with, which is the safe side.
    pub(super) fn received(value: &[u8]) -> Self {
        Self(
            String::from_utf8_lossy(value)
                .trim_matches([' ', '\t'])
                .to_owned(),
        )
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 §5.5: CR, LF and NUL are dangerous; we refuse every control character.
    #[test]
    fn values_that_could_end_their_line_are_refused() {
        for value in [
            "a\r\nX: y",
            "a\nb",
            "a\rb",
            "a\0b",
            "a\x7f",
            "a\tb",
            "a\u{85}b",
        ] {
            assert_eq!(
                SecretValue::new(value),
                Err(Misuse::ControlCharacter),
                "{value:?}"
            );
        }
        for value in [" a", "a ", " "] {
            assert_eq!(SecretValue::new(value), Err(Misuse::OuterBlank));
        }
        for value in ["", "Bearer a b", "grüße"] {
            assert_eq!(SecretValue::new(value).unwrap().as_str(), value);
        }
    }

    #[test]
    fn a_value_does_not_show_in_debug_output() {
        let value = SecretValue::new("hunter2").unwrap();
        assert_eq!(format!("{value:?}"), "[redacted]");
    }
}
