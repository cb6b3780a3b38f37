//! The load generator: opens sessions, echoes once through each, and keeps them open and answered
//! while another process is measured.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::{Failure, procfs, stdin_ended};

/// Handshakes under way at the same time.
const OPENING_MAX: usize = 32;

/// How long a process may settle before its memory is read, and how many readings are taken: the
/// smallest counts, since what another reading lacks was garbage.
const SETTLE: Duration = Duration::from_secs(3);
const READINGS: u32 = 5;

#[derive(Clone, Debug, Args)]
pub(crate) struct LoadOptions {
    /// `ws://` address of the shell.
    #[arg(long)]
    pub(crate) url: String,
    /// What is spoken there.
    #[arg(long)]
    pub(crate) speech: Speech,
    /// How many sessions.
    #[arg(long)]
    pub(crate) sessions: usize,
    /// The process to measure.
    #[arg(long)]
    pub(crate) pid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speech {
    /// Terminal bytes.
    Bare,
    /// The Kubernetes channel protocol, through an opaque proxy.
    Channels,
    /// Terminal bytes behind a `hello`.
    Console,
}

impl Speech {
    /// Its name on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Channels => "channels",
            Self::Console => "console",
        }
    }
}

/// Prints the memory at a quarter of the sessions and at all of them, as one line of JSON; then
/// holds the sessions until stdin ends.
pub(crate) async fn run(options: &LoadOptions) -> Result<(), Failure> {
    let mut kept = JoinSet::new();
    let quarter = options.sessions / 4;
    open(options, quarter, &mut kept).await?;
    let first = settled(options.pid).await?;
    open(options, options.sessions - quarter, &mut kept).await?;
    let all = settled(options.pid).await?;
    if let Some(broken) = kept.try_join_next() {
        broken??;
        return Err("a session ended while it was to be measured".into());
    }
    println!(
        "{}",
        json!({"quarter": quarter, "quarter_kib": first, "sessions": options.sessions, "kib": all})
    );
    stdin_ended().await;
    kept.shutdown().await;
    Ok(())
}

async fn settled(pid: u32) -> Result<u64, Failure> {
    let mut smallest = u64::MAX;
    for _ in 0..READINGS {
        tokio::time::sleep(SETTLE / READINGS).await;
        let mut sum = 0;
        for pid in procfs::family(pid) {
            sum += procfs::rss_kib(pid)?;
        }
        smallest = smallest.min(sum);
    }
    Ok(smallest)
}

async fn open(
    options: &LoadOptions,
    count: usize,
    kept: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    let places = Arc::new(Semaphore::new(OPENING_MAX));
    let (opened, mut open) = mpsc::channel(OPENING_MAX);
    for _ in 0..count {
        let (places, opened) = (Arc::clone(&places), opened.clone());
        let (url, speech) = (options.url.clone(), options.speech);
        kept.spawn(async move {
            let place = places.acquire().await?;
            let mut socket = session(&url, speech).await?;
            drop(place);
            opened.send(()).await?;
            // Reading answers pings.
            while let Some(message) = socket.next().await {
                message?;
            }
            Err("a session was ended".into())
        });
    }
    for _ in 0..count {
        tokio::select! {
            _ = open.recv() => {}
            Some(broken) = kept.join_next() => broken??,
        }
    }
    Ok(())
}

async fn session(url: &str, speech: Speech) -> Result<WebSocketStream<TcpStream>, Failure> {
    let mut request = url.into_client_request()?;
    if speech == Speech::Channels {
        let headers = request.headers_mut();
        headers.insert(
            "sec-websocket-protocol",
            HeaderValue::from_static("v5.channel.k8s.io"),
        );
    }
    let authority = request
        .uri()
        .authority()
        .ok_or("the URL names no host")?
        .to_string();
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0);
    let (mut socket, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    if speech == Speech::Console {
        loop {
            match socket.next().await.ok_or("no hello")?? {
                Message::Text(text) if text.contains(r#""type":"hello""#) => break,
                Message::Text(text) => return Err(text.to_string().into()),
                _ => {}
            }
        }
    }
    let (typed, awaited) = match speech {
        Speech::Channels => (vec![0, b'x'], vec![1, b'x']),
        Speech::Bare | Speech::Console => (vec![b'x'], vec![b'x']),
    };
    socket.send(Message::binary(typed)).await?;
    loop {
        match socket.next().await.ok_or("no echo")?? {
            Message::Binary(payload) if payload.as_ref() == awaited => return Ok(socket),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
            other => return Err(format!("instead of the echo: {other}").into()),
        }
    }
}
