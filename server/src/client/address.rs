//! The URL of a gateway.

use std::net::IpAddr;

use http::Uri;

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_https: bool,
    /// The value of the Host header.
    pub(super) authority: String,
}

/// A URL that is no gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("the gateway's URL must begin with https:// or http:// and name a host")]
    NotHttp,
    #[error("the gateway's URL must not have a path, a query or a user: a gateway is a whole host")]
    NotOrigin,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, AddressError> {
        let uri: Uri = url.trim().parse().map_err(|_| AddressError::NotHttp)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(AddressError::NotHttp),
        };
        let authority = uri.authority().ok_or(AddressError::NotHttp)?;
        let is_origin = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !is_origin || authority.as_str().contains('@') {
            return Err(AddressError::NotOrigin);
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(AddressError::NotHttp);
        }
        Ok(Self {
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_https { 443 } else { 80 }),
            is_https,
            authority: authority.as_str().to_owned(),
        })
    }

    /// Whether nobody on the way can read what is sent.
    pub(super) fn is_private(&self) -> bool {
        let is_loopback = self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        self.is_https || is_loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_apart_and_anything_else_refused() {
        let address = Address::parse("https://shell.example/").unwrap();
        assert_eq!(
            (address.host.as_str(), address.port, address.is_https),
            ("shell.example", 443, true)
        );
        let address = Address::parse("http://[::1]:8080").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 8080));
        assert_eq!(address.authority, "[::1]:8080");
        for url in [
            "",
            "shell.example",
            "ftp://shell.example",
            "https://",
            "/api",
            "http://a b",
        ] {
            assert_eq!(Address::parse(url), Err(AddressError::NotHttp), "{url:?}");
        }
        for url in [
            "https://shell.example/base",
            "https://shell.example/?token=x",
            "https://ann:secret@shell.example",
        ] {
            assert_eq!(Address::parse(url), Err(AddressError::NotOrigin), "{url:?}");
        }
    }

    #[test]
    fn a_token_may_leave_the_machine_only_over_https() {
        let is_private = |url| Address::parse(url).unwrap().is_private();
        assert!(is_private("https://shell.example"));
        assert!(is_private("http://127.0.0.1:8080"));
        assert!(is_private("http://[::1]:8080"));
        assert!(is_private("http://localhost:8080"));
        assert!(!is_private("http://shell.example"));
        assert!(!is_private("http://10.0.0.1"));
        assert!(!is_private("http://localhost.example"));
    }
}
