//! Captures as files: JSON lines, one for each read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One file.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) name: String,
    /// The exit code of `kubectl`; none for a bare request, which has none.
    pub(crate) kubectl_exit: Option<u8>,
    pub(crate) conversations: Vec<Conversation>,
}

/// One connection: a request, its answer, and what followed in either direction.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) request: Head,
    pub(crate) client_bytes: Vec<u8>,
    pub(crate) response: Head,
    /// After a refusal: its body.
    pub(crate) server_bytes: Vec<u8>,
}

/// An HTTP head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    /// With the empty line that ends it.
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// The names of all captures, sorted.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    names
}

impl Capture {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(name)).unwrap();
        let mut kubectl_exit = None;
        let mut connections: BTreeMap<u64, [Vec<u8>; 2]> = BTreeMap::new();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["meta"] == true {
                let by_kubectl = line["cmd"][0].as_str().unwrap().starts_with("kubectl");
                let exit = u8::try_from(line["rc"].as_u64().unwrap()).unwrap();
                kubectl_exit = by_kubectl.then_some(exit);
            } else if let Some(bytes) = line["b64"].as_str() {
                let both = connections
                    .entry(line["conn"].as_u64().unwrap())
                    .or_default();
                let direction = usize::from(line["dir"] == "s2c");
                both[direction].extend(STANDARD.decode(bytes).unwrap());
            }
        }
        let conversations = connections
            .into_values()
            .map(|[client, server]| {
                let (request, client_bytes) = Head::split(&client);
                let (response, server_bytes) = Head::split(&server);
                Conversation {
                    request,
                    client_bytes,
                    response,
                    server_bytes,
                }
            })
            .collect();
        Self {
            name: name.to_owned(),
            kubectl_exit,
            conversations,
        }
    }
}

impl Conversation {
    pub(crate) fn is_spdy(&self) -> bool {
        self.request.field("upgrade") == Some("SPDY/3.1")
    }

    pub(crate) fn is_upgraded(&self) -> bool {
        self.response.status() == 101
    }

    /// Path, and the query as decoded pairs in their order.
    pub(crate) fn target(&self) -> (String, Vec<(String, String)>) {
        parse_target(self.request.line.split(' ').nth(1).unwrap())
    }

    pub(crate) fn asks_for(&self, stream: &str) -> bool {
        let asked = (stream.to_owned(), "true".to_owned());
        self.target().1.contains(&asked)
    }

    pub(crate) fn query_values(&self, key: &str) -> Vec<String> {
        let (_, pairs) = self.target();
        let values = pairs.into_iter().filter(|(name, _)| name == key);
        values.map(|(_, value)| value).collect()
    }
}

impl Head {
    fn split(bytes: &[u8]) -> (Self, Vec<u8>) {
        let end = 4 + bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let text = core::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        let head = Self {
            line,
            fields,
            bytes: bytes[..end].to_vec(),
        };
        (head, bytes[end..].to_vec())
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self::split(bytes).0
    }

    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

pub(crate) fn parse_target(target: &str) -> (String, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap();
    let pairs = query
        .split('&')
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap();
            (key.to_owned(), decoded(value))
        })
        .collect();
    (path.to_owned(), pairs)
}

/// A query value; Go writes a blank as `+`.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = core::str::from_utf8(&tail[..2]).unwrap();
                rest = &tail[2..];
                u8::from_str_radix(digits, 16).unwrap()
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
