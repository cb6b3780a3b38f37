//! The database from the outside of this module: what is written, kept, found, and noticed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use uuid::Uuid;

use super::query::Filter;
use super::record::tests::{denied, ended, started};
use super::row::Row;
use super::verify::{Intact, Tampering, Unverifiable, verify};
use super::*;

mod files;
mod pruning;

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder of its own, removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("periscope-audit-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn db(&self) -> PathBuf {
        self.0.join("audit.db")
    }

    fn options(&self) -> DatabaseOptions {
        DatabaseOptions {
            ownership_wait: Duration::ZERO,
            ..DatabaseOptions::new(self.db())
        }
    }

    fn start(&self) -> Audit {
        start(self.options())
    }

    fn sql(&self) -> Connection {
        Connection::open(self.db()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn start(options: DatabaseOptions) -> Audit {
    Audit::start(Box::new(io::sink()), Some(options)).unwrap()
}

fn refused(options: DatabaseOptions) -> String {
    let audit = Audit::start(Box::new(io::sink()), Some(options));
    audit.expect_err("a refusal").to_string()
}

fn close(audit: Audit) {
    assert_eq!(audit.close(PATIENCE), 0, "everything is written");
    drop(audit);
}

fn rows(path: &Path, filter: &Filter) -> Vec<Value> {
    let page = find(path, filter).unwrap();
    let parsed = page
        .items
        .iter()
        .map(|item| serde_json::from_str(item.get()).unwrap());
    parsed.collect()
}

fn count(path: &Path) -> i64 {
    find(path, &Filter::new()).unwrap().total
}

/// One session with a start and an end.
fn session(audit: &Audit, number: u128) {
    let start = started(Uuid::from_u128(number));
    audit.record(&start);
    audit.record(&ended(&start));
}

fn checked(
    folder: &Folder,
    key: Option<&AuditKey>,
    head: Option<Head>,
) -> Result<Intact, Tampering> {
    verify(&folder.db(), key, head).unwrap()
}

#[test]
fn ten_thousand_records_under_load_are_ten_thousand_rows_in_order() {
    let folder = Folder::new();
    let audit = folder.start();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let audit = &audit;
            scope.spawn(move || {
                for number in 0..1250 {
                    let sub = format!("sub{thread}");
                    let mut record = denied(&sub, "E_CAP_USER");
                    record.count = Some(number);
                    audit.record(&record);
                }
            });
        }
        // Reading does not hold the writer up, nor the other way round.
        for _ in 0..20 {
            assert!(count(&folder.db()) <= 10_000);
        }
    });
    close(audit);
    let sql = folder.sql();
    let mut statement = sql
        .prepare("SELECT seq, actor, denied_bodies.body FROM events JOIN denied_bodies USING (seq) ORDER BY seq")
        .unwrap();
    let mut found = statement.query([]).unwrap();
    let (mut seq, mut next) = (0, [0; 8]);
    while let Some(row) = found.next().unwrap() {
        seq += 1;
        assert_eq!(row.get::<_, i64>(0).unwrap(), seq);
        let thread: usize = row.get::<_, String>(1).unwrap()[3..].parse().unwrap();
        let body: Value = serde_json::from_str(&row.get::<_, String>(2).unwrap()).unwrap();
        assert_eq!(body["count"], next[thread], "in the order of its thread");
        next[thread] += 1;
    }
    assert_eq!((seq, next), (10_000, [1250; 8]));
    assert_eq!(checked(&folder, None, None).unwrap().rows, 10_000);
}

#[test]
fn rows_are_the_lines_of_stdout_and_the_head_comes_last() {
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (folder, lines) = (Folder::new(), Lines::default());
    let audit = Audit::start(Box::new(lines.clone()), Some(folder.options())).unwrap();
    session(&audit, 1);
    close(audit);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let sql = folder.sql();
    let mut statement = sql.prepare("SELECT body FROM events ORDER BY seq").unwrap();
    let bodies = statement.query_map([], |row| row.get(0)).unwrap();
    let bodies: Vec<String> = bodies.map(Result::unwrap).collect();
    assert_eq!(bodies, lines[..2]);
    let head: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(
        (&head["verb"], lines.len()),
        (&Value::from("audit.head"), 3)
    );
    let head: Head = format!("{}:{}", head["seq"], head["hash"].as_str().unwrap())
        .parse()
        .unwrap();
    assert_eq!(checked(&folder, None, Some(head)).unwrap().head, head);
}

/// Something a person with access to the file could do, and what is to be said about it.
type Tamper = (&'static str, &'static str, Tampering);

/// Rows 1 to 6: three sessions.
const TAMPERS: [Tamper; 10] = [
    (
        "a member of the body",
        "UPDATE events SET body = replace(body, 'web-0', 'web-1') WHERE seq = 3",
        Tampering::Edited(3),
    ),
    (
        "a column",
        "UPDATE events SET actor = 'bob' WHERE seq = 4",
        Tampering::Edited(4),
    ),
    (
        "a row made to look as if retention had emptied it",
        "UPDATE events SET at = NULL, outcome = NULL, actor = NULL, cluster = NULL, namespace = NULL,
         pod = NULL, session = NULL, body = NULL WHERE seq = 3",
        Tampering::Edited(3),
    ),
    (
        "a verb",
        "UPDATE events SET verb = 'pod.exec.session_denied', body = replace(body, 'session_start', 'session_denied') WHERE seq = 5",
        Tampering::Edited(5),
    ),
    (
        "a row in the middle removed",
        "DELETE FROM events WHERE seq = 3",
        Tampering::Removed(3),
    ),
    (
        "the first rows removed",
        "DELETE FROM events WHERE seq <= 2",
        Tampering::Removed(1),
    ),
    (
        "a row removed and the others moved up",
        "DELETE FROM events WHERE seq = 3; UPDATE events SET seq = seq - 1 WHERE seq > 3;",
        Tampering::Edited(3),
    ),
    (
        "two rows swapped",
        "UPDATE events SET seq = 100 WHERE seq = 2; UPDATE events SET seq = 2 WHERE seq = 5; UPDATE events SET seq = 5 WHERE seq = 100;",
        Tampering::Reordered { seq: 2, found_at: 5 },
    ),
    (
        "the end removed",
        "DELETE FROM events WHERE seq >= 5",
        Tampering::Cut { last: 4, expected: 6 },
    ),
    (
        "everything removed",
        "DELETE FROM events",
        Tampering::Cut { last: 0, expected: 6 },
    ),
];

#[test]
fn the_first_bad_row_is_named_with_and_without_a_key() {
    for key in [None, Some(AuditKey::new("a secret"))] {
        for (what, sql, expected) in TAMPERS {
            let folder = Folder::new();
            let audit = start(DatabaseOptions {
                key: key.clone(),
                ..folder.options()
            });
            (1..=3).for_each(|number| session(&audit, number));
            close(audit);
            let intact = checked(&folder, key.as_ref(), None).unwrap();
            assert_eq!((intact.rows, intact.first, intact.head.seq), (6, 1, 6));
            folder.sql().execute_batch(sql).unwrap();
            assert_eq!(
                checked(&folder, key.as_ref(), None),
                Err(expected),
                "{what}"
            );
        }
    }
}

#[test]
fn a_refused_attempt_that_was_edited_or_emptied_is_named_too() {
    for sql in [
        "UPDATE denied_bodies SET body = replace(body, 'ann', 'bob')",
        "DELETE FROM denied_bodies",
        "DELETE FROM denied_bodies; UPDATE events SET at = NULL, outcome = NULL, actor = NULL,
         cluster = NULL, namespace = NULL, pod = NULL, session = NULL",
    ] {
        let folder = Folder::new();
        let audit = folder.start();
        audit.record(&denied("ann", "E_CAP_USER"));
        close(audit);
        folder.sql().execute_batch(sql).unwrap();
        assert_eq!(
            checked(&folder, None, None),
            Err(Tampering::Edited(1)),
            "{sql}"
        );
    }
}

/// What somebody can do who knows the form: without a key, compute the chain anew from a row on.
fn forge(folder: &Folder, from: i64, pod: &str) {
    let sql = folder.sql();
    let hasher = chain::Hasher::new(None);
    let before = "SELECT hash FROM events WHERE seq = ?1";
    let before: Vec<u8> = sql.query_row(before, [from - 1], |row| row.get(0)).unwrap();
    let mut head = Head {
        seq: from - 1,
        hash: Hash::from_slice(&before).unwrap(),
    };
    let mut statement = sql
        .prepare("SELECT body FROM events WHERE seq >= ?1 ORDER BY seq")
        .unwrap();
    let bodies = statement.query_map([from], |row| row.get(0)).unwrap();
    let bodies: Vec<String> = bodies.map(Result::unwrap).collect();
    sql.execute("DELETE FROM events WHERE seq >= ?1", [from])
        .unwrap();
    for body in bodies {
        let body: Arc<str> = body.replace("web-0", pod).into();
        let columns = row::Columns::of_body(&body).unwrap();
        writer::append(&sql, &mut head, &hasher, &Row { columns, body }).unwrap();
    }
}

#[test]
fn a_chain_computed_anew_is_caught_by_a_head_kept_elsewhere_and_by_a_key() {
    let folder = Folder::new();
    let audit = folder.start();
    (1..=3).for_each(|number| session(&audit, number));
    close(audit);
    let kept = checked(&folder, None, None).unwrap().head;
    forge(&folder, 3, "web-1");
    // Without a key and without a head nobody can tell.
    assert_eq!(checked(&folder, None, None).unwrap().rows, 6);
    assert_eq!(
        checked(&folder, None, Some(kept)),
        Err(Tampering::OtherHead(6))
    );

    let (folder, key) = (Folder::new(), AuditKey::new("a secret"));
    let audit = start(DatabaseOptions {
        key: Some(key.clone()),
        ..folder.options()
    });
    (1..=3).for_each(|number| session(&audit, number));
    close(audit);
    forge(&folder, 3, "web-1");
    assert_eq!(
        checked(&folder, Some(&key), None),
        Err(Tampering::Edited(3))
    );
    folder
        .sql()
        .execute("UPDATE chain SET key_id = NULL", [])
        .unwrap();
    assert_eq!(checked(&folder, Some(&key), None), Err(Tampering::NoKey));
}

#[test]
fn an_end_cut_off_with_the_note_of_it_is_caught_by_a_head_kept_elsewhere() {
    let folder = Folder::new();
    let audit = folder.start();
    (1..=3).for_each(|number| session(&audit, number));
    close(audit);
    let kept = checked(&folder, None, None).unwrap().head;
    let cut = "DELETE FROM events WHERE seq > 4;
        UPDATE chain SET seq = 4, hash = (SELECT hash FROM events WHERE seq = 4)";
    folder.sql().execute_batch(cut).unwrap();
    assert_eq!(checked(&folder, None, None).unwrap().rows, 4);
    let expected = Err(Tampering::Cut {
        last: 4,
        expected: 6,
    });
    assert_eq!(checked(&folder, None, Some(kept)), expected);
}

#[test]
fn rows_cut_off_the_end_are_not_covered_up_by_what_is_written_next() {
    let folder = Folder::new();
    let audit = folder.start();
    (1..=3).for_each(|number| session(&audit, number));
    close(audit);
    folder
        .sql()
        .execute("DELETE FROM events WHERE seq > 4", [])
        .unwrap();
    let audit = folder.start();
    session(&audit, 4);
    close(audit);
    assert_eq!(checked(&folder, None, None), Err(Tampering::Removed(5)));
}

#[test]
fn a_key_that_is_missing_or_another_is_told_from_tampering() {
    let (folder, key) = (Folder::new(), AuditKey::new("a secret"));
    let audit = start(DatabaseOptions {
        key: Some(key.clone()),
        ..folder.options()
    });
    session(&audit, 1);
    close(audit);
    let missing = verify(&folder.db(), None, None);
    assert!(
        matches!(missing, Err(Unverifiable::KeyMissing(_))),
        "{missing:?}"
    );
    let other = verify(&folder.db(), Some(&AuditKey::new("another")), None);
    assert!(
        matches!(other, Err(Unverifiable::OtherKey { .. })),
        "{other:?}"
    );
    for key in [None, Some(AuditKey::new("another"))] {
        let refusal = refused(DatabaseOptions {
            key,
            ..folder.options()
        });
        assert!(refusal.contains("PERISCOPE_AUDIT_KEY"), "{refusal}");
    }
}

#[test]
fn what_a_process_took_down_with_it_has_an_end_before_anything_else_is_written() {
    let folder = Folder::new();
    let audit = folder.start();
    session(&audit, 1);
    audit.record(&started(Uuid::from_u128(2)));
    let start = started(Uuid::from_u128(3));
    for id in [3, 4] {
        audit.record(&Record::intent(
            Uuid::from_u128(id),
            Uuid::from_u128(9),
            &start.shell,
        ));
    }
    audit.record(&start);
    close(audit);
    let audit = folder.start();
    session(&audit, 5);
    close(audit);
    let all = rows(
        &folder.db(),
        &Filter {
            limit: 500,
            ..Filter::new()
        },
    );
    let ends = |session: u128| {
        let id = Uuid::from_u128(session).to_string();
        let of_session = all.iter().filter(|row| row["session_id"] == id.as_str());
        let ends = of_session.filter(|row| row["verb"] == "pod.exec.session_end");
        ends.map(|row| {
            (
                row["close_detail"].as_str().unwrap(),
                !row["started_at"].is_null(),
            )
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(ends(1), [("process_exit", true)]);
    assert_eq!(ends(2), [("gateway_crash", true)]);
    assert_eq!(
        ends(3),
        [("gateway_crash", true)],
        "one end, and it knows the start"
    );
    assert_eq!(ends(4), [("gateway_crash", false)]);
    assert_eq!(ends(5), [("process_exit", true)]);
    // And no more of them the next time.
    close(folder.start());
    assert_eq!(count(&folder.db()), i64::try_from(all.len()).unwrap());
    assert!(checked(&folder, None, None).is_ok());
}

#[test]
fn filters_find_exactly_what_they_say_newest_first() {
    let folder = Folder::new();
    // These rows may be old by now.
    let audit = start(DatabaseOptions {
        retention: Duration::from_hours(24 * 36_500),
        ..folder.options()
    });
    for (number, second) in [(1, 10), (2, 30), (3, 20)] {
        let mut start = started(Uuid::from_u128(number));
        start.timestamp = format!("2026-01-02T03:04:{second}.000Z");
        audit.record(&start);
    }
    let mut refused = denied("bob", "E_CAP_USER");
    refused.timestamp = "2026-01-02T03:04:40.000Z".to_owned();
    audit.record(&refused);
    // The running process's own sessions have no end yet, and get none here.
    assert_eq!(audit.close(PATIENCE), 0);
    let seqs = |query: &str| {
        let filter = Filter::from_query(query).unwrap();
        let found = rows(&folder.db(), &filter);
        let seqs = found.iter().map(|row| row["seq"].as_i64().unwrap());
        (
            seqs.collect::<Vec<_>>(),
            find(&folder.db(), &filter).unwrap().total,
        )
    };
    assert_eq!(seqs(""), (vec![4, 2, 3, 1], 4));
    assert_eq!(seqs("limit=2"), (vec![4, 2], 4));
    assert_eq!(seqs("limit=2&offset=3"), (vec![1], 4));
    assert_eq!(seqs("limit=0"), (vec![], 4));
    assert_eq!(seqs("verb=pod.exec.session_start"), (vec![2, 3, 1], 3));
    assert_eq!(seqs("verb=pod.exec"), (vec![], 0), "exact match");
    assert_eq!(seqs("actor=bob"), (vec![4], 1));
    assert_eq!(seqs("outcome=denied"), (vec![4], 1));
    assert_eq!(
        seqs("cluster=modern&namespace=demo&pod=web-0&actor=ann"),
        (vec![2, 3, 1], 3)
    );
    assert_eq!(seqs("pod=web"), (vec![], 0));
    assert_eq!(
        seqs(&format!("session={}", Uuid::from_u128(3))),
        (vec![3], 1)
    );
    // From inclusive, to exclusive.
    assert_eq!(
        seqs("from=2026-01-02T03:04:20Z&to=2026-01-02T03:04:40Z"),
        (vec![2, 3], 2)
    );
    assert_eq!(seqs("actor=%27%20OR%20%271%27%3D%271"), (vec![], 0));
    let own = Filter {
        only_of: Some("bob".to_owned()),
        actor: Some("ann".to_owned()),
        ..Filter::new()
    };
    assert_eq!(rows(&folder.db(), &own), Vec::<Value>::new());
}
