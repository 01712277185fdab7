//! Which runs there are: one row of sled's own tree, so that they change in one step.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use serde::{Deserialize, Serialize};

use super::run::{RunInfo, failed};
use crate::store::error::StoreError;

/// The key of the row.
const KEY: &[u8] = b"levels";
/// Of the layout of runs and blocks.
const VERSION: u32 = 1;
/// Lengths of keys that are hashed to see whether hashes are still made as they were when the filters were written: a
/// hash function treats lengths differently.
const PROBES: [usize; 8] = [5, 9, 17, 33, 70, 100, 200, 300];

/// The runs, and what their filters were made with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    seed: u64,
    probe: u64,
    /// The number of the last run.
    last: u64,
    /// The newest first.
    pub runs: Vec<RunInfo>,
}

impl Manifest {
    /// Reads it, or begins one in an empty database.
    ///
    /// # Errors
    /// `Index` where there is none but rows, or it is of another version.
    pub fn open(db: &sled::Db) -> Result<Self, StoreError> {
        let Some(bytes) = db.get(KEY).map_err(failed)? else {
            return Self::begin(db);
        };
        let version = postcard::take_from_bytes::<u32>(&bytes);
        if version.is_ok_and(|(version, _)| version != VERSION) {
            return Err(other_version());
        }
        let manifest: Manifest = postcard::from_bytes(&bytes)
            .map_err(|error| StoreError::Index(format!("its list of runs does not decode: {error}")))?;
        match manifest.probe == manifest.probed() {
            true => Ok(manifest),
            false => Err(other_version()),
        }
    }

    fn begin(db: &sled::Db) -> Result<Self, StoreError> {
        if !db.is_empty() || db.tree_names().len() > 1 {
            return Err(other_version());
        }
        let mut manifest = Manifest {
            version: VERSION,
            seed: foldhash::quality::RandomState::default().hash_one(KEY),
            probe: 0,
            last: 0,
            runs: Vec::new(),
        };
        manifest.probe = manifest.probed();
        manifest.write(db)?;
        Ok(manifest)
    }

    fn probed(&self) -> u64 {
        let hasher = self.hasher();
        let hashes = PROBES.map(|len| hasher.hash_one([b'k'].repeat(len).as_slice()));
        hashes
            .into_iter()
            .fold(0, |probe, hash| probe.rotate_left(7) ^ hash)
    }

    /// Numbers up to this have been used.
    pub fn skip_number(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// What turns a key into the hash that filters take.
    pub fn hasher(&self) -> FixedState {
        FixedState::with_seed(self.seed)
    }

    /// The number of a new run, never used before.
    pub fn take_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Writes it.
    ///
    /// # Errors
    /// `Index` where sled fails.
    pub fn write(&self, db: &sled::Db) -> Result<(), StoreError> {
        let bytes = postcard::to_stdvec(self)
            .map_err(|error| StoreError::Index(format!("its list of runs does not encode: {error}")))?;
        db.insert(KEY, bytes).map_err(failed).map(drop)
    }
}

fn other_version() -> StoreError {
    StoreError::Index("it was made by another version".into())
}
