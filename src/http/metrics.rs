//! Metrics of requests, by operation; never by path, name or anything else that a client chooses.

use std::sync::LazyLock;
use std::time::Instant;

use actix_web::http::Method;
use prometheus::{Histogram, IntCounter, IntGauge};

use super::path::{BadEscape, Route};
use super::watch::Watch;
use crate::telemetry::metrics::{self, DURATIONS, Label};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// PUT of a file.
    PutFile,
    /// GET of a file.
    GetFile,
    /// HEAD of a file.
    HeadFile,
    /// DELETE of a file.
    DeleteFile,
    /// DELETE of a version.
    DeleteVersion,
    /// Anything below `/api/v1`.
    Admin,
    /// Health endpoints.
    Health,
    /// `/metrics`
    Metrics,
    /// Everything else.
    Other,
}

/// In the order of [`Op`].
const OPS: [&str; 9] = [
    "put_file",
    "get_file",
    "head_file",
    "delete_file",
    "delete_version",
    "admin",
    "health",
    "metrics",
    "other",
];

/// The status codes that are counted; the last stands for all others.
const CODES: [&str; 22] = [
    "200", "201", "202", "204", "206", "304", "400", "401", "403", "404", "405", "408", "409", "412", "413",
    "416", "422", "429", "500", "503", "507", "other",
];

/// Why requests are rejected.
const REASONS: [&str; 8] = [
    "auth",
    "rate",
    "name",
    "taken",
    "condition",
    "size",
    "disk",
    "busy",
];

/// The families, registered at first use.
pub static METRICS: LazyLock<HttpMetrics> = LazyLock::new(HttpMetrics::register);

/// Handles resolved once, so that counting costs no look-up.
#[derive(Debug)]
pub struct HttpMetrics {
    /// In the order of [`Op`].
    operations: Vec<Operation>,
    /// In the order of [`REASONS`].
    rejected: Vec<IntCounter>,
}

/// The handles of one operation.
#[derive(Debug)]
pub struct Operation {
    /// In the order of [`CODES`]; 0 stands for all other codes.
    requests: Vec<(u16, IntCounter)>,
    duration: Histogram,
    received: IntCounter,
    sent: IntCounter,
    in_flight: IntGauge,
    aborted_by_client: IntCounter,
    aborted_by_server: IntCounter,
}

impl HttpMetrics {
    fn register() -> Self {
        let op: Label<'_> = ("op", &OPS);
        let requests = metrics::counters(
            "larder_http_requests_total",
            "Requests answered, by operation and status code.",
            &[op, ("code", &CODES)],
        );
        let duration = metrics::histograms(
            "larder_http_request_duration_seconds",
            "Time from the head of a request to the last byte of its answer.",
            &[op],
            &DURATIONS,
        );
        let received = metrics::counters(
            "larder_http_request_body_bytes_total",
            "Bytes of request bodies received.",
            &[op],
        );
        let sent = metrics::counters(
            "larder_http_response_body_bytes_total",
            "Bytes of response bodies handed to connections.",
            &[op],
        );
        let in_flight = metrics::gauges(
            "larder_http_requests_in_flight",
            "Requests that are being answered.",
            &[op],
        );
        let aborted = metrics::counters(
            "larder_http_requests_aborted_total",
            "Requests whose answer was not finished, by the side that gave up.",
            &[op, ("side", &["client", "server"])],
        );
        let rejected = metrics::counters(
            "larder_http_requests_rejected_total",
            "Requests rejected, by reason.",
            &[("reason", &REASONS)],
        );
        let operation = |op: &&str| Operation {
            requests: CODES
                .iter()
                .map(|code| {
                    (
                        code.parse().unwrap_or(0),
                        requests.with_label_values(&[*op, *code]),
                    )
                })
                .collect(),
            duration: duration.with_label_values(&[*op]),
            received: received.with_label_values(&[*op]),
            sent: sent.with_label_values(&[*op]),
            in_flight: in_flight.with_label_values(&[*op]),
            aborted_by_client: aborted.with_label_values(&[*op, "client"]),
            aborted_by_server: aborted.with_label_values(&[*op, "server"]),
        };
        HttpMetrics {
            operations: OPS.iter().map(operation).collect(),
            rejected: REASONS
                .iter()
                .map(|reason| rejected.with_label_values(&[reason]))
                .collect(),
        }
    }

    /// A request has come.
    pub fn begin(&'static self, op: Op) -> Watch {
        Watch::begin(self.operation(op))
    }

    /// What counts the bytes of its body.
    pub fn received(&self, op: Op) -> IntCounter {
        self.operation(op).received.clone()
    }

    /// Some of the answer has gone past the dispatcher to the connection.
    pub fn sent(&self, op: Op, bytes: u64) {
        self.operation(op).sent.inc_by(bytes);
    }

    /// A request is refused with this status and this code of `error`.
    pub fn refused(&self, status: u16, code: &str) {
        let reason = match (status, code) {
            (401 | 403, _) => "auth",
            (429, _) => "rate",
            (400, "invalid-package-name" | "invalid-package-version" | "invalid-filename") => "name",
            (400, "version-exists") | (409, _) => "taken",
            (412, _) => "condition",
            (413, _) => "size",
            (507, _) => "disk",
            (503, "busy") => "busy",
            _ => return,
        };
        if let Some(at) = REASONS.iter().position(|known| *known == reason) {
            self.rejected[at].inc();
        }
    }

    fn operation(&self, op: Op) -> &Operation {
        &self.operations[op as usize]
    }
}

impl Operation {
    /// It began.
    pub fn began(&self) {
        self.in_flight.inc();
    }

    /// Its answer has this status.
    pub fn answered(&self, status: u16) {
        let known = |(code, _): &&(u16, IntCounter)| *code == status || *code == 0;
        if let Some((_, counter)) = self.requests.iter().find(known) {
            counter.inc();
        }
    }

    /// Some of its answer has been handed to the connection.
    pub fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }

    /// It is over. `outcome`: the whole answer went out, the answer broke, or the client went away.
    pub fn ended(&self, began: Instant, outcome: Outcome) {
        self.in_flight.dec();
        self.duration.observe(began.elapsed().as_secs_f64());
        match outcome {
            Outcome::Finished => {}
            Outcome::Broken => self.aborted_by_server.inc(),
            Outcome::Abandoned => self.aborted_by_client.inc(),
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer was handed to the connection.
    Finished,
    /// The answer could not be finished.
    Broken,
    /// The client went away, or the connection was cut at shutdown.
    Abandoned,
}

impl Op {
    /// What a request is about.
    pub fn of(parsed: &Result<Route, BadEscape>, method: &Method) -> Self {
        match (parsed, method.as_str()) {
            (Ok(Route::File { .. }), "PUT") => Op::PutFile,
            (Ok(Route::File { .. }), "GET") => Op::GetFile,
            (Ok(Route::File { .. }), "HEAD") => Op::HeadFile,
            (Ok(Route::File { .. }), "DELETE") => Op::DeleteFile,
            (Ok(Route::Version { .. }), "DELETE") => Op::DeleteVersion,
            (Ok(Route::Livez | Route::Readyz | Route::Healthz), _) => Op::Health,
            (Ok(Route::Metrics), _) => Op::Metrics,
            (Ok(route), _) if route.is_api() => Op::Admin,
            _ => Op::Other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_and_code() {
        let count = |op: Op, code: &str| {
            let at = CODES.iter().position(|known| *known == code).unwrap();
            METRICS.operation(op).requests[at].1.get()
        };
        // Other tests count other requests.
        for (status, code) in [(418, "other"), (422, "422")] {
            let before = count(Op::Metrics, code);
            METRICS.operation(Op::Metrics).answered(status);
            assert_eq!(count(Op::Metrics, code), before + 1, "{code}");
        }
    }

    #[test]
    fn operations_have_names() {
        assert_eq!(OPS[Op::PutFile as usize], "put_file");
        assert_eq!(OPS[Op::Other as usize], "other");
        let route = super::super::path::parse("/api/packages/o/generic/p/v/f");
        assert_eq!(Op::of(&route, &Method::HEAD), Op::HeadFile);
        assert_eq!(Op::of(&route, &Method::POST), Op::Other);
        assert_eq!(Op::of(&Err(BadEscape), &Method::PUT), Op::Other);
    }
}
