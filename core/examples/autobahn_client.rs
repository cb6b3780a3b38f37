//! Runs every case of Autobahn's fuzzing server: `autobahn_client ADDRESS:PORT`.
//!
//! The machines come from the core; this example only adds a socket and random seeds.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an example is a host: sockets and arguments are its part"
)]

mod echo;

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::TcpStream;

use periscope_core::http::{ClientOutcome, ClientUpgrade, UpgradeRequest};
use periscope_core::ws::{Kind, WebSocket};

use crate::echo::{Connection, MESSAGE_BYTES_MAX, echo};

/// The name the report lists us under.
const AGENT: &str = "periscope-core";

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: autobahn_client ADDRESS:PORT")?;
    let mut count = None;
    run(&address, "/getCaseCount", |kind, message| {
        if kind == Kind::Text {
            count = std::str::from_utf8(message)
                .ok()
                .and_then(|text| text.parse::<u32>().ok());
        }
    })?;
    let count = count.ok_or("the server did not tell how many cases there are")?;
    for case in 1..=count {
        if let Err(error) = run(
            &address,
            &format!("/runCase?case={case}&agent={AGENT}"),
            |_, _| {},
        ) {
            // A case may end the connection as rudely as it likes; the report has the verdict.
            eprintln!("case {case} of {count}: {error}");
        }
    }
    run(
        &address,
        &format!("/updateReports?agent={AGENT}"),
        |_, _| {},
    )
}

fn run(
    address: &str,
    target: &str,
    on_message: impl FnMut(Kind, &[u8]),
) -> Result<(), Box<dyn Error>> {
    let mut connection = Connection::new(TcpStream::connect(address)?)?;
    let request = UpgradeRequest {
        host: address,
        target,
        headers: &[],
        subprotocols: &[],
    };
    let mut upgrade = ClientUpgrade::websocket(&request, random()?, &mut connection.out)?;
    connection.flush()?;
    let outcome = loop {
        if let Some(outcome) = upgrade.receive(&mut connection.input)? {
            break outcome;
        }
        if !connection.read()? {
            break upgrade.eof(&mut connection.input)?.ok_or("no answer")?;
        }
    };
    if !matches!(outcome, ClientOutcome::Upgraded { .. }) {
        return Err(format!("not upgraded: {outcome:?}").into());
    }
    let mut websocket = WebSocket::client(random()?, MESSAGE_BYTES_MAX);
    echo(&mut connection, &mut websocket, false, on_message)?;
    Ok(())
}

fn random<const LEN: usize>() -> Result<[u8; LEN], std::io::Error> {
    let mut bytes = [0; LEN];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
