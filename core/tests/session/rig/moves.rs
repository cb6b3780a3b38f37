//! What happened on the bench, and how its bytes move.

use core::time::Duration;

use bytes::Bytes;
use periscope_core::leg::exec_server;
use periscope_core::outbox::Outbox;
use periscope_core::session::{Ask, BreakerVerdict, Event, Input, Leg, Output, Summary};
use periscope_core::time::Instant;
use periscope_core::ws::{self, Kind};
use serde_json::Value;

use super::{Peer, Rig};

impl Rig {
    // ---- what happened -------------------------------------------------------------------

    #[track_caller]
    pub(crate) fn end(&self) -> &Summary {
        let end = self.summary.as_ref();
        end.unwrap_or_else(|| panic!("no end: {:#?}", self.log))
    }

    /// When a line was first written, after the session's start.
    #[track_caller]
    pub(crate) fn at(&self, line: &str) -> Duration {
        let index = self.log.iter().position(|found| found == line);
        let index = index.unwrap_or_else(|| panic!("no {line:?} in {:#?}", self.log));
        self.times[index].since(Instant::ZERO)
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.log.iter().filter(|found| *found == line).count()
    }

    /// That these lines stand in the log in this order, others between them or not.
    #[track_caller]
    pub(crate) fn in_order(&self, lines: &[&str]) {
        let mut rest = self.log.iter();
        for line in lines {
            let found = rest.any(|found| found == line);
            assert!(found, "{line:?} is missing or too early: {:#?}", self.log);
        }
    }

    /// The breaker's verdict, if it was told.
    pub(crate) fn breaker(&self) -> Option<BreakerVerdict> {
        let verdicts: Vec<BreakerVerdict> = [
            BreakerVerdict::Failure,
            BreakerVerdict::NoVerdict,
            BreakerVerdict::Success,
        ]
        .into_iter()
        .filter(|verdict| self.count(&format!("breaker {verdict:?}")) > 0)
        .collect();
        assert!(verdicts.len() < 2, "{:#?}", self.log);
        verdicts.first().copied()
    }

    fn note(&mut self, line: impl Into<String>) {
        self.log.push(line.into());
        self.times.push(self.now);
    }

    // ---- moving bytes --------------------------------------------------------------------

    /// Moves whatever can move at this instant.
    pub(crate) fn pump(&mut self) {
        for _ in 0..100_000 {
            let moved = self.drain_outputs()
                | self.write(Leg::Api)
                | self.write(Leg::Browser)
                | self.api_reads()
                | self.browser_reads()
                | self.read(Leg::Api)
                | self.read(Leg::Browser);
            if !moved {
                return;
            }
        }
        panic!("no rest at {}: {:#?}", self.now, self.log);
    }

    fn drain_outputs(&mut self) -> bool {
        let mut moved = false;
        loop {
            let output = self.session.poll_output();
            if let Output::Timeout(deadline) = output {
                self.deadline = deadline;
                return moved;
            }
            moved = true;
            match output {
                Output::Abort { leg: Leg::Api } => {
                    self.peer = Peer::None;
                    self.api_input.clear();
                    self.peer_outbox.clear();
                    self.api_end = None;
                    self.note("abort api");
                }
                Output::Abort { leg: Leg::Browser } => {
                    self.browser_gone = true;
                    self.note("abort browser");
                }
                Output::Shutdown { leg } => self.note(format!("shutdown {leg:?}")),
                Output::Ask(Ask::Admit(head)) => {
                    self.admissions.push(*head);
                    self.note("ask admit");
                }
                Output::Ask(Ask::Dial(dial)) => {
                    self.dials.push_back(dial);
                    let fresh = if dial.fresh_credentials { " fresh" } else { "" };
                    self.note(format!("dial {:?}{fresh}", dial.transport));
                }
                Output::Ask(Ask::Pod) => self.note("ask pod"),
                Output::CancelDial => {
                    self.dials.clear();
                    self.note("cancel dial");
                }
                Output::Event(event) => self.note_event(event),
                Output::Over => {
                    self.over_at = Some(self.now);
                    self.note("over");
                }
                Output::Timeout(_) => {}
            }
        }
    }

    fn note_event(&mut self, event: Event) {
        assert!(self.summary.is_none(), "{event:?} after the end");
        match event {
            Event::Attempt { transport, error } => {
                self.note(format!("attempt {transport:?} {error}"));
            }
            Event::Breaker(verdict) => self.note(format!("breaker {verdict:?}")),
            Event::Ended(summary) => {
                self.note(format!("ended {}", summary.detail));
                self.summary = Some(summary);
            }
            Event::Started { transport } => self.note(format!("started {transport:?}")),
        }
    }

    fn write(&mut self, leg: Leg) -> bool {
        let room = match leg {
            Leg::Api if matches!(self.peer, Peer::None) => 0,
            Leg::Api => self.api_takes,
            Leg::Browser if self.browser_gone => 0,
            Leg::Browser => self.browser_takes,
        };
        if room == 0 || self.session.unwritten(leg) == 0 {
            return false;
        }
        let chunks: Vec<&[u8]> = self.session.chunks(leg).collect();
        let mut bytes = chunks.concat();
        assert_eq!(bytes.len(), self.session.unwritten(leg));
        bytes.truncate(room);
        let len = bytes.len();
        match leg {
            Leg::Api => {
                self.peer_input.extend_from_slice(&bytes);
                self.api_takes = self.api_takes.saturating_sub(len);
            }
            Leg::Browser => {
                self.browser_takes = self.browser_takes.saturating_sub(len);
                match self.raw.as_mut() {
                    Some(raw) => raw.extend_from_slice(&bytes),
                    None => self.browser_input.extend_from_slice(&bytes),
                }
            }
        }
        self.session
            .handle_input(self.now, Input::Wrote { leg, len });
        true
    }

    fn read(&mut self, leg: Leg) -> bool {
        let (data, outbox, holds) = match leg {
            Leg::Api => (&mut self.api_input, &mut self.peer_outbox, self.api_holds),
            Leg::Browser => (&mut self.browser_bytes, &mut self.browser_outbox, false),
        };
        if !self.session.wants_read(leg) {
            return false;
        }
        let mut fresh = 0;
        if !holds {
            let bytes = outbox.chunks().collect::<Vec<&[u8]>>().concat();
            outbox.advance(bytes.len());
            data.extend_from_slice(&bytes);
            fresh = bytes.len();
        }
        let before = data.len();
        if before > 0 {
            let input = Input::Bytes { leg, data, fresh };
            self.session.handle_input(self.now, input);
        }
        let left = match leg {
            Leg::Api => self.api_input.len(),
            Leg::Browser => self.browser_bytes.len(),
        };
        if fresh > 0 || left < before {
            return true;
        }
        if leg == Leg::Api
            && self.session.wants_read(Leg::Api)
            && let Some(end) = self.api_end.take()
        {
            self.session.handle_input(self.now, end);
            return true;
        }
        false
    }

    fn api_reads(&mut self) -> bool {
        let mut moved = false;
        loop {
            match &mut self.peer {
                Peer::None | Peer::Raw | Peer::Upgrade(..) => return moved,
                Peer::Head(upgrade) => {
                    let Some(head) = upgrade.receive(&mut self.peer_input).unwrap() else {
                        return moved;
                    };
                    let Peer::Head(upgrade) = core::mem::replace(&mut self.peer, Peer::None) else {
                        return moved;
                    };
                    self.peer = Peer::Upgrade(upgrade, Box::new(head));
                }
                Peer::Exec(exec) => {
                    let out = &mut self.peer_outbox;
                    let Some(event) = exec.receive(&mut self.peer_input, 1 << 20, out).unwrap()
                    else {
                        return moved;
                    };
                    match event {
                        exec_server::Event::Alive => self.note("api: alive"),
                        exec_server::Event::Closed => self.note("api: closed"),
                        exec_server::Event::Ready => self.note("api: ready"),
                        exec_server::Event::Resize { cols, rows } => {
                            self.note(format!("api: size {cols}x{rows}"));
                        }
                        exec_server::Event::Stdin(payload) => {
                            self.stdin.extend_from_slice(&payload);
                            self.note(format!("api: stdin {}", payload.len()));
                        }
                        exec_server::Event::StdinEof => self.note("api: stdin eof"),
                    }
                }
            }
            moved = true;
        }
    }

    fn browser_reads(&mut self) -> bool {
        let mut replies = Outbox::new();
        let mut moved = false;
        while let Some(event) = self
            .browser
            .receive(&mut self.browser_input, 1 << 20, &mut replies)
            .unwrap()
        {
            moved = true;
            match event {
                ws::Event::Ping => self.note("browser: ping"),
                ws::Event::Pong { .. } => self.note("browser: pong"),
                ws::Event::Close { code, .. } => {
                    self.close_code = Some(code);
                    self.note(format!("browser: close {code}"));
                    if self.answers_close && !self.browser.is_close_sent() {
                        let out = &mut self.browser_outbox;
                        self.browser.close(code, "", out).unwrap();
                    }
                }
                ws::Event::Data {
                    kind: Kind::Binary,
                    payload,
                    ..
                } => {
                    self.output.extend_from_slice(&payload);
                    self.note("browser: output");
                }
                ws::Event::Data {
                    kind: Kind::Text,
                    payload,
                    last,
                    ..
                } => {
                    self.text.extend_from_slice(&payload);
                    if last {
                        let text = core::mem::take(&mut self.text);
                        let text: Value = serde_json::from_slice(&text).unwrap();
                        self.note(format!("browser: {}", text["type"].as_str().unwrap()));
                        self.texts.push(text);
                    }
                }
            }
        }
        if self.pongs {
            for chunk in replies.chunks() {
                self.browser_outbox.push(Bytes::copy_from_slice(chunk));
            }
        }
        moved
    }
}
