//! The listener's own TLS over the life of a certificate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod serve_support;

use std::time::{Duration, Instant};

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
