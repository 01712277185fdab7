//! The families that a daemon exports, read from its own text, and the document about them.

use std::collections::{BTreeMap, BTreeSet};

/// One family.
#[derive(Debug, Default)]
pub struct Family {
    pub help: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Labels and the values they have; without `le`.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// Series, a histogram's buckets included.
    pub series: usize,
}

/// Reads Prometheus text.
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((series, _)) = line.rsplit_once(' ') {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let known = if families.contains_key(name) {
                name
            } else {
                family_of(name)
            };
            let Some(family) = families.get_mut(known) else {
                continue;
            };
            family.series += 1;
            for pair in labels.trim_end_matches('}').split("\",") {
                if let Some((label, value)) = pair.split_once("=\"")
                    && label != "le"
                {
                    let values = family.labels.entry(label.to_owned()).or_default();
                    values.insert(value.trim_end_matches('"').to_owned());
                }
            }
        }
    }
    families
}

/// The family of a series' name: without what a histogram adds.
pub fn family_of(name: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

/// Labels whose values differ from daemon to daemon.
const OWN: [&str; 4] = ["hash", "version", "revision", "owner"];

/// `docs/metrics.md`
pub fn document(families: &BTreeMap<String, Family>) -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         What `GET /metrics` exports. This page is made from a running daemon and compared in CI \
         (`tests/it/monitoring`).\n\n\
         Every label value is there from the first scrape, at 0, so that rates and alerts work from the start. \
         Nothing a client sends becomes a label. Times are seconds, sizes bytes; a `_timestamp_seconds` is Unix time, \
         0 for never. A histogram `x` has `x_bucket`, `x_sum` and `x_count`.\n\n\
         `process_*` are those of every Prometheus client.\n",
    );
    let mut part = "";
    for (name, family) in families.iter().filter(|(name, _)| name.starts_with("larder_")) {
        let of = name.split('_').nth(1).unwrap_or_default();
        if of != part {
            part = of;
            text += &format!("\n## `larder_{part}_*`\n\n| Metric | Kind | What |\n|---|---|---|\n");
        }
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|(label, values)| described(label, values))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("<br>Labels: {}", labels.join("; ")),
        };
        text += &format!("| `{name}` | {} | {}{labels} |\n", family.kind, family.help);
    }
    text
}

fn described(label: &str, values: &BTreeSet<String>) -> String {
    if OWN.contains(&label) {
        return format!("`{label}`");
    }
    let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
    format!("`{label}`: {}", values.join(" "))
}

#[test]
fn families_are_read_from_text() {
    let text = "# HELP x_seconds Time.\n# TYPE x_seconds histogram\nx_seconds_bucket{op=\"a\",le=\"1\"} 0\n\
                x_seconds_sum{op=\"a\"} 0\n# HELP y_count Odd name.\n# TYPE y_count gauge\ny_count 3\n";
    let families = parse(text);
    assert_eq!(families["x_seconds"].series, 2);
    assert_eq!(families["x_seconds"].labels.len(), 1, "{families:?}");
    assert_eq!(families["y_count"].series, 1);
}
