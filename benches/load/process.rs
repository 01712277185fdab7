//! What the kernel says of a process and its children: CPU time, memory; and of a directory: bytes on disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

/// `process` and all that descend from it.
pub fn family(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    let mut next = 0;
    while next < family.len() {
        let path = format!("/proc/{0}/task/{0}/children", family[next]);
        let children = fs::read_to_string(path).unwrap_or_default();
        family.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        next += 1;
    }
    family
}

/// CPU seconds that a server and its children have used, see [`cpu_clock`].
pub fn cpu_seconds(process: u32) -> Option<f64> {
    family(process)
        .into_iter()
        .filter_map(cpu_clock)
        .reduce(|sum, seconds| sum + seconds)
}

/// CPU seconds that all threads of one process, ended ones included, have used in user and system mode, to the
/// nanosecond; `/proc/PID/stat` has the same figure in ticks of 10 ms.
pub fn cpu_clock(process: u32) -> Option<f64> {
    let process = i32::try_from(process).ok()?;
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both calls write to the variable they are given, which outlives them, and keep no pointer.
    let failed = unsafe {
        libc::clock_getcpuclockid(process, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
    };
    (!failed).then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

/// A line of `/proc/PID/status` in bytes, summed over the process and its children: `VmHWM` is peak resident memory,
/// `VmRSS` resident memory.
pub fn memory(process: u32, field: &str) -> Option<u64> {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    family(process)
        .iter()
        .filter_map(of)
        .reduce(|sum, bytes| sum + bytes)
}

/// Bytes of data on disk under `path`. Room that is only reserved for what is to come does not count: it is taken in
/// steps of up to 256 MiB, which a round of some seconds would show as stored or not by chance. Files may vanish
/// meanwhile.
pub fn disk_bytes(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let allocated = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return fs::File::open(path)
            .and_then(|file| data_bytes(&file))
            .map_or(allocated, |data| data.min(allocated));
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    allocated + entries.map(|entry| disk_bytes(&entry.path())).sum::<u64>()
}

/// Bytes of a file that are data, as its file system tells them from holes and from reserved room.
fn data_bytes(file: &fs::File) -> io::Result<u64> {
    let mut bytes = 0;
    let mut at = 0;
    loop {
        let begin = match seek(file, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => return Ok(bytes),
            Err(error) => return Err(error.into()),
        };
        at = seek(file, SeekFrom::Hole(begin))?;
        bytes += at - begin;
    }
}

/// Writes back everything dirty in the file system of `path`, so that one server's debt does not burden the next.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(path)?)?)
}

/// Confines this thread, and the threads and processes it starts from now on, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Allows as many open files as the system lets this user have; the servers started from here inherit it.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // A lower limit shows as failed connections.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

/// One line on the machine: processor, cores, memory, kernel.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, field: &str| {
        let line = text.lines().find(|line| line.starts_with(field))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kilobytes = memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    let cpuinfo = read("/proc/cpuinfo");
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let model = value(&cpuinfo, "model name").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{model}, {cores} cores, {} GiB, Linux {}",
        (kilobytes + (1 << 19)) >> 20,
        kernel.trim()
    )
}
