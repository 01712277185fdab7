//! From a backup to a store.

use std::fs;
use std::io;
use std::path::Path;

use super::manifest::{Entry, Manifest};
use super::{BackupError, at, copy};
use crate::store::Progress;
use crate::store::check::{self, Finding, Target};
use crate::store::identity;
use crate::store::log::disk::sync_dir;
use crate::store::log::files;
use crate::store::log::format::Binding;
use crate::store::model::FileKind;
use crate::store::pace::Unthrottled;

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files put in place.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong with them, where that was to be accepted.
    pub damage: Vec<String>,
}

/// Puts the backup in `dir` in place at `data`, which must be empty or absent, and checks every record. `store.toml`
/// comes last: without it the directory is no store. `accept_damage`: what is damaged is restored as it is.
pub fn restore(
    dir: &Path,
    data: &Path,
    accept_damage: bool,
    progress: &dyn Progress,
) -> Result<Restored, BackupError> {
    let refused = |why: String| Err(BackupError::Refused(why));
    let Some(manifest) = Manifest::load(dir)? else {
        return refused(format!("{} holds no backup that was completed", dir.display()));
    };
    match fs::read_dir(data) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return refused(format!("{} is not empty", data.display()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(data)(error)),
    }
    identity::create_dirs(data).map_err(at(data))?;
    let total = manifest.files.iter().map(|entry| entry.len).sum();
    let mut restored = Restored::default();
    let (last, log): (Vec<&Entry>, Vec<&Entry>) = manifest
        .files
        .iter()
        .partition(|entry| entry.path == "store.toml");
    for entry in log {
        one(dir, data, &manifest, entry, &mut restored)?;
        progress.replayed(restored.bytes, total);
    }
    for kind in [FileKind::Journal, FileKind::Segment] {
        let sub = files::directory(data, kind);
        sync_dir(&sub).map_err(at(&sub))?;
    }
    if !restored.damage.is_empty() && !accept_damage {
        return Err(BackupError::Damaged(restored.damage));
    }
    for entry in last {
        // A wrong key would bind nothing: that is never accepted.
        let before = restored.damage.len();
        one(dir, data, &manifest, entry, &mut restored)?;
        if restored.damage.len() > before {
            let path = data.join(&entry.path);
            fs::remove_file(&path).map_err(at(&path))?;
            return Err(BackupError::Damaged(restored.damage.split_off(before)));
        }
        progress.replayed(restored.bytes, total);
    }
    sync_dir(data).map_err(at(data))?;
    Ok(restored)
}

fn one(
    dir: &Path,
    data: &Path,
    manifest: &Manifest,
    entry: &Entry,
    restored: &mut Restored,
) -> Result<(), BackupError> {
    let (source, target) = (dir.join(&entry.name), data.join(&entry.path));
    let len = fs::metadata(&source).map_err(at(&source))?.len();
    if len != entry.len {
        let line = format!("{}: {len} bytes instead of {}", source.display(), entry.len);
        restored.damage.push(line);
    }
    // Never a link: the store goes on writing to files that were not sealed.
    let copied = copy::place(&source, &target, len.min(entry.len), false).map_err(at(&source))?;
    restored.files += 1;
    restored.bytes += entry.len;
    if copied.blake3 != entry.blake3 {
        let line = format!("{}: the checksum differs", source.display());
        restored.damage.push(line);
    }
    if let Some(binding) = binding(manifest.store, &entry.path) {
        let target = Target {
            data,
            binding,
            end: Some(entry.len),
        };
        for finding in check::file(target, &Unthrottled)?.findings {
            restored.damage.push(line(&source, &finding));
        }
    }
    Ok(())
}

fn line(path: &Path, finding: &Finding) -> String {
    format!("{} at {}: {}", path.display(), finding.offset, finding.what)
}

/// What the records of a log file at `path` in the data directory are bound to.
fn binding(store: [u8; 16], path: &str) -> Option<Binding> {
    let (directory, name) = path.split_once('/')?;
    let kind = match directory {
        "journal" => FileKind::Journal,
        _ => FileKind::Segment,
    };
    let file = files::number(kind, name)?;
    Some(Binding { store, kind, file })
}
