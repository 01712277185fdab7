//! The body of a request on its way in. Several hands may hold it: whoever takes it and whoever throws the rest away.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use prometheus::IntCounter;

use super::request_log::Record;
use super::trail::Trail;

/// A stream of the body's bytes. Clones read on where another one stopped.
#[derive(Clone)]
pub struct Incoming(Rc<RefCell<Inner>>);

struct Inner {
    payload: Payload,
    /// Counts the bytes.
    received: IntCounter,
    /// Counts them for the audit log.
    trail: Option<Trail>,
    /// Notes them for this request alone.
    record: Option<Rc<Record>>,
    /// The body has been read to its end, or is broken: there is nothing more to be had.
    ended: bool,
    /// Somebody has asked for its bytes.
    touched: bool,
}

impl Incoming {
    /// The body behind `payload`, whose bytes `received` counts.
    pub fn new(payload: Payload, received: IntCounter) -> Self {
        Incoming(Rc::new(RefCell::new(Inner {
            payload,
            received,
            trail: None,
            record: None,
            ended: false,
            touched: false,
        })))
    }

    /// Notes its bytes in `record` too.
    pub fn recorded(self, record: Option<Rc<Record>>) -> Self {
        self.0.borrow_mut().record = record;
        self
    }

    /// Has `trail` count the bytes for the audit log.
    pub fn audited(self, trail: Option<Trail>) -> Self {
        self.0.borrow_mut().trail = trail;
        self
    }

    /// Whether nobody has asked for the bytes yet.
    pub fn is_untouched(&self) -> bool {
        !self.0.borrow().touched
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = self.0.borrow_mut();
        inner.touched = true;
        if inner.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut inner.payload).poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                inner.received.inc_by(bytes.len() as u64);
                if let Some(trail) = &inner.trail {
                    trail.received(bytes.len());
                }
                if let Some(record) = &inner.record {
                    record.received(bytes.len());
                }
            }
            Poll::Ready(Some(Err(_)) | None) => inner.ended = true,
            Poll::Pending => {}
        }
        polled
    }
}
