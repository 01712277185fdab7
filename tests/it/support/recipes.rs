//! The commands of the documentation, run as they stand there.

use std::process::{Command, Output};

use super::{ADMIN_PASSWORD, Daemon, output_within};

/// Stops at the first command that fails, and makes curl fail on what is no success.
const STRICT: &str = "set -eu\ncurl() { command curl -sS --fail-with-body \"$@\"; echo; }\n";

/// The `sh` blocks of a document between a heading and the next one, as one script.
#[track_caller]
pub fn recipe(document: &str, heading: &str) -> String {
    let mut lines = document.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "there is no heading {heading:?}");
    let (mut script, mut inside, mut fenced) = (String::new(), false, false);
    for line in lines {
        match line {
            "```sh" => (inside, fenced) = (true, true),
            _ if line.starts_with("```") => (inside, fenced) = (false, !fenced),
            _ if !fenced && line.starts_with('#') => break,
            _ if inside => script += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(!script.is_empty(), "no commands below {heading:?}");
    script
}

impl Daemon {
    /// Runs a recipe in the daemon's directory, with this daemon's address and admin's password in it, and `changes`
    /// made before.
    pub fn cook(&self, recipe: &str, changes: &[(&str, &str)]) -> Output {
        let mut script = format!("{STRICT}{recipe}");
        for (from, to) in changes {
            assert!(script.contains(from), "no {from:?} in:\n{script}");
            script = script.replace(from, to);
        }
        let script = script
            .replace("127.0.0.1:3000", &self.address().to_string())
            .replace("admin:PASSWORD", &format!("'admin:{ADMIN_PASSWORD}'"));
        let output = output_within(
            Command::new("sh").args(["-c", &script]).current_dir(self.home()),
            "",
        );
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{script}\n{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        output
    }
}
