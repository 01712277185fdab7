//! The proof: a daemon under all kinds of traffic, scraped by a real Prometheus, which then answers every query that
//! is shipped.

use std::collections::{BTreeMap, BTreeSet};

use super::prometheus::Prometheus;
use super::{families, lint, picture, traffic};
use crate::support::found;

/// The interval of rates: as Grafana works it out for a scrape a second.
const RATE_INTERVAL: &str = "5s";

/// Panels whose query stays empty in this traffic, and why.
const EMPTY: &[(&str, &str)] = &[("Certificate ends in", "the test's daemon speaks no TLS")];

/// Families that are on no panel and in no alert, and why.
const NOT_SHOWN: &[(&str, &str)] = &[
    (
        "larder_build_info",
        "variables of the dashboards are made from it",
    ),
    (
        "larder_store_format_info",
        "for those who plan an upgrade; it changes with the version only",
    ),
];

/// Everything that is shipped and asked of Prometheus.
#[derive(Default)]
struct Asked {
    /// Expression by where it stands; panels, variables and annotations.
    shown: Vec<(String, String)>,
    /// Recording rules: name and expression.
    records: Vec<(String, String)>,
    /// Alerts: name and expression.
    alerts: Vec<(String, String)>,
}

#[test]
fn every_query_is_answered_and_every_family_is_shown() {
    if !found(
        "every_query_is_answered_and_every_family_is_shown",
        &["prometheus"],
    ) {
        return;
    }
    let traffic = traffic::Plan::of_environment();
    let daemon = traffic.start();
    let first = families::parse(&traffic::metrics(&daemon));
    let prometheus = Prometheus::start(daemon.address(), traffic::TOKEN);
    prometheus.scraped(3);
    traffic.run(&daemon);
    prometheus.scraped(15);
    let seconds = traffic.seconds() + 30;

    let asked = Asked::of(&prometheus);
    let mut wrong = Vec::new();
    for (place, expr) in &asked.shown {
        let expr = substituted(expr, seconds);
        assert!(!expr.contains('$'), "{place}: {expr}");
        let expected = !EMPTY
            .iter()
            .any(|(title, _)| place.contains(&format!("{title:?}")));
        match prometheus.range(&expr, seconds, 1) {
            Err(error) => wrong.push(format!("{place}: {error}\n    {expr}")),
            Ok(series) => {
                let answered = series.iter().any(|series| !series.points.is_empty());
                if answered != expected {
                    let found = if answered {
                        "data, though it is listed as empty"
                    } else {
                        "no data"
                    };
                    wrong.push(format!("{place}: {found}\n    {expr}"));
                }
            }
        }
    }
    for (name, expr) in &asked.records {
        let series = prometheus.range(name, seconds, 1);
        if !series.is_ok_and(|series| series.iter().any(|series| !series.points.is_empty())) {
            wrong.push(format!("{name} records nothing\n    {expr}"));
        }
    }
    let known = names(&prometheus);
    for (name, expr) in asked.records.iter().chain(&asked.alerts) {
        for metric in metrics_of(expr) {
            if !known.contains(&metric) {
                wrong.push(format!("{name}: there is no {metric}"));
            }
        }
        if let Err(error) = prometheus.now(expr) {
            wrong.push(format!("{name}: {error}"));
        }
    }
    let after = families::parse(&traffic::metrics(&daemon));
    let late: Vec<_> = after.keys().filter(|name| !first.contains_key(*name)).collect();
    if !late.is_empty() {
        wrong.push(format!("families that the first scrape did not have: {late:?}"));
    }
    wrong.extend(not_shown(&asked, after.keys()));
    wrong.extend(series_grown(&first, &after));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!(
        "Prometheus answered {} queries of panels, variables and annotations, {} recording rules and {} alerts",
        asked.shown.len(),
        asked.records.len(),
        asked.alerts.len()
    );
    picture::draw_if_wanted(&prometheus, traffic.seconds());
}

/// Why the panel of this title has nothing to show in the proof's traffic, if so.
pub fn why_empty(title: &str) -> Option<&'static str> {
    EMPTY
        .iter()
        .find(|(empty, _)| *empty == title)
        .map(|(_, why)| *why)
}

impl Asked {
    fn of(prometheus: &Prometheus) -> Self {
        let mut asked = Asked::default();
        for (file, board) in lint::dashboards() {
            for panel in lint::panels(&board) {
                for expr in lint::queries(panel) {
                    let title = panel["title"].as_str().unwrap();
                    asked.shown.push((format!("{file} {title:?}"), expr.to_owned()));
                }
            }
            for variable in board["templating"]["list"].as_array().unwrap() {
                if let Some(query) = variable["query"]["query"].as_str() {
                    // label_values(metric, label): the series are what is asked for.
                    let inner = query
                        .trim_start_matches("label_values(")
                        .rsplit_once(',')
                        .unwrap()
                        .0;
                    asked
                        .shown
                        .push((format!("{file} variable {}", variable["name"]), inner.to_owned()));
                }
            }
            for annotation in board["annotations"]["list"].as_array().unwrap() {
                let expr = annotation["expr"].as_str().unwrap();
                asked.shown.push((
                    format!("{file} annotation {}", annotation["name"]),
                    expr.to_owned(),
                ));
            }
        }
        // As Prometheus has loaded them.
        let groups = prometheus.ask("/api/v1/rules").unwrap();
        for rule in groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap())
        {
            let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
            assert_eq!(text("health"), "ok", "{rule}");
            let known = (text("name"), text("query"));
            match rule["type"] == "alerting" {
                true => asked.alerts.push(known),
                false => asked.records.push(known),
            }
        }
        assert!(asked.shown.len() > 100 && asked.records.len() > 10 && asked.alerts.len() > 20);
        asked
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.shown, &self.records, &self.alerts];
        lists.into_iter().flatten().map(|(_, expr)| expr.as_str())
    }
}

fn substituted(expr: &str, seconds: u64) -> String {
    expr.replace("$__rate_interval", RATE_INTERVAL)
        .replace("$__range", &format!("{seconds}s"))
        .replace("$job", ".+")
        .replace("$instance", ".+")
}

/// The names of all series that Prometheus has.
fn names(prometheus: &Prometheus) -> BTreeSet<String> {
    let names = prometheus.ask("/api/v1/label/__name__/values").unwrap();
    let names = names.as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Words of an expression that are metrics of ours, of the process, or of rules.
fn metrics_of(expr: &str) -> Vec<String> {
    expr.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c))
        .filter(|word| {
            word.starts_with("larder_") || word.starts_with("process_") || word.contains(":larder_")
        })
        .map(str::to_owned)
        .collect()
}

fn not_shown<'a>(asked: &Asked, exported: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut used = BTreeSet::new();
    for expr in asked.all() {
        for metric in metrics_of(expr) {
            used.insert(families::family_of(&metric).to_owned());
            used.insert(metric);
        }
    }
    exported
        .filter(|name| {
            let listed = NOT_SHOWN.iter().any(|(known, _)| known == name);
            // The variables use one of those listed.
            !listed && !used.contains(name.as_str())
        })
        .map(|name| format!("{name} is on no panel and in no alert: add it to tests/it/monitoring/boards, or to NOT_SHOWN with a reason"))
        .collect()
}

/// Families that have more series behind the traffic than before: labels must not come from clients.
fn series_grown(
    first: &BTreeMap<String, families::Family>,
    after: &BTreeMap<String, families::Family>,
) -> Vec<String> {
    let grown = after.iter().filter(|(name, family)| {
        let before = first.get(*name).map_or(0, |family| family.series);
        !family.labels.contains_key("owner") && family.series != before
    });
    grown
        .map(|(name, family)| {
            format!(
                "{name} has {} series, at the first scrape it had others",
                family.series
            )
        })
        .collect()
}
