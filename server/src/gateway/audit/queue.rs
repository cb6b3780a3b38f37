//! Rows on their way to a sink that may be slow, full or broken. Everyone else only queues, and
//! never waits; the sink's own thread takes.
//!
//! A start that is queued reserves the place of its end, so that no session is ever seen to begin
//! and not to end. An intent reserves the places of both.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Tally;

/// Rows that wait, reserved places included: a burst of ten thousand fits. A row is about 1 KiB,
/// and both sinks share it.
pub(super) const ROWS_MAX: usize = 16_384;

/// What a row means to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A start and an end may follow.
    Intent(Uuid),
    /// An end follows.
    Start(Uuid),
    /// The end of a start or an intent.
    End(Uuid),
    /// First to go when there is no room.
    Denied,
    /// Something about the log itself: it waits if there is room, and its loss is no loss.
    Note,
}

/// Rows that wait.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    rows: VecDeque<(Class, T)>,
    rows_max: usize,
    /// The places that are kept for sessions whose end is still to come.
    reserved: HashMap<Uuid, usize>,
    reserved_places: usize,
    /// Records that were lost since the last gap row.
    lost: u64,
    /// Records queued, and records lost, since the start.
    taken: u64,
    lost_ever: u64,
    /// Rows that were taken and not yet written.
    in_flight: usize,
    is_closed: bool,
    is_abandoned: bool,
    is_finished: bool,
}

/// What the sink's thread is to do next.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Write these, and then a gap row if any were lost.
    Write {
        /// The oldest ones.
        rows: Vec<T>,
        /// Records that were lost behind them.
        lost: u64,
    },
    /// Nothing came until the time given.
    Nothing,
    /// The queue is closed and empty.
    End,
}

impl<T> Queue<T> {
    pub(super) fn new(rows_max: usize) -> Self {
        let state = State {
            rows: VecDeque::new(),
            rows_max,
            reserved: HashMap::new(),
            reserved_places: 0,
            lost: 0,
            taken: 0,
            lost_ever: 0,
            in_flight: 0,
            is_closed: false,
            is_abandoned: false,
            is_finished: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Takes a row, or counts it as lost. Returns whether it was taken.
    pub(super) fn push(&self, class: Class, row: T) -> bool {
        let is_taken = self.lock().push(class, row);
        self.changed.notify_all();
        is_taken
    }

    /// The oldest rows, at most `rows_max` of them. Waits for one until the time given, or for ever.
    pub(super) fn next(&self, rows_max: usize, until: Option<Instant>) -> Next<T> {
        let mut state = self.lock();
        loop {
            if !state.rows.is_empty() || state.lost > 0 {
                return state.take(rows_max);
            }
            if state.is_closed {
                return Next::End;
            }
            let Some(until) = until else {
                state = recover(self.changed.wait(state));
                continue;
            };
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Next::Nothing;
            }
            state = recover(self.changed.wait_timeout(state, wait)).0;
        }
    }

    /// What was taken last is written, but for as many rows as are given: those are lost.
    pub(super) fn written(&self, failed: u64) {
        let mut state = self.lock();
        state.in_flight = 0;
        state.lost_ever = state.lost_ever.saturating_add(failed);
        drop(state);
        self.changed.notify_all();
    }

    /// The sink's thread has let go of everything it held.
    pub(super) fn finished(&self) {
        let mut state = self.lock();
        state.is_finished = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Rests between two attempts to write. Returns false if nobody waits for the rows any more.
    pub(super) fn rest(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if state.is_abandoned || wait.is_zero() {
                return !state.is_abandoned;
            }
            state = recover(self.changed.wait_timeout(state, wait)).0;
        }
    }

    /// What was taken and lost since the start, and what waits.
    pub(super) fn tally(&self, sink: &'static str) -> Tally {
        let state = self.lock();
        Tally {
            sink,
            rows: state.taken,
            lost: state.lost_ever,
            queued: state.rows.len().saturating_add(state.in_flight) as u64,
        }
    }

    /// Takes the end of the process for given and waits until everything is written, at most until
    /// the time given. Returns how many rows were not.
    pub(super) fn close(&self, until: Instant) -> usize {
        let mut state = self.lock();
        state.is_closed = true;
        self.changed.notify_all();
        loop {
            let left = state.rows.len().saturating_add(state.in_flight);
            let wait = until.saturating_duration_since(Instant::now());
            if state.is_finished || wait.is_zero() {
                return left;
            }
            state = recover(self.changed.wait_timeout(state, wait)).0;
        }
    }

    /// Nobody waits for the rows any more: a sink that cannot write need not try for ever.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.is_abandoned = true;
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        recover(self.state.lock())
    }
}

impl<T> State<T> {
    fn push(&mut self, class: Class, row: T) -> bool {
        let is_taken = match class {
            Class::Intent(id) => self.make_room(3) && self.reserve(id, 2),
            Class::Start(id) if self.reserved.contains_key(&id) => self.reserve(id, 1),
            Class::Start(id) => self.make_room(2) && self.reserve(id, 1),
            // Without its start the end was counted when the start was lost.
            Class::End(id) => match self.reserved.remove(&id) {
                Some(places) => {
                    self.reserved_places = self.reserved_places.saturating_sub(places);
                    true
                }
                None => return false,
            },
            Class::Denied => self.has_room(1),
            Class::Note => {
                let has_room = self.has_room(1) && !self.is_finished;
                if has_room {
                    self.rows.push_back((class, row));
                }
                return has_room;
            }
        };
        if is_taken {
            self.taken = self.taken.saturating_add(1);
            self.rows.push_back((class, row));
        } else {
            self.lose(if matches!(class, Class::Start(_)) {
                2
            } else {
                1
            });
        }
        is_taken
    }

    fn take(&mut self, rows_max: usize) -> Next<T> {
        let count = self.rows.len().min(rows_max);
        let rows: Vec<T> = self.rows.drain(..count).map(|(_, row)| row).collect();
        self.in_flight = rows.len();
        // What was lost was lost behind every row that waits.
        let lost = if self.rows.is_empty() {
            std::mem::take(&mut self.lost)
        } else {
            0
        };
        Next::Write { rows, lost }
    }

    /// Keeps this many places for a session's further rows; always succeeds.
    fn reserve(&mut self, id: Uuid, places: usize) -> bool {
        let before = self.reserved.insert(id, places).unwrap_or(0);
        self.reserved_places = self
            .reserved_places
            .saturating_sub(before)
            .saturating_add(places);
        true
    }

    fn lose(&mut self, records: u64) {
        self.lost = self.lost.saturating_add(records);
        self.lost_ever = self.lost_ever.saturating_add(records);
    }

    fn has_room(&self, places: usize) -> bool {
        let used = self
            .rows
            .len()
            .saturating_add(self.in_flight)
            .saturating_add(self.reserved_places);
        used.saturating_add(places) <= self.rows_max
    }

    /// Makes room by giving up rows of refused attempts, oldest first.
    fn make_room(&mut self, places: usize) -> bool {
        while !self.has_room(places) {
            let is_denied = |row: &(Class, T)| row.0 == Class::Denied;
            let Some(index) = self.rows.iter().position(is_denied) else {
                return false;
            };
            self.rows.remove(index);
            self.lose(1);
        }
        true
    }
}

/// A queue changes in single steps, so one that a panic left behind is whole.
fn recover<G>(result: Result<G, PoisonError<G>>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn written<T>(queue: &Queue<T>, rows_max: usize) -> (Vec<T>, u64) {
        let Next::Write { rows, lost } = queue.next(rows_max, Some(Instant::now())) else {
            panic!("rows")
        };
        queue.written(0);
        (rows, lost)
    }

    #[test]
    fn an_intent_keeps_room_for_the_start_and_the_end_whatever_comes_between() {
        let queue = Queue::new(4);
        assert!(queue.push(Class::Intent(id(1)), "intent"));
        assert!(queue.push(Class::Denied, "denied"));
        assert!(!queue.push(Class::Denied, "too many"));
        assert!(!queue.push(Class::Start(id(2)), "too many"));
        assert!(queue.push(Class::Start(id(1)), "start"));
        assert!(queue.push(Class::End(id(1)), "end"));
        // The second start had to make room, and still found too little.
        assert_eq!(written(&queue, 9), (vec!["intent", "start", "end"], 4));
        assert!(!queue.push(Class::End(id(2)), "the end of a lost start"));
        assert!(matches!(queue.next(9, Some(Instant::now())), Next::Nothing));
    }

    #[test]
    fn an_intent_that_came_to_nothing_gives_both_places_back() {
        let queue = Queue::new(3);
        assert!(queue.push(Class::Intent(id(1)), "intent"));
        assert!(queue.push(Class::End(id(1)), "end"));
        assert_eq!(written(&queue, 9), (vec!["intent", "end"], 0));
        assert!(queue.push(Class::Intent(id(2)), "intent"));
    }

    #[test]
    fn rows_in_flight_take_room_and_a_gap_comes_behind_all_that_waited() {
        let queue = Queue::new(3);
        for row in 0..5 {
            assert_eq!(queue.push(Class::Denied, row), row < 3);
        }
        let Next::Write { rows, lost } = queue.next(2, None) else {
            panic!("rows")
        };
        assert_eq!((rows, lost), (vec![0, 1], 0));
        assert!(!queue.push(Class::Denied, 5), "two are still being written");
        queue.written(0);
        assert!(queue.push(Class::Denied, 6));
        assert_eq!(written(&queue, 9), (vec![2, 6], 3));
    }

    #[test]
    fn a_note_that_finds_no_room_is_no_loss() {
        let queue = Queue::new(1);
        assert!(queue.push(Class::Denied, "denied"));
        assert!(!queue.push(Class::Note, "note"));
        assert_eq!(written(&queue, 9), (vec!["denied"], 0));
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_then_its_end() {
        let queue = Queue::new(9);
        queue.push(Class::Denied, "denied");
        assert_eq!(queue.close(Instant::now()), 1);
        assert_eq!(written(&queue, 9), (vec!["denied"], 0));
        assert!(matches!(queue.next(9, None), Next::End));
        queue.finished();
        assert_eq!(queue.close(Instant::now() + Duration::from_mins(1)), 0);
    }
}
