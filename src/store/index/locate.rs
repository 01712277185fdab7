//! The way from names to a file and its bytes: the rows of package, version, file and chunk.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::changes::{Seen, Stamp};
use super::handle::{Index, decode};
use super::keys;
use super::tree::Tree;
use crate::store::error::StoreError;
use crate::store::metrics;
use crate::store::model::{File, Id, Package, Place, Shape, Version};

/// A file, and what has been looked up on the way to its bytes.
#[derive(Debug)]
pub struct Located {
    /// The file.
    pub file: File,
    /// Its version.
    pub version: Id,
    /// Where its bytes are, if they are one chunk; `None` also where the index has no place for that.
    pub place: Option<Place>,
}

/// What is missing under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The version, and perhaps its package.
    Version,
    /// The file.
    File,
}

/// A row, as it was after its stamp had been taken.
type Stamped<T> = (Option<T>, Stamp);

impl Index {
    /// The file that these names of an owner's package, version and file lead to.
    ///
    /// # Errors
    /// `Index`.
    pub fn locate(&self, owner: Id, at: [&str; 3]) -> Result<Result<Arc<Located>, Missing>, StoreError> {
        self.ask(|tree| tree.locate(owner, at))
    }
}

impl Tree {
    fn locate(&self, owner: Id, at: [&str; 3]) -> Result<Result<Arc<Located>, Missing>, StoreError> {
        let (recent, changes) = self.located()?;
        let names = recent.names(owner, at);
        if let Some(located) = recent.get(&names, changes) {
            metrics::file_lookup();
            return Ok(Ok(located));
        }
        let [package, version, file] = at;
        let (Some(package), of_package) = self.stamped::<Package>(&keys::package(owner, package))? else {
            return Ok(Err(Missing::Version));
        };
        let (Some(version), of_version) = self.stamped::<Version>(&keys::version(&package, version))? else {
            return Ok(Err(Missing::Version));
        };
        let (Some(file), of_file) = self.stamped::<File>(&keys::file(&package, version.id, file))? else {
            return Ok(Err(Missing::File));
        };
        let (chunk, of_chunk) = self.stamped::<Place>(&keys::chunk(&file.blob))?;
        let place = chunk.filter(|_| file.shape == Shape::Single);
        let is_whole = place.is_some() || file.shape == Shape::Chunked;
        let version = version.id;
        let located = Arc::new(Located { file, version, place });
        if is_whole {
            let seen = Seen::from([of_package, of_version, of_file, of_chunk]);
            recent.keep(&names, seen, located.clone());
        }
        Ok(Ok(located))
    }

    fn stamped<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Stamped<T>, StoreError> {
        let (value, stamp) = self.get_stamped(key)?;
        Ok((value.map(|value| decode(&value)).transpose()?, stamp))
    }
}
