//! Refused attempts, at most one row per subject, code and cluster a minute.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Record;

/// How long a row speaks for the attempts that follow it.
const WINDOW: Duration = Duration::from_mins(1);

/// Windows that are kept. Beyond that, attempts are written one by one: a flood from thousands of
/// subjects is news.
const WINDOWS_MAX: usize = 4096;

/// The windows that are open.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    windows: HashMap<Key, Window>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    sub: String,
    code: &'static str,
    cluster: String,
}

#[derive(Debug)]
struct Window {
    opened: Instant,
    /// The newest attempt since, with the count of all since; none if there were none.
    newest: Option<Record>,
}

impl Denials {
    /// Takes one attempt. Returns the row to write now, if any.
    pub(crate) fn take(&mut self, record: Record, now: Instant) -> Option<Record> {
        let key = Key {
            sub: record.shell.actor.sub.clone(),
            code: record.code.unwrap_or_default(),
            cluster: record.shell.cluster.clone(),
        };
        if let Some(window) = self.windows.get_mut(&key) {
            let before = window
                .newest
                .as_ref()
                .and_then(|newest| newest.count)
                .unwrap_or(0);
            let count = Some(before.saturating_add(record.count.unwrap_or(1)));
            window.newest = Some(Record { count, ..record });
            return None;
        }
        if self.windows.len() < WINDOWS_MAX {
            self.windows.insert(
                key,
                Window {
                    opened: now,
                    newest: None,
                },
            );
        }
        Some(record)
    }

    /// Closes windows whose minute is over. Returns the rows to write.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Record> {
        let mut rows = Vec::new();
        self.windows.retain(|_, window| {
            if now.saturating_duration_since(window.opened) < WINDOW {
                return true;
            }
            window.opened = now;
            // A row was just written: its minute begins. Without one, nothing is left to say.
            let newest = window.newest.take();
            let is_open = newest.is_some();
            rows.extend(newest);
            is_open
        });
        rows
    }

    /// Everything that was counted and not written: for the end of the process.
    pub(crate) fn drain(&mut self) -> Vec<Record> {
        self.windows
            .drain()
            .filter_map(|(_, window)| window.newest)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::denied;
    use super::*;

    fn count(row: &Record) -> Option<u64> {
        row.count
    }

    #[test]
    fn a_burst_is_one_row_now_and_one_with_the_count_a_minute_later() {
        let mut denials = Denials::default();
        let start = Instant::now();
        assert_eq!(
            denials
                .take(denied("ann", "E_CAP_USER"), start)
                .as_ref()
                .and_then(count),
            Some(1)
        );
        for _ in 0..9 {
            assert!(denials.take(denied("ann", "E_CAP_USER"), start).is_none());
        }
        assert!(denials.take(denied("bob", "E_CAP_USER"), start).is_some());
        assert!(denials.take(denied("ann", "E_FORBIDDEN"), start).is_some());
        assert!(denials.expire(start + Duration::from_secs(59)).is_empty());
        let rows = denials.expire(start + WINDOW);
        assert_eq!(rows.iter().map(count).collect::<Vec<_>>(), [Some(9)]);
        // The row just written opened a minute of its own.
        assert!(
            denials
                .take(denied("ann", "E_CAP_USER"), start + WINDOW)
                .is_none()
        );
        let rows = denials.drain();
        assert_eq!(rows.iter().map(count).collect::<Vec<_>>(), [Some(1)]);
    }

    #[test]
    fn a_quiet_minute_closes_the_window() {
        let mut denials = Denials::default();
        let start = Instant::now();
        assert!(denials.take(denied("ann", "E_CAP_USER"), start).is_some());
        assert!(denials.expire(start + WINDOW).is_empty());
        assert!(
            denials
                .take(denied("ann", "E_CAP_USER"), start + WINDOW)
                .is_some()
        );
    }

    #[test]
    fn the_table_is_bounded_and_loses_no_row_when_full() {
        let mut denials = Denials::default();
        let now = Instant::now();
        for index in 0..WINDOWS_MAX + 10 {
            assert!(
                denials
                    .take(denied(&format!("sub{index}"), "E_AUTH"), now)
                    .is_some()
            );
        }
        assert_eq!(denials.windows.len(), WINDOWS_MAX);
    }
}
