//! A copy of the store's log in a directory, and the way back (docs/backup.md).
//!
//! A backup is what its manifest lists; the manifest is replaced when everything it lists is durable, and what only
//! the one before listed goes after that. So a backup that is broken off leaves the former one whole. Names in a
//! backup are never reused for other bytes: a sealed file has its own name, the beginning of one that was being
//! written has its length in it.

mod copy;
mod manifest;
mod restore;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Progress;
use super::error::StoreError;
use super::log::disk::{replace, sync_dir};
use super::log::files;
use super::snapshot::{LogEnd, Part};
use copy::{Copied, Way};
use manifest::{Entry, Manifest};
pub use restore::{Restored, restore};

/// Keeps two backups into one directory apart; also marks the directory as one for backups.
const LOCK: &str = "backup.lock";
/// The copy of `store.toml`: under another name, so that nobody serves the backup itself and changes it.
const IDENTITY: &str = "identity.toml";

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Another process works on the backup.
    #[error("the backup at {0} is in use by another process")]
    InUse(PathBuf),
    /// The directory is not fit for it. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Bytes are not what they should be. One line for each file.
    #[error("{}", .0.join("\n"))]
    Damaged(Vec<String>),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a backup did. Bytes are those of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Files in the backup.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes that were copied this time.
    pub copied: u64,
    /// Bytes that were linked or cloned this time, and share their blocks with the store.
    pub shared: u64,
    /// Files removed from the backup, because the store no longer has them.
    pub removed: u64,
}

/// Brings the backup in `dir` up to `end` of the store at `data`, whose files the caller holds. `link`: sealed files
/// on the same file system are hard links.
pub fn backup(
    data: &Path,
    end: &LogEnd,
    dir: &Path,
    link: bool,
    progress: &dyn Progress,
) -> Result<BackupReport, BackupError> {
    let _lock = claim(dir)?;
    let former = Manifest::load(dir)?;
    if let Some(former) = &former
        && former.store != end.store
    {
        let message = format!("{} holds a backup of another store", dir.display());
        return Err(BackupError::Refused(message));
    }
    let parts = end.parts(data)?;
    let total = parts.iter().map(|part| part.len).sum();
    let mut report = BackupReport::default();
    let mut entries = vec![identity(data, dir)?];
    let mut done = 0;
    for part in &parts {
        let entry = former.as_ref().and_then(|former| kept(former, dir, part));
        entries.push(match entry {
            Some(entry) => entry,
            None => add(data, dir, part, link, &mut report)?,
        });
        done += part.len;
        progress.replayed(done, total);
    }
    for sub in ["journal", "segments", ""] {
        let sub = dir.join(sub);
        sync_dir(&sub).map_err(at(&sub))?;
    }
    report.files = entries.len() as u64;
    report.bytes = entries.iter().map(|entry| entry.len).sum();
    let manifest = Manifest::new(end.store, entries);
    manifest.save(dir)?;
    report.removed = sweep(dir, &manifest)?;
    Ok(report)
}

/// The directory, made where it is missing, and its lock.
fn claim(dir: &Path) -> Result<File, BackupError> {
    let lock = dir.join(LOCK);
    let begun = lock.try_exists().map_err(at(&lock))?;
    let empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(at(dir)(error)),
    };
    if !begun && !empty {
        let message = format!("{} is not empty and holds no backup", dir.display());
        return Err(BackupError::Refused(message));
    }
    for sub in ["", "journal", "segments"] {
        let sub = dir.join(sub);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&sub);
        made.map_err(at(&sub))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock)
        .map_err(at(&lock))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BackupError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(at(&lock)(error)),
    }
}

/// Where a part lies in the backup.
fn name(part: &Part) -> String {
    let path = files::path(Path::new(""), part.kind, part.file);
    match part.sealed {
        true => path.display().to_string(),
        false => format!("{}.{}", path.display(), part.len),
    }
}

/// What the backup before has of a part, if that is still there.
fn kept(former: &Manifest, dir: &Path, part: &Part) -> Option<Entry> {
    let name = name(part);
    let entry = former.files.iter().find(|entry| entry.name == name)?;
    let len = fs::metadata(dir.join(&name)).ok()?.len();
    (entry.len == part.len && len == part.len).then(|| entry.clone())
}

fn add(
    data: &Path,
    dir: &Path,
    part: &Part,
    link: bool,
    report: &mut BackupReport,
) -> Result<Entry, BackupError> {
    let source = files::path(data, part.kind, part.file);
    let name = name(part);
    let target = dir.join(&name);
    let link = link && part.sealed;
    let Copied { blake3, way } = copy::place(&source, &target, part.len, link).map_err(at(&target))?;
    match way {
        Way::Copied => report.copied += part.len,
        Way::Shared => report.shared += part.len,
    }
    Ok(Entry {
        path: files::path(Path::new(""), part.kind, part.file)
            .display()
            .to_string(),
        name,
        len: part.len,
        blake3,
    })
}

/// `store.toml` never changes, so it is copied once.
fn identity(data: &Path, dir: &Path) -> Result<Entry, BackupError> {
    let (source, target) = (data.join("store.toml"), dir.join(IDENTITY));
    let bytes = fs::read(&source).map_err(at(&source))?;
    if fs::read(&target).ok().as_ref() != Some(&bytes) {
        replace(&target, &bytes).map_err(at(&target))?;
    }
    Ok(Entry {
        name: IDENTITY.to_owned(),
        path: "store.toml".to_owned(),
        len: bytes.len() as u64,
        blake3: blake3::hash(&bytes).to_hex().to_string(),
    })
}

/// Removes what the manifest does not list.
fn sweep(dir: &Path, manifest: &Manifest) -> Result<u64, BackupError> {
    let listed: HashSet<PathBuf> = manifest.files.iter().map(|entry| dir.join(&entry.name)).collect();
    let mut removed = 0;
    for sub in ["journal", "segments"] {
        let sub = dir.join(sub);
        for entry in fs::read_dir(&sub).map_err(at(&sub))? {
            let path = entry.map_err(at(&sub))?.path();
            if !listed.contains(&path) {
                fs::remove_file(&path).map_err(at(&path))?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// An error with the file it is about.
fn at(path: &Path) -> impl Fn(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |error| BackupError::File {
        path: path.clone(),
        error,
    }
}

#[cfg(test)]
mod tests;
