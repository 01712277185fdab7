//! Pins: a pinned version is never removed by retention or eviction, only by name.

use super::{ArtifactError, Artifacts};
use crate::owner::OwnerError;
use crate::store::change::{Change, CommitError, PinVersion};
use crate::store::model::{Account, Pin, Version};

/// How often a version is looked up again that was changed meanwhile.
const TRIES: usize = 8;

impl Artifacts {
    /// Pins a version, or takes its pin away (`None`). The first pin stays. Durable on return.
    ///
    /// # Errors
    /// `NoVersion` where there is no such package or version.
    pub async fn pin(
        &self,
        owner: &Account,
        package: &str,
        version: &str,
        pin: Option<Pin>,
    ) -> Result<(), ArtifactError> {
        self.check_writes()?;
        for _ in 0..TRIES {
            let found = self.version(owner, package, version)?;
            let change = Change::Pin(PinVersion {
                package: found.package,
                version: found.version,
                pin,
            });
            match self.store.commit(change).settled().await {
                // It is gone, or another one by now.
                Err(CommitError::Conflict) => {}
                settled => return Ok(settled?),
            }
        }
        Err(OwnerError::Busy("too many conflicting writes").into())
    }

    /// The pin of a version.
    pub fn pin_of(&self, version: &Version) -> Result<Option<Pin>, ArtifactError> {
        Ok(self.store.pin(version.id)?)
    }
}
