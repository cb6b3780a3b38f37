//! Clusters of Amazon EKS: AWS says where the apiserver is and who vouches for it, and a signed request
//! to STS is the token that opens it.

mod credentials;
mod error;
mod http;
mod sign;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use periscope_core::http::SecretValue;
use serde::Deserialize;

pub use credentials::AwsCredentials;
pub use error::{AwsCode, AwsError, AwsService};

use self::http::AwsHttp;
use super::cache::{Cache, Fetched, Generation};
use super::{Access, Endpoint, EndpointError, KubeError, Trust};
use crate::config::{AwsConfig, EksConfig};

/// How long a description of a cluster is good. Clusters rarely move; whoever does not find one where
/// it was asks again at once.
const DESCRIPTION_LIFETIME: Duration = Duration::from_mins(11);

/// How long the last description is used while AWS gives no other: an apiserver outlives outages of EKS'
/// own API.
const DESCRIPTION_USABLE: Duration = Duration::from_hours(24);

/// How often AWS is asked again where a cluster is that cannot be reached.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A cluster of EKS.
pub struct Eks {
    inner: Arc<Inner>,
    place: Cache<Place>,
    token: Cache<Token>,
    /// When AWS was last asked whether the cluster has moved.
    looked_again: Mutex<Option<Instant>>,
}

struct Inner {
    /// The cluster's name in the gateway's own configuration.
    name: String,
    config: EksConfig,
    http: AwsHttp,
    credentials: Arc<AwsCredentials>,
    /// What AWS said last, so that saying it again changes nothing.
    last: Mutex<Option<Place>>,
}

/// Where the apiserver is.
#[derive(Clone)]
struct Place {
    url: String,
    authority: String,
    endpoint: Arc<Endpoint>,
}

/// What opens it.
#[derive(Clone)]
struct Token {
    value: SecretValue,
    /// Which credentials it was signed with.
    signed_by: Generation,
}

/// Why no cluster of EKS can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EksSetupError {
    /// The environment names no source of credentials.
    #[error(
        "there are no AWS credentials: give the pod's service account a role (EKS Pod Identity or IRSA), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    NoCredentials,
    /// An endpoint of AWS that cannot be asked.
    #[error("AWS cannot be asked: {}", endpoint_reason(*.0))]
    Endpoint(#[from] EndpointError),
}

fn endpoint_reason(error: EndpointError) -> &'static str {
    match error {
        EndpointError::NoSystemRoots => "this machine has no certificate authorities",
        EndpointError::Url => "the URL of an endpoint is not an http or https URL",
        _ => "TLS cannot be set up",
    }
}

/// The answer of `DescribeCluster`, as far as it is needed.
#[derive(Deserialize)]
struct Described {
    cluster: DescribedCluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribedCluster {
    arn: Option<String>,
    endpoint: Option<String>,
    certificate_authority: Option<DescribedAuthority>,
}

#[derive(Deserialize)]
struct DescribedAuthority {
    data: Option<String>,
}

impl Eks {
    /// A cluster that is looked up when it is first used. `name` is for the log.
    pub fn new(
        name: &str,
        config: &EksConfig,
        aws: &AwsConfig,
        credentials: Arc<AwsCredentials>,
    ) -> Result<Self, EksSetupError> {
        let regional = format!("https://eks.{}.{}", config.region, config.dns_suffix);
        let set = aws.eks_endpoint.as_ref();
        let url = set.map_or(&regional, |set| &set.value);
        Ok(Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                config: config.clone(),
                http: AwsHttp::new(AwsService::Eks, url)?,
                credentials,
                last: Mutex::default(),
            }),
            place: Cache::new(),
            token: Cache::new(),
            looked_again: Mutex::default(),
        })
    }

    pub(super) async fn access(&self, rejected: Option<Generation>) -> Result<Access, KubeError> {
        let place = async {
            let describe = Arc::clone(&self.inner).described();
            self.place.get(None, describe).await
        };
        let (place, (token, generation)) = tokio::try_join!(place, self.token(rejected))?;
        Ok(Access::new(place.0.endpoint, Some(token.value), generation))
    }

    /// What signs the tokens, for an operator.
    pub(super) fn credentials_kind(&self) -> &'static str {
        self.inner.credentials.kind()
    }

    /// Another way in than to `unreachable`, if AWS knows of one.
    pub(super) async fn moved(&self, unreachable: &Arc<Endpoint>) -> Option<Access> {
        let describe = || Arc::clone(&self.inner).described();
        let (place, generation) = self.place.get(None, describe()).await.ok()?;
        let place = if Arc::ptr_eq(&place.endpoint, unreachable) {
            if !self.may_look_again() {
                return None;
            }
            self.place.get(Some(generation), describe()).await.ok()?.0
        } else {
            place
        };
        if Arc::ptr_eq(&place.endpoint, unreachable) {
            return None;
        }
        let (token, generation) = self.token(None).await.ok()?;
        Some(Access::new(place.endpoint, Some(token.value), generation))
    }

    fn may_look_again(&self) -> bool {
        let mut looked = super::super::lock(&self.looked_again);
        let is_time = looked.is_none_or(|at| at.elapsed() >= LOOK_AGAIN_AFTER);
        if is_time {
            *looked = Some(Instant::now());
        }
        is_time
    }

    async fn token(&self, rejected: Option<Generation>) -> Result<(Token, Generation), KubeError> {
        // Whoever signed the token that was refused may be the reason.
        let mut blamed = None;
        if rejected.is_some() {
            let sign = Arc::clone(&self.inner).signed(None);
            let (token, generation) = self.token.get(None, sign).await?;
            if rejected == Some(generation) {
                blamed = Some(token.signed_by);
            }
        }
        let sign = Arc::clone(&self.inner).signed(blamed);
        self.token.get(rejected, sign).await
    }
}

impl Inner {
    async fn signed(
        self: Arc<Self>,
        rejected: Option<Generation>,
    ) -> Result<Fetched<Token>, KubeError> {
        let (credentials, signed_by) = self.credentials.get(rejected).await?;
        let now = SystemTime::now();
        let value = sign::token(&self.config, &credentials, now);
        let value = value.map_err(|error| self.failed(error))?;
        // A token is worth no more than the credentials behind it.
        let left = credentials.expiry().map(|end| {
            let left = end.duration_since(now);
            left.unwrap_or_default()
        });
        Ok(Fetched {
            value: Token { value, signed_by },
            good_for: Some(
                left.unwrap_or(sign::TOKEN_LIFETIME)
                    .min(sign::TOKEN_LIFETIME),
            ),
            usable_for: None,
        })
    }

    async fn described(self: Arc<Self>) -> Result<Fetched<Place>, KubeError> {
        let (credentials, _) = self.credentials.get(None).await?;
        let described = self.describe(&credentials).await;
        let (url, authority) = described.map_err(|error| self.failed(error))?;
        let mut last = super::super::lock(&self.last);
        let known = last
            .as_ref()
            .filter(|known| known.url == url && known.authority == authority);
        let place = if let Some(known) = known {
            known.clone()
        } else {
            let endpoint = endpoint(&url, &authority).map_err(|error| self.failed(error))?;
            if last.is_some() {
                log::info!(cluster = self.name.as_str(); "kube.eks.moved");
            }
            Place {
                url,
                authority,
                endpoint: Arc::new(endpoint),
            }
        };
        *last = Some(place.clone());
        Ok(Fetched {
            value: place,
            good_for: Some(DESCRIPTION_LIFETIME),
            usable_for: Some(DESCRIPTION_USABLE),
        })
    }

    /// URL and certificate authority (base64 of PEM) as EKS tells them.
    async fn describe(
        &self,
        credentials: &aws_credential_types::Credentials,
    ) -> Result<(String, String), AwsError> {
        // Names of clusters are letters, digits, dots, underscores and dashes; the configuration is checked.
        let url = self
            .http
            .below(&format!("/clusters/{}", self.config.cluster));
        let request = Request::get(&url).body(Full::default());
        let mut request = request.map_err(|_| AwsError::Signature)?;
        sign::sign_get(
            "eks",
            &self.config.region,
            &url,
            &mut request,
            credentials,
            SystemTime::now(),
        )?;
        let body = self.http.send(request).await?;
        let described: Described =
            serde_json::from_slice(&body).map_err(|_| AwsError::Garbage(AwsService::Eks))?;
        let cluster = described.cluster;
        // The question names a cluster of whatever account the credentials are of. A token for the
        // right name must not go to the wrong account's cluster.
        if cluster.arn.as_ref() != Some(&self.config.arn) {
            return Err(AwsError::OtherCluster);
        }
        let authority = cluster.certificate_authority.and_then(|ca| ca.data);
        match (cluster.endpoint, authority) {
            (Some(url), Some(authority)) => Ok((url, authority)),
            _ => Err(AwsError::NoEndpoint),
        }
    }

    fn failed(&self, error: AwsError) -> KubeError {
        let reason = error.to_string();
        log::warn!(cluster = self.name.as_str(), reason = reason.as_str(); "kube.eks.failed");
        KubeError::Aws(error)
    }
}

fn endpoint(url: &str, authority: &str) -> Result<Endpoint, AwsError> {
    let pem = STANDARD.decode(authority.trim());
    let pem = pem.map_err(|_| AwsError::Authority)?;
    let endpoint = Endpoint::with_trust(url, &Trust::Authorities(pem), None, None);
    let endpoint = endpoint.map_err(|error| match error {
        EndpointError::Url => AwsError::Endpoint,
        _ => AwsError::Authority,
    })?;
    // The token would go over the wire in clear.
    if endpoint.tls.is_none() {
        return Err(AwsError::Endpoint);
    }
    Ok(endpoint)
}

/// Tokens are secret.
impl fmt::Debug for Eks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eks")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_cannot_be_trusted_is_not_spoken_to() {
        let certified = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let good = STANDARD.encode(certified.cert.pem());
        assert!(endpoint("https://a.example", &good).is_ok());
        for (url, authority, error) in [
            ("http://a.example", &good, AwsError::Endpoint),
            ("a.example", &good, AwsError::Endpoint),
            ("", &good, AwsError::Endpoint),
            ("https://a.example", &"!".to_owned(), AwsError::Authority),
            ("https://a.example", &String::new(), AwsError::Authority),
            (
                "https://a.example",
                &STANDARD.encode("no certificate"),
                AwsError::Authority,
            ),
        ] {
            assert_eq!(endpoint(url, authority).err(), Some(error), "{url}");
        }
    }
}
