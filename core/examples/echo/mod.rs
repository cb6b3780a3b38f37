//! The echo both Autobahn examples run, over a blocking socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use periscope_core::limits::READ_BYTES_MAX;
use periscope_core::outbox::Outbox;
use periscope_core::ws::{Event, Kind, WebSocket};

/// Autobahn's largest message has 16 MiB.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long the other side may take to end the connection after the closing handshake.
const LINGER: Duration = Duration::from_secs(2);

/// A socket with its unread and unwritten bytes.
pub(crate) struct Connection {
    socket: TcpStream,
    pub(crate) input: BytesMut,
    pub(crate) out: Outbox,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            input: BytesMut::new(),
            out: Outbox::new(),
        })
    }

    /// Reads more input. Returns false at the end of the stream.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; READ_BYTES_MAX];
        let len = self.socket.read(&mut chunk)?;
        self.input
            .extend_from_slice(chunk.get(..len).unwrap_or_default());
        Ok(len > 0)
    }

    /// Writes all that waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        for chunk in self.out.chunks() {
            self.socket.write_all(chunk)?;
        }
        self.out.advance(self.out.len());
        Ok(())
    }
}

/// Sends every message back until the connection closes; hands each whole one to `on_message`.
/// The server is the side that ends the TCP connection after the closing handshake (RFC 6455 §7.1.1).
pub(crate) fn echo(
    connection: &mut Connection,
    websocket: &mut WebSocket,
    is_server: bool,
    mut on_message: impl FnMut(Kind, &[u8]),
) -> io::Result<()> {
    let mut message = BytesMut::new();
    loop {
        // Flushed after every event: this peer counts one pong per ping.
        match websocket.receive(&mut connection.input, usize::MAX, &mut connection.out) {
            Ok(None) => {
                connection.flush()?;
                if !connection.read()? {
                    return Ok(());
                }
            }
            Ok(Some(Event::Data {
                kind,
                payload,
                last,
                ..
            })) => {
                message.extend_from_slice(&payload);
                if last {
                    on_message(kind, &message);
                    let whole = message.split();
                    let sent = websocket.send(kind, b"", whole, &mut connection.out);
                    sent.map_err(io::Error::other)?;
                }
            }
            Ok(Some(Event::Ping | Event::Pong { .. })) => {}
            Ok(Some(Event::Close { code })) => {
                let closed = websocket.close(code, "", &mut connection.out);
                closed.map_err(io::Error::other)?;
                return finish(connection, is_server);
            }
            Err(error) => {
                let closed = websocket.close(error.close_code(), "", &mut connection.out);
                closed.map_err(io::Error::other)?;
                return finish(connection, true);
            }
        }
        connection.flush()?;
    }
}

/// Writes our Close, then ends the connection or lets the peer do it.
fn finish(connection: &mut Connection, ends_first: bool) -> io::Result<()> {
    connection.flush()?;
    if ends_first {
        connection.socket.shutdown(Shutdown::Write)?;
    }
    connection.socket.set_read_timeout(Some(LINGER))?;
    // Unread input would turn the end into a reset and could cost the peer our Close. The peer may
    // well end with a reset: the closing handshake is done.
    loop {
        match connection.read() {
            Ok(true) => connection.input.clear(),
            Ok(false) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
