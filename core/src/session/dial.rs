//! Getting a stream: v5, then SPDY on a fresh connection, then v4 as the last resort.

use core::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::channel::Subprotocol;
use crate::code::CloseDetail;
use crate::http::{SecretValue, UpgradeRequest};
use crate::leg::api::{ApiLeg, Refused};
use crate::limits::{DIAL_TIMEOUT, DIALS_TIMEOUT, UP_AFTER_OTHER, UP_AFTER_V5};
use crate::refusal::{self, BreakerEffect, Next, UpgradeError, Verdict, classify_refusal};
use crate::request::{ExecTarget, exec_target};
use crate::session::ending::Ending;
use crate::session::io::{
    Ask, BreakerVerdict, Dial, DialFailure, Dialed, Event, IoFailure, Leg, Output, Transport,
};
use crate::session::live::{Live, Phase};
use crate::session::timers::Timer;
use crate::time::Instant;

/// What is known about the attempts of one session.
#[derive(Debug)]
pub(super) struct DialState {
    transport: Transport,
    /// When all dials together have had their time.
    until: Instant,
    /// The host is connecting.
    host_pending: bool,
    /// The connection took bytes: TLS is through.
    connected: bool,
    /// The 101 of this attempt was right.
    upgraded: bool,
    fresh_credentials: bool,
    /// v5 was refused by an answer, so v4 may be tried if SPDY is refused too.
    v5_refused: bool,
    /// v5 failed in a way that counts if SPDY now works.
    counts: bool,
    /// v5 was tried and the breaker was not told yet.
    breaker_untold: bool,
    /// The command may have begun on some attempt.
    pub(super) may_have_run: bool,
}

impl DialState {
    pub(super) fn new(first: Transport, now: Instant) -> Self {
        Self {
            transport: first,
            until: now.after(DIALS_TIMEOUT),
            host_pending: false,
            connected: false,
            upgraded: false,
            fresh_credentials: false,
            v5_refused: false,
            counts: false,
            breaker_untold: first == Transport::WebSocketV5,
            may_have_run: false,
        }
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }
}

impl Live {
    pub(super) fn begin_dials(&mut self) {
        self.dial_with(self.config.first);
    }

    /// The host connected: send the upgrade request.
    pub(super) fn on_dialed(&mut self, dialed: &Dialed) {
        if self.phase != Phase::Dialing || !self.dial.host_pending {
            // Too late: the connection belongs to nobody.
            self.outputs.push_back(Output::Abort { leg: Leg::Api });
            return;
        }
        self.dial.host_pending = false;
        let target = exec_target(&ExecTarget {
            path_prefix: &dialed.path_prefix,
            namespace: &self.config.namespace,
            pod: &self.config.pod,
            container: self.config.container.as_deref(),
            command: &self.config.command,
            tty: self.config.tty,
        });
        if let Ok(api) = self.upgrade(&dialed.host, &target, &dialed.headers) {
            self.api = Some(api);
        } else {
            self.outputs.push_back(Output::Abort { leg: Leg::Api });
            self.end(Ending::of(CloseDetail::Internal));
        }
    }

    fn upgrade(
        &mut self,
        host: &str,
        target: &str,
        headers: &[(String, SecretValue)],
    ) -> Result<ApiLeg, crate::http::Misuse> {
        let transport = self.dial.transport;
        let subprotocols = [transport.subprotocol()];
        let request = UpgradeRequest {
            host,
            target,
            headers,
            subprotocols: &subprotocols,
        };
        let tty = self.config.tty;
        let subprotocol = match transport {
            Transport::Spdy => return ApiLeg::spdy(&request, tty),
            Transport::WebSocketV4 => Subprotocol::V4,
            Transport::WebSocketV5 => Subprotocol::V5,
        };
        let mut key = [0; 16];
        let mut mask_seed = [0; 32];
        self.rng.fill_bytes(&mut key);
        self.rng.fill_bytes(&mut mask_seed);
        ApiLeg::websocket(&request, subprotocol, tty, key, mask_seed)
    }

    pub(super) fn on_dial_failed(&mut self, failure: DialFailure) {
        if self.phase != Phase::Dialing || !self.dial.host_pending {
            return;
        }
        self.dial.host_pending = false;
        match failure {
            DialFailure::Credentials => {
                let error = UpgradeError::Tcp;
                self.emit(Event::Attempt {
                    transport: self.dial.transport,
                    error,
                });
                self.end(Ending::of(CloseDetail::Internal));
            }
            DialFailure::Dns => self.on_refusal(&refusal::Answer::Dns),
            DialFailure::Tcp => self.on_refusal(&refusal::Answer::Tcp),
            DialFailure::Tls => self.on_refusal(&refusal::Answer::Tls),
        }
    }

    pub(super) fn on_refused(&mut self, refused: &Refused) {
        self.on_refusal(&answer_of(refused));
    }

    /// The 101 was right.
    pub(super) fn on_upgraded(&mut self) {
        self.dial.upgraded = true;
        self.dial.may_have_run = true;
        if self.dial.counts {
            // SPDY can do what WebSocket could not: this was the transport's fault.
            self.dial.counts = false;
            if self.dial.transport == Transport::Spdy {
                self.tell_breaker(BreakerVerdict::Failure);
            }
        }
        if self.dial.transport != Transport::Spdy {
            self.on_opened();
        }
    }

    /// The streams are there: the dial is over.
    pub(super) fn on_opened(&mut self) {
        if self.phase != Phase::Dialing {
            return;
        }
        let transport = self.dial.transport;
        self.emit(Event::Attempt {
            transport,
            error: UpgradeError::None,
        });
        self.timers.stop(Timer::Dial);
        self.timers.stop(Timer::Dials);
        let quiet = if transport == Transport::WebSocketV5 {
            UP_AFTER_V5
        } else {
            UP_AFTER_OTHER
        };
        self.timers.set(Timer::Up, self.now.after(quiet));
        self.phase = Phase::Settling;
        self.touch_keepalive();
    }

    /// The connection broke or ended while dialing.
    pub(super) fn on_dial_broken(&mut self, failure: IoFailure) {
        let answer = match failure {
            IoFailure::Tls => refusal::Answer::Tls,
            IoFailure::Reset if !self.dial.connected => refusal::Answer::Tcp,
            IoFailure::Reset => refusal::Answer::Eof,
        };
        self.on_refusal(&answer);
    }

    pub(super) fn on_dial_garbage(&mut self) {
        self.on_refusal(&refusal::Answer::Garbage);
    }

    pub(super) fn on_dial_timeout(&mut self, timer: Timer) {
        if self.phase != Phase::Dialing {
            return;
        }
        // A head that came is the answer, though its body never ended.
        let cut = self.api.as_mut().and_then(ApiLeg::cut_refusal);
        let answer = if let Some(refused) = &cut {
            answer_of(refused)
        } else if self.dial.connected {
            refusal::Answer::Timeout
        } else if self.dial.host_pending {
            refusal::Answer::Tcp
        } else {
            refusal::Answer::Tls
        };
        if timer == Timer::Dials {
            // No time is left for another attempt, whatever this one means.
            let verdict = self.verdict_of(&answer);
            self.emit(Event::Attempt {
                transport: self.dial.transport,
                error: verdict.log,
            });
            self.end(Ending::failure(&verdict.failure));
        } else {
            self.on_refusal(&answer);
        }
    }

    pub(super) fn on_dial_wrote(&mut self) {
        self.dial.connected = true;
    }

    /// Row 7: the translator took the handshake but never reached the container.
    /// Returns whether another attempt was begun.
    pub(super) fn retry_over_spdy(&mut self, verdict: &Verdict) -> bool {
        if verdict.next != Next::Spdy || self.dial.transport != Transport::WebSocketV5 {
            return false;
        }
        self.dial.counts = verdict.breaker == BreakerEffect::Counts;
        self.dial.may_have_run = false;
        self.redial(Transport::Spdy);
        true
    }

    pub(super) fn tell_breaker(&mut self, verdict: BreakerVerdict) {
        if self.dial.breaker_untold {
            self.dial.breaker_untold = false;
            self.emit(Event::Breaker(verdict));
        }
    }

    pub(super) fn cancel_dial(&mut self) {
        if self.dial.host_pending {
            self.dial.host_pending = false;
            self.outputs.push_back(Output::CancelDial);
        }
    }

    /// One attempt failed before its streams were there: try the next transport, or end.
    fn on_refusal(&mut self, answer: &refusal::Answer<'_>) {
        let verdict = self.verdict_of(answer);
        let transport = self.dial.transport;
        self.emit(Event::Attempt {
            transport,
            error: verdict.log,
        });
        if verdict.retry_with_fresh_credentials && !self.dial.fresh_credentials {
            self.dial.fresh_credentials = true;
            self.redial(transport);
            return;
        }
        match transport {
            Transport::WebSocketV5 if verdict.next == Next::Spdy => {
                self.dial.counts = verdict.breaker == BreakerEffect::Counts;
                self.dial.v5_refused = verdict.answered;
                if !self.dial.counts {
                    // A probe of the breaker must not wait for the end of this session.
                    self.tell_breaker(BreakerVerdict::NoVerdict);
                }
                self.redial(Transport::Spdy);
            }
            Transport::Spdy if self.may_try_v4(&verdict) => {
                self.tell_breaker(BreakerVerdict::NoVerdict);
                self.redial(Transport::WebSocketV4);
            }
            Transport::Spdy | Transport::WebSocketV4 | Transport::WebSocketV5 => {
                self.end(Ending::failure(&verdict.failure));
            }
        }
    }

    /// Both better transports were refused by an answer, and nothing can have run.
    fn may_try_v4(&self, verdict: &Verdict) -> bool {
        let may_run_twice = self.config.own_command && verdict.may_have_run;
        // After SPDY's 101 its transport was not refused, whatever came then.
        let refused = verdict.answered && !self.dial.upgraded;
        self.dial.v5_refused && refused && !may_run_twice
    }

    fn verdict_of(&self, answer: &refusal::Answer<'_>) -> Verdict {
        let mut verdict = classify_refusal(answer);
        // On SPDY the 101 comes before the streams: a dial can still fail after it.
        verdict.may_have_run |= self.dial.upgraded;
        if self.config.own_command {
            verdict.for_own_command()
        } else {
            verdict
        }
    }

    /// Whether running the command again would run something a second time that a caller chose.
    pub(super) fn must_not_run_again(&self) -> bool {
        self.config.own_command && self.dial.upgraded
    }

    /// The old connection is dropped before the next one is asked for.
    fn redial(&mut self, transport: Transport) {
        self.drop_api();
        self.phase = Phase::Dialing;
        self.timers.stop(Timer::Up);
        self.timers.stop(Timer::Keepalive);
        self.timers.stop(Timer::PodCheck);
        self.size_unsent = self.size.is_some();
        self.size_mark = 0;
        self.dial_with(transport);
    }

    fn dial_with(&mut self, transport: Transport) {
        self.dial.transport = transport;
        self.dial.host_pending = true;
        self.dial.connected = false;
        self.dial.upgraded = false;
        self.timers.set(Timer::Dial, self.now.after(DIAL_TIMEOUT));
        self.timers.set(Timer::Dials, self.dial.until);
        let fresh_credentials = self.dial.fresh_credentials;
        self.outputs.push_back(Output::Ask(Ask::Dial(Dial {
            transport,
            fresh_credentials,
        })));
    }

    /// Drops the upstream connection, or the attempt to make one.
    pub(super) fn drop_api(&mut self) {
        self.cancel_dial();
        if self.api.take().is_some() {
            self.outputs.push_back(Output::Abort { leg: Leg::Api });
        }
    }
}

fn answer_of(refused: &Refused) -> refusal::Answer<'_> {
    match refused {
        Refused::Answer(answer) => refusal::Answer::Refused {
            status: answer.status,
            body: &answer.body,
        },
        Refused::WrongAccept => refusal::Answer::WrongAccept,
        Refused::WrongSubprotocol => refusal::Answer::WrongSubprotocol,
    }
}

const _: () = assert!(DIAL_TIMEOUT.as_secs() < DIALS_TIMEOUT.as_secs());
const _: () = assert!(UP_AFTER_V5.as_millis() < Duration::from_secs(1).as_millis());
