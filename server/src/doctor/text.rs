//! Words for a terminal: what peers say made harmless, and times as people say them.

use std::fmt::Write as _;

use jiff::Timestamp;

/// The most of a peer's text that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// A peer's text: bounded, and without anything a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.trim().chars();
    for char in chars.by_ref().take(SHOWN_CHARS_MAX) {
        // Letters of any script pass. Controls, and the invisible characters that turn text around, do not.
        if char == ' ' || char.is_ascii_graphic() || char.is_alphanumeric() {
            out.push(char);
        } else {
            out.extend(char.escape_unicode());
        }
    }
    if chars.next().is_some() {
        out.push_str(" [cut]");
    }
    out
}

/// When something is over, as seen at `now`: `in 3 days`, `2 hours ago`.
pub(super) fn relative(end: Timestamp, now: Timestamp) -> String {
    let seconds = end.as_second().saturating_sub(now.as_second());
    let length = length(seconds.unsigned_abs());
    if seconds < 0 {
        format!("{length} ago")
    } else {
        format!("in {length}")
    }
}

/// A time in one unit, rounded down.
pub(super) fn length(seconds: u64) -> String {
    const YEAR: u64 = 365 * 86_400;
    const YEARS: u64 = 2 * YEAR;
    let (count, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7200 => (seconds / 60, "minutes"),
        7200..172_800 => (seconds / 3600, "hours"),
        172_800..YEARS => (seconds / 86_400, "days"),
        _ => (seconds / YEAR, "years"),
    };
    format!("{count} {unit}")
}

/// A list with at most a few members.
pub(super) fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    const ITEMS_MAX: usize = 8;
    let all: Vec<&str> = items.collect();
    let mut text = String::new();
    for (index, item) in all.iter().take(ITEMS_MAX).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&shown(item));
    }
    if let Some(more) = all.len().checked_sub(ITEMS_MAX).filter(|more| *more > 0) {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}

/// Breaks a paragraph at spaces.
pub(super) fn wrap(text: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut column = 0_usize;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > 0 && column.saturating_add(len) >= columns {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column = column.saturating_add(1);
        }
        out.push_str(word);
        column = column.saturating_add(len);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_text_cannot_command_a_terminal_and_is_bounded() {
        assert_eq!(
            shown("pods \"a\" is forbidden\n"),
            "pods \"a\" is forbidden"
        );
        assert_eq!(shown("a\u{1b}[2Jb\r\nc"), "a\\u{1b}[2Jb\\u{d}\\u{a}c");
        assert_eq!(shown("\u{202e}zoë\u{9b}"), "\\u{202e}zoë\\u{9b}");
        let long = shown(&"x".repeat(10_000));
        assert_eq!(long.len(), SHOWN_CHARS_MAX + " [cut]".len());
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        assert_eq!(relative(at(119), now), "in 119 seconds");
        assert_eq!(relative(at(-3600), now), "60 minutes ago");
        assert_eq!(relative(at(86_400 * 300), now), "in 300 days");
        assert_eq!(relative(at(86_400 * 800), now), "in 2 years");
    }

    #[test]
    fn paragraphs_break_at_spaces_only() {
        assert_eq!(wrap("a bb  ccc\nd", 6), "a bb\nccc d\n");
        assert_eq!(wrap("abcdefgh i", 3), "abcdefgh\ni\n");
    }

    #[test]
    fn long_lists_are_counted() {
        let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let text = list(names.iter().map(String::as_str));
        assert_eq!(text, "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(list(std::iter::empty()), "");
    }
}
