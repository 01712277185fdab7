//! Files that were located recently, by the names that led to them: one look-up in place of four.
//!
//! As exact as the rows that they were put together from: what is found here is believed only while none of those has
//! changed, see [`Changes`].

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::FixedState;

use super::changes::{Changes, Seen};
use super::generations::{Entry, Generations};
use super::locate::Located;
use crate::store::model::Id;

/// Parts with a lock each.
const SHARDS: usize = 16;
/// What a file takes beside its names, in bytes: allocations and its place in the table.
const OVERHEAD: usize = size_of::<Kept>() + size_of::<Located>() + 64;

/// Files that were located recently.
#[derive(Debug)]
pub struct Recent {
    shards: Vec<Mutex<Generations<Kept>>>,
    /// Bytes of one generation of one shard.
    generation: usize,
    hasher: FixedState,
}

/// The names of an owner's package, version and file as a client spells them, and their hash.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    owner: Id,
    at: [&'a str; 3],
    hash: u64,
}

#[derive(Debug)]
struct Kept {
    hash: u64,
    owner: Id,
    /// With a zero byte between them, which none of them has.
    names: Box<str>,
    seen: Seen,
    located: Arc<Located>,
}

impl Kept {
    fn is(&self, names: &Names<'_>) -> bool {
        self.hash == names.hash && self.owner == names.owner && names.are(&self.names)
    }
}

impl Entry for Kept {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.names.len() + self.located.file.name.len()
    }
}

impl Names<'_> {
    fn are(&self, joined: &str) -> bool {
        let [package, version, file] = self.at;
        behind(joined, package).and_then(|rest| behind(rest, version)) == Some(file)
    }
}

/// What stands behind a name and a zero byte.
fn behind<'a>(joined: &'a str, name: &str) -> Option<&'a str> {
    joined.strip_prefix(name)?.strip_prefix('\0')
}

impl Recent {
    /// At most `capacity` bytes of files, whose names are hashed by this.
    pub fn new(capacity: u64, hasher: FixedState) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Recent {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            generation: capacity / SHARDS / 2,
            hasher,
        }
    }

    /// Names with their hash.
    pub fn names<'a>(&self, owner: Id, at: [&'a str; 3]) -> Names<'a> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(owner);
        at.iter().for_each(|name| hasher.write(name.as_bytes()));
        let hash = hasher.finish();
        Names { owner, at, hash }
    }

    /// The file that these names led to, if the rows on the way are what they were.
    pub fn get(&self, names: &Names<'_>, changes: &Changes) -> Option<Arc<Located>> {
        let found = |kept: &mut Kept| changes.is_unchanged(&kept.seen).then(|| kept.located.clone());
        let mut shard = self.shard(names);
        let (known, dropped) = shard.with(names.hash, |kept| kept.is(names), self.generation, found);
        // Not under the lock: there may be thousands of files in it.
        drop(shard);
        drop(dropped);
        known.flatten()
    }

    /// Keeps what these names led to, by rows of which `seen` was taken before they were looked at.
    pub fn keep(&self, names: &Names<'_>, seen: Seen, located: Arc<Located>) {
        let kept = Kept {
            hash: names.hash,
            owner: names.owner,
            names: names.at.join("\0").into(),
            seen,
            located,
        };
        let mut shard = self.shard(names);
        // What has changed, or what another look-up has kept meanwhile.
        let replaced = shard.remove(names.hash, |kept| kept.is(names));
        let dropped = shard.insert(kept, self.generation);
        drop(shard);
        drop((replaced, dropped));
    }

    /// By other bits than those by which the tables choose.
    fn shard(&self, names: &Names<'_>) -> MutexGuard<'_, Generations<Kept>> {
        let shard = (names.hash >> 32) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
