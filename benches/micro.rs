//! Parts of the daemon by themselves: `cargo bench --bench micro`.

use std::convert::Infallible;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use futures_util::stream;
use larder::access::{Access, Credentials, NewToken, NewUser};
use larder::artifact::settings::SettingsEdit;
use larder::artifact::{self, Artifacts, Coordinates, PublishRequest};
use larder::chunk::{Chunker, ChunkerParams, Digest};
use larder::owner::policy::{Policy, PolicyTable};
use larder::store::index::{Index, keys};
use larder::store::log::format::{Binding, SegmentPosition};
use larder::store::log::group::{GroupBuilder, GroupContext};
use larder::store::log::record::{Published, Record};
use larder::store::model::{
    Account, File, FileKind, Limit, Package, PackagePolicy, Shape, Version, Visibility,
};
use larder::store::{Options, Progress, Store};
use larder::telemetry::request::RequestContext;

/// Bytes that repeat nowhere in reach of a chunk.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// What every request pays for its id.
fn request_ids(c: &mut Criterion) {
    let mut group = c.benchmark_group("request id");
    group.bench_function("made", |b| {
        b.iter(|| RequestContext::new(black_box(None), black_box(None)))
    });
    group.bench_function("of the client", |b| {
        b.iter(|| {
            RequestContext::new(
                black_box(Some("0af7651916cd43dd8448eb211c80319c")),
                black_box(None),
            )
        });
    });
}

fn hashing(c: &mut Criterion) {
    let mut group = c.benchmark_group("blake3");
    for (name, len) in [("4KiB", 4 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20)] {
        let bytes = noise(1, len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |b| b.iter(|| Digest::of(black_box(&bytes))));
    }
}

fn chunking(c: &mut Criterion) {
    let body = noise(2, 16 << 20);
    let mut group = c.benchmark_group("chunker");
    group
        .throughput(Throughput::Bytes(body.len() as u64))
        .sample_size(20);
    for (name, len) in [("pieces of 16KiB", 16 << 10), ("pieces of 256KiB", 256 << 10)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut chunker = Chunker::new(ChunkerParams::default()).expect("defaults are sound");
                let mut cuts = 0;
                for mut piece in body.chunks(len) {
                    while let Some(cut) = chunker.next_cut(piece, false) {
                        cuts += 1;
                        piece = &piece[cut..];
                    }
                }
                cuts
            });
        });
    }
}

fn publication(number: u64, blob: Digest) -> Record {
    let version = Version {
        id: number,
        name: format!("1.0.{number}"),
        created: 0,
        creator: 1,
    };
    let file = File {
        id: number + 1,
        name: "artifact.tar.zst".into(),
        blob,
        size: 4096,
        shape: Shape::Single,
        created: 0,
        creator: 1,
        sha256: None,
    };
    let package = Package {
        id: 2,
        name: "package".into(),
        exact_case: false,
        created: 0,
    };
    Record::Publish(Published {
        owner: 1,
        package,
        version,
        file,
    })
}

fn records(c: &mut Criterion) {
    let bodies: Vec<(Digest, Bytes)> = (0..64)
        .map(|seed| noise(seed, 4096))
        .map(|body| (Digest::of(&body), Bytes::from(body)))
        .collect();
    let record = publication(7, bodies[0].0);
    c.bench_function("record encode", |b| b.iter(|| black_box(&record).encode()));
    let binding = Binding {
        store: [7; 16],
        kind: FileKind::Journal,
        file: 1,
    };
    let context = GroupContext {
        durable_group: 1,
        durable_segments: SegmentPosition::default(),
        next_id: 1,
        index_sum: 0,
    };
    let mut group = c.benchmark_group("group encode");
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 publications of 4KiB", |b| {
        let mut buffer = Vec::new();
        b.iter(|| {
            let mut group = GroupBuilder::new(binding, 4096, 2, std::mem::take(&mut buffer));
            for (number, (digest, body)) in bodies.iter().enumerate() {
                group.push_chunk(*digest, std::slice::from_ref(body));
                group.push(&publication(number as u64, *digest)).expect("encodes");
            }
            buffer = group.finish(context).into_buffer();
        });
    });
}

/// Values as long as a file's, under keys of chunks.
fn index(c: &mut Criterion) {
    let key = |number: u64| keys::chunk(&Digest::of(&number.to_le_bytes()));
    for entries in [10_000, 1_000_000] {
        let dir = tempfile::tempdir().expect("a directory");
        let index = Index::open(&dir.path().join("index"), 128 << 20).expect("an index");
        for number in 0..entries {
            index.set(&key(number), Some(&[7; 64])).expect("set");
        }
        let mut group = c.benchmark_group(format!("index of {entries}"));
        let mut number = 0;
        group.bench_function("look up", |b| {
            b.iter(|| {
                number = (number + 7919) % entries;
                index.get(&key(number)).expect("get").expect("is there")
            });
        });
        group.bench_function("replace", |b| {
            b.iter(|| {
                number = (number + 7919) % entries;
                index.set(&key(number), Some(&[8; 64])).expect("set");
            });
        });
    }
}

struct Quiet;

impl Progress for Quiet {
    fn replayed(&self, _done: u64, _total: u64) {}
}

fn open(dir: &Path) -> Store {
    Store::open(Options::at(dir.join("data")), &Quiet).expect("a store")
}

fn new_user() -> NewUser {
    NewUser {
        name: "bench".into(),
        password: Some("a long enough password".into()),
        email: String::new(),
        visibility: Visibility::Private,
        active: true,
        admin: false,
    }
}

fn limits() -> artifact::Options {
    let cache = [("*/*".to_owned(), Policy::Cache)];
    artifact::Options {
        limits: larder::owner::Limits::default(),
        max_uploads: 1024,
        access_memory: 4 << 20,
        retention: Arc::default(),
        max_uploads_per_owner: 256,
        upload_wait: Duration::from_secs(10),
        min_bytes_per_window: 1,
        stall_window: Duration::from_secs(60),
        policies: PolicyTable::new(&cache).expect("a pattern"),
    }
}

fn request(owner: &Account, number: u64) -> PublishRequest {
    PublishRequest {
        owner: owner.clone(),
        by: owner.id,
        by_admin: false,
        at: Coordinates {
            package: "package".into(),
            version: format!("{}", number % 256),
            file: format!("{number}.bin"),
        },
        condition: Default::default(),
        checksums: Default::default(),
        length: Some(4096),
    }
}

async fn publish(artifacts: &Artifacts, owner: &Account, number: u64) {
    let request = request(owner, number);
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from(noise(number, 4096)))]);
    let request = artifacts.precheck(request).expect("is allowed");
    artifacts.publish(request, body).await.expect("published");
}

/// What may be set for an owner, each beside what is before it.
fn settings() -> [(&'static str, SettingsEdit); 3] {
    let quota = SettingsEdit {
        max_bytes: Some(Some(Limit::AtMost(1 << 40))),
        ..SettingsEdit::default()
    };
    let glob = |number| PackagePolicy {
        packages: format!("release-{number}-*"),
        policy: Policy::Release,
    };
    let policies = SettingsEdit {
        policies: Some((0..64).map(glob).collect()),
        ..SettingsEdit::default()
    };
    [
        ("nothing set", SettingsEdit::default()),
        ("a quota set", quota),
        ("and 64 policies", policies),
    ]
}

fn cleared() -> SettingsEdit {
    SettingsEdit {
        max_bytes: Some(None),
        policies: Some(Vec::new()),
        ..SettingsEdit::default()
    }
}

/// Without HTTP: admission, hash, the owner's actor, group commit with its sync, and the index.
fn daemon(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let access = Access::new(store.clone());
    let system = actix_rt::System::new();
    let owner = system.block_on(access.create_user(new_user())).expect("a user");
    let new = NewToken {
        name: "bench".to_owned(),
        scopes: vec!["write:package".to_owned()],
        ..NewToken::default()
    };
    let token = access.create_token(&owner, &new);
    let (_, secret) = system.block_on(token).expect("a token");

    let header = format!("Bearer {}", secret.expose());
    c.bench_function("token check", |b| {
        b.iter(|| {
            let credentials = Credentials::parse(Some(header.as_bytes()), "", true);
            system
                .block_on(access.authenticate(&credentials, None))
                .expect("signs in")
        });
    });

    let artifacts = Artifacts::new(store.clone(), limits());
    let mut group = c.benchmark_group("precheck");
    for (name, edit) in settings() {
        let changed = system.block_on(artifacts.change_settings(&owner, &edit));
        changed.expect("is allowed");
        group.bench_function(name, |b| {
            b.iter_batched(
                || request(&owner, 1),
                |request| artifacts.precheck(request).expect("is allowed"),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    system
        .block_on(artifacts.change_settings(&owner, &cleared()))
        .expect("is allowed");
    let mut group = c.benchmark_group("publish 4KiB");
    let mut number = 0;
    for writers in [1, 8, 64] {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(format!("{writers} at a time"), |b| {
            b.iter_batched(
                || {
                    number += writers;
                    number - writers..number
                },
                |numbers| {
                    let publish = |number| publish(&artifacts, &owner, number);
                    system.block_on(join_all(numbers.map(publish)))
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    store.close();
}

criterion_group!(benches, hashing, chunking, records, request_ids, index, daemon);
criterion_main!(benches);
