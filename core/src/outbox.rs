//! Encoded bytes that wait for one leg's socket, and the counts that backpressure reads.
//!
//! The outbox is the only owner of unwritten bytes: the driver lends its chunks to the socket and
//! reports how many bytes were taken. So partial writes are counted in one place, and an urgent
//! message (a ping, a warning) can still overtake what no socket has seen yet.

use std::collections::VecDeque;

use bytes::Bytes;

/// The queue of encoded messages for one leg.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Bytes in `chunks`.
    len: usize,
    /// Those of them that were not pushed as urgent.
    ordinary: usize,
    /// Bytes the socket has taken since the leg began.
    written: u64,
    /// True while the front chunk continues a message the socket has begun to take.
    mid_message: bool,
    /// How many messages behind a begun one were pushed as urgent; each is one chunk.
    urgent: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Whether a message ends with this chunk. Only there may another message cut in.
    ends_message: bool,
    is_urgent: bool,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues one whole message at the end. Empty messages are ignored.
    pub fn push(&mut self, message: Bytes) {
        self.push_chunk(message, true);
    }

    /// Queues one message as a head and a payload that stay separate chunks, so that a large
    /// payload is never copied behind its header. They go out in one vectored write.
    pub fn push_pair(&mut self, head: Bytes, payload: Bytes) {
        if payload.is_empty() {
            self.push_chunk(head, true);
        } else {
            self.push_chunk(head, false);
            self.push_chunk(payload, true);
        }
    }

    /// Queues one whole message ahead of every message that was not begun, but behind earlier
    /// urgent ones. Returns the value [`Self::written`] has once its last byte was taken.
    pub fn push_urgent(&mut self, message: Bytes) -> u64 {
        let index = self
            .begun_chunks()
            .saturating_add(self.urgent)
            .min(self.chunks.len());
        let ahead: usize = self
            .chunks
            .iter()
            .take(index)
            .map(|chunk| chunk.bytes.len())
            .sum();
        let len = message.len();
        if len > 0 {
            self.chunks.insert(
                index,
                Chunk {
                    bytes: message,
                    ends_message: true,
                    is_urgent: true,
                },
            );
            self.len = self.len.saturating_add(len);
            self.urgent = self.urgent.saturating_add(1);
        }
        self.written
            .saturating_add(ahead as u64)
            .saturating_add(len as u64)
    }

    /// Takes `len` bytes off the front: the socket has accepted them.
    pub fn advance(&mut self, len: usize) {
        debug_assert!(len <= self.len, "the socket took more than it was lent");
        let mut left = len.min(self.len);
        self.written = self.written.saturating_add(left as u64);
        self.len = self.len.saturating_sub(left);
        while left > 0 {
            let Some(front) = self.chunks.front_mut() else {
                break;
            };
            if !self.mid_message {
                // A message is begun here; from now on it counts as begun, not as urgent.
                self.urgent = self.urgent.saturating_sub(1);
            }
            let taken = left.min(front.bytes.len());
            if !front.is_urgent {
                self.ordinary = self.ordinary.saturating_sub(taken);
            }
            if left < front.bytes.len() {
                bytes::Buf::advance(&mut front.bytes, left);
                self.mid_message = true;
                return;
            }
            left = left.saturating_sub(taken);
            self.mid_message = !front.ends_message;
            self.chunks.pop_front();
        }
    }

    /// Drops everything that was not taken. Used when a leg is cut off.
    pub fn clear(&mut self) {
        *self = Self {
            written: self.written,
            ..Self::default()
        };
    }

    /// Drops every message no socket has begun to take; a begun one must go out whole.
    pub fn drop_unbegun(&mut self) {
        self.chunks.truncate(self.begun_chunks());
        let bytes = |chunk: &Chunk| chunk.bytes.len();
        self.len = self.chunks.iter().map(bytes).sum();
        let ordinary = self.chunks.iter().filter(|chunk| !chunk.is_urgent);
        self.ordinary = ordinary.map(bytes).sum();
        self.urgent = 0;
    }

    /// The waiting chunks, in the order they must be written.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| chunk.bytes.as_ref())
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that wait and were not pushed as urgent: their order never changes.
    pub fn ordinary_len(&self) -> usize {
        self.ordinary
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes the socket has taken since the leg began.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn push_chunk(&mut self, bytes: Bytes, ends_message: bool) {
        if bytes.is_empty() {
            return;
        }
        self.len = self.len.saturating_add(bytes.len());
        self.ordinary = self.ordinary.saturating_add(bytes.len());
        self.chunks.push_back(Chunk {
            bytes,
            ends_message,
            is_urgent: false,
        });
    }

    /// Chunks at the front that belong to a message the socket has begun.
    fn begun_chunks(&self) -> usize {
        if !self.mid_message {
            return 0;
        }
        let end = self.chunks.iter().position(|chunk| chunk.ends_message);
        end.map_or(self.chunks.len(), |index| index.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outbox: &Outbox) -> String {
        outbox
            .chunks()
            .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
            .collect()
    }

    #[test]
    fn urgent_messages_overtake_between_messages_and_keep_their_order() {
        let mut outbox = Outbox::new();
        outbox.push_pair(Bytes::from_static(b"H"), Bytes::from_static(b"first"));
        outbox.push(Bytes::from_static(b"second"));
        outbox.advance(1); // the head is gone, its payload must follow at once
        assert_eq!(outbox.push_urgent(Bytes::from_static(b"<1>")), 1 + 5 + 3);
        assert_eq!(outbox.push_urgent(Bytes::from_static(b"<2>")), 1 + 5 + 6);
        assert_eq!(text(&outbox), "first<1><2>second");
        outbox.advance(6); // "<" of the first urgent message is begun
        assert_eq!(outbox.push_urgent(Bytes::from_static(b"<3>")), 1 + 5 + 9);
        assert_eq!(text(&outbox), "1><2><3>second");
        outbox.advance(8);
        assert_eq!(text(&outbox), "second");
        assert_eq!(outbox.push_urgent(Bytes::from_static(b"!")), 1 + 5 + 9 + 1);
        assert_eq!(outbox.ordinary_len(), 6);
        assert_eq!(text(&outbox), "!second");
        assert_eq!(outbox.len(), 7);
    }

    #[test]
    fn dropping_what_was_not_begun_leaves_whole_messages_only() {
        let mut outbox = Outbox::new();
        outbox.push_pair(Bytes::from_static(b"H"), Bytes::from_static(b"first"));
        outbox.push(Bytes::from_static(b"second"));
        outbox.push_urgent(Bytes::from_static(b"!"));
        outbox.advance(3); // the urgent one, the head, and one byte of its payload
        outbox.drop_unbegun();
        assert_eq!(text(&outbox), "irst");
        assert_eq!(outbox.len(), 4);
        assert_eq!(outbox.ordinary_len(), 4);
        outbox.advance(4);
        outbox.push(Bytes::from_static(b"third"));
        outbox.drop_unbegun();
        assert!(outbox.is_empty());
        assert_eq!(outbox.written(), 7);
    }

    #[test]
    fn written_counts_what_sockets_took_and_survives_a_cut() {
        let mut outbox = Outbox::new();
        outbox.push(Bytes::from_static(b"abcdef"));
        outbox.advance(4);
        outbox.clear();
        assert!(outbox.is_empty());
        assert_eq!(outbox.written(), 4);
        assert_eq!(outbox.push_urgent(Bytes::from_static(b"xy")), 6);
    }
}
