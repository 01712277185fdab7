//! The dashboards, one file each.

mod cache;
mod internals;
mod load_test;
mod overview;

use super::panels::Board;

/// All of them, by the name of their file.
pub fn all() -> [(&'static str, Board); 4] {
    [
        ("overview", overview::board()),
        ("cache", cache::board()),
        ("internals", internals::board()),
        ("load-test", load_test::board()),
    ]
}
