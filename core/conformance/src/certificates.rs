//! A certificate authority for one process, and TLS as both ends speak it.

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// The name the apiserver's certificate is valid for.
pub const SERVER_NAME: &str = "apiserver.test";

static TRUSTED: LazyLock<Authority> = LazyLock::new(|| Authority::new("trusted"));
static STRANGER: LazyLock<Authority> = LazyLock::new(|| Authority::new("stranger"));

#[derive(Debug)]
struct Authority {
    root: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap().der().clone();
        let issuer = Issuer::new(authority, authority_key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap().der().clone();
        Self {
            root,
            leaf,
            key: leaf_key.serialize_der(),
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What the apiserver needs. `tickets` is how many it sends behind the handshake (TLS 1.3).
pub fn server(versions: &[&'static SupportedProtocolVersion], tickets: usize) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(TRUSTED.key.clone()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![TRUSTED.leaf.clone()], key)
        .unwrap();
    config.send_tls13_tickets = tickets;
    Arc::new(config)
}

/// A gateway that trusts the apiserver's authority.
pub fn client() -> Arc<ClientConfig> {
    client_of(&TRUSTED)
}

/// A gateway that trusts somebody else.
pub fn client_of_another_authority() -> Arc<ClientConfig> {
    client_of(&STRANGER)
}

fn client_of(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// [`SERVER_NAME`] as rustls takes it.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).unwrap()
}
