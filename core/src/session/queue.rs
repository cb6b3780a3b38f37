//! Payload that waits for room on the other leg.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Runs shorter than this are copied together, so that a queue of tiny runs neither costs a
/// handle per byte nor keeps a large read buffer alive for a few bytes.
const COPY_BYTES_MAX: usize = 1024;

/// How large a run of such copied bytes may grow.
const COPIED_RUN_BYTES: usize = 4096;

/// As much as this may wait as it came. What waits behind it is there to stay for a while, and is
/// copied into blocks that are full: a run as it came keeps the buffer alive that it was read into,
/// whatever else of that is used.
const UNCOPIED_BYTES_MAX: usize = 32 * 1024;

/// How large such a block is.
const BLOCK_BYTES: usize = 8 * 1024;

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
        if self.len > UNCOPIED_BYTES_MAX {
            self.copy(&run, BLOCK_BYTES);
        } else if run.len() >= COPY_BYTES_MAX || self.runs.is_empty() {
            // The common keystroke leaves at once, too: a copy would buy nothing.
            self.runs.push_back(run);
        } else {
            self.copy(&run, COPIED_RUN_BYTES);
        }
    }

    /// Appends a copy of `run`: first to what room the last block has, then in new ones.
    fn copy(&mut self, run: &[u8], block_bytes: usize) {
        let spare = |tail: &BytesMut| tail.capacity().saturating_sub(tail.len());
        let fits = self.runs.back().map_or(0, spare).min(run.len());
        let (head, rest) = run.split_at_checked(fits).unwrap_or((run, &[]));
        if let Some(tail) = self.runs.back_mut() {
            tail.extend_from_slice(head);
        }
        for part in rest.chunks(block_bytes) {
            let mut block = BytesMut::with_capacity(block_bytes);
            block.extend_from_slice(part);
            self.runs.push_back(block);
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
    fn what_waits_behind_the_first_bytes_keeps_no_read_buffer_alive() {
        let mut queue = ByteQueue::default();
        // Runs as a driver has them: split off a buffer that has room for more than is used.
        let run = || {
            let mut buffer = BytesMut::with_capacity(32 * 1024);
            buffer.extend_from_slice(&[b'x'; 3000]);
            let run = buffer.split();
            (run, buffer)
        };
        let mut rests = Vec::new();
        for _ in 0..200 {
            let (run, rest) = run();
            queue.push(run);
            rests.push(rest);
        }
        let uncopied = UNCOPIED_BYTES_MAX / 3000;
        // A buffer whose run was copied belongs to its reader alone, who can have all of it back.
        let free = rests.iter_mut().filter_map(|rest| {
            let is_whole = rest.try_reclaim(32 * 1024);
            is_whole.then_some(())
        });
        assert_eq!(free.count(), 200 - uncopied);
        let blocks = queue.runs.iter().skip(uncopied);
        let kept: usize = blocks.map(BytesMut::capacity).sum();
        assert!(kept < (200 - uncopied) * 3000 + BLOCK_BYTES, "{kept}");
        assert_eq!(queue.len(), 200 * 3000);
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
