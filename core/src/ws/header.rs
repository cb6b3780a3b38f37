//! The frame header (RFC 6455 §5.2): decoded strictly, encoded minimally.

use super::{Error, Kind};

/// Payload a control frame may carry (RFC 6455 §5.5).
pub(super) const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// The 7-bit length that says the length follows in two bytes (RFC 6455 §5.2).
const LENGTH_OF_16_BITS: u8 = 0x7e;

/// The 7-bit length that says the length follows in eight bytes (RFC 6455 §5.2).
const LENGTH_OF_64_BITS: u8 = 0x7f;

/// What a frame is (RFC 6455 §5.2, §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Data(Kind),
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn decode(bits: u8) -> Result<Self, Error> {
        match bits {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Data(Kind::Text)),
            0x2 => Ok(Self::Data(Kind::Binary)),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            reserved => Err(Error::ReservedOpcode(reserved)),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Data(Kind::Text) => 0x1,
            Self::Data(Kind::Binary) => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Whether this frame may stand between the fragments of a message (RFC 6455 §5.5).
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// One frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_final: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<[u8; 4]>,
    /// Payload length in bytes, at most 2^63 - 1.
    pub(super) len: u64,
}

impl Header {
    /// Decodes the header at the front of `input`. Returns it with its own length in bytes, or
    /// `None` while it is incomplete. Each rule is enforced as soon as the bytes it speaks of are
    /// there, so that a broken peer is told before it has sent more.
    pub(super) fn decode(input: &[u8], is_masked: bool) -> Result<Option<(Self, usize)>, Error> {
        let Some((&[first, second], rest)) = input.split_first_chunk::<2>() else {
            return Ok(None);
        };
        // RFC 6455 §5.2: RSV1–3 mean something only once an extension is agreed. We agree to none.
        if first & 0x70 != 0 {
            return Err(Error::ReservedBits);
        }
        let opcode = Opcode::decode(first & 0x0f)?;
        let is_final = first & 0x80 != 0;
        // RFC 6455 §5.1: a client masks every frame, a server none.
        match (second & 0x80 != 0, is_masked) {
            (false, true) => return Err(Error::Unmasked),
            (true, false) => return Err(Error::Masked),
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() {
            // RFC 6455 §5.5: neither fragmented nor longer than 125 bytes.
            if !is_final {
                return Err(Error::FragmentedControl);
            }
            if usize::from(short) > CONTROL_PAYLOAD_BYTES_MAX {
                return Err(Error::ControlTooLong);
            }
        }
        let (len, rest, length_bytes) = match short {
            LENGTH_OF_16_BITS => {
                let Some((bytes, rest)) = rest.split_first_chunk::<2>() else {
                    return Ok(None);
                };
                let len = u64::from(u16::from_be_bytes(*bytes));
                if len < 126 {
                    return Err(Error::LengthNotMinimal);
                }
                (len, rest, 2)
            }
            LENGTH_OF_64_BITS => {
                let Some((bytes, rest)) = rest.split_first_chunk::<8>() else {
                    return Ok(None);
                };
                let len = u64::from_be_bytes(*bytes);
                // RFC 6455 §5.2: the most significant bit is zero.
                if len > u64::MAX >> 1 {
                    return Err(Error::LengthOver63Bits);
                }
                if u16::try_from(len).is_ok() {
                    return Err(Error::LengthNotMinimal);
                }
                (len, rest, 8)
            }
            short => (u64::from(short), rest, 0_usize),
        };
        if !is_masked {
            return Ok(Some((
                Self {
                    is_final,
                    opcode,
                    mask: None,
                    len,
                },
                2 + length_bytes,
            )));
        }
        let Some(mask) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                is_final,
                opcode,
                mask: Some(*mask),
                len,
            },
            6 + length_bytes,
        )))
    }

    /// How many bytes [`Self::encode`] writes.
    pub(super) fn encoded_len(&self) -> usize {
        let length_bytes = match (u8::try_from(self.len), u16::try_from(self.len)) {
            (Ok(len), _) if len < 126 => 0,
            (_, Ok(_)) => 2,
            _ => 8,
        };
        let mask_bytes = if self.mask.is_some() { 4 } else { 0 };
        2_usize + length_bytes + mask_bytes
    }

    /// Encodes this header with the shortest length form (RFC 6455 §5.2).
    pub(super) fn encode(&self, out: &mut impl bytes::BufMut) {
        out.put_u8(if self.is_final { 0x80 } else { 0 } | self.opcode.bits());
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        match (u8::try_from(self.len), u16::try_from(self.len)) {
            (Ok(len), _) if len < 126 => out.put_u8(masked | len),
            (_, Ok(len)) => {
                out.put_u8(masked | LENGTH_OF_16_BITS);
                out.put_u16(len);
            }
            _ => {
                out.put_u8(masked | LENGTH_OF_64_BITS);
                out.put_u64(self.len);
            }
        }
        if let Some(mask) = self.mask {
            out.put_slice(&mask);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opcodes() -> impl Strategy<Value = Opcode> {
        prop_oneof![
            Just(Opcode::Continuation),
            Just(Opcode::Data(Kind::Text)),
            Just(Opcode::Data(Kind::Binary)),
            Just(Opcode::Close),
            Just(Opcode::Ping),
            Just(Opcode::Pong),
        ]
    }

    /// RFC 6455 §5.2: the number of length bytes is the smallest that can hold the length.
    #[test]
    fn lengths_are_refused_unless_minimal() {
        for (bytes, error) in [
            (&[0x82, 126, 0, 125][..], Error::LengthNotMinimal),
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                Error::LengthNotMinimal,
            ),
            (
                &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
                Error::LengthOver63Bits,
            ),
        ] {
            assert_eq!(Header::decode(bytes, false), Err(error), "{bytes:x?}");
        }
        for (bytes, len) in [
            (&[0x82, 125][..], 125),
            (&[0x82, 126, 0, 126], 126),
            (&[0x82, 126, 0xff, 0xff], 65_535),
            (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
            (
                &[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255],
                u64::MAX >> 1,
            ),
        ] {
            let (header, used) = Header::decode(bytes, false).unwrap().unwrap();
            assert_eq!((header.len, used), (len, bytes.len()));
        }
    }

    /// RFC 6455 §5.2, §5.5: what two bytes can already prove wrong.
    #[test]
    fn reserved_bits_opcodes_and_long_or_fragmented_control_frames_are_refused() {
        for (bytes, error) in [
            ([0xc2, 0], Error::ReservedBits),
            ([0xa2, 0], Error::ReservedBits),
            ([0x92, 0], Error::ReservedBits),
            ([0x83, 0], Error::ReservedOpcode(3)),
            ([0x8b, 0], Error::ReservedOpcode(11)),
            ([0x09, 0], Error::FragmentedControl),
            ([0x08, 0], Error::FragmentedControl),
            ([0x8a, 126], Error::ControlTooLong),
            ([0x82, 0x80], Error::Masked),
        ] {
            assert_eq!(Header::decode(&bytes, false), Err(error), "{bytes:x?}");
        }
        assert_eq!(Header::decode(&[0x82, 0], true), Err(Error::Unmasked));
    }

    proptest! {
        /// RFC 6455 §5.2: encode then decode is the identity, and no prefix is enough.
        #[test]
        fn a_header_decodes_to_what_was_encoded(
            is_final: bool,
            opcode in opcodes(),
            mask: Option<[u8; 4]>,
            len in prop_oneof![0_u64..300, 65_000_u64..66_000, 0..=u64::MAX >> 1],
        ) {
            let is_final = is_final || opcode.is_control();
            let len = if opcode.is_control() { len % 126 } else { len };
            let header = Header { is_final, opcode, mask, len };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), header.encoded_len());
            let is_masked = mask.is_some();
            prop_assert_eq!(Header::decode(&bytes, is_masked), Ok(Some((header, bytes.len()))));
            for end in 0..bytes.len() {
                prop_assert_eq!(Header::decode(&bytes[..end], is_masked), Ok(None));
            }
        }
    }
}
