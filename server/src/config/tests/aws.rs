use super::*;

const EKS: &str = "clusters:\n  - {name: a, backend: eks, region: eu-west-1, arn: 'arn:aws:eks:eu-west-1:111111111111:cluster/a'}\n";

#[test]
fn aws_credentials_are_taken_in_the_order_of_the_sdks() {
    let shown = |variables: &[(&str, &str)]| {
        let aws = good(variables, EKS, None).aws.unwrap();
        let credentials = aws.credentials.unwrap();
        format!("{} # {}", credentials.value, credentials.origin)
    };
    let pod_identity = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        ),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token"),
    ];
    assert_eq!(
        shown(&pod_identity),
        "Pod Identity, http://169.254.170.23/v1/credentials # AWS_CONTAINER_CREDENTIALS_FULL_URI"
    );
    let mut irsa = pod_identity.to_vec();
    irsa.push(("AWS_WEB_IDENTITY_TOKEN_FILE", "/web-identity"));
    irsa.push(("AWS_ROLE_ARN", "arn:aws:iam::111111111111:role/shells"));
    assert_eq!(
        shown(&irsa),
        "IRSA, role arn:aws:iam::111111111111:role/shells, session periscope # AWS_WEB_IDENTITY_TOKEN_FILE"
    );
    let mut keys = irsa.clone();
    keys.push(("AWS_ACCESS_KEY_ID", "AKIA"));
    keys.push(("AWS_SECRET_ACCESS_KEY", "hunter2"));
    assert_eq!(shown(&keys), "key AKIA # AWS_ACCESS_KEY_ID");
    keys.push(("AWS_SESSION_TOKEN", "hunter2"));
    assert_eq!(shown(&keys), "temporary key AKIA # AWS_ACCESS_KEY_ID");
    let settings = good(&keys, EKS, None);
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(!check::report(&settings).contains("hunter2"));
}

#[test]
fn aws_variables_are_of_no_interest_without_a_cluster_of_eks() {
    let wrong = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_REGION", "?")];
    assert_eq!(good(&wrong, ONE, None).aws, None);
    assert_eq!(
        errors(&wrong, EKS, None),
        [
            "AWS_SECRET_ACCESS_KEY is not set; AWS_ACCESS_KEY_ID needs the key that belongs to it",
            "AWS_REGION must be the name of a region, such as eu-west-1",
        ]
    );
    // Elsewhere than in the pod nobody can know what will be there.
    let (settings, warnings) = warnings(&[], EKS);
    assert!(
        warnings.len() == 1 && warnings[0].contains("no AWS credentials"),
        "{warnings:?}"
    );
    assert_eq!(settings.aws.unwrap().credentials, None);
}

#[test]
fn aws_endpoints_of_ones_own_are_each_for_one_service_or_for_all() {
    let key = [
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ];
    let aws = |more: &[(&str, &str)]| good(&[&key, more].concat(), EKS, None).aws.unwrap();
    let none = aws(&[]);
    assert_eq!((none.eks_endpoint, none.sts_endpoint), (None, None));
    assert_eq!(none.region.value, "eu-west-1");
    let both = aws(&[
        ("AWS_ENDPOINT_URL", "https://all.example"),
        ("AWS_ENDPOINT_URL_STS", "https://sts.example"),
        ("AWS_DEFAULT_REGION", "us-east-2"),
    ]);
    assert_eq!(both.eks_endpoint.unwrap().value, "https://all.example");
    assert_eq!(both.sts_endpoint.unwrap().value, "https://sts.example");
    assert_eq!(both.region.value, "us-east-2");
}
