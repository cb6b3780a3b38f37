use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::super::kube::{Credentials, Endpoint, KubeClient};
use super::super::registry::{Backend, ExecSettings};
use super::*;

fn cluster(name: &str, per_user: u32, total: u32) -> Cluster {
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 1,
        path_prefix: String::new(),
        tls: None,
        is_unverified: false,
    };
    Cluster {
        name: name.to_owned(),
        backend: Backend::Sandbox,
        region: None,
        arn: None,
        environment: None,
        tags: None,
        exec: ExecSettings {
            sessions_per_user_max: per_user,
            sessions_total_max: total,
            ..ExecSettings::default()
        },
        kube: KubeClient::new(endpoint, Credentials::None),
    }
}

fn target<'a>(sub: &'a str, cluster: &'a Cluster) -> Target<'a> {
    Target {
        login: None,
        expires_at: None,
        sub,
        cluster,
        namespace: "demo",
        pod: "web-0",
        container: None,
        opens_per_minute: 0,
    }
}

fn viewer(sub: &str) -> Viewer<'_> {
    Viewer {
        sub,
        sees_all: false,
    }
}

#[tokio::test]
async fn a_user_sees_and_ends_their_own_sessions_and_an_audit_admin_everyones() {
    let sessions = Arc::new(Sessions::new());
    let prod = cluster("prod", 5, 50);
    let mut anns = sessions.reserve(&target("ann", &prod)).unwrap();
    let mut bobs = sessions.reserve(&target("bob", &prod)).unwrap();
    let ids = |viewer| {
        sessions
            .list(viewer)
            .iter()
            .map(|view| view.session.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(viewer("ann")), [anns.id()]);
    assert!(ids(viewer("eve")).is_empty());
    let admin = Viewer {
        sub: "root",
        sees_all: true,
    };
    assert_eq!(ids(admin), [anns.id(), bobs.id()]);

    assert!(
        sessions.end(bobs.id(), viewer("ann")).is_none(),
        "another's is as unknown"
    );
    assert!(sessions.end(Uuid::nil(), admin).is_none());
    assert!(sessions.end(anns.id(), viewer("ann")).is_some());
    let by = |sub: &str| Some(sub.to_owned());
    let order = anns.order().await;
    assert_eq!(
        order,
        Command {
            order: Order::End(CloseDetail::UserClose),
            by: by("ann")
        }
    );
    let gone = sessions.end(bobs.id(), admin).unwrap();
    let order = bobs.order().await;
    assert_eq!(
        order,
        Command {
            order: Order::End(CloseDetail::AdminKill),
            by: by("root")
        }
    );
    drop(bobs);
    gone.wait().await;
    assert_eq!(ids(admin), [anns.id()]);
}

#[tokio::test]
async fn a_full_cluster_tells_others_a_number_and_no_names() {
    let sessions = Arc::new(Sessions::new());
    let prod = cluster("prod", 5, 2);
    let ann = sessions.reserve(&target("ann", &prod)).unwrap();
    let _bob = sessions.reserve(&target("bob", &prod)).unwrap();
    let NoSlot::Cluster {
        limit: 2,
        own,
        other: 1,
    } = sessions.reserve(&target("ann", &prod)).unwrap_err()
    else {
        panic!("the cluster's cap");
    };
    assert_eq!(
        own.iter().map(|session| session.id).collect::<Vec<_>>(),
        [ann.id()]
    );
    assert_eq!(
        sessions.check(&target("eve", &prod)),
        Err(NoSlot::Cluster {
            limit: 2,
            own: Vec::new(),
            other: 2
        })
    );
    let elsewhere = cluster("dev", 5, 2);
    assert!(sessions.reserve(&target("eve", &elsewhere)).is_ok());
}

#[tokio::test]
async fn a_panic_gives_the_slot_back() {
    let sessions = Arc::new(Sessions::new());
    let prod = cluster("prod", 1, 1);
    let holding = catch_unwind(AssertUnwindSafe(|| {
        let _slot = sessions.reserve(&target("ann", &prod)).unwrap();
        assert_eq!(sessions.len(), 1);
        panic!("a session's task");
    }));
    assert!(holding.is_err());
    assert_eq!(sessions.len(), 0);
    sessions.wait_empty().await;
    assert!(sessions.reserve(&target("ann", &prod)).is_ok());
}

#[test]
fn many_threads_at_once_never_pass_a_cap() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let sessions = Arc::new(Sessions::new());
    let prod = cluster("prod", 3, 10);
    std::thread::scope(|scope| {
        for index in 0..8 {
            let (sessions, prod) = (&sessions, &prod);
            scope.spawn(move || {
                let sub = format!("user{}", index % 4);
                for _ in 0..200 {
                    let slot = sessions.reserve(&target(&sub, prod));
                    let own = sessions.list(viewer(&sub)).len();
                    assert!(own <= 3 && sessions.len() <= 10);
                    drop(slot);
                }
            });
        }
    });
    assert_eq!(sessions.len(), 0);
}

#[tokio::test]
async fn an_order_to_all_reaches_sessions_that_do_not_listen_yet() {
    let sessions = Arc::new(Sessions::new());
    let prod = cluster("prod", 5, 50);
    let mut slot = sessions.reserve(&target("ann", &prod)).unwrap();
    assert_eq!(sessions.order_drain(10), 1);
    for _ in 0..100 {
        sessions.order_end();
    }
    assert_eq!(
        slot.order().await,
        Command {
            order: Order::Drain { seconds: 10 },
            by: None
        }
    );
    assert_eq!(
        slot.order().await,
        Command {
            order: Order::End(CloseDetail::Drain),
            by: None
        }
    );
}

#[tokio::test(start_paused = true)]
async fn idle_time_counts_from_the_last_byte_and_not_before_the_shell_is_up() {
    let sessions = Arc::new(Sessions::new());
    let prod = cluster("prod", 5, 50);
    let slot = sessions.reserve(&target("ann", &prod)).unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(sessions.list(viewer("ann"))[0].idle_seconds, 0);
    slot.progress(|progress| {
        progress.active_at = Some(sessions.now());
        progress.phase = Some(Phase::Open);
    });
    tokio::time::advance(Duration::from_secs(7)).await;
    let view = &sessions.list(viewer("ann"))[0];
    assert_eq!((view.idle_seconds, view.state), (7, "open"));
}
