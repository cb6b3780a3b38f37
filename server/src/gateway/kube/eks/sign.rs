//! Signature Version 4, by AWS' own crate: what is signed, and how the token for a cluster is made of it.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningInstructions, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, header};
use periscope_core::http::SecretValue;

use super::error::AwsError;
use crate::config::EksConfig;

/// How long a cluster takes a token, from the moment it was signed. The time that stands in the
/// signature itself, [`PRESIGNED_FOR`], is for STS only (`aws-iam-authenticator`, `pkg/token`).
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

/// `X-Amz-Expires`, the value `aws eks get-token` sends.
const PRESIGNED_FOR: Duration = Duration::from_mins(1);

/// The header by which a token is good for one cluster and no other.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";

const TOKEN_PREFIX: &str = "k8s-aws-v1.";

/// The token for a cluster: a presigned `GetCallerIdentity` of the regional STS, which the cluster
/// sends there to learn who signed it.
pub(super) fn token(
    cluster: &EksConfig,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<SecretValue, AwsError> {
    let EksConfig {
        region, dns_suffix, ..
    } = cluster;
    let url =
        format!("https://sts.{region}.{dns_suffix}/?Action=GetCallerIdentity&Version=2011-06-15");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(PRESIGNED_FOR);
    let what = What {
        service: "sts",
        region,
        settings,
        now,
    };
    let headers = [(CLUSTER_HEADER, cluster.cluster.as_str())];
    let mut request = Request::builder()
        .uri(&url)
        .body(())
        .map_err(|_| AwsError::Signature)?;
    let instructions = what.sign("GET", &url, &headers, b"", credentials)?;
    instructions.apply_to_request_http1x(&mut request);
    let url = request.uri().to_string();
    SecretValue::new(&format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(url)))
        .map_err(|_| AwsError::Signature)
}

/// Signs a GET without a body in its headers. `url` is where it goes to, and its host has to be the one
/// in the Host header.
pub(super) fn sign_get<B>(
    service: &'static str,
    region: &str,
    url: &str,
    request: &mut Request<B>,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), AwsError> {
    let what = What {
        service,
        region,
        settings: SigningSettings::default(),
        now,
    };
    let instructions = what.sign("GET", url, &[], b"", credentials)?;
    instructions.apply_to_request_http1x(request);
    if let Some(value) = request.headers_mut().get_mut(header::AUTHORIZATION) {
        value.set_sensitive(true);
    }
    Ok(())
}

/// What a signature is about.
struct What<'a> {
    service: &'static str,
    region: &'a str,
    settings: SigningSettings,
    now: SystemTime,
}

impl What<'_> {
    fn sign(
        self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        credentials: &Credentials,
    ) -> Result<SigningInstructions, AwsError> {
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(self.now)
            .settings(self.settings)
            .build()
            .map_err(|_| AwsError::Signature)?;
        let body = SignableBody::Bytes(body);
        let request = SignableRequest::new(method, url, headers.iter().copied(), body);
        let request = request.map_err(|_| AwsError::Signature)?;
        let signed = sign(request, &params.into()).map_err(|_| AwsError::Signature)?;
        Ok(signed.into_parts().0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    /// Made by botocore, the library of the `aws` command: `tools/eks-token-vectors.py`.
    const VECTORS: &str = include_str!("token-vectors.json");

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        cluster: String,
        region: String,
        dns_suffix: String,
        access_key_id: String,
        secret_access_key: String,
        session_token: Option<String>,
        /// Seconds since 1970.
        time: u64,
        token: String,
        describe: Describe,
    }

    #[derive(Deserialize)]
    struct Describe {
        url: String,
        authorization: String,
    }

    impl Vector {
        fn credentials(&self) -> Credentials {
            Credentials::new(
                &self.access_key_id,
                &self.secret_access_key,
                self.session_token.clone(),
                None,
                "test",
            )
        }

        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(self.time)
        }
    }

    fn vectors() -> Vec<Vector> {
        let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
        assert!(vectors.len() >= 4);
        vectors
    }

    /// The URL in a token, and its parameters as they are escaped, in the order of their names: in
    /// which order they stand is a matter of taste, and the signature does not depend on it. How they
    /// are escaped is not: Go's servers refuse a query with a bare semicolon.
    fn opened(token: &str) -> (String, BTreeMap<String, String>) {
        let encoded = token.strip_prefix(TOKEN_PREFIX).unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap();
        let (place, query) = url.split_once('?').unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            let twice = parameters.insert(name.to_owned(), value.to_owned());
            assert_eq!(twice, None, "{name}");
        }
        (place.to_owned(), parameters)
    }

    #[test]
    fn tokens_are_those_of_botocore() {
        for vector in vectors() {
            let cluster = EksConfig {
                region: vector.region.clone(),
                dns_suffix: vector.dns_suffix.clone().leak(),
                arn: String::new(),
                cluster: vector.cluster.clone(),
            };
            let made = token(&cluster, &vector.credentials(), vector.now()).unwrap();
            assert_eq!(
                opened(made.as_str()),
                opened(&vector.token),
                "{}",
                vector.name
            );
            assert!(!made.as_str().contains('='), "no padding");
        }
    }

    #[test]
    fn signed_headers_are_those_of_botocore() {
        for vector in vectors() {
            let mut request = Request::get(&vector.describe.url).body(()).unwrap();
            let (url, credentials) = (&vector.describe.url, vector.credentials());
            let region = &vector.region;
            sign_get("eks", region, url, &mut request, &credentials, vector.now()).unwrap();
            let headers = request.headers();
            let authorization = headers.get(header::AUTHORIZATION).unwrap();
            assert_eq!(
                authorization.to_str().unwrap(),
                vector.describe.authorization,
                "{}",
                vector.name
            );
            let session = headers.get("x-amz-security-token");
            let session = session.map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(session, vector.session_token, "{}", vector.name);
            assert!(authorization.is_sensitive());
        }
    }
}
