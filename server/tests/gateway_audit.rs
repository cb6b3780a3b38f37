//! The audit database behind the gateway: what is in it, who may see it, and what happens to
//! shells when it takes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::path::{Path, PathBuf};
use std::process::Command;

use gateway_support::{PATIENCE, Settings, World, exec_path, unused_dir};
use periscope_server::gateway::audit::{AuditKey, DatabaseOptions, find, query::Filter, verify};
use periscope_server::sandbox::Fault;
use rusqlite::Connection;
use serde_json::{Value, json};

/// A folder for a database, removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let dir = unused_dir();
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn db(&self) -> PathBuf {
        self.0.join("audit.db")
    }

    fn settings(&self, is_required: bool) -> Settings {
        Settings {
            database: Some(DatabaseOptions {
                is_required,
                ..DatabaseOptions::new(self.db())
            }),
            ..Settings::default()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// All rows, oldest first.
fn stored(path: &Path) -> Vec<Value> {
    let filter = Filter {
        limit: 500,
        ..Filter::new()
    };
    let page = find(path, &filter).unwrap();
    let mut rows: Vec<Value> = page
        .items
        .iter()
        .map(|item| serde_json::from_str(item.get()).unwrap())
        .collect();
    rows.sort_by_key(|row| row["seq"].as_i64());
    rows
}

fn verbs(rows: &[Value]) -> Vec<&str> {
    let verbs = rows.iter().map(|row| row["verb"].as_str().unwrap());
    verbs.map(|verb| verb.rsplit('.').next().unwrap()).collect()
}

/// Nothing that was typed or printed is in the database, its write-ahead log or beside them.
fn no_canary(folder: &Folder) {
    let mut files = 0;
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let has_canary = bytes.windows(6).any(|window| window == b"canary");
        assert!(!has_canary, "{}", path.display());
        files += usize::from(bytes.windows(5).any(|window| window == b"shell"));
    }
    assert!(files > 0, "the files that hold the rows are among them");
}

/// Resolves once so many rows are in the file.
async fn wait_for_rows(world: &World, count: i64) {
    let wait = async {
        while world.get("/api/audit?limit=0").await.json()["total"] != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("that many rows in time");
}

#[tokio::test]
async fn the_api_finds_what_stdout_says_and_refuses_what_it_does_not_understand() {
    let folder = Folder::new();
    let world = World::start(folder.settings(false)).await;
    let mut shell = world.shell("modern", "shell", "").await;
    shell.type_in("echo canary$((70+7))typed; exit 3\n").await;
    shell.shows("canary77typed").await;
    shell.closed().await;
    wait_for_rows(&world, 2).await;
    world.refused(&exec_path("locked", "shell", ""), &[]).await;
    wait_for_rows(&world, 3).await;

    no_canary(&folder);
    let answer = world.get("/api/audit").await;
    assert_eq!(
        (answer.status, answer.headers["x-audit-scope"].as_str()),
        (200, "all")
    );
    let page = answer.json();
    assert_eq!(
        (&page["total"], &page["limit"], &page["offset"]),
        (&json!(3), &json!(100), &json!(0))
    );
    let items = page["items"].as_array().unwrap().clone();
    assert_eq!(
        verbs(&items),
        ["session_denied", "session_end", "session_start"]
    );
    let id = items[1]["session_id"].as_str().unwrap();
    // Two rows may be of the same millisecond.
    let newest = items[0]["timestamp"].as_str().unwrap();
    let of_newest = items.iter().filter(|row| row["timestamp"] == newest);
    let not_before: Vec<i64> = of_newest.map(|row| row["seq"].as_i64().unwrap()).collect();
    for (query, expected) in [
        ("verb=pod.exec.session_end", vec![2]),
        ("outcome=denied", vec![3]),
        ("cluster=modern", vec![2, 1]),
        ("actor=ann&limit=1&offset=1", vec![2]),
        ("actor=bob", vec![]),
        (&format!("session={id}"), vec![2, 1]),
        (
            "verb=&actor=&outcome=&cluster=&namespace=&pod=&session=&from=&to=&limit=&offset=",
            vec![3, 2, 1],
        ),
        (
            &format!("to={}", items[2]["timestamp"].as_str().unwrap()),
            vec![],
        ),
        (&format!("from={newest}"), not_before),
    ] {
        let page = world.get(&format!("/api/audit?{query}")).await.json();
        let seqs: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["seq"].as_i64().unwrap())
            .collect();
        assert_eq!(seqs, expected, "{query}");
    }
    for query in [
        "limit=501",
        "limit=x",
        "offset=-1",
        "from=yesterday",
        "pod=a&pod=b",
    ] {
        let refusal = world.get(&format!("/api/audit?{query}")).await.refusal();
        assert_eq!(refusal, (400, "E_INVALID_REQUEST".to_owned()), "{query}");
    }
    assert_eq!(
        world.anonymous("GET", "/api/audit", &[], "").await.status,
        401
    );

    // The file says what stdout says, and nothing that was typed or printed.
    let mut lines = world.final_audit();
    assert_eq!(lines.pop().unwrap()["verb"], "audit.head");
    let mut rows = stored(&folder.db());
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("seq");
    }
    assert_eq!(rows, lines);
    no_canary(&folder);
    assert!(verify::verify(&folder.db(), None, None).unwrap().is_ok());
}

#[tokio::test]
async fn without_a_database_there_is_no_audit_to_ask() {
    let world = World::start(Settings::default()).await;
    let refusal = world.get("/api/audit").await.refusal();
    assert_eq!(refusal, (404, "E_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_database_that_takes_nothing_holds_up_no_shell_unless_it_is_required() {
    let folder = Folder::new();
    let world = World::start(folder.settings(false)).await;
    let other = Connection::open(folder.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut shell = world.shell("modern", "shell", "").await;
    shell.type_in("exit 4\n").await;
    assert_eq!(shell.closed().await["exitCode"], 4);
    world.wait_for_sessions(0).await;
    // Reading goes on, too.
    assert_eq!(world.get("/api/audit").await.json()["total"], 0);
    other.execute_batch("ROLLBACK").unwrap();
    wait_for_rows(&world, 2).await;
}

#[tokio::test]
async fn in_required_mode_the_intent_comes_first_and_every_intent_has_its_end() {
    let folder = Folder::new();
    let world = World::start(folder.settings(true)).await;
    let mut shell = world
        .handshake(&exec_path("modern", "shell", ""), &[])
        .await
        .unwrap();
    // The handshake was answered: the row is there.
    assert_eq!(verbs(&stored(&folder.db()))[0], "session_intent");
    shell.message("hello").await;
    shell.type_in("exit 0\n").await;
    shell.closed().await;
    world.wait_for_sessions(0).await;
    // A dry run leaves nothing.
    assert_eq!(
        world.get(&exec_path("modern", "shell", "")).await.status,
        200
    );
    // One that is refused before it needs a record leaves the refusal only.
    world.refused(&exec_path("locked", "shell", ""), &[]).await;
    world.final_audit();
    let rows = stored(&folder.db());
    assert_eq!(
        verbs(&rows),
        [
            "session_intent",
            "session_start",
            "session_end",
            "session_denied"
        ]
    );
    let ids: Vec<_> = rows[..3].iter().map(|row| &row["session_id"]).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    assert_eq!(rows[0]["command"], rows[1]["command"]);
    assert_eq!(rows[0]["k8s_identity"], rows[1]["k8s_identity"]);
    assert_eq!(rows[0]["transport"], Value::Null);
}

#[tokio::test]
async fn an_intent_whose_shell_never_came_up_has_an_end_beside_the_refusal() {
    let folder = Folder::new();
    let settings = Settings {
        faults: vec![Fault::RefuseAll],
        ..folder.settings(true)
    };
    let world = World::start(settings).await;
    // The review says yes, and the exec itself no.
    let opened = world
        .handshake(&exec_path("modern", "shell", "?container=app"), &[])
        .await;
    if let Ok(mut shell) = opened {
        shell.closed().await;
    }
    world.wait_for_sessions(0).await;
    world.final_audit();
    let rows = stored(&folder.db());
    let intents = rows
        .iter()
        .filter(|row| row["verb"] == "pod.exec.session_intent")
        .count();
    let ends: Vec<_> = rows
        .iter()
        .filter(|row| row["verb"] == "pod.exec.session_end")
        .collect();
    assert_eq!(intents, ends.len(), "{rows:?}");
    assert!(verbs(&rows).contains(&"session_denied"), "{rows:?}");
    for end in ends {
        assert_eq!(end["started_at"], Value::Null);
        assert_eq!(end["duration_ms"], Value::Null);
        assert_eq!(end["outcome"], "failure");
    }
}

#[tokio::test]
async fn in_required_mode_a_database_that_takes_nothing_refuses_shells_and_spares_open_ones() {
    let folder = Folder::new();
    let world = World::start(folder.settings(true)).await;
    let mut open = world.shell("modern", "shell", "").await;
    // The start that follows the hello is on its way.
    wait_for_rows(&world, 2).await;
    let other = Connection::open(folder.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = world.refused(&exec_path("modern", "shell", ""), &[]).await;
    assert_eq!(refused.refusal(), (503, "E_AUDIT".to_owned()));
    assert!(refused.headers["retry-after"].parse::<u64>().unwrap() > 0);
    let dry_run = world.get(&exec_path("modern", "shell", "")).await;
    assert_eq!(dry_run.refusal(), (503, "E_AUDIT".to_owned()));
    assert_eq!(world.sessions().await.len(), 1, "the slot is given back");
    open.type_in("echo still$((40+2))here; exit 0\n").await;
    open.shows("still42here").await;
    open.closed().await;
    other.execute_batch("ROLLBACK").unwrap();
    // It works again at once, and what came too late has its end.
    let mut shell = world.shell("modern", "shell", "").await;
    shell.type_in("exit 0\n").await;
    shell.closed().await;
    world.wait_for_sessions(0).await;
    world.final_audit();
    let rows = stored(&folder.db());
    let with = |verb: &'static str| rows.iter().filter(move |row| row["verb"] == verb);
    assert_eq!(with("pod.exec.session_intent").count(), 3);
    let details: Vec<_> = with("pod.exec.session_end")
        .map(|row| row["close_detail"].as_str().unwrap())
        .collect();
    let mut sorted = details.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["audit", "process_exit", "process_exit"]);
    let denied: Vec<_> = with("pod.exec.session_denied")
        .map(|row| row["code"].as_str().unwrap())
        .collect();
    assert_eq!(denied, ["E_AUDIT"]);
}

#[tokio::test]
async fn a_drain_leaves_no_row_behind_and_counts_those_it_cannot_write() {
    let folder = Folder::new();
    let mut world = World::start(folder.settings(false)).await;
    let _shell = world.shell("modern", "shell", "").await;
    let left = world.drain(std::future::ready(())).await;
    assert_eq!((left.records, left.sessions), (0, 0));
    let rows = stored(&folder.db());
    assert_eq!(verbs(&rows), ["session_start", "session_end"]);
    assert_eq!(rows[1]["close_detail"], "drain");

    let folder = Folder::new();
    let mut world = World::start(folder.settings(false)).await;
    let other = Connection::open(folder.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let _shell = world.shell("modern", "shell", "").await;
    let left = world.drain(std::future::ready(())).await;
    assert_eq!((left.records, left.sessions), (2, 0));
}

/// Runs `periscope audit …` on a file. Returns exit code, stdout and stderr.
fn periscope(arguments: &[&str], path: &Path, key: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_periscope"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PERISCOPE_") {
            command.env_remove(name);
        }
    }
    command.arg("audit").args(arguments);
    command.env("PERISCOPE_AUDIT_DB_PATH", path);
    if let Some(key) = key {
        command.env("PERISCOPE_AUDIT_KEY", key);
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn the_command_line_verifies_and_finds_beside_a_running_gateway_and_after_it() {
    let folder = Folder::new();
    let mut settings = folder.settings(false);
    settings.database.as_mut().unwrap().key = Some(AuditKey::new("a secret"));
    let world = World::start(settings).await;
    for cluster in ["locked", "nowhere"] {
        world.refused(&exec_path(cluster, "shell", ""), &[]).await;
    }
    let mut shell = world.shell("modern", "shell", "").await;
    shell.type_in("exit 0\n").await;
    shell.closed().await;
    wait_for_rows(&world, 4).await;
    let (db, key) = (folder.db(), Some("a secret"));

    let (code, stdout, _) = periscope(&["verify"], &db, key);
    assert!(
        code == 0 && stdout.starts_with("intact: 4 rows from 1 on"),
        "{stdout}"
    );
    let lines = world.final_audit();
    let head = lines.last().unwrap();
    let head = format!("{}:{}", head["seq"], head["hash"].as_str().unwrap());
    let (code, stdout, _) = periscope(&["verify", "--head", &head], &db, key);
    assert!(code == 0 && stdout.contains(&head), "{stdout}");
    let (code, _, stderr) = periscope(&["verify"], &db, None);
    assert!(
        code == 3 && stderr.contains("PERISCOPE_AUDIT_KEY"),
        "{stderr}"
    );
    assert_eq!(periscope(&["verify", "--head", "4"], &db, key).0, 2);
    let elsewhere = folder.0.join("none");
    let elsewhere = ["verify", "--db", elsewhere.to_str().unwrap()];
    assert_eq!(periscope(&elsewhere, &db, key).0, 3);

    let (code, stdout, _) = periscope(&["query", "--verb", "pod.exec.session_denied"], &db, None);
    let found: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((code, found.len()), (0, 2));
    assert_eq!(
        (&found[0]["cluster"], &found[1]["seq"]),
        (&json!("nowhere"), &json!(1))
    );
    let (code, stdout, _) = periscope(&["query", "--format", "table", "--limit", "1"], &db, None);
    let table: Vec<_> = stdout.lines().collect();
    assert_eq!(
        (code, table.len(), table[2]),
        (0, 3, "1 of 4 rows"),
        "{stdout}"
    );
    assert!(table[1].contains("process_exit"), "{stdout}");
    assert_eq!(periscope(&["query", "--limit", "501"], &db, None).0, 2);
    assert_eq!(periscope(&["query", "--from", "yesterday"], &db, None).0, 2);

    let sql = Connection::open(&db).unwrap();
    sql.execute("UPDATE events SET pod = 'other' WHERE seq = 3", [])
        .unwrap();
    let (code, stdout, _) = periscope(&["verify"], &db, key);
    assert_eq!((code, stdout.as_str()), (1, "tampered: row 3 was edited\n"));
}
