//! Sockets and a clock of smol for the driver loop of `periscope-core`.
//!
//! No decision is made here: what to read, write, dial or give up is the core's business. A host
//! makes a session, lends it two sockets and a clock, and answers what it asks, as below; a whole
//! gateway is in `examples/gateway`.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use periscope_core::code::CloseDetail;
//! use periscope_core::drive::{Driver, Turn};
//! use periscope_core::session::{
//!     Answer, Ask, Config, DialFailure, Dialed, Event, Identity, PodState, Session, Summary,
//!     Timing, Transport,
//! };
//! use periscope_core::transport::Clock;
//! use periscope_runtime_smol::{SmolClock, Socket, next};
//! use smol::net::{TcpListener, TcpStream};
//! use std::time::Instant;
//!
//! /// Runs one shell whose browser was admitted and whose 101 is out.
//! async fn shell(browser: TcpStream, config: Config, apiserver: SocketAddr) -> Option<Summary> {
//!     let clock = SmolClock::new(Instant::now());
//!     // Keys and masks come from the seed: a real host draws it from the system's randomness.
//!     let session = Session::accepted(config, [7; 32], clock.now());
//!     let mut driver = Driver::new(session, Socket(browser), Default::default(), clock);
//!     let mut end = None;
//!     loop {
//!         match next(&mut driver).await {
//!             // A real host goes on with `next` while it connects, because the deadline of the
//!             // dial and the browser's farewell come from there. Over TLS it attaches
//!             // `periscope_core::tls::Tls` around the socket.
//!             Turn::Ask(Ask::Dial(_)) => match TcpStream::connect(apiserver).await {
//!                 Ok(stream) => driver.attach(
//!                     Socket(stream),
//!                     Dialed {
//!                         host: apiserver.to_string(),
//!                         path_prefix: String::new(),
//!                         headers: Vec::new(), // credentials and impersonation
//!                     },
//!                 ),
//!                 Err(_) => driver.answer(Answer::DialFailed(DialFailure::Tcp)),
//!             },
//!             Turn::Ask(Ask::Pod) => driver.answer(Answer::Pod(PodState::Unknown)),
//!             // Only a session that reads the browser's handshake itself asks for admission.
//!             Turn::Ask(Ask::Admit(_)) => driver.answer(Answer::Refused {
//!                 status: 403,
//!                 body: String::new(),
//!                 retry_after: None,
//!             }),
//!             Turn::CancelDial => {}
//!             Turn::Event(Event::Ended(summary)) => end = Some(summary),
//!             Turn::Event(_) => {} // audit, log and metrics
//!             Turn::Done => return end,
//!         }
//!     }
//! }
//!
//! # fn config() -> Config {
//! #     Config {
//! #         session_id: "1".into(), cluster: "c".into(), namespace: "n".into(), pod: "p".into(),
//! #         container: None, command: vec!["sh".into()], own_command: false, tty: true, size: None,
//! #         flow_ack: false, stdin_ack: false, identity: Identity::default(), timing: Timing::default(),
//! #         first: Transport::WebSocketV5,
//! #     }
//! # }
//! # fn main() -> std::io::Result<()> {
//! # smol::block_on(async {
//! // Nobody listens where the apiserver should be.
//! let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
//! let entrance = TcpListener::bind("127.0.0.1:0").await?;
//! let page = TcpStream::connect(entrance.local_addr()?).await?;
//! let (browser, _) = entrance.accept().await?;
//! drop(page);
//! let end = shell(browser, config(), nobody).await.expect("every session ends");
//! assert_eq!(end.detail, CloseDetail::Unreachable);
//! # Ok(())
//! # })
//! # }
//! ```

mod clock;
mod socket;

use core::future::poll_fn;

pub use clock::SmolClock;
use periscope_core::drive::{Driver, Turn};
use periscope_core::transport::{Clock, Transport};
pub use socket::Socket;

/// Goes on until the host is needed. Cancel-safe: all state stays in the driver, so it can be one
/// branch of a race.
pub async fn next<B: Transport, A: Transport, C: Clock>(driver: &mut Driver<B, A, C>) -> Turn {
    poll_fn(|cx| driver.poll_next(cx)).await
}
