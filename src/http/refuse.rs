//! What is left of a body when the answer is known.
//!
//! A client that sends everything before it reads must see the answer, and a connection whose request was read to its end
//! goes on. So a body that comes quickly is read to its end first. Otherwise the answer goes out at once, actix adds
//! `Connection: close` to it because the request has not been read, and the rest is read and thrown away behind the
//! answer, within bounds, before the connection closes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::incoming::Incoming;

/// A body comes quickly if it never pauses for longer than this,
const PAUSE: Duration = Duration::from_millis(100);
/// is all there within this,
const SOON: Duration = Duration::from_secs(2);
/// and is no longer than this, in bytes.
const SHORT: u64 = 16 << 20;

/// How much of a body is thrown away behind the answer.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At most so many bytes.
    pub bytes: u64,
    /// For at most so long.
    pub time: Duration,
}

/// Sees to the rest of the body. `length` is what the client announced.
pub async fn finish(
    response: HttpResponse,
    incoming: Incoming,
    length: Option<u64>,
    bounds: Bounds,
) -> HttpResponse {
    match is_read_soon(&incoming, length, bounds).await {
        true => response,
        false => response.map_body(|_, body| behind(body, incoming, bounds)),
    }
}

/// Reads the rest of a body before the answer, unless that would take long; whether there is nothing left of it.
pub async fn is_read_soon(incoming: &Incoming, length: Option<u64>, bounds: Bounds) -> bool {
    let worth_waiting = length.is_none_or(|length| length <= SHORT) && !bounds.time.is_zero();
    worth_waiting && comes_quickly(incoming.clone()).await
}

/// Throws the rest of a body away behind its answer, which has been sent.
pub async fn throw_away(incoming: Incoming, bounds: Bounds) {
    let mut rest = pin!(behind(BoxBody::new(()), incoming, bounds));
    while poll_fn(|context| rest.as_mut().poll_next(context))
        .await
        .is_some()
    {}
}

/// A body that goes on with throwing `incoming` away after its own bytes.
pub fn behind(body: BoxBody, incoming: Incoming, bounds: Bounds) -> BoxBody {
    BoxBody::new(Draining {
        size: body.size(),
        body: Some(body),
        incoming,
        left: bounds.bytes,
        time: bounds.time,
        deadline: None,
    })
}

/// Reads the body to its end, if that takes no time worth mentioning.
async fn comes_quickly(mut incoming: Incoming) -> bool {
    let deadline = Instant::now() + SOON;
    let mut read = 0_u64;
    while read <= SHORT {
        let patience = PAUSE.min(deadline.saturating_duration_since(Instant::now()));
        match timeout(patience, incoming.next()).await {
            Ok(Some(Ok(bytes))) => read = read.saturating_add(bytes.len() as u64),
            // A broken body has no rest either.
            Ok(Some(Err(_)) | None) => return true,
            Err(_) => return false,
        }
    }
    false
}

struct Draining {
    size: BodySize,
    /// The answer, until it has been sent.
    body: Option<BoxBody>,
    incoming: Incoming,
    /// Bytes that may still be thrown away.
    left: u64,
    time: Duration,
    /// Begins when the answer has been sent.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Draining {
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time = self.time;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(time)));
        while self.left > 0 && deadline.as_mut().poll(context).is_pending() {
            match ready!(Pin::new(&mut self.incoming).poll_next(context)) {
                Some(Ok(bytes)) => self.left = self.left.saturating_sub(bytes.len() as u64),
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(())
    }
}

impl MessageBody for Draining {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(body) = &mut self.body {
            match ready!(Pin::new(body).poll_next(context)) {
                Some(item) => return Poll::Ready(Some(item)),
                None => self.body = None,
            }
        }
        self.poll_rest(context).map(|()| None)
    }
}
