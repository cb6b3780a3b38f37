//! async-tungstenite as the browser: a WebSocket that is not ours.

use std::net::{TcpListener, TcpStream};
use std::thread;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::CloseFrame;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::{WebSocketStream, client_async};
use futures_util::StreamExt;
use futures_util::future::join;
use periscope_core::channel::Stream;
use periscope_core::code::CloseDetail;
use serde_json::Value;

use crate::apiserver::ApiServer;
use crate::browser::TARGET;
use crate::stage::{Report, Setup, Wire, serve};
use crate::{Runtime, pattern};

type Browser<R> = WebSocketStream<<R as Runtime>::Stream>;

/// Runs the gateway and the browser in one task, the apiserver on a thread.
fn play<R: Runtime>(
    apiserver: impl FnOnce(ApiServer) + Send,
    browser: impl AsyncFnOnce(Browser<R>),
) -> Report {
    let server = ApiServer::bind(None);
    let dial = server.address();
    let entrance = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(entrance.local_addr().unwrap()).unwrap();
    let (accepted, _) = entrance.accept().unwrap();
    for stream in [&client, &accepted] {
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| apiserver(server));
        R::block_on(async {
            let gateway = serve::<R>(accepted, Setup::new(Wire::Tcp), dial, None);
            let browser = async {
                let stream = R::stream(client).unwrap();
                let url = format!("ws://gateway.test{TARGET}");
                let (socket, _) = client_async(url, stream).await.unwrap();
                browser(socket).await;
            };
            join(gateway, browser).await.0
        })
    })
}

/// The next message that is no ping.
async fn next<R: Runtime>(browser: &mut Browser<R>) -> Message {
    loop {
        match browser.next().await.expect("a message").unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

async fn text<R: Runtime>(browser: &mut Browser<R>, expected: &str) -> Value {
    let message = next::<R>(browser).await;
    let text = message.to_text().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(value["type"], expected, "{text}");
    value
}

async fn output<R: Runtime>(browser: &mut Browser<R>, len: usize) -> Vec<u8> {
    let mut output = Vec::new();
    while output.len() < len {
        match next::<R>(browser).await {
            Message::Binary(payload) => output.extend_from_slice(&payload),
            other => panic!("output was expected, {other:?} came"),
        }
    }
    output
}

/// `closed`, Close, and the end of the stream.
async fn expect_end<R: Runtime>(browser: &mut Browser<R>, detail: &str, code: u16) {
    assert_eq!(text::<R>(browser, "closed").await["detail"], detail);
    match next::<R>(browser).await {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), code),
        other => panic!("Close was expected, {other:?} came"),
    }
    assert!(browser.next().await.is_none(), "the end of the stream");
}

fn echoing(server: ApiServer) {
    let mut exec = server.exec();
    exec.output(Stream::Stdout, b"$");
    exec.echo();
    exec.exit(4);
    drop(server);
}

/// The relay.
pub fn keys_are_echoed<R: Runtime>() {
    let report = play::<R>(echoing, async |mut browser| {
        text::<R>(&mut browser, "hello").await;
        assert_eq!(output::<R>(&mut browser, 1).await, b"$");
        for keys in [&b"a"[..], b"bcd", &[0xff; 200]] {
            browser.send(Message::binary(keys.to_vec())).await.unwrap();
            assert_eq!(output::<R>(&mut browser, keys.len()).await, keys);
        }
        browser.send(Message::binary(&b"q"[..])).await.unwrap();
        expect_end::<R>(&mut browser, "process_exit", 1000).await;
    });
    assert_eq!(report.summary().exit_code, Some(4));
}

/// Frames with 16 and 64 bit lengths.
pub fn large_messages_come_back<R: Runtime>() {
    play::<R>(echoing, async |mut browser| {
        text::<R>(&mut browser, "hello").await;
        output::<R>(&mut browser, 1).await;
        let (mut sender, mut receiver) = browser.split();
        for len in [125, 126, 65_535, 65_536, 1024 * 1024] {
            let bytes = pattern::run(len, len);
            let receive = async {
                let mut got = Vec::new();
                while got.len() < len {
                    match receiver.next().await.expect("a message").unwrap() {
                        Message::Binary(payload) => got.extend_from_slice(&payload),
                        other => panic!("output was expected, {other:?} came"),
                    }
                }
                got
            };
            let (sent, got) = join(sender.send(Message::binary(bytes)), receive).await;
            sent.unwrap();
            assert_eq!(got.len(), len);
            pattern::check(len, &got);
        }
        sender.send(Message::binary(&b"q"[..])).await.unwrap();
        let last = receiver.next().await.expect("a message").unwrap();
        assert!(last.to_text().unwrap().contains("process_exit"), "{last}");
    });
}

/// The closing handshake, begun by the browser.
pub fn the_browsers_close_is_answered<R: Runtime>() {
    let dropped = |server: ApiServer| {
        let mut exec = server.exec();
        exec.output(Stream::Stdout, b"$");
        exec.expect_drop();
    };
    let report = play::<R>(dropped, async |mut browser| {
        text::<R>(&mut browser, "hello").await;
        output::<R>(&mut browser, 1).await;
        let frame = CloseFrame {
            code: CloseCode::Away,
            reason: "".into(),
        };
        browser.close(Some(frame)).await.unwrap();
        expect_end::<R>(&mut browser, "tab_gone", 1011).await;
    });
    assert_eq!(report.summary().detail, CloseDetail::TabGone);
}

/// The closing handshake, begun by the gateway.
pub fn the_process_s_end_is_told<R: Runtime>() {
    play::<R>(
        |server| server.exec().exit(0),
        async |mut browser| {
            text::<R>(&mut browser, "hello").await;
            expect_end::<R>(&mut browser, "process_exit", 1000).await;
        },
    );
}

/// With the bytes they carried.
pub fn pings_are_answered<R: Runtime>() {
    play::<R>(echoing, async |mut browser| {
        text::<R>(&mut browser, "hello").await;
        output::<R>(&mut browser, 1).await;
        let ping = Message::Ping(b"are you there?".to_vec().into());
        browser.send(ping).await.unwrap();
        let pong = browser.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(b"are you there?".to_vec().into()));
        browser.send(Message::binary(&b"q"[..])).await.unwrap();
        expect_end::<R>(&mut browser, "process_exit", 1000).await;
    });
}
