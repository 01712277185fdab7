//! The checksums that Gitea shows of a file: computed when first asked for, then kept.

use std::num::NonZeroUsize;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use super::browse::{Page, Window};
use super::{ArtifactError, Artifacts};
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::model::{Checksums, File, Version};

/// Files whose checksums are computed at once, over all requests. It costs four hashes of every byte.
pub(super) const AT_ONCE: usize = 2;
/// Most files on a page.
pub const MAX_FILES: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

impl Artifacts {
    /// The files of a version in the order of their names, with checksums; those of a damaged file are missing.
    /// Computes what is not known yet, which takes as long as reading the files.
    pub async fn files(
        &self,
        version: &Version,
        window: Window,
    ) -> Result<Page<(File, Option<Checksums>)>, ArtifactError> {
        let limit = window.limit.min(MAX_FILES).get();
        let total = self.store.count_files(version.id)? as u64;
        let mut items = Vec::new();
        for file in self.store.files(version.id, window.skip(), limit)? {
            let checksums = match self.checksums(&file).await {
                Err(ArtifactError::Damaged) => None,
                checksums => Some(checksums?),
            };
            items.push((file, checksums));
        }
        Ok(Page { items, total })
    }

    async fn checksums(&self, file: &File) -> Result<Checksums, ArtifactError> {
        let known = || Ok(self.store.checksums(&file.blob)?);
        self.hashing
            .get(&file.blob, known, async || {
                let checksums = self.compute(file).await?;
                let kept = self.store.commit(Change::PutChecksums(file.blob, checksums));
                match kept.settled().await {
                    // Collected meanwhile, or no room: nobody needs it to be kept.
                    Ok(()) | Err(CommitError::Conflict | CommitError::NoSpace | CommitError::Busy) => {
                        Ok(checksums)
                    }
                    Err(error) => Err(error.into()),
                }
            })
            .await
    }

    async fn compute(&self, file: &File) -> Result<Checksums, ArtifactError> {
        let blob = self.store.open_file(file)?;
        let mut bytes = blob.read(0..blob.size());
        let mut hashers = Hashers::default();
        while let Some(piece) = bytes.next().await? {
            let hashed = actix_rt::task::spawn_blocking(move || {
                hashers.update(&piece);
                hashers
            });
            hashers = hashed
                .await
                .map_err(|error| StoreError::Io(std::io::Error::other(error)))?;
        }
        Ok(hashers.finish())
    }
}

#[derive(Default)]
struct Hashers {
    md5: Md5,
    sha1: Sha1,
    sha256: Sha256,
    sha512: Sha512,
}

impl Hashers {
    fn update(&mut self, piece: &[u8]) {
        self.md5.update(piece);
        self.sha1.update(piece);
        self.sha256.update(piece);
        self.sha512.update(piece);
    }

    fn finish(self) -> Checksums {
        let sha512: [u8; 64] = self.sha512.finalize().into();
        let mut halves = [[0; 32]; 2];
        halves.as_flattened_mut().copy_from_slice(&sha512);
        Checksums {
            md5: self.md5.finalize().into(),
            sha1: self.sha1.finalize().into(),
            sha256: self.sha256.finalize().into(),
            sha512: halves,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_of_abc_are_those_of_the_standards() {
        let mut hashers = Hashers::default();
        hashers.update(b"a");
        hashers.update(b"bc");
        let sums = hashers.finish();
        assert_eq!(hex::encode(sums.md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex::encode(sums.sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(hex::encode(sums.sha256).starts_with("ba7816bf8f01cfea414140de5dae2223"));
        let sha512 = hex::encode(sums.sha512.as_flattened());
        assert!(sha512.starts_with("ddaf35a193617abacc417349ae204131"));
        assert!(sha512.ends_with("2a9ac94fa54ca49f"));
    }
}
