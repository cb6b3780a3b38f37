//! The preset dictionary of SPDY header compression (SPDY/3.1 §2.6.10.1).
//!
//! A constant of the standard: header names and a few values that were common in 2012. Names and
//! short values carry a four-byte length in front, exactly as they do in a header block; the
//! rest is run together.

use bytes::BufMut;

/// The dictionary's length in bytes.
const LENGTH: usize = 1423;

/// Entries that carry their length as a 32-bit number in front.
const COUNTED: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// Status codes without a reason, run together.
const STATUS_CODES: &str =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505";

/// Status lines, dates and media types, run together.
const TEXT: [&str; 5] = [
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized",
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,",
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
];

/// The dictionary's bytes. Built where it is needed (once per connection of a server half), so
/// that no copy of it lives as long as the process.
pub(super) fn bytes() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(LENGTH);
    for entry in COUNTED {
        dictionary.put_u32(u32::try_from(entry.len()).unwrap_or(0));
        dictionary.put_slice(entry.as_bytes());
    }
    dictionary.put_slice(STATUS_CODES.as_bytes());
    for text in TEXT {
        dictionary.put_slice(text.as_bytes());
    }
    debug_assert_eq!(dictionary.len(), LENGTH, "the dictionary is complete");
    dictionary
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn adler32(bytes: &[u8]) -> u32 {
        let (mut low, mut high) = (1_u32, 0_u32);
        for byte in bytes {
            low = (low + u32::from(*byte)) % 65521;
            high = (high + low) % 65521;
        }
        (high << 16) | low
    }

    #[test]
    fn the_dictionary_has_the_published_length_and_checksums() {
        let dictionary = bytes();
        assert_eq!(dictionary.len(), LENGTH);
        assert_eq!(adler32(&dictionary), 0xE3C6_A7C2);
        let mut crc = flate2::Crc::new();
        crc.update(&dictionary);
        assert_eq!(crc.sum(), 0x04C8_490E);
        let sha256 = sha2::Sha256::digest(&dictionary);
        let published = "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02";
        assert_eq!(
            format!("{:x}", bytes::Bytes::copy_from_slice(&sha256)),
            published
        );
    }
}
