//! `clusters.yaml`: which clusters there are and how each is reached.

use std::path::PathBuf;

use super::aws;
use super::environment::Environment;
use super::exec::ExecConfig;
use super::findings::{Fault, Findings};
use super::place::{Origin, Place, Setting};
use super::yaml::{Node, Table, Value};
use crate::gateway::registry::Tags;

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its name in URLs, logs and audit rows.
    pub name: Setting<String>,
    /// How it is reached.
    pub backend: Setting<BackendConfig>,
    /// Cloud region.
    pub region: Option<Setting<String>>,
    /// Amazon resource name.
    pub arn: Option<Setting<String>>,
    /// What people call its surroundings, such as `production`. Shown, never interpreted.
    pub environment: Option<Setting<String>>,
    /// Anything else worth showing.
    pub tags: Option<Setting<Tags>>,
    /// Timers and caps.
    pub exec: ExecConfig,
}

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendConfig {
    /// Amazon EKS.
    Eks(EksConfig),
    /// The pod this program runs in.
    InCluster,
    /// A kubeconfig file.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context; the file's current one if none is named.
        context: Option<String>,
    },
}

/// An EKS cluster as AWS knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksConfig {
    /// The region whose endpoints are asked.
    pub region: String,
    /// What the host names of its partition end in.
    pub dns_suffix: &'static str,
    /// The whole ARN: a name alone is one in many accounts.
    pub arn: String,
    /// The cluster's name, from its ARN.
    pub cluster: String,
}

impl BackendConfig {
    /// The name it has in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Eks(_) => "eks",
            Self::InCluster => "in-cluster",
            Self::Kubeconfig { .. } => "kubeconfig",
        }
    }
}

const BACKENDS: &str = "eks, kubeconfig or in-cluster";
const NAME: &str = "a name of 1 to 100 letters, digits, dots, underscores and dashes that begins with a letter or digit";

/// Reads the file.
pub(super) fn read(
    node: &Node,
    environment: &Environment,
    global: &ExecConfig,
    findings: &mut Findings,
) -> Vec<ClusterConfig> {
    let Some(mut top) = node.table(findings) else {
        return Vec::new();
    };
    let items = top.take("clusters").and_then(|list| list.list(findings));
    let mut clusters: Vec<ClusterConfig> = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(cluster) = read_cluster(item, environment, global, findings) else {
            continue;
        };
        if clusters
            .iter()
            .any(|other| other.name.value == cluster.name.value)
        {
            findings.error(Fault::Refused {
                place: item.place.clone(),
                what: format!("there is a cluster {:?} already", cluster.name.value),
            });
        }
        clusters.push(cluster);
    }
    if items.is_none_or(<[Node]>::is_empty) {
        findings.note(top.place(), "there are no clusters in this file");
    }
    top.finish(findings);
    clusters
}

/// Whether a cluster may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 100
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn read_cluster(
    node: &Node,
    environment: &Environment,
    global: &ExecConfig,
    findings: &mut Findings,
) -> Option<ClusterConfig> {
    let mut table = node.table(findings)?;
    let name = table.text("name", findings);
    if let Some(name) = &name
        && !is_name(&name.value)
        && let Origin::Set(place) = &name.origin
    {
        findings.wrong(place, NAME);
    }
    if !table.has("name") {
        findings.error(Fault::MissingKey {
            place: node.place.clone(),
            key: "name",
            why: "URLs and audit rows name the cluster by it",
        });
    }
    let region = table.text("region", findings);
    let arn = table.text("arn", findings);
    let path = table.text("kubeconfigPath", findings);
    let context = table.text("kubeconfigContext", findings);
    let environment_name = table.text("environment", findings);
    let tags = table
        .take("tags")
        .and_then(|node| read_tags(node, findings));
    let shown = name.as_ref().map_or("", |name| name.value.as_str());
    let exec_node = table.take("exec");
    let mut exec = global.overridden(exec_node, findings);
    if exec.idle != global.idle || exec.idle_warn != global.idle_warn {
        exec.clamp(&format!("cluster {shown}"), findings);
    } else {
        // The warning about the global pair has been given.
        exec.idle_warn.value = exec.idle_warn.value.min(exec.idle.value.saturating_sub(1));
    }
    let backend = table.text("backend", findings);
    let backend = match backend {
        None => {
            if !table.has("backend") {
                findings.error(Fault::MissingKey {
                    place: node.place.clone(),
                    key: "backend",
                    why: "it says how the cluster is reached: eks, kubeconfig or in-cluster",
                });
            }
            None
        }
        Some(backend) => {
            let Origin::Set(place) = &backend.origin else {
                return None;
            };
            let read = match backend.value.as_str() {
                "eks" => read_eks(&table, region.as_ref(), arn.as_ref(), findings),
                "kubeconfig" => read_kubeconfig(&table, path, context, environment, findings),
                "in-cluster" => Some(BackendConfig::InCluster),
                "agent" => {
                    findings.error(Fault::Refused {
                        place: place.clone(),
                        what: format!(
                            "cluster {shown}: the backend `agent` does not exist here; reach the cluster with {BACKENDS}"
                        ),
                    });
                    None
                }
                _ => {
                    findings.wrong(place, BACKENDS);
                    None
                }
            };
            read.map(|read| Setting {
                value: read,
                origin: backend.origin.clone(),
            })
        }
    };
    table.finish(findings);
    Some(ClusterConfig {
        name: name?,
        backend: backend?,
        region,
        arn,
        environment: environment_name,
        tags,
        exec,
    })
}

fn read_eks(
    table: &Table<'_>,
    region: Option<&Setting<String>>,
    arn: Option<&Setting<String>>,
    findings: &mut Findings,
) -> Option<BackendConfig> {
    for key in ["region", "arn"] {
        if !table.has(key) {
            findings.error(Fault::MissingKey {
                place: table.place().clone(),
                key,
                why: "the backend eks finds the cluster by its region and arn",
            });
        }
    }
    let (region, arn) = (region?, arn?);
    let place = |setting: &Setting<String>| match &setting.origin {
        Origin::Set(place) => place.clone(),
        _ => table.place().clone(),
    };
    // Both become part of a host name or path.
    if !is_region(&region.value) {
        findings.wrong(&place(region), "the name of a region, such as eu-west-1");
        return None;
    }
    let Some((dns_suffix, arn_region, cluster)) = eks_arn(&arn.value) else {
        findings.wrong(
            &place(arn),
            "the ARN of an EKS cluster: arn:aws:eks:REGION:ACCOUNT:cluster/NAME",
        );
        return None;
    };
    if arn_region != region.value {
        findings.wrong(
            &place(arn),
            format!("an ARN of the cluster's region, which is {}", region.value),
        );
        return None;
    }
    Some(BackendConfig::Eks(EksConfig {
        region: region.value.clone(),
        dns_suffix,
        arn: arn.value.clone(),
        cluster: cluster.to_owned(),
    }))
}

/// Whether this can be the name of a region.
pub(super) fn is_region(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The DNS suffix, region and cluster name of an EKS ARN, in any of the partitions.
fn eks_arn(arn: &str) -> Option<(&'static str, &str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let suffix = (parts.next() == Some("arn")).then(|| aws::dns_suffix(parts.next()?))??;
    let is_eks = parts.next() == Some("eks");
    let (region, account) = (parts.next()?, parts.next()?);
    let cluster = parts.next()?.strip_prefix("cluster/")?;
    (is_eks && aws::is_account(account) && is_name(cluster)).then_some((suffix, region, cluster))
}

fn read_kubeconfig(
    table: &Table<'_>,
    path: Option<Setting<String>>,
    context: Option<Setting<String>>,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<BackendConfig> {
    let path = match (path, environment.get("KUBECONFIG"), environment.get("HOME")) {
        (Some(path), _, _) => PathBuf::from(path.value),
        (None, Some(several), _) if several.contains(':') => {
            let place = Place::Variable("KUBECONFIG".into());
            findings.wrong(
                &place,
                "one file; files are not merged, name the one in kubeconfigPath",
            );
            return None;
        }
        (None, Some(path), _) => PathBuf::from(path),
        (None, None, Some(home)) => PathBuf::from(home).join(".kube/config"),
        (None, None, None) => {
            findings.error(Fault::MissingKey {
                place: table.place().clone(),
                key: "kubeconfigPath",
                why: "neither KUBECONFIG nor HOME is set",
            });
            return None;
        }
    };
    Some(BackendConfig::Kubeconfig {
        path,
        context: context.map(|context| context.value),
    })
}

/// A list of words, or a table of names with a value each.
fn read_tags(node: &Node, findings: &mut Findings) -> Option<Setting<Tags>> {
    let plain = |node: &Node| match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(_) | Value::Integer(_) | Value::Number(_) => Some(node.value.shown()),
        Value::Null => Some(String::new()),
        Value::List(_) | Value::Table(_) => None,
    };
    let tags = match &node.value {
        Value::List(items) => items
            .iter()
            .map(plain)
            .collect::<Option<_>>()
            .map(Tags::Words),
        Value::Table(entries) => entries
            .iter()
            .map(|(name, value)| Some((name.clone(), plain(value)?)))
            .collect::<Option<_>>()
            .map(Tags::Pairs),
        _ => None,
    };
    if tags.is_none() {
        findings.wrong(
            &node.place,
            "a list of words, or a table of names and values",
        );
    }
    Some(Setting::set(tags?, node.place.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_the_documented_ones() {
        for name in ["a", "0", "prod-eu.west_1", &"x".repeat(100)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "-a",
            ".a",
            "_a",
            "a b",
            "a/b",
            "ä",
            "a\n",
            "..",
            "a%2f",
            &"x".repeat(101),
        ] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn an_arn_names_region_and_cluster_and_nothing_else_passes() {
        let arn = "arn:aws:eks:eu-west-1:222222222222:cluster/prod-eu-west-1";
        let europe = ("amazonaws.com", "eu-west-1", "prod-eu-west-1");
        assert_eq!(eks_arn(arn), Some(europe));
        let china = "arn:aws-cn:eks:cn-north-1:222222222222:cluster/a";
        assert_eq!(
            eks_arn(china),
            Some(("amazonaws.com.cn", "cn-north-1", "a"))
        );
        for arn in [
            "",
            "arn:aws:eks:eu-west-1:222222222222:cluster/",
            "arn:aws:eks:eu-west-1:222222222222:cluster/a/b",
            "arn:aws:eks:eu-west-1:222222222222:cluster/..%2f",
            "arn:aws:eks:eu-west-1:22222222222:cluster/a",
            "arn:aws:ec2:eu-west-1:222222222222:cluster/a",
            "arn:gcp:eks:eu-west-1:222222222222:cluster/a",
            "arn:awsome:eks:eu-west-1:222222222222:cluster/a",
            "prod",
        ] {
            assert_eq!(eks_arn(arn), None, "{arn}");
        }
    }
}
