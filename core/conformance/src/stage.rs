//! One session on a stage: a gateway on the runtime, its two peers on threads.

use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use bytes::BytesMut;
use periscope_core::drive::{Driver, Turn};
use periscope_core::session::{
    Answer, Ask, BreakerVerdict, Config, DialFailure, Dialed, Event, Identity, Order, PodState,
    Session, Summary, Timing, Transport,
};
use periscope_core::tls::{Tls, Upstream};
use periscope_core::transport::Clock;
use rustls::{ClientConfig, ServerConfig};

use crate::Runtime;
use crate::apiserver::ApiServer;
use crate::browser::Browser;
use crate::certificates;

/// How long a peer waits for bytes before it calls that a finding. Never waited for in a good run.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What lies under the apiserver's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Plain TCP.
    Tcp,
    /// Core's TLS.
    Tls,
}

/// What a scenario sets up.
#[derive(Debug)]
pub struct Setup {
    /// The session's configuration.
    pub config: Config,
    /// TLS as the gateway speaks it; none is plain TCP.
    pub client_tls: Option<Arc<ClientConfig>>,
    /// TLS as the apiserver speaks it.
    pub server_tls: Option<Arc<ServerConfig>>,
    /// What the gateway finds when it looks for the pod.
    pub pod: PodState,
    /// Where the gateway dials, if not the apiserver of this stage.
    pub dial_elsewhere: Option<SocketAddr>,
    /// The browser's handshake was done elsewhere, and these bytes came behind it.
    pub accepted: Option<BytesMut>,
}

/// What the host saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Every attempt and how the log line calls its error.
    pub attempts: Vec<(Transport, String)>,
    /// What the breaker was told.
    pub breaker: Vec<BreakerVerdict>,
    /// What was dialed.
    pub dials: Vec<Transport>,
    /// How often the pod was looked for.
    pub pod_asks: usize,
    /// How often the session said that it started.
    pub starts: usize,
    /// How it ended.
    pub summary: Option<Summary>,
}

impl Report {
    /// The end, which every session has.
    pub fn summary(&self) -> &Summary {
        self.summary.as_ref().expect("`Ended` came")
    }
}

/// What a scenario may look at between turns, and order.
pub struct Glance<'a> {
    /// The session.
    pub session: &'a Session,
    /// Its payload and the bytes that were read and not taken.
    pub held: usize,
}

impl core::fmt::Debug for Glance<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Glance").field("held", &self.held).finish()
    }
}

impl Setup {
    /// A shell without a terminal whose timers are out of the way.
    pub fn new(wire: Wire) -> Self {
        let (client_tls, server_tls) = match wire {
            Wire::Tcp => (None, None),
            Wire::Tls => (
                Some(certificates::client()),
                Some(certificates::server(rustls::DEFAULT_VERSIONS, 2)),
            ),
        };
        Self {
            config: config(),
            client_tls,
            server_tls,
            pod: PodState::Same,
            dial_elsewhere: None,
            accepted: None,
        }
    }

    /// The same with another configuration.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Plays one session. The peers run on threads; what the browser returns is handed on.
    pub fn play<R: Runtime, T: Send>(
        self,
        apiserver: impl FnOnce(ApiServer) + Send,
        browser: impl FnOnce(Browser) -> T + Send,
    ) -> (T, Report) {
        self.play_watched::<R, T>(apiserver, browser, None)
    }

    /// The same, with a look at the session whenever it has nothing to do for the moment.
    pub fn play_watched<R: Runtime, T: Send>(
        mut self,
        apiserver: impl FnOnce(ApiServer) + Send,
        browser: impl FnOnce(Browser) -> T + Send,
        watch: Option<Watch<'_>>,
    ) -> (T, Report) {
        let server = ApiServer::bind(self.server_tls.take());
        let entrance = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = entrance.local_addr().unwrap();
        let dial = self.dial_elsewhere.unwrap_or_else(|| server.address());
        let bound = server.address();
        let accepted = self.accepted.is_some();
        thread::scope(|scope| {
            let apiserver = scope.spawn(|| apiserver(server));
            let browser = scope.spawn(move || {
                browser(if accepted {
                    Browser::accepted(address)
                } else {
                    Browser::open(address)
                })
            });
            let (stream, _) = entrance.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let report = R::block_on(serve::<R>(stream, self, dial, watch));
            // A peer that still waits for a call is let go.
            let _ = TcpStream::connect(bound);
            let told = browser.join();
            let done = apiserver.join();
            let told = told.unwrap_or_else(|panic| resume_unwind(panic));
            done.unwrap_or_else(|panic| resume_unwind(panic));
            (told, report)
        })
    }
}

/// Looks at a session and may give an order.
pub type Watch<'a> = &'a mut dyn FnMut(&Glance<'_>) -> Option<Order>;

/// A configuration whose timers are out of the way.
pub fn config() -> Config {
    Config {
        session_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        cluster: "c".to_owned(),
        namespace: "n".to_owned(),
        pod: "p".to_owned(),
        container: Some("main".to_owned()),
        command: vec!["sh".to_owned()],
        own_command: false,
        tty: false,
        size: None,
        flow_ack: false,
        stdin_ack: false,
        identity: Identity::default(),
        timing: Timing {
            idle: PATIENCE * 4,
            idle_warn: PATIENCE,
            heartbeat: PATIENCE * 4,
        },
        first: Transport::WebSocketV5,
    }
}

/// The host of one session: what a production server does, in small.
pub async fn serve<R: Runtime>(
    browser: TcpStream,
    setup: Setup,
    dial: SocketAddr,
    mut watch: Option<Watch<'_>>,
) -> Report {
    let clock = R::clock();
    let browser = R::accept(browser).unwrap();
    let seed = [3; 32];
    let (session, leftover) = match setup.accepted.clone() {
        Some(leftover) => {
            let session = Session::accepted(setup.config.clone(), seed, clock.now());
            (session, leftover)
        }
        None => (Session::listening(seed, clock.now()), BytesMut::new()),
    };
    let mut driver = Driver::new(session, browser, leftover, clock);
    let mut report = Report::default();
    loop {
        let turn = match watch.as_mut() {
            None => R::next(&mut driver).await,
            Some(watch) => poll_fn(|cx| next_watched::<R>(&mut driver, cx, watch)).await,
        };
        match turn {
            Turn::Ask(Ask::Admit(_)) => {
                driver.answer(Answer::Admitted(Box::new(setup.config.clone())));
            }
            Turn::Ask(Ask::Dial(asked)) => {
                report.dials.push(asked.transport);
                match R::connect(dial).await {
                    Ok(socket) => driver.attach(upstream(socket, &setup), dialed()),
                    Err(_) => driver.answer(Answer::DialFailed(DialFailure::Tcp)),
                }
            }
            Turn::Ask(Ask::Pod) => {
                report.pod_asks += 1;
                driver.answer(Answer::Pod(setup.pod));
            }
            // Connecting is not raced here, so there is never a dial to stop.
            Turn::CancelDial => {}
            Turn::Event(Event::Attempt { transport, error }) => {
                report.attempts.push((transport, error.to_string()));
            }
            Turn::Event(Event::Breaker(verdict)) => report.breaker.push(verdict),
            Turn::Event(Event::Started { .. }) => report.starts += 1,
            Turn::Event(Event::Ended(summary)) => {
                assert!(report.summary.is_none(), "`Ended` came twice");
                report.summary = Some(summary);
            }
            Turn::Done => return report,
        }
    }
}

type Gateway<R> =
    Driver<<R as Runtime>::Socket, Upstream<<R as Runtime>::Socket>, <R as Runtime>::Clock>;

fn next_watched<R: Runtime>(
    driver: &mut Gateway<R>,
    cx: &mut Context<'_>,
    watch: &mut Watch<'_>,
) -> Poll<Turn> {
    loop {
        let polled = driver.poll_next(cx);
        if polled.is_ready() {
            return polled;
        }
        let order = watch(&Glance {
            session: driver.session(),
            held: driver.session().held_bytes() + driver.unread(),
        });
        match order {
            // What the order changes may be written or read at once.
            Some(order) => driver.order(order),
            None => return polled,
        }
    }
}

fn upstream<T: periscope_core::transport::Transport>(socket: T, setup: &Setup) -> Upstream<T> {
    match &setup.client_tls {
        None => Upstream::Plain(socket),
        Some(config) => {
            let name = certificates::server_name();
            let tls = Tls::new(socket, Arc::clone(config), name).unwrap();
            Upstream::Tls(Box::new(tls))
        }
    }
}

fn dialed() -> Dialed {
    Dialed {
        host: certificates::SERVER_NAME.to_owned(),
        path_prefix: String::new(),
        headers: Vec::new(),
    }
}
