//! Any tokio stream as a transport.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};

use bytes::{BufMut, BytesMut};
use periscope_core::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A tokio stream that the driver reads and writes.
#[derive(Debug)]
pub struct Socket<T>(pub T);

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for Socket<T> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let start = buf.len();
        buf.put_bytes(0, max); // initialised room, because unsafe code is forbidden here
        let mut room = ReadBuf::new(buf.get_mut(start..).unwrap_or_default());
        let polled = Pin::new(&mut self.0).poll_read(cx, &mut room);
        let len = room.filled().len();
        buf.truncate(start + len);
        ready!(polled)?;
        Poll::Ready(Ok(len))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, chunks)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
