//! The body of an answer: read to its end or to a limit (RFC 9112 §6–§7).

use bytes::{Buf, Bytes, BytesMut};

use super::Error;
use super::head::BodyLength;
use crate::limits::CHUNK_LINE_BYTES_MAX;

/// Collects a body, however it is framed.
#[derive(Debug)]
pub(super) struct Body {
    kept: BytesMut,
    /// How much is kept; where that is reached, reading ends.
    max: usize,
    awaited: Awaited,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// So many bytes, the last of the body.
    Bytes(u64),
    /// The line with a chunk's size.
    ChunkSize,
    /// So many bytes of a chunk; never 0.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Whatever comes until the peer closes.
    Eof,
    /// Nothing.
    Nothing,
}

impl Body {
    /// The body of an answer with this status and length (RFC 9112 §6.3), of which `max` bytes are
    /// kept.
    pub(super) fn new(status: u16, length: BodyLength, max: usize) -> Self {
        let awaited = match length {
            _ if matches!(status, 204 | 304) => Awaited::Nothing,
            BodyLength::Bytes(0) => Awaited::Nothing,
            BodyLength::Bytes(len) => Awaited::Bytes(len),
            BodyLength::Coded { is_chunked: true } => Awaited::ChunkSize,
            BodyLength::Coded { is_chunked: false } | BodyLength::Unsaid => Awaited::Eof,
        };
        Self {
            kept: BytesMut::new(),
            max,
            awaited,
        }
    }

    /// Takes what belongs to the body off `input`. Returns whether it is complete or as long as we
    /// keep one. Trailer fields are not waited for: nobody asks for them.
    pub(super) fn receive(&mut self, input: &mut BytesMut) -> Result<bool, Error> {
        loop {
            if self.kept.len() >= self.max {
                self.awaited = Awaited::Nothing;
            }
            if self.awaited == Awaited::Nothing {
                return Ok(true);
            }
            if input.is_empty() {
                return Ok(false);
            }
            self.awaited = match self.awaited {
                Awaited::Bytes(len) => match self.keep(len, input) {
                    0 => Awaited::Nothing,
                    left => Awaited::Bytes(left),
                },
                Awaited::Chunk(len) => match self.keep(len, input) {
                    0 => Awaited::ChunkEnd,
                    left => Awaited::Chunk(left),
                },
                Awaited::ChunkSize => {
                    let Some(line) = take_line(input)? else {
                        return Ok(false);
                    };
                    match chunk_size(&line)? {
                        0 => Awaited::Nothing,
                        len => Awaited::Chunk(len),
                    }
                }
                Awaited::ChunkEnd => match take_line(input)? {
                    None => return Ok(false),
                    Some(line) if line.is_empty() => Awaited::ChunkSize,
                    Some(_) => return Err(Error::Chunk),
                },
                Awaited::Eof => {
                    self.keep(u64::MAX, input);
                    Awaited::Eof
                }
                Awaited::Nothing => return Ok(true),
            };
        }
    }

    /// How much was kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether the end of the connection, here, is the end of the body.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.awaited, Awaited::Eof | Awaited::Nothing)
    }

    /// The body as far as it came. A peer that closes early has still refused us.
    pub(super) fn into_bytes(self) -> Bytes {
        self.kept.freeze()
    }

    /// Keeps up to `len` bytes and returns how many of them are still to come.
    fn keep(&mut self, len: u64, input: &mut BytesMut) -> u64 {
        let room = self.max.saturating_sub(self.kept.len());
        let part = usize::try_from(len)
            .unwrap_or(usize::MAX)
            .min(input.len())
            .min(room);
        self.kept.extend_from_slice(&input.split_to(part));
        len.saturating_sub(part as u64)
    }
}

/// Takes a line without its CRLF.
fn take_line(input: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
    let window = input
        .get(..CHUNK_LINE_BYTES_MAX.min(input.len()))
        .unwrap_or_default();
    let Some(feed) = window.iter().position(|&byte| byte == b'\n') else {
        return if window.len() == CHUNK_LINE_BYTES_MAX {
            Err(Error::Chunk)
        } else {
            Ok(None)
        };
    };
    let mut line = input.split_to(feed);
    input.advance(1);
    if line.last() != Some(&b'\r') {
        return Err(Error::Chunk);
    }
    line.truncate(line.len().saturating_sub(1));
    Ok(Some(line))
}

/// RFC 9112 §7.1: hexadecimal digits, then perhaps an extension, which is ignored.
fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    let size = line
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    let is_hexadecimal = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
    let digits = core::str::from_utf8(size).map_err(|_| Error::Chunk)?;
    if !is_hexadecimal {
        return Err(Error::Chunk);
    }
    u64::from_str_radix(digits, 16).map_err(|_| Error::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REFUSAL_BODY_BYTES_MAX;

    const CHUNKED: BodyLength = BodyLength::Coded { is_chunked: true };

    fn take(length: BodyLength, pieces: &[&[u8]]) -> Result<(bool, Vec<u8>, usize), Error> {
        let mut body = Body::new(500, length, REFUSAL_BODY_BYTES_MAX);
        let mut input = BytesMut::new();
        let mut is_done = body.receive(&mut input)?;
        for piece in pieces {
            input.extend_from_slice(piece);
            is_done = body.receive(&mut input)?;
        }
        Ok((is_done, body.into_bytes().to_vec(), input.len()))
    }

    /// The three feeds.
    fn read(length: BodyLength, bytes: &[u8]) -> Result<(bool, Vec<u8>), Error> {
        let whole = take(length, &[bytes]);
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(take(length, &singles), whole);
        let (is_done, kept, left) = whole?;
        if is_done && left == 0 {
            assert_eq!(take(length, &[bytes, b"junk"]), Ok((true, kept.clone(), 4)));
        }
        Ok((is_done, kept))
    }

    /// RFC 9112 §6.3: the end is a count, a last chunk, or the end of the connection.
    #[test]
    fn a_body_ends_as_its_head_said() {
        assert_eq!(read(BodyLength::Bytes(0), b""), Ok((true, vec![])));
        assert_eq!(
            read(BodyLength::Bytes(3), b"ab"),
            Ok((false, b"ab".to_vec()))
        );
        assert_eq!(
            read(BodyLength::Bytes(3), b"abc"),
            Ok((true, b"abc".to_vec()))
        );
        assert_eq!(
            read(BodyLength::Unsaid, b"abc"),
            Ok((false, b"abc".to_vec()))
        );
        let chunks = b"3;x=y\r\nabc\r\n0A \r\n0123456789\r\n0\r\n";
        assert_eq!(read(CHUNKED, chunks), Ok((true, b"abc0123456789".to_vec())));
        assert_eq!(
            Body::new(304, BodyLength::Bytes(5), REFUSAL_BODY_BYTES_MAX)
                .receive(&mut BytesMut::new()),
            Ok(true)
        );
    }

    /// RFC 9112 §7.1: sizes are hexadecimal digits, and chunks end where they say.
    #[test]
    fn broken_chunks_are_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1\n",
            b"11111111111111111\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            &[b'1'; CHUNK_LINE_BYTES_MAX],
        ] {
            assert_eq!(read(CHUNKED, bytes), Err(Error::Chunk), "{bytes:?}");
        }
    }

    /// A body of any length costs at most what we keep.
    #[test]
    fn a_body_is_cut_at_the_limit() {
        let long = vec![b'x'; REFUSAL_BODY_BYTES_MAX + 10];
        for length in [BodyLength::Bytes(u64::MAX), BodyLength::Unsaid] {
            let (is_done, kept, left) = take(length, &[&long]).unwrap();
            assert_eq!(
                (is_done, kept.len(), left),
                (true, REFUSAL_BODY_BYTES_MAX, 10)
            );
        }
        let chunk = [b"ffffffff\r\n", &long[..]].concat();
        let (is_done, kept, left) = take(CHUNKED, &[&chunk]).unwrap();
        assert_eq!(
            (is_done, kept.len(), left),
            (true, REFUSAL_BODY_BYTES_MAX, 10)
        );
    }
}
