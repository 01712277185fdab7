//! What is live: the files of the index, and the chunks that their manifests list.

use super::mark::Marks;
use super::{CollectError, Pass};
use crate::chunk::Digest;
use crate::store::error::StoreError;
use crate::store::index::{decode, keys};
use crate::store::log::format::RECORD_HEADER_LEN;
use crate::store::log::record::Record;
use crate::store::model::{File, Manifest, Place, Shape};

/// Entries of the index that are read at once.
pub const SCAN_STEP: usize = 1024;

/// What the mark went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roots {
    /// Files.
    pub files: u64,
    /// Files whose manifest is lost or damaged: nobody knows their chunks, and nobody can read them.
    pub damaged: u64,
}

impl Pass<'_> {
    /// Marks what every file in the index leads to.
    pub(super) fn mark_files(&self, marks: &mut Marks) -> Result<Roots, CollectError> {
        let mut roots = Roots::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let entries = self
                .inner
                .index
                .scan(&keys::all_files(), after.as_deref(), SCAN_STEP)?;
            let mut read = 0;
            for (key, value) in &entries {
                read += (key.len() + value.len()) as u64;
                let file: File = decode(value)?;
                read += self.mark_file(&file, marks, &mut roots)?;
            }
            self.may_go_on(read)?;
            match entries.last() {
                Some((key, _)) => after = Some(key.to_vec()),
                None => return Ok(roots),
            }
        }
    }

    /// Marks what one file leads to; returns how many bytes of the log were read for it.
    fn mark_file(&self, file: &File, marks: &mut Marks, roots: &mut Roots) -> Result<u64, CollectError> {
        roots.files += 1;
        marks.mark(&file.blob);
        if file.shape == Shape::Single {
            return Ok(0);
        }
        let place: Option<Place> = self.inner.index.get_as(&keys::manifest(&file.blob))?;
        let read = place.map_or(0, |place| {
            (RECORD_HEADER_LEN as u64) + u64::from(place.stored_len)
        });
        match self.manifest(&file.blob, place) {
            Ok(manifest) => manifest.chunks.iter().for_each(|chunk| marks.mark(&chunk.digest)),
            Err(StoreError::Damaged(why)) => match self.restore(&file.blob, place)? {
                Some(manifest) => manifest.chunks.iter().for_each(|chunk| marks.mark(&chunk.digest)),
                // Those who want to read it are told; here it must not keep everything else from being collected.
                None => {
                    roots.damaged += 1;
                    tracing::warn!(blob = %file.blob, why, "a manifest cannot be read; the chunks that only it lists are dropped");
                }
            },
            Err(error) => return Err(error.into()),
        }
        Ok(read)
    }

    fn manifest(&self, blob: &Digest, place: Option<Place>) -> Result<Manifest, StoreError> {
        let place = place.ok_or_else(|| StoreError::Damaged("it is missing".to_owned()))?;
        let record = self.inner.readers.files().record(&place)?;
        match Record::decode(&record.header, &record.payload) {
            Ok(Record::Manifest(digest, manifest)) if digest == *blob => Ok(manifest),
            _ => Err(StoreError::Damaged(
                "another record stands in its place".to_owned(),
            )),
        }
    }
}
