//! From names to a file and, where they can be had at once, its bytes.

use std::sync::Arc;

use super::Store;
use super::blob::Whole;
use super::error::StoreError;
use super::index::{Located, Missing};
use super::model::{ChunkRef, Id};

impl Store {
    /// The file that these names of an owner's package, version and file lead to.
    ///
    /// # Errors
    /// `Index`.
    pub fn locate(&self, owner: Id, at: [&str; 3]) -> Result<Result<Arc<Located>, Missing>, StoreError> {
        self.inner.index.locate(owner, at)
    }

    /// All bytes of a file, if it is one chunk that can be had without waiting for a disk; to be called within the
    /// [`Look`](super::blob::Look) in which it was located. `in_place`: they can be sent from a file. What is wrong with
    /// them is left for [`Store::open_file`] and its reader to find out.
    pub fn whole(&self, located: &Located, in_place: bool) -> Option<Whole> {
        let chunk = ChunkRef {
            digest: located.file.blob,
            len: u32::try_from(located.file.size).ok()?,
        };
        self.inner.readers.whole(chunk, located.place?, in_place)
    }
}
