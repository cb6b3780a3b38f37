//! The Status an apiserver answers a refused request with, byte for byte as the real one writes it.

use http::StatusCode;
use serde::Serialize;

/// A refusal: its HTTP status and the body's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) details: Option<Details>,
    /// `Retry-After`, in seconds.
    pub(super) retry_after_seconds: Option<u32>,
}

/// What the refusal is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) group: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_seconds: Option<u32>,
}

/// The body, its keys in the order Go writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

impl Refusal {
    fn new(code: StatusCode, reason: &'static str, message: String) -> Self {
        Self {
            code,
            reason,
            message,
            details: None,
            retry_after_seconds: None,
        }
    }

    /// 401: the credentials are missing or wrong.
    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Unauthorized",
            "Unauthorized".to_owned(),
        )
    }

    /// 400 with a sentence.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message.into())
    }

    /// 403: `message` is what follows `pods "name" is forbidden: `.
    pub(super) fn forbidden(resource: &'static str, name: &str, message: &str) -> Self {
        let subject = if name.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource} \"{name}\"")
        };
        let mut refusal = Self::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            format!("{subject} is forbidden: {message}"),
        );
        refusal.details = Some(Details::of(resource, name));
        refusal
    }

    /// 404 for an object.
    pub(super) fn not_found(resource: &'static str, name: &str) -> Self {
        let message = format!("{resource} \"{name}\" not found");
        let mut refusal = Self::new(StatusCode::NOT_FOUND, "NotFound", message);
        refusal.details = Some(Details::of(resource, name));
        refusal
    }

    /// 404 for a path that is no resource.
    pub(super) fn no_resource() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        let mut refusal = Self::new(StatusCode::NOT_FOUND, "NotFound", message);
        refusal.details = Some(Details::of("", ""));
        refusal
    }

    /// 405: the resource is there, the verb is not.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 413: the body is larger than any request the sandbox knows.
    pub(super) fn too_large() -> Self {
        let message = "Request entity too large: limit is 65536".to_owned();
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// 415: the body is not JSON.
    pub(super) fn unsupported_media_type() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types \
                       include: application/json, application/vnd.kubernetes.protobuf"
            .to_owned();
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    /// 429 with `Retry-After: 1`.
    pub(super) fn too_many_requests() -> Self {
        let message = "Too many requests, please try again later.".to_owned();
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        refusal.details = Some(Details {
            retry_after_seconds: Some(1),
            ..Details::of("", "")
        });
        refusal.retry_after_seconds = Some(1);
        refusal
    }

    /// 500 with a sentence.
    pub(super) fn internal(message: &str) -> Self {
        let message = format!("Internal error occurred: {message}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// The body: one line of JSON.
    pub(super) fn body(&self) -> String {
        let body = Body {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self.details.as_ref(),
            code: self.code.as_u16(),
        };
        // Strings and numbers always serialize; an empty body would be noticed at once.
        let json = serde_json::to_string(&body).unwrap_or_default();
        // Go's encoder escapes these inside strings, and they occur nowhere else.
        json.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            + "\n"
    }
}

impl Details {
    fn of(kind: &'static str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            group: "",
            kind,
            retry_after_seconds: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The bodies of the captured refusals of a 1.36 and a 1.20 apiserver.
    #[test]
    fn refusals_equal_those_of_a_real_apiserver() {
        assert_eq!(
            Refusal::not_found("pods", "nosuch").body(),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
             \"message\":\"pods \\\"nosuch\\\" not found\",\"reason\":\"NotFound\",\
             \"details\":{\"name\":\"nosuch\",\"kind\":\"pods\"},\"code\":404}\n"
        );
        assert_eq!(
            Refusal::bad_request("container nosuch is not valid for pod box").body(),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
             \"message\":\"container nosuch is not valid for pod box\",\"reason\":\"BadRequest\",\
             \"code\":400}\n"
        );
        let cannot = "User \"alice\" cannot get resource \"pods/exec\" in API group \"\" in the \
                      namespace \"default\"";
        assert_eq!(
            Refusal::forbidden("pods", "box", cannot).body(),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
             \"message\":\"pods \\\"box\\\" is forbidden: User \\\"alice\\\" cannot get resource \
             \\\"pods/exec\\\" in API group \\\"\\\" in the namespace \\\"default\\\"\",\
             \"reason\":\"Forbidden\",\"details\":{\"name\":\"box\",\"kind\":\"pods\"},\
             \"code\":403}\n"
        );
    }

    #[test]
    fn markup_in_a_message_is_escaped_as_go_does() {
        let body = Refusal::bad_request("a <b> & c").body();
        assert!(body.contains("a \\u003cb\\u003e \\u0026 c"), "{body}");
    }
}
