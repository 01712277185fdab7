//! Waiting for the next request of a connection, and for its body.
//!
//! Memory: whoever waits for a request holds nothing. A body is waited for only behind the head of somebody who may publish
//! it, for a moment, and all that are waited for by one worker hold a bounded number of bytes; whatever is beyond that is
//! the dispatcher's.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_server::GracefulShutdownSignal;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::connection::{Connection, Transport};
use crate::http::options::Options;

/// How long a body is waited for: one that was sent with its head is there at once.
const BODY_PATIENCE: Duration = Duration::from_millis(200);

/// How many bytes the requests may have together whose bodies one worker waits for.
const MAX_HALF_SENT: usize = 16 << 20;

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
    /// Whether the server is about to stop, as far as has been asked.
    stopping: bool,
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
            stopping: false,
        }
    }

    /// Waits until there is something to read.
    pub async fn bytes<T: Transport>(&mut self, connection: &Connection<T>) -> Woken {
        let woken = poll_fn(|context| self.poll(context, connection)).await;
        self.last = Instant::now();
        self.first &= matches!(woken, Woken::Silence);
        woken
    }

    /// Waits until so many bytes are there to be taken: a request with all of its body, of which some is missing. False:
    /// they do not come at once, and somebody else is to wait for them.
    pub async fn body<T: Transport>(&mut self, connection: &Connection<T>, len: usize) -> bool {
        let Some(_held) = HalfSent::new(len) else {
            return false;
        };
        let mut over = std::pin::pin!(sleep_until(self.last + BODY_PATIENCE));
        poll_fn(|context| {
            if let Poll::Ready(filled) = connection.poll_fill_to(context, len) {
                return Poll::Ready(matches!(filled, Ok(true)));
            }
            // A dispatcher that begins now begins no request any more. The server cuts whoever needs longer than its grace.
            match over.as_mut().poll(context).is_ready() && !self.is_stopping(context) {
                true => Poll::Ready(false),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Whether the server is about to stop.
    pub async fn is_over(&mut self) -> bool {
        poll_fn(|context| Poll::Ready(self.is_stopping(context))).await
    }

    /// The present request has been answered, so long after it came.
    pub fn answered(&mut self, took: Duration) {
        self.last += took;
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
        if self.is_stopping(context) {
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
    fn is_stopping(&mut self, context: &mut Context<'_>) -> bool {
        self.stopping = self.stopping || self.shutdown.as_mut().poll(context).is_ready();
        self.stopping
    }
}

thread_local! {
    /// Bytes of the requests whose bodies this worker waits for.
    static HALF_SENT: Cell<usize> = const { Cell::new(0) };
}

/// A request whose body is waited for.
struct HalfSent(usize);

impl HalfSent {
    /// One of so many bytes; `None`: that would be too many.
    fn new(len: usize) -> Option<Self> {
        let all = HALF_SENT.get() + len;
        (all <= MAX_HALF_SENT).then(|| {
            HALF_SENT.set(all);
            HalfSent(len)
        })
    }
}

impl Drop for HalfSent {
    fn drop(&mut self) {
        HALF_SENT.set(HALF_SENT.get() - self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_sent_requests_are_bounded_together() {
        let half = MAX_HALF_SENT / 2;
        let (first, second) = (HalfSent::new(half), HalfSent::new(half));
        assert!(first.is_some() && second.is_some());
        assert!(HalfSent::new(1).is_none());
        drop(first);
        assert!(HalfSent::new(half + 1).is_none() && HalfSent::new(half).is_some());
        drop(second);
        assert_eq!(HALF_SENT.get(), 0);
    }
}
