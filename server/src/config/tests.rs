mod aws;
mod guide;

use std::collections::HashMap;

use super::environment::VARIABLES;
use super::*;
use crate::gateway::identity::{Authorization, Tier};
use crate::gateway::registry::Tags;

/// Files of a test.
#[derive(Default)]
struct Memory(HashMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.0.get(path).cloned();
        text.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A configuration of these variables and files, in dev mode unless they say otherwise.
fn load_all(
    variables: &[(&str, &str)],
    clusters: &str,
    auth: Option<&str>,
) -> (Option<Settings>, Findings) {
    let mut files = Memory::default();
    files.0.insert("clusters.yaml".into(), clusters.to_owned());
    files
        .0
        .insert("/run/secret".into(), "from-file\n".to_owned());
    files.0.insert("/run/empty".into(), "\n".to_owned());
    let mut all = vec![
        ("HOME", "/home/ann"),
        ("PERISCOPE_AUTH_MODE", "dev"),
        ("PERISCOPE_CLUSTERS_FILE", "clusters.yaml"),
    ];
    if let Some(auth) = auth {
        files.0.insert("auth.yaml".into(), auth.to_owned());
        all.push(("PERISCOPE_AUTH_FILE", "auth.yaml"));
    }
    all.extend_from_slice(variables);
    load(&all.into_iter().collect(), &files)
}

fn good(variables: &[(&str, &str)], clusters: &str, auth: Option<&str>) -> Settings {
    let (settings, findings) = load_all(variables, clusters, auth);
    assert_eq!(findings, Findings::default());
    settings.unwrap()
}

fn errors(variables: &[(&str, &str)], clusters: &str, auth: Option<&str>) -> Vec<String> {
    let (settings, findings) = load_all(variables, clusters, auth);
    assert!(settings.is_none(), "no error");
    findings.errors.iter().map(ToString::to_string).collect()
}

fn warnings(variables: &[(&str, &str)], clusters: &str) -> (Settings, Vec<String>) {
    let (settings, findings) = load_all(variables, clusters, None);
    assert_eq!(findings.errors, []);
    let warnings = findings.warnings.iter().map(ToString::to_string);
    (settings.unwrap(), warnings.collect())
}

const ONE: &str = "clusters:\n  - name: a\n    backend: in-cluster\n";

/// `ONE` with these lines below `exec:`, from line 5.
fn one_with(exec: &str) -> String {
    format!("{ONE}    exec:\n      {exec}\n")
}

const OIDC: &str = "\
oidc:
  issuer: https://idp.example/realms/x
  clientID: periscope
  clientSecret: ${SECRET}
  redirectURL: https://shell.example/api/auth/callback
";

#[test]
fn every_default_of_the_list_is_the_one_in_effect() {
    let bare = good(&[], ONE, None);
    let explicit: Vec<_> = VARIABLES
        .iter()
        .filter(|variable| !variable.default.is_empty())
        // In dev mode it has its own default.
        .filter(|variable| variable.name != "PERISCOPE_LISTEN")
        .map(|variable| (variable.name, variable.default))
        .collect();
    let explicit = good(&explicit, ONE, None);
    let values = |settings: &Settings| {
        let report = check::report(settings);
        let lines = report.lines();
        let values = lines.map(|line| line.split("  # ").next().unwrap().to_owned());
        values.collect::<Vec<_>>()
    };
    assert_eq!(values(&bare), values(&explicit));
    assert_eq!(
        bare.exec.settings(),
        crate::gateway::registry::ExecSettings::default()
    );
    assert_eq!(bare.listen.value, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(bare.auth.dev.value.sub, "dev@localhost");
    assert_eq!(bare.auth.authorization.mode.value, Authorization::Shared);
}

#[test]
fn a_cluster_overrides_only_what_it_lists() {
    let clusters = "\
clusters:
  - name: prod
    backend: eks
    region: us-east-1
    arn: arn:aws:eks:us-east-1:111111111111:cluster/prod
    environment: production
    tags: {team: payments, cost: 12}
    exec:
      serverIdleSeconds: 1800
      maxSessionsPerUser: 10
  - name: dev
    backend: kubeconfig
    kubeconfigPath: /etc/kube/dev
    kubeconfigContext: dev-admin
    tags: [a, b]
  - name: locked-down
    backend: in-cluster
    exec:
      enabled: false
";
    let variables = [
        ("PERISCOPE_EXEC_IDLE_SECONDS", "700"),
        ("PERISCOPE_EXEC_HEARTBEAT_SECONDS", "10"),
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ];
    let settings = good(&variables, clusters, None);
    let [prod, dev, locked] = settings.clusters.as_slice() else {
        panic!("three clusters")
    };
    assert_eq!(prod.exec.idle.value, 1800);
    assert_eq!(
        prod.exec.idle.origin.to_string(),
        "clusters.yaml:9: clusters[0].exec.serverIdleSeconds"
    );
    assert_eq!(prod.exec.heartbeat.value, 10);
    assert_eq!(
        prod.exec.heartbeat.origin.to_string(),
        "PERISCOPE_EXEC_HEARTBEAT_SECONDS"
    );
    assert_eq!(prod.exec.sessions_per_user_max.value, 10);
    assert_eq!(prod.exec.sessions_total_max, Setting::default_of(50));
    assert_eq!(prod.backend.value.as_str(), "eks");
    let pairs = [("team", "payments"), ("cost", "12")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(
        prod.tags.as_ref().unwrap().value,
        Tags::Pairs(pairs.into_iter().collect())
    );
    assert_eq!(prod.environment.as_ref().unwrap().value, "production");
    assert_eq!(dev.exec.idle.value, 700);
    assert!(dev.exec.is_enabled.value && !locked.exec.is_enabled.value);
    assert_eq!(
        dev.backend.value,
        BackendConfig::Kubeconfig {
            path: "/etc/kube/dev".into(),
            context: Some("dev-admin".to_owned())
        }
    );
}

#[test]
fn numbers_that_are_slips_are_ignored_and_named() {
    let slips = [
        ("serverIdleSeconds: 0", "0"),
        ("serverIdleSeconds: -5", "-5"),
        ("serverIdleSeconds: 86401", "86401"),
        ("serverIdleSeconds: 10m", "\"10m\""),
        ("serverIdleSeconds: true", "true"),
        ("serverIdleSeconds: 1.5", "1.5"),
        ("serverIdleSeconds: [1]", "a list"),
        ("serverIdleSeconds: 99999999999999999999999", "1"),
        ("serverIdleSeconds: .inf", "inf"),
    ];
    for (line, shown) in slips {
        let (settings, warnings) = warnings(&[], &one_with(line));
        assert_eq!(settings.clusters[0].exec.idle.value, 600, "{line}");
        let start = format!("clusters.yaml:5: clusters[0].exec.serverIdleSeconds: {shown}");
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(&start),
            "{line}: {warnings:?}"
        );
    }
    let sessions = [
        ("maxSessionsPerUser: 100001", true),
        ("maxSessionsTotal: 0", true),
        ("maxSessionsTotal: 100000", false),
        ("heartbeatSeconds: 86400", false),
    ];
    for (line, is_slip) in sessions {
        let (_, warnings) = warnings(&[], &one_with(line));
        assert_eq!(warnings.len(), usize::from(is_slip), "{line}: {warnings:?}");
    }
    for variable in [
        "PERISCOPE_EXEC_IDLE_SECONDS",
        "PERISCOPE_EXEC_IDLE_WARN_SECONDS",
        "PERISCOPE_EXEC_HEARTBEAT_SECONDS",
        "PERISCOPE_EXEC_MAX_SESSIONS_PER_USER",
        "PERISCOPE_EXEC_MAX_SESSIONS_TOTAL",
    ] {
        for value in ["0", "-1", "+1", "ten", "10s", "1e3", "100001", " 5"] {
            let (settings, warnings) = warnings(&[(variable, value)], ONE);
            assert_eq!(
                settings.exec.settings(),
                crate::gateway::registry::ExecSettings::default()
            );
            assert!(
                warnings.len() == 1 && warnings[0].starts_with(variable),
                "{variable}={value}: {warnings:?}"
            );
        }
    }
}

#[test]
fn an_override_that_is_a_slip_leaves_the_global_value() {
    let global = [("PERISCOPE_EXEC_MAX_SESSIONS_PER_USER", "7")];
    let (settings, warnings) = warnings(&global, &one_with("maxSessionsPerUser: 0"));
    assert_eq!(settings.clusters[0].exec.sessions_per_user_max.value, 7);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_warning_that_is_not_shorter_than_the_idle_time_is_clamped() {
    let (settings, warnings_) = warnings(&[("PERISCOPE_EXEC_IDLE_SECONDS", "30")], ONE);
    assert_eq!(settings.exec.idle_warn.value, 29);
    assert_eq!(settings.clusters[0].exec.idle_warn.value, 29);
    assert_eq!(warnings_.len(), 1, "said once: {warnings_:?}");
    let (settings, warnings_) = warnings(&[], &one_with("serverIdleSeconds: 20"));
    assert_eq!(settings.exec.idle_warn.value, 30);
    assert_eq!(settings.clusters[0].exec.idle_warn.value, 19);
    assert!(
        warnings_.len() == 1 && warnings_[0].starts_with("cluster a"),
        "{warnings_:?}"
    );
    // A cluster with a longer idle time gets the warning time that was asked for.
    let global = [
        ("PERISCOPE_EXEC_IDLE_SECONDS", "60"),
        ("PERISCOPE_EXEC_IDLE_WARN_SECONDS", "90"),
    ];
    let (settings, warnings_) = warnings(&global, &one_with("serverIdleSeconds: 300"));
    assert_eq!(settings.exec.idle_warn.value, 59);
    assert_eq!(settings.clusters[0].exec.idle_warn.value, 90);
    assert_eq!(warnings_.len(), 1);
}

#[test]
fn enabled_is_a_boolean_or_the_program_does_not_start() {
    for value in ["yes", "\"false\"", "0", "off", "[]", "nope"] {
        let errors = errors(&[], &one_with(&format!("enabled: {value}")), None);
        assert_eq!(
            errors,
            ["clusters.yaml:5: clusters[0].exec.enabled must be true or false, without quotes"],
            "{value}"
        );
    }
    assert!(
        !good(&[], &one_with("enabled: false"), None).clusters[0]
            .exec
            .is_enabled
            .value
    );
}

#[test]
fn unknown_keys_are_errors_with_file_line_and_suggestion() {
    let clusters = "\
exec: {enabled: false}
clusters:
  - name: a
    backend: in-cluster
    kubeConfigPath: x
    exec:
      serverIdleSecond: 5
";
    assert_eq!(
        errors(
            &[],
            clusters,
            Some("session:\n  idleTimeOut: 5m\ncolour: red\n")
        ),
        [
            "clusters.yaml:7: clusters[0].exec.serverIdleSecond: unknown key; did you mean `serverIdleSeconds`?",
            "clusters.yaml:5: clusters[0].kubeConfigPath: unknown key; did you mean `kubeconfigPath`?",
            "clusters.yaml:1: exec: unknown key; there is clusters",
            "auth.yaml:3: colour: unknown key; there is oidc, session, authorization, dev",
            "auth.yaml:2: session.idleTimeOut: unknown key; did you mean `idleTimeout`?",
        ]
    );
}

#[test]
fn a_cluster_that_cannot_be_reached_as_written_is_an_error() {
    let cases = [
        (
            "- {name: a, backend: agent}",
            "cluster a: the backend `agent` does not exist here",
        ),
        (
            "- {name: a, backend: gke}",
            "clusters[0].backend must be eks, kubeconfig or in-cluster",
        ),
        ("- {name: a}", "`backend` is missing"),
        ("- {name: '', backend: in-cluster}", "`name` is missing"),
        ("- {name: a, backend: ''}", "`backend` is missing"),
        ("- {backend: in-cluster}", "`name` is missing"),
        (
            "- {name: a/b, backend: in-cluster}",
            "clusters[0].name must be a name of 1 to 100",
        ),
        (
            "- {name: 5, backend: in-cluster}",
            "clusters[0].name must be text; put it in quotes",
        ),
        (
            "- {name: a, backend: eks, region: eu-west-1}",
            "`arn` is missing",
        ),
        ("- {name: a, backend: eks, arn: x}", "`region` is missing"),
        (
            "- {name: a, backend: eks, region: eu-west-1, arn: x}",
            "the ARN of an EKS cluster",
        ),
        (
            "- {name: a, backend: eks, region: eu-west-1, arn: 'arn:aws:eks:us-east-1:111111111111:cluster/a'}",
            "an ARN of the cluster's region, which is eu-west-1",
        ),
        (
            "- {name: a, backend: eks, region: x.evil.example, arn: y}",
            "the name of a region",
        ),
        (
            "- {name: a, backend: in-cluster}\n  - {name: a, backend: in-cluster}",
            "there is a cluster \"a\" already",
        ),
        ("- a", "clusters[0] must be a table"),
        ("a", "clusters must be a list"),
        (
            "- {name: a, backend: in-cluster, tags: 5}",
            "clusters[0].tags must be a list of words",
        ),
        (
            "- {name: a, backend: in-cluster, name: b}",
            "the key `name` is there twice",
        ),
    ];
    for (entry, expected) in cases {
        let errors = errors(&[], &format!("clusters:\n  {entry}\n"), None);
        assert!(
            errors.len() == 1
                && errors[0].contains(expected)
                && errors[0].starts_with("clusters.yaml:"),
            "{entry}: {errors:?}"
        );
    }
    let many = [("KUBECONFIG", "/a:/b")];
    let kubeconfig = "clusters: [{name: a, backend: kubeconfig}]";
    assert!(errors(&many, kubeconfig, None)[0].starts_with("KUBECONFIG must be one file"));
    let settings = good(&[], kubeconfig, None);
    let BackendConfig::Kubeconfig { path, .. } = &settings.clusters[0].backend.value else {
        panic!("kubeconfig")
    };
    assert_eq!(path, Path::new("/home/ann/.kube/config"));
}

#[test]
fn what_is_missing_is_told_together() {
    let (settings, findings) = load(&Environment::default(), &Memory::default());
    assert!(settings.is_none());
    let errors: Vec<_> = findings.errors.iter().map(ToString::to_string).collect();
    assert!(
        errors.len() == 2
            && errors[0].starts_with("PERISCOPE_AUTH_MODE is not set")
            && errors[1].starts_with("PERISCOPE_CLUSTERS_FILE is not set"),
        "{errors:?}"
    );
    let oidc = [("PERISCOPE_AUTH_MODE", "oidc")];
    assert!(errors_of(&oidc, None)[0].starts_with("PERISCOPE_AUTH_FILE is not set"));
    assert!(errors_of(&oidc, Some(""))[0].starts_with("auth.yaml:1: `oidc` is missing"));
    let missing = errors_of(&oidc, Some("oidc: {}"));
    for key in ["issuer", "clientID", "redirectURL"] {
        assert!(
            missing
                .iter()
                .any(|error| error.contains(&format!("`{key}` is missing"))),
            "{missing:?}"
        );
    }
}

fn errors_of(variables: &[(&str, &str)], auth: Option<&str>) -> Vec<String> {
    errors(variables, ONE, auth)
}

#[test]
fn variables_that_make_no_sense_are_named_with_what_they_take() {
    let cases = [
        ("PERISCOPE_AUTH_MODE", "none"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("PERISCOPE_LISTEN", "localhost"),
        ("PERISCOPE_LISTEN", "0.0.0.0"),
        ("PERISCOPE_LISTEN", "127.0.0.2"),
        ("PERISCOPE_LOG_FORMAT", "xml"),
        ("PERISCOPE_LOG_LEVEL", "loud"),
        ("PERISCOPE_DRAIN_SECONDS", "10s"),
        ("PERISCOPE_DRAIN_SECONDS", "86401"),
        ("PERISCOPE_EXEC_OPENS_PER_MINUTE", "-1"),
        ("PERISCOPE_EXEC_OPENS_PER_MINUTE", "100001"),
        ("PERISCOPE_PROBE_CLUSTERS_ON_BOOT", "yes"),
        ("PERISCOPE_AUDIT_ENABLED", "on"),
        ("PERISCOPE_AUDIT_REQUIRED", "1"),
        ("PERISCOPE_AUDIT_RETENTION_DAYS", "0"),
        ("PERISCOPE_AUDIT_MAX_SIZE_MB", "lots"),
        ("PERISCOPE_AUDIT_VACUUM_INTERVAL", "1d"),
        ("PERISCOPE_TLS_CERT", "/tls.crt"),
        ("PERISCOPE_TLS_KEY", "/tls.key"),
        ("PERISCOPE_DEV_ALLOW_ORIGINS", "localhost:5173"),
        ("PERISCOPE_PUBLIC_URL", "https://shell.example"),
        ("PERISCOPE_PUBLIC_URL", "http://localhost/path"),
        ("PERISCOPE_CLUSTERS_FILE", "/nowhere"),
        ("PERISCOPE_AUTH_FILE", "/nowhere"),
    ];
    for (name, value) in cases {
        let errors = errors(&[(name, value)], ONE, None);
        assert!(
            errors.len() == 1 && errors[0].contains(name),
            "{name}={value}: {errors:?}"
        );
    }
    // An empty variable is one that is not set.
    good(&[("PORT", ""), ("PERISCOPE_LOG_LEVEL", "")], ONE, None);
}

#[test]
fn existing_files_load_with_a_warning_for_what_is_not_honoured() {
    let auth = format!(
        "{OIDC}  scopes: [openid, email]
  audience: api
  postLogoutRedirect: https://shell.example/bye
  providerName: Example
session:
  idleTimeout: 15m
  absoluteTimeout: 4h
  cookieName: old
  cookieDomain: example
authorization:
  mode: tier
  allowedGroups: [staff]
  groupsClaim: roles
  groupTiers: {{sre: admin, devs: triage}}
  defaultTier: ''
  groupPrefix: x
  auditAdminGroups: [auditors]
  canICacheTTL: 30s
dev:
  subject: someone
  email: someone@example
  groups: [devs]
"
    );
    let variables = [
        ("PERISCOPE_AUTH_MODE", "oidc"),
        ("SECRET", "hunter2"),
        ("PERISCOPE_WATCH_STREAMS", "true"),
    ];
    let (settings, findings) = load_all(&variables, ONE, Some(&auth));
    assert_eq!(findings.errors, []);
    let warnings: Vec<_> = findings.warnings.iter().map(ToString::to_string).collect();
    for named in [
        "session.cookieName",
        "session.cookieDomain",
        "canICacheTTL",
        "WATCH_STREAMS",
    ] {
        assert!(
            warnings
                .iter()
                .any(|warning| warning.contains(named) && warning.contains("not honoured")),
            "{named}: {warnings:?}"
        );
    }
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    let settings = settings.unwrap();
    let oidc = settings.auth.oidc.as_ref().unwrap();
    assert_eq!(
        oidc.client_secret.as_ref().unwrap().value.reveal(),
        "hunter2"
    );
    assert_eq!(oidc.scopes.value, ["openid", "email"]);
    assert_eq!(
        settings.auth.session.idle_timeout.value,
        Duration::from_mins(15)
    );
    assert_eq!(
        settings.auth.authorization.mode.value,
        Authorization::Tier {
            group_tiers: vec![
                ("sre".to_owned(), Tier::Admin),
                ("devs".to_owned(), Tier::Triage)
            ],
            default_tier: None
        }
    );
    let url = settings.public_url.as_ref().unwrap();
    assert_eq!(
        (url.value.to_string(), url.origin.to_string()),
        (
            "https://shell.example".to_owned(),
            "from oidc.redirectURL".to_owned()
        )
    );
    assert_eq!(settings.listen.value, "0.0.0.0:8080".parse().unwrap());
    // What is printed, and what a panic could print, does not hold the secret.
    assert!(!check::report(&settings).contains("hunter2"));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn secrets_come_from_variables_and_files_and_from_nowhere_else() {
    let with = |secret: &str| OIDC.replace("${SECRET}", secret);
    let oidc = [("PERISCOPE_AUTH_MODE", "oidc")];
    let settings = good(&oidc, ONE, Some(&with("file:///run/secret")));
    let secret = settings.auth.oidc.unwrap().client_secret.unwrap();
    assert_eq!(secret.value.reveal(), "from-file");
    let cases = [
        (
            "${SECRET}",
            "the environment variable \"SECRET\" it names is not set",
        ),
        ("file:///nowhere", "/nowhere cannot be read"),
        ("file:///run/empty", "/run/empty is empty"),
        (
            "aws-secretsmanager://x",
            "Secrets Manager; put the secret into a Kubernetes Secret",
        ),
        (
            "aws-ssm://x",
            "Parameter Store; put the secret into a Kubernetes Secret",
        ),
        (
            "vault://x",
            "a secret is given as ${VARIABLE} or as file://PATH",
        ),
        (
            "x${SECRET}",
            "a secret is given as ${VARIABLE} or as file://PATH",
        ),
    ];
    for (given, expected) in cases {
        let errors = errors(&oidc, ONE, Some(&with(given)));
        assert!(
            errors.len() == 1
                && errors[0].starts_with("auth.yaml:4: oidc.clientSecret")
                && errors[0].contains(expected),
            "{given}: {errors:?}"
        );
    }
    let (settings, findings) = load_all(&oidc, ONE, Some(&with("plain")));
    assert!(settings.is_some() && findings.warnings[0].to_string().contains("in clear"));
    // A developer need not have the secret of production.
    good(&[], ONE, Some(OIDC));
}

#[test]
fn public_urls_are_https_or_of_this_machine() {
    let oidc = [("PERISCOPE_AUTH_MODE", "oidc"), ("SECRET", "s")];
    let load = |redirect: &str, public: &str| {
        let auth = OIDC.replace("https://shell.example/api/auth/callback", redirect);
        let mut variables = oidc.to_vec();
        variables.push(("PERISCOPE_PUBLIC_URL", public));
        let (settings, findings) = load_all(&variables, ONE, Some(&auth));
        settings.ok_or_else(|| findings.errors[0].to_string())
    };
    assert!(
        load(
            "https://a.example:8443/api/auth/callback",
            "https://a.example:8443"
        )
        .is_ok()
    );
    assert!(load("http://localhost:8080/api/auth/callback", "").is_ok());
    for (redirect, public) in [
        ("http://a.example/api/auth/callback", ""),
        ("https://a.example/api/auth/callback", "http://a.example"),
        ("https://a.example/api/auth/callback", "https://b.example"),
        ("https://a.example/api/auth/callback", "a.example"),
        ("/api/auth/callback", ""),
    ] {
        assert!(load(redirect, public).is_err(), "{redirect} {public}");
    }
    let foreign = [
        oidc[0],
        oidc[1],
        ("PERISCOPE_DEV_ALLOW_ORIGINS", "http://localhost:5173"),
    ];
    assert_eq!(
        errors(&foreign, ONE, Some(OIDC)),
        ["PERISCOPE_DEV_ALLOW_ORIGINS: foreign pages may talk to a gateway in dev mode only"]
    );
}

#[test]
fn authorization_says_what_its_words_mean() {
    let mode = |text: &str| good(&[], ONE, Some(text)).auth.authorization.mode.value;
    assert_eq!(
        mode("authorization: {mode: raw, groupPrefix: 'idp:'}"),
        Authorization::Raw {
            group_prefix: "idp:".to_owned()
        }
    );
    assert_eq!(
        mode("authorization: {mode: tier, defaultTier: read}"),
        Authorization::Tier {
            group_tiers: Vec::new(),
            default_tier: Some(Tier::Read)
        }
    );
    for bad in [
        "authorization: {mode: root}",
        "authorization: {groupTiers: {a: root}}",
        "authorization: {groupTiers: [a]}",
        "authorization: {defaultTier: root}",
        "authorization: {allowedGroups: a}",
        "dev: {subject: 'system:masters'}",
        "session: {idleTimeout: 30}",
        "session: {idleTimeout: 30m10s}",
    ] {
        let errors = errors(&[], ONE, Some(bad));
        assert!(
            errors.len() == 1 && errors[0].starts_with("auth.yaml:1: "),
            "{bad}: {errors:?}"
        );
    }
}

/// The rows of a table of the page: the cells of each, without their backticks.
fn rows(page: &str, below: &str) -> Vec<Vec<String>> {
    let table = page.split(below).nth(1).unwrap();
    let lines = table.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split(" | ");
        let cells = cells.map(|cell| cell.trim().trim_matches('`').to_owned());
        cells.collect()
    };
    rows.map(cells).collect()
}

#[test]
fn the_page_lists_every_variable_with_its_default() {
    let page = include_str!("../../../docs/environment-variables.md");
    let listed = rows(page, "## Variables");
    let listed: Vec<_> = listed
        .iter()
        .map(|row| match row.as_slice() {
            [name, default, _] => (name.as_str(), default.as_str()),
            // An empty cell has no blanks around it that the split could find.
            [name, _] => (name.as_str(), ""),
            _ => panic!("{row:?}"),
        })
        .collect();
    let known: Vec<_> = VARIABLES
        .iter()
        .map(|variable| (variable.name, variable.default))
        .collect();
    assert_eq!(listed, known);
    let old = rows(page, "**Not honoured.**");
    let old: Vec<_> = old
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str()))
        .collect();
    assert_eq!(old, NOT_HONOURED);
}
