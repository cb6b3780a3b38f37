//! Login through an identity provider that may lie, as a browser and as a client with a token see it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;
mod login_support;

use std::time::Duration;

use gateway_support::{Answer, LoginMode, Settings, World, exec_path};
use login_support::{Browser, Key, Provider, now, unsigned};
use periscope_server::gateway::login::OidcOptions;
use serde_json::{Value, json};

async fn world(provider: &Provider, change: fn(&mut OidcOptions)) -> World {
    let issuer = provider.issuer.clone();
    World::start(Settings {
        login: LoginMode::Oidc { issuer, change },
        ..Settings::default()
    })
    .await
}

fn unchanged(_: &mut OidcOptions) {}

fn login_cookie(world: &World) -> String {
    format!("periscope_{}", world.address.port())
}

/// A shell of this browser, up.
async fn shell(world: &World, browser: &Browser) -> gateway_support::Shell {
    let origin = format!("http://{}", world.address);
    let headers = [("Cookie", &*browser.header()), ("Origin", &origin)];
    let path = exec_path("modern", "shell", "");
    let mut shell = world.anonymous_handshake(&path, &headers).await.unwrap();
    shell.message("hello").await;
    shell
}

/// The page that says why somebody is not logged in.
fn assert_page(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.headers["content-type"].starts_with("text/html"));
    assert!(
        answer.body.contains(&format!("<code>{word}</code>")),
        "{}",
        answer.body
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'"));
}

#[tokio::test]
async fn a_login_leads_to_the_provider_and_back_and_says_who_one_is() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, |options| {
        options.audit_admin_groups = vec!["everyone".to_owned()];
    })
    .await;
    let mut browser = Browser::default();
    let anonymous = browser.get(&world, "/api/auth/whoami").await;
    assert_eq!(anonymous.refusal(), (401, "E_AUTH".to_owned()));
    let invitation = json!({"url": "/api/auth/login", "provider": "The Provider"});
    assert_eq!(anonymous.json()["login"], invitation);

    let begun = browser.begin(&world, "%2Fclusters%2Fmodern%3Fa%3Db").await;
    assert!(
        begun
            .url
            .starts_with(&format!("{}/authorize?", provider.issuer))
    );
    let query = &begun.query;
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["client_id"], "periscope");
    assert_eq!(query["scope"], "openid+email");
    assert_eq!(query["code_challenge_method"], "S256");
    let callback = format!(
        "http%3A%2F%2F127.0.0.1%3A{}%2Fapi%2Fauth%2Fcallback",
        world.address.port()
    );
    assert_eq!(query["redirect_uri"], callback);
    let id_token = key.sign(&provider.claims("ann", &query["nonce"]));
    provider.give(&id_token);
    let answer = browser.come_back(&world, &begun).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.headers["location"], "/clusters/modern?a=b");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    // The flow's cookie is gone, the login's is there.
    assert_eq!(
        browser.cookies.keys().collect::<Vec<_>>(),
        [&login_cookie(&world)]
    );
    let set = answer
        .cookies
        .iter()
        .find(|set| set.starts_with(&login_cookie(&world)));
    assert!(
        set.unwrap()
            .ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=28800"),
        "{set:?}"
    );
    let exchange = &provider.requests("POST /token")[0];
    assert!(
        exchange.contains("code=c0de") && exchange.contains("code_verifier="),
        "{exchange}"
    );
    assert!(
        exchange.to_lowercase().contains("authorization: basic"),
        "{exchange}"
    );

    let who = browser.get(&world, "/api/auth/whoami").await.json();
    assert_eq!(
        (
            &who["sub"],
            &who["email"],
            &who["groups"],
            &who["tier"],
            &who["auditScope"],
            &who["mode"]
        ),
        (
            &json!("ann"),
            &json!("ann@example.com"),
            &json!(["everyone"]),
            &json!("admin"),
            &json!("all"),
            &json!("tier")
        )
    );
    let expires: jiff::Timestamp = who["expiresAt"].as_str().unwrap().parse().unwrap();
    let seconds = expires.as_second() - now();
    assert!((28_700..=28_800).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_logout_ends_the_logins_shells_and_every_copy_of_its_cookie() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, |options| {
        options.post_logout_redirect = Some("https://bye.example/".to_owned());
    })
    .await;
    let mut browser = Browser::default();
    let begun = browser.begin(&world, "/").await;
    let id_token = key.sign(&provider.claims("ann", &begun.query["nonce"]));
    provider.give(&id_token);
    assert_eq!(browser.come_back(&world, &begun).await.status, 303);
    let mut shell = shell(&world, &browser).await;
    assert_eq!(shell.messages[0]["identity"]["user"], "ann");
    let copy = browser.clone();
    let left = browser.send(&world, "POST", "/api/auth/logout").await;
    assert_eq!(left.status, 200, "{left:?}");
    let url = left.json()["logoutUrl"].as_str().unwrap().to_owned();
    assert!(
        url.starts_with(&format!("{}/logout?", provider.issuer)),
        "{url}"
    );
    assert!(url.contains(&format!("id_token_hint={id_token}")), "{url}");
    assert!(url.contains("client_id=periscope"), "{url}");
    assert!(
        url.contains("post_logout_redirect_uri=https%3A%2F%2Fbye.example%2F"),
        "{url}"
    );
    assert!(browser.cookies.is_empty());

    let closed = shell.closed().await;
    assert_eq!(
        (&closed["reason"], &closed["detail"]),
        (&json!("forced_close"), &json!("auth_expired"))
    );
    assert_eq!(shell.close_code, Some(1008));
    assert_eq!(shell.message("error").await["code"], "E_AUTH");
    let row = world.audit_row("pod.exec.session_end").await;
    assert_eq!(
        (&row["close_detail"], &row["ended_by"]),
        (&json!("auth_expired"), &json!("ann"))
    );
    let mut copy = copy;
    assert_eq!(copy.get(&world, "/api/auth/whoami").await.status, 401);
    assert_eq!(
        copy.send(&world, "POST", "/api/auth/logout").await.status,
        401
    );
    let headers = [
        ("Cookie", &*copy.header()),
        ("Origin", &format!("http://{}", world.address)),
    ];
    let refused = world
        .anonymous_handshake(&exec_path("modern", "shell", ""), &headers)
        .await;
    assert_eq!(refused.err().unwrap().refusal(), (401, "E_AUTH".to_owned()));
}

#[tokio::test]
async fn an_answer_counts_only_once_in_the_browser_that_asked_and_with_its_own_state() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, unchanged).await;
    let mut browser = Browser::default();
    let begun = browser.begin(&world, "/").await;
    provider.give(&key.sign(&provider.claims("ann", &begun.query["nonce"])));
    // Somebody else's browser, which has begun a login of its own.
    let mut other = Browser::default();
    other.begin(&world, "/").await;
    assert_page(
        &other.come_back(&world, &begun).await,
        400,
        "login_not_begun",
    );
    assert_page(
        &Browser::default().come_back(&world, &begun).await,
        400,
        "login_not_begun",
    );
    // It leads to the same cookie, and is another state all the same.
    let wrong = format!("{}{}", &begun.query["state"][..1], "0".repeat(63));
    for query in [
        String::new(),
        "code=c0de".to_owned(),
        format!("code=c0de&state={wrong}"),
        format!("code=c0de&state={0}&state={0}", begun.query["state"]),
    ] {
        let answer = browser
            .get(&world, &format!("/api/auth/callback?{query}"))
            .await;
        assert_page(&answer, 400, "login_not_begun");
    }
    assert!(
        provider.requests("POST /token").is_empty(),
        "no code was tried"
    );
    assert_eq!(browser.come_back(&world, &begun).await.status, 303);
    // A second time: a link from the history.
    assert_page(
        &browser.come_back(&world, &begun).await,
        400,
        "login_not_begun",
    );
    assert_eq!(browser.get(&world, "/api/auth/whoami").await.status, 200);
}

/// Tokens that must not be believed, made from one that must; each with what is wrong.
fn bad_tokens(key: &Key, good: &Value) -> Vec<(&'static str, String)> {
    let hs256 = {
        use aws_lc_rs::hmac;
        use base64::Engine as _;
        let text = unsigned(&json!({"alg": "HS256", "typ": "JWT"}), good);
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, b"s3cret"),
            text.as_bytes(),
        );
        format!(
            "{text}.{}",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag)
        )
    };
    let mut other_claims = good.clone();
    other_claims["sub"] = json!("root");
    let spliced = {
        let signed = key.sign(good);
        let signature = signed.rsplit('.').next().unwrap();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "one"});
        format!("{}.{signature}", unsigned(&header, &other_claims))
    };
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.sign(&claims)
    };
    vec![
        ("nonce of another login", with("nonce", json!("x"))),
        ("no nonce", with("nonce", Value::Null)),
        ("expired", with("exp", json!(now() - 120))),
        ("not yet", with("nbf", json!(now() + 120))),
        ("issued in the future", with("iat", json!(now() + 120))),
        ("audience", with("aud", json!("other"))),
        (
            "one audience too many",
            with("aud", json!(["periscope", "other"])),
        ),
        ("issuer", with("iss", json!("https://evil.example"))),
        ("no subject", with("sub", Value::Null)),
        ("at_hash", with("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA"))),
        (
            "alg none",
            format!("{}.", unsigned(&json!({"alg": "none"}), good)),
        ),
        ("shared secret", hs256),
        ("another's key", Key::new("one").sign(good)),
        ("spliced", spliced),
        ("no token at all", "canary-7f3a".to_owned()),
    ]
}

#[tokio::test]
async fn what_the_provider_says_is_believed_only_if_all_of_it_is_right() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, unchanged).await;
    let mut browser = Browser::default();
    let begun = browser.begin(&world, "/").await;
    let good = provider.claims("ann", &begun.query["nonce"]);
    let bad = bad_tokens(&key, &good);
    let flow = browser.clone();
    for (what, token) in &bad {
        let mut browser = flow.clone();
        provider.give(token);
        let answer = browser.come_back(&world, &begun).await;
        assert_page(&answer, 502, "invalid_answer");
        assert!(!answer.body.contains("canary"), "{what}");
        assert!(
            !browser.cookies.contains_key(&login_cookie(&world)),
            "{what}"
        );
    }
    provider.answer_token(
        200,
        json!({"access_token": "opaque", "token_type": "Bearer"}),
    );
    assert_page(
        &flow.clone().come_back(&world, &begun).await,
        502,
        "invalid_answer",
    );
    let refused = json!({"error": "invalid_grant", "error_description": "canary-7f3a"});
    provider.answer_token(400, refused);
    let answer = flow.clone().come_back(&world, &begun).await;
    assert_page(&answer, 502, "invalid_answer");
    assert!(!answer.body.contains("canary"));
    provider.answer_token(503, json!("canary-7f3a"));
    assert!(flow.clone().come_back(&world, &begun).await.status >= 500);
    // The provider itself says no, in words that somebody else may have put into the link.
    let state = &begun.query["state"];
    for query in [
        "error=access_denied&error_description=canary",
        "error=x&code=c0de",
        "x=y",
    ] {
        let path = format!("/api/auth/callback?state={state}&{query}");
        let answer = flow.clone().get(&world, &path).await;
        assert_page(&answer, 403, "refused_by_provider");
        assert!(!answer.body.contains("canary"));
    }
    let path = format!("/api/auth/callback?state={state}&code=c0de&iss=https%3A%2F%2Fevil.example");
    assert_page(
        &flow.clone().get(&world, &path).await,
        502,
        "invalid_answer",
    );
    // And the same flow with the good token is good: nothing above failed for another reason.
    provider.give(&key.sign(&good));
    assert_eq!(browser.come_back(&world, &begun).await.status, 303);
}

#[tokio::test]
async fn new_keys_of_the_provider_are_found_and_unknown_ones_ask_for_them_rarely() {
    let (old, new, unknown) = (Key::new("old"), Key::new("new"), Key::new("unknown"));
    let provider = Provider::start(&old).await;
    let world = world(&provider, unchanged).await;
    let mut browser = Browser::default();
    provider.log_in(&world, &mut browser, &old, "ann").await;
    assert_eq!(provider.requests("GET /keys").len(), 1);
    provider.publish(&[&new]);
    provider
        .log_in(&world, &mut Browser::default(), &new, "bob")
        .await;
    assert_eq!(provider.requests("GET /keys").len(), 2);
    for _ in 0..10 {
        let token = format!("Bearer {}", unknown.sign(&provider.claims("eve", "")));
        let headers = [("Authorization", token.as_str())];
        let answer = world
            .anonymous("GET", "/api/auth/whoami", &headers, "")
            .await;
        assert_eq!(answer.refusal(), (401, "E_AUTH".to_owned()));
    }
    let asked = provider.requests("GET /keys").len();
    assert!(asked <= 3, "asked {asked} times");
    // The key that was taken back is no longer believed; the login that began with it goes on.
    let token = format!("Bearer {}", old.sign(&provider.claims("eve", "")));
    let headers = [("Authorization", token.as_str())];
    assert_eq!(
        world
            .anonymous("GET", "/api/clusters", &headers, "")
            .await
            .status,
        401
    );
    assert_eq!(browser.get(&world, "/api/clusters").await.status, 200);
}

#[tokio::test]
async fn a_provider_that_is_away_is_a_page_and_no_crash() {
    let key = Key::new("one");
    let mut provider = Provider::start(&key).await;
    // A port where nobody listens any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    provider.issuer = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let world = world(&provider, unchanged).await;
    let answer = Browser::default()
        .get(&world, "/api/auth/login?returnTo=/x")
        .await;
    assert_page(&answer, 502, "provider_unreachable");
    assert!(answer.body.contains("/api/auth/login?returnTo=%2Fx"));
    let token = format!("Bearer {}", key.sign(&provider.claims("ann", "")));
    let headers = [("Authorization", token.as_str())];
    let answer = world.anonymous("GET", "/api/clusters", &headers, "").await;
    assert_eq!(answer.refusal(), (503, "E_INTERNAL".to_owned()));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn groups_decide_who_comes_in_wherever_the_provider_tells_them() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, |options| {
        options.groups_claim = "roles".to_owned();
        options.allowed_groups = vec!["g299".to_owned()];
        options.audit_admin_groups = vec!["auditors".to_owned()];
    })
    .await;
    let groups: Vec<_> = (0..300).map(|index| format!("g{index}")).collect();
    provider.tell(json!({"sub": "ann", "email": "ann@elsewhere.example", "roles": groups}));
    let mut browser = Browser::default();
    let begun = browser.begin(&world, "/").await;
    let mut claims = provider.claims("ann", &begun.query["nonce"]);
    claims["email"] = Value::Null;
    provider.give(&key.sign(&claims));
    assert_eq!(browser.come_back(&world, &begun).await.status, 303);
    let who = browser.get(&world, "/api/auth/whoami").await.json();
    assert_eq!(who["groups"].as_array().unwrap().len(), 300);
    assert_eq!(who["email"], "ann@elsewhere.example");
    assert_eq!(
        (&who["tier"], &who["auditScope"]),
        (&Value::Null, &json!("self"))
    );

    // The other endpoint speaks of somebody else.
    let mut browser = Browser::default();
    let begun = browser.begin(&world, "/").await;
    provider.give(&key.sign(&provider.claims("bob", &begun.query["nonce"])));
    assert_page(
        &browser.come_back(&world, &begun).await,
        502,
        "invalid_answer",
    );
    // The token itself has the claim, so nobody else is asked; and the groups are not enough.
    let begun = browser.begin(&world, "/").await;
    let mut claims = provider.claims("bob", &begun.query["nonce"]);
    claims["roles"] = json!(["g298"]);
    let asked = provider.requests("/userinfo").len();
    provider.give(&key.sign(&claims));
    assert_page(
        &browser.come_back(&world, &begun).await,
        403,
        "group_not_allowed",
    );
    assert_eq!(provider.requests("/userinfo").len(), asked);
    let token = format!("Bearer {}", key.sign(&claims));
    let headers = [("Authorization", token.as_str())];
    let answer = world.anonymous("GET", "/api/clusters", &headers, "").await;
    assert_eq!(answer.refusal(), (403, "E_FORBIDDEN".to_owned()));
}

#[tokio::test]
async fn a_subject_that_can_be_nobody_does_not_come_in() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, unchanged).await;
    for sub in [
        "system:masters",
        "ann\r\nImpersonate-Group: system:masters",
        " ann",
        &"x".repeat(257),
    ] {
        let mut browser = Browser::default();
        let begun = browser.begin(&world, "/").await;
        provider.give(&key.sign(&provider.claims(sub, &begun.query["nonce"])));
        assert_page(&browser.come_back(&world, &begun).await, 403, "bad_subject");
        let token = format!("Bearer {}", key.sign(&provider.claims(sub, "")));
        let headers = [("Authorization", token.as_str())];
        let path = "/api/clusters/modern/namespaces";
        let answer = world.anonymous("GET", path, &headers, "").await;
        assert_eq!(answer.refusal(), (403, "E_FORBIDDEN".to_owned()), "{sub:?}");
    }
}

#[tokio::test]
async fn a_second_login_in_a_browser_takes_the_place_of_the_first() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, unchanged).await;
    let mut browser = Browser::default();
    provider.log_in(&world, &mut browser, &key, "ann").await;
    let mut first = browser.clone();
    let mut shell_of_first = shell(&world, &browser).await;
    provider.log_in(&world, &mut browser, &key, "ann").await;
    assert_eq!(first.get(&world, "/api/auth/whoami").await.status, 401);
    assert_eq!(
        world_sessions(&world, &mut browser).await,
        1,
        "the same person's shell goes on"
    );
    shell_of_first.type_in("echo still-$((40+2))\n").await;
    shell_of_first.shows("still-42").await;
    assert_eq!(
        browser
            .send(&world, "POST", "/api/auth/logout")
            .await
            .status,
        200
    );
    assert_eq!(shell_of_first.closed().await["detail"], "auth_expired");

    provider.log_in(&world, &mut browser, &key, "ann").await;
    let mut shell_of_ann = shell(&world, &browser).await;
    provider.log_in(&world, &mut browser, &key, "bob").await;
    assert_eq!(shell_of_ann.closed().await["detail"], "auth_expired");
}

async fn world_sessions(world: &World, browser: &mut Browser) -> usize {
    let sessions = browser.get(world, "/api/sessions").await.json();
    sessions["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_absolute_lifetime_ends_a_shell_and_the_idle_lifetime_does_not() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, |options| {
        options.lifetimes.idle = Duration::from_secs(2);
        options.lifetimes.absolute = Duration::from_secs(8);
    })
    .await;
    // On a busy machine a login may be over before its shell is up: then another one.
    for _ in 0..20 {
        let mut browser = Browser::default();
        provider.log_in(&world, &mut browser, &key, "ann").await;
        let origin = format!("http://{}", world.address);
        let headers = [("Cookie", &*browser.header()), ("Origin", &origin)];
        let path = exec_path("modern", "shell", "");
        let Ok(mut shell) = world.anonymous_handshake(&path, &headers).await else {
            continue;
        };
        let opened = std::time::Instant::now();
        shell
            .control(&json!({"type": "resize", "cols": 80, "rows": 24}))
            .await;
        // The idle lifetime itself; nothing waits for anything else here.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(browser.get(&world, "/api/auth/whoami").await.status, 401);
        let closed = shell.closed().await;
        if shell.output.is_empty() && opened.elapsed() > Duration::from_secs(8) {
            continue;
        }
        assert_eq!(closed["detail"], "auth_expired");
        assert_eq!(shell.message("error").await["code"], "E_AUTH");
        assert_eq!(shell.close_code, Some(1008));
        assert!(
            opened.elapsed() > Duration::from_millis(2500),
            "not by the idle lifetime"
        );
        return;
    }
    panic!("no shell came up within its login's lifetime");
}

#[tokio::test]
async fn a_bearer_token_of_the_issuer_is_a_login_until_it_expires() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = world(&provider, |options| {
        options.audience = Some("api://shells".to_owned());
    })
    .await;
    let mut good = provider.claims("robot", "");
    good["aud"] = json!(["other", "api://shells"]);
    let whoami = |token: String| {
        let world = &world;
        async move {
            let value = format!("Bearer {token}");
            let headers = [("Authorization", value.as_str())];
            world
                .anonymous("GET", "/api/auth/whoami", &headers, "")
                .await
        }
    };
    let answer = whoami(key.sign(&good)).await;
    assert_eq!(answer.json()["sub"], "robot");
    let access_token = key.sign_as("at+jwt", &good);
    assert_eq!(whoami(access_token.clone()).await.status, 200);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.sign(&claims)
    };
    // A clock that is a little off.
    assert_eq!(whoami(with("exp", json!(now() - 5))).await.status, 200);
    assert_eq!(whoami(with("nbf", json!(now() + 5))).await.status, 200);
    let large = with("padding", json!("x".repeat(33 * 1024)));
    let bad = [
        with("aud", json!("periscope")),
        with("aud", json!([])),
        with("iss", json!("https://evil.example")),
        with("exp", json!(now() - 120)),
        with("exp", Value::Null),
        with("nbf", json!(now() + 120)),
        key.sign_as("logout+jwt", &good),
        format!("{}.", unsigned(&json!({"alg": "none"}), &good)),
        Key::new("one").sign(&good),
        "x.y.z".to_owned(),
        String::new(),
        large,
    ];
    for token in bad {
        let answer = whoami(token.clone()).await;
        assert_eq!(answer.refusal(), (401, "E_AUTH".to_owned()), "{token}");
    }
    let bearer = format!("Bearer {access_token}");
    let twice = [
        ("Authorization", bearer.as_str()),
        ("Authorization", bearer.as_str()),
    ];
    assert_eq!(
        world
            .anonymous("GET", "/api/clusters", &twice, "")
            .await
            .status,
        401
    );
    // Nothing to log out of; and no page, so no Origin is asked for.
    let headers = [("Authorization", bearer.as_str())];
    let answer = world
        .anonymous("POST", "/api/auth/logout", &headers, "")
        .await;
    assert_eq!(answer.refusal(), (400, "E_INVALID_REQUEST".to_owned()));

    let path = exec_path("modern", "shell", "");
    for seconds in [6, 12, 24, 48] {
        let expiry = now() + seconds;
        let bearer = format!("Bearer {}", with("exp", json!(expiry)));
        let headers = [("Authorization", bearer.as_str())];
        // On a busy machine a token may be over before its shell is up: then one that lasts longer.
        let Ok(mut shell) = world.anonymous_handshake(&path, &headers).await else {
            continue;
        };
        let closed = shell.closed().await;
        assert_eq!(closed["detail"], "auth_expired");
        assert!(now() >= expiry, "never early");
        let row = world.audit_row("pod.exec.session_end").await;
        assert_eq!(row["ended_by"], Value::Null);
        return;
    }
    panic!("no shell came up within its token's lifetime");
}

#[tokio::test]
async fn logout_at_a_provider_that_has_none_leads_where_the_configuration_says() {
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    provider.without_logout();
    let world = world(&provider, |options| {
        options.post_logout_redirect = Some("https://bye.example/".to_owned());
    })
    .await;
    let mut browser = Browser::default();
    provider.log_in(&world, &mut browser, &key, "ann").await;
    let left = browser.send(&world, "POST", "/api/auth/logout").await;
    assert_eq!(left.json()["logoutUrl"], "https://bye.example/");
}

#[tokio::test]
async fn modes_without_a_provider_have_no_way_to_one() {
    for login in [LoginMode::Demo, LoginMode::Dev] {
        let world = World::start(Settings {
            login,
            ..Settings::default()
        })
        .await;
        for path in ["/api/auth/login", "/api/auth/callback?code=x&state=y"] {
            assert_eq!(
                world.get(path).await.refusal(),
                (404, "E_NOT_FOUND".to_owned())
            );
        }
        let answer = world.request("POST", "/api/auth/logout", &[], "").await;
        assert_eq!(answer.refusal(), (404, "E_NOT_FOUND".to_owned()));
    }
}
