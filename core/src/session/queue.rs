//! Payload that waits for room on the other leg.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Runs shorter than this are copied together, so that a queue of tiny runs neither costs a
/// handle per byte nor keeps a large read buffer alive for a few bytes.
const COPY_BYTES_MAX: usize = 1024;

/// How large a run of copied bytes may grow.
const COPIED_RUN_BYTES: usize = 4096;

/// A queue of payload bytes in order.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    runs: VecDeque<BytesMut>,
    len: usize,
}

impl ByteQueue {
    /// Appends a run.
    pub(crate) fn push(&mut self, run: BytesMut) {
        if run.is_empty() {
            return;
        }
        self.len = self.len.saturating_add(run.len());
        if run.len() >= COPY_BYTES_MAX {
            self.runs.push_back(run);
            return;
        }
        let fits = |tail: &&mut BytesMut| {
            tail.capacity().saturating_sub(tail.len()) >= run.len()
                && tail.capacity() <= COPIED_RUN_BYTES
        };
        if let Some(tail) = self.runs.back_mut().filter(fits) {
            tail.extend_from_slice(&run);
        } else if self.runs.is_empty() {
            // The common keystroke: it leaves at once, a copy would buy nothing.
            self.runs.push_back(run);
        } else {
            let mut copy = BytesMut::with_capacity(COPIED_RUN_BYTES);
            copy.extend_from_slice(&run);
            self.runs.push_back(copy);
        }
    }

    /// Takes at most `max` bytes off the front.
    pub(crate) fn pop(&mut self, max: usize) -> Option<BytesMut> {
        let front = self.runs.front_mut()?;
        let run = if front.len() > max {
            front.split_to(max)
        } else {
            self.runs.pop_front()?
        };
        self.len = self.len.saturating_sub(run.len());
        Some(run)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_in_runs_of_at_most_the_asked_size() {
        let mut queue = ByteQueue::default();
        let mut expected = Vec::new();
        for (index, size) in [1, 5000, 3, 2, 1024, 1, 7].into_iter().enumerate() {
            let run = vec![u8::try_from(index).unwrap(); size];
            expected.extend_from_slice(&run);
            queue.push(BytesMut::from(run.as_slice()));
        }
        assert_eq!(queue.len(), expected.len());
        let mut got = Vec::new();
        while let Some(run) = queue.pop(600) {
            assert!(run.len() <= 600 && !run.is_empty());
            got.extend_from_slice(&run);
        }
        assert_eq!(got, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn tiny_runs_share_buffers() {
        let mut queue = ByteQueue::default();
        for _ in 0..100_000 {
            queue.push(BytesMut::from(&b"x"[..]));
        }
        assert!(queue.runs.len() < 100, "{} runs", queue.runs.len());
    }
}
