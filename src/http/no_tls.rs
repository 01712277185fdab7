//! In place of `tls` in a build without the feature of that name.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use actix_rt::net::TcpStream;

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("this larder was built without TLS (the cargo feature \"tls\")")]
pub struct TlsError;

/// There is none.
#[derive(Clone, Debug)]
pub struct Identity {
    /// When the certificate ends, seconds since 1970.
    pub not_after: u64,
    never: Infallible,
}

impl Identity {
    /// Always fails.
    pub fn load(_: &Path, _: &Path) -> Result<Self, TlsError> {
        Err(TlsError)
    }
}

/// There is none.
#[derive(Clone, Debug)]
pub struct Tls(Infallible);

impl Tls {
    /// Cannot be called.
    pub fn new(identity: Identity) -> Self {
        match identity.never {}
    }

    /// Cannot be called.
    pub fn replace(&self, identity: Identity) -> bool {
        match identity.never {}
    }

    pub(super) async fn accept(&self, _: TcpStream, _: Duration) -> std::io::Result<TcpStream> {
        match self.0 {}
    }
}

/// There is nothing to show.
pub fn show_metrics() {}
