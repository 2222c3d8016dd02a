//! Certificates, and the settings of TLS: versions 1.2 and 1.3, by rustls.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds something else.
    #[error("cannot read {path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not do.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// TLS of a server. Certificates can be changed while it runs; new connections get the new ones.
#[derive(Clone)]
pub struct Tls {
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// With a chain of certificates, the server's own first, and its key.
    ///
    /// # Errors
    /// If they do not belong together.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let config = config(chain, key)?;
        Ok(Self { config: Arc::new(RwLock::new(config)) })
    }

    /// From files in PEM form.
    ///
    /// # Errors
    /// If they cannot be read or do not belong together.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let (chain, key) = read(chain, key)?;
        Self::new(chain, key)
    }

    /// Reads other files; connections that are there keep what they have.
    ///
    /// # Errors
    /// As [`Tls::from_files`]; the certificates before stay in use then.
    pub fn reload(&self, chain: &Path, key: &Path) -> Result<(), TlsError> {
        let (chain, key) = read(chain, key)?;
        let config = config(chain, key)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

fn read(
    chain: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(chain).map_err(pem(chain))?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let key_read = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    Ok((certificates.map_err(pem(chain))?, key_read))
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    // Named, not the process's default: another user of rustls may have set that.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder?.with_no_client_auth().with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}
