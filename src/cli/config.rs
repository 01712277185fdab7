//! `larder config`.

use std::io::{self, Write};

use super::failure::Failure;
use super::output;
use super::store_args::StoreArgs;
use crate::config::{self, Config, Place, json_schema};

/// Show every setting, its value and where that comes from; secrets are hidden
///
/// The output is TOML: what it shows can be put into a configuration file as it is.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,

    /// Only what differs from the built-in defaults
    #[arg(long)]
    changed: bool,

    /// Show the built-in defaults with their explanations, to begin a file with
    #[arg(long, conflicts_with_all = ["changed", "schema"])]
    defaults: bool,

    /// Show a JSON schema of the file, for editors
    #[arg(long, conflicts_with = "changed")]
    schema: bool,
}

impl Args {
    /// Shows.
    pub fn run(self) -> Result<(), Failure> {
        let out = &mut output::stdout();
        let shown = match (self.defaults, self.schema) {
            (true, _) => out.write_all(config::DEFAULTS.as_bytes()),
            (_, true) => writeln!(out, "{:#}", json_schema()),
            _ => show(&self.store.load(Vec::new())?, self.changed, out),
        };
        shown.map_err(Failure::failed)
    }
}

fn show(config: &Config, changed: bool, out: &mut impl Write) -> io::Result<()> {
    let wanted = |place: &Place| !changed || *place != Place::BuiltIn;
    let lines = config.effective.iter().filter(|(_, (place, _))| wanted(place));
    let lines: Vec<(String, &Place)> = lines
        .map(|(key, (place, value))| (format!("{key} = {}", toml_of(value)), place))
        .collect();
    let width = lines
        .iter()
        .map(|(line, _)| line.len())
        .max()
        .unwrap_or(0)
        .min(60);
    for (line, place) in lines {
        writeln!(out, "{line:width$}  # {place}")?;
    }
    Ok(())
}

/// A value as it is written in a file: text that is no truth value, number or list needs quotes.
fn toml_of(value: &str) -> String {
    match toml::from_str::<toml::Table>(&format!("value = {value}")) {
        Ok(table) if table.len() == 1 && !table["value"].is_table() => value.to_owned(),
        _ => toml::Value::String(value.to_owned()).to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn shown(sources: &Sources, changed: bool) -> String {
        let mut out = Vec::new();
        show(&load(sources).unwrap(), changed, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn file(text: &str) -> (tempfile::TempDir, Sources) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("larder.toml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources {
            file: Some(path),
            ..Sources::default()
        };
        (directory, sources)
    }

    #[test]
    fn each_setting_is_shown_with_its_place() {
        let text = shown(
            &Sources {
                environment: vec![("LARDER__SERVER__WORKERS".into(), "2".into())],
                ..Sources::default()
            },
            false,
        );
        let line = |key: &str| {
            text.lines()
                .find(|line| line.starts_with(key))
                .unwrap()
                .to_owned()
        };
        let listen = line("server.listen ");
        assert!(
            listen.starts_with("server.listen = \"127.0.0.1:3000\" "),
            "{listen}"
        );
        assert!(listen.ends_with(" # built-in default"), "{listen}");
        let workers = line("server.workers ");
        assert!(
            workers.ends_with(" # environment variable LARDER__SERVER__WORKERS"),
            "{workers}"
        );
    }

    #[test]
    fn what_is_shown_can_be_used_as_a_file_and_means_the_same() {
        let odd = "[server]\nlisten = [\"[::1]:0\", \"unix:/run/l.sock\"]\nquery_tokens = false\n\
                   [store]\ndata = \"true \\\"x\\\"\"\n[[policies]]\npackages = \"a/*\"\npolicy = \"cache\"\n";
        let (_first, sources) = file(odd);
        let text = shown(&sources, false);
        let (_second, again) = file(&text);
        let values = |sources: &Sources| -> Vec<(String, String)> {
            let effective = load(sources).unwrap().effective;
            effective
                .into_iter()
                .map(|(key, (_, value))| (key, value))
                .collect()
        };
        assert_eq!(values(&sources), values(&again), "{text}");
        let changed = shown(&sources, true);
        assert_eq!(changed.lines().count(), 4, "{changed}");
    }
}
