//! The socket towards an apiserver as the driver sees it: TLS by the core, or plain.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use periscope_core::tls::Tls;
use periscope_core::transport::Transport;
use periscope_runtime_tokio::Socket;
use tokio::net::TcpStream;

use super::kube::Endpoint;

/// A connection to an apiserver.
#[derive(Debug)]
pub(crate) enum Upstream {
    Plain(Socket<TcpStream>),
    Tls(Box<Tls<Socket<TcpStream>>>),
}

impl Upstream {
    /// Prepares what the endpoint wants spoken on a connected socket.
    pub(crate) fn new(socket: TcpStream, endpoint: &Endpoint) -> Result<Self, rustls::Error> {
        let socket = Socket(socket);
        let Some(tls) = &endpoint.tls else {
            return Ok(Self::Plain(socket));
        };
        let tls = Tls::new(socket, Arc::clone(&tls.config), tls.server_name.clone())?;
        Ok(Self::Tls(Box::new(tls)))
    }
}

impl Transport for Upstream {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buf, max),
            Self::Tls(tls) => tls.poll_read(cx, buf, max),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write(cx, chunks),
            Self::Tls(tls) => tls.poll_write(cx, chunks),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_flush(cx),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
        }
    }
}
