//! What deduplication saves on real series of artifacts: `cargo bench --bench dedupe -- DIR...`.
//!
//! Each directory is a series: its entries, in the order of their names, are the versions of one artifact as they
//! would be uploaded one after the other. A file is taken as it is; a directory is packed like a plain tar. For each
//! way of storing them the table says how many bytes are kept for all that were uploaded, how many index entries the
//! chunks need, and the CPU time.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Parser;
use fastcdc::v2020::{FastCDC, Normalization};
use larder::chunk::{ChunkerParams, Digest};
use rustix::time::{ClockId, clock_gettime};

/// Compare ways of storing series of artifacts.
#[derive(Parser)]
#[command(name = "dedupe", bin_name = "cargo bench --bench dedupe --")]
struct Options {
    /// Directories, each with the versions of one artifact
    #[arg(value_name = "DIR")]
    series: Vec<PathBuf>,
    /// Chunk sizes in KiB to try
    #[arg(long, num_args = 1.., value_name = "MIN/AVG/MAX", default_values = [
        "16/64/256", "64/256/1024", "128/512/2048", "256/512/2048", "256/1024/4096", "512/2048/8192",
    ])]
    sizes: Vec<Sizes>,
    /// The level of zstd
    #[arg(long, default_value = "1")]
    level: i32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy)]
struct Sizes(ChunkerParams);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u32> = text.split('/').filter_map(|number| number.parse().ok()).collect();
        let [min, avg, max] = numbers[..] else {
            return Err(format!("{text}: expected MIN/AVG/MAX in KiB"));
        };
        let bytes = |kib: u32| kib.checked_mul(1024).ok_or("too large");
        let params = ChunkerParams {
            min_size: bytes(min)?,
            avg_size: bytes(avg)?,
            max_size: bytes(max)?,
        };
        params.check().map_err(|error| error.to_string())?;
        Ok(Sizes(params))
    }
}

/// A way of storing artifacts.
#[derive(Clone, Copy)]
enum Way {
    WholeFiles,
    Chunks(ChunkerParams),
}

/// What a way of storing a series came to.
#[derive(Default)]
struct Outcome {
    uploaded: u64,
    stored: u64,
    /// Stored bytes if each piece is compressed as well.
    compressed: u64,
    /// Distinct pieces: each is an entry of the index.
    entries: u64,
    /// Pieces in all manifests.
    references: u64,
    /// CPU seconds for cutting and hashing.
    cutting: f64,
    /// CPU seconds for compressing the distinct pieces.
    compressing: f64,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if options.series.is_empty() {
        println!("no series given: name directories, each with the versions of one artifact");
    }
    for dir in &options.series {
        report(dir, &options)?;
    }
    Ok(())
}

fn report(dir: &Path, options: &Options) -> io::Result<()> {
    let versions = entries(dir)?;
    println!("\n{}: {} versions", dir.display(), versions.len());
    println!(
        "| stored as (KiB)      |  stored | + zstd  | entries | references | cut, hash s/GiB | zstd s/GiB |"
    );
    println!(
        "| -------------------- | ------- | ------- | ------- | ---------- | --------------- | ---------- |"
    );
    let ways = options.sizes.iter().map(|sizes| Way::Chunks(sizes.0));
    for way in std::iter::once(Way::WholeFiles).chain(ways) {
        let outcome = store(&versions, way, options.level)?;
        let uploaded = outcome.uploaded.max(1) as f64;
        let gib = uploaded / (1 << 30) as f64;
        println!(
            "| {:<20} | {:>5.1} % | {:>5.1} % | {:>7} | {:>10} | {:>15.2} | {:>10.2} |",
            way.to_string(),
            outcome.stored as f64 * 100.0 / uploaded,
            outcome.compressed as f64 * 100.0 / uploaded,
            outcome.entries,
            outcome.references,
            outcome.cutting / gib,
            outcome.compressing / gib,
        );
    }
    Ok(())
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Way::WholeFiles => "whole files".to_owned(),
            Way::Chunks(ChunkerParams {
                min_size,
                avg_size,
                max_size,
            }) => {
                format!("FastCDC {}/{}/{}", min_size >> 10, avg_size >> 10, max_size >> 10)
            }
        };
        f.pad(&text)
    }
}

/// Stores all versions one after the other, in memory only as far as their hashes.
fn store(versions: &[PathBuf], way: Way, level: i32) -> io::Result<Outcome> {
    let mut known = HashSet::new();
    let mut outcome = Outcome::default();
    for version in versions {
        let body = read(version)?;
        outcome.uploaded += body.len() as u64;
        let begun = cpu_seconds();
        let pieces: Vec<(&[u8], Digest)> = cut(&body, way)
            .into_iter()
            .map(|piece| (piece, Digest::of(piece)))
            .collect();
        // The whole body is hashed as well: it is the blob's name.
        std::hint::black_box(Digest::of(&body));
        outcome.cutting += cpu_seconds() - begun;
        outcome.references += pieces.len() as u64;
        for (piece, digest) in pieces {
            if !known.insert(digest) {
                continue;
            }
            outcome.entries += 1;
            outcome.stored += piece.len() as u64;
            let begun = cpu_seconds();
            let compressed = zstd::bulk::compress(piece, level)?.len();
            outcome.compressing += cpu_seconds() - begun;
            // What does not shrink is kept as it is.
            outcome.compressed += compressed.min(piece.len()) as u64;
        }
    }
    Ok(outcome)
}

/// The pieces of a body; one that fits into a chunk is not cut, as in the store.
fn cut(body: &[u8], way: Way) -> Vec<&[u8]> {
    match way {
        Way::Chunks(params) if body.len() > params.max_size as usize => {
            let [min, avg, max] =
                [params.min_size, params.avg_size, params.max_size].map(|size| size as usize);
            FastCDC::with_level(body, min, avg, max, Normalization::Level2)
                .map(|chunk| &body[chunk.offset..chunk.offset + chunk.length])
                .collect()
        }
        _ => vec![body],
    }
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<PathBuf>> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect();
    let mut entries = entries?;
    entries.sort();
    Ok(entries)
}

/// A version as it would be uploaded.
fn read(version: &Path) -> io::Result<Vec<u8>> {
    if version.is_file() {
        return fs::read(version);
    }
    let mut packed = Vec::new();
    pack(version, version, &mut packed)?;
    Ok(packed)
}

/// Appends all files below `dir`, in the order of their names, each behind a block with its path and padded to whole
/// blocks: the shape of a plain tar, which is what matters here. Links are left out.
fn pack(root: &Path, dir: &Path, packed: &mut Vec<u8>) -> io::Result<()> {
    const BLOCK: usize = 512;
    for path in entries(dir)? {
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            pack(root, &path, packed)?;
        } else if kind.is_file() {
            let name = path.strip_prefix(root).unwrap_or(&path);
            packed.extend_from_slice(name.as_os_str().as_encoded_bytes());
            packed.resize(packed.len().next_multiple_of(BLOCK), 0);
            packed.extend(fs::read(&path)?);
            packed.resize(packed.len().next_multiple_of(BLOCK), 0);
        }
    }
    Ok(())
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
