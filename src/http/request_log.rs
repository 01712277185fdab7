//! The access log and the log of slow requests: what of a request is written down, and how.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::Version;
use actix_web::http::header::{HeaderName, REFERER, USER_AGENT};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::head::Head;
use super::metrics::Outcome;
use super::redact;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::request::RequestContext;

/// What a client sends is cut here, in bytes.
const MAX_TEXT: usize = 2048;

/// A request is not slow for as long as its bytes take at this speed, bytes a second.
const SLOW_NETWORK: f64 = 1_048_576.0;

/// How lines of the access log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// Apache's and nginx's "combined", with seconds, bytes received and the request's id at the end.
    Combined,
    /// One JSON object a line.
    Json,
}

/// An access log format that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an access log format; write \"off\", \"combined\" or \"json\"")]
pub struct UnknownAccessFormat(String);

impl FromStr for AccessFormat {
    type Err = UnknownAccessFormat;

    fn from_str(text: &str) -> Result<Self, UnknownAccessFormat> {
        match text {
            "combined" => Ok(AccessFormat::Combined),
            "json" => Ok(AccessFormat::Json),
            other => Err(UnknownAccessFormat(other.to_owned())),
        }
    }
}

/// Which requests are written down.
#[derive(Debug)]
pub struct RequestLog {
    access: Option<(AccessLog, AccessFormat)>,
    slow: Option<Duration>,
}

/// What of a request is written down, as it is known when it comes.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Who sends it.
    pub client: Option<IpAddr>,
    /// Its method.
    pub method: &'a str,
    /// Path and query, without secrets.
    pub target: String,
    /// As Apache writes it.
    pub protocol: &'static str,
    /// The value of `Referer`.
    pub referer: Option<&'a [u8]>,
    /// The value of `User-Agent`.
    pub agent: Option<&'a [u8]>,
}

impl RequestLog {
    /// All of them to `access`, and those that take longer than `slow` to the daemon's log.
    pub fn new(access: Option<(AccessLog, AccessFormat)>, slow: Option<Duration>) -> Self {
        RequestLog { access, slow }
    }

    /// A request has come.
    pub fn begin(self: &Arc<Self>, head: Head<'_>, context: &RequestContext) -> Rc<Record> {
        let text = |name: HeaderName| head.headers.get(name).map(|value| value.as_bytes());
        let seen = Seen {
            client: head.peer,
            method: head.method.as_str(),
            target: redact::target(head.uri),
            protocol: match head.version {
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            referer: text(REFERER),
            agent: text(USER_AGENT),
        };
        self.begin_with(seen, context)
    }

    /// The same, for a request of which this was seen.
    pub fn begin_with(self: &Arc<Self>, seen: Seen<'_>, context: &RequestContext) -> Rc<Record> {
        let text = |value: &[u8]| cut(String::from_utf8_lossy(value).into_owned());
        Rc::new(Record {
            log: self.clone(),
            context: context.clone(),
            at: Timestamp::now(),
            began: Instant::now(),
            client: seen.client,
            method: seen.method.to_owned(),
            target: cut(seen.target),
            protocol: seen.protocol,
            referer: seen.referer.map(text).map(redact::without_query),
            agent: seen.agent.map(text),
            account: RefCell::default(),
            status: Cell::new(0),
            answered: Cell::new(Duration::ZERO),
            received: Cell::new(0),
            sent: Cell::new(0),
        })
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

/// What is known of one request, as long as it takes.
#[derive(Debug)]
pub struct Record {
    log: Arc<RequestLog>,
    context: RequestContext,
    at: Timestamp,
    began: Instant,
    client: Option<IpAddr>,
    method: String,
    /// Without secrets.
    target: String,
    protocol: &'static str,
    referer: Option<String>,
    agent: Option<String>,
    account: RefCell<Option<String>>,
    status: Cell<u16>,
    answered: Cell<Duration>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Record {
    /// Who sends it is known.
    pub fn sent_by(&self, account: &str) {
        *self.account.borrow_mut() = Some(account.to_owned());
    }

    /// Some of its body has come.
    pub fn received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
    }

    /// Its answer is known.
    pub fn answered(&self, status: u16) {
        self.status.set(status);
        self.answered.set(self.began.elapsed());
    }

    /// Some of its answer's body has been handed to the connection.
    pub fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }

    /// It is over.
    pub fn ended(&self, outcome: Outcome) {
        let took = self.began.elapsed();
        if let Some((log, format)) = &self.log.access
            && log.admits()
        {
            log.write(match format {
                AccessFormat::Combined => self.combined(took),
                AccessFormat::Json => self.json(took, outcome),
            });
        }
        if self.log.slow.is_some_and(|slow| self.is_slow(took, slow)) {
            self.context.sync_scope(|| self.report_slow(took, outcome));
        }
    }

    /// Clients and their networks may be slow without anything being wrong here.
    fn is_slow(&self, took: Duration, slow: Duration) -> bool {
        let moved = self.received.get().saturating_add(self.sent.get()) as f64;
        took > slow + Duration::from_secs_f64(moved / SLOW_NETWORK)
    }

    fn report_slow(&self, took: Duration, outcome: Outcome) {
        tracing::warn!(
            method = self.method,
            uri = self.target,
            status = self.status.get(),
            outcome = outcome.as_str(),
            account = self.account.borrow().as_deref(),
            seconds = seconds(took),
            seconds_to_answer = seconds(self.answered.get()),
            bytes_received = self.received.get(),
            bytes_sent = self.sent.get(),
            "slow request"
        );
    }

    fn json(&self, took: Duration, outcome: Outcome) -> String {
        let line = json!({
            "time": self.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            "request_id": self.context.id().to_string(),
            "traceparent": self.context.traceparent(),
            "client": self.client,
            "account": *self.account.borrow(),
            "method": self.method,
            "uri": self.target,
            "protocol": self.protocol,
            "status": self.status.get(),
            "outcome": outcome.as_str(),
            "seconds": seconds(took),
            "seconds_to_answer": seconds(self.answered.get()),
            "bytes_received": self.received.get(),
            "bytes_sent": self.sent.get(),
            "referer": self.referer,
            "user_agent": self.agent,
        });
        format!("{line}\n")
    }

    fn combined(&self, took: Duration) -> String {
        let client = self.client.map_or("-".to_owned(), |client| client.to_string());
        let account = self.account.borrow();
        let at = self.at.to_zoned(TimeZone::UTC);
        let mut line = String::with_capacity(256);
        // Writing to memory does not fail.
        let _ = writeln!(
            line,
            "{client} - {} [{}] \"{} {} {}\" {} {} \"{}\" \"{}\" {:.6} {} {}",
            account.as_deref().map_or("-".to_owned(), escaped),
            at.strftime("%d/%b/%Y:%H:%M:%S %z"),
            escaped(&self.method),
            escaped(&self.target),
            self.protocol,
            self.status.get(),
            self.sent.get(),
            self.referer.as_deref().map_or("-".to_owned(), escaped),
            self.agent.as_deref().map_or("-".to_owned(), escaped),
            took.as_secs_f64(),
            self.received.get(),
            self.context.id(),
        );
        line
    }
}

/// In microseconds, which is as far as anybody reads.
fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

/// So that nothing a client sends ends a field or a line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' | '\0'..='\x1f' | '\x7f' => {
                let _ = write!(escaped, "\\x{:02X}", u32::from(c));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::telemetry::access_log;

    fn record(slow: Option<Duration>) -> Rc<Record> {
        let request = TestRequest::get()
            .uri("/a?token=s3cret&b=1")
            .insert_header((USER_AGENT, "quoted \" agent"))
            .insert_header((REFERER, "http://x/y?token=s3cret"))
            .to_http_request();
        let log = Arc::new(RequestLog::new(None, slow));
        let record = log.begin(Head::from(&request), &RequestContext::new(Some("id-1"), None));
        record.sent_by("ci");
        record.received(7);
        record.answered(200);
        record.sent(9);
        record
    }

    #[tokio::test]
    async fn a_combined_line_is_what_tools_expect_and_more() {
        let line = record(None).combined(Duration::from_millis(1500));
        let end = "\"GET /a?token=REDACTED&b=1 HTTP/1.1\" 200 9 \"http://x/y\" \"quoted \\x22 agent\" 1.500000 7 id-1\n";
        assert!(line.starts_with("- - ci [") && line.ends_with(end), "{line}");
    }

    #[tokio::test]
    async fn a_json_line_is_one_object() {
        let line = record(None).json(Duration::from_millis(1500), Outcome::Finished);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        for (key, value) in [
            ("request_id", json!("id-1")),
            ("account", json!("ci")),
            ("uri", json!("/a?token=REDACTED&b=1")),
            ("status", json!(200)),
            ("outcome", json!("finished")),
            ("seconds", json!(1.5)),
            ("bytes_received", json!(7)),
            ("bytes_sent", json!(9)),
        ] {
            assert_eq!(parsed[key], value, "{key}: {line}");
        }
    }

    #[tokio::test]
    async fn big_transfers_are_slow_only_beyond_what_their_bytes_take() {
        let second = Duration::from_secs(1);
        let record = record(Some(second));
        assert!(record.is_slow(2 * second, second) && !record.is_slow(second / 2, second));
        record.sent(100 << 20);
        assert!(!record.is_slow(100 * second, second) && record.is_slow(102 * second, second));
    }

    #[tokio::test]
    async fn what_clients_send_is_cut() {
        let request = TestRequest::get()
            .uri(&format!("/{}", "a".repeat(4000)))
            .to_http_request();
        let log = Arc::new(RequestLog::new(None, None));
        let record = log.begin(Head::from(&request), &RequestContext::new(None, None));
        assert!(record.target.len() < MAX_TEXT + 10);
    }

    #[tokio::test]
    async fn lines_reach_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("access.log");
        let options = access_log::Options {
            file: Some(file.clone()),
            rate: None,
            queue: 10,
        };
        let access = AccessLog::open(&options).unwrap();
        let log = Arc::new(RequestLog::new(Some((access.clone(), AccessFormat::Json)), None));
        let request = TestRequest::get().uri("/a").to_http_request();
        let record = log.begin(Head::from(&request), &RequestContext::new(None, None));
        record.ended(Outcome::Abandoned);
        access.flush(Duration::from_secs(10));
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("\"outcome\":\"client-gone\""), "{text}");
    }
}
