//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

use crate::draw::Popularity;
use crate::target::Layout;
use crate::workload::Step;

/// Put a server that speaks Gitea's generic package API under load, and check every byte it returns.
///
/// Without --url, Larder itself is started on a temporary store that is removed afterwards. A step is written
/// KIND:SIZES:CLIENTS, for example put:4KiB:64 or mixed:1KiB..8MiB:16 (sizes drawn, every octave as likely as every
/// other). Kinds: put, get, head, delete, miss, known (bodies the server already has), similar (1 % changed), mixed.
#[derive(Parser, Debug)]
#[command(name = "load", bin_name = "cargo bench --bench load --")]
pub struct Options {
    /// What to do, one after the other
    #[arg(long, num_args = 1.., value_name = "STEP", default_values = [
        "put:4KiB:64", "get:4KiB:64", "put:1MiB:16", "get:1MiB:16", "mixed:1KiB..8MiB:16",
    ])]
    pub steps: Vec<Step>,
    /// Take the steps of docs/performance.md, with their targets, in place of --steps
    #[arg(long)]
    pub targets: bool,
    /// Every kind of step for a moment on a Larder of its own; fails at the first error or wrong byte
    #[arg(long, conflicts_with_all = ["url", "compare", "targets", "steps"])]
    pub smoke: bool,

    /// How long a round of a step lasts
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration)]
    pub seconds: f64,
    /// How many requests a round of a step sends at most
    #[arg(long, value_name = "COUNT")]
    pub requests: Option<u64>,
    /// How many bytes a round of a step moves at most
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub budget: bytesize::ByteSize,
    /// How often each step is measured [default: 1, or 5 with --compare]
    #[arg(long, value_name = "COUNT")]
    pub rounds: Option<u64>,
    /// Send this many requests a second whatever the server does; latency counts from when each was due
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// How many threads of this program share the clients
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub threads: u64,
    /// One connection for each request
    #[arg(long)]
    pub close: bool,
    /// How many objects the steps that read or delete find [default: 10000, or as many as make 512 MiB]
    #[arg(long, value_name = "COUNT")]
    pub keys: Option<u64>,
    /// Which of them are asked for: uniform, zipf or zipf:EXPONENT
    #[arg(long, value_name = "HOW", default_value = "uniform")]
    pub popularity: Popularity,
    /// How many of a hundred requests of a mixed step read
    #[arg(long, value_name = "PERCENT", default_value = "80", value_parser = clap::value_parser!(u64).range(0..=100))]
    pub reads: u64,
    /// Keep this many idle connections open meanwhile, and say what they cost
    #[arg(long, value_name = "COUNT", default_value = "0")]
    pub idle: usize,
    /// Makes a run repeatable [default: taken from the clock]
    #[arg(long)]
    pub seed: Option<u64>,

    /// Load this server; only http, and only servers you run
    #[arg(long)]
    pub url: Option<String>,
    /// The token to send to it
    #[arg(long, env = "LARDER_TOKEN", hide_env_values = true, requires = "url")]
    pub token: Option<String>,
    /// The owners to publish under there; they take turns
    #[arg(long, value_name = "NAME", num_args = 1.., default_values = ["admin"])]
    pub owner: Vec<String>,
    /// Its process on this machine, to report CPU time and memory
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// Its data directory on this machine, to report bytes on disk
    #[arg(long, value_name = "DIR", requires = "url")]
    pub data: Option<PathBuf>,
    /// How objects are named [default: joined on servers started here, released with --url]
    #[arg(long)]
    pub layout: Option<Layout>,

    /// Where servers that are started here keep their data [default: the place for temporary files]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// How many owners are created there
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub owners: u64,
    /// Start this Larder in place of the one just built
    #[arg(long, value_name = "FILE")]
    pub larder: Option<PathBuf>,
    /// Configuration for it; must not end inside a table
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Confine the servers started here and this client to one core each [default with --compare: 0,1]
    #[arg(long, value_name = "SERVER,CLIENT")]
    pub pin: Option<Cores>,

    /// Run each step against this server too, round by round in turn, and report ratios
    #[arg(long, conflicts_with = "url")]
    pub compare: Option<Rival>,
    /// With --compare nginx: against a tuned one as well
    #[arg(long, requires = "compare")]
    pub tuned: bool,

    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the percentiles of latency into this file
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The cores of servers and client, if they are confined.
    pub fn cores(&self) -> Option<Cores> {
        let two = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        let usual = Cores { server: 0, client: 1 };
        self.pin.or((self.compare.is_some() && two).then_some(usual))
    }

    /// How often each step is measured.
    pub fn rounds(&self) -> u64 {
        self.rounds.unwrap_or(if self.compare.is_some() { 5 } else { 1 })
    }
}

/// A server to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// The nginx on PATH, with WebDAV PUT; it neither syncs nor asks who is there
    Nginx,
}

/// Where the server runs, and where this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The core of the servers started here.
    pub server: usize,
    /// The core of this program.
    pub client: usize,
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |core: &str| core.parse().map_err(|_| format!("{core} is no core"));
        let (server, client) = text.split_once(',').ok_or("expected two cores, as in 0,1")?;
        Ok(Cores {
            server: parse(server)?,
            client: parse(client)?,
        })
    }
}

fn duration(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, at most a day".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e7 => Ok(rate),
        _ => Err("expected a number of requests a second above zero".into()),
    }
}
