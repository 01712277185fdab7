//! From a file to its bytes.

use std::io;

use super::Store;
use super::blob::{Blob, Chunks, Look};
use super::error::StoreError;
use super::index::keys;
use super::log::record::Record;
use super::model::{ChunkRef, File, Manifest, Place, Shape};
use crate::chunk::Digest;

impl Store {
    /// To be held from before a name is looked up until the file is opened, so that collection cannot come between.
    /// To be held for moments only.
    pub fn look(&self) -> Look<'_> {
        self.inner.readers.open_blobs().look()
    }

    /// Opens a file's bytes. Reads no more than a manifest.
    ///
    /// # Errors
    /// `Damaged` where the manifest is; `Index` or `Io` where it cannot be found or read.
    pub fn open_file(&self, file: &File) -> Result<Blob, StoreError> {
        let chunks = match file.shape {
            Shape::Single => {
                let len = u32::try_from(file.size)
                    .map_err(|_| StoreError::Damaged(format!("{} is too long for one chunk", file.blob)))?;
                Chunks::from([ChunkRef {
                    digest: file.blob,
                    len,
                }])
            }
            Shape::Chunked => self.manifest(&file.blob)?.chunks.into(),
        };
        Ok(Blob::new(self.inner.readers.clone(), file.blob, chunks))
    }

    /// Whether a file is known to be damaged: some of its bytes were asked for and could not be served.
    pub fn is_damaged(&self, file: &File) -> Result<bool, StoreError> {
        let damage = self.inner.readers.damage();
        if damage.is_empty() {
            return Ok(false);
        }
        let blob = match self.open_file(file) {
            Ok(blob) => blob,
            Err(StoreError::Damaged(_)) => return Ok(true),
            Err(error) => return Err(error),
        };
        for chunk in blob.chunks() {
            if damage.is_damaged(&chunk.digest, self.get(&keys::chunk(&chunk.digest))?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn manifest(&self, blob: &Digest) -> Result<Manifest, StoreError> {
        let look = || self.get::<Place>(&keys::manifest(blob));
        let mut place = look()?;
        let mut read = self.manifest_at(blob, place);
        if matches!(read, Err(StoreError::Damaged(_))) {
            // Compaction may just have moved it, or a later copy healed it.
            let moved = look()?;
            if moved != place {
                place = moved;
                read = self.manifest_at(blob, place);
            }
        }
        read.map_err(|error| match error {
            StoreError::Damaged(what) => {
                tracing::error!(digest = %blob, what, "a manifest is damaged and cannot be served");
                self.inner.readers.damage().report(*blob, place);
                StoreError::Damaged(format!("manifest of {blob}: {what}"))
            }
            error => error,
        })
    }

    fn manifest_at(&self, blob: &Digest, place: Option<Place>) -> Result<Manifest, StoreError> {
        let damaged = |what: &str| Err(StoreError::Damaged(what.to_owned()));
        let Some(place) = place else {
            return damaged("it is missing");
        };
        if self.inner.readers.damage().is_damaged(blob, Some(place)) {
            return damaged("it is quarantined");
        }
        let record = match self.inner.readers.files().record(&place) {
            Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return damaged("its file is missing");
            }
            record => record?,
        };
        match Record::decode(&record.header, &record.payload) {
            Ok(Record::Manifest(digest, manifest)) if digest == *blob => Ok(manifest),
            _ => damaged("another record stands in its place"),
        }
    }
}
