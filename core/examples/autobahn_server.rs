//! An echo server for Autobahn's fuzzing client: `autobahn_server ADDRESS:PORT`.
//!
//! The machines come from the core; this example only adds a thread and a socket per connection.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an example is a host: sockets and arguments are its part"
)]

mod echo;

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::thread;

use periscope_core::http::ServerUpgrade;
use periscope_core::ws::WebSocket;

use crate::echo::{Connection, MESSAGE_BYTES_MAX, echo};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: autobahn_server ADDRESS:PORT")?;
    let listener = TcpListener::bind(address)?;
    eprintln!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        thread::spawn(move || {
            if let Err(error) = serve(socket) {
                eprintln!("connection ended: {error}");
            }
        });
    }
    Ok(())
}

fn serve(socket: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut connection = Connection::new(socket)?;
    let mut upgrade = ServerUpgrade::new();
    let request = loop {
        match upgrade.receive(&mut connection.input) {
            Ok(Some(request)) => break request,
            Ok(None) => {
                if !connection.read()? {
                    return Ok(());
                }
            }
            Err(error) => {
                let text = error.to_string();
                let (status, headers) = (error.status(), error.headers());
                let out = &mut connection.out;
                upgrade.refuse(status, "text/plain", text.as_bytes(), headers, out)?;
                return Ok(connection.flush()?);
            }
        }
    };
    if request.is_websocket() {
        upgrade.accept_websocket(None, &mut connection.out)?;
        let mut websocket = WebSocket::server(MESSAGE_BYTES_MAX);
        echo(&mut connection, &mut websocket, true, |_, _| {})?;
    } else {
        upgrade.refuse(
            426,
            "text/plain",
            b"WebSocket only",
            &[],
            &mut connection.out,
        )?;
        connection.flush()?;
    }
    Ok(())
}
