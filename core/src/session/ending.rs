//! How a session ends: decided once, told once.

use crate::code::{CloseDetail, ErrorCode, Failure};
use crate::leg::console::Notice;
use crate::limits::{CLOSE_TIMEOUT, FLUSH_TIMEOUT};
use crate::refusal::COMMAND_NOT_FOUND;
use crate::session::io::{BreakerVerdict, Event, Leg, Output, Summary};
use crate::session::live::{Live, Phase};
use crate::session::timers::Timer;

/// An end that was decided.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    detail: CloseDetail,
    code: Option<ErrorCode>,
    message: Option<&'static str>,
    retryable: bool,
    close_code: u16,
    exit_code: Option<u8>,
    truncated: Option<bool>,
    /// The process's own end: all of its output is written before `closed`.
    own: bool,
}

impl Ending {
    /// An end with the code, sentence and close code its detail implies.
    pub(super) fn of(detail: CloseDetail) -> Self {
        let code = detail.error();
        Self {
            detail,
            code,
            message: None,
            retryable: code.is_some_and(ErrorCode::is_retryable),
            close_code: detail.close_code(),
            exit_code: None,
            truncated: Some(false),
            own: false,
        }
    }

    /// The process ended by itself.
    pub(super) fn exit(code: u8) -> Self {
        Self {
            exit_code: Some(code),
            own: true,
            ..Self::of(CloseDetail::ProcessExit)
        }
    }

    /// A runtime without a status of its own for it reported a missing executable by exit code.
    pub(super) fn no_shell(exit_code: Option<u8>, own_command: bool) -> Self {
        let message = own_command.then_some(COMMAND_NOT_FOUND);
        Self {
            exit_code,
            own: true,
            message,
            ..Self::of(CloseDetail::NoShell)
        }
    }

    /// What the transport table or a Status says.
    pub(super) fn failure(failure: &Failure) -> Self {
        Self {
            code: Some(failure.code),
            message: Some(failure.message),
            retryable: failure.retryable,
            close_code: failure.close_code(),
            ..Self::of(failure.detail)
        }
    }

    pub(super) fn with_close_code(self, close_code: u16) -> Self {
        Self { close_code, ..self }
    }

    /// Trying again would run a command that may have run already.
    pub(super) fn not_retryable(self) -> Self {
        Self {
            retryable: false,
            ..self
        }
    }

    /// Output is known to be lost.
    pub(super) fn truncated(self) -> Self {
        Self {
            truncated: Some(true),
            ..self
        }
    }

    /// Output may be lost.
    pub(super) fn truncation_unknown(self) -> Self {
        Self {
            truncated: None,
            ..self
        }
    }
}

impl Live {
    /// Decides the end. Only the first decision counts, and a status that arrived came first; a
    /// later one still bounds the time the output gets.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.phase == Phase::Over {
            return;
        }
        let own = ending.own;
        if !self.is_ending() {
            let mut ending = match self.outcome.take() {
                Some(outcome) if !own => self.doubted(outcome),
                _ => ending,
            };
            ending.retryable &= !self.must_not_run_again();
            let drain = self.timers.at(Timer::Drain);
            self.drop_api();
            self.timers.stop_all();
            if let Some(at) = drain {
                self.timers.set(Timer::Drain, at);
            }
            self.stdin.clear();
            self.ending = Some(ending);
            self.phase = Phase::Flushing;
        }
        if self.browser_gone {
            self.over(false);
        } else if !own {
            self.bound_flush();
        }
    }

    /// Whether the session is over soon, whatever the browser does.
    pub(super) fn is_flush_bounded(&self) -> bool {
        self.timers.is_set(Timer::Flush) || self.timers.is_set(Timer::Close)
    }

    /// From now on what is queued gets no more time than on any end that is not the process's own.
    fn bound_flush(&mut self) {
        if !self.is_flush_bounded() {
            self.timers.set(Timer::Flush, self.now.after(FLUSH_TIMEOUT));
        }
    }

    /// Moves an end along once its conditions hold.
    pub(super) fn advance_end(&mut self) {
        let Some(ending) = &self.ending else { return };
        let own = ending.own;
        match self.phase {
            // Our own `closed` may queue behind the output; else it waits until the socket took all.
            Phase::Flushing
                if self.output.is_empty() && (own || self.browser.outbox().is_empty()) =>
            {
                self.say_closed();
                self.advance_end();
            }
            Phase::Closing if self.browser.outbox().is_empty() => {
                if self.browser_closed {
                    self.over(true);
                } else if !self.timers.is_set(Timer::Close) {
                    self.timers.set(Timer::Close, self.now.after(CLOSE_TIMEOUT));
                }
            }
            _ => {}
        }
    }

    /// Two seconds were not enough for the queued output.
    pub(super) fn on_flush_timeout(&mut self) {
        if self.phase == Phase::Flushing {
            let left = self.has_undelivered_output();
            self.browser.outbox_mut().drop_unbegun();
            self.output.clear();
            if let Some(ending) = self.ending.as_mut().filter(|_| left) {
                ending.truncated = Some(true);
            }
            self.say_closed();
        }
        if !self.timers.is_set(Timer::Close) {
            self.timers.set(Timer::Close, self.now.after(CLOSE_TIMEOUT));
        }
    }

    /// The peer's Close did not come.
    pub(super) fn on_close_timeout(&mut self) {
        self.over(false);
    }

    /// Queues `error` and `closed`, and our Close.
    fn say_closed(&mut self) {
        let Some(ending) = self.ending.clone() else {
            return;
        };
        self.phase = Phase::Closing;
        if let Some(code) = ending.code {
            let message = ending.message.unwrap_or_else(|| code.message());
            self.browser
                .send_notice(&Notice::error(code, message, ending.retryable));
        }
        let closed = Notice::closed(ending.detail, ending.exit_code, ending.truncated);
        self.browser.send_notice(&closed);
        self.browser.close(ending.close_code);
        if !ending.own {
            self.timers.stop(Timer::Flush);
            self.timers.set(Timer::Close, self.now.after(CLOSE_TIMEOUT));
        }
    }

    /// Nothing more will happen. `orderly`: both Close frames are through.
    pub(super) fn over(&mut self, orderly: bool) {
        let Some(ending) = self.ending.take() else {
            return;
        };
        self.drop_api();
        self.timers.stop_all();
        self.phase = Phase::Over;
        self.tell_breaker(BreakerVerdict::NoVerdict);
        let transport = self.dial.transport();
        if self.dial.may_have_run && !self.started {
            self.started = true;
            self.emit(Event::Started { transport });
        }
        let truncated = if self.has_undelivered_output() {
            Some(true)
        } else {
            ending.truncated
        };
        self.output.clear();
        self.browser.outbox_mut().clear();
        self.emit(Event::Ended(Summary {
            detail: ending.detail,
            code: ending.code,
            exit_code: ending.exit_code,
            truncated,
            started: self.started,
            transport: Some(transport),
            bytes_stdin: self.bytes_stdin,
            bytes_stdout: self.bytes_stdout,
            dropped_controls: self.browser.dropped(),
        }));
        let leg = Leg::Browser;
        let farewell = if orderly {
            Output::Shutdown { leg }
        } else {
            Output::Abort { leg }
        };
        self.outputs.push_back(farewell);
        self.outputs.push_back(Output::Over);
    }

    /// Whether output was taken from the apiserver that the browser's socket did not take.
    fn has_undelivered_output(&self) -> bool {
        !self.output.is_empty() || self.browser.has_unsent_output()
    }
}
