//! SPDY frames (SPDY/3.1 §2.2 and §2.6): the eight bytes every frame begins with, and the short
//! control frames.

use bytes::{BufMut, Bytes, BytesMut};

use super::Error;
use crate::limits;

/// Every frame begins with this many bytes.
pub(super) const HEADER_BYTES: usize = 8;

/// FIN: the sender's half of the stream ends with this frame.
pub(super) const FLAG_FIN: u8 = 0x01;

/// The longest payload a 24-bit length can declare.
pub(super) const PAYLOAD_BYTES_MAX: usize = 0x00FF_FFFF;

/// Clears the top bit of a stream id, which is reserved (or tells control from data).
const ID_MASK: u32 = 0x7FFF_FFFF;

/// The version all our frames carry and all a peer's control frames must carry.
const VERSION: u16 = 3;

/// The first eight bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameHeader {
    /// A control frame.
    Control {
        /// What it is.
        kind: Kind,
        /// Its flags.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
    /// A data frame.
    Data {
        /// The stream.
        id: u32,
        /// Its flags.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
}

/// Control frame types, numbered as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SynStream = 1,
    SynReply = 2,
    RstStream = 3,
    Settings = 4,
    Ping = 6,
    Goaway = 7,
    Headers = 8,
    WindowUpdate = 9,
}

impl Kind {
    fn from_wire(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::SynStream,
            2 => Self::SynReply,
            3 => Self::RstStream,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::Goaway,
            8 => Self::Headers,
            9 => Self::WindowUpdate,
            _ => return None,
        })
    }

    /// Bytes of the fixed part behind the frame header.
    pub(super) const fn fixed_bytes(self) -> usize {
        match self {
            Self::SynStream => 10,
            Self::SynReply | Self::Settings | Self::Ping | Self::Headers => 4,
            Self::RstStream | Self::Goaway | Self::WindowUpdate => 8,
        }
    }

    /// Whether the fixed part may be followed by more (a header block, a list of settings).
    const fn has_tail(self) -> bool {
        matches!(
            self,
            Self::SynStream | Self::SynReply | Self::Settings | Self::Headers
        )
    }
}

impl FrameHeader {
    /// Reads the frame header at the front of `input`; `None` needs more bytes.
    pub(super) fn decode(input: &[u8]) -> Result<Option<Self>, Error> {
        let Some(&[first, second, third, fourth, flags, high, middle, low]) =
            input.first_chunk::<HEADER_BYTES>()
        else {
            return Ok(None);
        };
        // 24 bits always fit a usize; the fallback is never taken.
        let length = usize::try_from(u32::from_be_bytes([0, high, middle, low]))
            .unwrap_or(PAYLOAD_BYTES_MAX);
        if first & 0x80 == 0 {
            let id = u32::from_be_bytes([first, second, third, fourth]);
            if id == 0 {
                return Err(Error::StreamIdZero);
            }
            return Ok(Some(Self::Data { id, flags, length }));
        }
        let version = u16::from_be_bytes([first & 0x7F, second]);
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let number = u16::from_be_bytes([third, fourth]);
        let kind = Kind::from_wire(number).ok_or(Error::FrameType(number))?;
        if length > limits::SPDY_CONTROL_BYTES_MAX {
            return Err(Error::ControlTooLong(length));
        }
        let fits = if kind.has_tail() {
            length >= kind.fixed_bytes()
        } else {
            length == kind.fixed_bytes()
        };
        if !fits {
            return Err(Error::FrameLength {
                kind: number,
                length,
            });
        }
        Ok(Some(Self::Control {
            kind,
            flags,
            length,
        }))
    }
}

/// A 32-bit number of a control frame's fixed part, `index` words in.
pub(super) fn word(fixed: &[u8], index: usize) -> u32 {
    let at = index.saturating_mul(4);
    fixed
        .get(at..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The same with the reserved top bit cleared.
pub(super) fn id_word(fixed: &[u8], index: usize) -> u32 {
    word(fixed, index) & ID_MASK
}

/// The header of a data frame. `length` must not exceed [`PAYLOAD_BYTES_MAX`].
pub(super) fn put_data_header(id: u32, fin: bool, length: usize, buffer: &mut BytesMut) {
    debug_assert!(id != 0 && id & !ID_MASK == 0, "a stream id of ours");
    debug_assert!(length <= PAYLOAD_BYTES_MAX, "the caller splits or refuses");
    buffer.put_u32(id & ID_MASK);
    buffer.put_u8(if fin { FLAG_FIN } else { 0 });
    put_u24(length, buffer);
}

/// `SYN_STREAM` with no flags, no associated stream, priority 0 (§2.6.1).
pub(super) fn syn_stream(id: u32, block: &[u8]) -> Bytes {
    let mut buffer = control(Kind::SynStream, block.len().saturating_add(10));
    buffer.put_u32(id);
    buffer.put_u32(0);
    buffer.put_u16(0);
    buffer.put_slice(block);
    buffer.freeze()
}

/// `SYN_REPLY` with no flags (§2.6.2).
pub(super) fn syn_reply(id: u32, block: &[u8]) -> Bytes {
    let mut buffer = control(Kind::SynReply, block.len().saturating_add(4));
    buffer.put_u32(id);
    buffer.put_slice(block);
    buffer.freeze()
}

/// `RST_STREAM` (§2.6.3).
pub(super) fn rst_stream(id: u32, status: u32) -> Bytes {
    let mut buffer = control(Kind::RstStream, 8);
    buffer.put_u32(id);
    buffer.put_u32(status);
    buffer.freeze()
}

/// PING (§2.6.5).
pub(super) fn ping(id: u32) -> Bytes {
    let mut buffer = control(Kind::Ping, 4);
    buffer.put_u32(id);
    buffer.freeze()
}

/// GOAWAY with status OK (§2.6.6).
pub(super) fn goaway(last_stream_id: u32) -> Bytes {
    let mut buffer = control(Kind::Goaway, 8);
    buffer.put_u32(last_stream_id);
    buffer.put_u32(0);
    buffer.freeze()
}

fn control(kind: Kind, length: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(HEADER_BYTES.saturating_add(length));
    buffer.put_u16(0x8000 | VERSION);
    buffer.put_u16(kind as u16);
    buffer.put_u8(0);
    put_u24(length, &mut buffer);
    buffer
}

fn put_u24(length: usize, buffer: &mut BytesMut) {
    buffer.put_uint(u64::try_from(length.min(PAYLOAD_BYTES_MAX)).unwrap_or(0), 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_header_is_read_only_when_all_eight_bytes_are_there() {
        let frame = [0, 0, 0, 5, 1, 0, 0, 2, b'o', b'k'];
        for length in 0..HEADER_BYTES {
            assert_eq!(FrameHeader::decode(&frame[..length]), Ok(None));
        }
        let header = FrameHeader::Data {
            id: 5,
            flags: FLAG_FIN,
            length: 2,
        };
        assert_eq!(FrameHeader::decode(&frame), Ok(Some(header)));
        assert_eq!(
            FrameHeader::decode(&frame[..HEADER_BYTES]),
            Ok(Some(header))
        );
    }

    #[test]
    fn control_frames_outside_the_draft_are_refused() {
        let refused = |bytes: [u8; 8]| FrameHeader::decode(&bytes).unwrap_err();
        assert_eq!(refused([0x80, 2, 0, 6, 0, 0, 0, 4]), Error::Version(2));
        for number in [0_u8, 5, 10, 11, 255] {
            assert_eq!(
                refused([0x80, 3, 0, number, 0, 0, 0, 8]),
                Error::FrameType(u16::from(number))
            );
        }
        assert_eq!(
            refused([0x80, 3, 0, 6, 0, 0, 0, 5]),
            Error::FrameLength { kind: 6, length: 5 }
        );
        assert_eq!(
            refused([0x80, 3, 0, 1, 0, 0, 0, 9]),
            Error::FrameLength { kind: 1, length: 9 }
        );
        assert_eq!(
            refused([0x80, 3, 0, 3, 0, 0, 0, 12]),
            Error::FrameLength {
                kind: 3,
                length: 12
            }
        );
        assert_eq!(
            refused([0x80, 3, 0, 4, 0, 1, 0, 1]),
            Error::ControlTooLong(65537)
        );
        assert_eq!(refused([0, 0, 0, 0, 0, 0, 0, 1]), Error::StreamIdZero);
    }

    #[test]
    fn frames_we_write_are_the_ones_go_writes() {
        assert_eq!(
            ping(1).as_ref(),
            b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01"
        );
        assert_eq!(
            goaway(5).as_ref(),
            b"\x80\x03\x00\x07\x00\x00\x00\x08\x00\x00\x00\x05\x00\x00\x00\x00"
        );
        assert_eq!(
            rst_stream(1, 5).as_ref(),
            b"\x80\x03\x00\x03\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x05"
        );
    }
}
