//! Sizes of the terminal: JSON objects, one after the other, on the resize stream.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::{Map, Value};

use crate::limits::RESIZE_BYTES_MAX;

/// `{"Width":80,"Height":24}` and a line feed, as client-go writes it.
pub fn encode(cols: u16, rows: u16) -> Bytes {
    Bytes::from(format!("{{\"Width\":{cols},\"Height\":{rows}}}\n"))
}

/// Reads sizes from the stream, however it is cut into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    unread: BytesMut,
    failed: bool,
}

/// The stream holds something else than sizes; nothing after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the resize stream holds something else than sizes")]
pub struct Error;

impl Decoder {
    /// Takes bytes of the stream and returns the last complete size in them: columns and rows.
    /// Sizes with a zero are ignored, as container runtimes do. An error sticks.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<(u16, u16)>, Error> {
        if self.failed || self.unread.len().saturating_add(bytes.len()) > RESIZE_BYTES_MAX {
            self.failed = true;
            return Err(Error);
        }
        self.unread.extend_from_slice(bytes);
        let mut values = serde_json::Deserializer::from_slice(&self.unread).into_iter();
        let mut size = None;
        let mut taken = 0;
        loop {
            match values.next() {
                None => break,
                Some(Ok(object)) => {
                    taken = values.byte_offset();
                    let Some((cols, rows)) = size_of(&object) else {
                        self.failed = true;
                        return Err(Error);
                    };
                    if cols > 0 && rows > 0 {
                        size = Some((cols, rows));
                    }
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(_)) => {
                    self.failed = true;
                    return Err(Error);
                }
            }
        }
        self.unread.advance(taken);
        if self.unread.iter().all(u8::is_ascii_whitespace) {
            self.unread.clear();
        }
        Ok(size)
    }
}

/// Go matches keys in any case, and an absent one is zero.
fn size_of(object: &Map<String, Value>) -> Option<(u16, u16)> {
    let side = |name: &str| {
        let found = object
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        match found {
            None => Some(0),
            Some((_, value)) => u16::try_from(value.as_u64()?).ok(),
        }
    };
    Some((side("width")?, side("height")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(bytes: &[u8], step: usize) -> Result<Vec<(u16, u16)>, Error> {
        let mut decoder = Decoder::default();
        let mut sizes = Vec::new();
        for piece in bytes.chunks(step) {
            sizes.extend(decoder.receive(piece)?);
        }
        Ok(sizes)
    }

    #[test]
    fn sizes_survive_any_cut_and_any_case() {
        let stream = b"{\"Width\":80,\"Height\":24}\n {\"height\":30,\"WIDTH\":100}{\"Width\":0,\"Height\":9}\n";
        assert_eq!(feed(stream, 1), Ok(vec![(80, 24), (100, 30)]));
        assert_eq!(feed(stream, stream.len()), Ok(vec![(100, 30)]));
        assert_eq!(feed(&encode(65535, 1), 1), Ok(vec![(65535, 1)]));
    }

    #[test]
    fn anything_else_ends_the_stream_for_good() {
        for bytes in [
            &b"x"[..],
            b"[1]",
            b"{\"Width\":65536,\"Height\":1}",
            b"{\"Width\":-1}",
        ] {
            let mut decoder = Decoder::default();
            assert_eq!(decoder.receive(bytes), Err(Error), "{bytes:?}");
            assert_eq!(decoder.receive(&encode(80, 24)), Err(Error));
        }
        let endless = [b'{'; RESIZE_BYTES_MAX + 1];
        assert_eq!(Decoder::default().receive(&endless), Err(Error));
    }
}
