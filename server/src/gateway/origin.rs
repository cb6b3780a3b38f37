//! Which names the gateway answers to, and which pages may talk to it.
//!
//! A page on a foreign site can make a browser send requests here, and with a name it controls it
//! can even make them look like its own (DNS rebinding). So every route but health and metrics
//! checks the Host, and everything that changes something or opens a shell checks the Origin.
//! `X-Forwarded-*` is never believed.

use std::fmt;

use http::request::Parts;
use http::{Uri, header};

/// The rules for one gateway.
#[derive(Clone, Debug)]
pub struct Origins {
    public: PublicUrl,
    hosts: Hosts,
    allowed: Vec<String>,
}

/// Which Host values are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// `127.0.0.1`, `[::1]` and `localhost`, with any port: what dev and demo answer to.
    Loopback,
    /// The public URL's host, with its port.
    Public,
}

/// Scheme, host and port under which browsers reach the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    is_https: bool,
    /// Lower case; an IPv6 address keeps its brackets.
    host: String,
    port: u16,
}

/// Why a request is not for this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// RFC 9112 §3.2: no Host, or more than one, is answered with 400.
    #[error("a request needs exactly one Host header")]
    Missing,
    /// RFC 9110 §15.5.20: 421.
    #[error("this gateway does not answer to that host name")]
    Foreign,
}

/// What a request's Origin header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginCheck {
    /// There is none.
    Absent,
    /// It is not this gateway's own: another site, `null`, or several headers.
    Foreign,
    /// It is this gateway's own.
    Same,
}

impl Origins {
    /// Rules for a gateway that browsers reach at `public`. `allowed` are further origins that
    /// count as its own (a front-end dev server); only dev mode may have any.
    pub fn new(public: PublicUrl, hosts: Hosts, allowed: Vec<String>) -> Self {
        Self {
            public,
            hosts,
            allowed,
        }
    }

    /// Checks the Host header, and the target's authority where it names one.
    pub fn check_host(&self, parts: &Parts) -> Result<(), HostError> {
        let host = single(parts, &header::HOST).ok_or(HostError::Missing)?;
        let answers = |authority: &str| match split_port(authority) {
            Some((name, port)) => match self.hosts {
                Hosts::Loopback => is_loopback(name),
                Hosts::Public => {
                    name.eq_ignore_ascii_case(&self.public.host)
                        && port.unwrap_or(self.public.default_port()) == self.public.port
                }
            },
            None => false,
        };
        if answers(host)
            && parts
                .uri
                .authority()
                .is_none_or(|target| answers(target.as_str()))
        {
            Ok(())
        } else {
            Err(HostError::Foreign)
        }
    }

    /// Compares the Origin header with this gateway's own origin. With the loopback rule the own
    /// origin is the (already checked) Host, so `localhost` and `127.0.0.1` both work.
    pub fn check_origin(&self, parts: &Parts) -> OriginCheck {
        let mut values = parts.headers.get_all(header::ORIGIN).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return if parts.headers.contains_key(header::ORIGIN) {
                OriginCheck::Foreign
            } else {
                OriginCheck::Absent
            };
        };
        let Ok(origin) = value.to_str() else {
            return OriginCheck::Foreign;
        };
        if self
            .allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return OriginCheck::Same;
        }
        let own = match self.hosts {
            Hosts::Public => self.public.clone(),
            Hosts::Loopback => {
                let host = single(parts, &header::HOST).and_then(split_port);
                let Some((name, port)) = host.filter(|(name, _)| is_loopback(name)) else {
                    return OriginCheck::Foreign;
                };
                let port = port.unwrap_or(self.public.default_port());
                PublicUrl {
                    is_https: self.public.is_https,
                    host: name.to_ascii_lowercase(),
                    port,
                }
            }
        };
        if PublicUrl::parse(origin).is_some_and(|origin| origin == own) {
            OriginCheck::Same
        } else {
            OriginCheck::Foreign
        }
    }

    /// The public URL.
    pub fn public_url(&self) -> &PublicUrl {
        &self.public
    }
}

impl PublicUrl {
    /// Parses `http://host[:port]` or `https://host[:port]` without path, query or user.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_https, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://")?),
        };
        let uri: Uri = text.parse().ok()?;
        if uri.authority()?.as_str() != rest || rest.contains('@') {
            return None;
        }
        let (host, port) = split_port(rest)?;
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        Some(Self {
            is_https,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// The URL of a plain HTTP listener on `address`.
    pub fn of_listener(address: std::net::SocketAddr) -> Self {
        let host = match address.ip() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self {
            is_https: false,
            host,
            port: address.port(),
        }
    }

    /// Whether browsers come over TLS, so that cookies are Secure.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it is a name of this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The port browsers use.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn default_port(&self) -> u16 {
        if self.is_https { 443 } else { 80 }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.is_https { "https" } else { "http" },
            self.host
        )?;
        if self.port == self.default_port() {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

/// The value of a header that must occur exactly once.
fn single<'a>(parts: &'a Parts, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Splits `name[:port]`; an IPv6 name keeps its brackets.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let name_end = if authority.starts_with('[') {
        authority.find(']')?.checked_add(1)?
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (name, rest) = authority.split_at_checked(name_end)?;
    if name.is_empty() {
        return None;
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((name, None)),
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((name, Some(digits.parse().ok()?)))
        }
        Some(_) => None,
    }
}

fn is_loopback(name: &str) -> bool {
    name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn demo() -> Origins {
        let public = PublicUrl::parse("http://127.0.0.1:8080").unwrap();
        Origins::new(public, Hosts::Loopback, Vec::new())
    }

    fn public() -> Origins {
        let public = PublicUrl::parse("https://Shell.example.com").unwrap();
        Origins::new(public, Hosts::Public, Vec::new())
    }

    #[test]
    fn loopback_gateways_answer_to_loopback_names_only() {
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:9", "[::1]:8080"] {
            assert_eq!(
                demo().check_host(&parts(&[("host", host)])),
                Ok(()),
                "{host}"
            );
        }
        let foreign = [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8080",
            "127.0.0.1:8080@evil",
            "0.0.0.0:8080",
            "127.0.0.2",
            "[::1]evil",
            ":8080",
            "",
            "localhost:80x",
            "localhost:99999",
        ];
        for host in foreign {
            assert_eq!(
                demo().check_host(&parts(&[("host", host)])),
                Err(HostError::Foreign),
                "{host}"
            );
        }
        assert_eq!(demo().check_host(&parts(&[])), Err(HostError::Missing));
        let twice = parts(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(demo().check_host(&twice), Err(HostError::Missing));
    }

    #[test]
    fn an_absolute_target_counts_like_a_host() {
        let request = http::Request::builder()
            .uri("http://evil.example/")
            .header("host", "localhost");
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(demo().check_host(&parts), Err(HostError::Foreign));
    }

    #[test]
    fn a_public_gateway_answers_to_its_name_and_port_only() {
        for host in ["shell.example.com", "SHELL.example.com:443"] {
            assert_eq!(
                public().check_host(&parts(&[("host", host)])),
                Ok(()),
                "{host}"
            );
        }
        for host in ["shell.example.com:8443", "localhost", "example.com"] {
            assert_eq!(
                public().check_host(&parts(&[("host", host)])),
                Err(HostError::Foreign)
            );
        }
    }

    #[test]
    fn only_the_own_origin_is_the_same() {
        let with = |host: &str, origin: &str| {
            demo().check_origin(&parts(&[("host", host), ("origin", origin)]))
        };
        assert_eq!(
            with("127.0.0.1:8080", "http://127.0.0.1:8080"),
            OriginCheck::Same
        );
        assert_eq!(
            with("localhost:8080", "http://localhost:8080"),
            OriginCheck::Same
        );
        assert_eq!(with("localhost", "http://localhost"), OriginCheck::Same);
        let foreign = [
            "http://localhost:8080",
            "http://127.0.0.1:3000",
            "https://127.0.0.1:8080",
            "null",
            "",
            "http://127.0.0.1:8080/",
            "http://evil@127.0.0.1:8080",
            "http://127.0.0.1:8080.evil.example",
        ];
        for origin in foreign {
            assert_eq!(
                with("127.0.0.1:8080", origin),
                OriginCheck::Foreign,
                "{origin}"
            );
        }
        assert_eq!(
            demo().check_origin(&parts(&[("host", "localhost")])),
            OriginCheck::Absent
        );
        let twice = [
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("origin", "http://evil"),
        ];
        assert_eq!(demo().check_origin(&parts(&twice)), OriginCheck::Foreign);
        let own = [
            ("host", "shell.example.com"),
            ("origin", "https://shell.example.com"),
        ];
        assert_eq!(public().check_origin(&parts(&own)), OriginCheck::Same);
        let plain = [
            ("host", "shell.example.com"),
            ("origin", "http://shell.example.com"),
        ];
        assert_eq!(public().check_origin(&parts(&plain)), OriginCheck::Foreign);
    }

    #[test]
    fn allowed_origins_of_a_dev_server_count_as_own() {
        let origins = Origins::new(
            PublicUrl::parse("http://127.0.0.1:8080").unwrap(),
            Hosts::Loopback,
            vec!["http://localhost:5173".to_owned()],
        );
        let request = [
            ("host", "127.0.0.1:8080"),
            ("origin", "http://localhost:5173"),
        ];
        assert_eq!(origins.check_origin(&parts(&request)), OriginCheck::Same);
    }

    #[test]
    fn public_urls_print_without_the_default_port() {
        for url in [
            "http://127.0.0.1:8080",
            "https://a.example",
            "http://[::1]:1",
        ] {
            assert_eq!(PublicUrl::parse(url).unwrap().to_string(), url);
        }
        for bad in [
            "ftp://a",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "a.example",
            "http://",
        ] {
            assert_eq!(PublicUrl::parse(bad), None, "{bad}");
        }
    }
}
