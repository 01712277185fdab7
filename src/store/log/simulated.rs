//! A disk that loses power, for tests.
//!
//! The files themselves are what the page cache holds. Beside them this keeps what has reached the disk: of each
//! file the bytes and the length at its last sync and every change since, of the directories the names at their last
//! sync and every change since. A cut makes an [`Image`] of what might be left: of every sector and length one of
//! the states it had since the last sync, of the changes to names any subset; and now and then a sector that cannot
//! have been written whole, in a block that was just being written with other bytes.
//!
//! Only what goes through [`Disk`] is known here; [`Simulated::assert_nothing_bypassed`] says so.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, Kernel};
use super::format::BLOCK;

const SECTOR: u64 = 512;
/// A sector in a block under way is ruined by a cut once in so many times.
const RUINED: u64 = 16;

type Sector = Arc<[u8; SECTOR as usize]>;

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}

/// Length and sectors of a file; sectors that are not listed are zeroes.
#[derive(Clone, Default)]
struct Content {
    len: u64,
    sectors: HashMap<u64, Sector>,
}

impl Content {
    fn read(bytes: &[u8]) -> Self {
        let mut content = Content {
            len: bytes.len() as u64,
            sectors: HashMap::new(),
        };
        for (number, part) in bytes.chunks(SECTOR as usize).enumerate() {
            if part.iter().any(|byte| *byte != 0) {
                let mut sector = [0; SECTOR as usize];
                sector[..part.len()].copy_from_slice(part);
                content.sectors.insert(number as u64, Arc::new(sector));
            }
        }
        content
    }

    fn sector(&self, number: u64) -> Sector {
        let found = self.sectors.get(&number);
        found.cloned().unwrap_or_else(|| Arc::new([0; SECTOR as usize]))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len.next_multiple_of(SECTOR) as usize];
        for (number, sector) in &self.sectors {
            let at = (number * SECTOR) as usize;
            if at < bytes.len() {
                bytes[at..at + SECTOR as usize].copy_from_slice(&sector[..]);
            }
        }
        bytes.truncate(self.len as usize);
        bytes
    }
}

#[derive(Default)]
struct Node {
    durable: Content,
    cached: Content,
    /// The states of each sector since the last sync, and of the length.
    sectors: BTreeMap<u64, Vec<Sector>>,
    lens: Vec<u64>,
}

impl Node {
    fn set_sector(&mut self, number: u64, sector: Sector) {
        self.sectors.entry(number).or_default().push(sector.clone());
        self.cached.sectors.insert(number, sector);
    }

    fn write(&mut self, mut bytes: &[u8], mut offset: u64) {
        self.extend(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let (number, from) = (offset / SECTOR, (offset % SECTOR) as usize);
            let part = bytes.len().min(SECTOR as usize - from);
            let mut sector = *self.cached.sector(number);
            sector[from..from + part].copy_from_slice(&bytes[..part]);
            self.set_sector(number, Arc::new(sector));
            bytes = &bytes[part..];
            offset += part as u64;
        }
    }

    fn extend(&mut self, len: u64) {
        if len > self.cached.len {
            self.set_len(len);
        }
    }

    fn set_len(&mut self, len: u64) {
        let behind: Vec<u64> = self.cached.sectors.keys().copied().collect();
        for number in behind.into_iter().filter(|number| (number + 1) * SECTOR > len) {
            let mut sector = *self.cached.sector(number);
            let keep = len.saturating_sub(number * SECTOR).min(SECTOR) as usize;
            sector[keep..].fill(0);
            self.set_sector(number, Arc::new(sector));
        }
        self.cached.len = len;
        self.lens.push(len);
    }

    /// What has changed since the last sync becomes durable; the kernel writes nothing else.
    fn sync(&mut self) {
        for (number, states) in std::mem::take(&mut self.sectors) {
            self.durable
                .sectors
                .extend(states.last().map(|state| (number, state.clone())));
        }
        self.durable.len = self.cached.len;
        self.lens.clear();
    }

    /// What a cut may leave.
    fn cut(&self, rng: &mut Rng) -> Content {
        let mut left = self.durable.clone();
        if let Some(len) = pick(&self.lens, rng) {
            left.len = *len;
        }
        let mut blocks = BTreeSet::new();
        for (number, states) in &self.sectors {
            let before = self.durable.sector(*number);
            if states.iter().any(|state| *state != before) {
                blocks.insert(number * SECTOR / BLOCK);
            }
            if let Some(state) = pick(states, rng) {
                left.sectors.insert(*number, state.clone());
            }
        }
        for block in blocks {
            if rng.below(RUINED) == 0 {
                let sector = block * (BLOCK / SECTOR) + rng.below(BLOCK / SECTOR);
                left.sectors.insert(sector, Arc::new([rng.draw() as u8 | 1; 512]));
            }
        }
        left
    }
}

/// One of the states, or none of them.
fn pick<'a, T>(states: &'a [T], rng: &mut Rng) -> Option<&'a T> {
    states.get(rng.below(states.len() as u64 + 1) as usize)
}

/// A change to a name: the file that it then names.
struct Rename {
    path: PathBuf,
    node: Option<usize>,
}

/// What a cut left: files by their path in the data directory.
pub struct Image {
    files: BTreeMap<PathBuf, Content>,
}

impl Image {
    /// Writes the files below `data`.
    pub fn write_to(&self, data: &Path) {
        for directory in ["journal", "segments"] {
            fs::create_dir_all(data.join(directory)).unwrap();
        }
        for (path, content) in &self.files {
            let file = File::create_new(data.join(path)).unwrap();
            file.set_len(content.len).unwrap();
            for (number, sector) in &content.sectors {
                let at = number * SECTOR;
                let len = content.len.saturating_sub(at).min(SECTOR) as usize;
                file.write_all_at(&sector[..len], at).unwrap();
            }
        }
    }
}

struct State {
    data: PathBuf,
    rng: Rng,
    nodes: Vec<Node>,
    inodes: HashMap<u64, usize>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    renames: Vec<Rename>,
    /// Calls so far.
    calls: u64,
    /// Calls at which to cut, descending.
    cuts: Vec<u64>,
    at_cut: Box<dyn FnMut(Image) + Send>,
}

impl State {
    fn tick(&mut self) {
        self.calls += 1;
        if self.cuts.last() == Some(&self.calls) {
            self.cuts.pop();
            let image = self.cut();
            (self.at_cut)(image);
        }
    }

    fn cut(&mut self) -> Image {
        let mut names = self.durable_names.clone();
        for Rename { path, node } in &self.renames {
            if self.rng.below(2) == 0 {
                continue;
            }
            match node {
                Some(node) => names.insert(path.clone(), *node),
                None => names.remove(path),
            };
        }
        let files = names.into_iter().map(|(path, node)| {
            let path = path.strip_prefix(&self.data).unwrap().to_owned();
            (path, self.nodes[node].cut(&mut self.rng))
        });
        Image {
            files: files.collect(),
        }
    }

    fn node(&mut self, file: &File) -> &mut Node {
        let inode = file.metadata().unwrap().ino();
        &mut self.nodes[self.inodes[&inode]]
    }

    fn add(&mut self, path: &Path, inode: u64, node: Node) -> usize {
        self.nodes.push(node);
        let number = self.nodes.len() - 1;
        self.inodes.insert(inode, number);
        self.names.insert(path.to_owned(), number);
        number
    }

    fn sync_dir(&mut self, dir: &Path) {
        let (done, waiting) = std::mem::take(&mut self.renames)
            .into_iter()
            .partition::<Vec<_>, _>(|rename| rename.path.parent() == Some(dir));
        self.renames = waiting;
        for Rename { path, node } in done {
            match node {
                Some(node) => self.durable_names.insert(path, node),
                None => self.durable_names.remove(&path),
            };
        }
    }
}

/// The disk.
pub struct Simulated(Mutex<State>);

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulated")
    }
}

impl Simulated {
    /// A disk that has `data` on it, all of it durable. Chance goes by `seed`.
    pub fn over(data: &Path, seed: u64) -> Arc<Self> {
        let mut state = State {
            data: data.to_owned(),
            rng: Rng(seed),
            nodes: Vec::new(),
            inodes: HashMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renames: Vec::new(),
            calls: 0,
            cuts: Vec::new(),
            at_cut: Box::new(|_| {}),
        };
        for directory in ["journal", "segments"] {
            let Ok(entries) = fs::read_dir(data.join(directory)) else {
                continue;
            };
            for entry in entries.map(Result::unwrap) {
                let node = Node {
                    durable: Content::read(&fs::read(entry.path()).unwrap()),
                    cached: Content::read(&fs::read(entry.path()).unwrap()),
                    ..Node::default()
                };
                state.add(&entry.path(), entry.metadata().unwrap().ino(), node);
            }
        }
        state.durable_names = state.names.clone();
        Arc::new(Simulated(Mutex::new(state)))
    }

    /// Cuts the power at each of these calls, counted from now; `at_cut` gets what is left each time, and the disk
    /// goes on.
    pub fn cut_at(&self, calls: impl IntoIterator<Item = u64>, at_cut: impl FnMut(Image) + Send + 'static) {
        let mut state = self.0.lock().unwrap();
        let now = state.calls;
        state.cuts = calls.into_iter().map(|call| now + call.max(1)).collect();
        state.cuts.sort_unstable_by(|a, b| b.cmp(a));
        state.cuts.dedup();
        state.at_cut = Box::new(at_cut);
    }

    /// Lets the disk forget bytes that the page cache has and the kernel believes to be written, as after a sync that
    /// failed.
    pub fn forget(&self, path: &Path, bytes: std::ops::Range<u64>) {
        let mut state = self.0.lock().unwrap();
        let node = state.names[path];
        let forgotten = bytes.start / SECTOR..bytes.end.div_ceil(SECTOR);
        let durable = &mut state.nodes[node].durable;
        durable.sectors.retain(|number, _| !forgotten.contains(number));
    }

    /// Cuts the power now.
    pub fn cut(&self) -> Image {
        self.0.lock().unwrap().cut()
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// The files are as the calls made them.
    pub fn assert_nothing_bypassed(&self) {
        let state = self.0.lock().unwrap();
        for (path, node) in &state.names {
            let (cached, real) = (state.nodes[*node].cached.bytes(), fs::read(path).unwrap());
            assert!(cached == real, "{} was changed past the disk", path.display());
        }
        for directory in ["journal", "segments"] {
            for entry in fs::read_dir(state.data.join(directory)).unwrap() {
                let path = entry.unwrap().path();
                assert!(state.names.contains_key(&path), "{}", path.display());
            }
        }
    }
}

impl Disk for Simulated {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut state = self.0.lock().unwrap();
        let file = Kernel.create(path)?;
        let node = state.add(path, file.metadata()?.ino(), Node::default());
        state.renames.push(Rename {
            path: path.to_owned(),
            node: Some(node),
        });
        state.tick();
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        Kernel.open(path)
    }

    fn allocate(&self, file: &File, at: u64, len: u64) -> io::Result<u64> {
        let mut state = self.0.lock().unwrap();
        let node = state.node(file);
        node.extend(at + len);
        file.set_len(node.cached.len)?;
        state.tick();
        Ok(at + len)
    }

    fn write_at(&self, file: &File, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let bytes = buffers.iter().flat_map(|buffer| buffer.iter().copied());
        state.node(file).write(&bytes.collect::<Vec<u8>>(), offset);
        Kernel.write_at(file, buffers, offset)?;
        state.tick();
        Ok(())
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Kernel.read_at(file, buffer, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.node(file).set_len(len);
        file.set_len(len)?;
        state.tick();
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        // Power goes while the sync is under way.
        state.tick();
        state.node(file).sync();
        Ok(())
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.sync(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        fs::remove_file(path)?;
        state.names.remove(path);
        state.renames.push(Rename {
            path: path.to_owned(),
            node: None,
        });
        state.tick();
        state.sync_dir(path.parent().unwrap());
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.tick();
        state.sync_dir(dir);
        Ok(())
    }
}
