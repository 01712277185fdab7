//! Remove: a file, a version, a package or all of them, decided by the owner's actor.

use super::{ArtifactError, Artifacts, Coordinates};
use crate::store::model::Account;

/// Packages that are looked up at a time.
const PAGE: usize = 100;

impl Artifacts {
    /// Removes a file, and its version with the last one. Durable on return. Illegal names are just not found.
    pub async fn remove_file(&self, owner: &Account, at: &Coordinates) -> Result<(), ArtifactError> {
        self.check_writes()?;
        Ok(self.owners.remove_file(owner.id, at.clone().into()).await?)
    }

    /// Removes a package with all its versions. Durable on return. An illegal name is just not found.
    pub async fn remove_package(&self, owner: &Account, package: &str) -> Result<(), ArtifactError> {
        Ok(self.owners.remove_package(owner.id, package).await?)
    }

    /// Removes all packages that the owner had when this was called. Durable on return.
    pub async fn remove_all(&self, owner: &Account) -> Result<(), ArtifactError> {
        let mut after = None;
        loop {
            let packages = self.store.packages(owner.id, after.as_deref(), PAGE)?;
            for package in &packages {
                match self.remove_package(owner, &package.name).await {
                    // Somebody else was faster.
                    Err(ArtifactError::NoVersion) => {}
                    removed => removed?,
                }
            }
            match packages.into_iter().next_back() {
                Some(last) => after = Some(last.name),
                None => return Ok(()),
            }
        }
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
