//! SPDY header blocks (SPDY/3.1 §2.6.10): a count, then name and value pairs, each with a 32-bit
//! length; all blocks of one direction are one zlib stream with a preset dictionary.

use bytes::BufMut;
use flate2::{Decompress, FlushDecompress, Status};

use super::{Error, dictionary};
use crate::limits;

/// The zlib header with FDICT, and the dictionary's Adler-32 (RFC 1950 §2.2). It stands once, in
/// front of the first block of a direction.
const ZLIB_HEADER: [u8; 6] = [0x78, 0xF9, 0xE3, 0xC6, 0xA7, 0xC2];

/// An empty stored block, which is what a sync flush writes. Go's inflater yields nothing of a
/// header block until it has seen one.
const SYNC_FLUSH: [u8; 5] = [0x00, 0x00, 0x00, 0xFF, 0xFF];

/// Inflates into pieces of this many bytes; a header block of exec has 29.
const INFLATE_BYTES: usize = 512;

/// Writes header blocks without compressing them: each is one stored deflate block (RFC 1951
/// §3.2.4) and a sync flush. The stream is never finished.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    is_begun: bool,
}

impl Encoder {
    /// The header block with `headers`. Callers keep blocks far below 64 KiB.
    pub(super) fn encode(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        put_length(headers.len(), &mut block);
        for (name, value) in headers {
            for text in [name, value] {
                put_length(text.len(), &mut block);
                block.put_slice(text.as_bytes());
            }
        }
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        debug_assert_eq!(
            usize::from(length),
            block.len(),
            "a stored block holds at most 65535 bytes"
        );
        let mut compressed = Vec::with_capacity(block.len().saturating_add(16));
        if !self.is_begun {
            self.is_begun = true;
            compressed.put_slice(&ZLIB_HEADER);
        }
        compressed.put_u8(0);
        compressed.put_u16_le(length);
        compressed.put_u16_le(!length);
        compressed.put_slice(&block);
        compressed.put_slice(&SYNC_FLUSH);
        compressed
    }
}

fn put_length(length: usize, block: &mut Vec<u8>) {
    block.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Inflates the header blocks a peer sends, piece by piece as they arrive.
#[derive(Debug)]
pub(super) struct Decoder {
    inflate: Decompress,
    /// What was inflated of the block under way.
    block: Vec<u8>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            inflate: Decompress::new(true),
            block: Vec::new(),
        }
    }

    /// Takes the next compressed bytes of the block under way.
    pub(super) fn append(&mut self, compressed: &[u8]) -> Result<(), Error> {
        let mut rest = compressed;
        let mut piece = [0_u8; INFLATE_BYTES];
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let result = self
                .inflate
                .decompress(rest, &mut piece, FlushDecompress::Sync);
            let taken = distance(read, self.inflate.total_in());
            let given = distance(written, self.inflate.total_out());
            rest = rest.get(taken..).unwrap_or_default();
            // Before any error: what came before it counts the same however the bytes are cut.
            self.block
                .extend_from_slice(piece.get(..given).unwrap_or_default());
            if self.block.len() > limits::SPDY_HEADER_BLOCK_BYTES_MAX {
                return Err(Error::HeaderBlockTooLarge);
            }
            match result {
                Ok(Status::Ok | Status::BufError) => {}
                // The stream lasts as long as the connection: a final block is an error.
                Ok(Status::StreamEnd) => return Err(Error::Compression),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate
                        .set_dictionary(&dictionary::bytes())
                        .map_err(|_| Error::Compression)?;
                    continue;
                }
                Err(_) => return Err(Error::Compression),
            }
            if taken == 0 && given == 0 {
                // Nothing moved: what is left in `rest`, if anything, belongs to no block.
                return if rest.is_empty() {
                    Ok(())
                } else {
                    Err(Error::Compression)
                };
            }
        }
    }

    /// Ends the block under way and returns the value of `name` in it, if it has that header.
    pub(super) fn finish(&mut self, name: &str) -> Result<Option<String>, Error> {
        let found = find(&self.block, name);
        self.block.clear();
        found
    }
}

/// How far a counter of the inflater moved in one call.
fn distance(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// Checks a whole header block and returns the value of `wanted` in it.
fn find(block: &[u8], wanted: &str) -> Result<Option<String>, Error> {
    let (count, mut rest) = split_number(block)?;
    if usize::try_from(count).map_or(true, |count| count > limits::SPDY_HEADERS_MAX) {
        return Err(Error::TooManyHeaders(count));
    }
    let mut found = None;
    for _ in 0..count {
        let (name, after) = split_text(rest)?;
        let (value, after) = split_text(after)?;
        rest = after;
        if name.is_empty() || name.iter().any(u8::is_ascii_uppercase) {
            return Err(Error::HeaderName);
        }
        if name == wanted.as_bytes() {
            if found.is_some() {
                // §2.6.10: a name stands once; several values are joined by NUL.
                return Err(Error::HeaderBlock);
            }
            found = Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    if rest.is_empty() {
        Ok(found)
    } else {
        Err(Error::HeaderBlock)
    }
}

fn split_number(input: &[u8]) -> Result<(u32, &[u8]), Error> {
    let (number, rest) = input.split_first_chunk::<4>().ok_or(Error::HeaderBlock)?;
    Ok((u32::from_be_bytes(*number), rest))
}

fn split_text(input: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (length, rest) = split_number(input)?;
    let length = usize::try_from(length).map_err(|_| Error::HeaderBlock)?;
    rest.split_at_checked(length).ok_or(Error::HeaderBlock)
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// Compresses the way Go does: one stream, the preset dictionary, a sync flush per block.
    struct Deflate(Compress);

    impl Deflate {
        fn new() -> Self {
            let mut compress = Compress::new(Compression::best(), true);
            compress.set_dictionary(&dictionary::bytes()).unwrap();
            Self(compress)
        }

        fn block(&mut self, block: &[u8]) -> Vec<u8> {
            let mut compressed = Vec::with_capacity(block.len() + 4096);
            self.0
                .compress_vec(block, &mut compressed, FlushCompress::Sync)
                .unwrap();
            assert!(compressed.ends_with(&[0, 0, 0xFF, 0xFF]));
            compressed
        }
    }

    fn plain(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        put_length(pairs.len(), &mut block);
        for (name, value) in pairs {
            put_length(name.len(), &mut block);
            block.extend_from_slice(name.as_bytes());
            put_length(value.len(), &mut block);
            block.extend_from_slice(value.as_bytes());
        }
        block
    }

    fn decode(block: &[u8]) -> Result<Option<String>, Error> {
        let mut decoder = Decoder::new();
        decoder.append(&Deflate::new().block(block))?;
        decoder.finish("streamtype")
    }

    #[test]
    fn blocks_of_one_direction_share_one_stream_whole_and_byte_by_byte() {
        let mut deflate = Deflate::new();
        let blocks: Vec<Vec<u8>> = ["error", "stdin", "stdout"]
            .iter()
            .map(|name| deflate.block(&plain(&[("streamtype", name)])))
            .collect();
        let mut whole = Decoder::new();
        let mut slivers = Decoder::new();
        for (block, name) in blocks.iter().zip(["error", "stdin", "stdout"]) {
            whole.append(block).unwrap();
            for byte in block {
                slivers.append(&[*byte]).unwrap();
            }
            assert_eq!(whole.finish("streamtype").unwrap().as_deref(), Some(name));
            assert_eq!(slivers.finish("streamtype").unwrap().as_deref(), Some(name));
        }
    }

    #[test]
    fn stored_blocks_of_ours_are_the_published_bytes_and_inflate() {
        let mut encoder = Encoder::default();
        let first = encoder.encode(&[("streamtype", "error")]);
        assert_eq!(first, b"\x78\xf9\xe3\xc6\xa7\xc2\x00\x1b\x00\xe4\xff\x00\x00\x00\x01\x00\x00\x00\x0astreamtype\x00\x00\x00\x05error\x00\x00\x00\xff\xff");
        let second = encoder.encode(&[]);
        assert_eq!(
            second,
            b"\x00\x04\x00\xfb\xff\x00\x00\x00\x00\x00\x00\x00\xff\xff"
        );
        let mut decoder = Decoder::new();
        decoder.append(&first).unwrap();
        assert_eq!(
            decoder.finish("streamtype").unwrap().as_deref(),
            Some("error")
        );
        decoder.append(&second).unwrap();
        assert_eq!(decoder.finish("streamtype").unwrap(), None);
    }

    #[test]
    fn a_deflate_bomb_is_refused_once_it_passes_the_bound() {
        let mut block = plain(&[("streamtype", "error")]);
        block.extend(std::iter::repeat_n(0_u8, 8 * 1024 * 1024));
        let mut compressed = Vec::with_capacity(64 * 1024);
        let mut deflate = Deflate::new();
        deflate
            .0
            .compress_vec(&block, &mut compressed, FlushCompress::Sync)
            .unwrap();
        assert!(compressed.len() < 16 * 1024, "it is a bomb");
        let mut decoder = Decoder::new();
        assert_eq!(decoder.append(&compressed), Err(Error::HeaderBlockTooLarge));
        assert!(decoder.block.capacity() <= 4 * limits::SPDY_HEADER_BLOCK_BYTES_MAX);
    }

    #[test]
    fn what_is_too_large_and_then_broken_is_too_large_however_it_is_cut() {
        let block = vec![0_u8; limits::SPDY_HEADER_BLOCK_BYTES_MAX + 1];
        let mut compressed = Vec::with_capacity(64 * 1024);
        let mut deflate = Deflate::new();
        deflate
            .0
            .compress_vec(&block, &mut compressed, FlushCompress::Sync)
            .unwrap();
        compressed.push(0x07); // a block of the type that does not exist
        for step in [1, compressed.len()] {
            let mut decoder = Decoder::new();
            let mut pieces = compressed.chunks(step).map(|piece| decoder.append(piece));
            let refused = pieces.find_map(Result::err);
            assert_eq!(
                refused,
                Some(Error::HeaderBlockTooLarge),
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn ten_thousand_headers_are_refused_by_their_count() {
        let pairs: Vec<(String, String)> = (0..10_000)
            .map(|n| (format!("n{n}"), String::new()))
            .collect();
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            find(&plain(&pairs), "streamtype"),
            Err(Error::TooManyHeaders(10_000))
        );
        assert_eq!(
            find(&u32::MAX.to_be_bytes(), "x"),
            Err(Error::TooManyHeaders(u32::MAX))
        );
    }

    #[test]
    fn malformed_header_blocks_are_refused() {
        let good = plain(&[("streamtype", "error")]);
        for length in 0..good.len() {
            assert_eq!(
                decode(&good[..length]),
                Err(Error::HeaderBlock),
                "cut at {length}"
            );
        }
        assert_eq!(
            decode(&[good.as_slice(), b"x"].concat()),
            Err(Error::HeaderBlock)
        );
        assert_eq!(
            decode(&plain(&[("streamType", "error")])),
            Err(Error::HeaderName)
        );
        assert_eq!(decode(&plain(&[("", "error")])), Err(Error::HeaderName));
        assert_eq!(
            decode(&plain(&[("streamtype", "a"), ("streamtype", "b")])),
            Err(Error::HeaderBlock)
        );
        let mut huge = 1_u32.to_be_bytes().to_vec();
        huge.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(decode(&huge), Err(Error::HeaderBlock));
    }

    #[test]
    fn a_broken_ended_or_foreign_zlib_stream_is_refused() {
        let mut decoder = Decoder::new();
        assert_eq!(
            decoder.append(b"GET / HTTP/1.1\r\n"),
            Err(Error::Compression)
        );
        // The dictionary's checksum is another one.
        let mut decoder = Decoder::new();
        assert_eq!(
            decoder.append(&[0x78, 0xF9, 0xE3, 0xC6, 0xA7, 0xC3]),
            Err(Error::Compression)
        );
        // A final block: nothing can follow it.
        let mut finished = Vec::with_capacity(4096);
        let mut deflate = Deflate::new();
        deflate
            .0
            .compress_vec(&plain(&[]), &mut finished, FlushCompress::Finish)
            .unwrap();
        let mut decoder = Decoder::new();
        assert_eq!(decoder.append(&finished), Err(Error::Compression));
    }
}
