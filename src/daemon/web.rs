//! The listeners and what they serve.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::access::Access;
use crate::artifact::Artifacts;
use crate::config::{Config, RequestLogOptions};
use crate::http::{Engine, Listeners, RequestLog, Server, State};
use crate::store::collect::Passes;
use crate::store::{Progress, Store};
use crate::telemetry::access_log::{self, AccessLog};

/// How long the last lines of the access log may take to be written.
const FLUSH: Duration = Duration::from_secs(5);

/// The running HTTP side. Until [`Web::ready`] everything but health and metrics answers 503.
pub struct Web {
    state: State,
    server: Server,
    access_log: Option<AccessLog>,
}

impl Web {
    /// Serves on `main`, and metrics on `metrics` where that is given.
    pub fn start(config: &Config, main: TcpListener, metrics: Option<TcpListener>) -> io::Result<Self> {
        let state = State::new(config.http.clone());
        let access_log = log_requests(&state, &config.requests)?;
        let server = Server::start(state.clone(), Listeners { main, metrics })?;
        Ok(Web {
            state,
            server,
            access_log,
        })
    }

    /// Shows on `/readyz` how far opening the store has come, and tells `inner` too.
    pub fn watch<P: Progress>(&self, inner: P) -> impl Progress + use<P> {
        Watched {
            state: self.state.clone(),
            inner,
        }
    }

    /// Requests are served from now on.
    pub fn ready(&self, store: Store, access: Access, artifacts: Artifacts, passes: Arc<dyn Passes>) {
        self.state.ready(Engine {
            artifacts,
            access,
            store,
            passes,
        });
    }

    /// Fails readiness, stops accepting and lets requests under way finish, for as long as the grace period.
    pub async fn stop(self) {
        self.state.drain();
        self.server.stop(true).await;
        if let Some(log) = self.access_log {
            // It writes to disk.
            let _ = actix_rt::task::spawn_blocking(move || log.flush(FLUSH)).await;
        }
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
