//! Watches a request from its head to the last byte of its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::metrics::{Operation, Outcome};
use super::trail::Trail;

/// A request under way. Dropped before its answer is finished, it counts as abandoned.
#[derive(Debug)]
pub struct Watch {
    operation: &'static Operation,
    began: Instant,
    outcome: Outcome,
    status: Option<u16>,
    sent: u64,
    trail: Option<Trail>,
}

impl Watch {
    /// The head is there.
    pub fn begin(operation: &'static Operation) -> Self {
        operation.began();
        Watch {
            operation,
            began: Instant::now(),
            outcome: Outcome::Abandoned,
            status: None,
            sent: 0,
            trail: None,
        }
    }

    /// Has the audit log told how it ends.
    pub fn following(mut self, trail: Option<Trail>) -> Self {
        self.trail = trail;
        self
    }

    /// The answer is known; watches its body.
    pub fn send(mut self, response: HttpResponse) -> HttpResponse {
        let status = response.status().as_u16();
        self.status = Some(status);
        self.operation.answered(status);
        // A body without bytes is not asked for any.
        if matches!(response.body().size(), BodySize::None | BodySize::Sized(0)) {
            self.outcome = Outcome::Finished;
            return response;
        }
        response.map_body(|_, body| BoxBody::new(Watched { body, watch: self }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.operation.ended(self.began, self.outcome);
        if let Some(trail) = &self.trail {
            trail.ended(self.status, self.outcome, self.sent);
        }
    }
}

struct Watched {
    body: BoxBody,
    watch: Watch,
}

impl MessageBody for Watched {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let item = ready!(Pin::new(&mut self.body).poll_next(context));
        match &item {
            Some(Ok(bytes)) => {
                self.watch.sent += bytes.len() as u64;
                self.watch.operation.sent(bytes.len());
            }
            Some(Err(_)) => self.watch.outcome = Outcome::Broken,
            None => self.watch.outcome = Outcome::Finished,
        }
        Poll::Ready(item)
    }
}
