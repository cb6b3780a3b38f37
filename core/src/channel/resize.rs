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
        if self.failed {
            return Err(Error);
        }
        self.unread.extend_from_slice(bytes);
        let taken = self.take_sizes();
        self.failed = taken.is_err();
        taken
    }

    fn take_sizes(&mut self) -> Result<Option<(u16, u16)>, Error> {
        let mut size = None;
        loop {
            let blanks = self.unread.iter().take_while(|byte| is_blank(**byte));
            self.unread.advance(blanks.count());
            match self.unread.first() {
                None => return Ok(size),
                Some(b'{') => {}
                // Not left to the parser: it would take a number's first digit for the number.
                Some(_) => return Err(Error),
            }
            let mut values = serde_json::Deserializer::from_slice(&self.unread).into_iter();
            let next = values.next();
            let len = values.byte_offset();
            match next {
                Some(Ok(object)) if len <= RESIZE_BYTES_MAX => {
                    let (cols, rows) = size_of(&object).ok_or(Error)?;
                    if cols > 0 && rows > 0 {
                        size = Some((cols, rows));
                    }
                    self.unread.advance(len);
                }
                Some(Err(error)) if error.is_eof() && self.unread.len() <= RESIZE_BYTES_MAX => {
                    return Ok(size);
                }
                _ => return Err(Error),
            }
        }
    }
}

/// RFC 8259 §2: what may stand between values.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
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

    /// The bound is one object's, however many of them a message holds.
    #[test]
    fn many_sizes_in_one_message_are_read_as_in_many() {
        let stream = b"{\"Width\":80,\"Height\":24}\n".repeat(100);
        assert!(stream.len() > RESIZE_BYTES_MAX);
        assert_eq!(feed(&stream, stream.len()), Ok(vec![(80, 24)]));
        assert_eq!(feed(&stream, 1).map(|sizes| sizes.len()), Ok(100));
        let padding = " ".repeat(RESIZE_BYTES_MAX);
        let long = format!("{{{padding}\"Width\":80,\"Height\":24}}");
        for step in [1, long.len()] {
            assert_eq!(feed(long.as_bytes(), step), Err(Error), "steps of {step}");
        }
    }

    /// A number's end is only known by what follows it; it is no object in any case.
    #[test]
    fn a_number_is_refused_whether_or_not_it_is_complete() {
        for step in [1, 3] {
            assert_eq!(feed(b"10.", step), Err(Error), "steps of {step}");
        }
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
