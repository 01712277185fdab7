//! The listeners and what they serve.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::accounts::Desk;
use super::bounds::Settings;
use super::listen::{Bare, Bound, SocketFile};
use crate::access::Access;
use crate::artifact::Artifacts;
use crate::config::{Config, Listen, RequestLogOptions};
use crate::http::{Engine, Identity, Listener, RequestLog, Server, Serves, Socket, State, Tls, TlsError};
use crate::store::collect::Passes;
use crate::store::{Progress, Store};
use crate::telemetry::access_log::{self, AccessLog};
use crate::telemetry::audit::Audit;

use super::reload::Reloader;

/// How long the last lines of the access log may take to be written.
const FLUSH: Duration = Duration::from_secs(5);

/// The running HTTP side. Until [`Web::ready`] everything but health and metrics answers 503.
pub struct Web {
    state: State,
    server: Server,
    access_log: Option<AccessLog>,
    tls: Option<Tls>,
    /// They go when nobody can connect any more.
    _files: Vec<SocketFile>,
}

/// The certificate of a configuration, if it has one. Blocks.
pub fn identity(config: &Config) -> Result<Option<Identity>, TlsError> {
    let load = |files: &crate::config::TlsFiles| Identity::load(&files.certificate, &files.key);
    config.tls.as_ref().map(load).transpose()
}

impl Web {
    /// Serves on `main`, and metrics on `metrics` where that is given.
    pub fn start(
        config: &Config,
        identity: Option<Identity>,
        main: Vec<Bound>,
        metrics: Option<Bound>,
        audit: Option<Audit>,
    ) -> io::Result<Self> {
        let state = State::auditing(config.http.clone(), audit);
        let access_log = log_requests(&state, &config.requests)?;
        let tls = identity.map(Tls::new);
        let serves = match metrics {
            Some(_) => Serves::AllButMetrics,
            None => Serves::All,
        };
        let main = main.into_iter().map(|bound| (bound, serves));
        let metrics = metrics.into_iter().map(|bound| (bound, Serves::MetricsOnly));
        let (mut listeners, mut files) = (Vec::new(), Vec::new());
        for (Bound { at, socket, file }, serves) in main.chain(metrics) {
            let socket = spoken(&at, socket, tls.as_ref())?;
            listeners.push(Listener { socket, serves });
            files.extend(file);
        }
        let server = Server::start(state.clone(), listeners)?;
        Ok(Web {
            state,
            server,
            access_log,
            tls,
            _files: files,
        })
    }

    /// Shows on `/readyz` how far opening the store has come, and tells `inner` too.
    pub fn watch<P: Progress>(&self, inner: P) -> impl Progress + use<P> {
        Watched {
            state: self.state.clone(),
            inner,
        }
    }

    /// What reads the configuration again, for all of these.
    pub fn reloader(&self, config: &Config, desk: &Desk, bounds: &Settings) -> Reloader {
        Reloader::new(
            config,
            self.state.clone(),
            desk.clone(),
            bounds.clone(),
            self.tls.clone(),
            self.access_log.clone(),
        )
    }

    /// Requests are served from now on.
    pub fn ready(
        &self,
        store: Store,
        access: Access,
        artifacts: Artifacts,
        passes: Arc<dyn Passes>,
        reload: Reloader,
    ) {
        self.state.ready(Engine {
            artifacts,
            access,
            store,
            passes,
            reload: Arc::new(reload),
        });
    }

    /// Fails readiness; after a while that load balancers need to see it, stops accepting, and lets requests under way finish, for as long as the grace period.
    pub async fn stop(self) {
        self.state.drain();
        tokio::time::sleep(self.state.shutdown_delay()).await;
        self.server.stop(true).await;
        if let Some(log) = self.access_log {
            // It writes to disk.
            let _ = actix_rt::task::spawn_blocking(move || log.flush(FLUSH)).await;
        }
    }
}

/// A socket with what is spoken on it.
fn spoken(at: &Listen, socket: Bare, tls: Option<&Tls>) -> io::Result<Socket> {
    match (at, socket, tls) {
        (Listen::Tls(_), Bare::Tcp(listener), Some(tls)) => Ok(Socket::Tls(listener, tls.clone())),
        (Listen::Tls(_), Bare::Tcp(_), None) => Err(io::Error::other(format!("{at} has no certificate"))),
        (_, Bare::Tcp(listener), _) => Ok(Socket::Tcp(listener)),
        (_, Bare::Unix(listener), _) => Ok(Socket::Unix(listener)),
    }
}

/// Has requests written down, as far as that is wanted.
fn log_requests(state: &State, options: &RequestLogOptions) -> io::Result<Option<AccessLog>> {
    let access = match &options.access {
        Some((format, to)) => Some((AccessLog::open(to).map_err(|error| named(error, to))?, *format)),
        None => None,
    };
    let log = access.as_ref().map(|(log, _)| log.clone());
    if access.is_some() || options.slow.is_some() {
        state.log_requests(RequestLog::new(access, options.slow));
    }
    Ok(log)
}

fn named(error: io::Error, to: &access_log::Options) -> io::Error {
    let file = to.file.as_deref().unwrap_or(Path::new("stderr"));
    io::Error::new(
        error.kind(),
        format!("the access log {}: {error}", file.display()),
    )
}

struct Watched<P> {
    state: State,
    inner: P,
}

impl<P: Progress> Progress for Watched<P> {
    fn replayed(&self, done: u64, total: u64) {
        self.state.progress(done, total);
        self.inner.replayed(done, total);
    }
}
