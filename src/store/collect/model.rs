//! Every interleaving of uploads, the committer, readers and a pass that proptest can find, over the real pins,
//! barrier, stage, marks and index.
//!
//! Each of them works in steps that others can come between: an upload between finding a chunk and its publication,
//! the committer between checking a group and its being in the index, a reader between finding a name and opening it,
//! a pass between any two entries that it looks at. Whatever order the steps come in, what a name, a pin or a reader
//! leads to must be there after each of them.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::barrier::Barrier;
use super::mark::{Marked, Marks, fingerprint};
use crate::chunk::Digest;
use crate::store::blob::{Look, OpenBlobs, Registered};
use crate::store::change::{Change, Expected, Garbage, Publish, RemoveFile};
use crate::store::counts::Quota;
use crate::store::damage::Damage;
use crate::store::index::{Batch, Index, decode, keys};
use crate::store::log::files::{self, LogFiles};
use crate::store::log::format::Binding;
use crate::store::log::group::GroupBuilder;
use crate::store::model::{ChunkRef, File, FileKind, Package, Place, Shape, Version};
use crate::store::pins::{Acquired, Pins, Reservation};
use crate::store::stage::Stage;
use crate::store::upload::{BulkContent, Content, NewBlob, PinnedChunk};

/// The chunks of each blob. The first three are bulk chunks, the fourth is an inline one, the others have manifests.
const BLOBS: [&[u8]; 6] = [&[0], &[1], &[2], &[3], &[0, 1], &[1, 2, 0]];
const INLINE: usize = 3;
const NAMES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// An upload of a blob begins.
    Upload(usize),
    /// An upload looks for its next chunk, or has written it.
    Advance(usize),
    /// An upload is complete and gets a name.
    Publish(usize, usize),
    /// An upload breaks off.
    Abandon(usize),
    /// A name is removed.
    Remove(usize),
    /// The committer checks what waits.
    Stage,
    /// The committer's group is in the index.
    Apply,
    /// A reader finds a name.
    Look(usize),
    /// It opens what it has found.
    Open,
    /// A reader is done.
    Close(usize),
    /// The pass takes its next step.
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>;
    prop_oneof![
        2 => (0..BLOBS.len()).prop_map(Step::Upload),
        2 => Just(Step::Upload(INLINE)),
        6 => any().prop_map(Step::Advance),
        4 => (any(), 0..NAMES).prop_map(|(upload, name)| Step::Publish(upload, name)),
        1 => any().prop_map(Step::Abandon),
        3 => (0..NAMES).prop_map(Step::Remove),
        2 => Just(Step::Stage),
        4 => Just(Step::Apply),
        2 => (0..NAMES).prop_map(Step::Look),
        2 => Just(Step::Open),
        1 => any().prop_map(Step::Close),
        14 => Just(Step::Collect),
    ]
}

fn chunk(number: u8) -> ChunkRef {
    ChunkRef {
        digest: Digest::of(&[number]),
        len: 1,
    }
}

fn chunks(blob: usize) -> Vec<ChunkRef> {
    BLOBS[blob].iter().map(|number| chunk(*number)).collect()
}

fn blob_digest(blob: usize) -> Digest {
    match BLOBS[blob] {
        [single] => chunk(*single).digest,
        several => Digest::of(several),
    }
}

/// The blob of a file.
fn blob_of(file: &File) -> usize {
    (0..BLOBS.len())
        .find(|blob| blob_digest(*blob) == file.blob)
        .unwrap()
}

struct Upload {
    blob: usize,
    got: Vec<PinnedChunk>,
    writing: Option<Reservation>,
}

enum Pass {
    Idle,
    Raised,
    Marking {
        marks: Marks,
        after: Option<Vec<u8>>,
    },
    Sweeping {
        marked: Marked,
        after: Vec<u8>,
    },
    /// These chunks are not marked and not behind the barrier.
    Reserving {
        marked: Marked,
        after: Vec<u8>,
        found: Vec<Digest>,
    },
}

struct World<'a> {
    index: &'a Index,
    /// The two files that all places are in.
    files: &'a LogFiles,
    pins: Arc<Pins>,
    barrier: Barrier,
    open: &'a Arc<OpenBlobs>,
    package: Package,
    version: Version,
    uploads: Vec<Upload>,
    queue: Vec<Change>,
    /// A group that has been checked and is not in the index yet, and the changes that hold its pins.
    group: Option<(Batch<'a>, Vec<Change>)>,
    looking: Option<(Look<'a>, usize)>,
    readers: Vec<(Registered, usize)>,
    pass: Pass,
    dropping: bool,
    next: u64,
}

impl<'a> World<'a> {
    fn new(index: &'a Index, files: &'a LogFiles, open: &'a Arc<OpenBlobs>) -> Self {
        World {
            index,
            files,
            pins: Arc::default(),
            barrier: Barrier::default(),
            open,
            package: Package {
                id: 1,
                name: "p".into(),
                exact_case: true,
                created: 0,
            },
            version: Version {
                id: 2,
                name: "1".into(),
                created: 0,
                creator: 1,
            },
            uploads: Vec::new(),
            queue: Vec::new(),
            group: None,
            looking: None,
            readers: Vec::new(),
            pass: Pass::Idle,
            dropping: false,
            next: 3,
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn place(&self, digest: &Digest) -> Option<Place> {
        self.index.get_as(&keys::chunk(digest)).unwrap()
    }

    fn file(&self, name: usize) -> Option<File> {
        let key = keys::file(&self.package, self.version.id, &name.to_string());
        self.index.get_as(&key).unwrap()
    }

    fn take(&mut self, step: Step) {
        let pick = |which: usize, len: usize| (len > 0).then(|| which % len);
        match step {
            Step::Upload(blob) => self.uploads.push(Upload {
                blob,
                got: Vec::new(),
                writing: None,
            }),
            Step::Advance(which) => {
                if let Some(which) = pick(which, self.uploads.len()) {
                    self.advance(which);
                }
            }
            Step::Publish(which, name) => {
                if let Some(which) = pick(which, self.uploads.len()) {
                    self.publish(which, name);
                }
            }
            Step::Abandon(which) => {
                if let Some(which) = pick(which, self.uploads.len()) {
                    drop(self.uploads.swap_remove(which));
                }
            }
            Step::Remove(name) => self.remove(name),
            Step::Stage => self.stage(),
            Step::Apply => self.apply(),
            Step::Look(name) => {
                if self.looking.is_none() {
                    let look = self.open.look();
                    self.looking = self.file(name).map(|file| (look, blob_of(&file)));
                }
            }
            Step::Open => {
                if let Some((_look, blob)) = self.looking.take() {
                    let registered = self
                        .open
                        .register(Digest::of(&blob.to_le_bytes()), chunks(blob).into());
                    self.readers.push((registered, blob));
                }
            }
            Step::Close(which) => {
                if let Some(which) = pick(which, self.readers.len()) {
                    drop(self.readers.swap_remove(which));
                }
            }
            Step::Collect => self.collect(),
        }
    }

    fn advance(&mut self, which: usize) {
        let place = Place {
            kind: FileKind::Segment,
            file: 1,
            offset: self.next(),
            stored_len: 1,
        };
        let upload = &mut self.uploads[which];
        let chunks = chunks(upload.blob);
        let Some(&chunk) = chunks.get(upload.got.len()) else {
            return;
        };
        if upload.blob == INLINE {
            return;
        }
        if let Some(reservation) = upload.writing.take() {
            let pin = reservation.placed(place);
            upload.got.push(PinnedChunk { chunk, place, pin });
            return;
        }
        let lookup = |digest: &Digest| self.index.get_as(&keys::chunk(digest));
        match self.pins.acquire(chunk.digest, lookup, |_| true).unwrap() {
            Acquired::Hit(pin, place) => upload.got.push(PinnedChunk { chunk, place, pin }),
            Acquired::Write(reservation) => upload.writing = Some(reservation),
            Acquired::Wait(_) => {}
        }
    }

    fn publish(&mut self, which: usize, name: usize) {
        let blob = self.uploads[which].blob;
        if blob != INLINE && self.uploads[which].got.len() < BLOBS[blob].len() {
            return;
        }
        let upload = self.uploads.swap_remove(which);
        let whole = BLOBS[blob].len() == 1;
        let content = match blob {
            INLINE => Content::Inline(vec![Bytes::from_static(&[INLINE as u8])]),
            _ => Content::Bulk(BulkContent {
                whole,
                chunks: upload.got,
            }),
        };
        let file = File {
            id: self.next(),
            name: name.to_string(),
            blob: blob_digest(blob),
            size: 1,
            shape: if whole { Shape::Single } else { Shape::Chunked },
            created: 0,
            creator: 1,
            sha256: None,
        };
        let known = |key: &[u8]| self.index.get(key).unwrap().is_some();
        let package = match known(&keys::package(1, "p")) {
            true => Expected::Present(self.package.clone()),
            false => Expected::Absent(self.package.clone()),
        };
        let version = match known(&keys::version(&self.package, "1")) {
            true => Expected::Present(self.version.clone()),
            false => Expected::Absent(self.version.clone()),
        };
        self.queue.push(Change::Publish(Publish {
            owner: 1,
            package,
            version,
            replaces: self.file(name).map(|file| file.id),
            quota: Quota::default(),
            blob: Arc::new(NewBlob {
                digest: file.blob,
                size: 1,
                content,
            }),
            file,
        }));
    }

    fn remove(&mut self, name: usize) {
        if let Some(file) = self.file(name) {
            self.queue.push(Change::RemoveFile(RemoveFile {
                owner: 1,
                package: self.package.clone(),
                version: self.version.clone(),
                file,
                spare_pinned: false,
            }));
        }
    }

    fn stage(&mut self) {
        if self.group.is_some() || self.queue.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.queue);
        let binding = Binding {
            store: [1; 16],
            kind: FileKind::Journal,
            file: 1,
        };
        let mut batch = Batch::new(self.index, 0);
        let mut group = GroupBuilder::new(binding, self.next() << 20, 1, Vec::new());
        let mut stage = Stage {
            batch: &mut batch,
            group: &mut group,
            damage: &Damage::default(),
            files: self.files,
            barrier: &self.barrier,
            counts: Default::default(),
            removed: &mut Default::default(),
            siblings: &mut Default::default(),
            removed_bytes: 0,
        };
        for change in &changes {
            stage.change(change).unwrap();
        }
        self.group = Some((batch, changes));
    }

    fn apply(&mut self) {
        if let Some((batch, changes)) = self.group.take() {
            batch.write().unwrap();
            if changes.iter().any(|change| matches!(change, Change::Drop(_))) {
                self.dropping = false;
            }
        }
    }

    fn collect(&mut self) {
        self.pass = match std::mem::replace(&mut self.pass, Pass::Idle) {
            Pass::Idle => {
                self.barrier.raise();
                Pass::Raised
            }
            // The fence.
            Pass::Raised if self.group.is_some() => Pass::Raised,
            Pass::Raised => Pass::Marking {
                marks: Marks::from(0, 64),
                after: None,
            },
            Pass::Marking { marks, after } => self.mark(marks, after),
            Pass::Sweeping { marked, after } if self.dropping => Pass::Sweeping { marked, after },
            Pass::Sweeping { marked, after } => self.sweep(marked, after),
            Pass::Reserving { marked, after, found } => {
                self.reserve(found);
                Pass::Sweeping { marked, after }
            }
        };
    }

    fn mark(&self, mut marks: Marks, after: Option<Vec<u8>>) -> Pass {
        let entries = self.index.scan(&keys::all_files(), after.as_deref(), 1).unwrap();
        if let [(key, value)] = &entries[..] {
            let file: File = decode(value).unwrap();
            marks.mark(&file.blob);
            let listed = chunks(blob_of(&file));
            listed.iter().for_each(|chunk| marks.mark(&chunk.digest));
            let after = Some(key.to_vec());
            return Pass::Marking { marks, after };
        }
        if self.looking.is_some() {
            // It would wait for the look.
            return Pass::Marking { marks, after };
        }
        self.open.wait_for_looks();
        self.open
            .for_each(|chunks| chunks.iter().for_each(|chunk| marks.mark(&chunk.digest)));
        Pass::Sweeping {
            marked: marks.finish(),
            after: vec![b'b'],
        }
    }

    fn sweep(&mut self, marked: Marked, after: Vec<u8>) -> Pass {
        let kind = after[0];
        let entries = self.index.scan(&[kind], Some(&after), 2).unwrap();
        let Some((last, _)) = entries.last() else {
            if kind == b'b' {
                return Pass::Sweeping {
                    marked,
                    after: vec![b'c'],
                };
            }
            self.barrier.lower();
            return Pass::Idle;
        };
        let digests = entries.iter().filter_map(|(key, _)| keys::digest(key));
        let found: Vec<Digest> = digests
            .filter(|digest| !marked.has(digest) && !self.barrier.holds(digest))
            .collect();
        let after = last.to_vec();
        if kind == b'c' {
            return Pass::Reserving { marked, after, found };
        }
        self.drop_garbage(Garbage {
            manifests: found,
            ..Garbage::default()
        });
        Pass::Sweeping { marked, after }
    }

    fn reserve(&mut self, found: Vec<Digest>) {
        let mut garbage = Garbage::default();
        for digest in found {
            if let Some(reservation) = self.pins.reserve_drop(digest) {
                garbage.reservations.push(reservation);
                garbage.chunks.push((digest, 1));
            }
        }
        self.drop_garbage(garbage);
    }

    fn drop_garbage(&mut self, garbage: Garbage) {
        if garbage.chunks.len() + garbage.manifests.len() > 0 {
            self.dropping = true;
            self.queue.push(Change::Drop(garbage));
        }
    }

    /// What must be there is there.
    fn check(&self) {
        for (_, value) in self.index.scan(&keys::all_files(), None, usize::MAX).unwrap() {
            let file: File = decode(&value).unwrap();
            self.check_blob(blob_of(&file), "a file");
            if file.shape == Shape::Chunked {
                let manifest = self.index.get(&keys::manifest(&file.blob)).unwrap();
                assert!(manifest.is_some(), "the manifest of a file is gone");
            }
        }
        for (_, blob) in &self.readers {
            self.check_blob(*blob, "a reader");
        }
        let waiting = self.group.iter().flat_map(|(_, changes)| changes);
        let blobs = waiting.chain(&self.queue).filter_map(|change| match change {
            Change::Publish(publish) => Some(&publish.blob),
            _ => None,
        });
        let bulk = blobs.filter_map(|blob| match &blob.content {
            Content::Bulk(bulk) => Some(bulk.chunks.as_slice()),
            Content::Inline(_) => None,
        });
        for pinned in bulk
            .chain(self.uploads.iter().map(|upload| upload.got.as_slice()))
            .flatten()
        {
            // Still where it was found; or the first group that refers to it brings it.
            let place = self.place(&pinned.chunk.digest);
            assert!(
                place.is_none_or(|place| place == pinned.place),
                "a pinned chunk has moved"
            );
            assert!(self.pins.is_pinned(&pinned.chunk.digest));
        }
    }

    fn check_blob(&self, blob: usize, who: &str) {
        for chunk in chunks(blob) {
            assert!(self.place(&chunk.digest).is_some(), "a chunk of {who} is gone");
        }
    }

    /// Everybody goes home; two passes later nothing is left that nothing leads to.
    fn finish(mut self) {
        (self.looking, self.readers, self.uploads) = (None, Vec::new(), Vec::new());
        let mut ended = 0;
        while ended < 3 {
            self.stage();
            self.apply();
            self.collect();
            self.check();
            ended += usize::from(matches!(self.pass, Pass::Idle));
        }
        assert!(self.pins.is_empty());
        let mut live: Vec<u64> = Vec::new();
        for (_, value) in self.index.scan(&keys::all_files(), None, usize::MAX).unwrap() {
            let file: File = decode(&value).unwrap();
            live.push(fingerprint(&file.blob));
            live.extend(
                chunks(blob_of(&file))
                    .iter()
                    .map(|chunk| fingerprint(&chunk.digest)),
            );
        }
        for kind in [b'c', b'b'] {
            for (key, _) in self.index.scan(&[kind], None, usize::MAX).unwrap() {
                let digest = keys::digest(&key).unwrap();
                assert!(live.contains(&fingerprint(&digest)), "garbage has stayed");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn nothing_that_is_needed_is_dropped(steps in prop::collection::vec(step(), 1..250)) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        for kind in [FileKind::Journal, FileKind::Segment] {
            std::fs::create_dir(files::directory(dir.path(), kind)).unwrap();
            std::fs::write(files::path(dir.path(), kind, 1), b"").unwrap();
        }
        let files = LogFiles::new(dir.path(), [1; 16], 2);
        let open = Arc::new(OpenBlobs::default());
        let mut world = World::new(&index, &files, &open);
        for step in steps {
            world.take(step);
            world.check();
        }
        world.finish();
    }
}

/// `LARDER_TEST_MODEL_CASES`, else 150.
fn cases() -> u32 {
    let cases = std::env::var("LARDER_TEST_MODEL_CASES").ok();
    cases.map_or(150, |text| text.parse().unwrap())
}
