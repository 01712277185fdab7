//! The map in `src/lib.rs` is true: rooms use only rooms below them, libraries stay in the rooms that own them, every
//! room is listed, and every invariant names a test that exists.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the top down. Rooms of one row do not use each other; the last row may be used by anyone.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["daemon"],
    &["config"],
    &["http", "upkeep"],
    &["artifact", "access"],
    &["owner"],
    &["store"],
    &["chunk"],
    &["telemetry"],
];

/// How many invariants the map has.
const INVARIANTS: usize = 9;

/// A word of code and the only place that may say it.
const OWNED: &[(&str, &str)] = &[
    ("actix_web", "http"),
    ("actix_http", "http"),
    ("StatusCode", "http"),
    ("sled::", "store/index"),
    ("use sled", "store/index"),
];

struct Source {
    /// Relative to `src`.
    path: String,
    /// Without comments.
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let read = |path: &PathBuf| Source {
        path: path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(),
        code: without_comments(&fs::read_to_string(path).unwrap()),
    };
    rust_files(&src).iter().map(read).collect()
}

fn without_comments(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The rooms that code names: `crate::store::…` and `crate::{store::…, chunk::{…}}`.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let identifier = |text: &str| -> String {
        let text = text.trim_start();
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut used = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(top_level(group).iter().map(|item| identifier(item))),
            None => drop(used.insert(identifier(rest))),
        }
    }
    used.remove("");
    used
}

/// The items of a braced list, whose opening brace is already gone.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                return items;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn may_use(room: &str, other: &str) -> bool {
    match (row(room), row(other)) {
        (Some(upper), Some(lower)) => room == other || upper < lower,
        _ => false,
    }
}

#[test]
fn rooms_use_only_rooms_below_them() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        for other in rooms_used(&source.code) {
            seen += 1;
            if !may_use(source.room(), &other) {
                wrong.push(format!("src/{} uses crate::{other}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 20, "only {seen} uses found: the test has gone blind");
}

#[test]
fn main_uses_the_command_line_only() {
    let sources = sources();
    let main = sources.iter().find(|source| source.path == "main.rs").unwrap();
    assert!(main.code.matches("larder::").count() > 0);
    assert_eq!(
        main.code.matches("larder::").count(),
        main.code.matches("larder::cli::").count()
    );
}

#[test]
fn libraries_stay_in_the_rooms_that_own_them() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (word, owner) in OWNED {
            let inside =
                source.path.starts_with(&format!("{owner}/")) || source.path == format!("{owner}.rs");
            if !inside && source.code.contains(word) {
                wrong.push(format!(
                    "src/{} says {word}, which belongs to src/{owner}",
                    source.path
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_map_lists_every_room() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms: BTreeSet<String> = sources().iter().map(|source| source.room().to_owned()).collect();
    for room in rooms.iter().filter(|room| *room != "lib" && *room != "main") {
        assert!(row(room).is_some(), "src/{room} has no row in this test");
        assert!(
            map.contains(&format!("//! - [`{room}`]")),
            "src/lib.rs does not list {room}"
        );
        assert!(
            map.contains(&format!("pub mod {room};")),
            "src/lib.rs has no module {room}"
        );
    }
}

/// Numbers and tests of the lines `Invariant N … test: path::name`.
fn invariants(map: &str) -> Vec<(usize, Vec<String>)> {
    let text = map
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("//!"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for piece in text.split("Invariant ").skip(1) {
        let number: String = piece.chars().take_while(char::is_ascii_digit).collect();
        let Ok(number) = number.parse() else {
            continue;
        };
        let name = |after: &str| -> String {
            let after = after.trim_start_matches([' ', '`']);
            after
                .chars()
                .take_while(|c| c.is_alphanumeric() || "_:".contains(*c))
                .collect()
        };
        found.push((number, piece.split("test:").skip(1).map(name).collect()));
    }
    found
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let files = [rust_files(&root().join("src")), rust_files(&root().join("tests"))].concat();
    let code: Vec<String> = files
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let found = invariants(&map);
    for number in 1..=INVARIANTS {
        let named: Vec<&String> = found
            .iter()
            .filter(|(n, _)| *n == number)
            .flat_map(|(_, tests)| tests)
            .collect();
        assert!(!named.is_empty(), "invariant {number} names no test");
        for path in named {
            let function = format!("fn {}(", path.rsplit("::").next().unwrap());
            assert!(
                code.iter().any(|text| text.contains(&function)),
                "invariant {number}: no test {path}"
            );
        }
    }
}

#[test]
fn the_reader_of_imports_sees_what_matters() {
    let code =
        "use crate::store::model::{Id, File};\nuse crate::{\n  chunk::{Digest, x::crate_y},\n  owner,\n};";
    let used: Vec<String> = rooms_used(code).into_iter().collect();
    assert_eq!(used, ["chunk", "owner", "store"]);
    assert!(may_use("http", "store") && may_use("store", "telemetry") && may_use("store", "store"));
    assert!(!may_use("store", "owner") && !may_use("http", "upkeep") && !may_use("http", "nowhere"));

    let map = "//! Invariant 1. Something. test: it::races::winner\n//! Invariant 2: x\n//! test: `a::b`, test: c\n";
    let expected = vec![
        (1, vec!["it::races::winner".to_owned()]),
        (2, vec!["a::b".to_owned(), "c".to_owned()]),
    ];
    assert_eq!(invariants(map), expected);
}
