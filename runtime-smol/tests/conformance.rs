//! The conformance suite on smol.

use std::io;
use std::net::{SocketAddr, TcpStream};

use periscope_conformance::Runtime;
use periscope_core::drive::{Driver, Turn};
use periscope_core::transport::{Clock, Transport};
use periscope_runtime_smol::{SmolClock, Socket, next};
use smol::Async;

struct Smol;

impl Runtime for Smol {
    type Socket = Socket<smol::net::TcpStream>;
    type Clock = SmolClock;
    type Stream = Async<TcpStream>;

    fn block_on<F: Future>(future: F) -> F::Output {
        smol::block_on(future)
    }

    fn clock() -> SmolClock {
        SmolClock::new(std::time::Instant::now())
    }

    async fn connect(address: SocketAddr) -> io::Result<Self::Socket> {
        let stream = smol::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Socket(stream))
    }

    fn accept(stream: TcpStream) -> io::Result<Self::Socket> {
        Ok(Socket(smol::net::TcpStream::try_from(stream)?))
    }

    fn stream(stream: TcpStream) -> io::Result<Self::Stream> {
        Async::new(stream)
    }

    async fn next<B: Transport, A: Transport, C: Clock>(driver: &mut Driver<B, A, C>) -> Turn {
        next(driver).await
    }
}

periscope_conformance::tests!(Smol);
