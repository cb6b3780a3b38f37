//! Close codes and the body of a Close frame (RFC 6455 §5.5.1, §7.4).

use super::Error;

/// Stands for a Close frame without a body (RFC 6455 §7.4.1). Never on the wire.
pub(super) const NO_CODE: u16 = 1005;

/// Whether `code` may stand in a Close frame: the codes RFC 6455 §7.4.1 and the IANA registry
/// define for the wire, and the ranges §7.4.2 leaves to libraries and applications.
pub(super) const fn is_valid(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads the body of a received Close frame: its code, or [`NO_CODE`] when it has none.
pub(super) fn decode(body: &[u8]) -> Result<u16, Error> {
    let Some((code, reason)) = body.split_first_chunk::<2>() else {
        return if body.is_empty() {
            Ok(NO_CODE)
        } else {
            Err(Error::CloseBodyTooShort)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_valid(code) {
        return Err(Error::CloseCode(code));
    }
    if core::str::from_utf8(reason).is_err() {
        return Err(Error::CloseReasonNotUtf8);
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §5.5.1: a body is empty or begins with a two-byte code; the rest is UTF-8.
    #[test]
    fn a_close_body_is_empty_or_a_code_with_a_text() {
        assert_eq!(decode(b""), Ok(1005));
        assert_eq!(decode(b"\x03"), Err(Error::CloseBodyTooShort));
        assert_eq!(decode(b"\x03\xe8"), Ok(1000));
        assert_eq!(
            decode("\u{3}\u{7f}".as_bytes()),
            Err(Error::CloseCode(0x037f))
        );
        assert_eq!(decode(b"\x03\xe8bye"), Ok(1000));
        assert_eq!(decode(b"\x03\xe8\xff"), Err(Error::CloseReasonNotUtf8));
    }

    /// RFC 6455 §7.4.1, §7.4.2: 1004–1006 and 1015 never travel, 0–999 and 1016–2999 mean nothing.
    #[test]
    fn codes_that_may_not_travel_are_refused() {
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ] {
            assert_eq!(decode(&u16::to_be_bytes(code)), Err(Error::CloseCode(code)));
        }
        for code in [
            1000, 1001, 1002, 1003, 1007, 1009, 1011, 1014, 3000, 3999, 4000, 4999,
        ] {
            assert_eq!(decode(&u16::to_be_bytes(code)), Ok(code));
        }
    }
}
