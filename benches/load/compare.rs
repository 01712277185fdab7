//! The same steps against Larder and against nginx, round by round in turn, on cores of their own.
//!
//! Each step begins with fresh servers on empty directories and one round that does not count. A ratio is taken
//! within each round, so that what the machine does meanwhile burdens both sides.

use std::fmt::Write;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::body::Source;
use crate::options::Options;
use crate::report::{Round, render, time};
use crate::session::Session;
use crate::targets::Goal;
use crate::workload::Kind;
use crate::{Fail, disk, larder, nginx};

/// A step and what every server did in each of its rounds, Larder first.
#[derive(Debug)]
pub struct Compared {
    /// The step and what is to be reached.
    pub goal: Goal,
    /// Rounds, and within them servers.
    pub rounds: Vec<Vec<Round>>,
    /// Median latency in seconds of a bare durable overwrite, measured in each round; for a lone writer only.
    floors: Vec<f64>,
}

/// Runs all of `goals`.
pub fn compare(
    options: &Options,
    source: &Source,
    run: u64,
    goals: Vec<Goal>,
    bar: &ProgressBar,
) -> Result<Vec<Compared>, Fail> {
    bar.set_length(goals.len() as u64 * (options.rounds() + 1));
    goals
        .into_iter()
        .map(|goal| compare_step(options, source, run, goal, bar))
        .collect()
}

fn compare_step(
    options: &Options,
    source: &Source,
    run: u64,
    goal: Goal,
    bar: &ProgressBar,
) -> Result<Compared, Fail> {
    let mut servers = vec![larder::start(options, run)?, nginx::start(options, run, false)?];
    if options.tuned {
        servers.push(nginx::start(options, run, true)?);
    }
    let session = |(server, target)| Session::new(options, source, target, Some(server));
    let mut sessions: Vec<Session<'_>> = servers.into_iter().map(session).collect();
    let alone = goal.step.kind == Kind::Put && goal.step.clients == 1;
    let mut compared = Compared {
        goal,
        rounds: Vec::new(),
        floors: Vec::new(),
    };
    for number in 0..=options.rounds() {
        let mut round = Vec::new();
        for session in &mut sessions {
            bar.set_message(format!("{} on {}", compared.goal.step, session.target.name));
            round.push(session.round(&compared.goal.step)?);
        }
        bar.inc(1);
        if number == 0 {
            continue;
        }
        compared.rounds.push(round);
        if let (true, Some(data)) = (alone, &sessions[0].target.data) {
            let floor = disk::overwrite_and_sync(data)?;
            compared
                .floors
                .push(floor.latency.value_at_quantile(0.5) as f64 * 1e-9);
        }
    }
    Ok(compared)
}

/// A median with the extremes beside it.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            (figures[middle - 1] + figures[middle]) / 2.0
        } else {
            figures[middle]
        };
        Some(Spread { median, min, max })
    }
}

impl Compared {
    /// Failures in all rounds of all servers.
    pub fn failures(&self) -> u64 {
        self.rounds.iter().flatten().map(Round::failures).sum()
    }

    fn spread(&self, figure: impl Fn(&[Round]) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| figure(round)))
    }

    /// CPU seconds for an operation of the server in this place.
    fn cpu(&self, server: usize) -> Option<Spread> {
        self.spread(|round| Some(round.get(server)?.server_micros()? * 1e-6))
    }

    /// CPU time for an operation of the server in this place over Larder's.
    fn ratio(&self, server: usize) -> Option<Spread> {
        self.spread(|round| Some(round.get(server)?.server_micros()? / round.first()?.server_micros()?))
    }

    /// Bytes that Larder's directory grew by over bytes uploaded, in all rounds together.
    fn stored(&self) -> Option<f64> {
        if matches!(
            self.goal.step.kind,
            Kind::Get | Kind::Head | Kind::Miss | Kind::Delete | Kind::Mixed
        ) {
            return None;
        }
        let rounds = || self.rounds.iter().filter_map(|round| round.first());
        let uploaded: u64 = rounds().map(|round| round.tally.bytes).sum();
        let grown: i64 = rounds().filter_map(|round| round.grown).sum();
        (uploaded > 0).then(|| grown as f64 / uploaded as f64)
    }

    /// Everything, with the ratios of each round.
    pub fn json(&self) -> Value {
        let rounds: Vec<Value> = self
            .rounds
            .iter()
            .map(|round| round.iter().map(Round::json).collect())
            .collect();
        json!({
            "step": self.goal.step.to_string(),
            "at_least": self.goal.ratio,
            "ratio_to_nginx": self.ratio(1).map(|ratio| [ratio.median, ratio.min, ratio.max]),
            "ratio_to_nginx_tuned": self.ratio(2).map(|ratio| [ratio.median, ratio.min, ratio.max]),
            "stored_over_uploaded": self.stored(),
            "overwrite_and_sync_seconds": self.floors,
            "rounds": rounds,
        })
    }
}

/// The table of all steps, and below it what a lone writer waits for.
pub fn table(rows: &[Compared], tuned: bool) -> String {
    let mut head = vec![
        "step",
        "at least",
        "ratio to nginx",
        "Larder CPU",
        "budget",
        "nginx CPU",
        "Larder req/s",
        "nginx req/s",
        "Larder p50, p99",
        "nginx p50, p99",
        "stored",
        "failed",
    ];
    if tuned {
        head.extend(["ratio to tuned", "tuned CPU"]);
    }
    let head: Vec<String> = head.into_iter().map(String::from).collect();
    let lines: Vec<Vec<String>> = rows.iter().map(|row| line(row, tuned)).collect();
    let mut text = render(&head, &lines);
    for row in rows.iter().filter(|row| !row.floors.is_empty()) {
        let _ = writeln!(text, "\n{}", lone_writer(row));
    }
    text
}

fn line(row: &Compared, tuned: bool) -> Vec<String> {
    let rate = |server: usize| {
        let rate = row.spread(|round| Some(round.get(server)?.rate()));
        rate.map_or("-".into(), |rate| format!("{:.0}", rate.median))
    };
    let latency = |server: usize| {
        let at = |quantile| row.spread(|round| Some(round.get(server)?.latency(quantile)));
        let text = |quantile| at(quantile).map_or("-".into(), |spread| time(spread.median));
        format!("{}, {}", text(0.5), text(0.99))
    };
    let cpu = |server| row.cpu(server).map_or("-".into(), |cpu| time(cpu.median));
    let budget = row
        .goal
        .ratio
        .zip(row.cpu(1))
        .map(|(ratio, cpu)| cpu.median / ratio);
    let mut cells = vec![
        row.goal.step.to_string(),
        row.goal.ratio.map_or("-".into(), |ratio| ratio.to_string()),
        ratio_text(row.ratio(1)),
        cpu(0),
        budget.map_or("-".into(), time),
        cpu(1),
        rate(0),
        rate(1),
        latency(0),
        latency(1),
        row.stored()
            .map_or("-".into(), |share| format!("{:.1} %", share * 100.0)),
        row.failures().to_string(),
    ];
    if tuned {
        cells.extend([ratio_text(row.ratio(2)), cpu(2)]);
    }
    cells
}

fn ratio_text(ratio: Option<Spread>) -> String {
    ratio.map_or("-".into(), |Spread { median, min, max }| {
        format!("{median:.2} ({min:.2} to {max:.2})")
    })
}

/// One PUT of 4 KiB and nobody else, beside the bare write and sync measured in the same round.
fn lone_writer(row: &Compared) -> String {
    let puts = row
        .rounds
        .iter()
        .filter_map(|round| Some(round.first()?.latency(0.5)));
    let ratio = Spread::of(puts.zip(&row.floors).map(|(put, floor)| put / floor));
    let floor = Spread::of(row.floors.iter().copied());
    format!(
        "{}: p50 is {} times that of overwriting preallocated space and fdatasync ({})",
        row.goal.step,
        ratio_text(ratio),
        floor.map_or("-".into(), |floor| time(floor.median))
    )
}
