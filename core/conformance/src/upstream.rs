//! The gateway's connection to the apiserver: plain or TLS.

use core::task::{Context, Poll};
use std::io::{self, IoSlice};

use bytes::BytesMut;
use periscope_core::tls::Tls;
use periscope_core::transport::Transport;

/// A socket, with or without TLS around it.
#[derive(Debug)]
pub enum Upstream<T> {
    /// The socket itself.
    Plain(T),
    /// Core's TLS over it.
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
            Self::Tls(transport) => transport.poll_read(cx, buf, max),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(transport) => transport.poll_write(cx, chunks),
            Self::Tls(transport) => transport.poll_write(cx, chunks),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(transport) => transport.poll_flush(cx),
            Self::Tls(transport) => transport.poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(transport) => transport.poll_shutdown(cx),
            Self::Tls(transport) => transport.poll_shutdown(cx),
        }
    }
}
