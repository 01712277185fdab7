//! The listeners.
//!
//! `actix_web::HttpServer` has no hook for `Expect: 100-continue`, so the server is put together from the same parts
//! that it is made of.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, web};
use socket2::{SockRef, TcpKeepalive};

use super::observe::{self, observe};
use super::state::AppState;
use super::{expect, routes};

/// Threads of each worker for what blocks: reads that the page cache cannot answer, password hashes. More would only
/// queue at the disk, and each keeps memory of its own.
const BLOCKING_THREADS: usize = 8;
/// Time for a client to close after a refusal whose body was too long to read.
const LINGER: Duration = Duration::from_secs(2);
/// Answers are gathered up to this before they are written, bytes.
const WRITE_BUFFER: usize = 256 * 1024;
/// Age of a silence at which the peer is probed.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Everything.
    Everything,
    /// Everything but `/metrics`, which has a listener of its own.
    WithoutMetrics,
    /// `/metrics` and the health endpoints.
    MetricsOnly,
}

/// A running server.
#[derive(Clone, Debug)]
pub struct Running {
    handle: ServerHandle,
}

impl Running {
    /// Stops accepting; requests under way are finished up to the grace period, then cut.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }
}

/// Serves on `listeners`. Must be called inside an actix system; signals are the caller's.
///
/// # Errors
/// Where a listener cannot be registered.
pub fn serve(listeners: Vec<(TcpListener, Surface)>, state: Arc<AppState>) -> io::Result<(Server, Running)> {
    observe::init();
    let options = &state.options;
    let mut builder = Server::build()
        .workers(options.workers)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .max_concurrent_connections(options.max_connections.div_ceil(options.workers))
        .shutdown_timeout(options.shutdown_grace.as_secs().max(1))
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    for (listener, surface) in listeners {
        let address = listener.local_addr()?;
        let (state, stopping) = (state.clone(), stopping.clone());
        builder = builder.listen(format!("larder-{address}"), listener, move || {
            let (state, stopping) = (state.clone(), stopping.clone());
            let peer_timeout = state.options.peer_timeout;
            let app = App::new()
                .app_data(web::Data::from(state.clone()))
                .wrap(from_fn(observe))
                .configure(|config| routes::configure(config, surface))
                .into_factory()
                .map_err(|error: actix_web::Error| error.error_response());
            HttpService::build()
                .keep_alive(KeepAlive::Timeout(state.options.keep_alive))
                .client_request_timeout(state.options.head_timeout)
                .client_disconnect_timeout(LINGER)
                .h1_write_buffer_size(WRITE_BUFFER)
                .tcp_nodelay(true)
                .local_addr(address)
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .on_connect_ext(move |stream: &TcpStream, _| watch_peer(stream, peer_timeout))
                .expect(expect::factory(state))
                .finish(map_config(app, |()| AppConfig::default()))
                .tcp()
        })?;
    }
    let server = builder.run();
    let handle = server.handle();
    Ok((server, Running { handle }))
}

/// A peer that is gone, or that takes nothing for `timeout`, is given up by the kernel, so that it pins neither a
/// descriptor nor buffers. Best effort: a socket that refuses an option still serves.
fn watch_peer(stream: &TcpStream, timeout: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER));
    let _ = socket.set_tcp_user_timeout(Some(timeout));
}
