//! Whether a file is the last one of its version. A removal must know, and listing the version's files for each costs
//! more than the removal itself; so one file that stands beside is remembered, and looked up the next time.

use std::collections::HashMap;

use super::error::StoreError;
use super::index::Batch;
use super::index::keys::{self, Key};
use super::model::Id;

/// Versions of which a file is remembered, at most.
const VERSIONS: usize = 1024;
/// Files that are listed to find one. The last of them is remembered: removals often go in order.
const LISTED: usize = 16;

/// Files that stood, by their version, when one beside them was removed. Hints: each is looked up before it counts.
#[derive(Debug, Default)]
pub struct Siblings(HashMap<Id, Key>);

impl Siblings {
    /// Whether the file with this key, which stands, is the only one of its version.
    pub fn is_only(&mut self, batch: &Batch<'_>, version: Id, file: &Key) -> Result<bool, StoreError> {
        if let Some(sibling) = self.0.get(&version)
            && sibling != file
            && batch.contains(sibling)?
        {
            return Ok(false);
        }
        let files = batch.keys(&keys::files(version), LISTED)?;
        let sibling = files.into_iter().rfind(|key| key != file);
        self.0.remove(&version);
        let Some(sibling) = sibling else {
            return Ok(true);
        };
        if self.0.len() >= VERSIONS {
            self.0.clear();
        }
        self.0.insert(version, sibling);
        Ok(false)
    }

    /// How many versions have one remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::index::Index;
    use crate::store::model::Package;

    const FILES: usize = 60;

    fn key(version: Id, number: usize) -> Key {
        let package = Package {
            id: 1,
            name: "p".into(),
            exact_case: false,
            created: 0,
        };
        keys::file(&package, version, &format!("{number:03}"))
    }

    /// Removes files of two versions in this order, in groups of a few, with some put back in between; at each step
    /// the answer must be what the set of files says.
    fn remove_all(order: impl Iterator<Item = usize> + Clone) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        let mut siblings = Siblings::default();
        let mut batch = Batch::new(&index, 0);
        let mut standing = BTreeSet::new();
        for number in 0..FILES {
            for version in [7, 8] {
                batch.put(key(version, number), &()).unwrap();
                standing.insert((version, number));
            }
        }
        let mut only = 0;
        for (step, number) in order.enumerate() {
            for version in [7, 8] {
                let others = standing.iter().filter(|(other, _)| *other == version).count() - 1;
                let is_only = siblings.is_only(&batch, version, &key(version, number)).unwrap();
                assert_eq!(is_only, others == 0, "file {number} of {version}, step {step}");
                only += usize::from(is_only);
                batch.remove(key(version, number)).unwrap();
                standing.remove(&(version, number));
            }
            if step == FILES / 2 {
                batch.put(key(7, 900), &()).unwrap();
                batch.remove(key(7, 900)).unwrap();
            }
            if step % 5 == 4 {
                let sum = batch.sum();
                batch.write().unwrap();
                batch = Batch::new(&index, sum);
            }
        }
        assert_eq!((only, siblings.len()), (2, 0));
    }

    #[test]
    fn the_last_file_is_known_in_whatever_order_they_go() {
        remove_all(0..FILES);
        remove_all((0..FILES).rev());
        remove_all((0..FILES).map(|number| number * 37 % FILES));
    }

    #[test]
    fn one_that_went_otherwise_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        let mut siblings = Siblings::default();
        let mut batch = Batch::new(&index, 0);
        for number in 0..2 {
            batch.put(key(7, number), &()).unwrap();
        }
        assert!(!siblings.is_only(&batch, 7, &key(7, 0)).unwrap());
        batch.remove(key(7, 1)).unwrap();
        assert!(siblings.is_only(&batch, 7, &key(7, 0)).unwrap());
    }

    #[test]
    fn no_more_is_remembered_than_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        let mut siblings = Siblings::default();
        let mut batch = Batch::new(&index, 0);
        for version in 0..2 * VERSIONS as Id + 9 {
            for number in 0..2 {
                batch.put(key(version, number), &()).unwrap();
            }
            assert!(!siblings.is_only(&batch, version, &key(version, 0)).unwrap());
            assert!(siblings.len() <= VERSIONS);
        }
    }
}
