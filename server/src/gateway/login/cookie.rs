//! Cookies: reading them from a request, setting and clearing them.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use super::super::origin::PublicUrl;

/// What is said about a cookie. All of ours are `HttpOnly` and `SameSite=Lax` besides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    /// Only over TLS.
    pub(super) is_secure: bool,
    /// How long the browser keeps it; none until it is closed.
    pub(super) max_age: Option<Duration>,
}

/// The name of the login cookie. With TLS no other host or path can set it (`__Host-`); without, two
/// gateways on one machine differ by their port, which browsers do not tell cookies apart by.
pub(super) fn name(public_url: &PublicUrl) -> String {
    if public_url.is_https() {
        "__Host-periscope".to_owned()
    } else {
        format!("periscope_{}", public_url.port())
    }
}

/// All values a request has under a name. There can be several: browsers do not tell cookies of two
/// ports apart, and a neighbour on the same domain may have set one.
pub(super) fn values<'a>(parts: &'a Parts, name: &'a str) -> impl Iterator<Item = &'a str> {
    let headers = parts.headers.get_all(header::COOKIE).iter();
    headers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// Adds a `Set-Cookie`. Name and value must be cookie characters already: ours are digits, letters
/// and base64url.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: &str, attributes: &Attributes) {
    let Attributes { is_secure, max_age } = attributes;
    let mut cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
    if *is_secure {
        cookie.push_str("; Secure");
    }
    if let Some(max_age) = max_age {
        cookie.push_str("; Max-Age=");
        cookie.push_str(&max_age.as_secs().to_string());
    }
    let parsed = HeaderValue::from_str(&cookie);
    debug_assert!(parsed.is_ok(), "cookies of ours are valid header values");
    if let Ok(mut cookie) = parsed {
        cookie.set_sensitive(true);
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Tells the browser to forget a cookie.
pub(super) fn clear(headers: &mut HeaderMap, name: &str, attributes: &Attributes) {
    let attributes = Attributes {
        max_age: Some(Duration::ZERO),
        ..*attributes
    };
    set(headers, name, "", &attributes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whole_and_as_often_as_it_is_there() {
        let request = http::Request::builder()
            .header("cookie", "a=1; xb=2;b=3 ;b=4=5; b")
            .header("cookie", "b=6");
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(values(&parts, "b").collect::<Vec<_>>(), ["3", "4=5", "6"]);
        assert_eq!(values(&parts, "c").count(), 0);
    }

    #[test]
    fn a_cookie_carries_its_attributes_and_a_cleared_one_none_of_its_value() {
        let name = |url| name(&PublicUrl::parse(url).unwrap());
        assert_eq!(name("https://shell.example"), "__Host-periscope");
        assert_eq!(name("http://localhost:8080"), "periscope_8080");
        let mut headers = HeaderMap::new();
        let attributes = Attributes {
            is_secure: true,
            max_age: Some(Duration::from_mins(1)),
        };
        set(&mut headers, "__Host-a", "1f", &attributes);
        clear(&mut headers, "__Host-a", &attributes);
        let all: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(
            all,
            [
                "__Host-a=1f; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60",
                "__Host-a=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
            ]
        );
        assert!(headers["set-cookie"].is_sensitive());
    }
}
