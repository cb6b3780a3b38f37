//! The sandbox's own certificate authority, and the certificate its listeners show.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Making a key or a certificate failed.
    #[error("cannot make the sandbox's certificates: {0}")]
    Make(#[from] rcgen::Error),
    /// rustls refused what was made.
    #[error("cannot use the sandbox's certificates: {0}")]
    Use(#[from] rustls::Error),
}

/// Names the certificate is valid for: the sandbox is reached over loopback only.
const SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What one authority and its listeners need.
#[derive(Debug)]
pub(super) struct Certificates {
    /// The authority's certificate, for the kubeconfig.
    pub(super) ca_pem: String,
    /// TLS as the listeners speak it: HTTP/1.1 only, since an upgrade needs it.
    pub(super) tls: Arc<ServerConfig>,
}

impl Certificates {
    /// Makes a new authority and a leaf signed by it. The authority's key is dropped here, so
    /// nobody can sign anything else with it.
    pub(super) fn new() -> Result<Self, CertificateError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name = common_name("periscope sandbox authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let leaf_key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
        leaf.distinguished_name = common_name("periscope sandbox apiserver");
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = leaf.signed_by(&leaf_key, &issuer)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem,
            tls: Arc::new(tls),
        })
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
