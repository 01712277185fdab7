//! The HTTP server as the daemon handles it: up before the store, down before the store.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crate::config::Config;
use crate::http::{self, AppState, Engine, Running, Surface};
use crate::store::Progress;

/// The server and what it shares with the daemon.
pub struct Web {
    state: Arc<AppState>,
    running: Running,
}

impl Web {
    /// Serves from now on; without an engine that is health, metrics and 503.
    pub fn start(config: &Config, main: TcpListener, metrics: Option<TcpListener>) -> io::Result<Self> {
        let state = Arc::new(AppState::new(config.http.clone()));
        let listeners = match metrics {
            None => vec![(main, Surface::Everything)],
            Some(metrics) => vec![(main, Surface::WithoutMetrics), (metrics, Surface::MetricsOnly)],
        };
        let (server, running) = http::serve(listeners, state.clone())?;
        actix_rt::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server failed");
            }
        });
        Ok(Web { state, running })
    }

    /// `progress`, told to `/readyz` too.
    pub fn watching<P: Progress>(&self, progress: P) -> impl Progress + use<P> {
        Watched {
            state: self.state.clone(),
            progress,
        }
    }

    /// Requests can be served from now on.
    pub fn ready(&self, engine: Engine) {
        self.state.ready(engine);
    }

    /// Stops accepting and gives running requests their grace period.
    pub async fn stop(&self) {
        self.state.drain();
        self.running.stop().await;
    }
}

struct Watched<P> {
    state: Arc<AppState>,
    progress: P,
}

impl<P: Progress> Progress for Watched<P> {
    fn replayed(&self, done: u64, total: u64) {
        self.state.replayed(done, total);
        self.progress.replayed(done, total);
    }
}
