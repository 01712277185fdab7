//! What was removed as a whole and is still to be taken out of the index piece by piece.

use std::collections::VecDeque;

use super::error::StoreError;
use super::index::{Index, keys};
use super::model::Id;

/// Removed names whose parts are still in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A version with many files.
    Version(Id),
    /// A package.
    Package(Id),
}

/// All there are: few, since each is gone after some steps.
pub fn pending(index: &Index) -> Result<VecDeque<Removed>, StoreError> {
    let ids = |prefix: Vec<u8>| -> Result<Vec<Id>, StoreError> {
        let entries = index.scan(&prefix, None, usize::MAX)?;
        Ok(entries
            .iter()
            .filter_map(|(key, _)| key.get(1..)?.try_into().ok().map(Id::from_be_bytes))
            .collect())
    };
    let versions = ids(keys::sweeps())?.into_iter().map(Removed::Version);
    let packages = ids(keys::package_sweeps())?.into_iter().map(Removed::Package);
    Ok(versions.chain(packages).collect())
}
