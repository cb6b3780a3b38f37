//! The cluster this program runs in, as a pod of it: what Kubernetes puts into every pod that has a
//! service account.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Credentials, Endpoint, EndpointError, Source};

/// Where the service account's files are.
pub const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why there is no cluster around this program.
#[derive(Debug, thiserror::Error)]
pub enum InClusterError {
    /// The variables are missing.
    #[error("this is no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set")]
    NotAPod,
    /// There is no service account, or it is not mounted.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the machine said.
        error: io::Error,
    },
    /// Address or certificate is unusable.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// The way to the apiserver at `host` and `port`, with the account in `dir`. The token is read anew
/// for every request, because Kubernetes rotates it.
pub fn source(
    host: Option<&str>,
    port: Option<&str>,
    dir: &Path,
) -> Result<Source, InClusterError> {
    let (Some(host), Some(port)) = (host, port) else {
        return Err(InClusterError::NotAPod);
    };
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| InClusterError::File {
            path: path.to_owned(),
            error,
        })
    };
    let authorities = read(&dir.join("ca.crt"))?;
    let token = dir.join("token");
    read(&token)?;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let endpoint = Endpoint::new(&format!("https://{host}:{port}"), &authorities)?;
    Ok(Source::Fixed {
        endpoint: Arc::new(endpoint),
        credentials: Credentials::TokenFile(token),
    })
}
