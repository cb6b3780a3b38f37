//! TLS towards the apiserver: rustls driven as the state machine it is, around any transport.
//!
//! rustls reads a clock and OS randomness, so this module sits behind the feature `tls` and the
//! host passes the configuration.

use core::task::{Context, Poll};
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::limits::{READ_BYTES_FIRST, READ_BYTES_MAX, TLS_WRITE_BYTES_MAX};
use crate::transport::Transport;

/// What one record says at most (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// A TLS client over another transport.
#[derive(Debug)]
pub struct Tls<T> {
    transport: T,
    connection: ClientConnection,
    /// Ciphertext read and not yet given to rustls.
    incoming: BytesMut,
    /// How much the next read asks for.
    read_max: usize,
    /// How much of it somebody has room for.
    ahead_max: usize,
    /// The transport's end of file was seen.
    ended: bool,
    /// `close_notify` came.
    peer_closed: bool,
    closing: bool,
    /// Errors stick: whoever comes next, reader or writer, is told too.
    failed: Option<rustls::Error>,
    /// Somebody waits for the end of the handshake, which somebody else's call may bring.
    awaited: bool,
}

impl<T: Transport> Tls<T> {
    /// Prepares a handshake. `Err`: the configuration cannot serve this name.
    pub fn new(
        transport: T,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let mut connection = ClientConnection::new(config, name)?;
        connection.set_buffer_limit(Some(TLS_WRITE_BYTES_MAX));
        Ok(Self {
            transport,
            connection,
            incoming: BytesMut::new(),
            read_max: READ_BYTES_FIRST,
            ahead_max: READ_BYTES_MAX,
            ended: false,
            peer_closed: false,
            closing: false,
            failed: None,
            awaited: false,
        })
    }

    /// The transport below.
    pub fn get_ref(&self) -> &T {
        &self.transport
    }

    /// Hands ciphertext to the transport until nothing waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            let mut sink = Sink {
                transport: &mut self.transport,
                cx,
                blocked: false,
            };
            match self.connection.write_tls(&mut sink) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(_) if sink.blocked => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.transport.poll_flush(cx)
    }

    /// Reads ciphertext once and lets rustls work on it. `Ready(Ok(()))`: something happened, be it
    /// the end of the stream or a failure.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.incoming.is_empty() && !self.ended {
            // Ciphertext is hardly longer than what it says: more would only lie here.
            let max = self.read_max.min(self.ahead_max.max(READ_BYTES_FIRST));
            match self.transport.poll_read(cx, &mut self.incoming, max) {
                Poll::Pending => {
                    // A quiet connection should not hold on to a buffer.
                    self.incoming = BytesMut::new();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(len)) => {
                    self.ended = len == 0;
                    let next = if len >= max {
                        max.saturating_mul(2)
                    } else {
                        READ_BYTES_FIRST
                    };
                    self.read_max = next.clamp(READ_BYTES_FIRST, READ_BYTES_MAX);
                }
            }
        }
        if self.incoming.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut source = Source(&mut self.incoming);
        self.connection.read_tls(&mut source)?;
        if self.incoming.is_empty() {
            // Who knows whether the next read comes soon.
            self.incoming = BytesMut::new();
        }
        match self.connection.process_new_packets() {
            Ok(state) => self.peer_closed = state.peer_has_closed(),
            Err(error) => {
                self.failed = Some(error);
                // Best effort: the alert tells the peer why.
                let _ = self.poll_send(cx).is_ready();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Completes the handshake. `Err` in every later call too once it has failed.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.is_handshaking() {
            if let Some(error) = &self.failed {
                return Poll::Ready(Err(broken(error.clone())));
            }
            if self.ended && self.incoming.is_empty() {
                return Poll::Ready(Err(broken("end of file inside the TLS handshake")));
            }
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(broken(error)));
            }
            match self.poll_receive(cx) {
                Poll::Pending => {
                    self.awaited = true;
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                Poll::Ready(Ok(())) => {}
            }
        }
        if self.awaited {
            // The other direction waits too, but the bytes its waker stood for are taken now.
            self.awaited = false;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn read_plaintext(&mut self, buf: &mut BytesMut, max: usize) -> io::Result<usize> {
        let mut reader = self.connection.reader();
        let mut total = 0_usize;
        while total < max {
            let run = match reader.fill_buf() {
                Ok(run) => run,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::UnexpectedEof => break,
                    _ => return Err(error),
                },
            };
            let len = run.len().min(max.saturating_sub(total));
            buf.extend_from_slice(run.get(..len).unwrap_or_default());
            if len == 0 {
                break;
            }
            reader.consume(len);
            total = total.saturating_add(len);
        }
        Ok(total)
    }
}

impl<T: Transport> Transport for Tls<T> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        match self.poll_handshake(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        loop {
            // Our last words of the handshake, answers to key updates, and what a writer left. A
            // failure is the writer's to find: what the peer said before it left is still to be read.
            let _ = self.poll_send(cx).is_ready();
            let len = self.read_plaintext(buf, max)?;
            if len > 0 {
                return Poll::Ready(Ok(len));
            }
            if let Some(error) = &self.failed {
                return Poll::Ready(Err(broken(error.clone())));
            }
            // Without close_notify the end of the connection is still its end.
            if self.peer_closed || (self.ended && self.incoming.is_empty()) {
                return Poll::Ready(Ok(0));
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.poll_handshake(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(broken(error.clone())));
        }
        // Else "taken" would only mean "encrypted", and marks and stalls would be told lies.
        match self.poll_send(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let taken = self.connection.writer().write_vectored(chunks)?;
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn read_ahead(&mut self, max: usize) {
        // rustls may hold a record that is nearly there already.
        self.ahead_max = max.saturating_sub(RECORD_BYTES_MAX);
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            self.connection.send_close_notify();
        }
        match self.poll_send(cx) {
            Poll::Ready(Ok(())) => self.transport.poll_shutdown(cx),
            other => other,
        }
    }
}

/// A connection towards an apiserver, over TLS or, where its URL says `http`, without.
#[derive(Debug)]
pub enum Upstream<T> {
    /// Bytes as they are.
    Plain(T),
    /// Bytes through TLS.
    Tls(Box<Tls<T>>),
}

impl<T: Transport> Transport for Upstream<T> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(transport) => transport.poll_read(cx, buf, max),
            Self::Tls(tls) => tls.poll_read(cx, buf, max),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(transport) => transport.poll_write(cx, chunks),
            Self::Tls(tls) => tls.poll_write(cx, chunks),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(transport) => transport.poll_flush(cx),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }

    fn read_ahead(&mut self, max: usize) {
        match self {
            Self::Plain(transport) => transport.read_ahead(max),
            Self::Tls(tls) => tls.read_ahead(max),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(transport) => transport.poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
        }
    }
}

/// Gives rustls the ciphertext that was read.
struct Source<'a>(&'a mut BytesMut);

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(self.0.len());
        if let Some(room) = buf.get_mut(..len) {
            self.0.copy_to_slice(room);
        }
        Ok(len)
    }
}

/// Lets rustls write ciphertext straight into the transport.
struct Sink<'a, 'b, T> {
    transport: &'a mut T,
    cx: &'a mut Context<'b>,
    blocked: bool,
}

impl<T: Transport> Write for Sink<'_, '_, T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.transport.poll_write(self.cx, chunks) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                self.blocked = true;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks an error as one of TLS. Whatever breaks the handshake is one: nothing was said yet.
fn broken(error: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
