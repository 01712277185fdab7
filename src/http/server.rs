//! The server: sockets, workers, connections.
//!
//! Built from actix's parts, not with `actix_web::HttpServer`, which has no hook for `Expect: 100-continue`.

use std::io;
use std::net::{SocketAddr, TcpListener};

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, ServerBuilder, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use socket2::{SockRef, TcpKeepalive};
use tokio::task::JoinHandle;

use super::connection::{Connection, WRITE_BUFFER};
use super::expect::expect;
use super::metrics::{METRICS, OpenConnection};
use super::options::Options;
use super::routes::{Serves, entry};
use super::state::State;

/// Threads of each worker for what blocks: reads that the page cache cannot answer. More would only queue at the disk,
/// and each keeps memory of its own.
const BLOCKING_THREADS: usize = 8;

/// How long a connection is kept open for reading after an answer behind which nothing more is wanted.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// Addresses to serve. They listen already.
#[derive(Debug)]
pub struct Listeners {
    /// Everything.
    pub main: TcpListener,
    /// Metrics and health; with it, the main address has no `/metrics`.
    pub metrics: Option<TcpListener>,
}

/// A running server. Dropping it does not stop it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    handle: ServerHandle,
    running: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Starts to serve. Needs a running actix system. Signals are left to the caller.
    pub fn start(state: State, listeners: Listeners) -> io::Result<Self> {
        let Listeners { main, metrics } = listeners;
        let options = state.options();
        let address = main.local_addr()?;
        let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        METRICS.start(options.max_connections);
        let workers = options.workers.clamp(1, 512);
        let mut builder = actix_server::Server::build()
            .workers(workers)
            .worker_max_blocking_threads(BLOCKING_THREADS)
            .max_concurrent_connections(options.max_connections.div_ceil(workers).max(1))
            .shutdown_timeout(whole_seconds(options.shutdown_grace))
            .disable_signals();
        let serves = match metrics {
            Some(_) => Serves::AllButMetrics,
            None => Serves::All,
        };
        builder = listen(builder, main, state.clone(), serves)?;
        if let Some(metrics) = metrics {
            builder = listen(builder, metrics, state, Serves::MetricsOnly)?;
        }
        let server = builder.run();
        Ok(Server {
            address,
            metrics_address,
            handle: server.handle(),
            running: actix_rt::spawn(server),
        })
    }

    /// The main address, with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of metrics, if they have their own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Stops accepting. Gracefully: running requests may finish within the grace of the options, and then the rest is
    /// cut. Otherwise everything is cut at once. Returns when it is over.
    pub async fn stop(self, graceful: bool) {
        self.handle.stop(graceful).await;
        match self.running.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the server ended badly"),
            Err(error) => tracing::error!(%error, "the server's task died"),
        }
    }
}

/// Rounded up: the server counts in seconds.
fn whole_seconds(duration: std::time::Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn listen(
    builder: ServerBuilder,
    listener: TcpListener,
    state: State,
    serves: Serves,
) -> io::Result<ServerBuilder> {
    let address = listener.local_addr()?;
    let shutdown = builder.graceful_shutdown_signal();
    builder.listen(format!("http-{address}"), listener, move || {
        service(state.clone(), serves, address, shutdown.clone())
    })
}

/// What serves the connections of one worker.
fn service(
    state: State,
    serves: Serves,
    address: SocketAddr,
    shutdown: GracefulShutdownSignal,
) -> impl actix_service::ServiceFactory<
    TcpStream,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let options = state.options().clone();
    let asked = state.clone();
    let app = App::new().default_service(web::to(move |request, payload| {
        entry(state.clone(), serves, request, payload)
    }));
    let app = app.into_factory().map_err(|error| error.error_response());
    let service = HttpService::build()
        .graceful_shutdown_signal(move || {
            let shutdown = shutdown.clone();
            async move { shutdown.notified().await }
        })
        .keep_alive(KeepAlive::Timeout(options.keep_alive))
        .client_request_timeout(options.head_timeout)
        .client_disconnect_timeout(LINGER)
        .h1_write_buffer_size(WRITE_BUFFER)
        .local_addr(address)
        .on_connect_ext(move |connection: &Connection<TcpStream>, data| {
            connection.with(|stream| prepare(stream, &options));
            data.insert(connection.outlet());
            data.insert(OpenConnection::new());
        })
        .expect(fn_service(move |request| expect(asked.clone(), serves, request)))
        .finish(map_config(app, |()| AppConfig::default()));
    fn_service(async |stream: TcpStream| {
        let peer = stream.peer_addr().ok();
        Ok((Connection::new(stream), Protocol::Http1, peer))
    })
    .and_then(service)
}

/// Lets the kernel find out that a peer is gone, or does not read any more: it would keep memory and a descriptor.
fn prepare(connection: &TcpStream, options: &Options) {
    let socket = SockRef::from(connection);
    let probe = TcpKeepalive::new()
        .with_time(options.peer_timeout)
        .with_interval(options.peer_timeout);
    let prepared = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&probe))
        .and_then(|()| socket.set_tcp_user_timeout(Some(options.peer_timeout)));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection has no peer timeout");
    }
}
