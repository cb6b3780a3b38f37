//! A browser that is not ours: async-tungstenite over a real socket, and plain HTTP by hand.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tokio::{TokioAdapter, client_async};
use async_tungstenite::tungstenite::handshake::client::generate_key;
use async_tungstenite::tungstenite::{Error, Message};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::payload::Payload;

/// How long anything here may take before the case fails. The machine may be busy with others.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) type Socket = WebSocketStream<TokioAdapter<TcpStream>>;

/// A shell as a browser has it.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) socket: Socket,
    pub(crate) output: Vec<u8>,
    /// The control messages, oldest first.
    pub(crate) messages: Vec<Value>,
    pub(crate) close_code: Option<u16>,
    /// Where the gateway it is of collects what is typed and seen.
    pub(crate) payload: OnceLock<Arc<Payload>>,
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// The `command` of an exec query.
pub(crate) fn command(arguments: &[&str]) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::json!(arguments).to_string())
}

/// A handshake. Refused ones say so in HTTP.
pub(crate) async fn open(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Shell, Answer> {
    let mut request = http::Request::builder()
        .uri(format!("ws://{address}{path}"))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request = request.header("Host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let opening = client_async(request.body(()).unwrap(), stream);
    match tokio::time::timeout(PATIENCE, opening)
        .await
        .expect("a handshake in time")
    {
        Ok((socket, _)) => Ok(Shell {
            socket,
            output: Vec::new(),
            messages: Vec::new(),
            close_code: None,
            payload: OnceLock::new(),
        }),
        Err(Error::Http(refusal)) => {
            let (parts, body) = refusal.into_parts();
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                (name.to_string(), value.to_str().unwrap().to_owned())
            };
            Err(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers.iter().map(header).collect(),
                body: String::from_utf8(body.unwrap_or_default()).unwrap(),
            })
        }
        Err(error) => panic!("{error}"),
    }
}

/// A request without an upgrade.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut head = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        write!(head, "Host: {address}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    let answer = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer::parse(&String::from_utf8(answer).unwrap())
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("an answer in time")
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP answer");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self {
            status: status.unwrap().parse().unwrap(),
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Status and error code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let error = self.json()["error"].as_str().unwrap_or_default().to_owned();
        (self.status, error)
    }
}

impl Shell {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.add_payload(bytes);
        self.socket
            .send(Message::binary(bytes.to_vec()))
            .await
            .unwrap();
    }

    pub(crate) async fn control(&mut self, message: Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// Reads on until a control message of this type came, and returns it.
    pub(crate) async fn message(&mut self, kind: &str) -> Value {
        self.until(|shell| {
            let mut messages = shell.messages.iter();
            messages.find(|message| message["type"] == kind).cloned()
        })
        .await
    }

    /// Reads on until the terminal has shown this.
    pub(crate) async fn shows(&mut self, text: &str) {
        let wanted = text.as_bytes();
        self.until(|shell| {
            let mut windows = shell.output.windows(wanted.len());
            windows.any(|window| window == wanted).then_some(())
        })
        .await;
    }

    /// Reads on to the end, hands every byte of output to `taken`, and returns the `closed`
    /// message, which must be the only one and the last.
    pub(crate) async fn closed(&mut self) -> Value {
        let closed = self.message("closed").await;
        self.until(|shell| shell.close_code).await;
        // Reading on sends the answer to the Close and finds the end.
        drop(self.socket.next().await);
        let mut all = self.messages.iter();
        let count = all.by_ref().filter(|message| message["type"] == "closed");
        assert_eq!(count.count(), 1, "{:?}", self.messages);
        assert_eq!(self.messages.last(), Some(&closed), "closed comes last");
        closed
    }

    /// The next message of any kind is taken in.
    pub(crate) async fn next(&mut self) {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        match next.unwrap_or_else(|_| panic!("nothing came after {self:?}")) {
            Some(Ok(Message::Binary(bytes))) => {
                self.add_payload(&bytes);
                self.output.extend_from_slice(&bytes);
            }
            Some(Ok(Message::Text(text))) => {
                if let Some(payload) = self.payload.get() {
                    payload.told(&text);
                }
                self.messages.push(serde_json::from_str(&text).unwrap());
            }
            Some(Ok(Message::Close(frame))) => {
                self.close_code = Some(frame.map_or(1005, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{error} after {}", self.story()),
            None => panic!("end of file after {}", self.story()),
        }
    }

    pub(crate) async fn until<T>(&mut self, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            self.next().await;
        }
    }

    fn add_payload(&self, bytes: &[u8]) {
        if let Some(payload) = self.payload.get() {
            payload.add(bytes);
        }
    }

    /// What happened, for the failure's text.
    pub(crate) fn story(&self) -> String {
        let end = self.output.len().saturating_sub(300);
        let tail = String::from_utf8_lossy(&self.output[end..]);
        format!(
            "{:?}, {} bytes of output, the last {tail:?}",
            self.messages,
            self.output.len()
        )
    }

    /// Leaves without a word: a reset, as when a machine loses its network.
    pub(crate) fn vanish(self) {
        let stream = self.socket.into_inner().into_inner();
        stream.set_zero_linger().unwrap();
    }
}
