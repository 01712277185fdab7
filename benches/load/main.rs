//! The load generator: `cargo bench --bench load -- --help`.
//!
//! - [`options`]: the command line; [`targets`]: the steps of `docs/performance.md`
//! - [`workload`], [`body`], [`draw`]: what is asked for, made up as it is needed
//! - [`run`], [`worker`], [`connection`], [`answer`], [`open_loop`], [`stats`]: asking, and counting
//! - [`target`], [`server`], [`larder`], [`nginx`], [`process`], [`disk`]: the server and its machine
//! - [`session`]: one server through its rounds; [`compare`]: several in turn; [`idle`]: connections that only wait
//! - [`report`], [`plot`]: what is shown
//!
//! Exits with 1 if a request failed or a byte was wrong.

mod answer;
mod body;
mod compare;
mod connection;
mod disk;
mod draw;
mod idle;
mod larder;
mod nginx;
mod open_loop;
mod options;
mod plot;
mod process;
mod report;
mod run;
mod server;
mod session;
mod stats;
mod target;
mod targets;
mod worker;
mod workload;

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::body::Source;
use crate::compare::Compared;
use crate::options::Options;
use crate::plot::Line;
use crate::report::{Round, Row};
use crate::server::Server;
use crate::session::Session;
use crate::target::{Layout, Owner, Target};
use crate::targets::Goal;

/// Whatever stops a run; a person reads it.
type Fail = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match load(&smoke(Options::parse())) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("{failures} requests failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// With `--smoke`: every kind of step, briefly.
fn smoke(mut options: Options) -> Options {
    if options.smoke {
        let steps = [
            "put:4KiB:16",
            "put:1KiB..3MiB:4",
            "get:4KiB:16",
            "get:1KiB..3MiB:4",
            "head:4KiB:16",
            "miss:4KiB:16",
            "known:3MiB:4",
            "similar:3MiB:4",
            "mixed:1KiB..1MiB:8",
            "delete:4KiB:16",
        ];
        options.steps = steps.iter().filter_map(|step| step.parse().ok()).collect();
        options.seconds = 0.2;
        options.keys = options.keys.or(Some(100));
        options.owners = options.owners.max(2);
    }
    options
}

/// Runs what `options` ask for and reports it. How many requests failed.
fn load(options: &Options) -> Result<u64, Fail> {
    process::raise_file_limit();
    if let Some(cores) = options.cores() {
        process::pin(cores.client)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = options.seed.unwrap_or(now.as_micros() as u64);
    let source = Source::new(seed);
    let bar = progress_bar();
    println!("{}", process::machine());
    let (failures, rows, lines) = match options.compare {
        None => {
            let rows = alone(options, &source, seed, &bar)?;
            print!("{}", report::table(&rows));
            let failures = rows.iter().flat_map(|row| &row.rounds).map(Round::failures).sum();
            (failures, rows.iter().map(row_json).collect(), row_lines(&rows))
        }
        Some(options::Rival::Nginx) => {
            let rows = compare::compare(options, &source, seed, goals(options)?, &bar)?;
            print!("{}", compare::table(&rows, options.tuned));
            let failures = rows.iter().map(Compared::failures).sum();
            (
                failures,
                rows.iter().map(Compared::json).collect(),
                compared_lines(&rows),
            )
        }
    };
    if let Some(path) = &options.json {
        write_json(path, seed, rows)?;
    }
    if let Some(path) = &options.plot {
        fs::write(path, plot::draw("Latency by percentile", &lines))?;
    }
    Ok(failures)
}

/// Runs all steps against one server.
fn alone(options: &Options, source: &Source, seed: u64, bar: &ProgressBar) -> Result<Vec<Row>, Fail> {
    let (server, target) = match &options.url {
        Some(url) => (None, remote(options, url, seed)?),
        None => larder::start(options, seed).map(|(server, target)| (Some::<Server>(server), target))?,
    };
    let idle = idle::open(&target, options.idle)?;
    if let Some(grown) = idle.grown.filter(|_| options.idle > 0) {
        println!("{} idle connections cost {}", options.idle, report::size(grown));
    }
    let mut session = Session::new(options, source, target.clone(), server);
    let goals = goals(options)?;
    bar.set_length(goals.len() as u64 * options.rounds());
    let mut rows = Vec::new();
    for Goal { step, .. } in goals {
        bar.set_message(step.to_string());
        let mut rounds = Vec::new();
        for _ in 0..options.rounds() {
            rounds.push(session.round(&step)?);
            bar.inc(1);
        }
        rows.push(Row { step, rounds });
    }
    bar.finish_and_clear();
    Ok(rows)
}

/// The server that `--url` names.
fn remote(options: &Options, url: &str, run: u64) -> Result<Target, Fail> {
    let (address, host) = target::parse_url(url)?;
    Ok(Target {
        name: host.clone(),
        address,
        owners: options
            .owner
            .iter()
            .map(|name| Owner::new(name.clone(), &host, options.token.as_deref()))
            .collect(),
        layout: options.layout.unwrap_or(Layout::Released),
        run,
        process: options.pid,
        data: options.data.clone(),
    })
}

fn goals(options: &Options) -> Result<Vec<Goal>, Fail> {
    if options.targets {
        return targets::all();
    }
    let goal = |step: &workload::Step| Goal {
        step: step.clone(),
        ratio: None,
    };
    Ok(options.steps.iter().map(goal).collect())
}

/// Shows on a terminal only.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn write_json(path: &std::path::Path, seed: u64, rows: Vec<Value>) -> Result<(), Fail> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let document = json!({
        "machine": process::machine(),
        "arguments": arguments,
        "seed": seed,
        "steps": rows,
    });
    Ok(fs::write(path, serde_json::to_string_pretty(&document)?)?)
}

fn row_json(row: &Row) -> Value {
    let rounds: Vec<Value> = row.rounds.iter().map(Round::json).collect();
    json!({ "step": row.step.to_string(), "rounds": rounds })
}

fn row_lines(rows: &[Row]) -> Vec<Line> {
    let line = |row: &Row| merged(row.step.to_string(), row.rounds.iter());
    rows.iter().filter_map(line).collect()
}

fn compared_lines(rows: &[Compared]) -> Vec<Line> {
    let server = |row: &Compared, place: usize| {
        let name = &row.rounds.first()?.get(place)?.server;
        let label = format!("{} {name}", row.goal.step);
        merged(label, row.rounds.iter().filter_map(|round| round.get(place)))
    };
    rows.iter()
        .flat_map(|row| (0..3).filter_map(move |place| server(row, place)))
        .collect()
}

/// The latencies of several rounds as one line.
fn merged<'a>(label: String, mut rounds: impl Iterator<Item = &'a Round>) -> Option<Line> {
    let mut latency = rounds.next()?.tally.latency.clone();
    for round in rounds {
        // All histograms have the same bounds.
        latency.add(&round.tally.latency).ok()?;
    }
    Some(Line { label, latency })
}
