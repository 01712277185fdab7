//! What is committed is what the code says; what promtool can say about the rest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{boards, families};
use crate::support::{Setup, found};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a committed file with what it should be, or writes it where that is asked for.
pub fn committed(path: &str, expected: &str) {
    let file = repository(path);
    if std::env::var_os("LARDER_UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, expected).unwrap();
        return;
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let line = (1..)
        .zip(expected.lines())
        .find(|(number, line)| found.lines().nth(number - 1) != Some(line));
    assert!(
        found == expected,
        "{path} is not what the code says, from line {:?} on; LARDER_UPDATE=1 cargo test --test it monitoring",
        line
    );
}

#[test]
fn dashboards_are_what_the_boards_say() {
    for (name, board) in boards::all() {
        let json = serde_json::to_string_pretty(&board.json()).unwrap() + "\n";
        committed(&format!("grafana/dashboards/{name}.json"), &json);
    }
    // And there are no others, which no test would look at.
    let boards: BTreeSet<_> = boards::all()
        .iter()
        .map(|(name, _)| format!("{name}.json"))
        .collect();
    let shipped = fs::read_dir(repository("grafana/dashboards")).unwrap();
    let shipped: BTreeSet<_> = shipped
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(shipped, boards);
}

#[test]
fn the_list_of_metrics_is_what_the_daemon_exports() {
    let daemon = Setup::default().start();
    let families = families::parse(&daemon.metrics());
    committed("docs/metrics.md", &families::document(&families));
}

/// A family that comes with its first event has no zero for rates and alerts to start from, and no other test sees it.
#[test]
fn every_family_of_the_code_is_in_the_first_scrape() {
    let exported = families::parse(&Setup::default().start().metrics());
    let (mut files, mut late) = (vec![repository("src")], Vec::new());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for quoted in text.split('"').filter(|quoted| quoted.starts_with("larder_")) {
            let name = quoted.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if name && !exported.contains_key(quoted) {
                late.push(format!("{}: {quoted}", path.display()));
            }
        }
    }
    assert!(exported.len() > 90, "{}", exported.len());
    assert!(late.is_empty(), "{}", late.join("\n"));
}

#[test]
fn promtool_finds_nothing_wrong() {
    if !found("promtool_finds_nothing_wrong", &["promtool"]) {
        return;
    }
    let grafana = repository("grafana");
    let promtool = |arguments: &[&str]| {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(&grafana)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    };
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&[
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        "rules.yml",
        "alerts.yml",
    ]);
    promtool(&["test", "rules", "rules_test.yml", "rules_slow_test.yml"]);

    let daemon = Setup::default().start();
    let text = daemon.home().join("metrics.txt");
    fs::write(&text, daemon.metrics() + "\n").unwrap();
    let output = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(&text).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn every_alert_is_tested_both_ways_and_has_a_runbook() {
    let read = |path: &str| fs::read_to_string(repository(path)).unwrap();
    let alerts = read("grafana/alerts.yml");
    let tests = read("grafana/rules_test.yml") + &read("grafana/rules_slow_test.yml");
    let runbooks = read("docs/runbooks.md");
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let lines: Vec<&str> = tests.lines().collect();
    for name in names {
        let asked = format!("alertname=\"{name}\"");
        // The expression, its time, what is expected.
        let expected: Vec<&str> = (0..lines.len())
            .filter(|at| lines[*at].contains(&asked))
            .filter_map(|at| lines.get(at + 2).copied())
            .collect();
        assert!(
            expected.iter().any(|line| line.contains("value: 1")),
            "{name} is never seen to fire"
        );
        assert!(
            expected.iter().any(|line| line.contains("exp_samples: []")),
            "{name} is never seen to be silent"
        );
        assert!(
            runbooks.contains(&format!("\n## {name}\n")),
            "{name} has no runbook"
        );
        let link = format!("runbook_url: docs/runbooks.md#{}\n", name.to_lowercase());
        assert!(alerts.contains(&link), "{name} does not lead to its runbook");
    }
    for text in [
        "summary:",
        "description:",
        "runbook_url:",
        "dashboard_url:",
        "severity:",
    ] {
        assert_eq!(
            alerts.matches(text).count(),
            alerts.matches("- alert:").count(),
            "{text}"
        );
    }
}
