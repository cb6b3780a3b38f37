//! What makes a server trusted, and what we prove ourselves with in TLS.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::EndpointError;

/// Whom a server's certificate must come from.
#[derive(Clone, Debug)]
pub enum Trust {
    /// One of these authorities, PEM.
    Authorities(Vec<u8>),
    /// One of those this machine trusts.
    System,
    /// Anyone: the kubeconfig itself says so.
    Anyone,
}

/// A client certificate with its chain, and its key, both PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate first, then whoever vouches for it.
    pub chain: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl Trust {
    /// The roots; none if anyone is trusted.
    pub(super) fn roots(&self) -> Result<Option<Arc<RootCertStore>>, EndpointError> {
        match self {
            Self::Anyone => Ok(None),
            Self::System if SYSTEM_ROOTS.is_empty() => Err(EndpointError::NoSystemRoots),
            Self::System => Ok(Some(Arc::clone(&SYSTEM_ROOTS))),
            Self::Authorities(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|_| EndpointError::Authority)?;
                    roots
                        .add(certificate)
                        .map_err(|_| EndpointError::Authority)?;
                }
                if roots.is_empty() {
                    return Err(EndpointError::Authority);
                }
                Ok(Some(Arc::new(roots)))
            }
        }
    }
}

impl ClientCertificate {
    pub(super) fn parse(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), EndpointError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.chain).collect();
        let chain = chain.map_err(|_| EndpointError::Certificate)?;
        if chain.is_empty() {
            return Err(EndpointError::Certificate);
        }
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| EndpointError::Certificate)?;
        Ok((chain, key))
    }
}

/// Never prints the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// Reading them takes long enough to do it once.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A machine may hold certificates that rustls does not take; the others still count.
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
});

/// Accepts every certificate. That the peer holds its key is still checked.
#[derive(Debug)]
pub(super) struct TrustAnyone(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
