//! What the pages say about this repository is there: links, paths, and the panels that runbooks send people to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names_in(directory: &str, end: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<_> = paths.filter(|name| name.ends_with(end)).collect();
    found.sort();
    found
}

/// The pages, as paths from the root of the repository.
fn pages() -> Vec<String> {
    let docs = names_in("docs", ".md")
        .into_iter()
        .map(|name| format!("docs/{name}"));
    ["README.md", "CHANGELOG.md"]
        .map(str::to_owned)
        .into_iter()
        .chain(docs)
        .collect()
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let text = read(page);
    let parts = text.split("\n```").enumerate();
    parts
        .filter(|(number, _)| number % 2 == 0)
        .map(|(_, part)| part)
        .collect()
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let after = text.split(open).skip(1);
    after
        .filter_map(|rest| rest.split_once(close))
        .map(|(inner, _)| inner)
        .collect()
}

/// The anchors that a page's headings make, as GitHub and GitLab do.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    let letter = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    let anchor = |heading: &str| {
        heading
            .to_lowercase()
            .chars()
            .filter(letter)
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_and_paths_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for page in pages() {
        let prose = prose(&page);
        for link in between(&prose, "](", ")") {
            if link.contains("://") {
                continue;
            }
            followed += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&page).parent().unwrap();
            let target = if path.is_empty() {
                page.clone().into()
            } else {
                folder.join(path)
            };
            let there = root.join(&target).exists();
            if !there || !anchor.is_empty() && !anchors(target.to_str().unwrap()).contains(anchor) {
                wrong.push(format!("{page}: {link}"));
            }
        }
        for code in between(&prose, "`", "`") {
            let ours = [
                "src/", "tests/", "docs/", "config/", "grafana/", "benches/", ".ci/",
            ];
            let plain = code
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if plain && ours.iter().any(|room| code.starts_with(room)) && !root.join(code).exists() {
                wrong.push(format!("{page}: `{code}`"));
            }
        }
    }
    assert!(followed > 40, "only {followed} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The titles of panels and rows of each dashboard, by the dashboard's own title.
fn boards() -> BTreeMap<String, BTreeSet<String>> {
    let read_board = |name: String| {
        let board: Value = serde_json::from_str(&read(&format!("grafana/dashboards/{name}"))).unwrap();
        let panels = board["panels"].as_array().unwrap().iter();
        let titles = panels
            .map(|panel| panel["title"].as_str().unwrap().to_owned())
            .collect();
        let title = board["title"]
            .as_str()
            .unwrap()
            .trim_start_matches("Larder / ")
            .to_owned();
        (title, titles)
    };
    names_in("grafana/dashboards", ".json")
        .into_iter()
        .map(read_board)
        .collect()
}

/// In a runbook `Board: *A*, *B*` names panels or rows; before any board is named, what is in italics is in quotes from
/// elsewhere: checks of /readyz and lines of the log.
#[test]
fn runbooks_name_panels_that_their_dashboards_have() {
    let boards = boards();
    let text = read("docs/runbooks.md").replace("**", "");
    let (mut wrong, mut named) = (Vec::new(), 0);
    for part in text.split("\n## ").skip(1) {
        let alert = part.lines().next().unwrap();
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        let pieces: Vec<&str> = part.split('*').collect();
        let mut board = None;
        for (number, piece) in pieces.iter().enumerate() {
            if number % 2 == 0 {
                let last = boards
                    .keys()
                    .filter_map(|title| Some((piece.rfind(&format!("{title}:"))?, title)))
                    .max();
                board = last.map(|(_, title)| title).or(board);
            } else if let Some(title) = board {
                named += 1;
                if !boards[title].contains(*piece) {
                    wrong.push(format!("{alert}: {title} has no {piece:?}"));
                }
            } else if boards.values().any(|titles| titles.contains(*piece)) {
                wrong.push(format!("{alert}: {piece:?} is a panel, of which dashboard?"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(named > 20, "only {named} panels are named");
}
