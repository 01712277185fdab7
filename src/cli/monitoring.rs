//! `larder monitoring`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output;

/// A shipped file: its name below the directory, and what is in it.
type Shipped = (&'static str, &'static str);

/// Where alerts look for their runbooks, as shipped.
const RUNBOOKS: &str = "docs/runbooks.md";

const FILES: &[Shipped] = &[
    ("prometheus.yml", include_str!("../../grafana/prometheus.yml")),
    ("rules.yml", include_str!("../../grafana/rules.yml")),
    ("alerts.yml", include_str!("../../grafana/alerts.yml")),
    ("runbooks.md", include_str!("../../docs/runbooks.md")),
    (
        "dashboards/overview.json",
        include_str!("../../grafana/dashboards/overview.json"),
    ),
    (
        "dashboards/cache.json",
        include_str!("../../grafana/dashboards/cache.json"),
    ),
    (
        "dashboards/internals.json",
        include_str!("../../grafana/dashboards/internals.json"),
    ),
    (
        "dashboards/load-test.json",
        include_str!("../../grafana/dashboards/load-test.json"),
    ),
    (
        "provisioning/datasources/prometheus.yaml",
        include_str!("../../grafana/provisioning/datasources/prometheus.yaml"),
    ),
    (
        "provisioning/dashboards/larder.yaml",
        include_str!("../../grafana/provisioning/dashboards/larder.yaml"),
    ),
];

/// Dashboards, alerts and rules that fit this version
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Write dashboards, recording rules, alerts, runbooks, and configurations of Prometheus and Grafana
    Export(Export),
}

#[derive(Clone, Debug, clap::Args)]
struct Export {
    /// Where to write them; it is made if it is not there
    dir: PathBuf,

    /// Overwrite files that are there and differ
    #[arg(long)]
    force: bool,

    /// Where your copy of runbooks.md can be read; alerts lead there
    #[arg(long, value_name = "URL", default_value = "runbooks.md")]
    runbooks: String,
}

impl Args {
    /// Writes what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        let Command::Export(export) = self.command;
        export.run().map_err(Failure::failed)
    }
}

impl Export {
    /// Looks first, so that it writes all or nothing.
    fn run(&self) -> io::Result<()> {
        let files: Vec<(PathBuf, String)> = FILES
            .iter()
            .map(|(name, text)| (self.dir.join(name), text.replace(RUNBOOKS, &self.runbooks)))
            .collect();
        let mut differing = Vec::new();
        for (path, text) in &files {
            if !self.force && differs(path, text)? {
                differing.push(path.display().to_string());
            }
        }
        if !differing.is_empty() {
            let files = differing.join(", ");
            return Err(io::Error::other(format!(
                "nothing was written: {files} would be overwritten; --force does it"
            )));
        }
        for (path, text) in &files {
            write(path, text).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        }
        let (count, dir) = (files.len(), self.dir.display());
        writeln!(output::stdout(), "{count} files written to {dir}")
    }
}

/// Whether something else stands at `path`.
fn differs(path: &Path, text: &str) -> io::Result<bool> {
    match fs::read(path) {
        Ok(there) => Ok(there != text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn export(dir: &Path, force: bool) -> io::Result<()> {
        let export = Export {
            dir: dir.to_owned(),
            force,
            runbooks: "https://wiki.example/larder".to_owned(),
        };
        export.run()
    }

    #[test]
    fn everything_is_written_and_nothing_of_yours_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        export(&dir, false).unwrap();
        let alerts = fs::read_to_string(dir.join("alerts.yml")).unwrap();
        assert!(alerts.contains("runbook_url: https://wiki.example/larder#larderdown"));
        assert!(!alerts.contains(RUNBOOKS));
        // The same again changes nothing, so it may.
        export(&dir, false).unwrap();
        fs::write(dir.join("rules.yml"), "mine").unwrap();
        fs::remove_file(dir.join("alerts.yml")).unwrap();
        let error = export(&dir, false).unwrap_err().to_string();
        assert!(
            error.contains("rules.yml") && error.contains("--force"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(dir.join("rules.yml")).unwrap(), "mine");
        assert!(!dir.join("alerts.yml").exists(), "all or nothing");
        export(&dir, true).unwrap();
        assert_ne!(fs::read_to_string(dir.join("rules.yml")).unwrap(), "mine");
        assert!(dir.join("dashboards/overview.json").exists());
    }

    #[test]
    fn every_shipped_dashboard_is_in_the_binary() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(root.join("grafana/dashboards")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = format!("dashboards/{name}");
            assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
