//! A wire in memory: the same frames for ever in one direction, a drain in the other.

use core::hint::black_box;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice, Read, Write};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of frames before they begin again; more than any peer's read buffer.
const WIRE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Wire {
    frames: Vec<u8>,
    at: usize,
}

impl Wire {
    /// A wire that brings messages of `len` bytes.
    pub(crate) fn new(len: usize, is_masked: bool) -> Self {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![0x82];
        let masked = if is_masked { 0x80 } else { 0 };
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) if short < 126 => frame.push(masked | short),
            (_, Ok(len)) => {
                frame.push(masked | 126);
                frame.extend_from_slice(&len.to_be_bytes());
            }
            _ => {
                frame.push(masked | 127);
                frame.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        if is_masked {
            frame.extend_from_slice(&mask);
        }
        let payload = core::iter::once(1).chain((0_u8..=255).cycle()).take(len);
        if is_masked {
            let key = mask.iter().cycle();
            frame.extend(payload.zip(key).map(|(byte, key)| byte ^ key));
        } else {
            frame.extend(payload);
        }
        let frames = frame.repeat(WIRE_BYTES.div_ceil(frame.len()));
        Self { frames, at: 0 }
    }

    /// Takes at most `max` bytes.
    pub(crate) fn take(&mut self, max: usize) -> &[u8] {
        if self.at == self.frames.len() {
            self.at = 0;
        }
        let rest = self.frames.get(self.at..).unwrap_or_default();
        let taken = rest.get(..max.min(rest.len())).unwrap_or_default();
        self.at += taken.len();
        taken
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.take(buf.len());
        let (to, _) = buf.split_at_mut(taken.len());
        to.copy_from_slice(taken);
        Ok(to.len())
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(black_box(buf).len())
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(black_box(bufs).iter().map(|buf| buf.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        buf.put_slice(self.get_mut().take(room));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.get_mut().write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.get_mut().write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
