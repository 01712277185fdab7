//! Opening a store: lock, identity, index, recovery, threads; and the rebuild by hand.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::blob::Readers;
use super::bulk::{Bulk, ChunkPlaces};
use super::collect::barrier::Barrier;
use super::committer::Committer;
use super::damage::SoundPlaces;
use super::error::StoreError;
use super::identity::{self, Identity};
use super::index::Index;
use super::log::disk::is_no_space;
use super::log::files::LogFiles;
use super::log::journal::{self, Journal};
use super::log::segment::{SegmentOptions, SegmentWriter};
use super::log::segment_recovery::{Damage, recover_segments};
use super::position::Applied;
use super::proof::Proof;
use super::quarantine::Quarantine;
use super::recovery::{self, Recovered, Report};
use super::room::{Counted, Room};
use super::shared::Shared;
use super::siblings::Siblings;
use super::sweeps::{self, Removed};
use super::threads::Threads;
use super::{Inner, OpenError, Options, Progress, Store, ballast, flow, metrics, trust};

/// Log files that are kept open for reading.
const OPEN_FILES: usize = 512;
/// Chunks that are remembered as verified, so that a range of one need not read all of it again.
const VERIFIED_CHUNKS: usize = 65_536;

/// What a rebuild of the index found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildReport {
    /// Groups of the journal that were read.
    pub groups: u64,
    /// Records of the journal that were applied.
    pub records: u64,
    /// Damaged stretches of the journal.
    pub damaged: u64,
}

/// An index that is up to the log.
struct Prepared {
    identity: Identity,
    lock: std::fs::File,
    index: Index,
    recovered: Recovered,
    /// The index was found on disk and believed.
    believed: bool,
    sweeps: VecDeque<Removed>,
    took: Took,
}

/// How long the steps of an opening took.
#[derive(Clone, Copy)]
struct Took {
    /// sled's own open, of the index that was used at the end.
    index: Duration,
    /// The replay of the journal.
    journal: Duration,
}

/// Opens a store, see [`Store::open`].
pub fn open(options: Options, progress: &dyn Progress) -> Result<Store, OpenError> {
    metrics::init();
    flow::start(options.commit_queue, options.segment_queue);
    let data = options.data.clone();
    let opened = prepare(&options, progress, false).and_then(|prepared| Ok(start(options, prepared)?));
    opened.map_err(|error| disk_full(data, error))
}

/// Says what to do where the disk is full.
fn disk_full(data: PathBuf, error: OpenError) -> OpenError {
    match error {
        OpenError::Failed(StoreError::NoSpace) => OpenError::DiskFull(data),
        OpenError::Failed(StoreError::Io(error)) if is_no_space(&error) => OpenError::DiskFull(data),
        error => error,
    }
}

/// Throws the index away and makes it again from the log. The store must not be in use.
pub fn rebuild_index(options: Options, progress: &dyn Progress) -> Result<RebuildReport, OpenError> {
    let Prepared {
        index,
        recovered,
        lock: _lock,
        ..
    } = prepare(&options, progress, true).map_err(|error| disk_full(options.data.clone(), error))?;
    trust::mark_clean(&index)?;
    let Report {
        groups,
        records,
        damaged,
        ..
    } = recovered.report;
    Ok(RebuildReport {
        groups,
        records,
        damaged,
    })
}

fn prepare(options: &Options, progress: &dyn Progress, rebuild: bool) -> Result<Prepared, OpenError> {
    let data = &options.data;
    identity::create_dirs(data).map_err(StoreError::from)?;
    let lock = identity::lock(data)?;
    ballast::make_way(data).map_err(StoreError::from)?;
    let identity = Identity::load_or_create(data, options.chunking)?;
    if rebuild {
        trust::move_aside(data)?;
    }
    let open_index = || timed(|| trust::open(data, identity.uuid, options.index_cache));
    let (opened, mut index_took) = open_index();
    let (mut index, start) = opened?;
    let recover = |start, index: &Index| {
        recovery::recover(&*options.disk, data, identity.uuid, index, start, progress)
            .and_then(|recovered| Ok((recovered, sweeps::pending(index)?)))
            .map_err(|error| match error {
                StoreError::Foreign(what) => OpenError::Format(what),
                error => OpenError::Failed(error),
            })
    };
    let (mut recovered, mut journal_took) = timed(|| recover(start, &index));
    let wrong = match &recovered {
        Ok((recovered, _)) if recovered.report.differs => "it is not what the log says".to_owned(),
        Err(OpenError::Failed(StoreError::Index(why))) => why.clone(),
        _ => String::new(),
    };
    let mut believed = start.applied != Applied::START;
    if !wrong.is_empty() && start.applied != Applied::START {
        tracing::error!(why = wrong, "the index is rebuilt from the log");
        drop(index);
        trust::move_aside(data)?;
        let (opened, took) = open_index();
        let (fresh, start) = opened?;
        (index, index_took) = (fresh, took);
        (recovered, journal_took) = timed(|| recover(start, &index));
        believed = false;
    }
    let (recovered, sweeps) = recovered?;
    if recovered.report.differs {
        tracing::error!("replaying the log does not give the index that was committed; please report this");
    }
    trust::remove_aside(data)?;
    Ok(Prepared {
        identity,
        lock,
        index,
        recovered,
        believed,
        sweeps,
        took: Took {
            index: index_took,
            journal: journal_took,
        },
    })
}

/// Does `step`; with how long it took.
fn timed<T>(step: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (step(), begun.elapsed())
}

fn start(options: Options, prepared: Prepared) -> Result<Store, StoreError> {
    let Prepared {
        identity,
        lock,
        index,
        recovered,
        believed,
        sweeps,
        took,
    } = prepared;
    let Recovered {
        applied,
        next_file,
        report,
    } = recovered;
    let index = Arc::new(index);
    let shared = Arc::new(Shared::new(applied.next_id, index.clone()));
    let proof = believed.then(|| Proof::new(shared.clone()));
    if proof.is_none() {
        shared.proven();
    }
    let readers = Arc::new(open_readers(&options, &identity, &index));
    let sound = SoundPlaces {
        index: index.clone(),
        damage: readers.damage().clone(),
        files: readers.files().clone(),
    };
    let (bulk, segments_took) = timed(|| open_bulk(&options, &identity, Arc::new(sound), applied));
    let bulk = Arc::new(bulk?);
    let journal = Journal::create(
        options.disk.clone(),
        &options.data,
        identity.uuid,
        next_file,
        journal::MIN_FILE,
    )?;
    let room = bulk.room.clone();
    room.keep(&index);
    let barrier = Arc::new(Barrier::default());
    let (commits, threads) = Threads::start(options.commit_queue, index.clone(), room, |seal| Committer {
        index: index.clone(),
        shared: shared.clone(),
        journal,
        applied,
        bulk: bulk.clone(),
        damage: readers.damage().clone(),
        files: readers.files().clone(),
        barrier: barrier.clone(),
        seal,
        sweeps,
        swept: Instant::now(),
        removed: HashSet::new(),
        siblings: Siblings::default(),
        sweep_failed: false,
        proof,
        index_cache: options.index_cache,
        buffer: Vec::new(),
    })?;
    let quarantine = Quarantine::start(index.clone(), readers.files().clone(), commits.clone())?;
    readers.damage().load(&index)?;
    readers.damage().tell(quarantine.reports());
    tracing::info!(
        index_ms = took.index.as_millis() as u64,
        journal_ms = took.journal.as_millis() as u64,
        segments_ms = segments_took.as_millis() as u64,
        groups = report.groups,
        "the store is open: sled's own open, the journal's tail, the segments' ends"
    );
    let inner = Inner {
        identity,
        data: options.data,
        disk: options.disk,
        shared,
        index,
        bulk,
        readers,
        barrier,
        collecting: Mutex::new(()),
        commits,
        threads: Mutex::new(Some(threads)),
        quarantine: Mutex::new(Some(quarantine)),
        holds: Arc::default(),
        _lock: lock,
    };
    Ok(Store {
        inner: Arc::new(inner),
    })
}

fn open_bulk(
    options: &Options,
    identity: &Identity,
    places: Arc<dyn ChunkPlaces>,
    applied: Applied,
) -> Result<Bulk, StoreError> {
    let segments = recover_segments(
        &*options.disk,
        &options.data,
        identity.uuid,
        applied.durable_segments,
    )?;
    for Damage { file, offset, len } in &segments.damage {
        tracing::error!(file, offset, len, "a stretch of a segment is damaged");
        metrics::damaged_stretch();
    }
    let room = Arc::new(Room::new(&options.data, options.limits)?);
    let full_size = room
        .share_of_a_file()
        .clamp(SegmentOptions::FIRST_SIZE, SegmentOptions::FULL_SIZE);
    let segment_options = SegmentOptions {
        data: options.data.clone(),
        store: identity.uuid,
        next_file: segments.next_file,
        first_size: SegmentOptions::size_after(segments.last_len).min(full_size),
        full_size,
        queue_bytes: options.segment_queue,
    };
    let disk = Arc::new(Counted::new(options.disk.clone(), room.clone()));
    let writer = SegmentWriter::start(segment_options, disk)?;
    Bulk::new(writer, places, room, identity.chunking, options.inline_limit)
        .map_err(|error| StoreError::Io(io::Error::other(error)))
}

fn open_readers(options: &Options, identity: &Identity, index: &Arc<Index>) -> Readers {
    let files = Arc::new(LogFiles::new(&options.data, identity.uuid, OPEN_FILES));
    Readers::new(files, index.clone(), options.read_buffers, VERIFIED_CHUNKS)
}
