//! A command in a container, without any runtime: the core driven by hand over a blocking socket.
//!
//! ```text
//! TOKEN=… cargo run -p periscope-core --example blocking -- https://HOST:PORT CA.pem NAMESPACE POD COMMAND…
//! ```
//! An `http` URL means no TLS. stdin, if it is no terminal, goes to the command; its exit code is ours.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an example is a host: sockets, files and arguments are its part"
)]

use std::env;
use std::error::Error;
use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::BytesMut;
use periscope_core::channel::{Subprotocol, status::Outcome};
use periscope_core::http::{SecretValue, UpgradeRequest};
use periscope_core::leg::api::{ApiEvent, ApiLeg};
use periscope_core::limits::READ_BYTES_MAX;
use periscope_core::names;
use periscope_core::request::{ExecTarget, exec_target};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("blocking: {error}");
            ExitCode::from(255)
        }
    }
}

fn run() -> Result<u8, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, ca, namespace, pod, command @ ..] = arguments.as_slice() else {
        return Err("usage: blocking URL CA.pem NAMESPACE POD COMMAND…".into());
    };
    names::check_namespace(namespace).and(names::check_pod(pod))?;
    let (host, is_tls) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(host), _) => (host, true),
        (_, Some(host)) => (host, false),
        _ => return Err("the URL begins with neither https:// nor http://".into()),
    };
    let socket = TcpStream::connect(host)?;
    let mut stream: Box<dyn Stream> = if is_tls {
        Box::new(tls(host, ca, socket)?)
    } else {
        Box::new(socket)
    };

    // The machine asks for the upgrade: what it wants said waits in its outbox.
    let target = exec_target(&ExecTarget {
        path_prefix: "",
        namespace,
        pod,
        container: None,
        command,
        tty: false,
    });
    let bearer = SecretValue::new(&format!("Bearer {}", env::var("TOKEN")?))?;
    let request = UpgradeRequest {
        host,
        target: &target,
        headers: &[("Authorization".to_owned(), bearer)],
        subprotocols: &[Subprotocol::V5.as_str()],
    };
    let (mut key, mut seed) = ([0; 16], [0; 32]);
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    let filled = random.fill(&mut key).and_then(|()| random.fill(&mut seed));
    filled.map_err(|_| "no random bytes")?;
    let mut leg = ApiLeg::websocket(&request, Subprotocol::V5, false, key, seed)?;

    let mut input = BytesMut::new();
    let mut code = None;
    loop {
        flush(&mut leg, &mut stream)?;
        let event = match leg.receive(&mut input, READ_BYTES_MAX)? {
            None => {
                let mut bytes = [0; 16 * 1024];
                let len = stream.read(&mut bytes)?;
                input.extend_from_slice(bytes.get(..len).unwrap_or_default());
                match len {
                    0 => leg.eof(&mut input)?.unwrap_or(ApiEvent::Ended),
                    _ => continue,
                }
            }
            Some(event) => event,
        };
        match event {
            ApiEvent::Upgraded => send_stdin(&mut leg, &mut stream)?,
            ApiEvent::Output(bytes) => stdout().write_all(&bytes)?,
            ApiEvent::Status(Outcome::Success) => code = Some(0),
            ApiEvent::Status(Outcome::Exit(exit)) => code = Some(exit),
            ApiEvent::Status(Outcome::Failure(failure)) => return Err(failure.message.into()),
            ApiEvent::Refused(refused) => return Err(format!("{refused:?}").into()),
            ApiEvent::Ended => return code.ok_or_else(|| "it ended without a status".into()),
            ApiEvent::Alive | ApiEvent::Opened => {}
        }
    }
}

/// Writes what the machine wants said.
fn flush(leg: &mut ApiLeg, stream: &mut impl Write) -> std::io::Result<()> {
    let mut written = 0;
    for chunk in leg.outbox().chunks() {
        stream.write_all(chunk)?;
        written += chunk.len();
    }
    leg.outbox_mut().advance(written);
    stream.flush()
}

/// All of it before any output is read: good for what fits the buffers on the way.
fn send_stdin(leg: &mut ApiLeg, stream: &mut impl Write) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    if !stdin().is_terminal() {
        stdin().lock().read_to_end(&mut bytes)?;
    }
    for piece in bytes.chunks(READ_BYTES_MAX) {
        leg.send_stdin(BytesMut::from(piece));
        flush(leg, stream)?;
    }
    leg.end_stdin();
    Ok(())
}

fn tls(host: &str, ca: &str, socket: TcpStream) -> Result<impl Stream + use<>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (name, _) = host.rsplit_once(':').ok_or("the URL has no port")?;
    let connection =
        ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?;
    Ok(StreamOwned::new(connection, socket))
}
