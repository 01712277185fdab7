//! How long a start takes, and how much memory: `cargo bench --bench startup -- --files 2000000`.
//!
//! Fills a store through `Store::commit`, then starts `larder serve` on it: after a clean end (twice: sled reads its
//! log at the first and a snapshot at the second), after a writer was killed, and without an index. What sled's own
//! open, the journal and the segments took of it is what the server logs.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use larder::chunk::Digest;
use larder::store::change::{Change, Expected, Publish};
use larder::store::counts::Quota;
use larder::store::model::{File, Package, Shape, Version};
use larder::store::ticket::Ticket;
use larder::store::upload::{Content, NewBlob};
use larder::store::{Options, Progress, Store};

/// Whatever stops a run; a person reads it.
type Fail = Box<dyn std::error::Error + Send + Sync>;

/// Versions of one package.
const VERSIONS: u64 = 1000;
/// Commits under way at once.
const UNDER_WAY: usize = 1024;
/// A start that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures starts of a store with many files.
#[derive(Debug, Parser)]
struct Args {
    /// Files to publish, each a version of its own.
    #[arg(long, default_value_t = 100_000)]
    files: u64,
    /// Where to put the store; a temporary directory otherwise. One that is there is used as it is.
    #[arg(long)]
    store: Option<PathBuf>,
    /// How long the writer that is killed has been writing, seconds.
    #[arg(long, default_value_t = 5)]
    write: u64,
    /// Only publish into this store, from `--from` on, until killed.
    #[arg(long, hide = true)]
    writer: Option<PathBuf>,
    /// See `writer`.
    #[arg(long, hide = true, default_value_t = 0)]
    from: u64,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Fail> {
    let args = Args::parse();
    match &args.writer {
        Some(data) => fill(data, args.from..u64::MAX),
        None => measure(&args),
    }
}

fn measure(args: &Args) -> Result<(), Fail> {
    let dir = tempfile::tempdir()?;
    let data = args.store.clone().unwrap_or_else(|| dir.path().join("data"));
    if !data.join("store.toml").exists() {
        let began = Instant::now();
        fill(&data, 0..args.files)?;
        println!(
            "filled with {} files in {:.1} s",
            args.files,
            began.elapsed().as_secs_f64()
        );
    }
    for part in ["journal", "index"] {
        println!("{part}: {} MiB", size(&data.join(part))? >> 20);
    }
    println!(
        "{:<26} {:>7} {:>8} {:>7} {:>10} {:>11} {:>8} {:>9}",
        "start", "port s", "ready s", "sled s", "journal s", "segments s", "RSS MiB", "peak MiB"
    );
    start(&data, "after a clean end")?;
    start(&data, "after a clean end, again")?;
    let mut writer = Command::new(std::env::current_exe()?)
        .arg("--writer")
        .arg(&data)
        .args(["--from", &args.files.to_string()])
        .spawn()?;
    thread::sleep(Duration::from_secs(args.write));
    writer.kill()?;
    writer.wait()?;
    start(&data, "after kill -9 of a writer")?;
    fs::remove_dir_all(data.join("index"))?;
    start(&data, "without an index (rebuild)")
}

struct Quiet;

impl Progress for Quiet {
    fn replayed(&self, _done: u64, _total: u64) {}
}

fn fill(data: &Path, numbers: std::ops::Range<u64>) -> Result<(), Fail> {
    let store = Store::open(Options::at(data), &Quiet)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut under_way: VecDeque<Ticket> = VecDeque::new();
    let mut package = None;
    for number in numbers {
        if number % VERSIONS == 0 || package.is_none() {
            // Not before its predecessor stands: what is expected of a package must be so.
            settle(&runtime, &mut under_way, 0)?;
            package = Some(new_or_found(&store, &format!("package-{}", number / VERSIONS))?);
        }
        let Some(of) = &package else { continue };
        under_way.push_back(store.commit(publication(&store, of.clone(), number)));
        if let Some(Expected::Absent(now_there)) = &package {
            package = Some(Expected::Present(now_there.clone()));
        }
        settle(&runtime, &mut under_way, UNDER_WAY)?;
    }
    settle(&runtime, &mut under_way, 0)?;
    store.close();
    Ok(())
}

/// Waits until no more than `most` are left.
fn settle(
    runtime: &tokio::runtime::Runtime,
    under_way: &mut VecDeque<Ticket>,
    most: usize,
) -> Result<(), Fail> {
    while under_way.len() > most {
        if let Some(ticket) = under_way.pop_front() {
            runtime.block_on(ticket.settled())?;
        }
    }
    Ok(())
}

fn new_or_found(store: &Store, name: &str) -> Result<Expected<Package>, Fail> {
    Ok(match store.package(1, name)? {
        Some(package) => Expected::Present(package),
        None => Expected::Absent(Package {
            id: store.next_id(),
            name: name.into(),
            exact_case: false,
            created: 1_700_000_000_000,
        }),
    })
}

fn publication(store: &Store, package: Expected<Package>, number: u64) -> Change {
    let body = Bytes::from(format!("artifact number {number}\n"));
    let digest = Digest::of(&body);
    let size = body.len() as u64;
    Change::Publish(Publish {
        owner: 1,
        package,
        version: Expected::Absent(Version {
            id: store.next_id(),
            name: format!("1.0.{number}"),
            created: 1_700_000_000_000,
            creator: 1,
        }),
        file: File {
            id: store.next_id(),
            name: "artifact.tar.zst".into(),
            blob: digest,
            size,
            shape: Shape::Single,
            created: 1_700_000_000_000,
            creator: 1,
            sha256: None,
        },
        replaces: None,
        quota: Quota::default(),
        blob: Arc::new(NewBlob {
            digest,
            size,
            content: Content::Inline(vec![body]),
        }),
    })
}

/// Starts a server, waits until it is ready, says what that took, and ends it in order.
fn start(data: &Path, what: &str) -> Result<(), Fail> {
    let began = Instant::now();
    // The server prints its address late when it opens for long, so it is given one.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut server = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["serve", "--listen", &address.to_string(), "--data"])
        .arg(data)
        .env("LARDER_ADMIN_PASSWORD", "a password for the bench")
        .env("LARDER_LOG_FORMAT", "json")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let logged = server
        .stderr
        .take()
        .map(|log| thread::spawn(move || opening(log)));
    let measured = wait_ready(&mut server, address, began);
    let memory = ["VmRSS", "VmHWM"].map(|field| memory(server.id(), field));
    // SIGTERM: an orderly end.
    let pid = i32::try_from(server.id())?;
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    server.wait()?;
    let (port, ready) = measured?;
    let [sled, journal, segments] = logged.and_then(|log| log.join().ok()).unwrap_or_default();
    println!(
        "{what:<26} {:>7.2} {:>8.2} {sled:>7.2} {journal:>10.2} {segments:>11.2} {:>8} {:>9}",
        port.as_secs_f64(),
        ready.as_secs_f64(),
        memory[0],
        memory[1]
    );
    Ok(())
}

/// Seconds that the steps of opening the store took, from the server's log, which is read to its end.
fn opening(log: impl Read) -> [f64; 3] {
    let mut took = [0.0; 3];
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        for (step, name) in took.iter_mut().zip(["index_ms", "journal_ms", "segments_ms"]) {
            *step = line[name]
                .as_f64()
                .map_or(*step, |milliseconds| milliseconds / 1000.0);
        }
    }
    took
}

/// When the port answers, and when the server is ready.
fn wait_ready(server: &mut Child, address: SocketAddr, began: Instant) -> Result<(Duration, Duration), Fail> {
    let mut port = None;
    while began.elapsed() < PATIENCE {
        if let Ok(answer) = get(address, "/readyz") {
            let port = *port.get_or_insert_with(|| began.elapsed());
            if answer.starts_with("HTTP/1.1 200") {
                return Ok((port, began.elapsed()));
            }
        }
        if let Some(status) = server.try_wait()? {
            return Err(format!("the server ended: {status}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err("the server does not become ready".into())
}

fn get(address: SocketAddr, path: &str) -> Result<String, Fail> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A field of `/proc/<pid>/status`, MiB.
fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

fn size(dir: &Path) -> Result<u64, Fail> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let meta = entry?.metadata()?;
        sum += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(sum)
}
