//! The way to an endpoint of AWS: rare requests, each on a connection of its own, each with a deadline
//! and a cap on what it reads. Redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use quick_xml::de::from_reader;
use serde::Deserialize;

use super::super::connect::Connector;
use super::super::{ConnectError, Endpoint, EndpointError, Trust, USER_AGENT};
use super::error::{AwsCode, AwsError, AwsService};

/// How long a request may take altogether.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer. A cluster's description is some KiB, of which its authority is the most.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct AwsHttp {
    service: AwsService,
    authority: String,
    /// Path and query that came with the endpoint's URL.
    path: String,
    client: Client<Connector, Full<Bytes>>,
    scheme: &'static str,
}

impl AwsHttp {
    /// The endpoint at a URL, vouched for by the authorities of this machine.
    pub(super) fn new(service: AwsService, url: &str) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::with_trust(url, &Trust::System, None, None)?;
        let uri: Uri = url.parse().map_err(|_| EndpointError::Url)?;
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Ok(Self {
            service,
            authority: endpoint.authority(),
            path: path.to_owned(),
            scheme: if endpoint.tls.is_some() {
                "https"
            } else {
                "http"
            },
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(Connector(Arc::new(endpoint))),
        })
    }

    /// The URL of the endpoint itself.
    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }

    /// The URL of a path below the endpoint's.
    pub(super) fn below(&self, path: &str) -> String {
        let prefix = self.path.trim_end_matches('/');
        format!("{}://{}{prefix}{path}", self.scheme, self.authority)
    }

    /// Sends a request to one of the URLs above, and returns the body of its answer.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, AwsError> {
        tokio::time::timeout(REQUEST_TIMEOUT, self.attempt(request))
            .await
            .map_err(|_| AwsError::Timeout(self.service))?
    }

    async fn attempt(&self, request: Request<Full<Bytes>>) -> Result<Bytes, AwsError> {
        let service = self.service;
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        // The scheme only keys the pool: TLS is the connector's business.
        let uri = format!("http://{}{path}", self.authority);
        parts.uri = uri.parse().map_err(|_| AwsError::Broken(service))?;
        let host = HeaderValue::from_str(&self.authority);
        let host = host.map_err(|_| AwsError::Broken(service))?;
        parts.headers.insert(header::HOST, host);
        let agent = HeaderValue::from_static(USER_AGENT);
        parts.headers.insert(header::USER_AGENT, agent);
        let answer = self.client.request(Request::from_parts(parts, body)).await;
        let answer = answer.map_err(|error| match connect_error(&error) {
            Some(connect) => AwsError::Connect(service, connect),
            None => AwsError::Broken(service),
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                AwsError::Garbage(service)
            } else {
                AwsError::Broken(service)
            }
        })?;
        let body = body.to_bytes();
        if head.status == StatusCode::OK {
            return Ok(body);
        }
        let named = head.headers.get("x-amzn-errortype");
        let named = named.and_then(|name| name.to_str().ok());
        Err(AwsError::Status {
            service,
            status: head.status.as_u16(),
            code: named.map_or_else(|| code_of(&body), first_word),
        })
    }
}

fn connect_error(error: &Error) -> Option<ConnectError> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(connect) = inner.downcast_ref::<ConnectError>() {
            return Some(*connect);
        }
        source = inner.source();
    }
    None
}

/// An error of the query protocol.
#[derive(Deserialize)]
struct XmlError {
    #[serde(rename = "Error")]
    error: XmlCode,
}

#[derive(Deserialize)]
struct XmlCode {
    #[serde(rename = "Code")]
    code: String,
}

/// An error of the JSON protocols.
#[derive(Deserialize)]
struct JsonError {
    #[serde(rename = "__type", alias = "code", alias = "Code")]
    code: String,
}

/// The error's name in a body of either protocol.
fn code_of(body: &[u8]) -> AwsCode {
    if let Ok(json) = serde_json::from_slice::<JsonError>(body) {
        return first_word(&json.code);
    }
    let xml = from_reader::<_, XmlError>(body);
    xml.map(|xml| AwsCode::known(&xml.error.code))
        .unwrap_or_default()
}

/// `NAME` of `PREFIX#NAME:REST`.
fn first_word(name: &str) -> AwsCode {
    let name = name.split(':').next().unwrap_or_default();
    AwsCode::known(name.rsplit('#').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_named_in_either_protocol() {
        let known = AwsCode::known("AccessDenied");
        assert_ne!(known, AwsCode::default());
        for body in [
            r#"<ErrorResponse xmlns="x"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>"#,
            r#"{"__type":"com.amazon#AccessDenied","message":"no"}"#,
            r#"{"code":"AccessDenied:http://internal","message":"no"}"#,
        ] {
            assert_eq!(code_of(body.as_bytes()), known, "{body}");
        }
        for body in [
            "",
            "{}",
            "<a/>",
            "<ErrorResponse><Error><Code>",
            "\u{0}",
            "[1]",
        ] {
            assert_eq!(code_of(body.as_bytes()), AwsCode::default(), "{body}");
        }
    }

    #[test]
    fn a_request_goes_below_the_endpoints_own_path() {
        let http = |url| AwsHttp::new(AwsService::Eks, url).unwrap();
        let plain = http("http://127.0.0.1:5000");
        assert_eq!(
            plain.below("/clusters/a"),
            "http://127.0.0.1:5000/clusters/a"
        );
        assert_eq!(plain.url(), "http://127.0.0.1:5000/");
        let prefixed = http("http://127.0.0.1:5000/proxy/");
        assert_eq!(
            prefixed.below("/clusters/a"),
            "http://127.0.0.1:5000/proxy/clusters/a"
        );
        let agent = http("http://169.254.170.23/v1/credentials?x=1");
        assert_eq!(agent.url(), "http://169.254.170.23/v1/credentials?x=1");
    }
}
