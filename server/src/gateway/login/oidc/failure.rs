//! Why a login came to nothing, and the page that says so. The provider's own words are never shown:
//! whoever makes a link decides them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use openidconnect::url::form_urlencoded;

use super::provider::{TokenError, VerifyError};
use crate::gateway::lock;
use crate::gateway::respond::Reply;

/// Why a login came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Too many logins are being finished.
    #[error("Too many people are logging in right now. Wait a moment and try again.")]
    Busy,
    /// Not begun in this browser, too long ago, or before a restart of the gateway.
    #[error(
        "This login was not begun in this browser, or too long ago. Begin it again; a link to this page cannot be shared or used twice."
    )]
    Flow,
    /// In none of the allowed groups.
    #[error(
        "You are logged in at the identity provider, but none of your groups may use this gateway. Ask its administrators for access."
    )]
    Group,
    /// The gateway itself failed.
    #[error("The gateway could not finish the login. Its log says why.")]
    Internal,
    /// The provider gives no usable answer.
    #[error(
        "The identity provider cannot be reached, or gives no usable answer. Try again; the gateway's log says what is wrong."
    )]
    Provider,
    /// The provider said no.
    #[error("The identity provider did not log you in.")]
    Refused,
    /// A subject that cannot be a Kubernetes user.
    #[error(
        "Your name at the identity provider cannot be used as a Kubernetes user name. Ask the administrators of the gateway."
    )]
    Subject,
    /// What the provider said about the person cannot be trusted.
    #[error(
        "The identity provider's answer was not valid, so you are not logged in. Try again; the gateway's log says what was wrong with it."
    )]
    Token(TokenError),
}

impl Failure {
    /// The word for it, on the page and in the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Flow => "login_not_begun",
            Self::Group => "group_not_allowed",
            Self::Internal => "internal",
            Self::Provider => "provider_unreachable",
            Self::Refused => "refused_by_provider",
            Self::Subject => "bad_subject",
            Self::Token(_) => "invalid_answer",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Flow => StatusCode::BAD_REQUEST,
            Self::Group | Self::Refused | Self::Subject => StatusCode::FORBIDDEN,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Provider | Self::Token(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The page. It is no part of the UI, because it must not depend on anything but itself.
    pub(super) fn page(self, return_to: &str) -> Reply {
        let again: String = form_urlencoded::byte_serialize(return_to.as_bytes()).collect();
        let body = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>Not logged in</title>\
             <style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;\
             max-width:36rem;margin:15vh auto;padding:0 1rem}}code{{font-size:.85em}}</style></head>\
             <body><main><h1>Not logged in</h1><p>{self}</p>\
             <p><a href=\"/api/auth/login?returnTo={again}\">Log in again</a></p>\
             <p><code>{}</code></p></main></body></html>\n",
            self.as_str(),
        );
        let mut reply = Response::new(Full::new(Bytes::from(body)));
        *reply.status_mut() = self.status();
        let headers = reply.headers_mut();
        let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        reply
    }
}

/// Lines about failed logins in a minute; anybody can make logins fail.
const LINES_PER_MINUTE: u32 = 60;

/// Says in the log why logins fail, as often as it may.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    began_at: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl FailureLog {
    pub(super) fn write(&self, failure: Failure) {
        let Some(left_out) = lock(&self.0).take(Instant::now()) else {
            return;
        };
        let detail = match failure {
            Failure::Token(reason) => reason.to_string(),
            _ => String::new(),
        };
        log::warn!(
            reason = failure.as_str(), detail = detail.as_str(), left_out = left_out;
            "login.failed"
        );
    }
}

impl Minute {
    /// Whether a line may be written, and then how many were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let is_over = |began_at: Instant| now.duration_since(began_at) >= Duration::from_mins(1);
        if self.began_at.is_none_or(is_over) {
            self.began_at = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_PER_MINUTE {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.lines = self.lines.saturating_add(1);
        Some(std::mem::take(&mut self.left_out))
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Provider(_) => Self::Provider,
            VerifyError::Token(error) => Self::Token(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn a_flood_of_failures_is_sixty_lines_a_minute_and_a_count() {
        let mut minute = Minute::default();
        let now = Instant::now();
        let lines = (0..100)
            .filter_map(|_| minute.take(now))
            .collect::<Vec<_>>();
        assert_eq!(lines, [0; 60]);
        assert_eq!(minute.take(now + Duration::from_secs(59)), None);
        assert_eq!(minute.take(now + Duration::from_mins(1)), Some(41));
        assert_eq!(minute.take(now + Duration::from_mins(1)), Some(0));
    }

    #[tokio::test]
    async fn the_page_shows_no_markup_of_others() {
        let reply = Failure::Flow.page("/\"><script>alert(1)</script>&x='");
        assert_eq!(reply.status(), 400);
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("<code>login_not_begun</code>"), "{body}");
        assert!(body.contains("returnTo=%2F%22%3E%3Cscript%3E"), "{body}");
        assert!(!body.contains("<script>"), "{body}");
    }
}
