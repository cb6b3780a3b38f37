//! A blocking apiserver: one call after the other, each with what a scenario wants of it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use bytes::BytesMut;
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::http::{RequestHead, ServerUpgrade};
use periscope_core::leg::exec_server::{Ending, Event, ExecServer, Streams};
use periscope_core::outbox::Outbox;
use periscope_core::session::Transport;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::stage::PATIENCE;

/// Where the gateway dials.
#[derive(Debug)]
pub struct ApiServer {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// A connection, plain or TLS, and what was read from it.
#[derive(Debug)]
pub struct Connection {
    wire: WireEnd,
    input: BytesMut,
    outbox: Outbox,
}

#[derive(Debug)]
enum WireEnd {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// An upgrade request that waits for its answer.
#[derive(Debug)]
pub struct Call {
    connection: Connection,
    upgrade: ServerUpgrade,
    head: RequestHead,
}

/// A running exec.
#[derive(Debug)]
pub struct Exec {
    connection: Connection,
    server: ExecServer,
}

impl ApiServer {
    /// Listens on a free port.
    pub fn bind(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { listener, tls }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection before anything was read from it.
    pub fn accept_tcp(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The next connection's request.
    pub fn call(&self) -> Call {
        let stream = self.accept_tcp();
        let wire = match &self.tls {
            None => WireEnd::Plain(stream),
            Some(config) => {
                let tls = ServerConnection::new(Arc::clone(config)).unwrap();
                WireEnd::Tls(Box::new(StreamOwned::new(tls, stream)))
            }
        };
        let mut connection = Connection {
            wire,
            input: BytesMut::new(),
            outbox: Outbox::new(),
        };
        let mut upgrade = ServerUpgrade::new();
        let head = loop {
            if let Some(head) = upgrade.receive(&mut connection.input).unwrap() {
                break head;
            }
            assert!(connection.fill().unwrap() > 0, "no request came");
        };
        Call {
            connection,
            upgrade,
            head,
        }
    }

    /// The next call, accepted.
    pub fn exec(&self) -> Exec {
        self.call().accept()
    }
}

impl Call {
    /// What the gateway tries.
    pub fn transport(&self) -> Transport {
        if self.head.is_spdy() {
            return Transport::Spdy;
        }
        match self.head.subprotocols().as_slice() {
            ["v5.channel.k8s.io"] => Transport::WebSocketV5,
            ["v4.channel.k8s.io"] => Transport::WebSocketV4,
            other => panic!("offered {other:?}"),
        }
    }

    /// The request.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Refuses as Go's server does without a handler's answer: a status line, nothing else, and
    /// the end of the connection.
    pub fn refuse_bare(mut self, status: u16) {
        self.upgrade
            .refuse_bare(status, &mut self.connection.outbox)
            .unwrap();
        self.connection.write().unwrap();
        self.connection.end();
    }

    /// Says nothing and leaves without `close_notify`.
    pub fn hang_up(self) {
        self.connection.tcp().shutdown(Shutdown::Both).unwrap();
    }

    /// Refuses with a body that only the end of the connection ends, and leaves without
    /// `close_notify`.
    pub fn refuse_cut_off(mut self, answer: &str) {
        let wire = self.connection.wire.as_write();
        wire.write_all(answer.as_bytes()).unwrap();
        wire.flush().unwrap();
        // FIN only: the gateway closes first or the kernel would say RST.
        self.connection.tcp().shutdown(Shutdown::Write).unwrap();
        let _ = self.connection.fill();
    }

    /// Answers 101 and waits for the streams.
    pub fn accept(mut self) -> Exec {
        let query = self.head.query();
        let asked = |pair: &str| query.split('&').any(|one| one == pair);
        let streams = Streams {
            stdin: asked("stdin=true"),
            stdout: asked("stdout=true"),
            stderr: asked("stderr=true"),
            tty: asked("tty=true"),
        };
        let command = vec!["sh".to_owned()];
        let out = &mut self.connection.outbox;
        let transport = if self.head.is_spdy() {
            Transport::Spdy
        } else if self.head.subprotocols() == ["v5.channel.k8s.io"] {
            Transport::WebSocketV5
        } else {
            Transport::WebSocketV4
        };
        let subprotocol = transport.subprotocol();
        let mut server = if transport == Transport::Spdy {
            self.upgrade.accept_spdy(subprotocol, out).unwrap();
            ExecServer::spdy(streams, command)
        } else {
            let named = Some(subprotocol);
            self.upgrade.accept_websocket(named, out).unwrap();
            let spoken = Subprotocol::parse(subprotocol).unwrap();
            ExecServer::websocket(spoken, streams, command)
        };
        server.start(out);
        let connection = self.connection;
        let mut exec = Exec { connection, server };
        assert_eq!(exec.event(), Some(Event::Ready));
        exec
    }
}

impl Exec {
    /// What the gateway does next; `None` is the end of the connection.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            self.connection.write().unwrap();
            let Connection { input, outbox, .. } = &mut self.connection;
            match self.server.receive(input, 64 * 1024, outbox).unwrap() {
                Some(Event::Alive) => {}
                Some(event) => return Some(event),
                None => match self.connection.fill() {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                },
            }
        }
    }

    /// Bytes for the process; `None` is their end. Sizes are skipped.
    pub fn stdin(&mut self) -> Option<BytesMut> {
        loop {
            match self.event() {
                Some(Event::Stdin(payload)) => return Some(payload),
                Some(Event::StdinEof) => return None,
                Some(Event::Resize { .. }) => {}
                other => panic!("stdin was expected, {other:?} came"),
            }
        }
    }

    /// Exactly these bytes come for the process, in whatever pieces.
    pub fn expect_stdin(&mut self, expected: &[u8]) {
        let mut got = Vec::new();
        while got.len() < expected.len() {
            got.extend_from_slice(&self.stdin().expect("more stdin"));
        }
        assert_eq!(got, expected);
    }

    /// The process writes.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.try_output(stream, bytes).unwrap();
    }

    /// The process writes, if the gateway still listens.
    pub fn try_output(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let payload = BytesMut::from(bytes);
        self.server
            .output(stream, payload, &mut self.connection.outbox);
        self.connection.write()
    }

    /// Gives stdin back until the process is asked to stop: by eof, or by the key `q`.
    pub fn echo(&mut self) {
        while let Some(payload) = self.stdin() {
            if payload.as_ref() == b"q" {
                break;
            }
            self.output(Stream::Stdout, &payload);
        }
    }

    /// The process ends: status, the end of the protocol, and of the connection once the gateway
    /// has left.
    pub fn exit(self, code: u8) {
        self.finish(&Ending::Exit(code));
    }

    /// See [`Self::exit`].
    pub fn finish(mut self, ending: &Ending) {
        self.server.finish(ending, &mut self.connection.outbox);
        // The gateway may leave once it has output and status: what ends the protocol behind them
        // (GOAWAY, resets) then finds nobody. Whether they arrived is the browser's to check.
        let _ = self.connection.write();
        self.connection.end();
    }

    /// Says the status and leaves at once, with input unread: the kernel sends RST behind it.
    pub fn exit_and_reset(mut self, code: u8) {
        self.expect_unread();
        self.server
            .finish(&Ending::Exit(code), &mut self.connection.outbox);
        self.connection.write().unwrap();
    }

    /// Leaves with input unread, so that the kernel sends RST. The gateway must send something.
    pub fn reset(self) {
        self.expect_unread();
    }

    fn expect_unread(&self) {
        let tcp = self.connection.tcp();
        assert!(tcp.peek(&mut [0]).unwrap() > 0, "nothing is left unread");
    }

    /// The gateway leaves without a farewell: no Close, no end of stdin, no GOAWAY.
    pub fn expect_drop(mut self) {
        loop {
            match self.event() {
                None => return,
                Some(Event::Resize { .. } | Event::Stdin(_)) => {}
                Some(other) => panic!("a dropped connection was expected, {other:?} came"),
            }
        }
    }
}

impl Connection {
    /// Reads what is there, or waits for it. Zero is the end of the connection.
    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        let len = match &mut self.wire {
            WireEnd::Plain(stream) => stream.read(&mut buffer)?,
            WireEnd::Tls(stream) => match stream.read(&mut buffer) {
                // An abort drops the socket without `close_notify`.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                other => other?,
            },
        };
        self.input.extend_from_slice(&buffer[..len]);
        Ok(len)
    }

    fn write(&mut self) -> io::Result<()> {
        let wire = self.wire.as_write();
        for chunk in self.outbox.chunks() {
            wire.write_all(chunk)?;
        }
        self.outbox.advance(self.outbox.len());
        wire.flush()
    }

    /// FIN, then whatever the gateway still says.
    fn end(mut self) {
        if let WireEnd::Tls(stream) = &mut self.wire {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.tcp().shutdown(Shutdown::Write);
        while self.fill().is_ok_and(|len| len > 0) {}
    }

    fn tcp(&self) -> &TcpStream {
        match &self.wire {
            WireEnd::Plain(stream) => stream,
            WireEnd::Tls(stream) => &stream.sock,
        }
    }
}

impl WireEnd {
    fn as_write(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream,
        }
    }
}
