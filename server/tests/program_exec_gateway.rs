//! `periscope exec` against gateways that say what a test tells them to, on plain TCP and on TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod demo_support;
mod gateway_support;

use std::process::{Output, Stdio};
use std::sync::Arc;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tokio::{TokioAdapter, accept_async};
use async_tungstenite::tungstenite::Message;
use demo_support::{PATIENCE, periscope};
use futures_util::StreamExt as _;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Answers the dry run on the first connection.
async fn answer_dry_run(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let body = "{\"ok\":true}";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    drop(stream.shutdown().await);
    String::from_utf8(head).unwrap()
}

type Socket<S> = WebSocketStream<TokioAdapter<S>>;

async fn say<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>, message: Value) {
    socket
        .send(Message::text(message.to_string()))
        .await
        .unwrap();
}

fn hello(transport: &str, subprotocol: &str) -> Value {
    json!({"type": "hello", "transport": transport, "subprotocol": subprotocol, "heartbeatSeconds": 20})
}

fn closed(exit_code: Option<u8>, truncated: Option<bool>) -> Value {
    json!({"type": "closed", "reason": "client_close", "detail": "process_exit",
           "exitCode": exit_code, "truncated": truncated})
}

/// Everything the client sends until it closes: text messages, and bytes of stdin.
async fn heard<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> (Vec<Value>, Vec<u8>) {
    let (mut texts, mut bytes) = (Vec::new(), Vec::new());
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => texts.push(serde_json::from_str(&text).unwrap()),
            Message::Binary(more) => bytes.extend_from_slice(&more),
            _ => {}
        }
    }
    (texts, bytes)
}

/// The program, told to reach this gateway.
async fn exec(url: &str, options: &[&str], ca: Option<&std::path::Path>) -> Output {
    let mut command = periscope();
    command
        .args(["exec", "--server", url, "--cluster", "c", "-n", "n", "p"])
        .args(options)
        .args(["--", "true"])
        .env("PERISCOPE_TOKEN", "secret-token")
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::null());
    match ca {
        Some(path) => command.env("SSL_CERT_FILE", path),
        None => command.env_remove("SSL_CERT_FILE"),
    };
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(PATIENCE, run)
        .await
        .expect("an end in time")
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs the program against a gateway that plays one session.
async fn play<F>(
    options: &[&str],
    session: impl FnOnce(Socket<TcpStream>) -> F,
) -> (Output, F::Output)
where
    F: Future,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = async {
        let (stream, _) = listener.accept().await.unwrap();
        let head = answer_dry_run(stream).await;
        assert!(
            head.contains("Authorization: Bearer secret-token\r\n")
                || head.contains("authorization: Bearer secret-token\r\n"),
            "{head}"
        );
        assert!(!head.to_ascii_lowercase().contains("upgrade: "), "{head}");
        let (stream, _) = listener.accept().await.unwrap();
        session(accept_async(stream).await.unwrap()).await
    };
    tokio::join!(exec(&url, options, None), gateway)
}

#[tokio::test]
async fn input_over_v4_is_refused_before_its_first_byte_because_it_has_no_end() {
    let (output, (texts, bytes)) = play(&["-i"], async |mut socket| {
        say(&mut socket, hello("ws", "v4.channel.k8s.io")).await;
        heard(&mut socket).await
    })
    .await;
    assert_eq!(output.status.code(), Some(255));
    assert!(
        stderr(&output).contains("v4.channel.k8s.io"),
        "{}",
        stderr(&output)
    );
    assert_eq!(bytes, b"");
    assert!(texts.iter().all(|text| text["type"] != "eof"), "{texts:?}");
    // SPDY names the same subprotocol and does have a half-close.
    let (output, ()) = play(&["-i"], async |mut socket| {
        say(&mut socket, hello("spdy", "v4.channel.k8s.io")).await;
        let message = socket.next().await.unwrap().unwrap();
        assert_eq!(message.to_text().unwrap(), r#"{"type":"eof"}"#);
        say(&mut socket, closed(Some(4), Some(false))).await;
        heard(&mut socket).await;
    })
    .await;
    assert_eq!(output.status.code(), Some(4));
}

#[tokio::test]
async fn truncated_output_is_255_with_a_line_and_unknown_truncation_is_not() {
    for (truncated, code, line) in [
        (Some(true), 255, true),
        (Some(false), 0, false),
        (None, 0, false),
    ] {
        let (output, ()) = play(&[], async |mut socket| {
            say(&mut socket, hello("ws", "v5.channel.k8s.io")).await;
            socket
                .send(Message::binary(b"part".to_vec()))
                .await
                .unwrap();
            say(&mut socket, closed(Some(0), truncated)).await;
            heard(&mut socket).await;
        })
        .await;
        assert_eq!(output.status.code(), Some(code), "{truncated:?}");
        assert_eq!(output.stdout, b"part");
        assert_eq!(stderr(&output).contains("lost on the way"), line);
    }
}

#[tokio::test]
async fn a_gateways_words_reach_the_terminal_without_what_it_would_obey() {
    let (output, ()) = play(&[], async |mut socket| {
        say(&mut socket, json!({"type": "news", "from": "the future"})).await;
        say(&mut socket, json!({"type": "error", "code": "E_INTERNAL", "message": "bad\u{1b}[2J luck", "retryable": false})).await;
        say(&mut socket, closed(None, None)).await;
        heard(&mut socket).await;
    })
    .await;
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(stderr(&output), "periscope: bad[2J luck (E_INTERNAL)\n");
}

#[tokio::test]
async fn a_connection_that_breaks_is_said_to_have_broken() {
    let (output, ()) = play(&[], async |mut socket| {
        say(&mut socket, hello("ws", "v5.channel.k8s.io")).await;
        drop(socket);
    })
    .await;
    assert_eq!(output.status.code(), Some(255));
    assert!(
        stderr(&output).contains("connection to the gateway was lost"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn something_else_at_that_address_is_not_taken_for_a_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"220 mail.example ESMTP\r\n")
            .await
            .unwrap();
        drop(stream.read(&mut [0; 1024]).await);
    };
    let (output, ()) = tokio::join!(exec(&url, &[], None), other);
    assert_eq!(output.status.code(), Some(255));
    assert!(
        stderr(&output).contains("not a Periscope gateway"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn https_needs_a_certificate_that_this_machine_trusts() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = gateway_support::unused_dir();
    std::fs::write(&ca, certified.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );

    let distrusted = async {
        let (stream, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(stream).await.is_err());
    };
    let other_ca = gateway_support::unused_dir();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&other_ca, other.cert.pem()).unwrap();
    let (output, ()) = tokio::join!(exec(&url, &[], Some(&other_ca)), distrusted);
    assert_eq!(output.status.code(), Some(255));
    assert!(
        stderr(&output).contains("no TLS with localhost"),
        "{}",
        stderr(&output)
    );

    let trusted = async {
        let (stream, _) = listener.accept().await.unwrap();
        answer_dry_run(acceptor.accept(stream).await.unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        say(&mut socket, hello("ws", "v5.channel.k8s.io")).await;
        socket
            .send(Message::binary(b"over TLS".to_vec()))
            .await
            .unwrap();
        say(&mut socket, closed(Some(9), Some(false))).await;
        heard(&mut socket).await;
    };
    let (output, ()) = tokio::join!(exec(&url, &[], Some(&ca)), trusted);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(9), &b"over TLS"[..]),
        "{}",
        stderr(&output)
    );
    for path in [ca, other_ca] {
        std::fs::remove_file(path).unwrap();
    }
}
