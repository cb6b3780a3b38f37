//! Bytes between the terminal and the gateway, until the gateway has said how it ended.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use periscope_core::outbox::Outbox;
use periscope_core::ws::{Event, Kind, WebSocket};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::gateway::{Connection, Socket};
use super::streams::{STDIN_CHUNK_BYTES, Stdin, Stdout};
use super::terminal::{self, printable};
use super::{ClientError, GATEWAY_FAILED};

/// The most that one read takes, and that one message of output is printed in.
const READ_BYTES: usize = 64 * 1024;

/// Control messages are short; a gateway that sends a longer one is not a gateway.
const CONTROL_BYTES_MAX: usize = 256 * 1024;

/// stdin on its way that has not gone on to the apiserver, as the gateway tells. From 64 KiB on the
/// gateway would stop to read us, and with us our `ack`: a command that prints what it reads could
/// stand still for ever.
const STDIN_AHEAD_MAX: u64 = 48 * 1024;

/// Output is acknowledged in steps of this size, and when all of it is printed.
const ACK_STEP: u64 = 32 * 1024;

/// A gateway pings every few seconds. This many intervals of silence, and it is gone.
const SILENT_INTERVALS: u64 = 4;

/// How long a gateway may be silent before its `hello`, which says how often it pings.
const HELLO_SILENCE: Duration = Duration::from_mins(2);

/// How long the socket's orderly end may take once the outcome is known.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the command line asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) stdin: bool,
    pub(super) tty: bool,
}

/// How a session ended, as the gateway says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) exit_code: Option<u8>,
    pub(super) truncated: Option<bool>,
    /// A sentence for a session without an exit code.
    pub(super) reason: String,
}

/// One session.
pub(super) struct Relay {
    reader: ReadHalf<Socket>,
    writer: WriteHalf<Socket>,
    input: BytesMut,
    is_eof: bool,
    out: Outbox,
    /// Something written may still sit in the socket's own buffer.
    is_unflushed: bool,
    websocket: WebSocket,
    settings: Settings,
    signals: Signals,
    stdin: Option<Stdin>,
    stdout: Stdout,
    sent: Sent,
    printed: Printed,
    control: BytesMut,
    /// The last error the gateway told.
    error: Option<String>,
    ended: Option<Ended>,
    silence: Duration,
    heard_at: Instant,
}

/// stdin so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    bytes: u64,
    /// What went on to the apiserver.
    gone_on: u64,
}

/// stdout so far.
#[derive(Clone, Copy, Debug, Default)]
struct Printed {
    bytes: u64,
    acknowledged: u64,
}

/// What the gateway says.
#[derive(Debug, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
enum Control {
    Hello {
        transport: String,
        subprotocol: String,
        heartbeat_seconds: u64,
    },
    Ack {
        bytes: u64,
    },
    IdleWarn {
        seconds_remaining: u64,
    },
    Drain {
        seconds_remaining: u64,
    },
    Error {
        code: String,
        message: String,
    },
    Closed {
        detail: String,
        exit_code: Option<u8>,
        truncated: Option<bool>,
    },
    /// A later gateway may say more.
    #[serde(other)]
    Unknown,
}

/// The signals that end this program, and the one that says that the window has another size.
struct Signals {
    ends: [(u8, Signal); 4],
    resized: Signal,
}

/// What a signal means here.
#[derive(Clone, Copy, Debug)]
enum Told {
    Resized,
    End(u8),
}

impl Relay {
    pub(super) fn new(connection: Connection, settings: Settings) -> Result<Self, ClientError> {
        let failed = |what| move |error| ClientError::Stream { what, error };
        let (reader, writer) = tokio::io::split(connection.socket);
        Ok(Self {
            reader,
            writer,
            input: connection.input,
            is_eof: false,
            out: Outbox::new(),
            is_unflushed: false,
            websocket: connection.websocket,
            settings,
            signals: Signals::catch().map_err(failed("catch signals"))?,
            stdin: None,
            stdout: Stdout::start().map_err(failed("print"))?,
            sent: Sent::default(),
            printed: Printed::default(),
            control: BytesMut::new(),
            error: None,
            ended: None,
            silence: HELLO_SILENCE,
            heard_at: Instant::now(),
        })
    }

    /// Goes on until the end is known and everything before it is printed.
    pub(super) async fn run(mut self) -> Result<Ended, ClientError> {
        loop {
            self.take_messages()?;
            if self.ended.is_some() && self.stdout.waiting() == 0 {
                break;
            }
            let is_reading = !self.is_eof && self.input.len() < READ_BYTES;
            let ahead = self.sent.bytes.saturating_sub(self.sent.gone_on);
            let takes_stdin = ahead.saturating_add(STDIN_CHUNK_BYTES as u64) <= STDIN_AHEAD_MAX;
            if is_reading {
                self.input.reserve(READ_BYTES);
            }
            tokio::select! {
                read = self.reader.read_buf(&mut self.input), if is_reading => {
                    self.heard_at = Instant::now();
                    if !matches!(read, Ok(1..)) {
                        self.is_eof = true;
                        self.on_end()?;
                    }
                }
                written = write(&mut self.writer, &self.out), if self.is_unflushed || !self.out.is_empty() => {
                    // What a lost connection still holds is found by reading.
                    if let Ok(len) = written {
                        self.is_unflushed = len > 0;
                        self.out.advance(len);
                    } else {
                        self.out.clear();
                        self.is_unflushed = false;
                    }
                }
                chunk = next(&mut self.stdin), if takes_stdin => self.on_stdin(chunk)?,
                printed = self.stdout.printed() => self.on_printed(printed)?,
                told = self.signals.next() => match told {
                    Told::Resized => self.send_size(),
                    Told::End(number) => return Err(self.on_signal(number).await),
                },
                () = tokio::time::sleep_until(self.heard_at + self.silence), if is_reading => {
                    let lost = "the gateway has fallen silent; the session may still run there";
                    return Err(ClientError::Ended(lost.to_owned()));
                }
            }
        }
        self.say_farewell().await;
        Ok(self.ended.unwrap_or_default())
    }

    /// Takes what the gateway sent, as far as there is room for it.
    fn take_messages(&mut self) -> Result<(), ClientError> {
        let garbage = |error: &dyn std::fmt::Display| {
            ClientError::Ended(format!("the gateway broke the WebSocket protocol: {error}"))
        };
        loop {
            let room = if self.stdout.has_room() {
                READ_BYTES
            } else {
                0
            };
            let event = self
                .websocket
                .receive(&mut self.input, room, &mut self.out)
                .map_err(|error| garbage(&error))?;
            match event {
                None => return Ok(()),
                Some(Event::Data {
                    kind: Kind::Binary,
                    payload,
                    ..
                }) => {
                    if !payload.is_empty() {
                        self.stdout.print(payload.freeze());
                    }
                }
                Some(Event::Data {
                    kind: Kind::Text,
                    payload,
                    last,
                    ..
                }) => {
                    self.control.unsplit(payload);
                    if self.control.len() > CONTROL_BYTES_MAX {
                        return Err(garbage(&"a control message is too long"));
                    }
                    if last {
                        let text = self.control.split();
                        self.on_control(&text)?;
                    }
                }
                Some(Event::Ping | Event::Pong { .. }) => {}
                Some(Event::Close { .. }) => return self.on_end(),
            }
        }
    }

    fn on_control(&mut self, text: &[u8]) -> Result<(), ClientError> {
        // What does not parse is from a later gateway, too.
        let control = serde_json::from_slice(text).unwrap_or(Control::Unknown);
        match control {
            Control::Hello {
                transport,
                subprotocol,
                heartbeat_seconds,
            } => {
                let silence = heartbeat_seconds.max(5).saturating_mul(SILENT_INTERVALS);
                self.silence = Duration::from_secs(silence.min(HELLO_SILENCE.as_secs() * 60));
                self.on_up(&transport, &subprotocol)?;
            }
            Control::Ack { bytes } => self.sent.gone_on = self.sent.gone_on.max(bytes),
            Control::IdleWarn { seconds_remaining } => {
                terminal::say(&format!(
                    "nothing was typed or printed for a while; the session ends in {seconds_remaining} s"
                ));
            }
            Control::Drain { seconds_remaining } => {
                terminal::say(&format!(
                    "the gateway is shutting down; the session ends in {seconds_remaining} s"
                ));
            }
            Control::Error { code, message } => {
                self.error = Some(printable(&format!("{message} ({code})")));
            }
            Control::Closed {
                detail,
                exit_code,
                truncated,
            } => {
                let reason = self.error.take();
                let reason = reason.unwrap_or_else(|| {
                    printable(&format!(
                        "the session ended without an exit code ({detail})"
                    ))
                });
                self.ended = Some(Ended {
                    exit_code,
                    truncated,
                    reason,
                });
                self.stdin = None;
            }
            Control::Unknown => {}
        }
        Ok(())
    }

    /// The shell is up: now stdin may flow.
    fn on_up(&mut self, transport: &str, subprotocol: &str) -> Result<(), ClientError> {
        if !self.settings.stdin {
            self.send(&json!({"type": "eof"}));
            return Ok(());
        }
        if !self.settings.tty && transport == "ws" && subprotocol == "v4.channel.k8s.io" {
            // The command would wait for the end of its input for ever.
            self.send(&json!({"type": "close"}));
            return Err(ClientError::Ended(
                "this cluster's WebSocket (v4.channel.k8s.io) cannot tell a command that its input has ended; \
                 use -it, or leave out -i"
                    .to_owned(),
            ));
        }
        let stdin = Stdin::start().map_err(|error| ClientError::Stream {
            what: "read standard input",
            error,
        })?;
        self.stdin = Some(stdin);
        // The window may have changed while the shell came up.
        self.send_size();
        Ok(())
    }

    fn on_stdin(&mut self, chunk: io::Result<Option<BytesMut>>) -> Result<(), ClientError> {
        let chunk = chunk.map_err(|error| ClientError::Stream {
            what: "read standard input",
            error,
        })?;
        let Some(chunk) = chunk else {
            self.stdin = None;
            self.send(&json!({"type": "eof"}));
            return Ok(());
        };
        self.sent.bytes = self.sent.bytes.saturating_add(chunk.len() as u64);
        let _ = self.websocket.send(Kind::Binary, &[], chunk, &mut self.out);
        Ok(())
    }

    fn on_printed(&mut self, printed: io::Result<usize>) -> Result<(), ClientError> {
        let len = printed.map_err(|error| ClientError::Stream {
            what: "print the output",
            error,
        })?;
        self.printed.bytes = self.printed.bytes.saturating_add(len as u64);
        let news = self.printed.bytes.saturating_sub(self.printed.acknowledged);
        if news >= ACK_STEP || self.stdout.waiting() == 0 {
            self.printed.acknowledged = self.printed.bytes;
            self.send(&json!({"type": "ack", "bytes": self.printed.bytes}));
        }
        Ok(())
    }

    /// The gateway has closed the connection, or it broke.
    fn on_end(&mut self) -> Result<(), ClientError> {
        if self.ended.is_some() {
            return Ok(());
        }
        let lost = "the connection to the gateway was lost; the session may still run there";
        Err(ClientError::Ended(
            self.error.take().unwrap_or_else(|| lost.to_owned()),
        ))
    }

    /// Ends the session in order, as closing a tab would not.
    async fn on_signal(&mut self, number: u8) -> ClientError {
        self.send(&json!({"type": "close", "reason": "user"}));
        self.say_farewell().await;
        ClientError::Signal(number)
    }

    async fn say_farewell(&mut self) {
        let _ = self.websocket.close(1000, "", &mut self.out);
        let farewell = async {
            while let Ok(len @ 1..) = write(&mut self.writer, &self.out).await {
                self.out.advance(len);
            }
            drop(self.writer.shutdown().await);
        };
        // The outcome is known; the socket is only let go politely.
        drop(tokio::time::timeout(FAREWELL, farewell).await);
    }

    fn send_size(&mut self) {
        if let (true, Some((cols, rows))) = (self.settings.tty, terminal::size()) {
            self.send(&json!({"type": "resize", "cols": cols, "rows": rows}));
        }
    }

    fn send(&mut self, message: &Value) {
        let text = BytesMut::from(message.to_string().as_bytes());
        // It can only be refused behind our Close.
        let _ = self.websocket.send(Kind::Text, &[], text, &mut self.out);
    }
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let end = |kind: SignalKind| {
            let number = u8::try_from(kind.as_raw_value()).unwrap_or(GATEWAY_FAILED);
            Ok::<_, io::Error>((number, signal(kind)?))
        };
        Ok(Self {
            ends: [
                end(SignalKind::hangup())?,
                end(SignalKind::interrupt())?,
                end(SignalKind::quit())?,
                end(SignalKind::terminate())?,
            ],
            resized: signal(SignalKind::window_change())?,
        })
    }

    /// Resolves with the next of them.
    async fn next(&mut self) -> Told {
        let [hangup, interrupt, quit, terminate] = &mut self.ends;
        tokio::select! {
            _ = self.resized.recv() => Told::Resized,
            _ = hangup.1.recv() => Told::End(hangup.0),
            _ = interrupt.1.recv() => Told::End(interrupt.0),
            _ = quit.1.recv() => Told::End(quit.0),
            _ = terminate.1.recv() => Told::End(terminate.0),
        }
    }
}

/// Writes some of what waits, or pushes on what was written. Returns how much was new.
async fn write(writer: &mut WriteHalf<Socket>, out: &Outbox) -> io::Result<usize> {
    match out.chunks().next() {
        Some(chunk) => match writer.write(chunk).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            len => Ok(len),
        },
        None => writer.flush().await.map(|()| 0),
    }
}

/// The next chunk of stdin. Never resolves while nobody may read it.
async fn next(stdin: &mut Option<Stdin>) -> io::Result<Option<BytesMut>> {
    match stdin {
        Some(stdin) => stdin.next().await,
        None => std::future::pending().await,
    }
}
