//! `backup.json`: what a backup consists of.

use std::fs;
use std::io;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::{BackupError, at};
use crate::store::log::disk::replace;

/// Its name in the backup.
const NAME: &str = "backup.json";
/// Version of the layout.
const FORMAT: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// Uuid of the store.
    #[serde(with = "hex::serde")]
    pub store: [u8; 16],
    /// When the backup ended, for people.
    pub made: String,
    /// What it consists of.
    pub files: Vec<Entry>,
}

/// A file of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it lies in the backup.
    pub name: String,
    /// Where it belongs in the data directory.
    pub path: String,
    /// Its length, bytes.
    pub len: u64,
    /// Hex blake3 of its bytes.
    pub blake3: String,
}

impl Manifest {
    /// Of a backup that is complete now.
    pub fn new(store: [u8; 16], files: Vec<Entry>) -> Self {
        Manifest {
            format: FORMAT,
            store,
            made: jiff::Timestamp::now().to_string(),
            files,
        }
    }

    /// That of the backup in `dir`; `None` where none has been completed.
    pub fn load(dir: &Path) -> Result<Option<Self>, BackupError> {
        let path = dir.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let refused = |why: String| BackupError::Refused(format!("{}: {why}", path.display()));
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(refused(format!(
                "the backup has layout {}; this version of larder reads layout {FORMAT}",
                manifest.format
            )));
        }
        for entry in &manifest.files {
            if ![&entry.name, &entry.path].into_iter().all(|path| is_inside(path)) {
                return Err(refused(format!("{} leads out of the backup", entry.name)));
            }
        }
        Ok(Some(manifest))
    }

    /// Makes this the backup in `dir`, durably, in place of any before.
    pub fn save(&self, dir: &Path) -> Result<(), BackupError> {
        let path = dir.join(NAME);
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(io::Error::other)
            .map_err(at(&path))?;
        text.push(b'\n');
        replace(&path, &text).map_err(at(&path))
    }
}

/// Only plain names, so that no manifest writes elsewhere.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
}
