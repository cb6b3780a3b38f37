//! Writes the seeds of all corpora: `cargo run -p periscope-fuzz --example seeds`.
//!
//! They come from the recorded sessions in `core/tests/captures`: each direction of each
//! connection, without its HTTP head, cut after a few frames' worth of bytes, with the parameters
//! in front that make the target play the other side. Heads go to `http`, queries and statuses to
//! the text targets. What no recording holds (the browser's messages, a session's operations) is
//! written out here. The file names say where a seed came from; inputs that libFuzzer found beyond
//! them have a hash for a name.
#![allow(
    clippy::enum_glob_use,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a generator that is run by hand"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use periscope_fuzz::session::operation::Operation::{self, *};
use periscope_fuzz::session::operation::{Setup, encode};

/// Bytes of a conversation that become a seed.
const SEED_BYTES_MAX: usize = 2048;

/// Splits in the middle of a small frame, short runs, and a socket that takes everything.
const CUT: [u8; 3] = [0, 9, 3];

fn main() {
    let mut seeds = Seeds::default();
    let captures = root().join("../core/tests/captures");
    let mut names: Vec<PathBuf> = fs::read_dir(captures)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    names.sort();
    for path in names {
        seeds.of_capture(&path);
    }
    seeds.of_texts();
    seeds.of_sessions();
    println!("{} seeds", seeds.count);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[derive(Default)]
struct Seeds {
    count: usize,
    /// Contents by target, so that recordings that say the same make one seed.
    known: BTreeSet<(&'static str, Vec<u8>)>,
}

impl Seeds {
    fn add(&mut self, target: &'static str, name: &str, parameters: &[u8], bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(SEED_BYTES_MAX)];
        let input = [parameters, bytes].concat();
        if bytes.is_empty() || !self.known.insert((target, input.clone())) {
            return;
        }
        let folder = root().join("corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), input).unwrap();
        self.count += 1;
    }

    fn of_capture(&mut self, path: &Path) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        for (connection, [client, server]) in conversations(path) {
            let (request, up) = split_head(&client);
            let (answer, down) = split_head(&server);
            let name = |part: &str| format!("{stem}-{connection}-{part}");
            let with = |mode: u8| [mode, CUT[0], CUT[1], CUT[2]];
            let is_spdy = contains(request, b"SPDY/3.1");
            self.add("http", &name("request"), &with(2), request);
            let refusal = [answer, down].concat();
            let is_upgraded = answer.starts_with(b"HTTP/1.1 101");
            let asker = u8::from(is_spdy);
            let whole = if is_upgraded { answer } else { &refusal };
            self.add("http", &name("answer"), &with(asker), whole);
            if let Some(query) = query_of(request) {
                self.add("query", &name("query"), &[], query);
            }
            if !is_upgraded {
                self.add("status", &name("refusal"), &[], down);
                continue;
            }
            if let Some(status) = status_of(down) {
                self.add("status", &name("status"), &[], status);
            }
            if let Some(size) = object_of(up, b"{\"Width\"") {
                self.add("resize", &name("size"), &CUT[..2], size);
            }
            if is_spdy {
                self.add("spdy", &name("up"), &with(0b111), up);
                self.add("spdy", &name("down"), &with(0b000), down);
                // stdin, stdout, stderr; the framing bits are zero for SPDY.
                self.add("exec_server", &name("up"), &with(0b0000_0111), up);
                continue;
            }
            self.add("ws", &name("up"), &with(0b11), up);
            self.add("ws", &name("down"), &with(0b10), down);
            // In the order of the target's table.
            let subprotocol = [
                &b"v5.channel.k8s.io"[..],
                b"v4.channel.k8s.io",
                b" channel.k8s.io",
                b" base64.channel.k8s.io",
                b"v4.base64.channel.k8s.io",
            ]
            .iter()
            .position(|name| contains(answer, name))
            .map_or(2, |index| u8::try_from(index).unwrap());
            self.add("channel", &name("up"), &with(subprotocol << 1 | 1), up);
            self.add("channel", &name("down"), &with(subprotocol << 1), down);
            let framing = (subprotocol + 1) << 4;
            self.add("exec_server", &name("up"), &with(framing | 0b0111), up);
        }
    }

    fn of_texts(&mut self) {
        for (index, text) in [
            r#"{"type":"ack","bytes":262144}"#,
            r#"{"type":"close"}"#,
            r#"{"type":"close","reason":"hidden"}"#,
            r#"{"type":"eof"}"#,
            r#"{"type":"resize","cols":132,"rows":43}"#,
            r#"{"type":"resize","cols":70000,"rows":0}"#,
            r#"{"type":"later","x":[1,{"y":null}]}"#,
        ]
        .into_iter()
        .enumerate()
        {
            let parameters = [0, CUT[0], CUT[1], CUT[2]];
            self.add(
                "console",
                &format!("message-{index}"),
                &parameters,
                text.as_bytes(),
            );
        }
        for (index, text) in [
            r#"{"Width":80,"Height":24}{"Width":81,"Height":25}"#,
            r#"{"width":80,"HEIGHT":24} {"Width":0}"#,
            r#"{"Width":65536,"Height":1}"#,
            "\n\n{\"Width\":1,\"Height\":2}\n",
        ]
        .into_iter()
        .enumerate()
        {
            self.add(
                "resize",
                &format!("sizes-{index}"),
                &CUT[..2],
                text.as_bytes(),
            );
        }
        let command = STANDARD.encode(r#"["sh","-c","echo \"a&b\""]"#);
        for (index, text) in [
            format!("container=main&command={command}&tty=false&cols=80&rows=24&flow=ack"),
            "tty=1&cols=0".to_owned(),
            "container=a&container=b".to_owned(),
            "com%6Dand=W10&x=%zz".to_owned(),
            String::new() + "tty=true&rows=65536&later=%ff",
        ]
        .into_iter()
        .enumerate()
        {
            self.add("query", &format!("browser-{index}"), &[], text.as_bytes());
        }
    }

    fn of_sessions(&mut self) {
        const LISTENING: u8 = 1;
        const TTY: u8 = 2;
        const ACK: u8 = 4;
        const SPDY: u8 = 16;
        const ALIVE: u8 = 32 | 128;
        let bytes = |text: &str| text.as_bytes().to_vec();
        let up = || vec![Connect, Accept(0), Wait(2)];
        let work = || {
            vec![
                Output(1, 1, bytes("$ ")),
                Type(bytes("ls\n")),
                Resize(132, 43),
            ]
        };
        let handshake = vec![Request, Admit(0)];
        let exit = || vec![Output(1, 3, bytes("a b\n")), Status(0), ApiEnd(0)];
        let refused = vec![Connect, Refuse(7)];
        let flood = vec![Output(1, 255, vec![b'x'; 255]); 4];
        let runs: [(&str, u8, Vec<Vec<Operation>>); 14] = [
            ("v5", TTY | ALIVE, vec![up(), work(), exit()]),
            (
                "v5-listening",
                LISTENING | TTY | ALIVE,
                vec![handshake, up(), work(), exit()],
            ),
            ("not-admitted", LISTENING, vec![vec![Request, Admit(1)]]),
            (
                "spdy",
                SPDY | ALIVE,
                vec![up(), work(), vec![Eof, Status(1), ApiEnd(15)]],
            ),
            (
                "spdy-late-replies",
                SPDY | TTY,
                vec![
                    vec![Connect, Accept(4), Reply, Wait(1)],
                    work(),
                    vec![Status(2), ApiEnd(8)],
                ],
            ),
            (
                "v4-last",
                TTY | ALIVE,
                vec![refused.clone(), refused, up(), work(), exit()],
            ),
            (
                "fresh-credentials",
                ALIVE,
                vec![vec![Connect, Refuse(0)], up(), exit()],
            ),
            (
                "not-started",
                TTY | ALIVE,
                vec![vec![Connect, Accept(0), Status(3)], up(), exit()],
            ),
            ("no-shell", 0, vec![up(), vec![Status(4), ApiEnd(0)]]),
            (
                "pod-gone",
                TTY | ALIVE,
                vec![up(), work(), vec![ApiGone(1), Pod(0)]],
            ),
            (
                "acknowledged",
                TTY | ACK | ALIVE,
                vec![up(), flood.clone(), vec![Ack(0), Ack(1), Ack(2)]],
            ),
            (
                "slow-browser",
                TTY,
                vec![
                    up(),
                    vec![BrowserTakes(300)],
                    flood,
                    vec![Wait(5), BrowserTakes(9000), Wait(6)],
                ],
            ),
            (
                "ordered",
                TTY | ALIVE,
                vec![up(), vec![Drain(9), Wait(3), End(1)]],
            ),
            (
                "idle",
                TTY | ALIVE,
                vec![
                    up(),
                    work(),
                    vec![Wait(7), Type(bytes("x")), Wait(7), Wait(6)],
                ],
            ),
        ];
        for (name, flags, parts) in runs {
            let input = encode(Setup { flags, step: 4 }, &parts.concat());
            self.add("session", name, &[], &input);
        }
    }
}

/// Both directions of every connection in a recording.
fn conversations(path: &Path) -> BTreeMap<u64, [Vec<u8>; 2]> {
    let mut connections: BTreeMap<u64, [Vec<u8>; 2]> = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(bytes) = line["b64"].as_str() {
            let both = connections
                .entry(line["conn"].as_u64().unwrap())
                .or_default();
            both[usize::from(line["dir"] == "s2c")].extend(STANDARD.decode(bytes).unwrap());
        }
    }
    connections
}

fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    bytes.split_at(end.map_or(bytes.len(), |end| end + 4))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn query_of(request: &[u8]) -> Option<&[u8]> {
    let target = request.split(|&byte| byte == b' ').nth(1)?;
    let mark = target.iter().position(|&byte| byte == b'?')?;
    target.get(mark + 1..)
}

/// A Status on the error channel, however it is framed.
fn status_of(down: &[u8]) -> Option<&[u8]> {
    object_of(down, b"{\"metadata\"")
}

/// A JSON object that begins with `start`, up to the brace that closes it.
fn object_of<'a>(bytes: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let at = bytes
        .windows(start.len())
        .position(|window| window == start)?;
    let object = &bytes[at..];
    let mut values = serde_json::Deserializer::from_slice(object).into_iter::<serde_json::Value>();
    values.next()?.ok()?;
    object.get(..values.byte_offset())
}
