//! Silence, pings and stalls: the timers that watch both legs.

use crate::code::CloseDetail;
use crate::leg::console::Notice;
use crate::limits::{HEARTBEAT_VERDICT, POD_CHECK_SILENCE, STALL_TIMEOUT, TRUNCATION_DOUBT};
use crate::session::ending::Ending;
use crate::session::io::Leg;
use crate::session::live::{Live, Phase};
use crate::session::timers::{Timer, Timers};
use crate::time::Instant;

/// The browser's heartbeat: at most one ping without a verdict.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    /// What the outbox's `written` is once the ping is out.
    mark: Option<u64>,
}

impl Heartbeat {
    /// A byte came in. It refutes nothing while the ping still waits for the socket.
    pub(super) fn on_received(&mut self, written: u64, timers: &mut Timers) {
        if self.mark.is_some_and(|mark| written >= mark) {
            self.on_moved(timers);
        }
    }

    /// The socket took bytes, `written` in all.
    pub(super) fn on_written(&mut self, written: u64, now: Instant, timers: &mut Timers) {
        match self.mark {
            // More than the ping: something drains this socket.
            Some(mark) if written > mark => self.on_moved(timers),
            Some(mark) if written == mark => timers.set(Timer::Lost, now.after(HEARTBEAT_VERDICT)),
            Some(_) | None => {}
        }
    }

    /// The browser lives.
    fn on_moved(&mut self, timers: &mut Timers) {
        self.mark = None;
        timers.stop(Timer::Lost);
    }
}

/// The apiserver's keepalive: never a verdict, only a reason to look at the pod.
#[derive(Debug, Default)]
pub(super) struct Keepalive {
    heard_at: Option<Instant>,
    pinged: bool,
}

impl Live {
    /// Terminal bytes came from either side.
    pub(super) fn on_activity(&mut self) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        self.active_at = Some(self.now);
        let timing = self.config.timing;
        self.timers.set(Timer::Idle, self.now.after(timing.idle));
        let warn_after = timing.idle.saturating_sub(timing.idle_warn);
        self.timers.set(Timer::IdleWarn, self.now.after(warn_after));
        if self.idle_warned {
            self.idle_warned = false;
            self.browser.send_notice_first(&Notice::IdleClear);
        }
    }

    pub(super) fn on_idle_warn(&mut self) {
        let Some(idle_at) = self.timers.at(Timer::Idle) else {
            return;
        };
        if self.phase == Phase::Open && idle_at > self.now {
            self.idle_warned = true;
            let seconds_remaining = seconds_up(self.now, idle_at);
            self.browser
                .send_notice_first(&Notice::IdleWarn { seconds_remaining });
        }
    }

    pub(super) fn on_idle(&mut self) {
        if self.phase == Phase::Open {
            self.end(Ending::of(CloseDetail::Idle));
        }
    }

    pub(super) fn on_heartbeat(&mut self) {
        if self.is_ending() {
            return;
        }
        self.timers.set(
            Timer::Heartbeat,
            self.now.after(self.config.timing.heartbeat),
        );
        if self.heartbeat.mark.is_none() {
            self.heartbeat.mark = self.browser.ping();
        }
    }

    /// Ten seconds after the ping was written nothing had moved.
    pub(super) fn on_lost(&mut self) {
        if self.is_ending() || self.heartbeat.mark.is_none() {
            return;
        }
        let refused = !self.browser.outbox().is_empty();
        if refused || self.read_room(Leg::Browser) == 0 {
            // Stall decides, or we could not have seen an answer: look again later.
            self.timers
                .set(Timer::Lost, self.now.after(HEARTBEAT_VERDICT));
        } else {
            self.end(Ending::of(CloseDetail::HeartbeatLost));
        }
    }

    /// Keeps the stall timer running exactly while bytes wait that the browser does not take.
    pub(super) fn watch_stall(&mut self) {
        let closed_window = self.ending.is_some() && !self.output.is_empty();
        let waits = !self.browser.outbox().is_empty() || closed_window;
        if !waits || self.phase == Phase::Over {
            self.timers.stop(Timer::Stall);
        } else if !self.timers.is_set(Timer::Stall) {
            self.timers.set(Timer::Stall, self.now.after(STALL_TIMEOUT));
        }
    }

    pub(super) fn on_stall(&mut self) {
        if self.is_ending() {
            // The browser took nothing of the process's last words for too long.
            self.over(false);
        } else {
            self.end(Ending::of(CloseDetail::Stalled));
        }
    }

    /// Bytes came from the apiserver, or we begin to listen again.
    pub(super) fn touch_keepalive(&mut self) {
        self.keepalive.heard_at = Some(self.now);
        self.keepalive.pinged = false;
        if matches!(self.phase, Phase::Settling | Phase::Open) {
            self.timers.set(
                Timer::Keepalive,
                self.now.after(self.config.timing.heartbeat),
            );
            self.timers
                .set(Timer::PodCheck, self.now.after(POD_CHECK_SILENCE));
        }
    }

    pub(super) fn on_keepalive(&mut self) {
        if !matches!(self.phase, Phase::Settling | Phase::Open) {
            return;
        }
        self.timers.set(
            Timer::Keepalive,
            self.now.after(self.config.timing.heartbeat),
        );
        if self.paused {
            // A ping that reaches a closed socket would make its kernel throw the tail away.
            return;
        }
        let silent = self.keepalive.heard_at.map(|at| self.now.since(at));
        if !self.keepalive.pinged && silent.is_some_and(|silent| silent >= POD_CHECK_SILENCE) {
            // So long an interval that the check came before the ping: this one gets its chance.
            self.timers
                .set(Timer::PodCheck, self.now.after(HEARTBEAT_VERDICT));
        }
        self.keepalive.pinged = true;
        if let Some(api) = self.api.as_mut() {
            api.ping();
        }
    }

    /// The apiserver was silent for a minute: if a ping is unanswered too, the pod may be gone.
    pub(super) fn on_pod_check(&mut self) {
        if !matches!(self.phase, Phase::Settling | Phase::Open) {
            return;
        }
        self.timers
            .set(Timer::PodCheck, self.now.after(POD_CHECK_SILENCE));
        if self.keepalive.pinged && !self.paused {
            self.ask_pod();
        }
    }

    /// Whether reading from the apiserver was paused so lately that it may have lost the tail.
    pub(super) fn paused_lately(&self) -> bool {
        let lately = |at: Instant| self.now.since(at) <= TRUNCATION_DOUBT;
        self.paused || self.paused_at.is_some_and(lately)
    }

    pub(super) fn on_drain(&mut self, seconds: u64) {
        if self.is_flush_bounded() {
            return;
        }
        if self.phase == Phase::Closing || !self.is_up() || seconds == 0 {
            self.end(Ending::of(CloseDetail::Drain));
            return;
        }
        let wait = core::time::Duration::from_secs(seconds);
        self.timers.set(Timer::Drain, self.now.after(wait));
        self.browser.send_notice_first(&Notice::Drain {
            seconds_remaining: seconds,
        });
    }

    pub(super) fn on_drain_over(&mut self) {
        self.end(Ending::of(CloseDetail::Drain));
    }
}

/// Whole seconds from `now` to `then`, rounded up.
fn seconds_up(now: Instant, then: Instant) -> u64 {
    let left = then.since(now);
    left.as_secs()
        .saturating_add(u64::from(left.subsec_nanos() > 0))
}
