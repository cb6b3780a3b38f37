//! Files that are locked, damaged, foreign, newer, or in a place where nothing can be written.

use super::*;

#[test]
fn a_lock_of_somebody_else_delays_rows_and_loses_none() {
    let folder = Folder::new();
    let audit = folder.start();
    session(&audit, 1);
    let until = Instant::now() + PATIENCE;
    while count(&folder.db()) < 2 && Instant::now() < until {
        std::thread::yield_now();
    }
    let other = folder.sql();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    session(&audit, 2);
    assert_eq!(audit.close(Duration::from_millis(600)), 2, "they wait");
    other.execute_batch("ROLLBACK").unwrap();
    close(audit);
    assert_eq!(count(&folder.db()), 4);
    assert!(checked(&folder, None, None).is_ok());
}

#[test]
fn a_file_that_is_locked_at_the_start_is_opened_later() {
    let folder = Folder::new();
    let audit = folder.start();
    audit.record(&started(Uuid::from_u128(1)));
    close(audit);
    let other = folder.sql();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let audit = folder.start();
    session(&audit, 2);
    assert!(audit.close(Duration::from_millis(100)) > 0);
    other.execute_batch("ROLLBACK").unwrap();
    close(audit);
    let verbs = rows(&folder.db(), &Filter::new())
        .iter()
        .map(|row| row["close_detail"].clone())
        .collect::<Vec<_>>();
    assert_eq!(verbs.len(), 4);
    assert!(verbs.contains(&Value::from("gateway_crash")), "{verbs:?}");
}

#[test]
fn a_sink_that_cannot_write_counts_what_it_loses() {
    let folder = Folder::new();
    let audit = folder.start();
    session(&audit, 1);
    let until = Instant::now() + PATIENCE;
    while count(&folder.db()) < 2 && Instant::now() < until {
        std::thread::yield_now();
    }
    let other = folder.sql();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sent = queue::ROWS_MAX + 1000;
    for _ in 0..sent {
        audit.record(&denied("ann", "E_CAP_USER"));
    }
    let tally = audit
        .tallies()
        .into_iter()
        .find(|tally| tally.sink == "sqlite")
        .unwrap();
    assert_eq!(tally.lost, 1000);
    other.execute_batch("ROLLBACK").unwrap();
    close(audit);
    let verb = Some("audit.gap".to_owned());
    let gaps = rows(
        &folder.db(),
        &Filter {
            verb,
            ..Filter::new()
        },
    );
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["count"], 1000);
    assert_eq!(
        usize::try_from(count(&folder.db())).unwrap(),
        2 + queue::ROWS_MAX + 1
    );
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_as_they_are() {
    let folder = Folder::new();
    let db = folder.db();
    close(folder.start());
    folder
        .sql()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let refusal = refused(folder.options());
    assert!(
        refusal.contains("version 99") && refusal.contains("newer"),
        "{refusal}"
    );
    let unreadable = verify(&db, None, None).unwrap_err().to_string();
    assert!(unreadable.contains("version 99"), "{unreadable}");
    let version: i64 = folder
        .sql()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 99);

    std::fs::remove_file(&db).unwrap();
    folder.sql().execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(refused(folder.options()).contains("not an audit database"));
    std::fs::write(&db, vec![7; 8192]).unwrap();
    assert!(refused(folder.options()).contains("not an audit database"));
    assert_eq!(std::fs::read(&db).unwrap(), vec![7; 8192]);
    assert!(verify(&db, None, None).is_err());
    assert!(verify(&folder.0.join("none"), None, None).is_err());
}

#[test]
fn a_damaged_file_is_refused_with_a_reason() {
    let folder = Folder::new();
    let audit = folder.start();
    (1..=100).for_each(|number| session(&audit, number));
    close(audit);
    let mut bytes = std::fs::read(folder.db()).unwrap();
    bytes[4096..].fill(0xA5);
    std::fs::write(folder.db(), bytes).unwrap();
    assert!(refused(folder.options()).contains("damaged"));
    assert!(verify(&folder.db(), None, None).is_err());
}

#[test]
fn a_folder_that_takes_no_file_is_an_error_that_names_it() {
    // Not even root may make files here.
    let refusal = refused(DatabaseOptions::new("/sys/audit.db".into()));
    assert!(refusal.contains("/sys/audit.db"), "{refusal}");
}

#[test]
fn a_second_owner_waits_and_gets_the_file_once_the_first_has_left() {
    let folder = Folder::new();
    let first = folder.start();
    session(&first, 1);
    assert!(refused(folder.options()).contains("another running process"));
    let options = DatabaseOptions {
        ownership_wait: PATIENCE,
        ..folder.options()
    };
    let second = std::thread::spawn(move || start(options));
    close(first);
    let second = second.join().unwrap();
    session(&second, 2);
    close(second);
    assert_eq!(count(&folder.db()), 4);
}

#[test]
fn only_its_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let audit = folder.start();
    session(&audit, 1);
    for name in ["audit.db", "audit.db-wal", "audit.db.lock"] {
        let mode = std::fs::metadata(folder.0.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    close(audit);
}

#[test]
fn a_copy_can_be_read_where_nothing_can_be_written() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let audit = folder.start();
    session(&audit, 1);
    close(audit);
    let mode =
        |mode| std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    let intact = verify(&folder.db(), None, None);
    mode(0o700);
    assert_eq!(intact.unwrap().unwrap().rows, 2);
}
