//! The sandbox as a client sees it that looks at every byte.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test only by its attribute, not what tests call"
)]

mod sandbox_support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use periscope_server::sandbox::{Error, Fault, Sandbox, SandboxOptions};
use sandbox_support::{TestSandbox, read_all, read_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The key of RFC 6455's own example, whose accept value every reader knows.
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

/// The command the captured raw handshakes ran.
const CAPTURED: &str =
    "command=sh&command=-c&command=echo%20hi%3B%20exit%205&stdout=true&stderr=true";

fn get(pod: &str, query: &str) -> String {
    format!("GET /api/v1/namespaces/default/pods/{pod}/exec?{query}")
}

fn handshake(subprotocol: &str) -> Vec<String> {
    let lines = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        KEY,
    ];
    let mut lines: Vec<String> = lines.map(str::to_owned).to_vec();
    lines.push(format!("Sec-WebSocket-Protocol: {subprotocol}"));
    lines
}

/// Runs an exec to the end of the connection; the answer with every frame.
fn answer(
    sandbox: &TestSandbox,
    cluster: &str,
    pod: &str,
    query: &str,
    headers: &[String],
) -> String {
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let bytes = sandbox.block_on(async {
        let mut stream = sandbox.send(cluster, &get(pod, query), &headers).await;
        read_all(&mut stream).await
    });
    // Latin-1, so that every byte shows as itself.
    bytes.into_iter().map(char::from).collect()
}

/// The 101 of a captured handshake.
fn switching(subprotocol: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
}

// What follows the heads is what a 1.36 and a 1.20 apiserver sent, byte for byte, in the captures
// ws-v1, ws-v4, ws-base64-v4 and ws-v5v4.
#[test]
fn every_subprotocol_answers_byte_for_byte_as_the_captured_apiservers_did() {
    let sandbox = TestSandbox::start(&[]);
    let status = "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit code: \
                  error executing command [sh -c echo hi; exit 5], exit code 5\",\"reason\":\"NonZeroExitCode\",\
                  \"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"5\"}]}}";
    let close = "\u{88}\u{2}\u{3}\u{e8}";
    let v1 = format!(
        "\u{82}\u{1}\u{1}\u{82}\u{4}\u{1}hi\n\u{82}i\u{3}command terminated with non-zero exit code: error executing \
         command [sh -c echo hi; exit 5], exit code 5{close}"
    );
    let v4 = format!("\u{82}\u{1}\u{1}\u{82}\u{4}\u{1}hi\n\u{82}~\u{0}\u{ee}\u{3}{status}{close}");
    let base64_status = "eyJtZXRhZGF0YSI6e30sInN0YXR1cyI6IkZhaWx1cmUiLCJtZXNzYWdlIjoiY29tbWFuZCB0ZXJtaW5hdGVkIHdp\
        dGggbm9uLXplcm8gZXhpdCBjb2RlOiBlcnJvciBleGVjdXRpbmcgY29tbWFuZCBbc2ggLWMgZWNobyBoaTsgZXhpdCA1XSwgZXhpdCBjb2\
        RlIDUiLCJyZWFzb24iOiJOb25aZXJvRXhpdENvZGUiLCJkZXRhaWxzIjp7ImNhdXNlcyI6W3sicmVhc29uIjoiRXhpdENvZGUiLCJtZXNz\
        YWdlIjoiNSJ9XX19";
    let base64 = format!("\u{81}\u{1}1\u{81}\u{5}1aGkK\u{81}~\u{1}=3{base64_status}{close}");
    for cluster in ["modern", "legacy"] {
        for (subprotocol, frames) in [
            ("channel.k8s.io", &v1),
            ("v4.channel.k8s.io", &v4),
            ("v4.base64.channel.k8s.io", &base64),
        ] {
            let answer = answer(
                &sandbox,
                cluster,
                "shell",
                CAPTURED,
                &handshake(subprotocol),
            );
            assert_eq!(
                answer,
                switching(subprotocol) + frames,
                "{cluster} {subprotocol}"
            );
        }
    }
    let both = answer(
        &sandbox,
        "legacy",
        "shell",
        CAPTURED,
        &handshake("v5.channel.k8s.io, v4.channel.k8s.io"),
    );
    assert_eq!(both, switching("v4.channel.k8s.io") + &v4);
    // Who names no subprotocol gets v1, unnamed.
    let unnamed = answer(&sandbox, "modern", "shell", CAPTURED, &handshake("")[..4]);
    assert!(
        unnamed.starts_with("HTTP/1.1 101 ") && unnamed.ends_with(&format!("\r\n\r\n{v1}")),
        "{unnamed}"
    );
}

// The client's bytes are those of client-go 1.36 that ask for stdout and stderr; the end is that of
// the capture spdy-echo.
#[test]
fn spdy_is_spoken_on_get_and_post() {
    const STREAMS: [&[u8]; 3] = [
        b"\x80\x03\0\x01\0\0\0\x29\0\0\0\x01\0\0\0\0\0\0\x78\xf9\xe3\xc6\xa7\xc2\x62\x60\x60\x60\x04\xa7\xb3\x92\xa2\xd4\xc4\x5c\x68\x51\xc2\x9a\x0a\x0a\x68\0\0\0\0\xff\xff",
        b"\x80\x03\0\x01\0\0\0\x19\0\0\0\x03\0\0\0\0\0\0\xc2\x2a\xc5\x56\x5c\x92\x92\x5f\x5a\x02\0\0\0\xff\xff",
        b"\x80\x03\0\x01\0\0\0\x15\0\0\0\x05\0\0\0\0\0\0\xc2\x29\x97\x5a\x54\x04\0\0\0\xff\xff",
    ];
    const END: &[u8] = b"\0\0\0\x01\0\0\0\x22{\"metadata\":{},\"status\":\"Success\"}\x80\x03\0\x03\0\0\0\x08\0\0\0\x01\0\0\0\x05\x80\x03\0\x07\0\0\0\x08\0\0\0\x05\0\0\0\0";
    let sandbox = TestSandbox::start(&[]);
    let headers = [
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        "Content-Length: 0",
        "X-Stream-Protocol-Version: v4.channel.k8s.io",
    ];
    let path = "/api/v1/namespaces/default/pods/shell/exec?command=echo&command=hello&stdout=true&stderr=true";
    for method in ["GET", "POST"] {
        for cluster in ["modern", "legacy"] {
            let bytes = sandbox.block_on(async {
                let mut stream = sandbox
                    .send(cluster, &format!("{method} {path}"), &headers)
                    .await;
                stream.write_all(&STREAMS.concat()).await.unwrap();
                read_all(&mut stream).await
            });
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                text.starts_with("HTTP/1.1 101 "),
                "{method} {cluster}: {text}"
            );
            let output = b"\0\0\0\x03\0\0\0\x06hello\n";
            assert!(
                bytes.windows(output.len()).any(|window| window == output),
                "{text}"
            );
            assert!(bytes.ends_with(END), "{text}");
        }
    }
}

// The capture ws-exit7 of a 1.36 apiserver, with another exit code.
#[test]
fn v5_answers_byte_for_byte_as_the_captured_translator_did() {
    let sandbox = TestSandbox::start(&[]);
    let answer = answer(
        &sandbox,
        "modern",
        "shell",
        CAPTURED,
        &handshake("v5.channel.k8s.io"),
    );
    let status = "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit code: \
                  command terminated with exit code 5\",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":\
                  [{\"reason\":\"ExitCode\",\"message\":\"5\"}]}}";
    let frames = format!(
        "\u{82}\u{1}\u{1}\u{82}\u{4}\u{1}hi\n\u{82}~\u{0}\u{d5}\u{3}{status}\u{88}\u{2}\u{3}\u{e8}"
    );
    assert_eq!(answer, switching("v5.channel.k8s.io") + &frames);
}

#[test]
fn a_subprotocol_the_server_lacks_is_a_403_with_nothing_in_it() {
    let sandbox = TestSandbox::start(&[]);
    for (cluster, subprotocol) in [
        ("legacy", "v5.channel.k8s.io"),
        ("modern", "v9.channel.k8s.io"),
    ] {
        let answer = answer(
            &sandbox,
            cluster,
            "shell",
            CAPTURED,
            &handshake(subprotocol),
        );
        assert_eq!(
            answer, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n",
            "{cluster}"
        );
    }
}

#[test]
fn refusals_carry_the_captured_status_and_its_headers() {
    let sandbox = TestSandbox::start(&[]);
    let answer = answer(
        &sandbox,
        "modern",
        "nosuch",
        CAPTURED,
        &handshake("v5.channel.k8s.io"),
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    for line in [
        "audit-id: ",
        "cache-control: no-cache, private",
        "content-type: application/json",
        "date: ",
        "content-length: 180",
    ] {
        assert!(
            head.to_lowercase().contains(&format!("\r\n{line}")),
            "{line} not in {head}"
        );
    }
    assert_eq!(
        body,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"pods \\\"nosuch\\\" \
         not found\",\"reason\":\"NotFound\",\"details\":{\"name\":\"nosuch\",\"kind\":\"pods\"},\"code\":404}\n"
    );
}

#[test]
fn nobody_gets_in_without_the_token() {
    let sandbox = TestSandbox::start(&[]);
    for request_line in [
        get("shell", CAPTURED),
        "GET /version".to_owned(),
        "GET /api/v1/pods".to_owned(),
    ] {
        let (head, body) = sandbox.block_on(async {
            let mut stream = sandbox.connect("modern").await.unwrap();
            let request = format!(
                "{request_line} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer nosuch\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            read_answer(&mut stream).await
        });
        assert!(
            head.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
            "{request_line}: {head}"
        );
        assert!(body.contains("\"reason\":\"Unauthorized\""), "{body}");
    }
}

#[test]
fn a_token_opens_its_own_cluster_only() {
    let sandbox = TestSandbox::start(&[]);
    let (head, _) = sandbox.block_on(async {
        let mut stream = sandbox.connect("modern").await.unwrap();
        stream
            .write_all(sandbox.head("legacy", "GET /version", &[]).as_bytes())
            .await
            .unwrap();
        read_answer(&mut stream).await
    });
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[test]
fn an_exec_may_follow_other_requests_on_the_same_connection() {
    let sandbox = TestSandbox::start(&[]);
    let headers = handshake("v4.channel.k8s.io");
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let (version, exec) = sandbox.block_on(async {
        let mut stream = sandbox.send("legacy", "GET /version", &[]).await;
        let version = read_answer(&mut stream).await;
        let head = sandbox.head(
            "legacy",
            &get("shell", "command=echo&command=hi&stdout=true"),
            &headers,
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        (version, read_all(&mut stream).await)
    });
    assert!(
        version.1.contains("\"gitVersion\":\"v1.20.2\""),
        "{version:?}"
    );
    let exec: String = exec.into_iter().map(char::from).collect();
    let (head, frames) = exec.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(
        frames,
        "\u{82}\u{1}\u{1}\u{82}\u{4}\u{1}hi\n\u{82}#\u{3}{\"metadata\":{},\"status\":\"Success\"}\u{88}\u{2}\u{3}\u{e8}"
    );
}

#[test]
fn dropping_the_connection_ends_the_process() {
    let sandbox = TestSandbox::start(&[]);
    for tty in ["", "&tty=true"] {
        let query = format!(
            "command=sh&command=-c&command=echo+pid%3D%24%24.%3B+sleep+1000&stdout=true&stdin=true{tty}"
        );
        let headers = handshake("v5.channel.k8s.io");
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let pid = sandbox.block_on(async {
            let mut stream = sandbox
                .send("modern", &get("shell", &query), &headers)
                .await;
            let mut seen = Vec::new();
            loop {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "{seen:?}");
                let text = String::from_utf8_lossy(&seen).into_owned();
                if let Some((pid, _)) = text
                    .split_once("pid=")
                    .and_then(|(_, rest)| rest.split_once('.'))
                {
                    break pid.to_owned();
                }
            }
        });
        let process = std::path::Path::new("/proc").join(&pid);
        let start = Instant::now();
        while process.exists() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "process {pid} lives on"
            );
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_reader_that_waits_holds_the_process_back_and_then_gets_everything_before_the_status() {
    const LEN: usize = 30_000_000;
    let sandbox = TestSandbox::start(&[]);
    let script = format!("head -c {LEN} /dev/zero; echo over > over");
    let query = format!(
        "command=sh&command=-c&command={}&stdout=true",
        script
            .replace(' ', "+")
            .replace(';', "%3B")
            .replace('>', "%3E")
    );
    let over = sandbox.dir.join("homes/modern/default/shell/app/over");
    let headers = handshake("v5.channel.k8s.io");
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    sandbox.block_on(async {
        let mut stream = sandbox
            .send("modern", &get("shell", &query), &headers)
            .await;
        let mut seen = vec![0; 1000];
        stream.read_exact(&mut seen).await.unwrap();
        // While nothing is read, a hundred other requests come and go.
        for _ in 0..100 {
            let mut other = sandbox.send("modern", "GET /version", &[]).await;
            read_answer(&mut other).await;
        }
        assert!(
            !over.exists(),
            "the process wrote {LEN} bytes to somebody who reads none"
        );
        seen.extend(read_all(&mut stream).await);
        assert!(over.exists());
        let payload = seen
            .split(|byte| *byte != 0)
            .map(<[u8]>::len)
            .sum::<usize>();
        // Frame headers hold a few zeros of their own.
        assert!((LEN..LEN + LEN / 1000).contains(&payload), "{payload}");
        assert!(seen.ends_with(b"\x03{\"metadata\":{},\"status\":\"Success\"}\x88\x02\x03\xe8"));
    });
}

#[test]
fn the_files_are_the_owners_alone_and_go_with_the_sandbox() {
    let mut sandbox = TestSandbox::start(&[]);
    let kubeconfig = sandbox.sandbox().kubeconfig().to_owned();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&kubeconfig), 0o600);
    assert_eq!(mode(&sandbox.dir), 0o700);
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["current-context"], "modern");
    let contexts = config["contexts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|context| context["name"].as_str().unwrap());
    assert_eq!(contexts.collect::<Vec<_>>(), ["modern", "legacy", "locked"]);
    answer(
        &sandbox,
        "modern",
        "shell",
        CAPTURED,
        &handshake("v5.channel.k8s.io"),
    );
    let dir = sandbox.dir.clone();
    sandbox.stop();
    assert!(!dir.exists());
}

#[test]
fn stopping_ends_running_processes() {
    let mut sandbox = TestSandbox::start(&[]);
    let headers = handshake("v5.channel.k8s.io");
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let query = "command=sh&command=-c&command=trap+%27%27+HUP%3B+echo+pid%3D%24%24.%3B+while+sleep+1%3B+do+%3A%3B+done&stdout=true";
    let (pid, stream) = sandbox.block_on(async {
        let mut stream = sandbox.send("modern", &get("shell", query), &headers).await;
        let mut seen = Vec::new();
        loop {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "{seen:?}");
            let text = String::from_utf8_lossy(&seen).into_owned();
            if let Some((pid, _)) = text
                .split_once("pid=")
                .and_then(|(_, rest)| rest.split_once('.'))
            {
                break (pid.to_owned(), stream);
            }
        }
    });
    sandbox.stop();
    assert!(
        !std::path::Path::new("/proc").join(&pid).exists(),
        "process {pid} lives on"
    );
    drop(stream);
}

#[test]
fn it_listens_on_loopback_only() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dir = std::env::temp_dir().join("periscope-sandbox-never-made");
    let options = SandboxOptions {
        listen: "0.0.0.0:0".parse().unwrap(),
        faults: Vec::new(),
        dir: dir.clone(),
    };
    let error = runtime.block_on(Sandbox::start(options)).unwrap_err();
    assert!(matches!(error, Error::NotLoopback(_)), "{error}");
    assert!(!dir.exists());
}

#[test]
fn a_given_port_is_the_first_of_three() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Somebody else may take one of the ports between our look and our start.
    for attempt in 0.. {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = std::env::temp_dir().join(format!("periscope-sandbox-{}", uuid::Uuid::new_v4()));
        let options = SandboxOptions {
            listen: ([127, 0, 0, 1], port).into(),
            faults: Vec::new(),
            dir,
        };
        match runtime.block_on(Sandbox::start(options)) {
            Ok(sandbox) => {
                let servers: Vec<&str> = sandbox
                    .clusters()
                    .iter()
                    .map(|cluster| cluster.server.as_str())
                    .collect();
                let wanted = [0, 1, 2].map(|offset| format!("https://127.0.0.1:{}", port + offset));
                assert_eq!(servers, wanted);
                return;
            }
            Err(error) => assert!(attempt < 20, "{error}"),
        }
    }
}

#[test]
fn an_unreachable_cluster_refuses_connections_and_leaves_the_others_alone() {
    let sandbox = TestSandbox::start(&[Fault::Unreachable]);
    let error = sandbox.block_on(sandbox.connect("modern")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    sandbox.block_on(sandbox.connect("legacy")).unwrap();
}
