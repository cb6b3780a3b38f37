//! The last hops: a shell through the gateway's own session, over one transport and then the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use periscope_core::code::CloseDetail;
use periscope_core::drive::{Driver, Turn};
use periscope_core::refusal::{self, Next, UpgradeError, classify_refusal};
use periscope_core::request::default_shell;
use periscope_core::session::{
    Answer, Ask, Config, Event, PodState, Session, Summary, Timing, Transport,
};
use periscope_core::transport::Clock as _;
use periscope_runtime_tokio::{TokioClock, next};
use uuid::Uuid;

use super::page::{Heard, Page};
use super::report::{Broken, Fault, Report, Seen};
use crate::gateway::dial::{DialResult, Pending, Way, ready};
use crate::gateway::identity::Identity;
use crate::gateway::kube::KubeClient;
use crate::gateway::login::random;
use crate::gateway::upstream::Upstream;

/// Where a shell is tried.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) kube: KubeClient,
    pub(super) identity: Identity,
    pub(super) audit_id: Uuid,
    pub(super) cluster: String,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: Option<String>,
    pub(super) limit: Duration,
}

/// One dial, and how it went.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    transport: Transport,
    error: UpgradeError,
    took: Duration,
}

/// One session, from its first dial to its end.
#[derive(Debug)]
struct Tried {
    attempts: Vec<Attempt>,
    /// None if it had no end in time.
    end: Option<Summary>,
    /// What the person at the browser would have read.
    told: Option<String>,
    /// Bytes that the shell printed.
    printed: u64,
    took: Duration,
}

impl Tried {
    fn attempt(&self, transport: Transport) -> Option<&Attempt> {
        // After a 401 there are two; the last one counts.
        let mut attempts = self.attempts.iter().rev();
        attempts.find(|attempt| attempt.transport == transport)
    }

    /// The transport over which the container's runtime answered, whatever it said.
    fn reached(&self) -> Option<Transport> {
        let answered = self.end.as_ref().is_some_and(|end| {
            matches!(
                end.detail,
                CloseDetail::ProcessExit
                    | CloseDetail::NoShell
                    | CloseDetail::NotFound
                    | CloseDetail::Rejected
            )
        });
        let last = self.attempts.last()?;
        let carries = answered || self.printed > 0;
        (carries && last.error == UpgradeError::None).then_some(last.transport)
    }

    /// Whether it was the impatience of this program that ended a dial after which the gateway would have
    /// gone on to SPDY.
    fn was_cut(&self) -> bool {
        let is_timeout = |attempt: &Attempt| {
            attempt.transport == Transport::WebSocketV5 && attempt.error == UpgradeError::Timeout
        };
        self.end.is_none()
            && self.attempts.last().is_some_and(is_timeout)
            && classify_refusal(&refusal::Answer::Timeout).next == Next::Spdy
    }

    /// What became of it, in a few words.
    fn outcome(&self) -> String {
        match &self.end {
            None => "no end in time".to_owned(),
            Some(end) => format!("the session ended as {}", end.detail.as_str()),
        }
    }
}

/// What was tried, and what came of it.
struct Found {
    /// The session that begins with WebSocket, as every new shell's does.
    first: Tried,
    /// SPDY by itself, where the first session did not get that far.
    spdy: Option<Tried>,
}

impl Found {
    fn spdy(&self) -> &Tried {
        self.spdy.as_ref().unwrap_or(&self.first)
    }

    /// The session that a user would have had, if there is one.
    fn works(&self) -> Option<(&Tried, Transport)> {
        if let Some(transport) = self.first.reached() {
            return Some((&self.first, transport));
        }
        let spdy = self.spdy.as_ref().filter(|_| self.first.was_cut())?;
        Some((spdy, spdy.reached()?))
    }
}

/// Walks the last hops. Tries WebSocket with all that the gateway does after a refusal, and SPDY by
/// itself where there was no need of it.
pub(super) async fn walk(report: &mut Report, target: &Target) -> Result<(), Broken> {
    let first = match attempt(target, Transport::WebSocketV5).await {
        Ok(first) => first,
        Err(fault) => return report.add("websocket", None, Err(fault)),
    };
    let spdy = if first.attempt(Transport::Spdy).is_some() {
        None
    } else {
        match attempt(target, Transport::Spdy).await {
            Ok(tried) => Some(tried),
            Err(fault) => return report.add("spdy", None, Err(fault)),
        }
    };
    let found = Found { first, spdy };
    tell(
        report,
        "websocket",
        &found.first,
        Transport::WebSocketV5,
        websocket(&found),
    );
    tell(
        report,
        "spdy",
        found.spdy(),
        Transport::Spdy,
        spdy_hop(&found),
    );
    if found.first.attempt(Transport::WebSocketV4).is_some() {
        tell(
            report,
            "websocket-v4",
            &found.first,
            Transport::WebSocketV4,
            v4(&found),
        );
    }
    let (tried, _) = found.works().ok_or(Broken)?;
    report.add("shell", Some(tried.took), shell(tried))
}

fn tell(
    report: &mut Report,
    hop: &'static str,
    tried: &Tried,
    transport: Transport,
    walked: Result<Seen<()>, Fault>,
) {
    let took = tried
        .attempt(transport)
        .map_or(tried.took, |attempt| attempt.took);
    // The report keeps what broke; here the other hops follow all the same.
    let _told: Result<(), Broken> = report.add(hop, Some(took), walked);
}

/// How one transport did, in a few words; `Err` if it did not carry a shell.
fn carried(tried: &Tried, transport: Transport, name: &str) -> Result<String, Fault> {
    if tried.reached() == Some(transport) {
        return Ok(format!("{name}: upgraded"));
    }
    let Some(attempt) = tried.attempt(transport) else {
        return Err(Fault::new(tried.outcome(), HANGS));
    };
    let was_upgraded = tried
        .attempts
        .iter()
        .any(|other| other.transport == transport && other.error == UpgradeError::None);
    let what = match attempt.error {
        UpgradeError::None => format!("{name}: upgraded, then {}", tried.outcome()),
        // The translator takes every upgrade, and then says how it fared with the node.
        error if was_upgraded => {
            format!("{name}: upgraded, then the node was not reached ({error})")
        }
        UpgradeError::Timeout => format!("{name}: no answer in time"),
        error => format!("{name} refused: {error}"),
    };
    Err(Fault::new(what, why(tried, attempt)))
}

fn websocket(found: &Found) -> Result<Seen<()>, Fault> {
    let fault = match carried(&found.first, Transport::WebSocketV5, "v5.channel.k8s.io") {
        Ok(text) => return Ok(Seen::new((), text)),
        Err(fault) => fault,
    };
    if found.works().is_none() {
        return Err(fault);
    }
    let mut seen = Seen::new((), fault.what);
    seen.warn(
        "the gateway falls back to SPDY by itself. Clusters before 1.30 have no v5; on a later one, something on the way does not let \
         WebSockets pass",
    );
    Ok(seen)
}

fn spdy_hop(found: &Found) -> Result<Seen<()>, Fault> {
    let works = found.works().map(|(_, transport)| transport);
    match (carried(found.spdy(), Transport::Spdy, "SPDY/3.1"), works) {
        (Ok(text), Some(_)) => Ok(Seen::new((), text)),
        (Ok(text), None) => {
            let mut seen = Seen::new((), text);
            seen.warn("but after that answer to WebSocket the gateway does not fall back to it");
            Ok(seen)
        }
        (Err(fault), None) => Err(fault),
        (Err(fault), Some(transport)) => {
            let mut seen = Seen::new((), fault.what);
            seen.warn(if transport == Transport::WebSocketV5 {
                "there is nothing to fall back to, should WebSocket fail one day"
            } else {
                "the gateway's last resort works, see below"
            });
            Ok(seen)
        }
    }
}

fn v4(found: &Found) -> Result<Seen<()>, Fault> {
    let text = carried(&found.first, Transport::WebSocketV4, "v4.channel.k8s.io")?;
    Ok(Seen::new((), format!("{text}, as the last resort")))
}

/// What the runtime made of it.
fn shell(tried: &Tried) -> Result<Seen<()>, Fault> {
    let Some(end) = &tried.end else {
        let mut seen = Seen::new(
            (),
            "the default shell printed something and did not end in time",
        );
        seen.warn("a shell whose input ends at once ends, too; this one is no ordinary shell");
        return Ok(seen);
    };
    match (end.detail, end.exit_code) {
        (CloseDetail::ProcessExit, Some(0)) => Ok(Seen::new(
            (),
            "the default shell started and ended with exit code 0",
        )),
        (CloseDetail::ProcessExit, code) => {
            let code = code.map_or("no exit code".to_owned(), |code| {
                format!("exit code {code}")
            });
            let mut seen = Seen::new(
                (),
                format!("the default shell started and ended with {code}"),
            );
            seen.warn("a shell whose input ends at once ends with 0; this one is no ordinary shell, or something ended it");
            Ok(seen)
        }
        (CloseDetail::NoShell, _) => Err(Fault::new(
            "E_NO_SHELL: there is no sh in the container",
            "The way to the container is sound; its image has no shell (distroless, scratch), so nobody can open one there. Run a \
             command that is in the image with `periscope exec ... -- CMD`, or attach a debug container: `kubectl debug -it -n NS POD \
             --image=busybox --target=CONTAINER`.",
        )),
        (detail, _) => Err(Fault::new(
            format!("the session ended as {}", detail.as_str()),
            tried.told.clone().unwrap_or_default(),
        )),
    }
}

const HANGS: &str = "The upgrade request is taken and never answered. The apiserver cannot reach the node's kubelet (its port 10250; on managed \
     clusters look at the security groups, at konnectivity or the tunnel agents), or a proxy on the way holds upgrades back. Try \
     `kubectl exec` with the same kubeconfig, and `kubectl logs`: it goes the same way to the node.";

/// What a refused upgrade means.
fn why(tried: &Tried, attempt: &Attempt) -> String {
    let meaning = match attempt.error {
        UpgradeError::Timeout => HANGS,
        UpgradeError::Status("Unauthorized") | UpgradeError::Http(401) => {
            "The apiserver took the same credentials a moment ago and refuses them for exec. Something in front of it treats that path by \
             itself, or they have just ended."
        }
        UpgradeError::Status("Forbidden") | UpgradeError::Http(403) => {
            "RBAC says yes, so something else says no: an admission webhook or policy (`kubectl get \
             validatingwebhookconfigurations,validatingadmissionpolicies`) that refuses exec, or a proxy with rules of its own."
        }
        UpgradeError::Status("NotFound") => {
            "The pod has gone in the meantime, or the apiserver's view of it is behind."
        }
        UpgradeError::Status("TooManyRequests") | UpgradeError::Http(429) => {
            "The apiserver limits requests (API priority and fairness). Try again; if it stays, look at its load."
        }
        UpgradeError::Status(_) | UpgradeError::Http(500..) => {
            "The apiserver itself could not do it. Its log has the reason under the Audit-ID above; most often it cannot reach the node's \
             kubelet on port 10250. `kubectl exec` with the same credentials shows its sentence."
        }
        UpgradeError::Http(_) => {
            "That is no apiserver's answer: a proxy, load balancer or ingress on the way does not let upgrades pass. Let it pass TCP through, \
             switch on WebSocket support there, or reach the apiserver past it."
        }
        UpgradeError::Subprotocol | UpgradeError::Accept => {
            "Whoever answered did not read our request: a proxy on the way answers upgrades by itself."
        }
        UpgradeError::Tcp | UpgradeError::Tls => {
            "The connection ended before an answer, although others work: a proxy or load balancer on the way drops upgrades."
        }
        UpgradeError::None => {
            "The upgrade works and then the connection breaks or stays silent: a proxy on the way that takes upgrades and does not carry them, or \
             an apiserver that loses the node (kubelet on port 10250)."
        }
    };
    match &tried.told {
        Some(told) => format!("{meaning} A person at the browser reads: \"{told}\""),
        None => meaning.to_owned(),
    }
}

/// Runs one session whose shell has nothing to do.
async fn attempt(target: &Target, transport: Transport) -> Result<Tried, Fault> {
    let seeds = (random::<32>(), random::<32>());
    let (Ok(seed), Ok(mask_seed)) = seeds else {
        return Err(Fault::new(
            "no randomness",
            "This system gives no random numbers, so nothing can be encrypted.",
        ));
    };
    let (page, heard) = Page::new(mask_seed);
    let clock = TokioClock::new(tokio::time::Instant::now());
    let config = Config {
        session_id: target.audit_id.to_string(),
        cluster: target.cluster.clone(),
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
        container: target.container.clone(),
        command: default_shell(),
        own_command: false,
        // A terminal would make it an interactive shell, which reads files of its own and keeps a history.
        tty: false,
        size: None,
        flow_ack: false,
        stdin_ack: false,
        identity: periscope_core::session::Identity::default(),
        timing: Timing::default(),
        first: transport,
    };
    let session = Session::accepted(config, seed, clock.now());
    let driver = Driver::new(session, page, BytesMut::new(), clock);
    let way = Way::new(
        target.kube.clone(),
        target.identity.clone(),
        target.audit_id,
    );
    let run = Run {
        driver,
        way: Arc::new(way),
        dial: None,
        attempts: Vec::new(),
        begun: Instant::now(),
    };
    Ok(run.finish(&heard, target.limit, transport).await)
}

/// A session as it runs.
struct Run {
    driver: Driver<Page, Upstream, TokioClock>,
    way: Arc<Way>,
    dial: Pending<DialResult>,
    attempts: Vec<Attempt>,
    /// When the present dial began.
    begun: Instant,
}

impl Run {
    async fn finish(
        mut self,
        heard: &Mutex<Heard>,
        limit: Duration,
        transport: Transport,
    ) -> Tried {
        let start = Instant::now();
        let mut end = None;
        let mut dialing = transport;
        loop {
            // Each dial has its time, and so has the shell after the last.
            let left = limit.saturating_sub(self.begun.elapsed());
            let Ok(turn) = tokio::time::timeout(left, self.turn()).await else {
                let told = self.attempts.last().map(|attempt| attempt.transport);
                if told != Some(dialing) {
                    let (transport, error) = (dialing, UpgradeError::Timeout);
                    self.note(transport, error);
                }
                break;
            };
            match turn {
                Some(Turn::Ask(Ask::Dial(dial))) => {
                    dialing = dial.transport;
                    self.begun = Instant::now();
                    let way = Arc::clone(&self.way);
                    self.dial = Some(Box::pin(async move { way.dial(dial).await }));
                }
                Some(Turn::Ask(Ask::Pod)) => {
                    self.driver.answer(Answer::Pod(PodState::Unknown));
                }
                // Only a listening session asks for admission, and this one was accepted.
                Some(Turn::Ask(Ask::Admit(_))) => {
                    debug_assert!(false, "an accepted session asks for admission");
                }
                Some(Turn::CancelDial) => self.dial = None,
                Some(Turn::Event(Event::Attempt { transport, error })) => {
                    self.note(transport, error);
                    // What follows has a time of its own.
                    self.begun = Instant::now();
                }
                Some(Turn::Event(Event::Ended(summary))) => {
                    end = Some(summary);
                    break;
                }
                Some(Turn::Event(Event::Breaker(_) | Event::Started { .. })) | None => {}
                Some(Turn::Done) => break,
            }
        }
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Tried {
            attempts: self.attempts,
            end,
            told: heard.error,
            printed: self.driver.session().carried().stdout,
            took: start.elapsed(),
        }
    }

    /// The next thing the session wants; none after a dial was answered.
    async fn turn(&mut self) -> Option<Turn> {
        tokio::select! {
            turn = next(&mut self.driver) => Some(turn),
            dialed = ready(&mut self.dial) => {
                match dialed {
                    Ok((upstream, dialed)) => self.driver.attach(upstream, dialed),
                    Err(failure) => self.driver.answer(Answer::DialFailed(failure)),
                }
                None
            }
        }
    }

    fn note(&mut self, transport: Transport, error: UpgradeError) {
        let took = self.begun.elapsed();
        self.attempts.push(Attempt {
            transport,
            error,
            took,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(attempts: &[(Transport, UpgradeError)], detail: Option<CloseDetail>) -> Tried {
        let attempts = attempts.iter().map(|&(transport, error)| Attempt {
            transport,
            error,
            took: Duration::ZERO,
        });
        Tried {
            attempts: attempts.collect(),
            end: detail.map(|detail| Summary {
                detail,
                code: None,
                exit_code: Some(0),
                truncated: None,
                started: true,
                transport: None,
                bytes_stdin: 0,
                bytes_stdout: 0,
                dropped_controls: 0,
            }),
            told: None,
            printed: 0,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn spdy_is_no_comfort_where_the_gateway_does_not_fall_back_to_it() {
        let failed = UpgradeError::Status("InternalError");
        let spdy = || {
            let good = [(Transport::Spdy, UpgradeError::None)];
            Some(tried(&good, Some(CloseDetail::ProcessExit)))
        };
        let found = Found {
            first: tried(
                &[(Transport::WebSocketV5, failed)],
                Some(CloseDetail::Internal),
            ),
            spdy: spdy(),
        };
        assert!(found.works().is_none());
        assert!(websocket(&found).is_err());
        let seen = spdy_hop(&found).unwrap();
        assert!(
            seen.warnings[0].contains("does not fall back"),
            "{:?}",
            seen.warnings
        );
        // A dial that only this program's patience ended is one the gateway would have followed with SPDY.
        let found = Found {
            first: tried(&[(Transport::WebSocketV5, UpgradeError::Timeout)], None),
            spdy: spdy(),
        };
        assert_eq!(found.works().unwrap().1, Transport::Spdy);
        assert!(websocket(&found).unwrap().warnings[0].contains("falls back"));
    }

    #[test]
    fn an_upgrade_alone_is_no_shell() {
        let upgraded = [(Transport::WebSocketV5, UpgradeError::None)];
        assert_eq!(tried(&upgraded, None).reached(), None);
        let broken = tried(&upgraded, Some(CloseDetail::TransportError));
        assert_eq!(broken.reached(), None);
        let mut flood = tried(&upgraded, None);
        flood.printed = 1;
        assert_eq!(flood.reached(), Some(Transport::WebSocketV5));
        let empty = tried(&upgraded, Some(CloseDetail::NoShell));
        assert_eq!(empty.reached(), Some(Transport::WebSocketV5));
    }
}
