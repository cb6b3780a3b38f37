//! The socket towards an apiserver as the driver sees it: TLS by the core, or plain.

use std::sync::Arc;

use periscope_core::tls::{self, Tls};
use periscope_runtime_tokio::Socket;
use tokio::net::TcpStream;

use super::kube::Endpoint;

/// A connection to an apiserver.
pub(crate) type Upstream = tls::Upstream<Socket<TcpStream>>;

/// Prepares what the endpoint wants spoken on a connected socket.
pub(crate) fn upstream(socket: TcpStream, endpoint: &Endpoint) -> Result<Upstream, rustls::Error> {
    let socket = Socket(socket);
    let Some(tls) = &endpoint.tls else {
        return Ok(Upstream::Plain(socket));
    };
    let tls = Tls::new(socket, Arc::clone(&tls.config), tls.server_name.clone())?;
    Ok(Upstream::Tls(Box::new(tls)))
}
