//! The browser of a simulated session: types, reads, acknowledges, misbehaves, and takes notes.

use core::task::{Context, Poll, Waker};
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::limits::{BROWSER_MESSAGE_BYTES_MAX, BROWSER_TEXT_BYTES_MAX};
use crate::outbox::Outbox;
use crate::sim::net::End;
use crate::sim::plan::{Act, Person};
use crate::sim::{matches_pattern, pattern_run};
use crate::time::Instant;
use crate::transport::Transport;
use crate::ws::{Event, Kind, WebSocket};

/// Reads in one step, so that a wire cut into single bytes does not need a step for each.
pub const READS: usize = 64;

/// What a browser saw, in order.
#[derive(Debug, Default)]
pub struct Notes {
    /// The `hello` message.
    pub hello: Option<Value>,
    /// Codes of `error` messages.
    pub errors: Vec<String>,
    /// The `closed` message.
    pub closed: Option<Value>,
    /// The code of the Close frame.
    pub close_code: Option<u16>,
    /// Output bytes.
    pub output: u64,
    /// `idle_warn`, `idle_clear` and `drain` messages.
    pub warnings: Vec<(Instant, String)>,
    /// The socket ended.
    pub ended: bool,
    /// What must never happen, in words.
    pub violations: Vec<String>,
}

/// The client half of the browser's leg.
#[derive(Debug)]
pub struct Browser {
    end: Option<End>,
    ws: WebSocket,
    person: Person,
    flow_ack: bool,
    input: BytesMut,
    outbox: Outbox,
    text: Vec<u8>,
    typed: u64,
    acked: u64,
    stdin_acked: u64,
    next_key_at: Instant,
    broken: bool,
    eof_sent: bool,
    /// What was seen.
    pub notes: Notes,
}

impl Browser {
    /// A browser whose handshake is done.
    pub fn new(end: End, person: Person, flow_ack: bool, mask_seed: [u8; 32]) -> Self {
        Self {
            end: Some(end),
            ws: WebSocket::client(mask_seed, u64::MAX),
            person,
            flow_ack,
            input: BytesMut::new(),
            outbox: Outbox::new(),
            text: Vec::new(),
            typed: 0,
            stdin_acked: 0,
            acked: 0,
            next_key_at: Instant::ZERO,
            broken: false,
            eof_sent: false,
            notes: Notes::default(),
        }
    }

    /// stdin bytes that were put into messages.
    pub fn typed(&self) -> u64 {
        self.typed
    }

    /// Does what is due at `now`. True if anything moved.
    pub fn step(&mut self, now: Instant) -> bool {
        let acted = self.act(now);
        let wrote = self.write();
        let mut read = false;
        for _ in 0..READS {
            if !self.read(now) {
                break;
            }
            read = true;
        }
        acted || wrote || read
    }

    /// When the browser next does something by itself.
    pub fn next_event(&self, now: Instant) -> Option<Instant> {
        let end = self.end.as_ref()?;
        if self.is_mute(now) {
            return end.next_event(now);
        }
        let act = self.person.acts.first().map(|(at, _)| *at);
        let key = (self.typed < self.person.stdin && self.can_send()).then_some(self.next_key_at);
        [act, key, end.next_event(now)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    fn can_send(&self) -> bool {
        !self.broken && !self.ws.is_close_sent()
    }

    fn is_mute(&self, now: Instant) -> bool {
        self.person.mute_from.is_some_and(|from| now >= from)
    }

    fn act(&mut self, now: Instant) -> bool {
        if self.end.is_none() {
            return false;
        }
        if self.is_mute(now) {
            return false;
        }
        if self.person.acts.first().is_some_and(|(at, _)| *at <= now) {
            let (_, act) = self.person.acts.remove(0);
            self.perform(act);
            return true;
        }
        let may_type = self.typed < self.person.stdin && !self.eof_sent && self.can_send();
        // A browser's own buffer is not endless either.
        if may_type && now >= self.next_key_at && self.outbox.len() < 64 * 1024 {
            let left = usize::try_from(self.person.stdin - self.typed).unwrap_or(usize::MAX);
            let run = pattern_run(self.typed, left.min(self.person.piece));
            self.typed += run.len() as u64;
            self.next_key_at = now.after(self.person.pause);
            self.send(Kind::Binary, run);
            return true;
        }
        false
    }

    fn perform(&mut self, act: Act) {
        if act == Act::Vanish {
            self.end = None;
            return;
        }
        if !self.can_send() {
            return;
        }
        match act {
            Act::Resize => self.send_text(r#"{"type":"resize","cols":100,"rows":30}"#),
            Act::Eof => {
                self.eof_sent = true;
                self.send_text(r#"{"type":"eof"}"#);
            }
            Act::Close => self.send_text(r#"{"type":"close"}"#),
            Act::Hide => self.send_text(r#"{"type":"close","reason":"hidden"}"#),
            Act::CloseFrame => self.close(1000),
            Act::GoAway => self.close(1001),
            Act::UnknownControl => self.send_text(r#"{"type":"later"}"#),
            Act::LongControl => self.send_text(&" ".repeat(BROWSER_TEXT_BYTES_MAX + 1)),
            Act::BadAck => self.send_text(r#"{"type":"ack","bytes":18446744073709551615}"#),
            Act::Unmasked => self.send_raw(&[0x82, 0x01, b'x']),
            // Masked with zeros: a lone continuation byte is no UTF-8.
            Act::BadText => self.send_raw(&[0x81, 0x81, 0, 0, 0, 0, 0x80]),
            Act::TooLong => {
                let len = BROWSER_MESSAGE_BYTES_MAX + 1;
                let mut head = vec![0x82, 0xff];
                head.extend_from_slice(&len.to_be_bytes());
                head.extend_from_slice(&[0; 4]);
                self.send_raw(&head);
            }
            Act::Vanish => {}
        }
    }

    fn send_text(&mut self, text: &str) {
        self.send(Kind::Text, BytesMut::from(text));
    }

    fn send(&mut self, kind: Kind, payload: BytesMut) {
        if self.ws.send(kind, &[], payload, &mut self.outbox).is_err() {
            self.notes
                .violations
                .push("the browser's own machine refused to send".to_owned());
        }
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        self.broken = true;
        self.outbox.push(Bytes::copy_from_slice(bytes));
    }

    fn close(&mut self, code: u16) {
        if !self.ws.is_close_sent() {
            let sent = self.ws.close(code, "", &mut self.outbox);
            debug_assert!(sent.is_ok(), "code {code}");
        }
    }

    fn write(&mut self) -> bool {
        let mut moved = false;
        while let (Some(end), false) = (self.end.as_mut(), self.outbox.is_empty()) {
            let slices: Vec<IoSlice<'_>> = self.outbox.chunks().map(IoSlice::new).collect();
            let mut cx = Context::from_waker(Waker::noop());
            let polled = end.poll_write(&mut cx, &slices);
            match polled {
                Poll::Ready(Ok(len)) => {
                    self.outbox.advance(len);
                    moved = true;
                }
                Poll::Ready(Err(_)) => {
                    self.outbox.clear();
                    return true;
                }
                Poll::Pending => break,
            }
        }
        moved
    }

    fn read(&mut self, now: Instant) -> bool {
        if self.person.deaf_from.is_some_and(|from| now >= from) {
            return false;
        }
        let Some(end) = self.end.as_mut() else {
            return false;
        };
        let mut cx = Context::from_waker(Waker::noop());
        match end.poll_read(&mut cx, &mut self.input, 16 * 1024) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0) | Err(_)) => {
                self.notes.ended = true;
                self.end = None;
                return true;
            }
            Poll::Ready(Ok(_)) => {}
        }
        let mut replies = Outbox::new();
        loop {
            match self.ws.receive(&mut self.input, 4096, &mut replies) {
                Ok(None) => break,
                Ok(Some(event)) => self.note(event, now),
                Err(error) => {
                    self.notes
                        .violations
                        .push(format!("the gateway broke RFC 6455: {error}"));
                    self.end = None;
                    return true;
                }
            }
        }
        if !self.is_mute(now) && !self.broken {
            for chunk in replies.chunks() {
                self.outbox.push(Bytes::copy_from_slice(chunk));
            }
            if self.flow_ack && self.acked < self.notes.output && self.can_send() {
                self.acked = self.notes.output;
                self.send_text(&format!(r#"{{"type":"ack","bytes":{}}}"#, self.acked));
            }
        }
        true
    }

    fn note(&mut self, event: Event, now: Instant) {
        if self.notes.close_code.is_some() {
            self.notes.violations.push("a frame after Close".to_owned());
        }
        match event {
            Event::Ping | Event::Pong { .. } => {}
            Event::Close { code, .. } => {
                self.notes.close_code = Some(code);
                if self.notes.closed.is_none() {
                    self.notes
                        .violations
                        .push("Close without `closed`".to_owned());
                }
                if !self.is_mute(now) && !self.broken {
                    self.close(if code == 1005 { 1000 } else { code });
                }
            }
            Event::Data {
                kind: Kind::Binary,
                payload,
                ..
            } => {
                if self.notes.hello.is_none() || self.notes.closed.is_some() {
                    self.notes
                        .violations
                        .push("output outside hello … closed".to_owned());
                }
                if !matches_pattern(self.notes.output, &payload) {
                    let at = self.notes.output;
                    self.notes
                        .violations
                        .push(format!("output differs near byte {at}"));
                }
                self.notes.output += payload.len() as u64;
            }
            Event::Data {
                kind: Kind::Text,
                payload,
                last,
                ..
            } => {
                self.text.extend_from_slice(&payload);
                if last {
                    let text = core::mem::take(&mut self.text);
                    self.note_text(&text, now);
                }
            }
        }
    }

    fn note_text(&mut self, text: &[u8], now: Instant) {
        let notes = &mut self.notes;
        let Ok(message) = serde_json::from_slice::<Value>(text) else {
            notes.violations.push("text that is no JSON".to_owned());
            return;
        };
        if notes.closed.is_some() {
            notes.violations.push("a message after `closed`".to_owned());
        }
        let field = |name: &str| {
            message
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match field("type").as_str() {
            "hello" if notes.hello.is_none() => notes.hello = Some(message),
            "error" => notes.errors.push(field("code")),
            "closed" => notes.closed = Some(message),
            "idle_warn" | "idle_clear" | "drain" => {
                notes.warnings.push((now, field("type")));
            }
            "ack" => {
                let bytes = message.get("bytes").and_then(Value::as_u64);
                // An `eof` on a terminal is one more byte.
                let may_be = self.stdin_acked + 1..=self.typed + u64::from(self.eof_sent);
                match bytes.filter(|bytes| self.flow_ack && may_be.contains(bytes)) {
                    Some(bytes) => self.stdin_acked = bytes,
                    None => notes
                        .violations
                        .push(format!("stdin {bytes:?} not in {may_be:?}")),
                }
            }
            other => notes
                .violations
                .push(format!("unexpected message {other:?}")),
        }
    }
}
