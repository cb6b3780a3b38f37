//! `periscope doctor`: walks each hop to a shell as the gateway does, with the gateway's own code, and
//! says which is the first that breaks and what to do about it.

mod api;
mod certificate;
mod identity;
mod network;
mod page;
mod report;
mod rights;
mod shell;
mod text;

use std::time::{Duration, Instant};

use clap::Args;
use periscope_core::names;
use uuid::Uuid;

use self::identity::{IdentityFault, Named};
use self::report::{Broken, Fault, Output, Report, Seen};
use self::text::shown;
use crate::cli::{Exit, fail};
use crate::config::{self, Environment, Findings, Settings};
use crate::gateway::identity::{Authorization, Identity, Tier};
use crate::gateway::kube::KubeClient;
use crate::gateway::registry::Cluster;
use crate::serve;

/// The longest time for one hop, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 300;

/// Walk each hop from here to a shell in a cluster, and say which is the first that breaks.
///
/// Reads the configuration of `serve` (environment and the two YAML files) and uses the gateway's own
/// credentials; run it where the gateway runs. Nothing is changed anywhere. With a POD, and only then, the
/// default shell is started in that pod, once over WebSocket and once over SPDY, and its input ends
/// at once, so that it exits without having done anything. Where only the old v4.channel.k8s.io is left,
/// which cannot say that input has ended, the line `exit` is typed instead.
///
/// Exit codes: 0 every hop works, 1 one is broken, 2 wrong usage, 3 wrong configuration.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Name of the cluster in the clusters file.
    #[arg(long, value_name = "CLUSTER")]
    cluster: String,
    /// Namespace in which a shell is wanted. Without it, rights are looked at for all of them.
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Pod in which the default shell is started. Without it, the last hops are skipped.
    #[arg(value_name = "POD", requires = "namespace")]
    pod: Option<String>,
    /// Container of the pod; without it the pod's default one.
    #[arg(short, long, value_name = "CONTAINER", requires = "pod")]
    container: Option<String>,
    /// Whom to impersonate, as the login's subject; `periscope-doctor` if nobody is named. Not in mode shared.
    #[arg(long = "as", value_name = "SUBJECT")]
    subject: Option<String>,
    /// Group of the login, as the identity provider names it; may be given several times. Not in mode shared.
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "tier")]
    groups: Vec<String>,
    /// In mode tier, the tier to ask as where no --group is given.
    /// Without either it is triage, the lowest that may open shells.
    #[arg(long, value_name = "TIER", value_parser = tier)]
    tier: Option<Tier>,
    /// Seconds that one hop may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECONDS_MAX))]
    timeout: u64,
    /// Lines for people, or one JSON object.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn tier(name: &str) -> Result<Tier, String> {
    Tier::named(name).ok_or_else(|| "it is read, triage, write, maintain or admin".to_owned())
}

/// How a walk ended early.
enum Stop {
    /// The report has it.
    Broken,
    /// What was asked for makes no sense.
    Usage(String),
    /// The gateway itself would not start with this configuration.
    Configuration,
}

impl From<Broken> for Stop {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// Runs the command.
pub(crate) async fn run(args: DoctorArgs, environment: &Environment) -> Exit {
    if let Err(error) = check_names(&args) {
        return fail(Exit::Usage, &error);
    }
    let audit_id = Uuid::new_v4();
    let mut report = Report::new(args.output, &args.cluster, &audit_id.to_string());
    let walked = walk(&args, environment, audit_id, &mut report).await;
    if let Err(Stop::Usage(reason)) = walked {
        return fail(Exit::Usage, &format_args!("error: {reason}"));
    }
    match (report.finish(), walked) {
        (Err(error), _) => fail(Exit::Failure, &format_args!("cannot write: {error}")),
        (Ok(_), Err(Stop::Configuration)) => Exit::Configuration,
        (Ok(true), Ok(())) => Exit::Good,
        (Ok(_), _) => Exit::Failure,
    }
}

fn check_names(args: &DoctorArgs) -> Result<(), names::NameError> {
    names::check_cluster(&args.cluster)?;
    if let Some(namespace) = &args.namespace {
        names::check_namespace(namespace)?;
    }
    if let Some(pod) = &args.pod {
        names::check_pod(pod)?;
    }
    if let Some(container) = &args.container {
        names::check_container(container)?;
    }
    Ok(())
}

async fn walk(
    args: &DoctorArgs,
    environment: &Environment,
    audit_id: Uuid,
    report: &mut Report,
) -> Result<(), Stop> {
    let start = Instant::now();
    let (cluster, authorization) = match configuration(args, environment) {
        Ok(seen) => {
            let (cluster, authorization) = seen.value;
            let mut told = Seen::new((), seen.text);
            told.warnings = seen.warnings;
            report.add("config", Some(start.elapsed()), Ok(told))?;
            (cluster, authorization)
        }
        Err((fault, stop)) => {
            // That it broke is what `stop` says.
            let _told: Result<(), Broken> = report.add("config", Some(start.elapsed()), Err(fault));
            return Err(stop);
        }
    };
    let named = Named {
        subject: args.subject.clone(),
        groups: args.groups.clone(),
        tier: args.tier,
    };
    let identity = identity::choose(&authorization, &named);
    if let Err(IdentityFault::Usage(reason)) = &identity {
        return Err(Stop::Usage(reason.clone()));
    }
    let kube = cluster.kube.clone().with_audit_id(audit_id);
    let limit = Duration::from_secs(args.timeout);
    reach(&kube, limit, report).await?;
    let own_id = audit_id.to_string();
    let server = api::apiserver(&kube, &own_id);
    let us = report.walk("apiserver", limit, server).await?;
    let us = us.as_deref();
    let identity = impersonate(&kube, us, identity, limit, report).await?;
    let namespace = args.namespace.as_deref();
    let rights = api::rbac(&kube, us, &identity, &authorization, namespace);
    report.walk("rbac", limit, rights).await?;
    let (Some(namespace), Some(pod)) = (namespace, args.pod.as_deref()) else {
        for hop in ["pod", "websocket", "spdy", "shell"] {
            report.skip(
                hop,
                "no POD is named; with -n NS POD its default shell is started and ends at once",
            );
        }
        return Ok(());
    };
    let container = args.container.as_deref();
    let container = api::pod(&kube, &identity, namespace, pod, container);
    let container = report.walk("pod", limit, container).await?;
    let target = shell::Target {
        kube,
        identity,
        audit_id,
        cluster: cluster.name.clone(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container,
        limit,
    };
    Ok(shell::walk(report, &target).await?)
}

/// The cluster as `serve` would know it.
fn configuration(
    args: &DoctorArgs,
    environment: &Environment,
) -> Result<Seen<(Cluster, Authorization)>, (Fault, Stop)> {
    let (settings, findings) = config::load(environment, &config::Disk);
    let Some(settings) = settings else {
        return Err((wrong_settings(&findings), Stop::Configuration));
    };
    let Some(cluster) = serve::cluster_named(&settings, environment, &args.cluster) else {
        return Err((
            unknown_cluster(&settings, &args.cluster),
            Stop::Configuration,
        ));
    };
    let cluster = cluster.map_err(|error| {
        let fault = Fault::new(
            shown(&error.to_string()),
            "`periscope serve` would not start with this, and says the same. Mend what is named.",
        );
        (fault, Stop::Configuration)
    })?;
    if !cluster.exec.is_enabled {
        return Err((
            Fault::new(
                format!("exec.enabled is false for {}", cluster.name),
                "Shells are switched off for this cluster, on purpose: everybody gets 403 E_EXEC_DISABLED and the UI offers none. To allow \
                 them, remove exec.enabled: false from its entry in the clusters file and restart the gateway.",
            ),
            Stop::Broken,
        ));
    }
    let authorization = settings.auth.authorization.mode.value.clone();
    let text = format!(
        "backend {}, authorization mode {}, exec is enabled",
        cluster.backend.as_str(),
        authorization.as_str()
    );
    let mut seen = Seen::new((cluster, authorization), text);
    for warning in &findings.warnings {
        seen.warn(warning.to_string());
    }
    Ok(seen)
}

fn wrong_settings(findings: &Findings) -> Fault {
    let errors: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
    Fault::new(
        shown(&errors.join("; ")),
        "`periscope serve` would not start with this. `periscope config check` lists everything that is wrong. Is this the environment \
         of the gateway? In its pod: `kubectl exec -n periscope deploy/periscope -- periscope doctor ...`.",
    )
}

fn unknown_cluster(settings: &Settings, wanted: &str) -> Fault {
    let names = settings
        .clusters
        .iter()
        .map(|cluster| cluster.name.value.as_str());
    let names = text::list(names);
    Fault::new(
        format!("there is no cluster {wanted} in the clusters file"),
        format!(
            "It has: {}. Names are compared letter by letter.",
            if names.is_empty() { "none" } else { &names }
        ),
    )
}

/// From the name to credentials. Where only a cloud knows the address, credentials come first.
async fn reach(kube: &KubeClient, limit: Duration, report: &mut Report) -> Result<(), Broken> {
    let (endpoint, is_in) = if let Some(endpoint) = kube.known_endpoint() {
        (endpoint, false)
    } else {
        let access = api::credentials(kube);
        let access = report.walk("credentials", limit, access).await?;
        (access.endpoint, true)
    };
    let addresses = report.walk("dns", limit, network::dns(&endpoint)).await?;
    let stream = report.walk("tcp", limit, network::tcp(addresses)).await?;
    let chosen = report
        .walk("tls", limit, network::tls(&endpoint, stream))
        .await?;
    report.add("alpn", None, Ok(network::alpn(chosen)))?;
    if !is_in {
        report
            .walk("credentials", limit, api::credentials(kube))
            .await?;
    }
    Ok(())
}

/// Becomes the person in whose name the rest is asked.
async fn impersonate(
    kube: &KubeClient,
    us: Option<&str>,
    identity: Result<Identity, IdentityFault>,
    limit: Duration,
    report: &mut Report,
) -> Result<Identity, Broken> {
    let identity = match identity {
        Ok(identity) => identity,
        Err(denied) => {
            let fault = Fault::new(
                denied.to_string(),
                "A login with these groups is answered with 403 everywhere: none of them is in authorization.groupTiers, and \
                 authorization.defaultTier is empty. Map one of the groups to a tier in the auth file, or look whether the identity provider \
                 really sends the group under that name (authorization.groupsClaim).",
            );
            return report.add("impersonation", None, Err(fault));
        }
    };
    if identity.user().is_none() {
        report.skip(
            "impersonation",
            "authorization mode shared: everybody acts as the gateway itself",
        );
        return Ok(identity);
    }
    report
        .walk(
            "impersonation",
            limit,
            api::impersonation(kube, us, &identity),
        )
        .await?;
    Ok(identity)
}
