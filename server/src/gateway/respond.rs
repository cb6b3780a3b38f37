//! Answers: JSON, errors in the documented shape, and the headers every answer carries.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use periscope_core::code::ErrorCode;
use serde::Serialize;
use serde_json::{Map, Value};

/// What a route answers with.
pub(crate) type Reply = Response<Full<Bytes>>;

/// An error as a client sees it: `{"error":"E_…","message":"…", …}`.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    status: StatusCode,
    message: Option<Cow<'static, str>>,
    extra: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// The error with its documented status and sentence.
    pub(crate) fn new(code: ErrorCode) -> Self {
        let status =
            StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = Some(Cow::Borrowed(code.message()));
        Self {
            code,
            status,
            message,
            extra: Map::new(),
            headers: Vec::new(),
        }
    }

    /// The error with a sentence of its own. `message` must not hold a peer's text.
    #[must_use]
    pub(crate) fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// An error whose HTTP meaning is narrower than its code's (405, 413, 415, 421, 431).
    #[must_use]
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a member to the body.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a response header.
    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says when to come back.
    #[must_use]
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The body is the code and nothing else.
    #[must_use]
    pub(crate) fn bare(mut self) -> Self {
        self.message = None;
        self
    }

    /// The code.
    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// The answer.
    pub(crate) fn reply(self) -> Reply {
        let mut body = Map::new();
        body.insert("error".to_owned(), Value::from(self.code.as_str()));
        if let Some(message) = self.message {
            body.insert("message".to_owned(), Value::from(message.into_owned()));
        }
        body.extend(self.extra);
        let mut reply = json(self.status, &Value::Object(body));
        for (name, value) in self.headers {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Only maps with keys that are not strings fail, and no answer has any.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    );
    reply
}

/// A list: `{"items":[…]}`.
pub(crate) fn items(items: &impl Serialize) -> Reply {
    #[derive(Serialize)]
    struct Items<'a, T> {
        items: &'a T,
    }
    json(StatusCode::OK, &Items { items })
}

/// A short text, for health checks and for people who look at them.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Whether a body says that it is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = content_type
        .unwrap_or_default()
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
}

/// Adds what every answer carries.
pub(crate) fn harden(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("same-origin"));
    reply
}
