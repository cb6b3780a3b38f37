//! A login that has begun: what the gateway has to know again when the browser comes back.
//!
//! It lives in a cookie of that browser, sealed with a key of this process. So beginnings cost no
//! memory here however many there are, and an answer of the provider counts only in the browser
//! that asked for it.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::super::origin::PublicUrl;
use super::super::cookie::{self, Attributes};
use super::super::{NoRandomness, Secret, is_local, random};

/// How long a person may take at the provider.
const FLOW_LIFETIME: Duration = Duration::from_mins(10);

/// The longest place to return to. Eight cookies of it stay far below the limit for a head.
const RETURN_TO_BYTES_MAX: usize = 1024;

/// Logins that one browser may have begun at the same time (tabs that all noticed an end).
const SLOTS: u8 = 8;

/// Seals and opens flows.
pub(super) struct Flows {
    key: RandomizedNonceKey,
    cookie_name: String,
    attributes: Attributes,
}

/// One login that has begun.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    /// Comes back in the query.
    pub(super) state: String,
    /// Comes back in the token.
    pub(super) nonce: String,
    /// Proves that who has the code began the login (RFC 7636).
    pub(super) verifier: String,
    /// Where the person was going.
    pub(super) return_to: String,
    began_at: i64,
}

impl Flows {
    pub(super) fn new(public_url: &PublicUrl) -> Result<Self, NoRandomness> {
        let key: [u8; 32] = random()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| NoRandomness)?;
        let cookie_name = format!("{}_flow_", cookie::name(public_url));
        Ok(Self {
            key,
            cookie_name,
            attributes: Attributes {
                is_secure: public_url.is_https(),
                max_age: Some(FLOW_LIFETIME),
            },
        })
    }

    /// Begins a login.
    pub(super) fn begin(return_to: Option<&str>, now: Timestamp) -> Result<Flow, NoRandomness> {
        let return_to = return_to
            .filter(|path| path.len() <= RETURN_TO_BYTES_MAX && is_local(path))
            .unwrap_or("/");
        let random = || Secret::random().map(|secret| secret.reveal().to_owned());
        Ok(Flow {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
            return_to: return_to.to_owned(),
            began_at: now.as_second(),
        })
    }

    /// Gives the flow to the browser. False if it cannot be sealed.
    pub(super) fn keep(&self, flow: &Flow, headers: &mut HeaderMap) -> bool {
        let Some(sealed) = self.seal(flow) else {
            return false;
        };
        cookie::set(headers, &self.name(&flow.state), &sealed, &self.attributes);
        true
    }

    /// The flow that this state belongs to, if this browser began it, and not too long ago.
    pub(super) fn find(&self, parts: &Parts, state: &str, now: Timestamp) -> Option<Flow> {
        let name = self.name(state);
        let mut flows = cookie::values(parts, &name)
            .take(usize::from(SLOTS))
            .filter_map(|value| self.unseal(value));
        let flow = flows.find(|flow| Secret(flow.state.clone()).is(state))?;
        let age = now.as_second().checked_sub(flow.began_at)?;
        let lifetime = i64::try_from(FLOW_LIFETIME.as_secs()).ok()?;
        (0..=lifetime).contains(&age).then_some(flow)
    }

    /// Takes the flow of this state away from the browser: it was used.
    pub(super) fn forget(&self, state: &str, headers: &mut HeaderMap) {
        cookie::clear(headers, &self.name(state), &self.attributes);
    }

    fn name(&self, state: &str) -> String {
        let slot = state.bytes().next().unwrap_or(0) % SLOTS;
        format!("{}{slot}", self.cookie_name)
    }

    fn seal(&self, flow: &Flow) -> Option<String> {
        let mut text = serde_json::to_vec(flow).ok()?;
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::empty(), &mut text)
            .ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn unseal(&self, value: &str) -> Option<Flow> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let text = self
            .key
            .open_in_place(nonce, Aad::empty(), &mut text)
            .ok()?;
        serde_json::from_slice(text).ok()
    }
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flows")
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn flows() -> Flows {
        Flows::new(&PublicUrl::parse("https://shell.example").unwrap()).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// The request of a browser that kept what it was told to keep.
    fn request(headers: &HeaderMap) -> Parts {
        let mut request = http::Request::builder();
        for cookie in headers.get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            request = request.header(header::COOKIE, pair);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_flow_comes_back_in_the_browser_that_began_it_and_in_no_other() {
        let flows = flows();
        let flow = Flows::begin(Some("/clusters/a?x=y#z"), now()).unwrap();
        let mut headers = HeaderMap::new();
        assert!(flows.keep(&flow, &mut headers));
        let cookie = headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("__Host-periscope_flow_"), "{cookie}");
        assert!(
            cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"),
            "{cookie}"
        );
        for secret in [&flow.state, &flow.nonce, &flow.verifier] {
            assert!(!cookie.contains(secret.as_str()));
        }
        let found = flows.find(&request(&headers), &flow.state, later(599));
        let found = found.unwrap();
        assert_eq!(found.return_to, "/clusters/a?x=y#z");
        assert_eq!(found.verifier, flow.verifier);

        let other = Flows::begin(None, now()).unwrap();
        // A state that leads to the same cookie, and yet is another.
        let near = format!("{}{}", &flow.state[..1], &other.state[1..]);
        for state in [&other.state, &near, ""] {
            assert!(flows.find(&request(&headers), state, now()).is_none());
        }
        assert!(
            flows
                .find(&request(&HeaderMap::new()), &flow.state, now())
                .is_none()
        );
        // Too late, and from the future.
        assert!(
            flows
                .find(&request(&headers), &flow.state, later(601))
                .is_none()
        );
        assert!(
            flows
                .find(&request(&headers), &flow.state, later(-1))
                .is_none()
        );
        // Another process has another key.
        assert!(
            self::flows()
                .find(&request(&headers), &flow.state, now())
                .is_none()
        );
    }

    #[test]
    fn a_flow_that_was_touched_is_none() {
        let flows = flows();
        let flow = Flows::begin(None, now()).unwrap();
        let sealed = flows.seal(&flow).unwrap();
        assert!(flows.unseal(&sealed).is_some());
        for index in 0..sealed.len() {
            let mut touched = sealed.clone().into_bytes();
            touched[index] = if touched[index] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).unwrap();
            assert!(flows.unseal(&touched).is_none(), "{index}");
        }
        assert!(flows.unseal("").is_none());
        assert!(flows.unseal(&sealed[..20]).is_none());
    }

    #[test]
    fn tabs_that_begin_at_the_same_time_do_not_take_each_others_place() {
        let flows = flows();
        let mut names: Vec<_> = (b'0'..=b'9')
            .chain(b'a'..=b'f')
            .map(|first| flows.name(&char::from(first).to_string()))
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), usize::from(SLOTS));
    }

    #[test]
    fn a_place_elsewhere_is_not_returned_to() {
        let long = format!("/{}", "x".repeat(RETURN_TO_BYTES_MAX));
        for place in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            &long,
        ] {
            let flow = Flows::begin(Some(place), now()).unwrap();
            assert_eq!(flow.return_to, "/", "{place}");
        }
    }
}
