//! Metrics: helpers that build families in the default registry, and the text that `/metrics` serves.
//!
//! Every label value a family can have is named when the family is built, and shows as 0 from the start: rates and
//! alerts then work from the first scrape, and nothing a client sends can become a new series.
//!
//! Names and labels are constants of the code. A wrong or doubled one is a mistake in the code and panics where the
//! family is first used, which is in every start and every test of its room.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    TextEncoder,
};

/// Upper bounds for durations, seconds: from a cached read to an upload of minutes.
pub const DURATIONS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Upper bounds for sizes, bytes: powers of 4 from 1 KiB to 16 GiB.
pub const SIZES: [f64; 13] = powers_of_four();

/// A label and all values it can have.
pub type Label<'a> = (&'a str, &'a [&'a str]);

const fn powers_of_four() -> [f64; 13] {
    let mut bounds = [0.0; 13];
    let mut bound = 1024.0;
    let mut n = 0;
    while n < bounds.len() {
        bounds[n] = bound;
        bound *= 4.0;
        n += 1;
    }
    bounds
}

/// A counter. Its name ends in `_total`.
pub fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::new(name, help))
}

/// A gauge.
pub fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(name, help))
}

/// A histogram over `bounds`, see [`DURATIONS`] and [`SIZES`].
pub fn histogram(name: &str, help: &str, bounds: &[f64]) -> Histogram {
    registered(Histogram::with_opts(
        HistogramOpts::new(name, help).buckets(bounds.to_vec()),
    ))
}

/// Counters by label.
pub fn counters(name: &str, help: &str, labels: &[Label<'_>]) -> IntCounterVec {
    let family = registered(IntCounterVec::new(Opts::new(name, help), &names(labels)));
    each_combination(labels, |values| drop(family.with_label_values(values)));
    family
}

/// Gauges by label.
pub fn gauges(name: &str, help: &str, labels: &[Label<'_>]) -> IntGaugeVec {
    let family = registered(IntGaugeVec::new(Opts::new(name, help), &names(labels)));
    each_combination(labels, |values| drop(family.with_label_values(values)));
    family
}

/// Histograms by label, over `bounds`.
pub fn histograms(name: &str, help: &str, labels: &[Label<'_>], bounds: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
    let family = registered(HistogramVec::new(options, &names(labels)));
    each_combination(labels, |values| drop(family.with_label_values(values)));
    family
}

/// Everything in the default registry, `process_*` included, as Prometheus text 0.0.4.
pub fn render() -> String {
    let mut text = Vec::new();
    // Writing to memory fails only for a family without series, and ours have theirs from the start.
    if let Err(error) = TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        tracing::error!(%error, "metrics are incomplete");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The Content-Type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Shows `larder_build_info` and the time of the start. Called once, at start.
pub fn describe_build() {
    // Whoever builds from a checkout may say which: LARDER_REVISION=$(git rev-parse --short HEAD) cargo build.
    let revision = option_env!("LARDER_REVISION").unwrap_or("unknown");
    let values = [env!("CARGO_PKG_VERSION"), revision];
    let build = gauges(
        "larder_build_info",
        "The running build; always 1.",
        &[("version", &values[..1]), ("revision", &values[1..])],
    );
    build.with_label_values(&values).set(1);
}

static CONFIG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "larder_config_info",
        "A hash of the settings that hold, without secrets; always 1. It tells machines and moments apart.",
    );
    registered(IntGaugeVec::new(options, &["hash"]))
});

/// Shows `larder_config_info` with this hash of the settings, and no other.
pub fn describe_config(hash: &str) {
    CONFIG.reset();
    CONFIG.with_label_values(&[hash]).set(1);
}

#[expect(clippy::expect_used, reason = "names are constants, see the module's text")]
fn registered<C: Collector + Clone + 'static>(family: prometheus::Result<C>) -> C {
    let family = family.expect("metric names and labels are well formed");
    prometheus::register(Box::new(family.clone())).expect("no metric name is used twice");
    family
}

fn names<'a>(labels: &[Label<'a>]) -> Vec<&'a str> {
    labels.iter().map(|(name, _)| *name).collect()
}

fn each_combination(labels: &[Label<'_>], mut visit: impl FnMut(&[&str])) {
    let mut combinations: Vec<Vec<&str>> = vec![Vec::new()];
    for (_, values) in labels {
        combinations = combinations
            .iter()
            .flat_map(|start| {
                values
                    .iter()
                    .map(move |value| [start.as_slice(), &[value]].concat())
            })
            .collect();
    }
    for values in &combinations {
        visit(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_value_shows_from_the_start() {
        let family = counters(
            "test_requests_total",
            "For a test.",
            &[("op", &["get", "put"]), ("code", &["2", "5"])],
        );
        family.with_label_values(&["put", "2"]).inc();
        let text = render();
        for line in [
            "test_requests_total{code=\"2\",op=\"get\"} 0",
            "test_requests_total{code=\"2\",op=\"put\"} 1",
            "test_requests_total{code=\"5\",op=\"get\"} 0",
            "test_requests_total{code=\"5\",op=\"put\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }

    #[test]
    fn sizes_are_powers_of_four() {
        assert_eq!(SIZES.first(), Some(&1024.0));
        assert_eq!(SIZES.last(), Some(&17_179_869_184.0));
    }
}
