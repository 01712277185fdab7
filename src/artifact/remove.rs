//! Remove: a file or a version, decided by the owner's actor.

use super::{ArtifactError, Artifacts, Coordinates};
use crate::store::model::Account;

impl Artifacts {
    /// Removes a file, and its version with the last one. Durable on return. Illegal names are just not found.
    pub async fn remove_file(&self, owner: &Account, at: &Coordinates) -> Result<(), ArtifactError> {
        self.check_writes()?;
        Ok(self.owners.remove_file(owner.id, at.clone().into()).await?)
    }

    /// Removes a version with all its files. Durable on return. Illegal names are just not found.
    pub async fn remove_version(
        &self,
        owner: &Account,
        package: &str,
        version: &str,
    ) -> Result<(), ArtifactError> {
        self.check_writes()?;
        Ok(self.owners.remove_version(owner.id, package, version).await?)
    }
}
