//! Who a request comes from.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use subtle::ConstantTimeEq as _;

use super::identity::Subject;
use super::respond::{self, Reply};

/// How this gateway knows people.
#[derive(Debug)]
pub enum Authentication {
    /// One person, who has the secret of the printed URL.
    Demo(DemoLogin),
    /// One person, who is whoever reaches the loopback address.
    Dev(Arc<Subject>),
}

/// A request's login.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who.
    pub subject: Arc<Subject>,
    /// What the request proved it with.
    pub credential: Credential,
    /// Whether this person sees and ends everyone's sessions.
    pub is_audit_admin: bool,
    /// When the login ends at the latest; none in modes without an end.
    pub expires_at: Option<jiff::Timestamp>,
}

/// What a request proves its login with. A cookie is sent by the browser even if a foreign page
/// makes the request, so it asks for an Origin where the others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A token in the Authorization header.
    Bearer,
    /// The login cookie.
    Cookie,
    /// Nothing: dev mode.
    None,
}

/// The demo's login: a token in the printed URL, exchanged for a cookie.
pub struct DemoLogin {
    subject: Arc<Subject>,
    token: Secret,
    cookie: Secret,
    cookie_name: String,
}

/// 256 random bits as hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

impl Authentication {
    /// The login of a request, if it has one.
    pub fn login(&self, parts: &Parts) -> Option<Login> {
        let (subject, credential) = match self {
            Self::Dev(subject) => (subject, Credential::None),
            Self::Demo(demo) => (&demo.subject, demo.credential(parts)?),
        };
        Some(Login {
            subject: Arc::clone(subject),
            credential,
            is_audit_admin: true,
            expires_at: None,
        })
    }

    /// Answers the request that carries the token of the printed URL, if this is one.
    pub(crate) fn enter(&self, parts: &Parts) -> Option<Reply> {
        match self {
            Self::Demo(demo) if parts.method == Method::GET => demo.enter(parts),
            Self::Demo(_) | Self::Dev(_) => None,
        }
    }
}

impl DemoLogin {
    /// A login with fresh secrets. Browsers do not keep cookies of two ports apart, so the port is
    /// in the cookie's name.
    pub fn new(subject: Subject, port: u16) -> Result<Self, NoRandomness> {
        let cookie_name = format!("periscope_demo_{port}");
        let (token, cookie) = (Secret::random()?, Secret::random()?);
        Ok(Self {
            subject: Arc::new(subject),
            token,
            cookie,
            cookie_name,
        })
    }

    /// The token of the printed URL; also a bearer token for clients without cookies.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    fn credential(&self, parts: &Parts) -> Option<Credential> {
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer);
            return token
                .filter(|token| self.token.is(token))
                .map(|_| Credential::Bearer);
        }
        let headers = parts.headers.get_all(header::COOKIE).iter();
        let mut cookies = headers
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        let is_ours = |cookie: &str| {
            let (name, value) = cookie.trim().split_once('=').unwrap_or_default();
            name == self.cookie_name && self.cookie.is(value)
        };
        cookies.any(is_ours).then_some(Credential::Cookie)
    }

    fn enter(&self, parts: &Parts) -> Option<Reply> {
        let query = parts.uri.query()?;
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="))?;
        if !self.token.is(token) {
            let message =
                "This link has expired: the demo was started anew. Use the URL it printed last.\n";
            return Some(respond::text(StatusCode::UNAUTHORIZED, message));
        }
        let mut reply = respond::empty(StatusCode::SEE_OTHER);
        let cookie = format!(
            "{}={}; Path=/; HttpOnly; SameSite=Lax",
            self.cookie_name, self.cookie.0
        );
        let headers = reply.headers_mut();
        // Digits, letters and the name above: both are always valid header values.
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            headers.insert(header::SET_COOKIE, cookie);
        }
        if let Ok(location) = HeaderValue::from_str(&clean(parts.uri.path(), query)) {
            headers.insert(header::LOCATION, location);
        }
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        Some(reply)
    }
}

impl std::fmt::Debug for DemoLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DemoLogin")
            .field("subject", &self.subject.sub)
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// A new secret from the operating system.
    pub fn random() -> Result<Self, NoRandomness> {
        let bytes: [u8; 32] = random()?;
        Ok(Self(
            bytes
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .map(hex)
                .collect(),
        ))
    }

    /// Whether `given` is this secret, in a time that does not depend on where they differ.
    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The secret itself, for the one place that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The same place without the token. A path that a browser would read as another host is not kept.
fn clean(path: &str, query: &str) -> String {
    let is_local = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    let path = if is_local { path } else { "/" };
    let rest: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.starts_with("token="))
        .collect();
    if rest.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", rest.join("&"))
    }
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> (Authentication, String, String) {
        let subject = Subject {
            sub: "demo@localhost".to_owned(),
            email: None,
            groups: Vec::new(),
        };
        let login = DemoLogin::new(subject, 8080).unwrap();
        let (token, cookie) = (login.token.0.clone(), login.cookie.0.clone());
        (Authentication::Demo(login), token, cookie)
    }

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_token_of_the_url_becomes_a_cookie_and_leaves_the_url() {
        let (authentication, token, cookie) = demo();
        let uri = format!("/clusters/modern?tab=2&token={token}&x=y");
        let reply = authentication.enter(&parts(&uri, &[])).unwrap();
        assert_eq!(reply.status(), 303);
        assert_eq!(reply.headers()["location"], "/clusters/modern?tab=2&x=y");
        assert_eq!(reply.headers()["referrer-policy"], "no-referrer");
        let set = reply.headers()["set-cookie"].to_str().unwrap();
        assert_eq!(
            set,
            format!("periscope_demo_8080={cookie}; Path=/; HttpOnly; SameSite=Lax")
        );
        let wrong = authentication.enter(&parts("/?token=00", &[])).unwrap();
        assert_eq!(wrong.status(), 401);
        assert!(!wrong.headers().contains_key("set-cookie"));
        assert!(authentication.enter(&parts("/?tab=2", &[])).is_none());
    }

    #[test]
    fn the_redirect_never_leaves_this_host() {
        let (authentication, token, _) = demo();
        for path in ["//evil.example", "//evil.example/x", "/\\evil.example"] {
            let Ok(uri) = format!("{path}?token={token}").parse::<http::Uri>() else {
                continue;
            };
            let mut parts = parts("/", &[]);
            parts.uri = uri;
            let location = authentication.enter(&parts).unwrap().headers()["location"].clone();
            assert!(!location.to_str().unwrap().contains("evil"), "{location:?}");
        }
    }

    #[test]
    fn only_the_right_cookie_or_bearer_token_is_a_login() {
        let (authentication, token, cookie) = demo();
        let credential = |headers: &[(&str, &str)]| {
            authentication
                .login(&parts("/", headers))
                .map(|login| login.credential)
        };
        let good = format!("theme=dark; periscope_demo_8080={cookie}");
        assert_eq!(credential(&[("cookie", &good)]), Some(Credential::Cookie));
        let good = format!("Bearer {token}");
        assert_eq!(
            credential(&[("authorization", &good)]),
            Some(Credential::Bearer)
        );
        let wrong = [
            format!("periscope_demo_8081={cookie}"),
            format!("periscope_demo_8080={token}"),
            format!("xperiscope_demo_8080={cookie}"),
            "periscope_demo_8080=".to_owned(),
            cookie.clone(),
        ];
        for value in &wrong {
            assert_eq!(credential(&[("cookie", value)]), None, "{value}");
        }
        for value in [
            &format!("Bearer {cookie}"),
            &format!("Basic {token}"),
            &token,
            "Bearer ",
        ] {
            assert_eq!(credential(&[("authorization", value)]), None, "{value}");
        }
        // A wrong bearer token is not forgiven because a cookie is there, too.
        let both = [
            ("authorization", "Bearer x"),
            ("cookie", &format!("periscope_demo_8080={cookie}")),
        ];
        assert_eq!(credential(&both), None);
        assert_eq!(credential(&[]), None);
    }

    #[test]
    fn secrets_are_long_differ_and_do_not_print() {
        let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.reveal().len(), 64);
        assert_eq!(format!("{one:?}"), "[redacted]");
        let (authentication, token, cookie) = demo();
        let printed = format!("{authentication:?}");
        assert!(
            !printed.contains(&token) && !printed.contains(&cookie),
            "{printed}"
        );
    }
}
