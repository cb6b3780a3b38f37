//! The apiserver of a simulated session, honest or not.

use core::task::{Context, Poll, Waker};
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};

use crate::channel::{Stream, Subprotocol, status};
use crate::http::{RequestHead, ServerUpgrade};
use crate::leg::exec_server::{Ending, Event, ExecServer, Streams};
use crate::outbox::Outbox;
use crate::sim::browser::READS;
use crate::sim::net::End;
use crate::sim::plan::{Attempt, Process, ProcessEnd};
use crate::sim::{matches_pattern, pattern_run};
use crate::time::Instant;
use crate::transport::Transport;

/// Text of a runtime that could not start the command.
pub const NO_SHELL: &str =
    "error executing command in container: executable file `sh` not found in $PATH";

/// What reached the process over one connection.
#[derive(Debug, Default)]
pub struct Ledger {
    /// stdin bytes that arrived.
    pub stdin: u64,
    /// Output bytes given to the wire.
    pub output: u64,
    /// stdin ended.
    pub stdin_ended: bool,
    /// How often the command was begun.
    pub starts: u64,
    /// The status was given to the wire.
    pub status_sent: bool,
    /// What must never happen, in words.
    pub violations: Vec<String>,
}

/// One connection the gateway made.
#[derive(Debug)]
pub struct Apiserver {
    end: Option<End>,
    attempt: Attempt,
    process: Process,
    stage: Stage,
    input: BytesMut,
    outbox: Outbox,
    next_output_at: Instant,
    /// The connection closes once everything is written.
    closing: bool,
    /// What happened here.
    pub ledger: Ledger,
}

#[derive(Debug)]
enum Stage {
    Head(ServerUpgrade),
    Exec(Box<ExecServer>),
    Mute,
}

impl Apiserver {
    /// Accepts a connection.
    pub fn new(end: End, attempt: Attempt, process: Process) -> Self {
        Self {
            end: Some(end),
            attempt,
            process,
            stage: Stage::Head(ServerUpgrade::new()),
            input: BytesMut::new(),
            outbox: Outbox::new(),
            next_output_at: Instant::ZERO,
            closing: false,
            ledger: Ledger::default(),
        }
    }

    /// Does what is due at `now`. True if anything moved.
    pub fn step(&mut self, now: Instant) -> bool {
        let mut ledger = core::mem::take(&mut self.ledger);
        let ran = self.run(now, &mut ledger);
        let wrote = self.write();
        let mut read = false;
        for _ in 0..READS {
            if !self.read(&mut ledger) {
                break;
            }
            read = true;
        }
        self.ledger = ledger;
        ran || wrote || read
    }

    /// When the peer next does something by itself.
    pub fn next_event(&self, now: Instant) -> Option<Instant> {
        let end = self.end.as_ref()?;
        let output = matches!(self.stage, Stage::Exec(_)).then_some(self.next_output_at);
        [output, end.next_event(now)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    fn run(&mut self, now: Instant, ledger: &mut Ledger) -> bool {
        let Stage::Exec(exec) = &mut self.stage else {
            return false;
        };
        if ledger.starts == 0 || exec.has_finished() || self.end.is_none() {
            return false;
        }
        let failing = matches!(self.process.end, ProcessEnd::NoShell | ProcessEnd::Internal);
        if !failing && ledger.output < self.process.output {
            if now < self.next_output_at || self.outbox.len() > 32 * 1024 {
                return false;
            }
            let left = self.process.output - ledger.output;
            let len = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.process.piece);
            let run = pattern_run(ledger.output, len);
            ledger.output += run.len() as u64;
            self.next_output_at = now.after(self.process.pause);
            exec.output(Stream::Stdout, run, &mut self.outbox);
            return true;
        }
        let waits = !ledger.stdin_ended && ledger.stdin < self.process.wait_for_stdin;
        if waits && !failing {
            return false;
        }
        let ending = match self.process.end {
            ProcessEnd::Never => return false,
            ProcessEnd::NoStatus => {
                self.stage = Stage::Mute;
                self.closing = true;
                return true;
            }
            ProcessEnd::Exit(code) => Ending::Exit(code),
            ProcessEnd::NoShell => Ending::InternalError(NO_SHELL.to_owned()),
            ProcessEnd::Internal => Ending::InternalError("something else broke".to_owned()),
        };
        exec.finish(&ending, &mut self.outbox);
        ledger.status_sent = true;
        self.closing = true;
        true
    }

    fn write(&mut self) -> bool {
        let mut moved = false;
        while let (Some(end), false) = (self.end.as_mut(), self.outbox.is_empty()) {
            let slices: Vec<IoSlice<'_>> = self.outbox.chunks().map(IoSlice::new).collect();
            let polled = end.poll_write(&mut Context::from_waker(Waker::noop()), &slices);
            match polled {
                Poll::Ready(Ok(len)) => {
                    self.outbox.advance(len);
                    moved = true;
                }
                Poll::Ready(Err(_)) => {
                    self.end = None;
                    return true;
                }
                Poll::Pending => break,
            }
        }
        if self.closing && self.outbox.is_empty() && self.end.is_some() {
            self.end = None;
            moved = true;
        }
        moved
    }

    fn read(&mut self, ledger: &mut Ledger) -> bool {
        // A process that does not read its stdin makes the server stop reading, sooner or later.
        if !self.process.reads && ledger.starts > 0 && ledger.stdin > 20_000 {
            return false;
        }
        let Some(end) = self.end.as_mut() else {
            return false;
        };
        let polled = end.poll_read(
            &mut Context::from_waker(Waker::noop()),
            &mut self.input,
            16 * 1024,
        );
        match polled {
            Poll::Pending => return false,
            Poll::Ready(Ok(0) | Err(_)) => {
                self.end = None;
                return true;
            }
            Poll::Ready(Ok(_)) => {}
        }
        loop {
            match &mut self.stage {
                Stage::Mute => {
                    self.input.clear();
                    return true;
                }
                Stage::Head(upgrade) => match upgrade.receive(&mut self.input) {
                    Ok(None) => return true,
                    Ok(Some(head)) => self.answer(&head),
                    Err(error) => {
                        ledger
                            .violations
                            .push(format!("the gateway broke HTTP: {error}"));
                        self.end = None;
                        return true;
                    }
                },
                Stage::Exec(exec) => match exec.receive(&mut self.input, 4096, &mut self.outbox) {
                    Ok(None) => return true,
                    Ok(Some(event)) => note(event, ledger),
                    Err(error) => {
                        ledger
                            .violations
                            .push(format!("the gateway broke exec: {error}"));
                        self.end = None;
                        return true;
                    }
                },
            }
        }
    }

    fn answer(&mut self, head: &RequestHead) {
        let stage = core::mem::replace(&mut self.stage, Stage::Mute);
        let Stage::Head(mut upgrade) = stage else {
            return;
        };
        let out = &mut self.outbox;
        let json =
            |code: u16, reason: &str, message: &str| status::refusal(code, reason, message, None);
        let mut refuse = |code: u16, body: &str| {
            let refused = upgrade.refuse(code, "application/json", body.as_bytes(), &[], out);
            debug_assert!(refused.is_ok(), "{code}");
        };
        match self.attempt {
            Attempt::Unauthorized => refuse(401, &json(401, "Unauthorized", "Unauthorized")),
            Attempt::Forbidden => refuse(403, &json(403, "Forbidden", "pods \"p\" is forbidden: ")),
            Attempt::NotFound => refuse(404, &json(404, "NotFound", "pods \"p\" not found")),
            Attempt::Rejected => {
                refuse(
                    400,
                    &json(
                        400,
                        "BadRequest",
                        "a container name must be specified for pod p",
                    ),
                );
            }
            Attempt::UpgradeRequired => {
                refuse(400, &json(400, "BadRequest", "Upgrade request required"));
            }
            Attempt::ProxyPage => refuse(502, "<html>Bad Gateway</html>"),
            Attempt::BareForbidden => {
                let refused = upgrade.refuse_bare(403, out);
                debug_assert!(refused.is_ok(), "a bare 403");
            }
            Attempt::EofInHead => self.raw(b"HTTP/1.1 101 Switching Proto"),
            Attempt::Garbage => self.raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
            Attempt::Silent | Attempt::HostSilent | Attempt::HostFails(_) => return,
            Attempt::WrongAccept => {
                self.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n");
            }
            Attempt::WrongSubprotocol if head.is_spdy() => {
                self.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n");
            }
            Attempt::WrongSubprotocol => {
                // A 101 that names no protocol at all.
                let accepted = upgrade.accept_websocket(None, out);
                debug_assert!(accepted.is_ok(), "a 101");
            }
            Attempt::Honest
            | Attempt::NotStarted
            | Attempt::EofAfterUpgrade
            | Attempt::GarbageAfterUpgrade
            | Attempt::SilentAfterUpgrade => {
                self.exec(&mut upgrade, head);
                return;
            }
        }
        self.closing = true;
    }

    fn upgrade(&mut self, upgrade: &mut ServerUpgrade, head: &RequestHead, subprotocol: &str) {
        let accepted = if head.is_spdy() {
            upgrade.accept_spdy(subprotocol, &mut self.outbox)
        } else {
            upgrade.accept_websocket(Some(subprotocol), &mut self.outbox)
        };
        debug_assert!(accepted.is_ok(), "{subprotocol}");
    }

    fn exec(&mut self, upgrade: &mut ServerUpgrade, head: &RequestHead) {
        let offered = head.subprotocols();
        let name = offered
            .first()
            .map(|name| (*name).to_owned())
            .unwrap_or_default();
        self.upgrade(upgrade, head, &name);
        match self.attempt {
            Attempt::EofAfterUpgrade => {
                self.closing = true;
                return;
            }
            Attempt::GarbageAfterUpgrade => return self.raw(&[0xff; 40]),
            Attempt::SilentAfterUpgrade => return,
            _ => {}
        }
        let tty = head.query().contains("tty=true");
        let streams = Streams {
            stdin: true,
            stdout: true,
            stderr: !tty,
            tty,
        };
        let mut exec = if head.is_spdy() {
            ExecServer::spdy(streams, Vec::new())
        } else {
            let subprotocol = Subprotocol::parse(&name).unwrap_or(Subprotocol::V5);
            ExecServer::websocket(subprotocol, streams, Vec::new())
        };
        exec.start(&mut self.outbox);
        if self.attempt == Attempt::NotStarted {
            let text = "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout";
            exec.finish(&Ending::InternalError(text.to_owned()), &mut self.outbox);
            self.closing = true;
            return;
        }
        self.stage = Stage::Exec(Box::new(exec));
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.outbox.push(Bytes::copy_from_slice(bytes));
    }
}

fn note(event: Event, ledger: &mut Ledger) {
    match event {
        Event::Alive | Event::Closed | Event::Resize { .. } => {}
        Event::Ready => ledger.starts += 1,
        Event::Stdin(run) => {
            if ledger.stdin_ended {
                ledger.violations.push("stdin after its end".to_owned());
            }
            // Ctrl-D of a terminal's `eof` is the one byte the browser did not type.
            let run = match run.split_last() {
                Some((4, rest)) if !matches_pattern(ledger.stdin, &run) => {
                    ledger.stdin_ended = true;
                    rest
                }
                _ => &run,
            };
            if !matches_pattern(ledger.stdin, run) {
                let at = ledger.stdin;
                ledger
                    .violations
                    .push(format!("stdin differs near byte {at}"));
            }
            ledger.stdin += run.len() as u64;
        }
        Event::StdinEof => ledger.stdin_ended = true,
    }
}
