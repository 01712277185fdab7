//! What makes a directory a store: `store.toml`, and the lock that keeps a second process out.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::OpenError;
use super::error::StoreError;
use super::log::disk::{replace, sync_dir};
use super::log::format::FORMAT_VERSION;
use crate::chunk::ChunkerParams;

/// The content of `store.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Version of the on-disk format.
    pub format: u32,
    /// Binds every record to this store.
    #[serde(with = "hex::serde")]
    pub uuid: [u8; 16],
    /// Key for hashes of secrets.
    #[serde(with = "hex::serde")]
    pub secret: [u8; 32],
    /// Chunk sizes, fixed when the store was created.
    pub chunking: ChunkerParams,
}

/// Creates the data directory where it is missing: parents too, mode 0700.
pub fn create_dirs(data: &Path) -> io::Result<()> {
    for dir in [data.to_owned(), data.join("journal"), data.join("segments")] {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    if let Some(parent) = data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    sync_dir(data)
}

/// Takes the store's lock; it is let go when the file is closed.
pub fn lock(data: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(data.join("LOCK"))
        .map_err(StoreError::from)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::from(error).into()),
    }
}

impl Identity {
    /// Reads `store.toml`.
    pub fn load(data: &Path) -> Result<Self, OpenError> {
        let path = data.join("store.toml");
        let text = fs::read_to_string(&path).map_err(StoreError::from)?;
        Self::parse(&path, &text)
    }

    /// Reads `store.toml`, or makes one: only a directory without log files can become a new store.
    pub fn load_or_create(data: &Path, chunking: ChunkerParams) -> Result<Self, OpenError> {
        let path = data.join("store.toml");
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(data, chunking),
            Err(error) => Err(StoreError::from(error).into()),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, OpenError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let place = path.display();
        let Format { format } =
            toml::from_str(text).map_err(|error| OpenError::Format(format!("{place}: {error}")))?;
        if format != FORMAT_VERSION {
            return Err(OpenError::Format(format!(
                "{place}: the store has format {format}; this version of larder reads format \
                 {FORMAT_VERSION}; nothing was changed, serve it with the version that wrote it"
            )));
        }
        toml::from_str(text).map_err(|error| OpenError::Format(format!("{place}: {error}")))
    }

    fn create(data: &Path, chunking: ChunkerParams) -> Result<Self, OpenError> {
        for dir in ["journal", "segments"] {
            let mut entries = fs::read_dir(data.join(dir)).map_err(StoreError::from)?;
            if entries.next().is_some() {
                return Err(OpenError::Format(format!(
                    "{} has log files but no store.toml; restore that file, or move the directory away to begin a \
                     new store",
                    data.display()
                )));
            }
        }
        let mut identity = Identity {
            format: FORMAT_VERSION,
            uuid: [0; 16],
            secret: [0; 32],
            chunking,
        };
        getrandom::fill(&mut identity.uuid)
            .map_err(io::Error::from)
            .map_err(StoreError::from)?;
        getrandom::fill(&mut identity.secret)
            .map_err(io::Error::from)
            .map_err(StoreError::from)?;
        identity.write(data).map_err(StoreError::from)?;
        Ok(identity)
    }

    fn write(&self, data: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let said = "# Made by larder. The store cannot be read without this file.\n";
        replace(&data.join("store.toml"), (said.to_owned() + &text).as_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        create_dirs(&data).unwrap();
        let first = Identity::load_or_create(&data, ChunkerParams::default()).unwrap();
        let smaller = ChunkerParams {
            avg_size: 256 * 1024,
            ..ChunkerParams::default()
        };
        assert_eq!(Identity::load_or_create(&data, smaller).unwrap(), first);
    }

    #[test]
    fn another_format_and_a_lost_identity_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        create_dirs(dir.path()).unwrap();
        fs::write(dir.path().join("store.toml"), "format = 99\nnew_key = 1\n").unwrap();
        let error = Identity::load_or_create(dir.path(), ChunkerParams::default()).unwrap_err();
        assert!(error.to_string().contains("format 99"), "{error}");
        fs::remove_file(dir.path().join("store.toml")).unwrap();
        fs::write(dir.path().join("journal/0000000000000001.log"), "x").unwrap();
        assert!(Identity::load_or_create(dir.path(), ChunkerParams::default()).is_err());
    }

    #[test]
    fn the_lock_keeps_a_second_out() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::InUse(_))));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
