//! Defaults < file < environment < flags, put together by the `config` crate.
//!
//! Before a layer is merged, each of its keys is looked up in the defaults. That finds keys nobody would read, and
//! notes for every key which layer had the last word, so that a bad value can be blamed on its place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::error::{ConfigError, Place, Problem};
use super::raw::Raw;
use super::schema::Schema;

/// The annotated defaults.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Variables that begin so are ours: `LARDER__SECTION__KEY`.
const PREFIX: &str = "LARDER__";

/// A configuration file is not larger than this, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A value given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is written, `--listen`.
    pub name: &'static str,
    /// The key it sets, `server.listen`.
    pub key: &'static str,
    /// The value.
    pub value: OsString,
}

/// Where a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment; `LARDER_CONFIG` and `LARDER__…` are looked at, the rest is left alone.
    pub environment: Vec<(OsString, OsString)>,
    /// The other flags.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// The sources of this process, with what the command line says.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        Sources {
            file,
            environment: std::env::vars_os().collect(),
            flags,
        }
    }

    /// The file that is read: `--config`, else `LARDER_CONFIG`, else none.
    pub fn file(&self) -> Option<PathBuf> {
        let variable = || self.environment.iter().find(|(name, _)| name == "LARDER_CONFIG");
        self.file
            .clone()
            .or_else(|| variable().map(|(_, value)| PathBuf::from(value)))
    }
}

/// The layers, merged.
#[derive(Debug)]
pub struct Merged {
    /// The values.
    pub raw: Raw,
    /// Who had the last word about each key that is set, by dotted name, with the value as text.
    pub places: BTreeMap<String, (Place, String)>,
}

/// Merges the layers. Fails on the first layer that cannot be read and with all unknown keys together.
pub fn merge(sources: &Sources) -> Result<Merged, ConfigError> {
    let mut layers = Layers::new()?;
    if let Some(path) = sources.file() {
        layers.add_file(&path)?;
    }
    layers.add_environment(&sources.environment)?;
    layers.add_flags(&sources.flags)?;
    layers.merge()
}

struct Layers {
    schema: Schema,
    builder: config::ConfigBuilder<config::builder::DefaultState>,
    places: BTreeMap<String, (Place, String)>,
    problems: Vec<Problem>,
}

impl Layers {
    fn new() -> Result<Self, ConfigError> {
        let source = config::File::from_str(DEFAULTS, FileFormat::Toml);
        let defaults = source.collect().map_err(|error| blame(Place::BuiltIn, error))?;
        let mut layers = Layers {
            schema: Schema::of(&defaults),
            builder: config::Config::builder().add_source(source),
            places: BTreeMap::new(),
            problems: Vec::new(),
        };
        layers.note(&Place::BuiltIn, "", &defaults);
        Ok(layers)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let place = Place::File(path.to_owned());
        let text = read(path).map_err(|message| Problem {
            place: place.clone(),
            key: String::new(),
            message,
        })?;
        let source = config::File::from_str(&text, FileFormat::Toml);
        let values = source.collect().map_err(|error| blame(place.clone(), error))?;
        self.note(&place, "", &values);
        self.merge_if_known(source);
        Ok(())
    }

    fn add_environment(&mut self, variables: &[(OsString, OsString)]) -> Result<(), ConfigError> {
        let mut known = Map::new();
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let place = Place::Variable(name.clone());
            let key = rest.to_lowercase().replace("__", ".");
            if !self.schema.has(&key) || variable(&key) != name {
                let nearest = self.schema.nearest(&key).map(variable);
                self.unknown(place, String::new(), "there is no such setting", nearest);
                continue;
            }
            match value.to_str() {
                Some(value) => {
                    self.places.insert(key, (place, value.to_owned()));
                    known.insert(name, value.to_owned());
                }
                None => self.problem(place, String::new(), "the value is not UTF-8".to_owned()),
            }
        }
        let source = config::Environment::with_prefix("LARDER")
            .separator("__")
            .source(Some(known));
        self.merge_if_known(source);
        Ok(())
    }

    fn add_flags(&mut self, flags: &[Flag]) -> Result<(), ConfigError> {
        for flag in flags {
            let place = Place::Flag(flag.name);
            let Some(value) = flag.value.to_str() else {
                self.problem(place, String::new(), "the value is not UTF-8".to_owned());
                continue;
            };
            self.places
                .insert(flag.key.to_owned(), (place.clone(), value.to_owned()));
            let builder = std::mem::take(&mut self.builder);
            self.builder = builder
                .set_override(flag.key, value)
                .map_err(|error| blame(place, error))?;
        }
        Ok(())
    }

    fn merge(self) -> Result<Merged, ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        let merged = self
            .builder
            .build()
            .map_err(|error| blame(Place::BuiltIn, error))?;
        match merged.try_deserialize() {
            Ok(raw) => Ok(Merged {
                raw,
                places: self.places,
            }),
            Err(error) => {
                let (key, message) = explain(error);
                let place = place_of(&self.places, &key);
                Err(Problem { place, key, message }.into())
            }
        }
    }

    /// A layer with unknown keys is not merged: the build has failed already, and odd keys could be taken for paths.
    fn merge_if_known(&mut self, source: impl Source + Send + Sync + 'static) {
        if self.problems.is_empty() {
            let builder = std::mem::take(&mut self.builder);
            self.builder = builder.add_source(source);
        }
    }

    /// Checks the keys of a table of this layer, and notes that it had the last word about them.
    fn note(&mut self, place: &Place, path: &str, table: &Map<String, Value>) {
        // The map's own order is random; problems are reported in a fixed one.
        let sorted: BTreeMap<_, _> = table.iter().collect();
        for (name, value) in sorted {
            let key = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match &value.kind {
                ValueKind::Table(inner) if self.schema.is_section(&key) => self.note(place, &key, inner),
                _ if self.schema.is_section(&key) => {
                    let message = format!("is a section; write [{key}] and its keys below");
                    self.problem(place.clone(), key, message);
                }
                _ if self.schema.has(&key) && !name.contains('.') => {
                    self.places.insert(key, (place.clone(), shown(value)));
                }
                _ => {
                    let nearest = self.schema.nearest(&key).map(str::to_owned);
                    self.unknown(place.clone(), key, "unknown key", nearest);
                }
            }
        }
    }

    fn unknown(&mut self, place: Place, key: String, what: &str, nearest: Option<String>) {
        let message = match nearest {
            Some(nearest) => format!("{what}; did you mean {nearest}?"),
            None => what.to_owned(),
        };
        self.problem(place, key, message);
    }

    fn problem(&mut self, place: Place, key: String, message: String) {
        self.problems.push(Problem { place, key, message });
    }
}

/// A value as `larder config` shows it: text as it is, everything else as TOML.
fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(_) | ValueKind::Table(_) => toml_of(value),
        _ => value.to_string(),
    }
}

fn toml_of(value: &Value) -> String {
    let listed = |parts: Vec<String>| parts.join(", ");
    match &value.kind {
        ValueKind::Array(items) => format!("[{}]", listed(items.iter().map(toml_of).collect())),
        ValueKind::Table(table) => {
            // The map's own order is random.
            let sorted: BTreeMap<_, _> = table.iter().collect();
            let pair = |(key, value): (&String, &Value)| format!("{key} = {}", toml_of(value));
            format!("{{{}}}", listed(sorted.into_iter().map(pair).collect()))
        }
        ValueKind::String(text) => toml::Value::String(text.clone()).to_string(),
        _ => value.to_string(),
    }
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes"));
    }
    Ok(text)
}

/// Who had the last word about `key`, which may lie inside an array: `policies[1].policy`.
pub fn place_of(places: &BTreeMap<String, (Place, String)>, key: &str) -> Place {
    let outer = key.split('[').next().unwrap_or(key);
    places
        .get(outer)
        .map_or(Place::BuiltIn, |(place, _)| place.clone())
}

/// Splits an error of the `config` crate into the key and what is wrong with it.
fn explain(error: config::ConfigError) -> (String, String) {
    use config::ConfigError::{At, FileParse, NotFound, Type};
    match error {
        // It forgets the dot between an index and a name.
        NotFound(key) => (key.replace(']', "]."), "is missing".to_owned()),
        At { error, key, .. } => (key.unwrap_or_default(), explain(*error).1),
        Type {
            unexpected,
            expected,
            key,
            ..
        } => (
            key.unwrap_or_default(),
            format!("expected {expected}, found {unexpected}"),
        ),
        FileParse { cause, .. } => (String::new(), cause.to_string().trim_end().to_owned()),
        other => (String::new(), other.to_string()),
    }
}

fn blame(place: Place, error: config::ConfigError) -> ConfigError {
    let (key, message) = explain(error);
    Problem { place, key, message }.into()
}
