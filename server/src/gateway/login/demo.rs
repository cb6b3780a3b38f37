//! The demo's login: one person, who has the URL.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, StatusCode, header};

use super::super::identity::Subject;
use super::super::respond::{self, Reply};
use super::{Credential, NoRandomness, Secret, bearer, cookie, is_local};

/// The demo's login: a token in the printed URL, exchanged for a cookie.
pub struct DemoLogin {
    subject: Arc<Subject>,
    token: Secret,
    cookie: Secret,
    cookie_name: String,
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

    /// The one person.
    pub(super) fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// The token of the printed URL; also a bearer token for clients without cookies.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// What the request proves itself with, if it does.
    pub(super) fn credential(&self, parts: &Parts) -> Option<Credential> {
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer);
            return token
                .filter(|token| self.token.is(token))
                .map(|_| Credential::Bearer);
        }
        cookie::values(parts, &self.cookie_name)
            .any(|value| self.cookie.is(value))
            .then_some(Credential::Cookie)
    }

    /// Answers the request that carries the token.
    pub(super) fn enter(&self, parts: &Parts) -> Option<Reply> {
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
        let attributes = cookie::Attributes {
            is_secure: false,
            max_age: None,
        };
        cookie::set(
            reply.headers_mut(),
            &self.cookie_name,
            self.cookie.reveal(),
            &attributes,
        );
        let headers = reply.headers_mut();
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

/// The same place without the token. A path that a browser would read as another host is not kept.
fn clean(path: &str, query: &str) -> String {
    let path = if is_local(path) { path } else { "/" };
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

#[cfg(test)]
mod tests {
    use super::super::Authentication;
    use super::*;

    fn demo() -> (DemoLogin, String, String) {
        let subject = Subject {
            sub: "demo@localhost".to_owned(),
            email: None,
            groups: Vec::new(),
        };
        let login = DemoLogin::new(subject, 8080).unwrap();
        let (token, cookie) = (
            login.token.reveal().to_owned(),
            login.cookie.reveal().to_owned(),
        );
        (login, token, cookie)
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
        let credential = |headers: &[(&str, &str)]| authentication.credential(&parts("/", headers));
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
    fn the_demos_secrets_do_not_print() {
        let (login, token, cookie) = demo();
        let printed = format!("{:?}", Authentication::Demo(login));
        assert!(
            !printed.contains(&token) && !printed.contains(&cookie),
            "{printed}"
        );
    }
}
