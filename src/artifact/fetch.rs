//! Fetch: a file and its bytes, from committed state, past every actor and lock.

use super::{ArtifactError, Artifacts, Fetched};
use crate::owner::names::committed;
use crate::store::blob::Blob;
use crate::store::error::StoreError;
use crate::store::model::{Account, File, Shape};

impl Artifacts {
    /// Looks a file up by package, version and file, and notes that it is used. Illegal names are just not found.
    ///
    /// # Errors
    /// `NoVersion` or `NoFile`; `Damaged` for a file that is known to be damaged, except under `cache`, where it is
    /// missing, so that builds go on and store it again.
    pub fn fetch(&self, owner: &Account, at: [&str; 3]) -> Result<Fetched, ArtifactError> {
        let _look = self.store.look();
        let file = self.used(owner, at)?;
        let blob = self.opened(owner, at, &file)?;
        Ok(Fetched { file, blob })
    }

    /// The same for HEAD, which needs no bytes: only a list of chunks is looked at, in case it is damaged.
    ///
    /// # Errors
    /// As [`Artifacts::fetch`].
    pub fn describe(&self, owner: &Account, at: [&str; 3]) -> Result<File, ArtifactError> {
        let _look = self.store.look();
        let file = self.used(owner, at)?;
        if file.shape == Shape::Chunked {
            self.opened(owner, at, &file)?;
        }
        Ok(file)
    }

    fn used(&self, owner: &Account, at: [&str; 3]) -> Result<File, ArtifactError> {
        let standing = committed(&self.store, owner.id, at)?;
        let version = standing.version.ok_or(ArtifactError::NoVersion)?;
        let file = standing.file.ok_or(ArtifactError::NoFile)?;
        self.uses.note([file.id, version.id]);
        Ok(file)
    }

    fn opened(&self, owner: &Account, [package, ..]: [&str; 3], file: &File) -> Result<Blob, ArtifactError> {
        match self.store.open_file(file) {
            Err(StoreError::Damaged(_)) if self.is_cache(owner, package) => Err(ArtifactError::NoFile),
            opened => Ok(opened?),
        }
    }
}
