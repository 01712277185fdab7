//! The listeners and what they serve.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crate::access::Access;
use crate::artifact::Artifacts;
use crate::config::Config;
use crate::http::{Engine, Listeners, Server, State};
use crate::store::collect::Passes;
use crate::store::{Progress, Store};

/// The running HTTP side. Until [`Web::ready`] everything but health and metrics answers 503.
pub struct Web {
    state: State,
    server: Server,
}

impl Web {
    /// Serves on `main`, and metrics on `metrics` where that is given.
    pub fn start(config: &Config, main: TcpListener, metrics: Option<TcpListener>) -> io::Result<Self> {
        let state = State::new(config.http.clone());
        let server = Server::start(state.clone(), Listeners { main, metrics })?;
        Ok(Web { state, server })
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
    }
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
