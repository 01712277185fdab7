//! Watches a request from its head to the last byte of its answer.

use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::connection::Outlet;
use super::metrics::{Operation, Outcome};
use super::request_log::Record;
use super::trail::Trail;
use crate::store::error::StoreError;
use crate::telemetry::request::RequestContext;

/// A request under way. Dropped before its answer is finished, it counts as abandoned.
#[derive(Debug)]
pub struct Watch {
    operation: &'static Operation,
    began: Instant,
    /// How long it took until some of the answer was last handed over.
    handed_over: Option<Duration>,
    outcome: Outcome,
    context: Option<RequestContext>,
    record: Option<Rc<Record>>,
    /// Where bytes of the answer go past the dispatcher.
    outlet: Option<Outlet>,
    trail: Option<Trail>,
}

impl Watch {
    /// The head is there since `began`.
    pub fn begin(operation: &'static Operation, began: Instant) -> Self {
        operation.began();
        Watch {
            operation,
            began,
            handed_over: None,
            outcome: Outcome::Abandoned,
            context: None,
            record: None,
            outlet: None,
            trail: None,
        }
    }

    /// The audit log is told how it ends.
    pub fn audited(mut self, trail: Option<Trail>) -> Self {
        self.trail = trail;
        self
    }

    /// What is logged while its answer is sent names `context`; `record` is written down when it is over.
    pub fn logged(mut self, context: RequestContext, record: Option<Rc<Record>>) -> Self {
        self.context = Some(context);
        self.record = record;
        self
    }

    /// Bytes that go past the dispatcher go through `outlet`.
    pub fn past_dispatcher(mut self, outlet: Option<Outlet>) -> Self {
        self.outlet = outlet;
        self
    }

    /// The answer is known; watches its body.
    pub fn send(self, response: HttpResponse) -> HttpResponse {
        self.answered(response.status().as_u16());
        // A body without bytes is not asked for any.
        if matches!(response.body().size(), BodySize::None | BodySize::Sized(0)) {
            self.finished();
            return response;
        }
        response.map_body(|_, body| BoxBody::new(Watched { body, watch: self }))
    }

    /// The answer is known.
    pub fn answered(&self, status: u16) {
        self.operation.answered(status);
        if let Some(record) = &self.record {
            record.answered(status);
        }
        if let Some(trail) = &self.trail {
            trail.answered(status);
        }
    }

    /// So many bytes of the request's body have come.
    pub fn received(&self, bytes: usize) {
        self.operation.received(bytes);
        if let Some(record) = &self.record {
            record.received(bytes);
        }
        if let Some(trail) = &self.trail {
            trail.received(bytes);
        }
    }

    /// All of the answer has been handed over. How long everything took.
    pub fn finished(mut self) -> Duration {
        self.outcome = Outcome::Finished;
        match self.handed_over {
            Some(took) => took,
            None => self.hand_over(),
        }
    }

    /// The answer cannot be finished, because of this.
    pub fn broken(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.outcome = broken_by(error);
    }

    fn hand_over(&mut self) -> Duration {
        let took = self.began.elapsed();
        if self.handed_over.replace(took).is_none() {
            self.operation.first_byte(took);
        }
        took
    }

    fn sent_past_dispatcher(&mut self) {
        match self.outlet.as_ref().map_or(0, Outlet::take_sent) {
            0 => {}
            bytes => self.sent(bytes),
        }
    }

    /// So many bytes of the answer's body have been handed over.
    pub fn sent(&mut self, bytes: usize) {
        self.hand_over();
        self.operation.sent(bytes);
        if let Some(record) = &self.record {
            record.sent(bytes);
        }
        if let Some(trail) = &self.trail {
            trail.sent(bytes);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A finished answer was over with its last byte: one look at the clock less.
        let over = self.handed_over.filter(|_| self.outcome == Outcome::Finished);
        let took = over.unwrap_or_else(|| self.began.elapsed());
        self.operation.ended(took, self.outcome);
        if let Some(record) = &self.record {
            record.ended(self.outcome);
        }
        if let Some(trail) = &self.trail {
            trail.ended(self.outcome);
        }
    }
}

/// A body that writes to its connection itself meets a client that went away as an error of its own.
fn broken_by(error: &(dyn std::error::Error + 'static)) -> Outcome {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    match error.downcast_ref() {
        Some(StoreError::Io(error))
            if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) =>
        {
            Outcome::Abandoned
        }
        _ => Outcome::Broken,
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
        let Watched { body, watch } = &mut *self;
        let mut poll = || Pin::new(&mut *body).poll_next(context);
        let polled = match &watch.context {
            Some(context) => context.sync_scope(poll),
            None => poll(),
        };
        watch.sent_past_dispatcher();
        let item = ready!(polled);
        match &item {
            Some(Ok(bytes)) => watch.sent(bytes.len()),
            Some(Err(error)) => watch.broken(error.as_ref()),
            None => watch.outcome = Outcome::Finished,
        }
        Poll::Ready(item)
    }
}
