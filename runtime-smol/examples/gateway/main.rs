//! A gateway on smol alone: the exec endpoint of the production server, made of the same core.
//!
//! One person, known by a bearer token, opens shells in the clusters of a kubeconfig. Admission,
//! caps, rate limit, breaker, timers, TLS towards the apiserver, drain and audit rows on stdout are
//! the core's or done as the server does them; what is left out is the rest of the server: its UI,
//! its REST routes, logins, the audit database, metrics and log lines.
//!
//! ```text
//! KUBECONFIG=… PERISCOPE_TOKEN=… cargo run -p periscope-runtime-smol --example gateway
//! ```
//!
//! Settings come from the environment ([`config`]). stdout carries audit rows and nothing else;
//! stderr says `listening on <address>` once connections are taken.

mod admission;
mod apiserver;
mod audit;
mod config;
mod records;
mod session;
mod slots;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_signal::{Signal, Signals};
use periscope_core::code::CloseDetail;
use periscope_core::session::Order;
use smol::Timer;
use smol::future::FutureExt as _;
use smol::net::TcpListener;
use smol::stream::StreamExt as _;

use audit::Audit;
use config::Config;
use slots::Sessions;

/// How long sessions may take to end once their time is over; each needs 3 s at most.
const ENDING: Duration = Duration::from_secs(5);

/// How long the rows of the last sessions may take to leave.
const AUDIT_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections at a time: a request that has not been read yet costs a descriptor and a buffer.
const CONNECTIONS_MAX: usize = 1024;

/// How long accepting pauses when the machine is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
struct Gateway {
    config: Config,
    sessions: Arc<Sessions>,
    audit: Audit,
    reviews: admission::Reviews,
}

fn main() -> ExitCode {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("gateway: {error}");
            return ExitCode::from(3);
        }
    };
    match smol::block_on(serve(config)) {
        Ok((0, 0)) => ExitCode::SUCCESS,
        Ok((sessions, rows)) => {
            eprintln!("gateway: {sessions} sessions did not end, {rows} audit rows were lost");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal, then drains. Returns how many sessions and audit rows were left behind.
async fn serve(config: Config) -> std::io::Result<(usize, usize)> {
    let mut signals = Signals::new([Signal::Term, Signal::Int])?;
    let listener = TcpListener::bind(config.listen).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let gateway = Arc::new(Gateway {
        config,
        sessions: Arc::new(Sessions::new()),
        audit: Audit::start()?,
        reviews: admission::Reviews::default(),
    });
    let entrance = smol::spawn(accept(listener, Arc::clone(&gateway)));
    signals.next().await;
    let seconds = gateway.config.drain.as_secs();
    gateway.sessions.drain(Order::Drain { seconds });
    let leave = async {
        let patience = async {
            Timer::after(gateway.config.drain).await;
        };
        // A second signal skips the wait, not the records.
        let hurry = async {
            signals.next().await;
        };
        patience.or(hurry).await;
        gateway.sessions.drain(Order::End(CloseDetail::Drain));
        Timer::after(ENDING).await;
    };
    gateway.sessions.wait_empty().or(leave).await;
    // Whoever came during the drain was answered; now nobody is.
    entrance.cancel().await;
    let sessions = gateway.sessions.len();
    Ok((sessions, gateway.audit.close(AUDIT_FLUSH_TIMEOUT)))
}

/// One task for each connection.
async fn accept(listener: TcpListener, gateway: Arc<Gateway>) {
    let places = Arc::new(smol::lock::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.acquire_arc().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Keystrokes are small and must not wait for each other; a socket that refuses the
                // option still works.
                drop(stream.set_nodelay(true));
                let gateway = Arc::clone(&gateway);
                let connection = async move {
                    session::run(gateway, stream).await;
                    drop(place);
                };
                smol::spawn(connection).detach();
            }
            Err(error) => {
                eprintln!("gateway: cannot accept: {error}");
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}
