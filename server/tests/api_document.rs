//! docs/api/openapi.yaml, held against the server: every route is in it, and answers as it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway_support;

use std::collections::BTreeSet;

use gateway_support::{Answer, Settings, World};
use serde_json::{Map, Value};

fn document() -> Value {
    let text = include_str!("../../docs/api/openapi.yaml");
    serde_yaml::from_str(text).expect("YAML")
}

/// The paths of the router's table, parameters as `{}`.
fn routed() -> BTreeSet<String> {
    let source = include_str!("../src/gateway/routes.rs");
    let table = source.split("fn parse(").nth(1).unwrap();
    let table = table.split("_ => return None").next().unwrap();
    let arms = table.split("=>").filter_map(|arm| {
        let (_, pattern) = arm.rsplit_once('[')?;
        let (pattern, _) = pattern.split_once(']')?;
        Some(pattern)
    });
    let path = |pattern: &str| {
        let parts = pattern
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let part = |part: &str| {
            let literal = part
                .strip_prefix('"')
                .and_then(|part| part.strip_suffix('"'));
            format!("/{}", literal.unwrap_or("{}"))
        };
        format!("/api{}", parts.map(part).collect::<String>())
    };
    arms.map(path).collect()
}

/// A documented path with its parameters as `{}`.
fn bare(path: &str) -> String {
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.strip_prefix('#').unwrap())
            .expect(reference),
        None => value,
    }
}

/// The operations: path, method, operation.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete", "put", "patch"] {
            if let Some(operation) = item.get(method) {
                all.push((path.clone(), method.to_uppercase(), operation.clone()));
            }
        }
    }
    all
}

#[test]
fn every_route_of_the_server_is_documented_and_no_other() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<String> = paths
        .keys()
        .filter(|path| path.starts_with("/api/"))
        .map(|path| bare(path))
        .collect();
    let routed = routed();
    assert!(
        routed.len() >= 10,
        "the router's table is no longer found: {routed:?}"
    );
    assert_eq!(documented, routed);
    for health in ["/healthz", "/readyz", "/metrics"] {
        assert!(paths.contains_key(health), "{health}");
    }
}

/// Checks an answer against the operation: its status, its type, and what its JSON must have.
fn check(document: &Value, operation: &Value, answer: &Answer, what: &str) {
    let responses = &operation["responses"];
    let response = responses.get(answer.status.to_string()).unwrap_or_else(|| {
        panic!(
            "{what}: {} is not documented: {}",
            answer.status, answer.body
        )
    });
    let response = resolve(document, response);
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        return;
    };
    let (kind, content) = content.iter().next().unwrap();
    let sent = answer.headers["content-type"]
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(&sent, kind, "{what}");
    if kind == "application/json" {
        check_value(document, &content["schema"], &answer.json(), what);
    }
}

/// As much of JSON Schema as the document uses.
fn check_value(document: &Value, schema: &Value, value: &Value, what: &str) {
    let schema = resolve(document, schema);
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(
        kinds.is_empty() || kinds.contains(&kind),
        "{what}: {value} is no {kinds:?}"
    );
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(
            allowed.contains(value),
            "{what}: {value} is not in {allowed:?}"
        );
    }
    if let Some(items) = value.as_array() {
        for item in items {
            check_value(document, &schema["items"], item, what);
        }
    }
    if let Some(object) = value.as_object() {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(
                object.contains_key(required.as_str().unwrap()),
                "{what}: {required} is missing in {value}"
            );
        }
        for (key, value) in object {
            match properties.get(key) {
                Some(schema) => check_value(document, schema, value, &format!("{what}.{key}")),
                // A refusal may bring more along; everything else is written down.
                None => assert!(
                    properties.contains_key("error"),
                    "{what}: {key} is not documented"
                ),
            }
        }
    }
}

#[tokio::test]
async fn every_documented_route_answers_as_documented() {
    let world = World::start(Settings::default()).await;
    let document = document();
    let _shell = world.shell("modern", "shell", "").await;
    let can_i = r#"{"verb":"create","resource":"pods/exec","namespace":"default"}"#;
    for (path, method, operation) in operations(&document) {
        let what = format!("{method} {path}");
        // What is there, and what is not.
        for (cluster, namespace, pod) in [
            ("modern", "default", "shell"),
            ("locked", "default", "shell"),
            ("nowhere", "default", "shell"),
            ("modern", "default", "nothing"),
            ("modern", "NOT_A_NAME", "shell"),
        ] {
            let path = path
                .replace("{cluster}", cluster)
                .replace("{namespace}", namespace)
                .replace("{pod}", pod)
                .replace("{id}", "00000000-0000-0000-0000-000000000000");
            let body = if path.ends_with("/can-i") { can_i } else { "" };
            let headers = [("Content-Type", "application/json")];
            let headers = if body.is_empty() {
                &[][..]
            } else {
                &headers[..]
            };
            let answer = world.request(&method, &path, headers, body).await;
            check(&document, &operation, &answer, &what);
            let answer = world.anonymous(&method, &path, headers, body).await;
            check(
                &document,
                &operation,
                &answer,
                &format!("{what} without a login"),
            );
            let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
            let is_login = path.starts_with("/api/auth/");
            assert!(
                is_open || is_login || answer.status == 401,
                "{what}: {answer:?}"
            );
        }
    }
    let sessions = world.sessions().await;
    let id = sessions[0]["id"].as_str().unwrap();
    let answer = world
        .request("DELETE", &format!("/api/sessions/{id}"), &[], "")
        .await;
    assert_eq!(answer.status, 204);
}
