//! The listeners and what they serve.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_rt::task::JoinHandle;

use crate::access::Access;
use crate::artifact::Artifacts;
use crate::config::Config;
use crate::http::{self, AppState, Engine, Running, Surface};
use crate::store::{Progress, Store};

/// The running HTTP side. Until [`Web::ready`] everything but health and metrics answers 503.
pub struct Web {
    state: Arc<AppState>,
    running: Running,
    served: JoinHandle<io::Result<()>>,
}

impl Web {
    /// Serves on `main`, and metrics on `metrics` where that is given.
    pub fn start(config: &Config, main: TcpListener, metrics: Option<TcpListener>) -> io::Result<Self> {
        let state = Arc::new(AppState::new(config.http.clone()));
        let listeners = match metrics {
            Some(metrics) => vec![(main, Surface::WithoutMetrics), (metrics, Surface::MetricsOnly)],
            None => vec![(main, Surface::Everything)],
        };
        let (server, running) = http::serve(listeners, state.clone())?;
        Ok(Web {
            state,
            running,
            served: actix_rt::spawn(server),
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
    pub fn ready(&self, store: Store, access: Access, artifacts: Artifacts) {
        self.state.ready(Engine {
            artifacts,
            access,
            store,
        });
    }

    /// Fails readiness, stops accepting and lets requests under way finish, for as long as the grace period.
    pub async fn stop(self) {
        self.state.drain();
        self.running.stop().await;
        if let Ok(Err(error)) = self.served.await {
            tracing::warn!(%error, "the server ended with an error");
        }
    }
}

struct Watched<P> {
    state: Arc<AppState>,
    inner: P,
}

impl<P: Progress> Progress for Watched<P> {
    fn replayed(&self, done: u64, total: u64) {
        self.state.replayed(done, total);
        self.inner.replayed(done, total);
    }
}
