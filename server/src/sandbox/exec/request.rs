//! What becomes of an exec request: refused, by whom and how, or accepted as what.

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use periscope_core::channel::Subprotocol;
use periscope_core::request::default_shell;

use super::super::access::{Action, Identity};
use super::super::cluster::Cluster;
use super::super::fault::Fault;
use super::super::pods::{Nature, Pod};
use super::super::process::Spawn;
use super::super::rest::{Query, is_true};
use super::super::status::Refusal;

/// What `flood` runs instead of a shell: output until Ctrl-C, then a shell.
const FLOOD: &str = "trap : INT; yes 'This pod floods its terminal. Press Ctrl-C for a prompt.'; \
                     trap - INT; command -v bash >/dev/null 2>&1 && exec bash; exec sh";

/// What `exits` runs instead of a shell.
const EXITS: &str = "echo 'This shell ends at once, with exit code 7.'; exit 7";

/// The one subprotocol of the sandbox's SPDY: v4, which every client offers.
pub(in super::super) const SPDY_SUBPROTOCOL: Subprotocol = Subprotocol::V4;

/// Why a request is not accepted, and by whom.
#[derive(Debug)]
pub(in super::super) enum Denial {
    /// The apiserver refuses with a Status.
    Refuse(Refusal),
    /// The kubelet or the runtime refuses with a sentence.
    Text(StatusCode, String),
    /// The runtime knows none of the SPDY subprotocols on offer.
    NoSpdySubprotocol(String),
    /// The WebSocket server knows none of the subprotocols on offer: 403 without headers or body.
    Bare,
    /// A proxy that knows no upgrades answers with its page.
    Page,
    /// Nobody answers.
    Silence,
}

/// An accepted exec.
#[derive(Debug)]
pub(in super::super) struct Plan {
    pub(super) pod: Pod,
    pub(super) transport: Transport,
    pub(super) asked: AskedStreams,
    pub(super) spawn: Spawn,
}

/// How the streams travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Transport {
    /// Over WebSocket; `None` speaks as v1 and names no subprotocol.
    WebSocket(Option<Subprotocol>),
    /// Over SPDY/3.1 with v4.
    Spdy,
}

/// The streams the query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the query's, each on its own"
)]
pub(in super::super) struct AskedStreams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Plan {
    /// How the streams travel.
    pub(in super::super) fn transport(&self) -> Transport {
        self.transport
    }
}

/// The namespace and pod of an exec path; `None` for any other path.
pub(in super::super) fn exec_path(path: &str) -> Option<(&str, &str)> {
    let mut parts = path.strip_prefix("/api/v1/namespaces/")?.split('/');
    let (namespace, pods, pod, exec) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (pods == "pods" && exec == "exec" && parts.next().is_none()).then_some((namespace, pod))
}

/// Decides in the order of a real cluster: what is in front of it, authentication, authorization,
/// the pod, then kubelet and runtime.
pub(in super::super) fn decide(cluster: &Cluster, request: &Parts) -> Result<Plan, Denial> {
    let headers = &request.headers;
    let is_websocket = asks_for(headers, "websocket");
    let is_spdy = asks_for(headers, "spdy/3.1");
    if cluster.has(Fault::Silent) || (cluster.has(Fault::SilentWs) && is_websocket) {
        return Err(Denial::Silence);
    }
    let has_no_spdy = cluster.has(Fault::RefuseSpdy) || cluster.has(Fault::OnlyV4);
    if cluster.has(Fault::RefuseAll) || (has_no_spdy && is_spdy) {
        return Err(Denial::Page);
    }
    if cluster.has(Fault::RefuseWs) && is_websocket {
        return Err(Denial::Bare);
    }
    let who = Identity::of(headers, &cluster.token, &cluster.faults).map_err(Denial::Refuse)?;
    if cluster.has(Fault::Status401) {
        return Err(Denial::Refuse(Refusal::unauthorized()));
    }
    if cluster.has(Fault::Status429) {
        return Err(Denial::Refuse(Refusal::too_many_requests()));
    }
    if cluster.has(Fault::Status500) {
        return Err(Denial::Refuse(Refusal::internal(
            "the sandbox was told to fail",
        )));
    }

    let Some((namespace, pod_name)) = exec_path(request.uri.path()) else {
        return Err(Denial::Refuse(Refusal::no_resource()));
    };
    authorize(cluster, &who, &request.method, namespace, pod_name).map_err(Denial::Refuse)?;
    let not_found = || Denial::Refuse(Refusal::not_found("pods", pod_name));
    let pod = cluster.pod(namespace, pod_name).ok_or_else(not_found)?;
    let query = Query::parse(request.uri.query().unwrap_or(""));
    let container = query.first("container").filter(|name| !name.is_empty());
    let container = pod.exec_container(container).map_err(Denial::Refuse)?;
    if !pod.is_scheduled() {
        let message = format!("pod {} does not have a host assigned", pod.name);
        return Err(Denial::Refuse(Refusal::bad_request(message)));
    }
    if !is_websocket && !is_spdy {
        return Err(Denial::Refuse(Refusal::bad_request(
            "Upgrade request required",
        )));
    }

    // From here on it is the kubelet that answers, then the runtime.
    if !pod.is_running(container) {
        let text = format!("container not found (\"{container}\")");
        return Err(Denial::Text(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    let asked = AskedStreams::of(&query);
    if !(asked.stdin || asked.stdout || asked.stderr) {
        let text = "you must specify at least 1 of stdin, stdout, stderr".to_owned();
        return Err(Denial::Text(StatusCode::BAD_REQUEST, text));
    }
    let transport = if is_websocket {
        Transport::WebSocket(websocket_subprotocol(cluster, headers)?)
    } else {
        spdy_subprotocol(headers)?;
        Transport::Spdy
    };
    let spawn = Spawn {
        argv: command(pod, query.all("command").map(str::to_owned).collect()),
        hostname: pod.name.to_owned(),
        home: cluster
            .homes
            .join(pod.namespace)
            .join(pod.name)
            .join(container),
        tty: asked.tty,
        stdin: asked.stdin,
    };
    Ok(Plan {
        pod: pod.clone(),
        transport,
        asked,
        spawn,
    })
}

/// `get` for a GET, `create` for a POST; a recent server then wants `create` for a GET, too.
fn authorize(
    cluster: &Cluster,
    who: &Identity,
    method: &Method,
    namespace: &str,
    pod: &str,
) -> Result<(), Refusal> {
    let verb = match *method {
        Method::GET => "get",
        Method::POST => "create",
        _ => return Err(Refusal::method_not_allowed()),
    };
    let action = Action {
        verb,
        group: "",
        resource: "pods",
        subresource: "exec",
        namespace,
    };
    who.require(&action, pod, &cluster.faults)?;
    let create = Action {
        verb: "create",
        ..action
    };
    if cluster.flavour.get_needs_create() && who.allows(&create, &cluster.faults).is_none() {
        // This check gives no reason.
        return Err(Refusal::forbidden("pods", pod, ""));
    }
    Ok(())
}

impl AskedStreams {
    fn of(query: &Query) -> Self {
        let is_asked = |key: &str| query.first(key).is_some_and(is_true);
        let tty = is_asked("tty");
        // The kubelet drops stderr where there is a tty.
        let stderr = is_asked("stderr") && !tty;
        Self {
            stdin: is_asked("stdin"),
            stdout: is_asked("stdout"),
            stderr,
            tty,
        }
    }
}

/// What really runs: some pods have a shell of their own.
fn command(pod: &Pod, asked: Vec<String>) -> Vec<String> {
    let script = match pod.nature {
        Nature::Flood => FLOOD,
        Nature::Exits => EXITS,
        _ => return asked,
    };
    let is_bare_shell = matches!(asked.as_slice(), [shell] if matches!(shell.as_str(), "sh" | "bash" | "/bin/sh" | "/bin/bash"));
    if is_bare_shell || asked == default_shell() {
        return ["sh", "-c", script].map(str::to_owned).to_vec();
    }
    asked
}

/// The translator takes any list that names v5, the runtime the first name it knows.
fn websocket_subprotocol(
    cluster: &Cluster,
    headers: &HeaderMap,
) -> Result<Option<Subprotocol>, Denial> {
    // As Go, only the first line is read.
    let line = headers
        .get("sec-websocket-protocol")
        .and_then(|line| line.to_str().ok());
    let offered: Vec<&str> = line
        .unwrap_or("")
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if offered.is_empty() {
        return Ok(None);
    }
    let v5 = Subprotocol::V5;
    let has_v5 = cluster.flavour.has_v5() && !cluster.has(Fault::OnlyV4);
    if has_v5 && offered.contains(&v5.as_str()) {
        return Ok(Some(v5));
    }
    let mut known = offered.iter().filter_map(|name| Subprotocol::parse(name));
    known
        .find(|known| *known != v5)
        .map(Some)
        .ok_or(Denial::Bare)
}

/// Checks that the client offers the subprotocol.
fn spdy_subprotocol(headers: &HeaderMap) -> Result<(), Denial> {
    let lines = headers
        .get_all("x-stream-protocol-version")
        .into_iter()
        .filter_map(|line| line.to_str().ok());
    let offered: Vec<&str> = lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if offered.is_empty() {
        let text = "unable to upgrade: header X-Stream-Protocol-Version does not exist in request";
        return Err(Denial::Text(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    if !offered.contains(&SPDY_SUBPROTOCOL.as_str()) {
        let text =
            format!("unable to upgrade: of the client's protocols {offered:?} the server has none");
        return Err(Denial::NoSpdySubprotocol(text));
    }
    Ok(())
}

/// Whether the request asks to upgrade to `protocol`.
fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    let has = |name, wanted: &str| {
        let lines = headers
            .get_all(name)
            .into_iter()
            .filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .any(|member| member.trim().eq_ignore_ascii_case(wanted))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, protocol)
}

#[cfg(test)]
mod tests;
