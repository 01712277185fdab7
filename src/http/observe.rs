//! Measures every request: by operation, never by path.

use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use bytes::Bytes;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::error::Refusal;
use super::gate::content_length;
use crate::telemetry::metrics::{DURATIONS, counters, gauges, histograms};

/// What a request is, for metrics.
const OPERATIONS: [&str; 8] = [
    "put_file",
    "get_file",
    "head_file",
    "delete",
    "admin",
    "health",
    "metrics",
    "other",
];

/// Every status that Larder answers with; another would be counted as `other`.
const CODES: [&str; 23] = [
    "200", "201", "204", "206", "304", "400", "401", "403", "404", "405", "408", "409", "412", "413", "415",
    "416", "417", "422", "429", "500", "503", "507", "other",
];

/// Every reason of [`Refusal::code`].
const REASONS: [&str; 26] = [
    "bad-credentials",
    "busy",
    "checksum-mismatch",
    "content-range",
    "damaged",
    "file-exists",
    "file-not-found",
    "file-too-large",
    "incomplete-body",
    "index-failed",
    "internal",
    "invalid-checksum-header",
    "invalid-condition",
    "invalid-file-name",
    "invalid-package-name",
    "invalid-path",
    "invalid-version",
    "method-not-allowed",
    "no-space",
    "not-found",
    "not-ready",
    "package-not-found",
    "permission-denied",
    "precondition-failed",
    "sign-in-required",
    "other",
];

struct Families {
    requests: IntCounterVec,
    operations: Vec<Operation>,
    rejected: IntCounterVec,
}

/// The resolved handles of one operation.
#[derive(Clone)]
struct Operation {
    name: &'static str,
    duration: Histogram,
    received: IntCounter,
    sent: IntCounter,
    in_flight: IntGauge,
    aborted: IntCounter,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let ops: &[&str] = &OPERATIONS;
    let duration = histograms(
        "larder_http_request_duration_seconds",
        "Time from a request's head to the end of its answer.",
        &[("op", ops)],
        &DURATIONS,
    );
    let received = counters(
        "larder_http_request_body_bytes_total",
        "Bytes announced as request bodies.",
        &[("op", ops)],
    );
    let sent = counters(
        "larder_http_response_body_bytes_total",
        "Bytes sent as answer bodies.",
        &[("op", ops)],
    );
    let in_flight = gauges(
        "larder_http_requests_in_flight",
        "Requests that are being served.",
        &[("op", ops)],
    );
    let aborted = counters(
        "larder_http_requests_aborted_total",
        "Requests whose client went away before the answer was sent whole.",
        &[("op", ops)],
    );
    let operations = OPERATIONS.map(|name| Operation {
        name,
        duration: duration.with_label_values(&[name]),
        received: received.with_label_values(&[name]),
        sent: sent.with_label_values(&[name]),
        in_flight: in_flight.with_label_values(&[name]),
        aborted: aborted.with_label_values(&[name]),
    });
    Families {
        requests: counters(
            "larder_http_requests_total",
            "Requests answered.",
            &[("op", ops), ("code", &CODES)],
        ),
        rejected: counters(
            "larder_http_requests_rejected_total",
            "Package requests refused, by reason.",
            &[("reason", &REASONS)],
        ),
        operations: operations.into(),
    }
});

/// Shows the families before the first request.
pub fn init() {
    LazyLock::force(&FAMILIES);
}

/// Counts a refusal.
pub fn rejected(refusal: &Refusal) {
    let reason = REASONS
        .iter()
        .find(|reason| **reason == refusal.code)
        .unwrap_or(&"other");
    FAMILIES.rejected.with_label_values(&[*reason]).inc();
}

/// The middleware.
pub async fn observe(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<Measured>, Error> {
    let operation = operation(request.head());
    operation
        .received
        .inc_by(content_length(request.head()).unwrap_or(0));
    let watch = Watch::new(operation);
    let response = next.call(request).await?;
    let code = response.status();
    let code = CODES
        .iter()
        .find(|known| **known == code.as_str())
        .unwrap_or(&"other");
    FAMILIES
        .requests
        .with_label_values(&[watch.operation.name, code])
        .inc();
    Ok(response.map_body(|_, body| Measured { body, watch }))
}

fn operation(head: &RequestHead) -> &'static Operation {
    let path = head.uri.path();
    let name = if path.starts_with("/api/packages/") {
        match head.method {
            Method::PUT => "put_file",
            Method::GET => "get_file",
            Method::HEAD => "head_file",
            Method::DELETE => "delete",
            _ => "other",
        }
    } else if path.starts_with("/api/v1/") {
        "admin"
    } else {
        match path {
            "/livez" | "/readyz" | "/healthz" | "/api/healthz" => "health",
            "/metrics" => "metrics",
            _ => "other",
        }
    };
    let all = &FAMILIES.operations;
    all.iter()
        .find(|operation| operation.name == name)
        .unwrap_or(&all[OPERATIONS.len() - 1])
}

/// One request: from its head until the answer's body is gone.
struct Watch {
    operation: &'static Operation,
    started: Instant,
    complete: bool,
    sent: u64,
}

impl Watch {
    fn new(operation: &'static Operation) -> Self {
        operation.in_flight.inc();
        Watch {
            operation,
            started: Instant::now(),
            complete: false,
            sent: 0,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let operation = self.operation;
        operation.in_flight.dec();
        operation.sent.inc_by(self.sent);
        operation.duration.observe(self.started.elapsed().as_secs_f64());
        if !self.complete {
            operation.aborted.inc();
        }
    }
}

/// An answer's body, counted while it is sent.
pub struct Measured {
    body: BoxBody,
    watch: Watch,
}

impl MessageBody for Measured {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(piece))) => this.watch.sent += piece.len() as u64,
            Poll::Ready(None) => this.watch.complete = true,
            _ => {}
        }
        // The server drops a body that has been sent whole without asking for its end.
        if let BodySize::Sized(len) = this.body.size() {
            this.watch.complete |= this.watch.sent == len;
        }
        polled
    }
}
