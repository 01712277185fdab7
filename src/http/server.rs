//! The server: sockets, workers, connections.
//!
//! Built from actix's parts, not with `actix_web::HttpServer`, which has no hook for `Expect: 100-continue`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_rt::net::{TcpStream, UnixStream};
use actix_server::{GracefulShutdownSignal, ServerBuilder, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, apply, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use socket2::{SockRef, TcpKeepalive};
use tokio::task::JoinHandle;

use super::connection::{Connection, Transport, WRITE_BUFFER};
use super::expect::expect;
use super::fast_path::FastPath;
use super::metrics::METRICS;
use super::options::Options;
use super::routes::{Entrance, Serves, entry};
use super::state::State;
use super::tls::Tls;

/// Threads of each worker for what blocks: reads that the page cache cannot answer. More would only queue at the disk,
/// and each keeps memory of its own.
const BLOCKING_THREADS: usize = 8;

/// How long a connection is kept open for reading after an answer behind which nothing more is wanted.
pub const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// An address to serve. It listens already.
#[derive(Debug)]
pub struct Listener {
    /// Where clients connect.
    pub socket: Socket,
    /// What they find there.
    pub serves: Serves,
}

/// A listening socket and what is spoken on it.
#[derive(Debug)]
pub enum Socket {
    /// HTTP over TCP.
    Tcp(TcpListener),
    /// HTTP over TLS over TCP.
    Tls(TcpListener, Tls),
    /// HTTP over a Unix socket.
    Unix(UnixListener),
}

/// A running server. Dropping it does not stop it.
#[derive(Debug)]
pub struct Server {
    handle: ServerHandle,
    running: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Starts to serve. Needs a running actix system. Signals are left to the caller.
    pub fn start(state: State, listeners: Vec<Listener>) -> io::Result<Self> {
        let options = state.options();
        METRICS.start(options.max_connections);
        super::tls::show_metrics();
        let workers = options.workers.clamp(1, 512);
        let mut builder = actix_server::Server::build()
            .workers(workers)
            .worker_max_blocking_threads(BLOCKING_THREADS)
            .max_concurrent_connections(options.max_connections.div_ceil(workers).max(1))
            .shutdown_timeout(whole_seconds(options.shutdown_grace))
            .disable_signals();
        for (n, listener) in listeners.into_iter().enumerate() {
            builder = listen(builder, format!("http-{n}"), listener, &state)?;
        }
        let server = builder.run();
        Ok(Server {
            handle: server.handle(),
            running: actix_rt::spawn(server),
        })
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
    name: String,
    listener: Listener,
    state: &State,
) -> io::Result<ServerBuilder> {
    let shutdown = builder.graceful_shutdown_signal();
    let serves = listener.serves;
    let entrance = move |tls| Entrance { serves, tls };
    let state = state.clone();
    match listener.socket {
        Socket::Tcp(listener) => builder.listen(name, listener, move || {
            let (options, entrance) = (state.options().clone(), entrance(false));
            fn_service(move |stream: TcpStream| {
                let peer = prepared(&stream, &options);
                async move { Ok((stream, Protocol::Http1, peer)) }
            })
            .and_then(service(state.clone(), entrance, shutdown.clone()))
        }),
        Socket::Tls(listener, tls) => builder.listen(name, listener, move || {
            let (options, entrance, tls) = (state.options().clone(), entrance(true), tls.clone());
            fn_service(move |stream: TcpStream| {
                let peer = prepared(&stream, &options);
                let (tls, patience) = (tls.clone(), options.head_timeout);
                async move {
                    let stream = tls.accept(stream, patience).await.inspect_err(|error| {
                        // Anybody can cause this, by accident or not.
                        tracing::debug!(%error, ?peer, "a TLS handshake failed");
                    })?;
                    Ok((stream, Protocol::Http1, peer))
                }
            })
            .and_then(service(state.clone(), entrance, shutdown.clone()))
        }),
        Socket::Unix(listener) => builder.listen_uds(name, listener, move || {
            fn_service(async |stream: UnixStream| Ok((stream, Protocol::Http1, None))).and_then(service(
                state.clone(),
                entrance(false),
                shutdown.clone(),
            ))
        }),
    }
}

/// What serves the connections of one worker.
fn service<T: Transport>(
    state: State,
    entrance: Entrance,
    shutdown: GracefulShutdownSignal,
) -> impl ServiceFactory<
    (T, Protocol, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let options = state.options().clone();
    let asked = state.clone();
    let fast_path = FastPath::new(state.clone(), entrance.serves, shutdown.clone());
    let app = App::new().default_service(web::to(move |request, payload| {
        entry(state.clone(), entrance, request, payload)
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
        .on_connect_ext(|connection: &Connection<T>, data| {
            data.insert(connection.outlet());
        })
        .expect(fn_service(move |request| {
            expect(asked.clone(), entrance, request)
        }))
        .finish(map_config(app, |()| AppConfig::default()));
    fn_service(
        async |(stream, protocol, peer): (T, Protocol, Option<SocketAddr>)| {
            Ok((Connection::new(stream), protocol, peer))
        },
    )
    .and_then(apply(fast_path, service))
}

/// Who connects, and the socket made fit for it: answers go out at once.
fn prepared(connection: &TcpStream, options: &Options) -> Option<SocketAddr> {
    let _ = connection.set_nodelay(true);
    prepare(connection, options);
    connection.peer_addr().ok()
}

/// Lets the kernel find out that a peer is gone, or does not read any more: it would keep memory and a descriptor.
fn prepare(connection: &TcpStream, options: &Options) {
    let socket = SockRef::from(connection);
    let probe = TcpKeepalive::new()
        .with_time(options.peer_timeout)
        .with_interval(options.peer_timeout);
    let prepared = socket
        .set_tcp_keepalive(&probe)
        .and_then(|()| socket.set_tcp_user_timeout(Some(options.peer_timeout)));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection has no peer timeout");
    }
}
