//! The fast path: plain requests for files answered without the dispatcher.
//!
//! Reading, parsing, routing and writing a request through actix takes about as long as finding the file does. So each
//! connection begins here. What is plain (see `plain`), and can be decided from memory, is answered at once; the first request
//! that is anything else hands the connection over to the dispatcher, for good, with every byte of it unread. Nothing is
//! refused here as long as it is unread, but files that are not there: whoever may not, or meets damage, gets the
//! dispatcher's answer.
//!
//! A plain PUT is looked at as its head comes. With a small body it is unread until that is there, and is handed over if it
//! takes time. A longer body is read here from its first byte on, if nothing speaks against it and its upload need not wait
//! for its turn: past the dispatcher's buffers, but by the same rules, for how slow it may be and for what becomes of the
//! rest of one that nobody wants any more.
//!
//! A connection that waits for a request here holds no buffer; under the dispatcher it would hold two. One that waits for
//! a body holds what has come of it, see `waiting` and `arriving`; a small upload that waits for its turn holds its body,
//! which is about as much as the dispatcher reads ahead.

mod answer;
mod arriving;
mod buffers;
mod lines;
mod plain;
mod read;
mod waiting;
mod write;

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use actix_http::Protocol;
use actix_http::error::DispatchError;
use actix_server::GracefulShutdownSignal;
use actix_service::{Service, Transform};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::connection::{Connection, Transport};
use super::metrics::OpenConnection;
use super::routes::Serves;
use super::state::State;
use crate::telemetry::request::RequestContext;
use answer::{Came, Next};
use waiting::{Patience, Woken};

/// What is said to a client that connects and sends nothing, as the dispatcher says it.
const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How long the end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a connection comes with.
type Accepted<T> = (Connection<T>, Protocol, Option<SocketAddr>);

/// Puts the fast path before a service of connections.
#[derive(Clone)]
pub struct FastPath {
    state: State,
    serves: Serves,
    shutdown: GracefulShutdownSignal,
}

impl FastPath {
    /// For an address that serves this.
    pub fn new(state: State, serves: Serves, shutdown: GracefulShutdownSignal) -> Self {
        FastPath {
            state,
            serves,
            shutdown,
        }
    }

    /// Whether there is a fast path: the audit log's lines are written by the dispatcher's way alone.
    fn is_open(&self) -> bool {
        self.serves != Serves::MetricsOnly && self.state.audit().is_none_or(|audit| !audit.reads())
    }

    /// Whether it is open to requests that change something: every audit log names those.
    fn takes_writes(&self) -> bool {
        self.state.audit().is_none()
    }

    /// Answers plain requests as long as nothing else comes.
    async fn serve<T: Transport>(&self, connection: &Connection<T>, peer: Option<SocketAddr>) -> Ended {
        let mut patience = Patience::new(self.state.options(), &self.shutdown);
        loop {
            match patience.bytes(connection).await {
                Woken::Bytes => {}
                Woken::Silence if patience.is_first() => {
                    connection.begin_answer(|answer| answer.extend_from_slice(TIMEOUT));
                    return Ended::Closed;
                }
                Woken::Shutdown | Woken::Silence | Woken::Closed => return Ended::Closed,
            }
            let context = RequestContext::new(None, None);
            let came = Came {
                began: patience.last().into(),
                client: peer.map(|peer| peer.ip()),
                context: &context,
            };
            let answered = {
                let answered = pin!(self.answer(connection, came, &mut patience));
                context.clone().scope(answered).await
            };
            match answered {
                Ok(Next::Answered(took)) => patience.answered(took),
                Ok(Next::HandOver) => return Ended::HandOver,
                Ok(Next::Over) | Err(_) => return Ended::Closed,
            }
        }
    }
}

/// Why the fast path ends.
enum Ended {
    /// The dispatcher goes on.
    HandOver,
    /// The connection is done.
    Closed,
}

/// Sends what has been begun, and says that nothing more comes.
async fn close<T: Transport>(mut connection: Connection<T>) {
    let _ = timeout(FAREWELL, connection.shutdown()).await;
}

impl<S, T> Transform<S, Accepted<T>> for FastPath
where
    S: Service<Accepted<T>, Response = (), Error = DispatchError> + 'static,
    T: Transport,
{
    type Response = ();
    type Error = DispatchError;
    type Transform = Lane<S>;
    type InitError = ();
    type Future = Ready<Result<Lane<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Lane(Rc::new((self.clone(), service)))))
    }
}

/// The fast path of one worker, and the service behind it.
pub struct Lane<S>(Rc<(FastPath, S)>);

impl<S, T> Service<Accepted<T>> for Lane<S>
where
    S: Service<Accepted<T>, Response = (), Error = DispatchError> + 'static,
    T: Transport,
{
    type Response = ();
    type Error = DispatchError;
    type Future = Pin<Box<dyn Future<Output = Result<(), DispatchError>>>>;

    fn poll_ready(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), DispatchError>> {
        self.0.1.poll_ready(context)
    }

    fn call(&self, (connection, protocol, peer): Accepted<T>) -> Self::Future {
        let lane = self.0.clone();
        Box::pin(async move {
            let (fast_path, service) = &*lane;
            let _open = OpenConnection::new();
            if fast_path.is_open()
                && let Ended::Closed = fast_path.serve(&connection, peer).await
            {
                close(connection).await;
                return Ok(());
            }
            Box::pin(service.call((connection, protocol, peer))).await
        })
    }
}
