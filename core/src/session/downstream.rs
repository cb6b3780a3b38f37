//! What the browser sends, and what goes down to it.

use bytes::BytesMut;

use crate::code::{CloseDetail, ErrorCode};
use crate::leg::browser::BrowserEvent;
use crate::leg::console::{Control, Hello, HelloIdentity, Notice};
use crate::limits::{
    ACK_WINDOW_BYTES, BROWSER_OUTBOX_BYTES_MAX, READ_BYTES_MAX, STDIN_ACK_STEP_BYTES,
};
use crate::session::ending::Ending;
use crate::session::io::{BreakerVerdict, Event, Transport};
use crate::session::live::{Live, Phase, StdinEnd};
use crate::session::timers::Timer;
use crate::ws;

/// RFC 6455 §7.4.1: what a browser sends when its page goes away.
const GOING_AWAY: u16 = 1001;

/// End of transmission: what a terminal sends for Ctrl-D.
const END_OF_TRANSMISSION: u8 = 0x04;

impl Live {
    pub(super) fn on_browser_bytes(&mut self, data: &mut BytesMut, fresh: usize) {
        if fresh > 0 {
            let written = self.browser.outbox().written();
            self.heartbeat.on_received(written, &mut self.timers);
        }
        while !self.browser_deaf && self.phase != Phase::Over {
            let room = if self.is_ending() {
                READ_BYTES_MAX
            } else {
                self.stdin_room()
            };
            if room == 0 {
                return;
            }
            match self.browser.receive(data, room) {
                Ok(None) => return,
                Ok(Some(event)) => self.on_browser_event(event),
                Err(error) => self.on_browser_broken(error),
            }
        }
        data.clear();
    }

    pub(super) fn on_browser_wrote(&mut self, len: usize) {
        self.browser.outbox_mut().advance(len);
        self.timers.stop(Timer::Stall);
        let written = self.browser.outbox().written();
        self.heartbeat
            .on_written(written, self.now, &mut self.timers);
        // The latest of several pings is answered once the answer to the first is out.
        self.on_browser_bytes(&mut BytesMut::new(), 0);
    }

    /// The browser's socket ended or broke.
    pub(super) fn on_browser_gone(&mut self) {
        self.browser_gone = true;
        if self.is_ending() {
            self.over(false);
        } else {
            self.end(Ending::of(CloseDetail::TabGone));
        }
    }

    /// The session is up: say so, and let stdin through. Once.
    pub(super) fn on_up(&mut self) {
        if self.phase != Phase::Settling {
            return;
        }
        self.timers.stop(Timer::Up);
        self.phase = Phase::Open;
        let transport = self.dial.transport();
        if transport == Transport::WebSocketV5 {
            self.tell_breaker(BreakerVerdict::Success);
        }
        self.started = true;
        self.emit(Event::Started { transport });
        // Nothing waits yet that it could overtake, and no warning may overtake it.
        let hello = self.hello(transport).encode();
        self.browser.send_text_first(&hello);
        self.on_activity();
    }

    /// Frames waiting output for the browser, as far as its socket and its window allow.
    pub(super) fn relay_output(&mut self) {
        if !matches!(self.phase, Phase::Open | Phase::Doubt | Phase::Flushing) {
            return;
        }
        loop {
            let room = BROWSER_OUTBOX_BYTES_MAX.saturating_sub(self.browser.outbox().len());
            let room = room.min(self.window());
            if room == 0 {
                return;
            }
            let Some(run) = self.output.pop(room) else {
                return;
            };
            self.output_sent = self.output_sent.saturating_add(run.len() as u64);
            self.browser.send_output(run);
        }
    }

    /// Tells the browser how much of its stdin went on, if it wants to know. A browser that sends
    /// no more than our queue holds beyond that never fills the queue, so that its own `ack` is
    /// always read, even while a command that prints what it reads stands still.
    pub(super) fn acknowledge_stdin(&mut self) {
        let news = self.bytes_stdin.saturating_sub(self.stdin_acked);
        let is_due = news >= STDIN_ACK_STEP_BYTES || (news > 0 && self.stdin.is_empty());
        // Whoever does not read gets no pile of them; a write brings us back here.
        let has_room = self.browser.outbox().len() < BROWSER_OUTBOX_BYTES_MAX;
        if self.config.stdin_ack && self.phase == Phase::Open && is_due && has_room {
            self.stdin_acked = self.bytes_stdin;
            let bytes = self.bytes_stdin;
            self.browser.send_notice_first(&Notice::Ack { bytes });
        }
    }

    pub(super) fn tell_error(&mut self, code: ErrorCode) {
        let notice = Notice::error(code, code.message(), code.is_retryable());
        self.browser.send_notice(&notice);
    }

    /// Output the browser may still be sent before it acknowledges some.
    fn window(&self) -> usize {
        if !self.config.flow_ack {
            return usize::MAX;
        }
        let in_flight = self.output_sent.saturating_sub(self.output_acked);
        usize::try_from(ACK_WINDOW_BYTES.saturating_sub(in_flight)).unwrap_or(usize::MAX)
    }

    fn on_browser_event(&mut self, event: BrowserEvent) {
        match event {
            BrowserEvent::Alive => {}
            BrowserEvent::Close { code } => self.on_browser_close(code),
            BrowserEvent::Control(Control::Ack { bytes }) => self.on_ack(bytes),
            BrowserEvent::Control(_) | BrowserEvent::Stdin(_) if self.is_ending() => {}
            BrowserEvent::Control(Control::Close { hidden }) => {
                let detail = if hidden {
                    CloseDetail::Hidden
                } else {
                    CloseDetail::UserClose
                };
                self.end(Ending::of(detail));
            }
            BrowserEvent::Control(Control::Eof) => self.on_eof(),
            BrowserEvent::Control(Control::Resize { cols, rows }) => {
                self.size = Some((cols, rows));
                self.size_unsent = true;
            }
            BrowserEvent::Stdin(payload) => {
                if !payload.is_empty() {
                    self.on_activity();
                }
                // Behind an `eof` that may yet prove impossible stdin goes on.
                if self.stdin_end != StdinEnd::Sent {
                    self.stdin.push(payload);
                }
            }
        }
    }

    fn on_browser_close(&mut self, code: u16) {
        self.browser_deaf = true;
        self.browser_closed = true;
        let gone = code == GOING_AWAY;
        let detail = if gone {
            CloseDetail::TabGone
        } else {
            CloseDetail::UserClose
        };
        self.end(Ending::of(detail));
    }

    fn on_browser_broken(&mut self, error: ws::Error) {
        self.browser_deaf = true;
        let ending = Ending::of(CloseDetail::ProtocolError).with_close_code(error.close_code());
        self.end(ending);
    }

    fn on_ack(&mut self, bytes: u64) {
        if bytes > self.output_sent {
            self.browser_deaf = true;
            self.end(Ending::of(CloseDetail::ProtocolError));
        } else if bytes > self.output_acked {
            self.output_acked = bytes;
            if self.browser.outbox().is_empty() {
                // What stood still was the window, not the socket.
                self.timers.stop(Timer::Stall);
            }
        }
    }

    fn on_eof(&mut self) {
        // Whoever types Ctrl-D is there.
        self.on_activity();
        if self.stdin_end != StdinEnd::Open {
            return;
        }
        if self.config.tty {
            // A half-close would detach the terminal's output; Ctrl-D is what ends its input.
            self.stdin
                .push(BytesMut::from([END_OF_TRANSMISSION].as_slice()));
        } else {
            let waiting = self.stdin.len() as u64;
            let after = self.bytes_stdin.saturating_add(waiting);
            self.stdin_end = StdinEnd::Asked { after };
        }
    }

    fn hello(&self, transport: Transport) -> Notice<'_> {
        let config = &self.config;
        Notice::Hello(Hello {
            session_id: &config.session_id,
            cluster: &config.cluster,
            namespace: &config.namespace,
            pod: &config.pod,
            container: config.container.as_deref(),
            command: &config.command,
            tty: config.tty,
            transport: transport.as_str(),
            subprotocol: transport.subprotocol(),
            idle_seconds: config.timing.idle.as_secs(),
            idle_warn_seconds: config.timing.idle_warn.as_secs(),
            heartbeat_seconds: config.timing.heartbeat.as_secs(),
            flow: match (config.flow_ack, config.stdin_ack) {
                (_, true) => "both",
                (true, false) => "ack",
                (false, false) => "none",
            },
            identity: HelloIdentity {
                user: &config.identity.user,
                groups: &config.identity.groups,
            },
        })
    }
}
