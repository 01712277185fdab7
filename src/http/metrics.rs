//! Metrics of requests, by operation; never by path, name or anything else that a client chooses.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

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
const REASONS: [&str; 12] = [
    "auth",
    "rate",
    "name",
    "taken",
    "condition",
    "size",
    "quota",
    "disk",
    "busy",
    "slow",
    "incomplete",
    "checksum",
];

/// Seconds until an answer begins: a download from memory takes a fraction of a millisecond.
const FIRST_BYTE: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
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
    fast_path: IntCounter,
    avoided_not_modified: IntCounter,
    avoided_not_sent: IntCounter,
    ready: IntGauge,
    connections: IntGauge,
    connections_limit: IntGauge,
}

/// The handles of one operation.
#[derive(Debug)]
pub struct Operation {
    /// In the order of [`CODES`]; 0 stands for all other codes.
    requests: Vec<(u16, IntCounter)>,
    duration: Histogram,
    first_byte: Histogram,
    received: IntCounter,
    sent: IntCounter,
    in_flight: IntGauge,
    aborted_by_client: IntCounter,
    aborted_by_server: IntCounter,
    lookups: Option<Lookups>,
}

/// What is counted of an operation that asks for a file.
#[derive(Debug)]
struct Lookups {
    hits: IntCounter,
    misses: IntCounter,
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
        let first_byte = metrics::histograms(
            "larder_http_time_to_first_byte_seconds",
            "Time from the head of a request to the first byte of its answer; uploads are answered behind their body.",
            &[op],
            &FIRST_BYTE,
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
        let lookups = metrics::counters(
            "larder_lookups_total",
            "Files asked for by GET or HEAD, by whether they are there; unchanged ones (304) are hits.",
            &[("result", &["hit", "miss"])],
        );
        let lookups = |op: &str| {
            ["get_file", "head_file"].contains(&op).then(|| Lookups {
                hits: lookups.with_label_values(&["hit"]),
                misses: lookups.with_label_values(&["miss"]),
            })
        };
        let avoided = metrics::counters(
            "larder_http_avoided_bytes_total",
            "Bytes of files that did not have to travel: downloads answered with 304, and uploads refused before their \
             body was sent (Expect: 100-continue).",
            &[("how", &["not_modified", "not_sent"])],
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
            first_byte: first_byte.with_label_values(&[*op]),
            lookups: lookups(op),
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
            fast_path: metrics::counter(
                "larder_http_fast_path_requests_total",
                "Requests for files answered by the fast path, which takes plain ones where the audit log does not name them.",
            ),
            avoided_not_modified: avoided.with_label_values(&["not_modified"]),
            avoided_not_sent: avoided.with_label_values(&["not_sent"]),
            ready: metrics::gauge("larder_ready", "1 while /readyz passes."),
            connections: metrics::gauge("larder_http_connections", "Open connections."),
            connections_limit: metrics::gauge(
                "larder_http_connections_limit",
                "Connections that may be open (server.max_connections).",
            ),
        }
    }

    /// Shows the families before the first request, and the bound.
    pub fn start(&self, max_connections: usize) {
        self.connections_limit
            .set(i64::try_from(max_connections).unwrap_or(i64::MAX));
    }

    /// Whether requests are welcome.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// A download of so many bytes was answered with 304.
    pub fn not_modified(&self, bytes: u64) {
        self.avoided_not_modified.inc_by(bytes);
    }

    /// An upload of so many bytes was refused before any of them was sent.
    pub fn not_sent(&self, bytes: u64) {
        self.avoided_not_sent.inc_by(bytes);
    }

    /// A request has come.
    pub fn begin(&'static self, op: Op) -> Watch {
        Watch::begin(self.operation(op), Instant::now())
    }

    /// A request that the fast path answers has come at `began`.
    pub fn begin_fast(&'static self, op: Op, began: Instant) -> Watch {
        self.fast_path.inc();
        Watch::begin(self.operation(op), began)
    }

    /// What counts the bytes of its body.
    pub fn received(&self, op: Op) -> IntCounter {
        self.operation(op).received.clone()
    }

    /// A request is refused with this status and this code of `error`.
    pub fn refused(&self, status: u16, code: &str) {
        let reason = match (status, code) {
            (403, "quota-bytes" | "quota-versions") => "quota",
            (401 | 403, _) => "auth",
            (429, _) => "rate",
            (400, "invalid-package-name" | "invalid-package-version" | "invalid-filename") => "name",
            (400, "version-exists") | (409, _) => "taken",
            (400, "checksum-mismatch") => "checksum",
            (400, "incomplete-body") => "incomplete",
            (408, _) => "slow",
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
        match (&self.lookups, status) {
            (Some(lookups), 200 | 206 | 304) => lookups.hits.inc(),
            (Some(lookups), 404) => lookups.misses.inc(),
            _ => {}
        }
    }

    /// The first byte of its answer was there after `took`, or all of an answer without a body.
    pub fn first_byte(&self, took: Duration) {
        self.first_byte.observe(took.as_secs_f64());
    }

    /// Some of its body has come.
    pub fn received(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
    }

    /// Some of its answer has been handed to the connection.
    pub fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }

    /// It is over after `took`. `outcome`: the whole answer went out, the answer broke, or the client went away.
    pub fn ended(&self, took: Duration, outcome: Outcome) {
        self.in_flight.dec();
        self.duration.observe(took.as_secs_f64());
        match outcome {
            Outcome::Finished => {}
            Outcome::Broken => self.aborted_by_server.inc(),
            Outcome::Abandoned => self.aborted_by_client.inc(),
        }
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub struct OpenConnection(());

impl OpenConnection {
    /// One more.
    pub fn new() -> Self {
        METRICS.connections.inc();
        OpenConnection(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        METRICS.connections.dec();
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

impl Outcome {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Finished => "finished",
            Outcome::Broken => "broken",
            Outcome::Abandoned => "client-gone",
        }
    }
}

impl Op {
    /// As metrics and the audit log call it.
    pub fn name(self) -> &'static str {
        OPS[self as usize]
    }

    /// What a request is about.
    pub fn of(parsed: &Result<Route, BadEscape>, method: &Method) -> Self {
        match (parsed, method.as_str()) {
            (Ok(Route::File { .. }), "PUT") => Op::PutFile,
            (Ok(Route::File { .. }), "GET") => Op::GetFile,
            (Ok(Route::File { .. }), "HEAD") => Op::HeadFile,
            (Ok(Route::File { .. }), "DELETE") => Op::DeleteFile,
            (Ok(Route::Version { .. }), "DELETE") => Op::DeleteVersion,
            (Ok(Route::Livez | Route::Readyz | Route::Healthz | Route::ApiHealthz), _) => Op::Health,
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
