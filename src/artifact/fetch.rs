//! Fetch: a file and its bytes, from committed state, past every actor and lock.

use super::{ArtifactError, Artifacts, Coordinates, Fetched};
use crate::owner::names::{FileName, committed};
use crate::store::error::StoreError;
use crate::store::model::Account;

impl Artifacts {
    /// Looks a file up (for HEAD and GET), and notes that it is used. Illegal names are just not found.
    ///
    /// # Errors
    /// `NoVersion` or `NoFile`; `Damaged` for a file that is known to be damaged, except under `cache`, where it is
    /// missing, so that builds go on and store it again.
    pub fn fetch(&self, owner: &Account, at: &Coordinates) -> Result<Fetched, ArtifactError> {
        let _look = self.store.look();
        let standing = committed(&self.store, owner.id, &FileName::from(at.clone()))?;
        let version = standing.version.ok_or(ArtifactError::NoVersion)?;
        let file = standing.file.ok_or(ArtifactError::NoFile)?;
        self.uses.note([file.id, version.id]);
        match self.store.open_file(&file) {
            Ok(blob) => Ok(Fetched { file, blob }),
            Err(StoreError::Damaged(_)) if self.is_cache(owner, &at.package) => Err(ArtifactError::NoFile),
            Err(error) => Err(error.into()),
        }
    }
}
