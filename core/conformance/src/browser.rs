//! A blocking browser: the client half of the shell's WebSocket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use bytes::BytesMut;
use periscope_core::http::{ClientOutcome, ClientUpgrade, UpgradeRequest};
use periscope_core::outbox::Outbox;
use periscope_core::ws::{Event, Kind, WebSocket};
use serde_json::Value;

use crate::stage::PATIENCE;

/// The path a shell is opened under.
pub const TARGET: &str = "/api/clusters/c/pods/n/p/exec";

/// A browser whose shell is open.
#[derive(Debug)]
pub struct Browser {
    stream: TcpStream,
    ws: WebSocket,
    input: BytesMut,
    outbox: Outbox,
    text: Vec<u8>,
    answers_close: bool,
}

/// What came from the gateway.
#[derive(Debug, PartialEq)]
pub enum Message {
    /// A Close frame; it was answered.
    Close(u16),
    /// The socket ended in order.
    Eof,
    /// Terminal bytes.
    Output(BytesMut),
    /// The socket was reset.
    Reset,
    /// A console message.
    Text(Value),
}

/// The rest of a session, read to the end of the socket.
#[derive(Debug, Default)]
pub struct Rest {
    /// Terminal bytes.
    pub output: Vec<u8>,
    /// `error` messages' codes.
    pub errors: Vec<String>,
    /// The last message.
    pub closed: Value,
    /// What the Close frame said.
    pub close_code: Option<u16>,
    /// Whether the socket was reset instead of ended.
    pub reset: bool,
}

impl Rest {
    /// The `detail` of the last message.
    pub fn detail(&self) -> &str {
        self.closed["detail"].as_str().unwrap_or_default()
    }
}

impl Browser {
    /// Opens a shell on a gateway that reads the handshake.
    pub fn open(address: SocketAddr) -> Self {
        let mut browser = Self::accepted(address);
        let request = UpgradeRequest {
            host: "gateway.test",
            target: TARGET,
            headers: &[],
            subprotocols: &[],
        };
        let mut upgrade = ClientUpgrade::websocket(&request, [7; 16], &mut browser.outbox).unwrap();
        browser.write().unwrap();
        let outcome = loop {
            if let Some(outcome) = upgrade.receive(&mut browser.input).unwrap() {
                break outcome;
            }
            assert!(browser.fill().unwrap() > 0, "no answer came");
        };
        assert_eq!(outcome, ClientOutcome::Upgraded { subprotocol: None });
        browser
    }

    /// A browser whose handshake somebody else has done.
    pub fn accepted(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            ws: WebSocket::client([9; 32], u64::MAX),
            input: BytesMut::new(),
            outbox: Outbox::new(),
            text: Vec::new(),
            answers_close: true,
        }
    }

    /// A pair of hands without a socket, to frame bytes with.
    pub fn detached() -> Self {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::accepted(nobody.local_addr().unwrap())
    }

    /// From now on Close frames stay unanswered.
    pub fn ignore_close(&mut self) {
        self.answers_close = false;
    }

    /// Types.
    pub fn send(&mut self, bytes: &[u8]) {
        self.queue(bytes);
        self.write().unwrap();
    }

    /// Types until the gateway takes no more.
    pub fn send_until_cut(&mut self, len: usize) {
        static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
        for _ in 0..len / PIECE.len() {
            self.queue(&PIECE);
            if self.write().is_err() {
                return;
            }
        }
    }

    /// Pings, and expects the pong next: nothing else is on its way.
    pub fn ping_pong(&mut self) {
        self.ws.ping(b"?", &mut self.outbox).unwrap();
        loop {
            let Self {
                ws, input, outbox, ..
            } = self;
            match ws.receive(input, 64 * 1024, outbox).unwrap() {
                None => assert!(self.flush_and_fill().unwrap() > 0, "the gateway left"),
                Some(Event::Pong { payload }) => return assert_eq!(&payload[..], b"?"),
                other => panic!("a pong was expected, {other:?} came"),
            }
        }
    }

    /// Frames terminal bytes without writing them.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.ws
            .send(Kind::Binary, &[], BytesMut::from(bytes), &mut self.outbox)
            .unwrap();
    }

    /// What [`Self::queue`] left, as bytes on the wire.
    pub fn take_queued(&mut self) -> BytesMut {
        let bytes = self.outbox.chunks().flatten().copied().collect();
        self.outbox.advance(self.outbox.len());
        bytes
    }

    /// Sends a console message.
    pub fn control(&mut self, json: &str) {
        self.ws
            .send(Kind::Text, &[], BytesMut::from(json), &mut self.outbox)
            .unwrap();
        self.write().unwrap();
    }

    /// Sends a Close frame.
    pub fn close(&mut self, code: u16) {
        self.ws.close(code, "", &mut self.outbox).unwrap();
        self.write().unwrap();
    }

    /// A second hand that types while this one reads. Heartbeats must be far away, because their
    /// answers would cut into its frames.
    #[must_use]
    pub fn typist(&self) -> Self {
        Self {
            stream: self.stream.try_clone().unwrap(),
            ws: WebSocket::client([11; 32], u64::MAX),
            input: BytesMut::new(),
            outbox: Outbox::new(),
            text: Vec::new(),
            answers_close: false,
        }
    }

    /// What comes next. Pings are answered on the way.
    pub fn message(&mut self) -> Message {
        loop {
            let received = self
                .ws
                .receive(&mut self.input, 64 * 1024, &mut self.outbox);
            match received.expect("the gateway keeps RFC 6455") {
                None => match self.flush_and_fill() {
                    Ok(0) => return Message::Eof,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        panic!("the gateway fell silent")
                    }
                    Err(_) => return Message::Reset,
                },
                Some(Event::Ping | Event::Pong { .. }) => {}
                Some(Event::Close { code, .. }) => {
                    if self.answers_close && !self.ws.is_close_sent() {
                        self.ws.close(code, "", &mut self.outbox).unwrap();
                        let _ = self.write();
                    }
                    return Message::Close(code);
                }
                Some(Event::Data {
                    kind: Kind::Binary,
                    payload,
                    ..
                }) => return Message::Output(payload),
                Some(Event::Data {
                    kind: Kind::Text,
                    payload,
                    last,
                    ..
                }) => {
                    self.text.extend_from_slice(&payload);
                    if last {
                        let text = core::mem::take(&mut self.text);
                        return Message::Text(serde_json::from_slice(&text).unwrap());
                    }
                }
            }
        }
    }

    /// The next message is a console message of this type.
    pub fn text(&mut self, expected: &str) -> Value {
        match self.message() {
            Message::Text(value) if value["type"] == expected => value,
            other => panic!("`{expected}` was expected, {other:?} came"),
        }
    }

    /// The next `len` output bytes, nothing between them.
    pub fn output(&mut self, len: usize) -> Vec<u8> {
        let mut output = Vec::new();
        while output.len() < len {
            match self.message() {
                Message::Output(payload) => output.extend_from_slice(&payload),
                other => panic!("{len} bytes of output were expected, {other:?} came"),
            }
        }
        assert_eq!(output.len(), len, "more output than expected");
        output
    }

    /// Everything up to the end of the socket, in its legal order.
    pub fn rest(mut self) -> Rest {
        let mut rest = Rest::default();
        loop {
            match self.message() {
                Message::Eof => return rest,
                Message::Reset => {
                    rest.reset = true;
                    return rest;
                }
                Message::Close(code) => {
                    assert!(!rest.closed.is_null(), "Close before `closed`");
                    rest.close_code = Some(code);
                }
                Message::Output(payload) => {
                    assert!(rest.closed.is_null(), "output after `closed`");
                    rest.output.extend_from_slice(&payload);
                }
                Message::Text(value) => {
                    assert!(rest.closed.is_null(), "a message after `closed`: {value}");
                    match value["type"].as_str().unwrap() {
                        "closed" => rest.closed = value,
                        "error" => {
                            let code = value["code"].as_str().unwrap();
                            rest.errors.push(code.to_owned());
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// Leaves with output unread, so that the kernel sends RST.
    pub fn reset(self) {
        assert!(self.stream.peek(&mut [0]).unwrap() > 0, "nothing is unread");
    }

    fn flush_and_fill(&mut self) -> io::Result<usize> {
        self.write()?;
        self.fill()
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        let len = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..len]);
        Ok(len)
    }

    fn write(&mut self) -> io::Result<()> {
        for chunk in self.outbox.chunks() {
            self.stream.write_all(chunk)?;
        }
        self.outbox.advance(self.outbox.len());
        Ok(())
    }
}
