//! Fetch: a file and its bytes, from committed state, past every actor and lock.

use std::sync::Arc;

use super::{ArtifactError, Artifacts, Fetched};
use crate::store::blob::{Blob, Whole};
use crate::store::error::StoreError;
use crate::store::model::{Account, File, Shape};
use crate::store::{Located, Missing};

/// The bytes of a file that was asked for.
#[derive(Debug)]
pub enum Bytes {
    /// All of them, to be sent at once.
    Whole(Whole),
    /// To be read.
    Blob(Blob),
}

impl Artifacts {
    /// Looks a file up by package, version and file, and notes that it is used. Illegal names are just not found.
    ///
    /// # Errors
    /// `NoVersion` or `NoFile`; `Damaged` for a file that is known to be damaged, except under `cache`, where it is
    /// missing, so that builds go on and store it again.
    pub fn fetch(&self, owner: &Account, at: [&str; 3]) -> Result<Fetched, ArtifactError> {
        let _look = self.store.look();
        let located = self.used(owner, at)?;
        let blob = self.opened(owner, at, &located.file)?;
        Ok(Fetched { located, blob })
    }

    /// The same for whoever sends all of it, at once if it can be had without waiting. `in_place`: it can be sent from a
    /// file.
    ///
    /// # Errors
    /// As [`Artifacts::fetch`].
    pub fn fetch_whole(
        &self,
        owner: &Account,
        at: [&str; 3],
        in_place: bool,
    ) -> Result<(Arc<Located>, Bytes), ArtifactError> {
        let _look = self.store.look();
        let located = self.used(owner, at)?;
        let bytes = match self.store.whole(&located, in_place) {
            Some(whole) => Bytes::Whole(whole),
            None => Bytes::Blob(self.opened(owner, at, &located.file)?),
        };
        Ok((located, bytes))
    }

    /// The same for HEAD, which needs no bytes: only a list of chunks is looked at, in case it is damaged.
    ///
    /// # Errors
    /// As [`Artifacts::fetch`].
    pub fn describe(&self, owner: &Account, at: [&str; 3]) -> Result<Arc<Located>, ArtifactError> {
        let _look = self.store.look();
        let located = self.used(owner, at)?;
        if located.file.shape == Shape::Chunked {
            self.opened(owner, at, &located.file)?;
        }
        Ok(located)
    }

    fn used(&self, owner: &Account, at: [&str; 3]) -> Result<Arc<Located>, ArtifactError> {
        let located = self
            .store
            .locate(owner.id, at)?
            .map_err(|missing| match missing {
                Missing::Version => ArtifactError::NoVersion,
                Missing::File => ArtifactError::NoFile,
            })?;
        self.uses.note([located.file.id, located.version]);
        Ok(located)
    }

    fn opened(&self, owner: &Account, [package, ..]: [&str; 3], file: &File) -> Result<Blob, ArtifactError> {
        match self.store.open_file(file) {
            Err(StoreError::Damaged(_)) if self.is_cache(owner, package) => Err(ArtifactError::NoFile),
            opened => Ok(opened?),
        }
    }
}
