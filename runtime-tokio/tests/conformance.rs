//! The conformance suite on tokio.
#![allow(clippy::expect_used, reason = "a test: a panic is a finding")]

use std::io;
use std::net::{SocketAddr, TcpStream};

use async_tungstenite::tokio::TokioAdapter;
use periscope_conformance::Runtime;
use periscope_core::drive::{Driver, Turn};
use periscope_core::transport::{Clock, Transport};
use periscope_runtime_tokio::{Socket, TokioClock, next};

struct Tokio;

impl Runtime for Tokio {
    type Socket = Socket<tokio::net::TcpStream>;
    type Clock = TokioClock;
    type Stream = TokioAdapter<tokio::net::TcpStream>;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    fn clock() -> TokioClock {
        TokioClock::new(tokio::time::Instant::now())
    }

    async fn connect(address: SocketAddr) -> io::Result<Self::Socket> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Socket(stream))
    }

    fn accept(stream: TcpStream) -> io::Result<Self::Socket> {
        tokio::net::TcpStream::from_std(stream).map(Socket)
    }

    fn stream(stream: TcpStream) -> io::Result<Self::Stream> {
        tokio::net::TcpStream::from_std(stream).map(TokioAdapter::new)
    }

    async fn next<B: Transport, A: Transport, C: Clock>(driver: &mut Driver<B, A, C>) -> Turn {
        next(driver).await
    }
}

periscope_conformance::tests!(Tokio);
