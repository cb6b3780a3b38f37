//! The head of a message: found, bounded, and read (RFC 9112 §2–§6).

use bytes::{Buf, BytesMut};

use super::{Error, SecretValue};
use crate::limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX};

/// Header fields in the order they came.
pub(super) type Headers = Vec<(String, SecretValue)>;

/// Looks for the empty line that ends a head, each byte once however the bytes come.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Bytes looked at.
    scanned: usize,
    /// Where the unfinished line begins.
    line_start: usize,
    lines: usize,
}

impl HeadScan {
    /// Splits a complete head, with its empty line, off `input`.
    ///
    /// Lines must end in CRLF. A lone LF may be read as a line end (RFC 9112 §2.2), but parsers
    /// that disagree about it are how requests get smuggled, and no peer of ours sends it.
    pub(super) fn take_head(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        while let Some(offset) = input
            .get(self.scanned..)
            .and_then(|new| new.iter().position(|&byte| byte == b'\n'))
        {
            let feed = self.scanned.saturating_add(offset);
            let end = feed.saturating_add(1);
            if end > HEAD_BYTES_MAX {
                return Err(Error::HeadTooLarge);
            }
            let line = input.get(self.line_start..feed).unwrap_or_default();
            match line.split_last() {
                Some((b'\r', [])) => {
                    *self = Self::default();
                    return Ok(Some(input.split_to(end)));
                }
                Some((b'\r', _)) => {}
                _ => return Err(Error::BareLineFeed),
            }
            // The first line is the request or status line.
            if self.lines > HEADER_FIELDS_MAX {
                return Err(Error::TooManyFields);
            }
            self.lines = self.lines.saturating_add(1);
            self.line_start = end;
            self.scanned = end;
        }
        if input.len() >= HEAD_BYTES_MAX {
            return Err(Error::HeadTooLarge);
        }
        self.scanned = input.len();
        Ok(None)
    }
}

/// A parsed request line with its fields.
pub(super) struct RequestParts {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Headers,
}

/// Parses a complete request head.
pub(super) fn parse_request(head: &[u8]) -> Result<RequestParts, Error> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    check_complete(request.parse(head))?;
    // RFC 9110 §7.8: an Upgrade in HTTP/1.0 means nothing, and we serve nothing else.
    if request.version != Some(1) {
        return Err(Error::Version);
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Error::Malformed);
    };
    Ok(RequestParts {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: collect(request.headers),
    })
}

/// A parsed status line with its fields.
pub(super) struct ResponseParts {
    pub(super) status: u16,
    /// Whether it is HTTP/1.1, not 1.0.
    pub(super) is_current: bool,
    pub(super) headers: Headers,
}

/// Parses a complete response head.
pub(super) fn parse_response(head: &[u8]) -> Result<ResponseParts, Error> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    check_complete(response.parse(head))?;
    let Some(status @ 100..) = response.code else {
        return Err(Error::Malformed);
    };
    let is_current = response.version == Some(1);
    Ok(ResponseParts {
        status,
        is_current,
        headers: collect(response.headers),
    })
}

/// Drops one empty line before a request (RFC 9112 §2.2). `None` while the first bytes could still
/// become one: nobody else may look at them before that is settled.
pub(super) fn skip_empty_line(input: &mut BytesMut) -> Option<()> {
    match input.get(..2) {
        Some(b"\r\n") => input.advance(2),
        Some(_) => {}
        None if input.first().is_none_or(|byte| *byte == b'\r') => return None,
        None => {}
    }
    Some(())
}

/// All values of one field, in order. Names are compared without case (RFC 9110 §5.1).
pub(super) fn values<'a>(
    headers: &'a [(String, SecretValue)],
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// The members of a comma-separated field over all its lines (RFC 9110 §5.6.1).
pub(super) fn members<'a>(
    headers: &'a [(String, SecretValue)],
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    values(headers, name).flat_map(split_list)
}

/// The members of one comma-separated value; empty ones do not count.
pub(super) fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|m| !m.is_empty())
}

/// Whether a comma-separated field has this member, compared without case.
pub(super) fn has_member(headers: &[(String, SecretValue)], name: &str, member: &str) -> bool {
    members(headers, name).any(|each| each.eq_ignore_ascii_case(member))
}

/// Whether `value` is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(value: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !value.is_empty() && value.bytes().all(is_token_byte)
}

/// What a head says about the length of the body behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// Neither field is there.
    Unsaid,
    /// `Content-Length`.
    Bytes(u64),
    /// `Transfer-Encoding`, and whether its last coding is `chunked`.
    Coded {
        /// Whether the body ends by itself.
        is_chunked: bool,
    },
}

/// Reads the framing fields (RFC 9112 §6.1–§6.3). Whatever two readers could understand in two
/// ways is refused: more than one length, a length that is not plain digits, both fields at once.
pub(super) fn body_length(headers: &[(String, SecretValue)]) -> Result<BodyLength, Error> {
    let mut lengths = values(headers, "content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Error::ContentLength);
    }
    let is_coded = values(headers, "transfer-encoding").next().is_some();
    match (length, is_coded) {
        (Some(_), true) => Err(Error::LengthAndCoding),
        (None, false) => Ok(BodyLength::Unsaid),
        (None, true) => {
            let last = members(headers, "transfer-encoding")
                .last()
                .unwrap_or_default();
            Ok(BodyLength::Coded {
                is_chunked: last.eq_ignore_ascii_case("chunked"),
            })
        }
        (Some(length), false) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Error::ContentLength);
            }
            length
                .parse()
                .map(BodyLength::Bytes)
                .map_err(|_| Error::ContentLength)
        }
    }
}

fn check_complete(parsed: Result<httparse::Status<usize>, httparse::Error>) -> Result<(), Error> {
    match parsed {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Err(httparse::Error::Version) => Err(Error::Version),
        Err(httparse::Error::TooManyHeaders) => Err(Error::TooManyFields),
        // The empty line is there: a parser that wants more has read something else into the head.
        Ok(httparse::Status::Partial) | Err(_) => Err(Error::Malformed),
    }
}

fn collect(fields: &[httparse::Header<'_>]) -> Headers {
    fields
        .iter()
        .map(|field| (field.name.to_owned(), SecretValue::received(field.value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_whole(bytes: &[u8]) -> Result<Option<usize>, Error> {
        let mut input = BytesMut::from(bytes);
        Ok(HeadScan::default()
            .take_head(&mut input)?
            .map(|head| head.len()))
    }

    /// The three feeds: whole, byte by byte, whole with more behind it.
    fn scan(bytes: &[u8]) -> Result<Option<usize>, Error> {
        let whole = scan_whole(bytes);
        let mut scan = HeadScan::default();
        let mut input = BytesMut::new();
        let mut single = Ok(None);
        for byte in bytes {
            input.extend_from_slice(&[*byte]);
            single = scan
                .take_head(&mut input)
                .map(|head| head.map(|head| head.len()));
            if single != Ok(None) {
                break;
            }
        }
        assert_eq!(single, whole);
        if whole.as_ref().is_ok_and(Option::is_some) {
            assert_eq!(scan_whole(&[bytes, b"junk"].concat()), whole);
        }
        whole
    }

    /// RFC 9112 §2.1: a head ends at the first empty line.
    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\nA: b\r\n\r\n"), Ok(Some(24)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nA: b\r\n\r"), Ok(None));
        assert_eq!(
            scan(b"GET / HTTP/1.1\nA: b\r\n\r\n"),
            Err(Error::BareLineFeed)
        );
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\n"), Err(Error::BareLineFeed));
    }

    /// The head has a size and a number of fields it may not exceed; the limits themselves pass.
    #[test]
    fn heads_beyond_the_limits_are_refused_before_they_end() {
        let head = |len: usize| {
            let fill = "x".repeat(len - "GET / HTTP/1.1\r\nA: \r\n\r\n".len());
            format!("GET / HTTP/1.1\r\nA: {fill}\r\n\r\n").into_bytes()
        };
        assert_eq!(scan(&head(HEAD_BYTES_MAX)), Ok(Some(HEAD_BYTES_MAX)));
        assert_eq!(scan(&head(HEAD_BYTES_MAX + 1)), Err(Error::HeadTooLarge));
        assert_eq!(scan(&vec![b'x'; HEAD_BYTES_MAX]), Err(Error::HeadTooLarge));
        let fields = |count: usize| {
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count)).into_bytes()
        };
        assert!(scan(&fields(HEADER_FIELDS_MAX)).unwrap().is_some());
        assert_eq!(
            parse_request(&fields(HEADER_FIELDS_MAX)).map(|_| ()),
            Ok(())
        );
        assert_eq!(
            scan(&fields(HEADER_FIELDS_MAX + 1)),
            Err(Error::TooManyFields)
        );
    }

    /// RFC 9112 §5: no blank before the colon, no folded line, no control character.
    #[test]
    fn fields_that_parsers_disagree_about_are_refused() {
        for field in [
            "A : b",
            " A: b",
            "A: b\r\n c",
            "A: b\0",
            "A\u{e9}: b",
            "A: b\rX: y",
            ": b",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
            let error = parse_request(head.as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(error, Error::Malformed, "{field:?}");
        }
    }

    /// RFC 9112 §6.3: framing that could be read in two ways is refused.
    #[test]
    fn ambiguous_body_lengths_are_refused() {
        let length = |fields: &[(&str, &str)]| {
            let headers: Headers = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), SecretValue::new(value).unwrap()))
                .collect();
            body_length(&headers)
        };
        assert_eq!(length(&[]), Ok(BodyLength::Unsaid));
        assert_eq!(
            length(&[("Content-Length", "007")]),
            Ok(BodyLength::Bytes(7))
        );
        for value in ["", "-1", "+1", "1, 1", "0x1", "1 1", "18446744073709551616"] {
            assert_eq!(
                length(&[("content-length", value)]),
                Err(Error::ContentLength),
                "{value}"
            );
        }
        let twice = length(&[("Content-Length", "1"), ("content-length", "1")]);
        assert_eq!(twice, Err(Error::ContentLength));
        let both = length(&[("Content-Length", "1"), ("Transfer-Encoding", "chunked")]);
        assert_eq!(both, Err(Error::LengthAndCoding));
        for (value, is_chunked) in [
            ("Chunked", true),
            ("gzip, chunked", true),
            ("chunked, gzip", false),
            ("", false),
        ] {
            let coded = length(&[("transfer-encoding", value)]);
            assert_eq!(coded, Ok(BodyLength::Coded { is_chunked }));
        }
    }
}
