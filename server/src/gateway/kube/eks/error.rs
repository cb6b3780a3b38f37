//! What can go wrong between the gateway and AWS, and whose fault it was.

use std::fmt;

use super::super::ConnectError;

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsService {
    /// EKS, by `DescribeCluster`.
    Eks,
    /// STS, by `AssumeRoleWithWebIdentity`.
    Sts,
    /// The agent of Pod Identity.
    PodIdentity,
}

/// Why AWS gave no way into a cluster. Never holds a peer's text, and no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// No connection.
    #[error("{0}: {reason}", reason = unreachable(*.1))]
    Connect(AwsService, ConnectError),
    /// No complete answer within the deadline.
    #[error("{0}: no answer in time")]
    Timeout(AwsService),
    /// The connection broke, or what came is not HTTP.
    #[error("{0}: the connection broke")]
    Broken(AwsService),
    /// An answer that is not a success.
    #[error("{service}: answered with status {status}{code}")]
    Status {
        /// Who answered.
        service: AwsService,
        /// The HTTP status.
        status: u16,
        /// The error's name, where it is a known one.
        code: AwsCode,
    },
    /// An answer that is too large, or not what it should be.
    #[error("{0}: the answer could not be read")]
    Garbage(AwsService),
    /// Credentials that cannot be used any more when they arrive.
    #[error("{0}: the credentials have expired already; is the clock right?")]
    Expired(AwsService),
    /// The cluster is being created, or has failed to be.
    #[error("EKS (DescribeCluster): the cluster has no endpoint yet")]
    NoEndpoint,
    /// A cluster of that name in another account.
    #[error(
        "EKS (DescribeCluster): the cluster of this name in the account of the gateway's credentials has another arn"
    )]
    OtherCluster,
    /// An endpoint that is not https.
    #[error("EKS (DescribeCluster): the cluster's endpoint is not an https URL")]
    Endpoint,
    /// A certificate authority that cannot be read.
    #[error("EKS (DescribeCluster): the cluster's certificate authority cannot be read")]
    Authority,
    /// The file in `AWS_WEB_IDENTITY_TOKEN_FILE` or `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    #[error("{0}: the file with the token to show cannot be read or sent")]
    TokenFile(AwsService),
    /// The library refuses to sign.
    #[error("the request could not be signed")]
    Signature,
}

/// The name AWS gives to an error, if it is one of [`CODES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AwsCode(Option<&'static str>);

/// Names of errors that tell an operator what to do. Others are not repeated: they are a peer's text.
const CODES: [&str; 19] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IDPCommunicationError",
    "IDPRejectedClaim",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "RequestExpired",
    "ResourceNotFoundException",
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "Throttling",
    "ThrottlingException",
    "UnrecognizedClientException",
    "ValidationError",
];

impl AwsCode {
    pub(super) fn known(text: &str) -> Self {
        Self(CODES.into_iter().find(|code| *code == text))
    }

    fn is(self, codes: &[&str]) -> bool {
        self.0.is_some_and(|code| codes.contains(&code))
    }
}

impl AwsError {
    /// Whether trying again later is all there is to do: nobody answered, or not as AWS does.
    /// Otherwise the gateway's credentials, its rights or the cluster's entry have to be mended.
    pub fn is_outage(self) -> bool {
        match self {
            Self::Status { status, code, .. } => {
                matches!(status, 300..=399 | 408 | 429 | 500..)
                    || code.is(&["Throttling", "ThrottlingException", "IDPCommunicationError"])
            }
            Self::Connect(..)
            | Self::Timeout(_)
            | Self::Broken(_)
            | Self::Garbage(_)
            | Self::NoEndpoint
            | Self::Endpoint
            | Self::Authority => true,
            Self::Expired(_) | Self::OtherCluster | Self::TokenFile(_) | Self::Signature => false,
        }
    }
}

fn unreachable(error: ConnectError) -> &'static str {
    match error {
        ConnectError::Dns => "the name could not be resolved",
        ConnectError::Tcp => "no TCP connection was accepted",
        ConnectError::Tls => "the TLS handshake failed",
    }
}

impl fmt::Display for AwsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eks => "EKS (DescribeCluster)",
            Self::Sts => "STS (AssumeRoleWithWebIdentity)",
            Self::PodIdentity => "the Pod Identity agent",
        })
    }
}

impl fmt::Display for AwsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |code| write!(f, " ({code})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, code: &str) -> AwsError {
        AwsError::Status {
            service: AwsService::Sts,
            status,
            code: AwsCode::known(code),
        }
    }

    #[test]
    fn an_outage_is_what_time_mends() {
        for outage in [
            status(503, ""),
            status(500, "AccessDenied"),
            status(429, ""),
            status(400, "Throttling"),
            status(302, ""),
            AwsError::Timeout(AwsService::Eks),
            AwsError::NoEndpoint,
        ] {
            assert!(outage.is_outage(), "{outage}");
        }
        for ours in [
            status(403, "AccessDenied"),
            status(400, "InvalidIdentityToken"),
            status(404, "ResourceNotFoundException"),
            AwsError::OtherCluster,
            AwsError::TokenFile(AwsService::Sts),
        ] {
            assert!(!ours.is_outage(), "{ours}");
        }
    }

    #[test]
    fn a_code_is_repeated_only_if_it_is_a_known_one() {
        assert_eq!(
            status(403, "AccessDenied").to_string(),
            "STS (AssumeRoleWithWebIdentity): answered with status 403 (AccessDenied)"
        );
        assert_eq!(
            status(403, "hunter2").to_string(),
            "STS (AssumeRoleWithWebIdentity): answered with status 403"
        );
    }
}
