//! The browser's handshake, for hosts without an HTTP server of their own.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::code::ErrorCode;
use crate::http::{RequestHead, ServerUpgrade};
use crate::limits::{ASK_TIMEOUT, CLOSE_TIMEOUT, HEAD_TIMEOUT};
use crate::outbox::Outbox;
use crate::session::config::Config;
use crate::session::io::{Answer, Ask, Input, Leg, Output};
use crate::session::timers::{Timer, Timers};
use crate::time::Instant;

/// Reads one request head, asks the host, and answers 101 or the refusal.
#[derive(Debug)]
pub(super) struct Entrance {
    upgrade: ServerUpgrade,
    step: Step,
    outbox: Outbox,
    outputs: VecDeque<Output>,
    timers: Timers,
    now: Instant,
}

#[derive(Debug)]
enum Step {
    Reading,
    Asking,
    Admitted(Box<Config>),
    Refusing,
    Over,
}

impl Entrance {
    pub(super) fn new(now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Ask, now.after(HEAD_TIMEOUT));
        Self {
            upgrade: ServerUpgrade::new(),
            step: Step::Reading,
            outbox: Outbox::new(),
            outputs: VecDeque::new(),
            timers,
            now,
        }
    }

    pub(super) fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Bytes {
                leg: Leg::Browser,
                data,
                ..
            } => match self.step {
                Step::Reading => match self.upgrade.receive(data) {
                    Ok(None) => {}
                    Ok(Some(head)) => self.on_head(head),
                    Err(error) => self.refuse(error.status(), ErrorCode::InvalidRequest),
                },
                // Early frames wait for the session.
                Step::Asking | Step::Admitted(_) => {}
                Step::Refusing | Step::Over => data.clear(),
            },
            Input::Answer(Answer::Admitted(config)) if matches!(self.step, Step::Asking) => {
                self.admit(config);
            }
            Input::Answer(Answer::Refused {
                status,
                body,
                retry_after,
            }) if matches!(self.step, Step::Asking) => {
                self.refuse_with(status, &body, retry_after);
            }
            Input::Eof { leg: Leg::Browser }
            | Input::Failed {
                leg: Leg::Browser, ..
            } => {
                self.finish(Output::Abort { leg: Leg::Browser });
            }
            Input::Order(_) => self.finish(Output::Abort { leg: Leg::Browser }),
            Input::Wrote {
                leg: Leg::Browser,
                len,
            } => {
                self.outbox.advance(len);
                if matches!(self.step, Step::Refusing) && self.outbox.is_empty() {
                    self.finish(Output::Shutdown { leg: Leg::Browser });
                }
            }
            Input::Answer(_)
            | Input::Bytes { .. }
            | Input::Eof { .. }
            | Input::Failed { .. }
            | Input::Timeout
            | Input::Wrote { .. } => {}
        }
        if self.timers.pop_due(self.now).is_some() {
            match self.step {
                Step::Asking => self.refuse(500, ErrorCode::Internal),
                // Half a head is no request: there is nothing to answer.
                Step::Reading | Step::Admitted(_) | Step::Refusing | Step::Over => {
                    self.finish(Output::Abort { leg: Leg::Browser });
                }
            }
        }
    }

    pub(super) fn poll_output(&mut self) -> Output {
        self.outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.timers.next()))
    }

    /// The configuration and the 101 that waits, once the host said yes.
    pub(super) fn take_admitted(&mut self) -> Option<(Config, Outbox)> {
        match core::mem::replace(&mut self.step, Step::Over) {
            Step::Admitted(config) => Some((*config, core::mem::take(&mut self.outbox))),
            step => {
                self.step = step;
                None
            }
        }
    }

    pub(super) fn wants_read(&self) -> bool {
        // While the host decides, an end of file must be seen; early bytes stay in the buffer.
        !matches!(self.step, Step::Over)
    }

    pub(super) fn lent(&self, leg: Leg) -> Option<&Outbox> {
        (leg == Leg::Browser && self.outputs.is_empty()).then_some(&self.outbox)
    }

    fn on_head(&mut self, head: RequestHead) {
        self.step = Step::Asking;
        self.timers.set(Timer::Ask, self.now.after(ASK_TIMEOUT));
        self.outputs
            .push_back(Output::Ask(Ask::Admit(Box::new(head))));
    }

    fn admit(&mut self, config: Box<Config>) {
        let mut head = Outbox::new();
        // Without a subprotocol: the browser offers none (the frames are our own).
        match self.upgrade.accept_websocket(None, &mut head) {
            Ok(()) => {
                // A ping or pong of the session must not overtake it.
                let head: Vec<u8> = head.chunks().flatten().copied().collect();
                self.outbox.push_urgent(Bytes::from(head));
                self.step = Step::Admitted(config);
            }
            // The host may admit anything; only a WebSocket can have a shell.
            Err(_) => self.refuse(400, ErrorCode::InvalidRequest),
        }
    }

    fn refuse(&mut self, status: u16, code: ErrorCode) {
        let body = serde_json::json!({ "error": code.as_str(), "message": code.message() });
        self.refuse_with(status, &body.to_string(), None);
    }

    fn refuse_with(&mut self, status: u16, body: &str, retry_after: Option<u64>) {
        self.step = Step::Refusing;
        self.timers.set(Timer::Ask, self.now.after(CLOSE_TIMEOUT));
        let seconds = retry_after.map(|seconds| seconds.to_string());
        let extra = seconds
            .as_ref()
            .map(|seconds| ("Retry-After", seconds.as_str()));
        let refused = self.upgrade.refuse(
            status,
            "application/json",
            body.as_bytes(),
            extra.as_slice(),
            &mut self.outbox,
        );
        if refused.is_err() {
            self.finish(Output::Abort { leg: Leg::Browser });
        }
    }

    fn finish(&mut self, farewell: Output) {
        if !matches!(self.step, Step::Over) {
            self.step = Step::Over;
            self.timers.stop_all();
            self.outbox.clear();
            self.outputs.push_back(farewell);
            self.outputs.push_back(Output::Over);
        }
    }
}
