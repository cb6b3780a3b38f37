//! What the backend eks takes from the environment: the variables of the AWS SDKs, by their names and
//! in their order.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use http::Uri;

use super::clusters::{BackendConfig, ClusterConfig, is_region};
use super::environment::{
    AWS_ACCESS_KEY_ID, AWS_CONTAINER_AUTHORIZATION_TOKEN, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE,
    AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EKS,
    AWS_ENDPOINT_URL_STS, AWS_REGION, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME, AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN, AWS_WEB_IDENTITY_TOKEN_FILE, Environment, Variable,
};
use super::findings::{Fault, Findings};
use super::place::{Origin, Setting};
use super::secret::SecretText;

/// How AWS is reached, where there is a cluster of the backend eks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsConfig {
    /// Where the gateway's credentials come from; none if the environment names no source.
    pub credentials: Option<Setting<AwsCredentialsConfig>>,
    /// The region whose STS is asked for credentials.
    pub region: Setting<String>,
    /// What is asked instead of `eks.REGION.…`.
    pub eks_endpoint: Option<Setting<String>>,
    /// What is asked for credentials instead of `sts.REGION.…`. Tokens for a cluster name the regional
    /// STS all the same: the cluster accepts no other.
    pub sts_endpoint: Option<Setting<String>>,
}

/// Where the gateway's AWS credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsCredentialsConfig {
    /// Keys in the environment.
    Keys {
        /// Which key.
        id: String,
        /// The key.
        secret: SecretText,
        /// What temporary keys come with.
        session: Option<SecretText>,
    },
    /// IAM roles for service accounts: a token of the pod's service account is exchanged at STS.
    WebIdentity {
        /// The role.
        role: String,
        /// The DNS suffix of the role's partition.
        dns_suffix: &'static str,
        /// The file with the token, which Kubernetes rotates.
        token_file: PathBuf,
        /// How `CloudTrail` names the gateway.
        session_name: String,
    },
    /// EKS Pod Identity: an agent on the node hands credentials out.
    Container {
        /// Whom to ask.
        url: String,
        /// What to show the agent.
        authorization: ContainerAuthorization,
    },
}

/// What the agent of Pod Identity wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerAuthorization {
    /// A token in a file that Kubernetes rotates.
    File(PathBuf),
    /// A token.
    Token(SecretText),
    /// Nothing.
    None,
}

/// The partitions of AWS and the suffix of their host names, as botocore 1.44 lists them.
const PARTITIONS: [(&str, &str); 8] = [
    ("aws", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-eusc", "amazonaws.eu"),
    ("aws-iso", "c2s.ic.gov"),
    ("aws-iso-b", "sc2s.sgov.gov"),
    ("aws-iso-e", "cloud.adc-e.uk"),
    ("aws-iso-f", "csp.hci.ic.gov"),
    ("aws-us-gov", "amazonaws.com"),
];

/// Addresses beside loopback that may be asked for credentials in plain HTTP, as in the SDKs: the agents
/// of ECS and EKS, which answer on the node itself.
const AGENTS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23)),
];

/// How `CloudTrail` names the gateway where nobody chose.
const SESSION_NAME: &str = "periscope";

/// The suffix of host names in a partition.
pub(super) fn dns_suffix(partition: &str) -> Option<&'static str> {
    let found = PARTITIONS.iter().find(|(name, _)| *name == partition);
    found.map(|(_, suffix)| *suffix)
}

/// Reads the environment, if one of the clusters needs it.
pub(super) fn read(
    clusters: &[ClusterConfig],
    environment: &Environment,
    findings: &mut Findings,
) -> Option<AwsConfig> {
    let (first, region) = clusters.iter().find_map(|cluster| {
        let BackendConfig::Eks(eks) = &cluster.backend.value else {
            return None;
        };
        Some((cluster, eks.region.clone()))
    })?;
    let errors = findings.errors.len();
    let credentials = read_credentials(environment, findings);
    if credentials.is_none()
        && findings.errors.len() == errors
        && let Origin::Set(place) = &first.backend.origin
    {
        findings.note(
            place,
            "there are no AWS credentials in this environment, and `periscope serve` does not start without: in a pod they come from IRSA or Pod Identity, anywhere from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        );
    }
    let set = [AWS_REGION, AWS_DEFAULT_REGION]
        .into_iter()
        .find_map(|variable| {
            let region = environment.get(variable.name)?;
            if !is_region(region) {
                findings.wrong(&variable.place(), "the name of a region, such as eu-west-1");
            }
            Some(Setting::set(region.to_owned(), variable.place()))
        });
    let region = set.unwrap_or(Setting {
        value: region,
        origin: Origin::Derived("the first cluster of the backend eks"),
    });
    let mut endpoint = |own: Variable| {
        [own, AWS_ENDPOINT_URL].into_iter().find_map(|variable| {
            let url = environment.get(variable.name)?;
            if !is_safe(url, &[]) {
                findings.wrong(
                    &variable.place(),
                    "an https URL, or an http one of this machine: what comes from there decides which cluster gets the gateway's token",
                );
            }
            Some(Setting::set(url.to_owned(), variable.place()))
        })
    };
    Some(AwsConfig {
        credentials,
        region,
        eks_endpoint: endpoint(AWS_ENDPOINT_URL_EKS),
        sts_endpoint: endpoint(AWS_ENDPOINT_URL_STS),
    })
}

/// The first source that the environment names, in the order of the SDKs.
fn read_credentials(
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Setting<AwsCredentialsConfig>> {
    let get = |variable: &Variable| environment.get(variable.name);
    let missing = |name: &Variable, why, findings: &mut Findings| {
        findings.error(Fault::MissingVariable {
            name: name.name,
            why,
        });
        None
    };
    match (get(&AWS_ACCESS_KEY_ID), get(&AWS_SECRET_ACCESS_KEY)) {
        (Some(id), Some(secret)) => {
            let keys = AwsCredentialsConfig::Keys {
                id: id.to_owned(),
                secret: SecretText::new(secret),
                session: get(&AWS_SESSION_TOKEN).map(SecretText::new),
            };
            return Some(Setting::set(keys, AWS_ACCESS_KEY_ID.place()));
        }
        (Some(_), None) => {
            let why = "AWS_ACCESS_KEY_ID needs the key that belongs to it";
            return missing(&AWS_SECRET_ACCESS_KEY, why, findings);
        }
        (None, Some(_)) => {
            let why = "AWS_SECRET_ACCESS_KEY needs the id that belongs to it";
            return missing(&AWS_ACCESS_KEY_ID, why, findings);
        }
        (None, None) => {}
    }
    if let Some(token_file) = get(&AWS_WEB_IDENTITY_TOKEN_FILE) {
        let Some(role) = get(&AWS_ROLE_ARN) else {
            let why = "AWS_WEB_IDENTITY_TOKEN_FILE needs the role that its token is exchanged for";
            return missing(&AWS_ROLE_ARN, why, findings);
        };
        let Some(dns_suffix) = role_suffix(role) else {
            findings.wrong(
                &AWS_ROLE_ARN.place(),
                "the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME",
            );
            return None;
        };
        let session_name = get(&AWS_ROLE_SESSION_NAME).unwrap_or(SESSION_NAME);
        if !is_session_name(session_name) {
            findings.wrong(
                &AWS_ROLE_SESSION_NAME.place(),
                "2 to 64 letters, digits and characters of _=,.@-",
            );
        }
        let web_identity = AwsCredentialsConfig::WebIdentity {
            role: role.to_owned(),
            dns_suffix,
            token_file: token_file.into(),
            session_name: session_name.to_owned(),
        };
        return Some(Setting::set(
            web_identity,
            AWS_WEB_IDENTITY_TOKEN_FILE.place(),
        ));
    }
    let url = get(&AWS_CONTAINER_CREDENTIALS_FULL_URI)?;
    let place = AWS_CONTAINER_CREDENTIALS_FULL_URI.place();
    if !is_safe(url, &AGENTS) {
        findings.wrong(
            &place,
            "an https URL, or an http one of this machine or of the agent at 169.254.170.23 or [fd00:ec2::23]",
        );
        return None;
    }
    let authorization = match (
        get(&AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE),
        get(&AWS_CONTAINER_AUTHORIZATION_TOKEN),
    ) {
        (Some(file), _) => ContainerAuthorization::File(file.into()),
        (None, Some(token)) => ContainerAuthorization::Token(SecretText::new(token)),
        (None, None) => ContainerAuthorization::None,
    };
    let container = AwsCredentialsConfig::Container {
        url: url.to_owned(),
        authorization,
    };
    Some(Setting::set(container, place))
}

/// `arn:PARTITION:iam::ACCOUNT:role/NAME`.
fn role_suffix(arn: &str) -> Option<&'static str> {
    let mut parts = arn.splitn(6, ':');
    let suffix = (parts.next() == Some("arn")).then(|| dns_suffix(parts.next()?))??;
    let is_role = parts.next() == Some("iam")
        && parts.next() == Some("")
        && parts.next().is_some_and(is_account)
        && parts.next()?.strip_prefix("role/").is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
        });
    is_role.then_some(suffix)
}

pub(super) fn is_account(account: &str) -> bool {
    account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())
}

/// What STS takes for a `RoleSessionName`.
fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
}

/// Whether a URL is https, or leads in plain HTTP to this machine or one of these addresses.
fn is_safe(url: &str, plain: &[IpAddr]) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let Some(authority) = url.authority() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().trim_matches(['[', ']']);
    match url.scheme_str() {
        Some("https") => true,
        Some("http") if host == "localhost" => true,
        Some("http") => host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || plain.contains(&ip)),
        _ => false,
    }
}

/// As `config check` shows it: which source, never a secret.
impl fmt::Display for AwsCredentialsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { id, session, .. } => {
                let kind = if session.is_some() { "temporary " } else { "" };
                write!(f, "{kind}key {id}")
            }
            Self::WebIdentity {
                role, session_name, ..
            } => write!(f, "IRSA, role {role}, session {session_name}"),
            Self::Container { url, .. } => write!(f, "Pod Identity, {url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_asked_for_in_the_clear_on_this_node_only() {
        for url in [
            "https://agent.example/v1",
            "http://127.0.0.1:9/",
            "http://localhost/",
            "http://[::1]/",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(is_safe(url, &AGENTS), "{url}");
        }
        for url in [
            "http://169.254.169.254/",
            "http://agent.example/",
            "http://localhost.example/",
            "http://127.0.0.1@agent.example/",
            "https://user@agent.example/",
            "ftp://127.0.0.1/",
            "/v1",
            "",
        ] {
            assert!(!is_safe(url, &AGENTS), "{url}");
        }
        assert!(!is_safe("http://169.254.170.23/", &[]));
    }

    #[test]
    fn a_role_names_its_partition() {
        let suffix = |arn| role_suffix(arn);
        assert_eq!(
            suffix("arn:aws:iam::222222222222:role/path/periscope"),
            Some("amazonaws.com")
        );
        assert_eq!(
            suffix("arn:aws-cn:iam::222222222222:role/periscope"),
            Some("amazonaws.com.cn")
        );
        for arn in [
            "",
            "periscope",
            "arn:aws:iam::222222222222:user/periscope",
            "arn:aws:iam:eu-west-1:222222222222:role/periscope",
            "arn:aws:iam::22222222222:role/periscope",
            "arn:aws:iam::222222222222:role/",
            "arn:awsx:iam::222222222222:role/periscope",
        ] {
            assert_eq!(suffix(arn), None, "{arn}");
        }
    }
}
