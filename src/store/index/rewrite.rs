//! Makes the index's files small again: sled does not give back what was deleted.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::handle::Index;
use super::tree::Tree;
use crate::store::error::StoreError;
use crate::store::log::disk::sync_dir;

/// A smaller index is not worth the work.
const WORTHWHILE: u64 = 4 << 20;
/// Bytes on disk that are usual for an entry: about 250 when it is filled, three times that under replacements.
const USUAL: u64 = 1024;
/// Writes wait while entries are copied: about 0.1 s for this many.
const AT_MOST: u64 = 50_000;
/// Entries that are copied at a time.
const STEP: usize = 1024;

impl Index {
    /// Whether it takes far more room than its entries need, and they are few enough to be copied while writes wait.
    ///
    /// # Errors
    /// `Index` where it fails.
    pub fn is_sparse(&self) -> Result<bool, StoreError> {
        let size = self.size_on_disk()?;
        if size < WORTHWHILE {
            return Ok(false);
        }
        let bound = (size / USUAL).min(AT_MOST) as usize;
        let mut count = 0;
        self.each_step(|entries| {
            count += entries.len();
            Ok(count <= bound)
        })?;
        Ok(count <= bound)
    }

    /// Copies all entries into a new tree and goes on with it; the old files are deleted. `cache`: bytes of sled's
    /// page cache. `prepare` is called with the copy before it takes the place of the original, durably; a crash
    /// leaves the one or the other.
    ///
    /// Nobody may write meanwhile; reads go on.
    ///
    /// # Errors
    /// `Index` or `Io`; the index then is as it was, or, where it failed, says so.
    pub fn rewrite(
        &self,
        cache: u64,
        prepare: impl FnOnce(&Index) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let place = Places::of(self.path());
        place.clear()?;
        let copy = Index::open(&place.new, cache)?;
        self.each_step(|entries| {
            entries
                .iter()
                .try_for_each(|(key, value)| copy.set(key, Some(value)))?;
            Ok(true)
        })?;
        prepare(&copy)?;
        copy.checkpoint()?;
        // sled knows its files by their path, so it is opened again where it will stay.
        drop(copy);
        sync_dir(&place.new)?;
        place.exchange()?;
        match Tree::open(self.path(), cache) {
            Ok(tree) => self.replace(tree),
            Err(error) => {
                self.fail(&format!("its smaller copy does not open: {error}"));
                return Err(error);
            }
        }
        place.clear()
    }

    /// Goes through all entries until `work` has enough.
    fn each_step(
        &self,
        mut work: impl FnMut(&[super::Entry]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut after: Option<sled::IVec> = None;
        loop {
            let entries = self.scan(b"", after.as_deref(), STEP)?;
            let Some((last, _)) = entries.last() else {
                return Ok(());
            };
            if !work(&entries)? {
                return Ok(());
            }
            after = Some(last.clone());
        }
    }
}

/// Deletes what a rewrite that was cut off has left beside the index at `path`.
pub fn clear_unfinished(path: &Path) -> Result<(), StoreError> {
    Places::of(path).clear()
}

struct Places {
    path: PathBuf,
    /// The copy until it is exchanged, the original behind that.
    new: PathBuf,
    /// The original on its way there, where two names cannot be exchanged in one step.
    old: PathBuf,
}

impl Places {
    fn of(path: &Path) -> Self {
        Places {
            path: path.to_owned(),
            new: path.with_extension("new"),
            old: path.with_extension("old"),
        }
    }

    fn clear(&self) -> Result<(), StoreError> {
        remove(&self.new)?;
        remove(&self.old)
    }

    /// One step where the file system can; else a crash in between leaves no index, and it is rebuilt.
    fn exchange(&self) -> Result<(), StoreError> {
        if renameat_with(CWD, &self.new, CWD, &self.path, RenameFlags::EXCHANGE).is_err() {
            std::fs::rename(&self.path, &self.old)?;
            std::fs::rename(&self.new, &self.path)?;
            std::fs::rename(&self.old, &self.new)?;
        }
        if let Some(parent) = self.path.parent() {
            sync_dir(parent)?;
        }
        Ok(())
    }
}

/// Removes a directory, or whatever else has its name, if there is anything.
fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => std::fs::remove_file(path),
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fill(index: &Index, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let value = blake3::hash(&number.to_be_bytes());
            index.set(&number.to_be_bytes(), Some(value.as_bytes())).unwrap();
        }
        index.checkpoint().unwrap();
    }

    #[test]
    fn what_was_deleted_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let index = Index::open(&path, 1 << 20).unwrap();
        for _ in 0..4 {
            fill(&index, 0..20_000);
            assert!(!index.is_sparse().unwrap());
            for number in 10..20_000_u32 {
                index.set(&number.to_be_bytes(), None).unwrap();
            }
        }
        let (before, entries) = (index.size_on_disk().unwrap(), index.scan(b"", None, 99).unwrap());
        assert!(index.is_sparse().unwrap(), "{before}");
        index
            .rewrite(1 << 20, |copy| copy.set(b"mark", Some(b"x")))
            .unwrap();
        assert!(index.size_on_disk().unwrap() <= 1 << 20, "{before}");
        assert_eq!(index.get(b"mark").unwrap().unwrap(), b"x");
        index.set(b"mark", None).unwrap();
        assert_eq!(index.scan(b"", None, 99).unwrap(), entries);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "the original is gone"
        );
        fill(&index, 100..200);
        drop(index);
        let index = Index::open(&path, 1 << 20).unwrap();
        assert_eq!(index.scan(b"", None, 999).unwrap().len(), 110);
    }

    #[test]
    fn what_a_crash_left_beside_it_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["index.new", "index.old"] {
            std::fs::create_dir_all(dir.path().join(name).join("blobs")).unwrap();
        }
        clear_unfinished(&dir.path().join("index")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(dir.path().join("index.old"), "a file").unwrap();
        clear_unfinished(&dir.path().join("index")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn readers_never_miss_an_entry_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        fill(&index, 0..2_000);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    number = (number + 1) % 2_000_u32;
                    assert!(index.get(&number.to_be_bytes()).unwrap().is_some(), "{number}");
                }
            });
            for _ in 0..5 {
                index.rewrite(1 << 20, |_| Ok(())).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
