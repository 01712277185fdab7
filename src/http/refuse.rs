//! Refusing a request whose body has not been read.
//!
//! The refusal is sent at once. Then the body goes on being read, within limits, before the connection closes: a
//! client that sends everything before it reads would otherwise see a reset instead of the status.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Sleep, sleep, timeout};

use super::Options;

/// A body of at most this length is waited for, so that the connection can be kept.
const SMALL_BODY: u64 = 256 * 1024;
/// How long.
const SMALL_BODY_PATIENCE: Duration = Duration::from_millis(100);

/// Answers with `response` and takes care of the rest of the request's body. `length`: its Content-Length.
pub async fn refuse(
    response: HttpResponse,
    mut payload: Payload,
    length: Option<u64>,
    options: &Options,
) -> HttpResponse {
    if length.is_none_or(|length| length <= SMALL_BODY)
        && timeout(SMALL_BODY_PATIENCE, drain(&mut payload, SMALL_BODY)).await == Ok(true)
    {
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(text) = body.try_into_bytes() else {
        return head.set_body(BoxBody::new(()));
    };
    head.set_body(BoxBody::new(
        Draining {
            text: Some(text),
            len: 0,
            payload,
            left: options.drain_bytes,
            deadline: Box::pin(sleep(options.drain_time)),
        }
        .sized(),
    ))
}

/// Reads up to `limit` bytes away. True: that was all.
async fn drain(payload: &mut Payload, limit: u64) -> bool {
    let mut read = 0;
    while let Some(piece) = payload.next().await {
        read += piece.map_or(limit, |piece| piece.len() as u64);
        if read >= limit {
            return false;
        }
    }
    true
}

/// A response body that is sent whole and then holds the end back until the request's body is read.
struct Draining {
    text: Option<Bytes>,
    len: u64,
    payload: Payload,
    left: u64,
    deadline: Pin<Box<Sleep>>,
}

impl Draining {
    fn sized(mut self) -> Self {
        self.len = self.text.as_ref().map_or(0, |text| text.len() as u64);
        self
    }
}

impl MessageBody for Draining {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.len)
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if let Some(text) = this.text.take() {
            return Poll::Ready(Some(Ok(text)));
        }
        while this.left > 0 && this.deadline.as_mut().poll(cx).is_pending() {
            match Pin::new(&mut this.payload).poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => this.left = this.left.saturating_sub(piece.len() as u64),
                Poll::Ready(Some(Err(_)) | None) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(None)
    }
}
