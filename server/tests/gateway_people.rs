//! Several people on one gateway: what each sees and may end, over HTTP, each with a login of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;
mod login_support;

use gateway_support::{LoginMode, PATIENCE, Settings, Shell, World, exec_path, unused_dir};
use login_support::{Browser, Key, Provider};
use periscope_server::gateway::audit::DatabaseOptions;
use serde_json::{Value, json};

/// Logs somebody of these groups in.
async fn log_in(
    world: &World,
    provider: &Provider,
    key: &Key,
    sub: &str,
    groups: &[&str],
) -> Browser {
    let mut browser = Browser::default();
    let begun = browser.begin(world, "/").await;
    let mut claims = provider.claims(sub, &begun.query["nonce"]);
    claims["groups"] = json!(groups);
    provider.give(&key.sign(&claims));
    assert_eq!(browser.come_back(world, &begun).await.status, 303);
    browser
}

/// A shell of this browser, and its session's id.
async fn shell(world: &World, browser: &Browser) -> (Shell, String) {
    let origin = format!("http://{}", world.address);
    let headers = [("Cookie", &*browser.header()), ("Origin", &origin)];
    let path = exec_path("modern", "shell", "");
    let mut shell = world.anonymous_handshake(&path, &headers).await.unwrap();
    let hello = shell.message("hello").await;
    let id = hello["sessionId"].as_str().unwrap().to_owned();
    (shell, id)
}

/// One field of each item, of an answer that has items.
async fn items(world: &World, browser: &mut Browser, path: &str, field: &str) -> Vec<String> {
    let answer = browser.get(world, path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let json = answer.json();
    let all = json["items"].as_array().unwrap().iter();
    all.map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

/// The actors of the audit rows this person sees under this query, and the scope of the answer.
async fn audit(world: &World, browser: &mut Browser, query: &str) -> (Vec<Value>, String) {
    let answer = browser.get(world, &format!("/api/audit?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let rows = json["items"].as_array().unwrap().clone();
    assert_eq!(json["total"], rows.len());
    let actors = rows.iter().map(|row| row["actor"]["sub"].clone()).collect();
    (actors, answer.headers["x-audit-scope"].clone())
}

#[tokio::test]
async fn people_see_and_end_their_own_shells_and_records_and_an_audit_admin_everybodys() {
    let dir = unused_dir();
    std::fs::create_dir(&dir).unwrap();
    let key = Key::new("one");
    let provider = Provider::start(&key).await;
    let world = World::start(Settings {
        login: LoginMode::Oidc {
            issuer: provider.issuer.clone(),
            change: |options| options.audit_admin_groups = vec!["auditors".to_owned()],
        },
        database: Some(DatabaseOptions::new(dir.join("audit.db"))),
        ..Settings::default()
    })
    .await;
    let mut ann = log_in(&world, &provider, &key, "ann", &["everyone"]).await;
    let mut bob = log_in(&world, &provider, &key, "bob", &["everyone"]).await;
    let mut eve = log_in(&world, &provider, &key, "eve", &["everyone", "auditors"]).await;
    for (browser, scope) in [(&mut ann, "self"), (&mut bob, "self"), (&mut eve, "all")] {
        let who = browser.get(&world, "/api/auth/whoami").await.json();
        assert_eq!(who["auditScope"], scope);
    }
    let (mut anns, anns_id) = shell(&world, &ann).await;
    let (mut bobs, bobs_id) = shell(&world, &bob).await;
    anns.type_in("echo canary-of-$((6*7))-ann\n").await;
    anns.shows("canary-of-42-ann").await;

    // Bob's business is Bob's shell.
    assert_eq!(
        items(&world, &mut bob, "/api/sessions", "id").await,
        [bobs_id.as_str()]
    );
    let path = format!("/api/sessions/{anns_id}");
    let denied = bob.send(&world, "DELETE", &path).await;
    let unknown = "/api/sessions/00000000-0000-0000-0000-000000000000";
    let unknown = bob.send(&world, "DELETE", unknown).await;
    assert_eq!(denied.refusal(), (404, "E_NOT_FOUND".to_owned()));
    assert_eq!(
        denied.body, unknown.body,
        "somebody else's looks like nobody's"
    );
    anns.type_in("echo still-$((40+2))-here\n").await;
    anns.shows("still-42-here").await;

    // So are Bob's records, whatever is asked for.
    let both_started = async {
        while audit(&world, &mut eve, "").await.0.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, both_started).await.unwrap();
    let himself = (vec![json!("bob")], "self".to_owned());
    assert_eq!(audit(&world, &mut bob, "").await, himself);
    assert_eq!(audit(&world, &mut bob, "actor=bob").await, himself);
    for query in [
        "actor=ann".to_owned(),
        format!("session={anns_id}"),
        "offset=1".to_owned(),
    ] {
        let answer = bob.get(&world, &format!("/api/audit?{query}")).await.json();
        assert_eq!(answer["items"], json!([]), "{query}");
        assert_eq!(answer["total"], usize::from(query == "offset=1"), "{query}");
    }

    // Eve sees and ends everybody's.
    let mut ids = items(&world, &mut eve, "/api/sessions", "id").await;
    let mut expected = [anns_id.clone(), bobs_id];
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    let actors = items(&world, &mut eve, "/api/sessions", "actor").await;
    assert_eq!(actors, ["ann", "bob"]);
    assert_eq!(
        audit(&world, &mut eve, "actor=ann").await,
        (vec![json!("ann")], "all".to_owned())
    );
    let (ended, closed) = tokio::join!(eve.send(&world, "DELETE", &path), anns.closed());
    assert_eq!(ended.status, 204);
    assert_eq!(
        (&closed["reason"], &closed["detail"], anns.close_code),
        (&json!("forced_close"), &json!("admin_kill"), Some(1008))
    );
    let errors = anns
        .messages
        .iter()
        .filter(|message| message["type"] == "error");
    assert_eq!(errors.count(), 0, "a kill is no error of anybody's");
    let end = world.audit_row("pod.exec.session_end").await;
    assert_eq!(
        (&end["session_id"], &end["actor"]["sub"], &end["ended_by"]),
        (&json!(anns_id), &json!("ann"), &json!("eve"))
    );
    bobs.type_in("echo untouched-$((40+2))\n").await;
    bobs.shows("untouched-42").await;
    drop((anns, bobs, world));
    std::fs::remove_dir_all(dir).unwrap();
}
