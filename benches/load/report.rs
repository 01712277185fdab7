//! What was measured: one round, and the table and the JSON document of all of them.

use serde_json::{Value, json};

use crate::run::{Ran, Usage};
use crate::stats::Tally;
use crate::workload::Step;

/// One round of one step against one server.
#[derive(Clone, Debug)]
pub struct Round {
    /// The server.
    pub server: String,
    /// What the clients saw.
    pub tally: Tally,
    /// How long it took.
    pub seconds: f64,
    /// CPU time of both sides.
    pub usage: Usage,
    /// Peak resident memory of the server so far, in bytes.
    pub peak_memory: Option<u64>,
    /// How many bytes its data directory grew by.
    pub grown: Option<i64>,
    /// Objects of the sample read back afterwards that were not what was written.
    pub read_back: u64,
}

impl Round {
    /// The figures of a round as it ran.
    pub fn new(server: &str, ran: Ran, grown: Option<i64>, peak_memory: Option<u64>) -> Self {
        Round {
            server: server.to_owned(),
            tally: ran.tally,
            seconds: ran.seconds,
            usage: ran.usage,
            peak_memory,
            grown,
            read_back: 0,
        }
    }

    /// Requests that failed, and objects that did not read back.
    pub fn failures(&self) -> u64 {
        self.tally.failures() + self.read_back
    }

    /// CPU microseconds of the server for one successful request.
    pub fn server_micros(&self) -> Option<f64> {
        self.usage.server.map(|seconds| self.micros(seconds))
    }

    /// CPU microseconds of this program for one successful request.
    pub fn client_micros(&self) -> Option<f64> {
        self.usage.client.map(|seconds| self.micros(seconds))
    }

    fn micros(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.tally.requests().max(1) as f64
    }

    /// Successful requests a second.
    pub fn rate(&self) -> f64 {
        self.tally.requests() as f64 / self.seconds
    }

    /// The latency in seconds that `quantile` of the requests did not exceed.
    pub fn latency(&self, quantile: f64) -> f64 {
        self.tally.latency.value_at_quantile(quantile) as f64 * 1e-9
    }

    fn errors(&self) -> String {
        let mut errors: Vec<String> = self
            .tally
            .errors
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        if self.read_back > 0 {
            errors.push(format!("{} did not read back", self.read_back));
        }
        if errors.is_empty() {
            "none".into()
        } else {
            errors.join(", ")
        }
    }

    /// All of it; latencies and times in seconds, the rest in bytes and counts.
    pub fn json(&self) -> Value {
        let errors: serde_json::Map<String, Value> = self
            .tally
            .errors
            .iter()
            .map(|(kind, count)| (kind.to_string(), json!(count)))
            .collect();
        json!({
            "server": self.server,
            "requests": self.tally.requests(),
            "bytes": self.tally.bytes,
            "seconds": self.seconds,
            "latency": {
                "p50": self.latency(0.5),
                "p90": self.latency(0.9),
                "p99": self.latency(0.99),
                "p99.9": self.latency(0.999),
                "max": self.latency(1.0),
            },
            "errors": errors,
            "not_read_back": self.read_back,
            "server_cpu_seconds": self.usage.server,
            "client_cpu_seconds": self.usage.client,
            "server_peak_memory": self.peak_memory,
            "disk_growth": self.grown,
        })
    }
}

/// A step and its rounds.
#[derive(Clone, Debug)]
pub struct Row {
    /// The step.
    pub step: Step,
    /// In the order in which they ran.
    pub rounds: Vec<Round>,
}

/// The table of a run against one server, one line a round.
pub fn table(rows: &[Row]) -> String {
    let head = [
        "step",
        "req/s",
        "MiB/s",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "server CPU",
        "client CPU",
        "peak memory",
        "disk",
        "errors",
    ];
    let lines = rows
        .iter()
        .flat_map(|row| row.rounds.iter().map(|round| line(&row.step, round)));
    render(&head.map(String::from), &lines.collect::<Vec<_>>())
}

fn line(step: &Step, round: &Round) -> Vec<String> {
    let quantile = |quantile| time(round.latency(quantile));
    vec![
        step.to_string(),
        format!("{:.0}", round.rate()),
        format!(
            "{:.1}",
            round.tally.bytes as f64 / round.seconds / (1 << 20) as f64
        ),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0),
        round
            .server_micros()
            .map_or("-".into(), |micros| time(micros * 1e-6)),
        round
            .client_micros()
            .map_or("-".into(), |micros| time(micros * 1e-6)),
        round.peak_memory.map_or("-".into(), |bytes| size(bytes as i64)),
        round.grown.map_or("-".into(), size),
        round.errors(),
    ]
}

/// A duration with three digits: `12.3 µs`.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// A number of bytes, perhaps below zero, in MiB.
pub fn size(bytes: i64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// A table that reads well on a terminal and in Markdown.
pub fn render(head: &[String], lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = lines
            .iter()
            .filter_map(|line| line.get(column))
            .chain(head.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let mut table = line(head) + &line(&rule);
    table.extend(lines.iter().map(|cells| line(cells)));
    table
}
