//! From a name to a TLS session: the hops before anybody says who they are.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, PeerMisbehaved,
    ProtocolVersion, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate::Facts;
use super::report::{Fault, Seen};
use super::text::{list, shown};
use crate::gateway::kube::Endpoint;

/// The one protocol that is offered: an upgrade does not exist in HTTP/2.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Finds the addresses of the apiserver's name.
pub(super) async fn dns(endpoint: &Endpoint) -> Result<Seen<Vec<SocketAddr>>, Fault> {
    let host = &endpoint.host;
    let found = endpoint.resolve().await;
    let reason = match found {
        Ok(addresses) if !addresses.is_empty() => {
            let text = if host.parse::<IpAddr>().is_ok() {
                format!("{host} is an address")
            } else {
                let all: Vec<_> = addresses
                    .iter()
                    .map(|address| address.ip().to_string())
                    .collect();
                format!("{host} is {}", list(all.iter().map(String::as_str)))
            };
            return Ok(Seen::new(addresses, text));
        }
        Ok(_) => "no address".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Fault::new(
        format!("{} cannot be resolved: {}", shown(host), shown(&reason)),
        format!(
            "The name of the cluster's server has no address here. Check the server URL (is the cluster still there?), \
             and the DNS of the place where the gateway runs: `getent hosts {host}` in its pod. A private endpoint \
             resolves only inside its network.{}",
            proxy_hint()
        ),
    ))
}

/// Connects to the first address that answers, as every session does.
pub(super) async fn tcp(addresses: Vec<SocketAddr>) -> Result<Seen<TcpStream>, Fault> {
    let mut refused = Vec::new();
    for address in addresses {
        match Endpoint::dial(address).await {
            Ok(stream) => {
                let mut seen = Seen::new(stream, format!("connected to {address}"));
                for reason in refused {
                    seen.warn(format!("not reached: {reason}"));
                }
                return Ok(seen);
            }
            Err(error) => refused.push(format!("{address}: {error}")),
        }
    }
    Err(Fault::new(
        refused.join("; "),
        format!(
            "The name resolves, but no address takes a TCP connection. `Connection refused`: nothing listens on that \
             port (the apiserver is down, or the port in the server URL is wrong). No answer in time: a firewall, \
             security group or NetworkPolicy drops packets from the place where the gateway runs.{}",
            proxy_hint()
        ),
    ))
}

/// The gateway goes straight to apiservers; who set a proxy expects otherwise.
fn proxy_hint() -> &'static str {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("HTTPS_PROXY") || is_set("https_proxy") {
        " HTTPS_PROXY is set here, but the gateway reaches apiservers directly, never through a proxy."
    } else {
        ""
    }
}

/// The protocol that was agreed on inside TLS.
pub(super) type Alpn = Option<Vec<u8>>;

/// Does the handshake that every request does. Without TLS, the value is none.
pub(super) async fn tls(
    endpoint: &Endpoint,
    stream: TcpStream,
) -> Result<Seen<Option<Alpn>>, Fault> {
    if endpoint.tls.is_none() {
        let mut seen = Seen::new(None, "none: the server URL is http");
        seen.warn("whoever is on the way can read and change everything, credentials included");
        return Ok(seen);
    }
    let error = match endpoint.handshake(stream).await {
        Ok(stream) => {
            let (_, connection) = stream.get_ref();
            let version = match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS",
            };
            let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
            let leaf = connection.peer_certificates().and_then(<[_]>::first);
            let facts = leaf.and_then(|leaf| Facts::read(leaf));
            let now = Timestamp::now();
            let told = facts.as_ref().map(|facts| facts.summary(now));
            let told = told.unwrap_or_else(|| "a certificate that cannot be read".to_owned());
            let mut seen = Seen::new(Some(alpn), format!("{version}, {told}"));
            if let Some(warning) = facts.and_then(|facts| facts.ends_soon("the certificate", now)) {
                seen.warn(warning);
            }
            if endpoint.is_unverified {
                seen.warn(
                    "not verified: insecure-skip-tls-verify is set, so whoever is on the way can read and change \
                     everything",
                );
            }
            return Ok(seen);
        }
        Err(error) => error,
    };
    let Some(reason) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return Err(Fault::new(
            format!("the connection ends inside the handshake: {error}"),
            "The port is open, but whoever has it hangs up before TLS is established. Something without TLS, a load \
             balancer without a healthy apiserver behind it, or a filter that does not like the server's name.",
        ));
    };
    // Only what is wrong with a certificate is worth a second look at it.
    let presented = if matches!(reason, rustls::Error::InvalidCertificate(_)) {
        look(endpoint).await
    } else {
        None
    };
    Err(tls_fault(endpoint, reason, presented.as_ref()))
}

/// What a failed handshake means.
fn tls_fault(endpoint: &Endpoint, reason: &rustls::Error, presented: Option<&Facts>) -> Fault {
    let name = endpoint.tls.as_ref().map(|tls| tls.server_name.to_str());
    let name = name.unwrap_or_default();
    let told = presented.map_or(String::new(), |facts| {
        format!("; {}", facts.whole(Timestamp::now()))
    });
    match reason {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            // A bad signature is one of an authority with the same name and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::new(
                format!("the certificate comes from an authority that is not trusted{told}"),
                "The cluster's certificate-authority-data does not vouch for what answers. If the issuer above is the \
                 cluster's own, the authority was rotated: take the new one from the cluster (`kubectl config view --raw` of \
                 somebody who gets in, or the provider's console). If it is not, something between ends TLS, such as an \
                 inspecting proxy: reach the apiserver past it. Switching the check off would hide this, not mend it.",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Fault::new(
                    format!("the certificate is not for {}{told}", shown(&name)),
                    "What answers proves to be somebody else. Use one of the names above in the server URL, or keep the URL and \
                     set tls-server-name in the kubeconfig to one of them. If none of them is an apiserver's, the address \
                     leads to the wrong machine.",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::new(
                format!("the certificate has expired{told}"),
                "The apiserver's serving certificate is over, and nobody can connect any more. Renew it (kubeadm: `kubeadm certs \
                 renew apiserver`, then restart the apiserver). If its end lies in the future, this machine's clock is wrong.",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Fault::new(
                    format!("the certificate is not valid yet{told}"),
                    "Most likely the clock of this machine is behind. Compare `date -u` with a good clock.",
                )
            }
            other => Fault::new(
                format!(
                    "the certificate is not accepted: {}{told}",
                    shown(&other.to_string())
                ),
                "The certificate cannot be verified. Look at it with `openssl s_client -connect HOST:PORT -showcerts`.",
            ),
        },
        rustls::Error::InvalidMessage(_) => Fault::new(
            "what answers does not speak TLS",
            "The port takes connections, but what comes back is no TLS. Is the port in the server URL the apiserver's? Many \
             clusters have plain HTTP on another port, and proxies answer with plain text.",
        ),
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol
        | rustls::Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
            Fault::new(
                "what answers does not take HTTP/1.1 (ALPN), the only protocol in which an upgrade exists",
                "An apiserver takes HTTP/1.1. A load balancer or proxy that speaks HTTP/2 only ends TLS in front of it: let it pass \
                 TCP through, or reach the apiserver past it.",
            )
        }
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => Fault::new(
            format!("the other side refuses our client certificate: {reason}"),
            "Check the client certificate of the kubeconfig: its end, and that the authority the apiserver trusts \
             (--client-ca-file) has signed it.",
        ),
        other => Fault::new(
            format!("the handshake fails: {}", shown(&other.to_string())),
            "Both sides speak TLS and do not agree. TLS 1.2 and 1.3 are offered; look at what is between here and the apiserver, \
             and at the apiserver's --tls-min-version and --tls-cipher-suites.",
        ),
    }
}

/// Says what was agreed on.
pub(super) fn alpn(chosen: Option<Alpn>) -> Seen<()> {
    match chosen {
        None => Seen::new((), "none without TLS; HTTP/1.1 is spoken"),
        Some(Some(protocol)) if protocol == HTTP_1_1 => Seen::new((), "http/1.1"),
        Some(None) => {
            let mut seen = Seen::new((), "nothing was chosen; HTTP/1.1 is spoken");
            seen.warn(
                "an apiserver chooses http/1.1, so something else ends TLS here: a load balancer or proxy, which has to let \
                 upgrades and long connections pass",
            );
            seen
        }
        Some(Some(other)) => {
            let other = String::from_utf8_lossy(&other).into_owned();
            let mut seen = Seen::new((), shown(&other));
            seen.warn(
                "http/1.1 was offered and something else chosen: upgrades will not work over it",
            );
            seen
        }
    }
}

/// Looks at the certificate that did not pass. The handshake goes no further than that, so nothing is
/// sent to whoever showed it.
async fn look(endpoint: &Endpoint) -> Option<Facts> {
    let tls = endpoint.tls.as_ref()?;
    let presented = Arc::new(Look::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Look>::clone(&presented))
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    let stream = endpoint.connect_tcp().await.ok()?;
    let connector = TlsConnector::from(Arc::new(config));
    let refused = connector.connect(tls.server_name.clone(), stream).await;
    debug_assert!(refused.is_err(), "a look is never a connection");
    let leaf = presented.0.lock().unwrap_or_else(PoisonError::into_inner);
    Facts::read(leaf.as_deref()?)
}

/// Keeps the certificate it is shown, and refuses it.
#[derive(Debug, Default)]
struct Look(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(leaf.to_vec());
        Err(rustls::Error::General("only a look".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only a look".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only a look".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
