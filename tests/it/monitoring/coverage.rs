//! The list of everything that is shipped for monitoring, with what proves it: `docs/monitoring.md`.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use super::files::{committed, repository};
use super::{lint, proof};

/// What is above the lists.
const INTRODUCTION: &str = "\
# What monitoring shows, and what proves it

Every panel, alert and recording rule that comes with Larder. Written from `grafana/` by `LARDER_UPDATE=1 cargo test
--test it monitoring::coverage`; CI fails where it differs.

- **answered**: a real Prometheus scrapes a daemon under traffic that does everything once, and then answers every query
  of the panel with data (`monitoring::proof`).
- **records**: the rule has made series in that run.
- **silent at, fires at**: minutes of made-up series at which promtool sees the alert so (`rules_test.yml`,
  `rules_slow_test.yml`); its expression is also answered in the run above, and each metric in it is there.
";

#[test]
fn the_list_of_what_is_shown_is_whole() {
    committed("docs/monitoring.md", &document());
}

fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (_, board) in lint::dashboards() {
        let title = board["title"].as_str().unwrap();
        write!(
            text,
            "\n## Dashboard: {title}\n\n| panel | shows | proof |\n|---|---|---|\n"
        )
        .unwrap();
        for panel in lint::panels(&board) {
            let (title, shows) = (panel["title"].as_str().unwrap(), described(panel));
            let proof = match (lint::queries(panel).len(), proof::why_empty(title)) {
                (_, Some(why)) => format!("asked; empty, as {why}"),
                (1, None) => "1 query answered".to_owned(),
                (queries, None) => format!("{queries} queries answered"),
            };
            writeln!(text, "| {title} | {shows} | {proof} |").unwrap();
        }
    }
    let read = |path: &str| fs::read_to_string(repository(path)).unwrap();
    let tests = read("grafana/rules_test.yml") + &read("grafana/rules_slow_test.yml");
    text += "\n## Alerts\n\n| alert | when | proof |\n|---|---|---|\n";
    for alert in blocks(&read("grafana/alerts.yml"), "- alert: ") {
        let (name, summary) = (alert.0, after(&alert.1, "summary: ").unwrap());
        let (silent, fires) = seen(&tests, name);
        let proof = format!("silent at {}; fires at {}", silent.join(", "), fires.join(", "));
        writeln!(
            text,
            "| [{name}](runbooks.md#{}) | {summary} | {proof} |",
            name.to_lowercase()
        )
        .unwrap();
    }
    text += "\n## Recording rules\n\n| rule | proof |\n|---|---|\n";
    for (name, _) in blocks(&read("grafana/rules.yml"), "- record: ") {
        writeln!(text, "| `{name}` | records |").unwrap();
    }
    text
}

fn described(panel: &Value) -> String {
    panel["description"]
        .as_str()
        .unwrap_or_default()
        .replace('|', "\\|")
}

/// The entries of a file of rules that begin like `head`: what stands behind that, and the lines of the entry.
fn blocks<'a>(text: &'a str, head: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        match (line.strip_prefix(head), found.last_mut()) {
            (Some(name), _) => found.push((name, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    found
}

fn after<'a>(lines: &[&'a str], key: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix(key))
}

/// When the tests of rules see an alert silent, and when firing.
fn seen<'a>(tests: &'a str, alert: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let asked = format!("alertname=\"{alert}\"");
    let lines: Vec<&str> = tests.lines().map(str::trim).collect();
    let (mut silent, mut fires) = (Vec::new(), Vec::new());
    for at in (0..lines.len()).filter(|at| lines[*at].contains(&asked)) {
        let time = lines[at + 1].strip_prefix("eval_time: ").unwrap();
        match lines[at + 2].contains("exp_samples: []") {
            true => silent.push(time),
            false => fires.push(time),
        }
    }
    (silent, fires)
}
