//! Kubernetes `pods/exec` as pure state machines: a browser's WebSocket on one side, an apiserver
//! on the other, and between them a session with its rules. No socket, clock, thread or async
//! function is in here; [`drive`] is the one loop that moves bytes, over the two small traits of
//! [`transport`].
//!
//! # The loop
//! A host owns the sockets. It asks the driver what to do next, and answers:
//!
//! ```
//! use core::task::{Context, Poll};
//! use periscope_core::drive::{Driver, Turn};
//! use periscope_core::session::{Answer, Ask, DialFailure, Event, PodState};
//! use periscope_core::transport::{Clock, Transport};
//!
//! fn step<B: Transport, A: Transport, C: Clock>(
//!     driver: &mut Driver<B, A, C>,
//!     cx: &mut Context<'_>,
//! ) -> Poll<()> {
//!     loop {
//!         let Poll::Ready(turn) = driver.poll_next(cx) else { return Poll::Pending };
//!         match turn {
//!             // Connect, then `driver.attach(socket, dialed)`; here nothing can be reached.
//!             Turn::Ask(Ask::Dial(_)) => driver.answer(Answer::DialFailed(DialFailure::Dns)),
//!             Turn::Ask(Ask::Pod) => driver.answer(Answer::Pod(PodState::Unknown)),
//!             Turn::Ask(Ask::Admit(_)) => {
//!                 driver.answer(Answer::Refused { status: 503, body: String::new(), retry_after: None });
//!             }
//!             Turn::CancelDial => {}
//!             Turn::Event(Event::Ended(summary)) => println!("{:?}", summary.detail),
//!             Turn::Event(_) => {}
//!             Turn::Done => return Poll::Ready(()),
//!         }
//!     }
//! }
//! ```
//!
//! # Reading order
//! `ARCHITECTURE.md` in the repository, then [`session::io`] (everything that can go in or out),
//! [`session`] (the states), [`drive`] (how bytes move), [`refusal`] and [`code`] (the tables).

pub mod channel;
pub mod code;
pub mod drive;
pub mod http;
pub mod kube;
pub mod leg;
pub mod limits;
pub mod names;
pub mod outbox;
pub mod policy;
pub mod refusal;
pub mod request;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod spdy;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
pub mod ws;
