//! What was seen: latencies, bytes, and errors by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Why a request did not count as a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection.
    Connect,
    /// No progress for as long as the client waits.
    Timeout,
    /// The server closed the connection, or broke it.
    Closed,
    /// An answer that is not HTTP/1.1 with a Content-Length.
    Framing,
    /// Bytes, or a length, that are not those stored.
    WrongBytes,
    /// Another status than the step expects.
    Status(u16),
    /// Requests of an open loop that were due and could not be sent in twice the time of the step.
    Unsent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect => f.write_str("no connection"),
            Failure::Timeout => f.write_str("timeout"),
            Failure::Closed => f.write_str("connection closed"),
            Failure::Framing => f.write_str("unreadable answer"),
            Failure::WrongBytes => f.write_str("wrong bytes"),
            Failure::Status(status) => write!(f, "status {status}"),
            Failure::Unsent => f.write_str("unsent"),
        }
    }
}

/// What one client, or all of them, saw.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Of successful requests, in nanoseconds, to three digits.
    pub latency: Histogram<u32>,
    /// Body bytes sent and received by successful requests.
    pub bytes: u64,
    /// Requests that failed.
    pub errors: BTreeMap<Failure, u64>,
}

impl Tally {
    /// Nothing yet. Latencies up to ten minutes are told apart.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Tally {
            latency: Histogram::new_with_bounds(1000, 600_000_000_000, 3)?,
            bytes: 0,
            errors: BTreeMap::new(),
        })
    }

    /// Counts one request.
    pub fn record(&mut self, latency: Duration, result: Result<u64, Failure>) {
        match result {
            Ok(bytes) => {
                self.latency.saturating_record(latency.as_nanos() as u64);
                self.bytes += bytes;
            }
            Err(failure) => self.fail(failure, 1),
        }
    }

    /// Counts `count` failures.
    pub fn fail(&mut self, failure: Failure, count: u64) {
        if count > 0 {
            *self.errors.entry(failure).or_default() += count;
        }
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &Tally) -> Result<(), hdrhistogram::AdditionError> {
        self.latency.add(&other.latency)?;
        self.bytes += other.bytes;
        for (failure, count) in &other.errors {
            self.fail(*failure, *count);
        }
        Ok(())
    }

    /// Successful requests.
    pub fn requests(&self) -> u64 {
        self.latency.len()
    }

    /// Failed requests.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}
