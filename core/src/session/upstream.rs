//! What the apiserver sends, and what goes up to it.

use bytes::BytesMut;

use crate::channel::status::Outcome;
use crate::code::{CloseDetail, ErrorCode, Failure};
use crate::leg::api::{self, ApiEvent};
use crate::limits::{
    API_OUTBOX_BYTES_MAX, BROWSER_OUTBOX_BYTES_MAX, NO_SHELL_OUTPUT_BYTES_MAX,
    OUTPUT_QUEUE_BYTES_HIGH, POD_ANSWER_TIMEOUT, READ_BYTES_MAX, STATUS_LINGER,
    STDIN_MESSAGE_BYTES_MAX,
};
use crate::refusal::{BreakerEffect, Row, StatusContext, classify_status, is_no_shell_exit};
use crate::session::ending::Ending;
use crate::session::io::{Ask, BreakerVerdict, Event, IoFailure, Output, PodState, Transport};
use crate::session::live::{Live, Phase, StdinEnd};
use crate::session::timers::Timer;

impl Live {
    pub(super) fn on_api_bytes(&mut self, data: &mut BytesMut, fresh: usize) {
        if fresh > 0 {
            self.touch_keepalive();
        }
        loop {
            self.set_room();
            let room = OUTPUT_QUEUE_BYTES_HIGH.saturating_sub(self.output_waiting());
            let Some(api) = self.api.as_mut() else {
                data.clear();
                return;
            };
            if room == 0 {
                return;
            }
            match api.receive(data, room.min(READ_BYTES_MAX)) {
                Ok(None) => return,
                Ok(Some(event)) => self.on_api_event(event),
                Err(_) => {
                    self.on_api_broken();
                    data.clear();
                    return;
                }
            }
        }
    }

    pub(super) fn on_api_eof(&mut self) {
        loop {
            let Some(api) = self.api.as_mut() else { return };
            let upgrading = api.is_upgrading();
            match api.eof(&mut BytesMut::new()) {
                Ok(Some(event)) => self.on_api_event(event),
                // No head, or half of one.
                Ok(None) if upgrading => return self.on_dial_broken(IoFailure::Reset),
                Ok(None) => return,
                Err(_) => return self.on_api_broken(),
            }
            if upgrading {
                return;
            }
        }
    }

    pub(super) fn on_api_failed(&mut self, failure: IoFailure) {
        let Some(api) = self.api.as_ref() else { return };
        if api.is_upgrading() && failure == IoFailure::Tls {
            self.on_dial_broken(failure);
        } else {
            // A refusal or a status may have come just before the reset: Go closes without reading.
            self.on_api_eof();
        }
    }

    pub(super) fn on_api_wrote(&mut self, len: usize) {
        if let Some(api) = self.api.as_mut() {
            api.outbox_mut().advance(len);
            self.on_dial_wrote();
            // The latest of several pings is answered once the answer to the first is out.
            self.on_api_bytes(&mut BytesMut::new(), 0);
        }
    }

    /// Forwards stdin while the session is up and the apiserver's socket takes it.
    pub(super) fn relay_stdin(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        loop {
            let until_end = match self.stdin_end {
                StdinEnd::Asked { after } => after.saturating_sub(self.bytes_stdin),
                StdinEnd::Open | StdinEnd::Sent => u64::MAX,
            };
            if until_end == 0 {
                if !self.end_stdin() {
                    return;
                }
                continue;
            }
            let Some(api) = self.api.as_mut() else { return };
            if api.outbox().len() >= API_OUTBOX_BYTES_MAX {
                return;
            }
            let max = usize::try_from(until_end).unwrap_or(usize::MAX);
            let Some(run) = self.stdin.pop(max.min(STDIN_MESSAGE_BYTES_MAX)) else {
                return;
            };
            self.bytes_stdin = self.bytes_stdin.saturating_add(run.len() as u64);
            self.first_output = Vec::new();
            api.send_stdin(run);
        }
    }

    /// Acts on the browser's `eof`. False when that has to wait.
    fn end_stdin(&mut self) -> bool {
        if self.browser.outbox().len() >= BROWSER_OUTBOX_BYTES_MAX {
            // The error it may cost has no room: whoever does not read gets no pile of them.
            return false;
        }
        if self.api.as_mut().is_none_or(api::ApiLeg::end_stdin) {
            self.stdin_end = StdinEnd::Sent;
            self.stdin.clear();
        } else {
            self.stdin_end = StdinEnd::Open;
            self.tell_error(ErrorCode::Protocol);
        }
        true
    }

    /// Sends the terminal's latest size if the apiserver has not got it. While one waits for the
    /// socket, the next replaces whatever came in between.
    pub(super) fn relay_size(&mut self) {
        if !matches!(self.phase, Phase::Settling | Phase::Open) || !self.size_unsent {
            return;
        }
        if let (Some((cols, rows)), Some(api)) = (self.size, self.api.as_mut())
            && api.outbox().written() >= self.size_mark
        {
            api.resize(cols, rows);
            let outbox = api.outbox();
            self.size_mark = outbox.written().saturating_add(outbox.len() as u64);
            self.size_unsent = false;
        }
    }

    pub(super) fn on_pod(&mut self, state: PodState) {
        if !self.pod_asked {
            return;
        }
        self.pod_asked = false;
        self.timers.stop(Timer::Ask);
        match (state, self.phase) {
            // A status that arrived always wins.
            (PodState::Gone, _) if self.outcome.is_some() => self.finish_outcome(),
            (PodState::Gone, Phase::Open | Phase::Doubt) => {
                self.end(Ending::of(CloseDetail::PodGone).truncated());
            }
            (PodState::Same | PodState::Unknown, Phase::Doubt) => self.end(self.lost_upstream()),
            _ => {}
        }
    }

    /// Asks whether the pod still exists.
    pub(super) fn ask_pod(&mut self) {
        if !self.pod_asked {
            self.pod_asked = true;
            self.timers
                .set(Timer::Ask, self.now.after(POD_ANSWER_TIMEOUT));
            self.outputs.push_back(Output::Ask(Ask::Pod));
        }
    }

    pub(super) fn on_ask_timeout(&mut self) {
        self.on_pod(PodState::Unknown);
    }

    /// The status came, and the rest of the output did not end in time.
    pub(super) fn on_linger_over(&mut self) {
        if self.paused {
            // The output is there; we do not read it. Stall bounds this.
            self.timers
                .set(Timer::Linger, self.now.after(STATUS_LINGER));
        } else {
            self.finish_outcome();
        }
    }

    fn on_api_event(&mut self, event: ApiEvent) {
        match event {
            ApiEvent::Alive => {}
            ApiEvent::Upgraded => self.on_upgraded(),
            ApiEvent::Opened => self.on_opened(),
            ApiEvent::Refused(refused) => self.on_refused(&refused),
            ApiEvent::Output(payload) => self.on_output(payload),
            ApiEvent::Status(outcome) => self.on_status(outcome),
            ApiEvent::Ended => self.on_upstream_ended(),
        }
    }

    fn on_output(&mut self, payload: BytesMut) {
        self.bytes_stdout = self.bytes_stdout.saturating_add(payload.len() as u64);
        self.on_opened();
        self.on_up();
        if self.bytes_stdin == 0 {
            let room = NO_SHELL_OUTPUT_BYTES_MAX.saturating_sub(self.first_output.len());
            self.first_output.extend(payload.iter().take(room));
        }
        self.on_activity();
        if self.outcome.is_some() {
            self.timers
                .set(Timer::Linger, self.now.after(STATUS_LINGER));
        }
        self.output.push(payload);
    }

    fn on_status(&mut self, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        let ending = match outcome {
            Outcome::Success => Ending::exit(0),
            Outcome::Exit(code) => {
                if is_no_shell_exit(code, &self.first_output, self.bytes_stdin > 0) {
                    Ending::no_shell(Some(code), self.config.own_command)
                } else {
                    Ending::exit(code)
                }
            }
            Outcome::Failure(failure) => return self.on_failure_status(&failure),
        };
        self.on_opened();
        self.on_up();
        self.outcome = Some(ending);
        self.timers
            .set(Timer::Linger, self.now.after(STATUS_LINGER));
    }

    /// A Failure that is not an exit code: the runtime, the kubelet or the translator speaks.
    fn on_failure_status(&mut self, failure: &crate::channel::status::Failure) {
        self.on_opened();
        let is_v5 = self.dial.transport() == Transport::WebSocketV5;
        let verdict = classify_status(&StatusContext {
            code: failure.code,
            reason: failure.reason.as_deref(),
            message: &failure.message,
            is_v5,
            up: self.is_up(),
            own_command: self.config.own_command,
        });
        if verdict.row == Row::NotStarted {
            let transport = self.dial.transport();
            self.emit(Event::Attempt {
                transport,
                error: verdict.log,
            });
            if self.retry_over_spdy(&verdict) {
                return;
            }
            self.dial.may_have_run = false;
        } else if verdict.breaker == BreakerEffect::Success {
            self.tell_breaker(BreakerVerdict::Success);
        }
        if verdict.failure.detail == CloseDetail::NoShell {
            self.dial.may_have_run = false;
        }
        let ending = Ending::failure(&verdict.failure);
        self.end(self.doubted(ending));
    }

    fn on_upstream_ended(&mut self) {
        if self.outcome.is_some() {
            self.finish_outcome();
            return;
        }
        match self.phase {
            // Between the 101 and the last reply: SPDY only.
            Phase::Dialing => self.on_dial_broken(IoFailure::Reset),
            Phase::Settling | Phase::Open => {
                self.drop_api();
                self.phase = Phase::Doubt;
                self.timers.stop(Timer::Up);
                self.timers.stop(Timer::Keepalive);
                self.timers.stop(Timer::PodCheck);
                self.ask_pod();
            }
            Phase::Doubt | Phase::Flushing | Phase::Closing | Phase::Over => {}
        }
    }

    /// Output and status are complete: the process's own end.
    fn finish_outcome(&mut self) {
        if let Some(ending) = self.outcome.take() {
            self.end(self.doubted(ending));
        }
    }

    /// On v5 the apiserver drops a slow reader's tail and reports a status all the same.
    pub(super) fn doubted(&self, ending: Ending) -> Ending {
        let is_v5 = self.dial.transport() == Transport::WebSocketV5;
        if is_v5 && self.paused_lately() {
            ending.truncation_unknown()
        } else {
            ending
        }
    }

    fn on_api_broken(&mut self) {
        if self.outcome.is_some() {
            // What breaks behind the status breaks nothing any more.
            self.finish_outcome();
        } else if self.phase == Phase::Dialing {
            // No answer to the upgrade, or, on SPDY, nothing that could be its last reply.
            self.on_dial_garbage();
        } else {
            let detail = CloseDetail::ProtocolError;
            self.end(Ending::failure(&Failure::plain(
                ErrorCode::Internal,
                detail,
            )));
        }
    }

    /// The apiserver left without a status, and the pod is not known to be gone.
    fn lost_upstream(&self) -> Ending {
        let detail = if self.is_up() {
            CloseDetail::TransportError
        } else {
            CloseDetail::Unreachable
        };
        let ending = Ending::of(detail).truncated();
        if self.config.own_command {
            ending.not_retryable()
        } else {
            ending
        }
    }

    fn set_room(&mut self) {
        // Output may be queued faster than it is relayed: hand on what fits before asking for more.
        self.relay_output();
    }
}
