//! What goes when it is too old or too much, and what stays.

use super::*;

#[test]
fn rows_that_are_too_old_go_and_the_chain_starts_at_a_checkpoint() {
    let folder = Folder::new();
    let audit = folder.start();
    (1..=3).for_each(|number| session(&audit, number));
    close(audit);
    let old_head = checked(&folder, None, None).unwrap().head;
    std::thread::sleep(Duration::from_millis(5));
    let young = DatabaseOptions {
        retention: Duration::from_millis(1),
        ..folder.options()
    };
    let audit = start(young);
    let until = Instant::now() + PATIENCE;
    while checked(&folder, None, None).unwrap().first == 1 && Instant::now() < until {
        std::thread::yield_now();
    }
    close(audit);
    let intact = checked(&folder, None, None).unwrap();
    // The newest row stays, because the next one follows it.
    assert!(intact.first >= 6, "{intact:?}");
    let verb = Some("audit.checkpoint".to_owned());
    let checkpoints = rows(
        &folder.db(),
        &Filter {
            verb,
            ..Filter::new()
        },
    );
    assert_eq!(checkpoints[0]["first_seq"], intact.first);
    let forgotten = verify(&folder.db(), None, Some(Head { seq: 1, ..old_head }));
    assert!(
        matches!(forgotten, Err(Unverifiable::HeadForgotten { .. })),
        "{forgotten:?}"
    );
    folder
        .sql()
        .execute("DELETE FROM events WHERE seq = ?1", [intact.first])
        .unwrap();
    assert_eq!(
        checked(&folder, None, None),
        Err(Tampering::Removed(intact.first))
    );
}

#[test]
fn a_file_that_is_too_large_loses_refused_attempts_first_and_the_chain_stays_whole() {
    let folder = Folder::new();
    let audit = folder.start();
    for number in 1..=200 {
        session(&audit, number);
        (0..4).for_each(|_| audit.record(&denied("ann", "E_CAP_USER")));
    }
    close(audit);
    let before = checked(&folder, None, None).unwrap();
    let kept = before.head;
    let bytes = retention::used_bytes(&folder.sql()).unwrap();
    let shrink = |bytes_max| {
        let audit = start(DatabaseOptions {
            bytes_max,
            ..folder.options()
        });
        let used = || retention::used_bytes(&folder.sql()).unwrap();
        let until = Instant::now() + PATIENCE;
        while used() > bytes_max && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(used() <= bytes_max, "{} is too large", used());
        close(audit);
        checked(&folder, None, Some(kept)).unwrap()
    };
    let verb = |verb: &str| {
        let verb = Some(verb.to_owned());
        find(
            &folder.db(),
            &Filter {
                verb,
                ..Filter::new()
            },
        )
        .unwrap()
        .total
    };
    let after = shrink(bytes / 10 * 9);
    assert!(after.emptied > 0, "{after:?}");
    assert_eq!(
        (after.first, verb("pod.exec.session_start")),
        (1, 200),
        "sessions stay"
    );
    assert_eq!(
        u64::try_from(verb("pod.exec.session_denied")).unwrap(),
        800 - after.emptied
    );
    // Still less room: the last refused attempts go, then the oldest sessions.
    let after = shrink(bytes / 3);
    assert_eq!(verb("pod.exec.session_denied"), 0);
    assert!(after.first > 1, "{after:?}");
    let newest = rows(
        &folder.db(),
        &Filter {
            verb: Some("pod.exec.session_end".to_owned()),
            ..Filter::new()
        },
    );
    assert_eq!(newest[0]["session_id"], Uuid::from_u128(200).to_string());
    // And what was emptied cannot be told from nothing.
    folder
        .sql()
        .execute(
            "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events WHERE at IS NULL)",
            [],
        )
        .unwrap();
    assert!(matches!(
        checked(&folder, None, None),
        Err(Tampering::Removed(_))
    ));
}

#[test]
fn space_that_is_free_goes_back_to_the_file_system() {
    let folder = Folder::new();
    let audit = folder.start();
    (0..2000).for_each(|_| audit.record(&denied("ann", "E_CAP_USER")));
    close(audit);
    let size = || std::fs::metadata(folder.db()).unwrap().len();
    let before = size();
    let audit = start(DatabaseOptions {
        bytes_max: 256 * 1024,
        vacuum_interval: Duration::from_secs(1),
        ..folder.options()
    });
    let until = Instant::now() + PATIENCE;
    while size() >= before / 2 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(size() < before / 2, "{} of {before}", size());
    close(audit);
    assert!(checked(&folder, None, None).is_ok());
}
