//! Whether an index found on disk may be believed.
//!
//! sled's pages reach the disk in any order, so an index that was open when the machine went down proves nothing: it
//! is moved aside and rebuilt from the log. After a plain kill the kernel still has every write, and the index of the
//! same boot is believed.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::index::{Index, clear_unfinished, decode, keys};
use super::log::disk::sync_dir;
use super::log::format::{Binding, RECORD_HEADER_LEN, RecordHeader, RecordKind};
use super::log::journal;
use super::model::FileKind;
use super::position::{Applied, Witness};
use super::recovery::Start;

/// Name of the index that was not believed, until the new one stands.
const ASIDE: &str = "index.aside";

/// Who has, or had, the index open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Closed in order.
    Clean,
    /// Open, since this boot, in this very file.
    Open {
        boot: String,
        /// Which mount of the file system; 0 where the kernel does not say.
        mount: u64,
        device: u64,
        inode: u64,
    },
}

impl State {
    fn open(index: &Index) -> Result<Self, StoreError> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let (device, inode) = index.identity()?;
        Ok(State::Open {
            boot: boot.trim().to_owned(),
            mount: mounted(device),
            device,
            inode,
        })
    }

    /// Where the system does not say which boot this is, no two openings can be told to be of the same.
    fn is_known(&self) -> bool {
        !matches!(self, State::Open { boot, .. } if boot.is_empty())
    }

    fn write(&self, index: &Index) -> Result<(), StoreError> {
        let value = postcard::to_stdvec(self).map_err(|error| StoreError::Index(error.to_string()))?;
        index.set(keys::STATE, Some(&value))?;
        index.checkpoint()
    }
}

/// Tells one mount of a file system from the next of the same boot, between which its page cache was dropped: the
/// kernel makes a directory anew for each file system that it mounts (ext4 and xfs; not for each bind mount of
/// it, as a container has them). 0 where there is none.
fn mounted(device: u64) -> u64 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(link) = fs::read_link(format!("/sys/dev/block/{major}:{minor}")) else {
        return 0;
    };
    let Some(name) = link.file_name().and_then(|name| name.to_str()) else {
        return 0;
    };
    let made = |kind| fs::metadata(format!("/sys/fs/{kind}/{name}")).ok();
    let made = ["ext4", "xfs"].into_iter().find_map(made);
    made.map_or(0, |directory| directory.ino())
}

/// Opens the index, or begins a new one where there is none that can be believed; marks it as open, durably, before
/// anything else is written. Returns how far the log is applied to it.
pub fn open(data: &Path, store: [u8; 16], cache: u64) -> Result<(Index, Start), StoreError> {
    let path = data.join("index");
    clear_unfinished(&path)?;
    // A link that leads nowhere counts as well.
    if fs::symlink_metadata(&path).is_ok() {
        match believe(data, store, &path, cache) {
            Ok((index, start)) => {
                State::open(&index)?.write(&index)?;
                return Ok((index, start));
            }
            Err(StoreError::NoSpace) => return Err(StoreError::NoSpace),
            Err(why) => {
                tracing::warn!(%why, "the index is rebuilt from the log");
                move_aside(data)?;
            }
        }
    }
    let index = Index::open(&path, cache)?;
    sync_dir(data)?;
    Applied::START.store(&index)?;
    State::open(&index)?.write(&index)?;
    Ok((
        index,
        Start {
            applied: Applied::START,
            may_be_ahead: false,
        },
    ))
}

fn believe(data: &Path, store: [u8; 16], path: &Path, cache: u64) -> Result<(Index, Start), StoreError> {
    let index = Index::open(path, cache)?;
    let state = index.get(keys::STATE).and_then(|value| match value {
        Some(value) => decode(&value).map(Some),
        None => Ok(None),
    });
    let unbelievable = |why: &str| StoreError::Index(why.to_owned());
    let state: State = state?.ok_or_else(|| unbelievable("it does not say who had it open last"))?;
    let ours = State::open(&index)?;
    if state != State::Clean && (state != ours || !ours.is_known()) {
        return Err(unbelievable(
            "it was open when the machine went down, or has been copied",
        ));
    }
    let applied = Applied::load(&index)?;
    let applied = applied.ok_or_else(|| unbelievable("it does not say how far it is"))?;
    if !stands_in_log(data, store, &applied) {
        return Err(unbelievable("it is not of this log, or ahead of it"));
    }
    Ok((
        index,
        Start {
            applied,
            may_be_ahead: state != State::Clean,
        },
    ))
}

/// Whether the log has the group up to which the index is.
fn stands_in_log(data: &Path, store: [u8; 16], applied: &Applied) -> bool {
    let Witness { number, offset } = applied.witness;
    if number == 0 {
        return true;
    }
    let binding = Binding {
        store,
        kind: FileKind::Journal,
        file: applied.file,
    };
    let mut header = [0; RECORD_HEADER_LEN];
    let path = journal::path(data, applied.file);
    let read = fs::File::open(path).and_then(|file| {
        file.read_exact_at(&mut header, offset)?;
        file.metadata()
    });
    read.is_ok_and(|meta| meta.len() >= applied.offset)
        && RecordHeader::decode(&header, &binding, offset)
            .is_ok_and(|head| head.kind == RecordKind::Group && head.number == number)
}

/// Gives an index up; it is deleted once another stands in its place.
pub fn move_aside(data: &Path) -> Result<(), StoreError> {
    remove_aside(data)?;
    match fs::rename(data.join("index"), data.join(ASIDE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    sync_dir(data)?;
    Ok(())
}

/// Deletes an index that was moved aside, or whatever stood in its place.
pub fn remove_aside(data: &Path) -> Result<(), StoreError> {
    let path = data.join(ASIDE);
    let removed = match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => {
            // Without these rights its files cannot be deleted; without success at this, that will say so.
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
            fs::remove_dir_all(&path)
        }
        Ok(_) => fs::remove_file(&path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Makes the files of an index that has become sparse small again. The committer calls it between groups; reads go
/// on. `cache`: bytes of sled's page cache. Returns whether there was anything to do.
///
/// # Errors
/// `Index` or `Io`; the index goes on as it was, or has failed and says so.
pub fn shrink(index: &Index, cache: u64) -> Result<bool, StoreError> {
    if !index.is_sparse()? {
        return Ok(false);
    }
    index.rewrite(cache, |copy| State::open(copy)?.write(copy))?;
    Ok(true)
}

/// The index is closed in order: the next open believes it anywhere.
pub fn mark_clean(index: &Index) -> Result<(), StoreError> {
    // What the mark speaks for first.
    index.checkpoint()?;
    if !index.is_sound() {
        return Err(StoreError::Index("an earlier checkpoint failed".into()));
    }
    State::Clean.write(index)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_was_open_under_another_mount_is_not_believed() {
        for same in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (index, _) = open(dir.path(), [1; 16], 1 << 20).unwrap();
            let State::Open {
                boot,
                mount,
                device,
                inode,
            } = State::open(&index).unwrap()
            else {
                panic!("it is open");
            };
            let state = State::Open {
                boot,
                mount: mount + u64::from(!same),
                device,
                inode,
            };
            state.write(&index).unwrap();
            drop(index);
            assert_eq!(
                believe(dir.path(), [1; 16], &dir.path().join("index"), 1 << 20).is_ok(),
                same
            );
        }
    }
}
