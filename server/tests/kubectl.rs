//! Real `kubectl` programs against the sandbox.

mod sandbox_support;

use sandbox_support::{Client, TestSandbox, old, spdy, websocket};

fn clients() -> [Client; 3] {
    [websocket(), spdy(), old()]
}

#[test]
fn kubectl_lists_pods_and_namespaces_of_every_cluster() {
    let sandbox = TestSandbox::start(&[]);
    for client in clients() {
        for context in ["modern", "legacy", "locked"] {
            let pods = sandbox.run(&client, context, &["get", "pods"]);
            assert_eq!(pods.code, Some(0), "{} {context}: {pods:?}", client.name);
            assert!(
                pods.stdout.starts_with("NAME         READY   STATUS"),
                "{pods:?}"
            );
            assert!(
                pods.stdout.contains("sidecar      2/2     Running"),
                "{pods:?}"
            );
            assert!(
                pods.stdout.contains("completed    0/1     Completed"),
                "{pods:?}"
            );
            let namespaces = sandbox.run(&client, context, &["get", "ns", "-o", "name"]);
            assert_eq!(
                namespaces.stdout, "namespace/default\nnamespace/kube-system\nnamespace/team-a\n",
                "{namespaces:?}"
            );
        }
    }
}

#[test]
fn kubectl_asks_what_impersonated_tiers_may_do() {
    let sandbox = TestSandbox::start(&[]);
    for client in clients() {
        for (group, answer) in [
            ("periscope-tier:read", "no"),
            ("periscope-tier:triage", "yes"),
            ("others", "no"),
        ] {
            let question = [
                "auth",
                "can-i",
                "create",
                "pods",
                "--subresource=exec",
                "--as",
                "ada",
                "--as-group",
                group,
            ];
            let run = sandbox.run(&client, "modern", &question);
            assert_eq!(
                run.stdout.trim(),
                answer,
                "{} {group}: {run:?}",
                client.name
            );
        }
    }
}

#[test]
fn a_forbidden_question_is_refused_in_the_apiservers_words() {
    let sandbox = TestSandbox::start(&[]);
    for client in clients() {
        let run = sandbox.run(&client, "modern", &["get", "pods", "--as", "alice"]);
        assert_eq!(run.code, Some(1));
        assert_eq!(
            run.stderr,
            "Error from server (Forbidden): pods is forbidden: User \"alice\" cannot list resource \"pods\" in API \
             group \"\" in the namespace \"default\"\n",
            "{}",
            client.name
        );
    }
}
