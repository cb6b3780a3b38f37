//! The backend eks of `periscope serve`: moto for EKS, STS and IAM, which checks every signature, and the
//! sandbox behind a front that takes nothing but tokens for this cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod eks_support;
mod serve_support;

use std::time::{Duration, Instant};

use eks_support::{Agent, Aws, Front, Tls, register};
use serde_json::{Value, json};
use serve_support::{Place, Served};

const NAMESPACES: &str = "/api/clusters/modern/namespaces";
const EXEC: &str = "/api/clusters/modern/pods/default/shell/exec";

fn file(place: &Place, name: &str) -> String {
    place.path(name).display().to_string()
}

async fn serve(place: &Place, variables: &[(&str, String)]) -> Served {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Served::start(place, &variables).await
}

/// Asks until the answer is this one; a failure is remembered for a second.
async fn until(served: &Served, status: u16) -> Value {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let (got, body) = served.get(NAMESPACES).await;
        if got == status {
            return body;
        }
        assert!(
            Instant::now() < end,
            "{got} {body}, not {status}: {:?}",
            served.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_shell_opens_with_keys_of_the_environment_and_nothing_secret_is_logged() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let front = Front::start(&place, &aws).await;
    aws.describes(&front).await;
    aws.register(&place);
    let mut variables = aws.keys("key");
    variables.push(("PERISCOPE_LOG_LEVEL", "trace".to_owned()));
    variables.push(("PERISCOPE_PROBE_CLUSTERS_ON_BOOT", "1".to_owned()));
    let served = serve(&place, &variables).await;
    served
        .logged("msg=kube.probe cluster=modern result=ok")
        .await;
    let clusters = served.get("/api/clusters").await.1;
    assert_eq!(clusters["items"][0]["backend"], "eks");
    assert_eq!(clusters["items"][0]["region"], "us-east-1");
    let mut shell = served.shell("shell").await;
    shell.message("hello").await;
    shell.type_in("echo $((6*7))-periscope\n").await;
    shell.shows("42-periscope").await;
    for _ in 0..3 {
        assert_eq!(served.get(NAMESPACES).await.0, 200);
    }
    // Asked once each, and no token was refused.
    assert_eq!(aws.asked().await, (1, 0));
    assert_eq!(front.refusals(), [""; 0]);
    let key = aws.told("/key/id");
    assert!(front.keys().len() >= 5 && front.keys().iter().all(|used| *used == key));
    let log = served.log().join("\n");
    for secret in [
        aws.told("/key/secret").as_str(),
        "k8s-aws-v1",
        "Signature=",
        "AWS4-HMAC-SHA256",
    ] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn a_role_for_the_service_account_is_assumed_with_the_token_that_is_in_the_file_now() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let front = Front::start(&place, &aws).await;
    aws.describes(&front).await;
    aws.register(&place);
    aws.peer("identity", &json!({ "good": ["first.token"] }))
        .await;
    place.write("web-identity", "hunter2.token\n");
    let variables = [
        ("AWS_ENDPOINT_URL", aws.url()),
        ("AWS_ROLE_ARN", aws.told("/role")),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file(&place, "web-identity")),
        ("PERISCOPE_LOG_LEVEL", "trace".to_owned()),
    ];
    let served = serve(&place, &variables).await;
    let body = until(&served, 500).await;
    assert_eq!(body["error"], "E_INTERNAL");
    let log = served
        .logged("STS (AssumeRoleWithWebIdentity): answered with status 400 (InvalidIdentityToken)")
        .await;
    assert!(log.contains("msg=kube.eks.credentials.failed"), "{log}");
    place.write("web-identity", "first.token\n");
    until(&served, 200).await;
    let mut shell = served.shell("shell").await;
    shell.message("hello").await;
    assert!(front.keys().iter().all(|key| key.starts_with("ASIA")));
    assert_eq!(front.refusals(), [""; 0]);
    let (_, before) = aws.asked().await;
    // Kubernetes rotates the token, and AWS takes back what the old one was exchanged for: the cluster
    // answers 401, and the role is assumed anew.
    aws.peer("identity", &json!({ "good": ["second.token"] }))
        .await;
    place.write("web-identity", "second.token\n");
    aws.peer("revoke", &json!({})).await;
    until(&served, 200).await;
    assert!(!front.refusals().is_empty());
    assert_eq!(aws.asked().await.1, before + 1);
    let log = served.log().join("\n");
    for secret in ["hunter2", "first.token", "second.token", "k8s-aws-v1"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn credentials_of_pod_identity_are_replaced_before_they_expire() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let front = Front::start(&place, &aws).await;
    let agent = Agent::start(&aws, 6).await;
    aws.describes(&front).await;
    aws.register(&place);
    agent.takes("first");
    place.write("pod-identity", "first\n");
    let variables = [
        ("AWS_ENDPOINT_URL", aws.url()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.url()),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            file(&place, "pod-identity"),
        ),
    ];
    let served = serve(&place, &variables).await;
    assert_eq!(served.get(NAMESPACES).await.0, 200);
    let mut shell = served.shell("shell").await;
    shell.message("hello").await;
    assert_eq!(agent.given(), 1);
    // The token of the service account is rotated, too.
    agent.takes("second");
    place.write("pod-identity", "second\n");
    let start = Instant::now();
    while agent.given() < 3 {
        assert!(start.elapsed() < Duration::from_mins(1));
        let (status, body) = served.get(NAMESPACES).await;
        assert_eq!(status, 200, "{body} {:?}", served.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Nobody noticed: no token was signed with keys that had expired, and the shell goes on.
    assert_eq!(front.refusals(), [""; 0]);
    assert!(start.elapsed() > Duration::from_secs(6));
    shell.type_in("echo still-$((6*7))\n").await;
    shell.shows("still-42").await;
    // An agent that hands out nothing any more is told of by name.
    agent.takes("third");
    let body = until(&served, 500).await;
    assert_eq!(body["error"], "E_INTERNAL");
    assert_eq!(
        front.refusals(),
        [""; 0],
        "what was left was used to its end"
    );
    let log = served.logged("msg=kube.eks.credentials.failed").await;
    let reason = "the Pod Identity agent: answered with status 400";
    assert!(log.contains(reason) && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_cluster_that_has_moved_is_found_again_by_the_request_that_missed_it() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let front = Front::start(&place, &aws).await;
    aws.describes(&front).await;
    aws.register(&place);
    let served = serve(&place, &aws.keys("key")).await;
    assert_eq!(served.get(NAMESPACES).await.0, 200);
    // Another certificate authority at the same address.
    front.rotate();
    assert_eq!(served.get(NAMESPACES).await.0, 502);
    let (asked, _) = aws.asked().await;
    assert_eq!(asked, 2, "it was looked up again, and found where it was");
    assert_eq!(served.get(NAMESPACES).await.0, 502);
    assert_eq!(aws.asked().await.0, 2, "but not by every request");
    aws.describes(&front).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(served.get(NAMESPACES).await.0, 200);
    served.logged("msg=kube.eks.moved cluster=modern").await;
    // Another address.
    let moved = Front::start(&place, &aws).await;
    drop(front);
    aws.describes(&moved).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(served.get(NAMESPACES).await.0, 200);
    let mut shell = served.shell("shell").await;
    shell.message("hello").await;
    assert!(!moved.keys().is_empty());
}

/// What the user is told, by REST and by a dry run of a shell, and what stands in the log.
async fn told(
    place: &Place,
    aws: &Aws,
    variables: &[(&str, String)],
    (status, code): (u16, &str),
    reason: &str,
) {
    let served = serve(place, variables).await;
    for path in [NAMESPACES, EXEC] {
        let (got, body) = served.get(path).await;
        assert_eq!(
            (got, &body["error"]),
            (status, &json!(code)),
            "{path}: {reason}"
        );
    }
    let log = served.logged("msg=kube.eks.failed cluster=modern").await;
    assert!(log.contains(reason), "{reason}: {log}");
    for secret in ["hunter2", aws.told("/key/secret").as_str()] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn what_has_to_be_mended_here_is_an_internal_error_and_the_log_names_it() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let arn = aws.told("/arn");
    let good = aws.keys("key");
    let mut forged = good.clone();
    forged[2].1 = "hunter2".to_owned();
    let powerless = aws.keys("powerless");
    for (variables, arn, reason) in [
        (
            &forged,
            arn.clone(),
            "answered with status 403 (InvalidSignatureException)",
        ),
        (
            &powerless,
            arn.clone(),
            "answered with status 403 (AccessDeniedException)",
        ),
        (
            &good,
            arn.replace("prod", "nowhere"),
            "answered with status 404 (ResourceNotFoundException)",
        ),
        // A cluster of the same name in another account.
        (
            &good,
            arn.replace("123456789012", "222222222222"),
            "has another arn",
        ),
    ] {
        register(&place, &arn);
        told(&place, &aws, variables, (500, "E_INTERNAL"), reason).await;
    }
}

/// `periscope doctor` for the shell of the place's cluster.
async fn doctor(place: &Place, variables: &[(&str, String)]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_periscope"))
        .args(["doctor", "--cluster", "modern", "-n", "default", "shell"])
        .current_dir(place.path(""))
        .env_clear()
        .env("PERISCOPE_AUTH_MODE", "dev")
        .env("PERISCOPE_CLUSTERS_FILE", "clusters.yaml")
        .env("PERISCOPE_LOG_LEVEL", "trace")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(
        !said.contains("k8s-aws-v1") && !said.contains("Signature="),
        "{said}"
    );
    (output.status.code(), said)
}

#[tokio::test]
async fn doctor_asks_aws_for_the_way_before_it_goes_there() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let front = Front::start(&place, &aws).await;
    aws.describes(&front).await;
    aws.register(&place);
    let (code, said) = doctor(&place, &aws.keys("key")).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(&aws.told("/key/secret")), "{said}");
    let credentials = said.find("ok    credentials").unwrap();
    assert!(credentials < said.find("ok    dns").unwrap(), "{said}");
    assert!(
        said.contains("token of EKS, signed with keys of the environment"),
        "{said}"
    );
    assert!(said.contains("ok    shell"), "{said}");
    assert_eq!(front.refusals(), [""; 0]);
    assert_eq!(aws.asked().await, (1, 0), "one question in the whole walk");
    let (code, said) = doctor(&place, &aws.keys("powerless")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAIL  credentials") && said.contains("AccessDeniedException"),
        "{said}"
    );
    let advice = said.replace('\n', " ");
    assert!(
        advice.contains("needs eks:DescribeCluster on this cluster"),
        "{said}"
    );
    assert!(said.contains("skip  dns"), "{said}");
}

#[tokio::test]
async fn an_outage_of_aws_is_an_unreachable_cluster_and_the_log_names_it() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let front = Front::start(&place, &aws).await;
    aws.register(&place);
    let good = aws.keys("key");
    let unreachable = (502, "E_CLUSTER_UNREACHABLE");
    for (failure, reason) in [
        ("503", "answered with status 503"),
        ("429", "answered with status 429"),
        ("302", "answered with status 302"),
        ("garbage", "the answer could not be read"),
        ("hang", "no answer in time"),
    ] {
        aws.peer("fail", &json!({ "eks": failure })).await;
        told(&place, &aws, &good, unreachable, reason).await;
    }
    aws.peer("fail", &json!({})).await;
    let plain = front.url().replace("https", "http");
    for (description, reason) in [
        // moto's own certificate authority is random text.
        (
            json!({ "endpoint": front.url() }),
            "the cluster's certificate authority cannot be read",
        ),
        (
            json!({ "endpoint": plain, "ca": "LS0tLS0=" }),
            "the cluster's endpoint is not an https URL",
        ),
        (
            json!({ "endpoint": null }),
            "the cluster has no endpoint yet",
        ),
    ] {
        aws.peer("cluster", &description).await;
        told(&place, &aws, &good, unreachable, reason).await;
    }
    let mut nobody = good;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nobody[0].1 = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let reason = "EKS (DescribeCluster): no TCP connection was accepted";
    told(&place, &aws, &nobody, unreachable, reason).await;
}

#[tokio::test]
async fn aws_has_to_be_vouched_for_by_the_roots_of_this_machine() {
    let place = Place::new(&[]).await;
    let aws = Aws::start();
    let front = Front::start(&place, &aws).await;
    let tls = Tls::start(&aws).await;
    aws.describes(&front).await;
    aws.register(&place);
    place.write("roots.pem", tls.certificate());
    let mut variables = aws.keys("key");
    variables[0].1 = tls.url();
    variables.push(("SSL_CERT_FILE", file(&place, "roots.pem")));
    let served = serve(&place, &variables).await;
    assert_eq!(served.get(NAMESPACES).await.0, 200, "{:?}", served.log());
    // Another authority of the machine.
    place.write("roots.pem", &front.certificate());
    let reason = "EKS (DescribeCluster): the TLS handshake failed";
    let unreachable = (502, "E_CLUSTER_UNREACHABLE");
    told(&place, &aws, &variables, unreachable, reason).await;
    // None at all: no request could ever succeed.
    place.write("roots.pem", "");
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let (code, stderr) = Served::refused(&place, &variables);
    let reason = "AWS cannot be asked: this machine has no certificate authorities";
    assert!(code == Some(3) && stderr.contains(reason), "{stderr}");
}

#[tokio::test]
async fn a_gateway_without_usable_credentials_is_not_started() {
    let place = Place::new(&[]).await;
    register(&place, "arn:aws:eks:us-east-1:123456789012:cluster/prod");
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/a");
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[], "cluster modern: there are no AWS credentials"),
        // A role alone is no source: somebody else's variable.
        (&[role], "cluster modern: there are no AWS credentials"),
        (
            &[("AWS_ACCESS_KEY_ID", "AKIA")],
            "AWS_SECRET_ACCESS_KEY is not set",
        ),
        (
            &[("AWS_SECRET_ACCESS_KEY", "hunter2")],
            "AWS_ACCESS_KEY_ID is not set",
        ),
        (
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")],
            "AWS_ROLE_ARN is not set",
        ),
        (
            &[(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "http://169.254.169.254/hunter2",
            )],
            "AWS_CONTAINER_CREDENTIALS_FULL_URI must be an https URL",
        ),
        (
            &[
                ("AWS_ACCESS_KEY_ID", "AKIA"),
                ("AWS_SECRET_ACCESS_KEY", "hunter2"),
                ("AWS_ENDPOINT_URL_EKS", "http://eks.example"),
            ],
            "AWS_ENDPOINT_URL_EKS must be an https URL",
        ),
    ];
    for (variables, reason) in cases {
        let (code, stderr) = Served::refused(&place, variables);
        assert!(
            code == Some(3) && stderr.contains(reason),
            "{variables:?}: {code:?} {stderr}"
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}
