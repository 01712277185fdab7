//! TLS: a certificate and its key, exchanged while the server runs. Connections that are open keep the one they began
//! with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_rt::net::TcpStream;
use arc_swap::ArcSwap;
use prometheus::IntGauge;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::connection::Transport;
use crate::telemetry::metrics;

/// What is encrypted must be copied.
impl Transport for TlsStream<TcpStream> {}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{}: {error}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// A file without a certificate.
    #[error("{}: there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate that cannot be read.
    #[error("{}: {error}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// Why.
        error: x509_cert::der::Error,
    },
    /// The two do not fit together, or are of a kind that is not known.
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// A checked pair, ready to be served.
#[derive(Clone, Debug)]
pub struct Identity {
    config: Arc<ServerConfig>,
    /// The certificate itself.
    leaf: CertificateDer<'static>,
    /// When the certificate ends, seconds since 1970.
    pub not_after: u64,
}

impl Identity {
    /// Reads a certificate, with the chain behind it, and its key, all PEM. Blocks.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let named = |path: &Path| {
            let path = path.to_owned();
            move |error| TlsError::Pem { path, error }
        };
        let chain = CertificateDer::pem_file_iter(certificate).map_err(named(certificate))?;
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(named(certificate))?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(TlsError::NoCertificate(certificate.to_owned()));
        };
        let not_after = not_after(certificate, &leaf)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(named(key))?;
        // Named here, so that no other library's choice of a provider matters.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Identity {
            config: Arc::new(config),
            leaf,
            not_after,
        })
    }
}

fn not_after(path: &Path, leaf: &CertificateDer<'_>) -> Result<u64, TlsError> {
    let certificate = Certificate::from_der(leaf).map_err(|error| TlsError::Certificate {
        path: path.to_owned(),
        error,
    })?;
    Ok(certificate
        .tbs_certificate
        .validity
        .not_after
        .to_unix_duration()
        .as_secs())
}

/// Registered with the first certificate: without one there is no end to tell.
static NOT_AFTER: LazyLock<IntGauge> = LazyLock::new(|| {
    metrics::gauge(
        "larder_tls_certificate_not_after_timestamp_seconds",
        "When the certificate that is shown to clients ends.",
    )
});

fn note(identity: &Identity) {
    NOT_AFTER.set(i64::try_from(identity.not_after).unwrap_or(i64::MAX));
}

/// What the server shows to clients. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ArcSwap<Identity>>);

impl Tls {
    /// Shows this.
    pub fn new(identity: Identity) -> Self {
        note(&identity);
        Tls(Arc::new(ArcSwap::from_pointee(identity)))
    }

    /// Shows this to clients that connect from now on; whether it is another certificate than before.
    pub fn replace(&self, identity: Identity) -> bool {
        note(&identity);
        let new = Arc::new(identity);
        self.0.swap(new.clone()).leaf != new.leaf
    }

    /// Shakes hands, for no longer than `patience`.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.0.load().config.clone());
        tokio::time::timeout(patience, acceptor.accept(stream)).await?
    }
}
