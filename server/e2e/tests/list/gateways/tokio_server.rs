//! The production server's gateway, in this process. What is between its listener and its audit
//! stream is what `periscope` runs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use periscope_core::http::SecretValue;
use periscope_server::gateway::audit::Audit;
use periscope_server::gateway::identity::{Authorization, Subject, Tier};
use periscope_server::gateway::kube::{Credentials, Endpoint, KubeClient};
use periscope_server::gateway::login::{Authentication, DemoLogin};
use periscope_server::gateway::origin::{Hosts, Origins, PublicUrl};
use periscope_server::gateway::registry::{self, Backend, ExecSettings, Registry};
use periscope_server::gateway::shutdown::{self, Left};
use periscope_server::gateway::{Gateway as Inner, GatewayOptions, Listening};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Cluster, Gateway, Process, Settings};

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    gateway: Arc<Inner>,
    listening: Option<Listening>,
    leaving: Option<JoinHandle<bool>>,
}

pub(super) async fn start(clusters: &[Cluster], settings: Settings) -> io::Result<Gateway> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let subject = Subject {
        sub: "ann".to_owned(),
        email: None,
        groups: vec!["everyone".to_owned()],
    };
    let login = DemoLogin::new(subject, address.port()).map_err(io::Error::other)?;
    let token = login.token().reveal().to_owned();
    let audit = Arc::new(Mutex::new(Vec::new()));
    let sink =
        Audit::start(Box::new(Stream(Arc::clone(&audit))), None).map_err(io::Error::other)?;
    let tier = match settings.tier {
        "admin" => Tier::Admin,
        "read" => Tier::Read,
        other => panic!("tier {other}"),
    };
    let registry = clusters.iter().map(|each| cluster(each, settings));
    let gateway = Inner::new(GatewayOptions {
        registry: Registry::new(registry.collect()),
        authentication: Authentication::Demo(login),
        authorization: Authorization::Tier {
            group_tiers: vec![("everyone".to_owned(), tier)],
            default_tier: None,
        },
        origins: Origins::new(PublicUrl::of_listener(address), Hosts::Loopback, Vec::new()),
        exec_opens_per_minute: settings.opens_per_minute,
        drain: Duration::from_secs(settings.drain_seconds.into()),
        audit: Arc::new(sink),
    });
    let listening = Listening::start(listener, Arc::clone(&gateway)).map_err(io::Error::other)?;
    Ok(Gateway {
        address,
        token,
        audit,
        log: Arc::default(),
        payload: Arc::default(),
        process: Process::Tokio(Server {
            gateway,
            listening: Some(listening),
            leaving: None,
        }),
    })
}

fn cluster(cluster: &Cluster, settings: Settings) -> registry::Cluster {
    let access = &cluster.access;
    let endpoint = Endpoint::new(&access.server, access.ca_pem.as_bytes()).unwrap();
    let token = SecretValue::new(&access.token).unwrap();
    registry::Cluster {
        name: cluster.name.clone(),
        backend: Backend::Kubeconfig,
        region: None,
        arn: None,
        environment: None,
        tags: None,
        exec: ExecSettings {
            is_enabled: cluster.is_exec_enabled,
            idle: Duration::from_secs(settings.idle_seconds.into()),
            idle_warn: Duration::from_secs(settings.idle_warn_seconds.into()),
            sessions_per_user_max: settings.per_user,
            sessions_total_max: settings.per_cluster,
            ..ExecSettings::default()
        },
        kube: KubeClient::new(endpoint, Credentials::Token(token)),
    }
}

impl Server {
    pub(super) fn terminate(&mut self) {
        let gateway = Arc::clone(&self.gateway);
        let listening = self.listening.take().expect("a server that listens");
        self.leaving = Some(tokio::spawn(async move {
            let left = shutdown::drain(&gateway, listening, std::future::pending()).await;
            left == Left::default()
        }));
    }

    pub(super) async fn left(&mut self) -> bool {
        self.leaving
            .take()
            .expect("a server that leaves")
            .await
            .unwrap()
    }
}

/// The audit's stream.
struct Stream(Arc<Mutex<Vec<u8>>>);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
