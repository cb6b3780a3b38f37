//! What the apiserver says over its REST interface: who we are, and what may be done.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde::Deserialize;
use serde_json::json;

use super::certificate::Facts;
use super::report::{Fault, Seen};
use super::rights::{missing_right, no_impersonation};
use super::text::{length, list, relative, shown};
use crate::gateway::identity::{Authorization, Identity};
use crate::gateway::kube::{Access, Answer, KubeClient, KubeError, PodPage, ResourceAttributes};

/// A clock that differs by more than this from the apiserver's is worth a word, in seconds: tokens begin
/// to be refused.
const SKEW_SECONDS_MAX: u64 = 300;

/// Credentials that end sooner than this are worth a word, in seconds.
const CREDENTIALS_SOON_SECONDS: i64 = 60;

const SELF_REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Gets the credentials, as the gateway does for every request that needs new ones.
pub(super) async fn credentials(kube: &KubeClient) -> Result<Seen<Access>, Fault> {
    let kind = kube.credentials_kind();
    let access = kube.access(None).await.map_err(|error| {
        let advice = match error {
            KubeError::Aws(_) => {
                "AWS says where a cluster of EKS is and signs the way in. AccessDenied: the gateway's role needs eks:DescribeCluster on \
                 this cluster, and for IRSA a trust policy that names its service account. ResourceNotFound or another arn: region and arn \
                 in the clusters file, and the account of the credentials, do not belong together. No answer: the endpoints of EKS and STS, or \
                 the Pod Identity agent on the node, cannot be reached from here. Compare with `aws sts get-caller-identity` and `aws eks \
                 describe-cluster` under the same role; docs/setup/eks.md has the policies."
            }
            _ => {
                "The gateway cannot get its own credentials. A token file: is it mounted, and readable for this user? A plugin: run its \
                 command by hand with the same environment (a log line kube.plugin.failed on stderr says how it failed)."
            }
        };
        Fault::new(format!("{kind}: {error}"), advice)
    })?;
    let now = Timestamp::now();
    let token_end = token_end(&access);
    let mut text = kind;
    if let Some(end) = token_end {
        let verb = if end < now { "expired" } else { "expires" };
        text = format!("{text}; {verb} {}", relative(end, now));
    }
    let certificate = access
        .endpoint
        .tls
        .as_ref()
        .and_then(|tls| tls.own_certificate.as_ref());
    let certificate = certificate.and_then(|der| Facts::read(der));
    if let Some(certificate) = &certificate {
        text = format!("{text}; {}", certificate.summary(now));
    }
    let mut seen = Seen::new(access, text);
    if token_end.is_some_and(|end| {
        end.as_second().saturating_sub(now.as_second()) < CREDENTIALS_SOON_SECONDS
    }) {
        seen.warn("the token is over, or is so in a moment: whoever issues it does not renew it in time, or a clock is wrong");
    }
    if let Some(warning) =
        certificate.and_then(|facts| facts.ends_soon("the client certificate", now))
    {
        seen.warn(warning);
    }
    Ok(seen)
}

/// When the bearer token ends, where it is a JSON web token that says so (RFC 7519 §4.1.4). Nobody
/// verifies anything here: that is the apiserver's business.
fn token_end(access: &Access) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let authorization = access.authorization().ok()??;
    let token = authorization.as_str().strip_prefix("Bearer ")?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_second(claims.exp).ok()
}

/// Who the apiserver says somebody is (`SelfSubjectReview`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
}

impl User {
    fn told(&self) -> String {
        format!(
            "{} in {}",
            shown(&self.username),
            list(self.groups.iter().map(String::as_str))
        )
    }
}

/// Whether the apiserver takes us, and what it is. The value is who it says we are.
pub(super) async fn apiserver(
    kube: &KubeClient,
    audit_id: &str,
) -> Result<Seen<Option<String>>, Fault> {
    let own = Identity::own();
    let answer = kube.ask(Method::GET, "/version", Bytes::new(), &own).await;
    let answer = answer.map_err(broken)?;
    let version = match answer.status {
        StatusCode::UNAUTHORIZED => {
            return Err(Fault::new(
                "401: the apiserver does not take the gateway's credentials",
                "They are of the wrong cluster, over, or were revoked. Compare with `kubectl auth whoami` and the same credentials. A service \
                 account's token dies with its service account. On EKS, the gateway's role needs an access entry (`aws eks \
                 list-access-entries`) or a line in the ConfigMap aws-auth. A clock that is wrong makes good tokens look bad.",
            ));
        }
        StatusCode::FORBIDDEN => None,
        status if status.is_success() => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Version {
                git_version: String,
            }
            let version = serde_json::from_slice::<Version>(&answer.body);
            let version = version.map_err(|_| no_apiserver(&answer))?;
            Some(shown(&version.git_version))
        }
        _ => return Err(no_apiserver(&answer)),
    };
    let who = whoami(kube, &own).await?;
    let us = match &who {
        Whoami::User(user) => Some(user.username.clone()),
        Whoami::Unknown | Whoami::Refused(_) => None,
    };
    let told = version.as_deref().unwrap_or("version unknown");
    let mut seen = Seen::new(
        us,
        match &who {
            Whoami::User(user) => format!("{told}; we are {}", user.told()),
            Whoami::Unknown => format!("{told}; it does not say who we are (1.28 and later do)"),
            Whoami::Refused(_) => format!("{told}; it does not say who we are"),
        },
    );
    if version.is_none() {
        seen.warn(
            "/version is forbidden to us: the role system:public-info-viewer is not bound here",
        );
    }
    if matches!(&who, Whoami::User(user) if user.username == "system:anonymous") {
        seen.warn(
            "the apiserver takes us for nobody: the credentials are missing or not looked at",
        );
    }
    for warning in [
        skew(&answer.headers, Timestamp::now()),
        between(&answer.headers),
    ] {
        seen.warnings.extend(warning);
    }
    let theirs = answer
        .headers
        .get("audit-id")
        .and_then(|id| id.to_str().ok());
    if let Some(theirs) = theirs.filter(|theirs| *theirs != audit_id) {
        seen.warn(format!(
            "the apiserver's own Audit-ID is {}: something on the way drops ours",
            shown(theirs)
        ));
    }
    Ok(seen)
}

/// A warning, if the apiserver's clock and ours differ.
fn skew(headers: &HeaderMap, now: Timestamp) -> Option<String> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = DateTimeParser::new().parse_timestamp(date).ok()?;
    let seconds = theirs.as_second().abs_diff(now.as_second());
    (seconds > SKEW_SECONDS_MAX).then(|| {
        format!(
            "the clocks differ by {}: the apiserver's Date is {}, here it is {}",
            length(seconds),
            theirs.strftime("%F %TZ"),
            now.strftime("%F %TZ"),
        )
    })
}

/// A warning, if the answer went through other hands.
fn between(headers: &HeaderMap) -> Option<String> {
    // Apiservers send neither.
    let name = [header::VIA, header::SERVER]
        .into_iter()
        .find(|name| headers.contains_key(name))?;
    let value = String::from_utf8_lossy(headers.get(&name)?.as_bytes()).into_owned();
    Some(format!(
        "a proxy is in between ({name}: {}): it has to let upgrades and long connections pass",
        shown(&value)
    ))
}

fn no_apiserver(answer: &Answer) -> Fault {
    let kind = answer
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("no type");
    let message = message(answer);
    let told = if message.is_empty() {
        format!("{} with {}", answer.status.as_u16(), shown(kind))
    } else {
        format!("{}: {message}", answer.status.as_u16())
    };
    let between = between(&answer.headers).map_or(String::new(), |text| format!(" Also, {text}."));
    Fault::new(
        format!("/version answers {told}"),
        format!(
            "That is no answer of a healthy apiserver. Does the server URL of the cluster lead to one, with the right path in front? \
             5xx: a load balancer finds no healthy apiserver behind it, or the apiserver is not ready (`kubectl get --raw \
             /readyz?verbose`).{between}"
        ),
    )
}

/// The apiserver's sentence in a Status, made harmless; empty if there is none.
fn message(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let status = serde_json::from_slice::<Status>(&answer.body);
    status.map_or(String::new(), |status| shown(&status.message))
}

/// What is wrong if not even an answer came.
fn broken(error: KubeError) -> Fault {
    let advice = match error {
        KubeError::Credentials => {
            "The gateway's own credentials could not be had; see the hop before and the log lines on stderr."
        }
        KubeError::Timeout => {
            "The apiserver takes the request and does not answer: it is overloaded or hangs. Try `kubectl get --raw /readyz` with the \
             same kubeconfig."
        }
        KubeError::Garbage => {
            "What answers is no apiserver's JSON: something on the way answers in its place, or the server URL leads elsewhere."
        }
        _ => {
            "The connection was there a moment ago, so what ends it is on the way (a load balancer, a proxy, a firewall that looks \
             inside), or the apiserver restarts. If it wants a client certificate and got none or a wrong one, it ends \
             the connection like this, too."
        }
    };
    Fault::new(error.to_string(), advice)
}

enum Whoami {
    User(User),
    /// The apiserver is older than the question.
    Unknown,
    /// The answer was something else.
    Refused(Answer),
}

async fn whoami(kube: &KubeClient, identity: &Identity) -> Result<Whoami, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Review {
        status: ReviewStatus,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ReviewStatus {
        user_info: User,
    }
    let question = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let question = question.to_string().into();
    let answer = kube
        .ask(Method::POST, SELF_REVIEWS, question, identity)
        .await;
    let answer = answer.map_err(broken)?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(Whoami::Unknown);
    }
    if answer.status.is_success()
        && let Ok(review) = serde_json::from_slice::<Review>(&answer.body)
    {
        return Ok(Whoami::User(review.status.user_info));
    }
    Ok(Whoami::Refused(answer))
}

/// Whether we may act as somebody else.
pub(super) async fn impersonation(
    kube: &KubeClient,
    us: Option<&str>,
    identity: &Identity,
) -> Result<Seen<()>, Fault> {
    let user = identity.user().unwrap_or_default();
    let groups = list(identity.groups());
    let wanted = format!(
        "user {} in {}",
        shown(user),
        if groups.is_empty() {
            "no group"
        } else {
            &groups
        }
    );
    match whoami(kube, identity).await? {
        Whoami::User(seen) if seen.username == user => {
            Ok(Seen::new((), format!("the apiserver sees {}", seen.told())))
        }
        Whoami::User(seen) => Err(Fault::new(
            format!("the apiserver sees {} instead of {wanted}", seen.told()),
            "The impersonation headers do not arrive: a proxy between here and the apiserver drops or replaces Impersonate-User and \
             Impersonate-Group. Everybody would act with somebody else's rights. Reach the apiserver past it.",
        )),
        Whoami::Refused(answer) if answer.status == StatusCode::FORBIDDEN => {
            let message = message(&answer);
            if message.contains("cannot impersonate") {
                return Err(no_impersonation(us, identity, &message));
            }
            // Impersonated, but not allowed to ask who it is.
            may_ask(kube, us, identity, &wanted).await
        }
        Whoami::Unknown => may_ask(kube, us, identity, &wanted).await,
        Whoami::Refused(answer) => Err(Fault::new(
            format!(
                "{} to a request as {wanted}: {}",
                answer.status.as_u16(),
                message(&answer)
            ),
            "The apiserver takes the gateway, but not this request in somebody else's name.",
        )),
    }
}

/// The older way to find out: an access review as the other, whatever it says.
async fn may_ask(
    kube: &KubeClient,
    us: Option<&str>,
    identity: &Identity,
    wanted: &str,
) -> Result<Seen<()>, Fault> {
    let asked = ResourceAttributes::exec("default");
    match kube.review(&asked, identity).await {
        Ok(_) => Ok(Seen::new((), format!("{wanted} is accepted"))),
        Err(KubeError::Impersonation) => Err(no_impersonation(us, identity, "cannot impersonate")),
        Err(error) => Err(broken(error)),
    }
}

/// Whether this identity may open shells.
pub(super) async fn rbac(
    kube: &KubeClient,
    us: Option<&str>,
    identity: &Identity,
    authorization: &Authorization,
    namespace: Option<&str>,
) -> Result<Seen<()>, Fault> {
    let may = |verb: &'static str| {
        let mut asked = ResourceAttributes::exec(namespace.unwrap_or_default());
        verb.clone_into(&mut asked.verb);
        async move { kube.review(&asked, identity).await }
    };
    let place = namespace.map_or("every namespace".to_owned(), |name| {
        format!("namespace {name}")
    });
    let create = may("create").await.map_err(review_broken)?;
    let mut seen = Seen::new((), format!("create pods/exec in {place}: yes"));
    if !create.allowed {
        let reason = if create.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", shown(&create.reason))
        };
        if namespace.is_none() {
            seen.text = format!("create pods/exec in {place}: no{reason}");
            seen.warn("the right may still be there in some namespaces: name one with -n");
            return Ok(seen);
        }
        return Err(Fault::new(
            format!("create pods/exec in {place}: no{reason}"),
            missing_right(us, identity, authorization, namespace.unwrap_or_default()),
        ));
    }
    let get = may("get").await.map_err(review_broken)?;
    if !get.allowed {
        seen.warn(
            "get pods/exec: no. A WebSocket exec is a GET, so apiservers will refuse it and every shell takes SPDY: add get to the rule",
        );
    }
    Ok(seen)
}

fn review_broken(error: KubeError) -> Fault {
    match error {
        KubeError::Status(status) => Fault::new(
            format!("the access review is answered with {status}"),
            "Whoever is authenticated may review their own access: the ClusterRoleBinding system:basic-user grants create on \
             selfsubjectaccessreviews to the group system:authenticated. Is it still there? `kubectl get clusterrolebinding \
             system:basic-user`. The gateway opens no shell without that answer.",
        ),
        error => broken(error),
    }
}

/// The container in which a shell is wanted.
pub(super) async fn pod(
    kube: &KubeClient,
    identity: &Identity,
    namespace: &str,
    pod: &str,
    container: Option<&str>,
) -> Result<Seen<Option<String>>, Fault> {
    let page: PodPage = match kube.pod(namespace, pod, identity).await {
        Ok(page) => page,
        Err(KubeError::Status(403)) => {
            let mut seen = Seen::new(container.map(str::to_owned), "may not be looked at");
            seen.warn("get pods: no. Shells work without it, but the apiserver chooses the container, and the UI shows no pods");
            return Ok(seen);
        }
        Err(KubeError::Status(404)) => {
            return Err(Fault::new(
                format!("there is no pod {pod} in namespace {namespace}"),
                format!(
                    "It has gone, was replaced by one of another name, or is in another namespace. `kubectl get pods -n {namespace}` lists \
                     what there is."
                ),
            ));
        }
        Err(error) => return Err(broken(error)),
    };
    let chosen = container.map(str::to_owned).or(page.default_container);
    let found = page
        .pod
        .containers
        .iter()
        .find(|container| Some(&container.name) == chosen.as_ref());
    let Some(found) = found else {
        let names = page
            .pod
            .containers
            .iter()
            .map(|container| container.name.as_str());
        return Err(Fault::new(
            format!(
                "there is no container {}; there are {}",
                shown(chosen.as_deref().unwrap_or("(none)")),
                list(names)
            ),
            "Name one of them with -c. If the annotation kubectl.kubernetes.io/default-container of the pod names one that is \
             not there, mend the annotation.",
        ));
    };
    let told = format!(
        "{}, container {} is {}",
        shown(&page.pod.phase),
        shown(&found.name),
        found.state
    );
    if matches!(found.state, "waiting" | "terminated") || page.pod.phase != "Running" {
        let reason = page
            .pod
            .reason
            .as_deref()
            .map_or(String::new(), |reason| format!(" ({})", shown(reason)));
        return Err(Fault::new(
            format!("{told}{reason}"),
            format!(
                "A command runs only in a running container. `kubectl describe pod -n {namespace} {pod}` says why it is not."
            ),
        ));
    }
    Ok(Seen::new(chosen, told))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_five_minutes_are_told() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let of = |date: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, HeaderValue::from_static(date));
            skew(&headers, now)
        };
        assert_eq!(of("Sun, 01 Mar 2026 12:05:00 GMT"), None);
        assert_eq!(of("Sun, 01 Mar 2026 11:55:00 GMT"), None);
        let told = of("Sun, 01 Mar 2026 12:05:01 GMT").unwrap();
        assert!(told.contains("5 minutes"), "{told}");
        assert!(of("Sun, 01 Mar 2026 09:00:00 GMT").is_some());
        assert_eq!(of("yesterday"), None);
        assert_eq!(skew(&HeaderMap::new(), now), None);
    }

    #[test]
    fn whoever_names_itself_in_an_answer_is_told_harmlessly() {
        let mut headers = HeaderMap::new();
        assert_eq!(between(&headers), None);
        headers.insert(
            header::VIA,
            HeaderValue::from_bytes(b"1.1 squid\xff").unwrap(),
        );
        let told = between(&headers).unwrap();
        assert!(told.contains("via: 1.1 squid"), "{told}");
    }
}
