//! The gateway's AWS credentials, one set for all clusters: keys of the environment, a role for the pod's
//! service account, or what the agent of Pod Identity hands out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use quick_xml::de::from_reader;
use serde::Deserialize;

use super::super::KubeError;
use super::super::cache::{Cache, Fetched, Generation};
use super::EksSetupError;
use super::error::{AwsError, AwsService};
use super::http::AwsHttp;
use crate::config::{AwsConfig, AwsCredentialsConfig, ContainerAuthorization};

/// How long before their end credentials are replaced, where they live long enough: time for a few tries
/// while the old ones are still good.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// Credentials younger than this are not replaced because a cluster answered 401: a cluster
/// that never takes them must not become a stream of questions to AWS.
const TOO_YOUNG_TO_BLAME: Duration = Duration::from_secs(5);

/// The largest token file that is read. Tokens of service accounts are one or two KiB.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Where credentials come from, and those in use.
pub struct AwsCredentials {
    source: Arc<Source>,
    held: Cache<Held>,
}

#[derive(Clone)]
struct Held {
    credentials: Credentials,
    since: Instant,
}

enum Source {
    Keys(Credentials),
    WebIdentity {
        sts: AwsHttp,
        role: String,
        session_name: String,
        token_file: PathBuf,
    },
    Container {
        agent: AwsHttp,
        authorization: ContainerAuthorization,
    },
}

impl AwsCredentials {
    /// What this configuration names. Nothing is asked for before it is needed.
    pub fn new(config: &AwsConfig) -> Result<Self, EksSetupError> {
        let credentials = config.credentials.as_ref();
        let credentials = &credentials.ok_or(EksSetupError::NoCredentials)?.value;
        let source = match credentials {
            AwsCredentialsConfig::Keys {
                id,
                secret,
                session,
            } => {
                let session = session.as_ref().map(|token| token.reveal().to_owned());
                let keys = Credentials::new(id, secret.reveal(), session, None, "environment");
                Source::Keys(keys)
            }
            AwsCredentialsConfig::WebIdentity {
                role,
                dns_suffix,
                token_file,
                session_name,
            } => {
                let regional = format!("https://sts.{}.{dns_suffix}", config.region.value);
                let set = config.sts_endpoint.as_ref();
                let url = set.map_or(&regional, |set| &set.value);
                Source::WebIdentity {
                    sts: AwsHttp::new(AwsService::Sts, url)?,
                    role: role.clone(),
                    session_name: session_name.clone(),
                    token_file: token_file.clone(),
                }
            }
            AwsCredentialsConfig::Container { url, authorization } => Source::Container {
                agent: AwsHttp::new(AwsService::PodIdentity, url)?,
                authorization: authorization.clone(),
            },
        };
        Ok(Self {
            source: Arc::new(source),
            held: Cache::new(),
        })
    }

    /// Where they come from, for an operator.
    pub(super) fn kind(&self) -> &'static str {
        match &*self.source {
            Source::Keys(_) => "keys of the environment",
            Source::WebIdentity { .. } => "the role of the service account (IRSA)",
            Source::Container { .. } => "the role of EKS Pod Identity",
        }
    }

    /// Credentials to sign with. `rejected` are those a cluster did not take.
    pub(super) async fn get(
        &self,
        rejected: Option<Generation>,
    ) -> Result<(Credentials, Generation), KubeError> {
        let (held, generation) = self.held.get(None, self.fetch()).await?;
        let is_to_blame =
            rejected == Some(generation) && held.since.elapsed() >= TOO_YOUNG_TO_BLAME;
        let (held, generation) = if is_to_blame {
            self.held.get(rejected, self.fetch()).await?
        } else {
            (held, generation)
        };
        Ok((held.credentials, generation))
    }

    fn fetch(&self) -> impl Future<Output = Result<Fetched<Held>, KubeError>> + Send + 'static {
        let source = Arc::clone(&self.source);
        async move {
            let fetched = source.fetch().await.map_err(|error| {
                log::warn!(reason = error.to_string().as_str(); "kube.eks.credentials.failed");
                KubeError::Aws(error)
            })?;
            log::debug!("kube.eks.credentials");
            Ok(fetched)
        }
    }
}

impl Source {
    async fn fetch(&self) -> Result<Fetched<Held>, AwsError> {
        match self {
            Self::Keys(credentials) => Ok(Fetched::forever(Held {
                credentials: credentials.clone(),
                since: Instant::now(),
            })),
            Self::WebIdentity {
                sts,
                role,
                session_name,
                token_file,
            } => {
                let token = read_token(AwsService::Sts, token_file).await?;
                let body = form_urlencoded::Serializer::new(String::new())
                    .append_pair("Action", "AssumeRoleWithWebIdentity")
                    .append_pair("Version", "2011-06-15")
                    .append_pair("RoleArn", role)
                    .append_pair("RoleSessionName", session_name)
                    .append_pair("WebIdentityToken", &token)
                    .finish();
                let request = Request::post(sts.url())
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(Full::from(body));
                let request = request.map_err(|_| AwsError::Broken(AwsService::Sts))?;
                assumed(&sts.send(request).await?)?.held(AwsService::Sts)
            }
            Self::Container {
                agent,
                authorization,
            } => {
                let service = AwsService::PodIdentity;
                let shown = match authorization {
                    ContainerAuthorization::File(path) => Some(read_token(service, path).await?),
                    ContainerAuthorization::Token(token) => Some(token.reveal().to_owned()),
                    ContainerAuthorization::None => None,
                };
                let request = Request::get(agent.url()).body(Full::default());
                let mut request = request.map_err(|_| AwsError::Broken(service))?;
                if let Some(shown) = shown {
                    let value = HeaderValue::from_str(&shown);
                    let mut value = value.map_err(|_| AwsError::TokenFile(service))?;
                    value.set_sensitive(true);
                    request.headers_mut().insert(header::AUTHORIZATION, value);
                }
                let body = agent.send(request).await?;
                let keys: Keys =
                    serde_json::from_slice(&body).map_err(|_| AwsError::Garbage(service))?;
                keys.held(service)
            }
        }
    }
}

/// The token that Kubernetes keeps fresh in a file.
async fn read_token(service: AwsService, path: &Path) -> Result<String, AwsError> {
    use tokio::io::AsyncReadExt as _;
    let error = |_| AwsError::TokenFile(service);
    let file = tokio::fs::File::open(path).await.map_err(error)?;
    let mut text = String::new();
    let mut bounded = file.take(TOKEN_BYTES_MAX);
    bounded.read_to_string(&mut text).await.map_err(error)?;
    match text.trim() {
        "" => Err(AwsError::TokenFile(service)),
        token => Ok(token.to_owned()),
    }
}

/// Temporary keys as both services name them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: Option<jiff::Timestamp>,
}

/// The answer of `AssumeRoleWithWebIdentity`.
#[derive(Deserialize)]
struct Assumed {
    #[serde(rename = "AssumeRoleWithWebIdentityResult")]
    result: AssumedResult,
}

#[derive(Deserialize)]
struct AssumedResult {
    #[serde(rename = "Credentials")]
    keys: Keys,
}

fn assumed(body: &[u8]) -> Result<Keys, AwsError> {
    let answer = from_reader::<_, Assumed>(body);
    let answer = answer.map_err(|_| AwsError::Garbage(AwsService::Sts))?;
    Ok(answer.result.keys)
}

impl Keys {
    fn held(self, service: AwsService) -> Result<Fetched<Held>, AwsError> {
        // All three become part of headers and URLs.
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let token = self.token.filter(|token| !token.is_empty());
        if !is_plain(&self.access_key_id)
            || !is_plain(&self.secret_access_key)
            || !token.as_deref().is_none_or(is_plain)
        {
            return Err(AwsError::Garbage(service));
        }
        let lifetime = match self.expiration {
            None => None,
            Some(end) => {
                let left = Duration::try_from(end.duration_since(jiff::Timestamp::now()));
                let left = left.ok().filter(|left| !left.is_zero());
                Some(left.ok_or(AwsError::Expired(service))?)
            }
        };
        let end = lifetime.map(|lifetime| SystemTime::now() + lifetime);
        let credentials = Credentials::new(
            self.access_key_id,
            self.secret_access_key,
            token,
            end,
            "fetched",
        );
        Ok(Fetched {
            value: Held {
                credentials,
                since: Instant::now(),
            },
            good_for: lifetime
                .map(|lifetime| lifetime.saturating_sub(RENEW_BEFORE.min(lifetime / 4))),
            usable_for: lifetime,
        })
    }
}

/// Everything in it is secret or tells of secrets.
impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.source {
            Source::Keys(_) => "Keys",
            Source::WebIdentity { .. } => "WebIdentity",
            Source::Container { .. } => "Container",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(expiration: &str) -> Keys {
        let json = format!(
            r#"{{"AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"{expiration}","AccountId":"1"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn credentials_are_replaced_minutes_before_their_end_and_usable_until_it() {
        let end = jiff::Timestamp::now() + Duration::from_hours(1);
        let fetched = keys(&end.to_string())
            .held(AwsService::PodIdentity)
            .unwrap();
        let (good, usable) = (fetched.good_for.unwrap(), fetched.usable_for.unwrap());
        assert_eq!(usable, good + RENEW_BEFORE);
        assert!(usable > Duration::from_secs(3590), "{usable:?}");
        // What lives for two minutes would never be good otherwise.
        let end = jiff::Timestamp::now() + Duration::from_mins(2);
        let fetched = keys(&end.to_string())
            .held(AwsService::PodIdentity)
            .unwrap();
        assert!(fetched.good_for.unwrap() > Duration::from_secs(80));
        let past = keys("2020-01-01T00:00:00Z").held(AwsService::PodIdentity);
        assert_eq!(past.err(), Some(AwsError::Expired(AwsService::PodIdentity)));
    }

    #[test]
    fn the_answer_of_sts_is_read_and_nothing_else_passes_for_one() {
        let xml = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
            <AssumeRoleWithWebIdentityResult><Audience>sts.amazonaws.com</Audience>
            <Credentials><SessionToken>a+b/c==</SessionToken><SecretAccessKey>s&amp;s</SecretAccessKey>
            <Expiration>2014-10-24T23:00:23Z</Expiration><AccessKeyId>ASIA1</AccessKeyId></Credentials>
            </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"#;
        let keys = assumed(xml.as_bytes()).unwrap();
        assert_eq!(keys.access_key_id, "ASIA1");
        assert_eq!(keys.secret_access_key, "s&s");
        assert_eq!(keys.token.as_deref(), Some("a+b/c=="));
        assert!(keys.expiration.is_some());
        for body in [
            "",
            "<a/>",
            "{}",
            &xml[..200],
            &xml.replace("ASIA1", "AS IA\n"),
        ] {
            let keys = assumed(body.as_bytes()).and_then(|keys| keys.held(AwsService::Sts));
            assert!(keys.is_err(), "{body}");
        }
    }
}
