//! Waiting for the next request of a connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_server::GracefulShutdownSignal;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::connection::{Connection, Transport};
use crate::http::options::Options;

/// What ended the wait.
pub enum Woken {
    /// There is something to read.
    Bytes,
    /// The server is about to stop, and nothing has been asked.
    Shutdown,
    /// The client has said nothing for too long.
    Silence,
    /// The client has gone.
    Closed,
}

/// How long a connection is waited for.
pub struct Patience {
    /// Set again only when it is over: moving it for each request would cost more than that now and then.
    timer: Pin<Box<Sleep>>,
    /// The last sign of life.
    last: Instant,
    /// Whether nothing has come yet.
    first: bool,
    head_timeout: Duration,
    keep_alive: Duration,
    shutdown: Pin<Box<dyn Future<Output = ()>>>,
}

impl Patience {
    /// From now on.
    pub fn new(options: &Options, shutdown: &GracefulShutdownSignal) -> Self {
        let (now, shutdown) = (Instant::now(), shutdown.clone());
        Patience {
            timer: Box::pin(sleep_until(now + options.head_timeout.min(options.keep_alive))),
            last: now,
            first: true,
            head_timeout: options.head_timeout,
            keep_alive: options.keep_alive,
            shutdown: Box::pin(async move { shutdown.notified().await }),
        }
    }

    /// Waits until there is something to read.
    pub async fn bytes<T: Transport>(&mut self, connection: &Connection<T>) -> Woken {
        let woken = poll_fn(|context| self.poll(context, connection)).await;
        self.last = Instant::now();
        self.first &= matches!(woken, Woken::Silence);
        woken
    }

    /// Whether nothing has come yet.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// When the wait for the present request was over.
    pub fn last(&self) -> Instant {
        self.last
    }

    fn poll<T: Transport>(&mut self, context: &mut Context<'_>, connection: &Connection<T>) -> Poll<Woken> {
        if !connection.unread().is_empty() {
            return Poll::Ready(Woken::Bytes);
        }
        match connection.poll_fill(context) {
            Poll::Ready(Ok(true)) => return Poll::Ready(Woken::Bytes),
            Poll::Ready(_) => return Poll::Ready(Woken::Closed),
            Poll::Pending => {}
        }
        if self.shutdown.as_mut().poll(context).is_ready() {
            return Poll::Ready(Woken::Shutdown);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let span = if self.first {
                self.head_timeout
            } else {
                self.keep_alive
            };
            let over = self.last + span;
            if over <= Instant::now() {
                return Poll::Ready(Woken::Silence);
            }
            self.timer.as_mut().reset(over);
        }
        Poll::Pending
    }
}
