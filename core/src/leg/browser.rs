//! The browser's leg: a WebSocket whose binary messages are terminal bytes and whose text
//! messages are [`console`](super::console) JSON.

use bytes::BytesMut;

use crate::leg::console::{Control, Notice};
use crate::limits::{BROWSER_MESSAGE_BYTES_MAX, BROWSER_TEXT_BYTES_MAX};
use crate::outbox::Outbox;
use crate::ws::{self, WebSocket};

/// What came from the browser.
#[derive(Debug)]
pub enum BrowserEvent {
    /// A ping, a pong, or a message that was dropped: the browser lives.
    Alive,
    /// The browser's Close; 1005 when it named no code.
    Close {
        /// RFC 6455 §7.4.
        code: u16,
    },
    /// A control message.
    Control(Control),
    /// Terminal bytes.
    Stdin(BytesMut),
}

/// The server half of the browser's WebSocket, after its handshake.
#[derive(Debug)]
pub struct BrowserLeg {
    ws: WebSocket,
    outbox: Outbox,
    text: BytesMut,
    text_too_long: bool,
    dropped: u64,
    /// Bytes queued behind the last output; what waits beyond them is output.
    behind_output: usize,
}

impl BrowserLeg {
    /// A leg whose handshake is done.
    pub fn new() -> Self {
        Self {
            ws: WebSocket::server(BROWSER_MESSAGE_BYTES_MAX),
            outbox: Outbox::new(),
            text: BytesMut::new(),
            text_too_long: false,
            dropped: 0,
            behind_output: 0,
        }
    }

    /// Takes at most one event off the front of `input`; stdin in runs of at most `room` bytes.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        room: usize,
    ) -> Result<Option<BrowserEvent>, ws::Error> {
        let Some(event) = self.ws.receive(input, room, &mut self.outbox)? else {
            return Ok(None);
        };
        Ok(Some(match event {
            ws::Event::Ping | ws::Event::Pong { .. } => BrowserEvent::Alive,
            ws::Event::Close { code, .. } => BrowserEvent::Close { code },
            ws::Event::Data {
                kind: ws::Kind::Binary,
                payload,
                ..
            } => BrowserEvent::Stdin(payload),
            ws::Event::Data {
                kind: ws::Kind::Text,
                payload,
                first,
                last,
            } => self.on_text(&payload, first, last),
        }))
    }

    /// Queues one binary message of output.
    pub fn send_output(&mut self, payload: BytesMut) {
        // Refused only after our own Close, and nothing is sent after `closed`.
        let sent = self
            .ws
            .send(ws::Kind::Binary, &[], payload, &mut self.outbox);
        debug_assert!(sent.is_ok(), "output after Close");
        self.behind_output = 0;
    }

    /// Whether output waits that the socket did not take. Marks of the outbox cannot tell: what
    /// is urgent goes first and moves them.
    pub fn has_unsent_output(&self) -> bool {
        self.outbox.ordinary_len() > self.behind_output
    }

    /// Queues a message behind everything that waits.
    pub fn send_notice(&mut self, notice: &Notice<'_>) {
        let text = BytesMut::from(notice.encode().as_slice());
        let before = self.outbox.ordinary_len();
        let sent = self.ws.send(ws::Kind::Text, &[], text, &mut self.outbox);
        debug_assert!(sent.is_ok(), "notice after Close");
        self.note_behind_output(before);
    }

    /// Queues a message ahead of everything no socket has begun to take.
    pub fn send_notice_first(&mut self, notice: &Notice<'_>) {
        self.send_text_first(&notice.encode());
    }

    /// Queues an encoded message ahead of everything no socket has begun to take.
    pub fn send_text_first(&mut self, text: &[u8]) {
        let sent = self.ws.send_urgent(ws::Kind::Text, text, &mut self.outbox);
        debug_assert!(sent.is_ok(), "notice after Close");
    }

    /// Queues a ping ahead of output. Returns the value [`Outbox::written`] has once it is out.
    pub fn ping(&mut self) -> Option<u64> {
        self.ws.ping(&[], &mut self.outbox).ok()
    }

    /// Queues our Close, behind everything that waits.
    pub fn close(&mut self, code: u16) {
        if !self.ws.is_close_sent() {
            let before = self.outbox.ordinary_len();
            let sent = self.ws.close(code, "", &mut self.outbox);
            debug_assert!(sent.is_ok(), "a close code of our own table");
            self.note_behind_output(before);
        }
    }

    /// Control messages that were dropped: unknown, malformed or too long.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What waits for the socket.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// What waits for the socket, to report what it took or to drop what it did not.
    pub fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn note_behind_output(&mut self, before: usize) {
        let queued = self.outbox.ordinary_len().saturating_sub(before);
        self.behind_output = self.behind_output.saturating_add(queued);
    }

    fn on_text(&mut self, payload: &[u8], first: bool, last: bool) -> BrowserEvent {
        if first {
            self.text.clear();
            self.text_too_long = false;
        }
        if self.text.len().saturating_add(payload.len()) > BROWSER_TEXT_BYTES_MAX {
            self.text_too_long = true;
        } else if !self.text_too_long {
            self.text.extend_from_slice(payload);
        }
        if !last {
            return BrowserEvent::Alive;
        }
        let text = core::mem::take(&mut self.text);
        let control = if self.text_too_long {
            None
        } else {
            Control::decode(&text)
        };
        if let Some(control) = control {
            return BrowserEvent::Control(control);
        }
        self.dropped = self.dropped.saturating_add(1);
        BrowserEvent::Alive
    }
}

impl Default for BrowserLeg {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser would send: one masked message.
    fn message(kind: ws::Kind, payload: &[u8]) -> BytesMut {
        let mut browser = WebSocket::client([7; 32], u64::MAX);
        let mut out = Outbox::new();
        browser
            .send(kind, &[], BytesMut::from(payload), &mut out)
            .unwrap();
        out.chunks().flatten().copied().collect()
    }

    fn events(leg: &mut BrowserLeg, mut input: BytesMut) -> Vec<BrowserEvent> {
        let mut events = Vec::new();
        while let Some(event) = leg.receive(&mut input, 64).unwrap() {
            events.push(event);
        }
        events
    }

    #[test]
    fn a_control_split_into_runs_is_assembled_and_a_long_one_dropped() {
        let mut leg = BrowserLeg::new();
        let padding = " ".repeat(100);
        let ack = message(
            ws::Kind::Text,
            format!(r#"{{"type":"ack",{padding}"bytes":5}}"#).as_bytes(),
        );
        let last = events(&mut leg, ack).pop();
        assert!(
            matches!(last, Some(BrowserEvent::Control(Control::Ack { bytes: 5 }))),
            "{last:?}"
        );
        assert_eq!(leg.dropped(), 0);

        let padding = " ".repeat(BROWSER_TEXT_BYTES_MAX);
        let long = message(
            ws::Kind::Text,
            format!(r#"{{"type":"eof"{padding}}}"#).as_bytes(),
        );
        assert!(
            events(&mut leg, long)
                .iter()
                .all(|event| matches!(event, BrowserEvent::Alive))
        );
        assert_eq!(leg.dropped(), 1);

        let eof = message(ws::Kind::Text, br#"{"type":"eof"}"#);
        let last = events(&mut leg, eof).pop();
        assert!(
            matches!(last, Some(BrowserEvent::Control(Control::Eof))),
            "{last:?}"
        );
    }

    #[test]
    fn stdin_comes_in_runs_no_larger_than_the_room() {
        let mut leg = BrowserLeg::new();
        let sizes: Vec<usize> = events(&mut leg, message(ws::Kind::Binary, &[b'x'; 150]))
            .into_iter()
            .map(|event| match event {
                BrowserEvent::Stdin(bytes) => bytes.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 150);
    }
}
