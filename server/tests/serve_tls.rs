//! The listener's own TLS over the life of a certificate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::duplicate_mod,
    reason = "the provider is of tests with a gateway inside, the server is a process"
)]

mod gateway_support;
mod login_support;
mod serve_support;

use std::time::{Duration, Instant};

use login_support::{Key, Provider};
use serde_json::json;
use serve_support::{Place, Served};

const TLS: [(&str, &str); 2] = [
    ("PERISCOPE_TLS_CERT", "cert.pem"),
    ("PERISCOPE_TLS_KEY", "key.pem"),
];

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_shells_stay() {
    let place = Place::new(&[]).await;
    place.kubeconfig(&json!({ "token": place.token() }));
    let first = place.certificate();
    let served = Served::start_tls(&place, &TLS, &first).await;
    let mut shell = served.shell("shell").await;
    shell.message("hello").await;
    assert!(served.is_vouched_for_by(&first).await);
    let second = place.certificate();
    served.signal("HUP");
    served.logged("msg=serve.certificate.renewed").await;
    assert!(served.is_vouched_for_by(&second).await);
    assert!(!served.is_vouched_for_by(&first).await);
    // What cannot be used is told of, and changes nothing.
    place.write("cert.pem", "no certificate");
    served.signal("HUP");
    let log = served.logged("msg=serve.certificate.unusable").await;
    assert!(log.contains("no certificate in PEM form"), "{log}");
    assert!(served.is_vouched_for_by(&second).await);
    // The key of another certificate is no pair either.
    place.write("cert.pem", &second);
    place.certificate();
    place.write("cert.pem", &second);
    served.signal("HUP");
    served.logged("do not belong together").await;
    assert!(served.is_vouched_for_by(&second).await);
    // Nobody has to send a signal.
    let third = place.certificate();
    let begun = Instant::now();
    while !served.is_vouched_for_by(&third).await {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "{:?}",
            served.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = served.log().join("\n");
    let key = place.read("key.pem");
    let secret = key.lines().nth(1).unwrap();
    assert!(!log.contains(secret), "{log}");
    // The shell has noticed nothing of it.
    shell.type_in("echo still-$((6*7))\n").await;
    shell.shows("still-42").await;
}

#[tokio::test]
async fn a_hangup_does_not_end_a_server_behind_tls() {
    let place = Place::new(&[]).await;
    place.kubeconfig(&json!({ "token": place.token() }));
    let authority = place.certificate();
    let served = Served::start_tls(&place, &TLS, &authority).await;
    // The same files again: nothing to do.
    served.signal("HUP");
    assert_eq!(served.get("/api/clusters").await.0, 200);
    let log = served.log().join("\n");
    assert!(!log.contains("serve.certificate"), "{log}");
}

/// The values of one header.
fn headers<'a>(head: &'a str, wanted: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value).collect()
}

/// Names and values of the cookies that an answer sets, for the next request.
fn cookies(head: &str) -> String {
    let set = headers(head, "set-cookie").into_iter();
    let pairs = set.map(|cookie| cookie.split(';').next().unwrap());
    pairs
        .filter(|pair| !pair.ends_with('='))
        .collect::<Vec<_>>()
        .join("; ")
}

#[tokio::test]
async fn a_login_over_https_lives_in_a_cookie_that_only_https_carries() {
    let place = Place::new(&[]).await;
    place.kubeconfig(&json!({ "token": place.token() }));
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    // The URL has to be known before the server is there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("https://127.0.0.1:{port}");
    place.write(
        "auth.yaml",
        &format!(
            "oidc: {{issuer: \"{}\", clientID: periscope, redirectURL: \"{url}/api/auth/callback\"}}\n\
             authorization: {{mode: tier, defaultTier: triage}}\n",
            provider.issuer
        ),
    );
    let authority = place.certificate();
    let port = port.to_string();
    let variables = [
        TLS[0],
        TLS[1],
        ("PERISCOPE_AUTH_MODE", "oidc"),
        ("PERISCOPE_LISTEN", "127.0.0.1"),
        ("PERISCOPE_PUBLIC_URL", url.as_str()),
        ("PORT", port.as_str()),
    ];
    let served = Served::start_tls(&place, &variables, &authority).await;
    let host = served.address().to_string();
    let host = ("Host", host.as_str());
    assert_eq!(served.get("/api/auth/whoami").await.0, 401);
    // To the provider, with a cookie that says who has begun.
    let (head, _) = served.raw("/api/auth/login?returnTo=/", &[host]).await;
    assert!(head.starts_with("HTTP/1.1 303"), "{head}");
    let door = headers(&head, "location")[0];
    let of_door = |name: &str| {
        let mut pairs = door
            .split(['?', '&'])
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(found, _)| *found == name)
            .unwrap()
            .1
            .to_owned()
    };
    let begun = headers(&head, "set-cookie");
    assert!(
        begun.iter().all(|cookie| cookie.contains("; Secure")),
        "{head}"
    );
    let begun = cookies(&head);
    provider.give(&key.sign(&provider.claims("ann", &of_door("nonce"))));
    // And back.
    let path = format!("/api/auth/callback?code=c0de&state={}", of_door("state"));
    let (head, body) = served.raw(&path, &[host, ("Cookie", &begun)]).await;
    assert!(
        head.starts_with("HTTP/1.1 303"),
        "{head} {body} {:?}",
        served.log()
    );
    let set = headers(&head, "set-cookie");
    let login = set
        .iter()
        .find(|cookie| cookie.starts_with("__Host-periscope="));
    let login = login.unwrap_or_else(|| panic!("{head}"));
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(login.contains(attribute), "{attribute}: {login}");
    }
    assert!(!login.contains("Domain"), "{login}");
    let login = login.split(';').next().unwrap();
    let (head, body) = served
        .raw("/api/auth/whoami", &[host, ("Cookie", login)])
        .await;
    assert!(
        head.starts_with("HTTP/1.1 200") && body.contains("\"ann\""),
        "{head} {body}"
    );
    // The same value under the name that plain HTTP uses is no login.
    let plain = login.replace("__Host-periscope", &format!("periscope_{port}"));
    let (head, _) = served
        .raw("/api/auth/whoami", &[host, ("Cookie", &plain)])
        .await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    // A shell opens from the page at the public URL, and not from one without TLS.
    let with = |origin| [("Cookie", login), ("Origin", origin)];
    let mut shell = served.shell_with("shell", &with(&url)).await;
    let hello = shell.message("hello").await;
    assert_eq!(hello["identity"]["user"], "ann");
    let foreign = url.replace("https", "http");
    let exec = "/api/clusters/modern/pods/default/shell/exec";
    let (head, _) = served
        .raw(exec, &[&[host][..], &with(&foreign)].concat())
        .await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let (head, _) = served.raw(exec, &[&[host][..], &with(&url)].concat()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Another host's name is none of its business.
    let (head, _) = served
        .raw(
            "/api/clusters",
            &[("Host", "evil.example"), ("Cookie", login)],
        )
        .await;
    assert!(head.starts_with("HTTP/1.1 421"), "{head}");
}
