//! A server through the rounds of its steps: stores what a step needs to find, measures the round, and reads back a
//! sample of what it wrote.

use std::collections::HashMap;
use std::time::Duration;

use crate::body::Source;
use crate::draw::{Keys, Popularity, Sizes};
use crate::options::Options;
use crate::report::Round;
use crate::run::{Mode, Ran, run};
use crate::server::Server;
use crate::target::Target;
use crate::workload::{Content, Kind, Plan, Series, Step};
use crate::{Fail, process};

/// Bytes of stock unless `--keys` says how many objects.
const STOCK: u64 = 512 << 20;
/// How many distinct bodies the known and similar ones repeat.
const POOL: u64 = 8;
/// How many objects of a round are read back, and how many bytes of them.
const SAMPLE: u64 = 64;
const SAMPLE_BYTES: u64 = 256 << 20;

/// One server and what this run has put there.
#[derive(Debug)]
pub struct Session<'a> {
    options: &'a Options,
    source: &'a Source,
    /// The server.
    pub target: Target,
    /// Keeps it running, if it was started here.
    _server: Option<Server>,
    next_series: u64,
    /// Series that are stored: for steps that read, and the pools of known bodies.
    stocks: HashMap<(Sizes, u64), Series>,
}

impl<'a> Session<'a> {
    /// Nothing is stored yet.
    pub fn new(options: &'a Options, source: &'a Source, target: Target, server: Option<Server>) -> Self {
        Session {
            options,
            source,
            target,
            _server: server,
            next_series: 0,
            stocks: HashMap::new(),
        }
    }

    /// Measures one round of `step`.
    pub fn round(&mut self, step: &Step) -> Result<Round, Fail> {
        let (plan, fresh) = self.plan(step)?;
        let disk = self.target.data.as_deref().map(process::disk_bytes);
        let mode = Mode {
            clients: step.clients,
            threads: self.options.threads,
            time: Some(Duration::from_secs_f64(self.options.seconds)),
            rate: self.options.rate,
            keep_alive: !self.options.close,
        };
        let ran = run(&self.target, self.source, &plan, mode)?;
        let grown = disk.zip(self.target.data.as_deref());
        let grown = grown.map(|(before, data)| process::disk_bytes(data) as i64 - before as i64);
        let peak = self.target.process.and_then(|pid| process::memory(pid, "VmHWM"));
        let mut round = Round::new(&self.target.name, ran, grown, peak);
        if round.tally.failures() == 0 && plan.written() > 0 {
            round.read_back = self.read_back(fresh, plan.written())?;
        }
        if let Some(data) = &self.target.data {
            process::sync_file_system(data)?;
        }
        Ok(round)
    }

    /// Stores what `step` needs to find. The plan of a round, and the series it writes.
    fn plan(&mut self, step: &Step) -> Result<(Plan, Series), Fail> {
        let sizes = step.sizes;
        let mean = sizes.mean().max(1);
        let mut limit = (self.options.budget.as_u64() / mean).max(1);
        if matches!(step.kind, Kind::Head | Kind::Miss | Kind::Delete) {
            limit = u64::MAX;
        }
        limit = limit.min(self.options.requests.unwrap_or(u64::MAX));
        let keys = self.options.keys.unwrap_or((STOCK / mean).clamp(1, 10_000));
        let content = match step.kind {
            Kind::Known | Kind::Similar => {
                let pool = POOL.min(keys);
                let of = self.stock(sizes, pool)?.id;
                match step.kind {
                    Kind::Known => Content::Known { of, pool },
                    _ => Content::Similar { of, pool },
                }
            }
            _ => Content::Unique,
        };
        let fresh = self.series(sizes, content);
        let stock = match step.kind {
            Kind::Get | Kind::Head | Kind::Mixed => {
                let keys_drawn = Keys::new(self.options.popularity, keys);
                Some((self.stock(sizes, keys)?, keys_drawn))
            }
            _ => None,
        };
        if step.kind == Kind::Delete {
            limit = limit.min(keys);
            self.store(&fresh, limit)?;
        }
        Ok((
            Plan::new(step.kind, fresh.clone(), stock, self.options.reads, limit),
            fresh,
        ))
    }

    fn series(&mut self, sizes: Sizes, content: Content) -> Series {
        self.next_series += 1;
        Series {
            id: self.next_series,
            sizes,
            content,
        }
    }

    /// A stored series of `count` unique bodies, the same for every round.
    fn stock(&mut self, sizes: Sizes, count: u64) -> Result<Series, Fail> {
        if let Some(series) = self.stocks.get(&(sizes, count)) {
            return Ok(series.clone());
        }
        let series = self.series(sizes, Content::Unique);
        self.store(&series, count)?;
        self.stocks.insert((sizes, count), series.clone());
        Ok(series)
    }

    /// Stores the first `count` objects of `series`, unmeasured.
    fn store(&self, series: &Series, count: u64) -> Result<(), Fail> {
        let plan = Plan::new(Kind::Put, series.clone(), None, 0, count);
        let ran = self.unmeasured(&plan, count)?;
        match ran.tally.errors.first_key_value() {
            None => Ok(()),
            Some((failure, times)) => Err(format!(
                "{} did not store what a step needs: {failure} ({times} times of {count})",
                self.target.name
            )
            .into()),
        }
    }

    /// Reads a sample of the `written` objects of `series`. How many were not what was written.
    fn read_back(&self, series: Series, written: u64) -> Result<u64, Fail> {
        let count = (SAMPLE_BYTES / series.sizes.mean().max(1)).clamp(1, SAMPLE);
        let keys = Keys::new(Popularity::Uniform, written);
        let plan = Plan::new(Kind::Get, series.clone(), Some((series, keys)), 0, count);
        Ok(self.unmeasured(&plan, count)?.tally.failures())
    }

    fn unmeasured(&self, plan: &Plan, count: u64) -> Result<Ran, Fail> {
        let mode = Mode {
            clients: count.min(32),
            threads: self.options.threads,
            time: None,
            rate: None,
            keep_alive: true,
        };
        run(&self.target, self.source, plan, mode)
    }
}
