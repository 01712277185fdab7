//! One round of a step: workers on threads of their own, the plan they share, and what it took.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::body::Source;
use crate::connection::Tools;
use crate::open_loop::Pace;
use crate::stats::{Failure, Tally};
use crate::target::Target;
use crate::worker::Worker;
use crate::workload::Plan;
use crate::{Fail, process};

/// What a server does after its last answer (index, write-back) still belongs to the round.
const SETTLE: Duration = Duration::from_millis(300);

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Connections.
    pub clients: u64,
    /// Threads that share them.
    pub threads: u64,
    /// No request begins after this time; without it the plan's limit alone ends the round.
    pub time: Option<Duration>,
    /// Requests a second, if they do not wait for answers.
    pub rate: Option<f64>,
    /// Whether connections are kept.
    pub keep_alive: bool,
}

/// What a round took.
#[derive(Debug)]
pub struct Ran {
    /// What the clients saw.
    pub tally: Tally,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// CPU time of both sides.
    pub usage: Usage,
}

/// CPU seconds, since the start of the processes or during a round.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of the server, if it is local.
    pub server: Option<f64>,
    /// Of this program.
    pub client: Option<f64>,
}

impl Usage {
    fn now(target: &Target) -> Self {
        Usage {
            server: target.process.and_then(process::cpu_seconds),
            client: process::cpu_clock(std::process::id()),
        }
    }

    fn since(self, before: Self) -> Self {
        Usage {
            server: self.server.zip(before.server).map(|(now, then)| now - then),
            client: self.client.zip(before.client).map(|(now, then)| now - then),
        }
    }
}

/// What the workers wait for.
#[derive(Debug)]
pub struct Start {
    /// The moment of the first request.
    pub begun: Instant,
    /// The moments of the others, if they are set.
    pub pace: Option<Pace>,
}

/// Carries out `plan` against `target`.
pub fn run(target: &Target, source: &Source, plan: &Plan, mode: Mode) -> Result<Ran, Fail> {
    let threads = mode.threads.clamp(1, mode.clients);
    let worker = |number: u64| {
        let tools = Tools::new(target, source, mode.keep_alive)?;
        let share = mode.clients / threads + u64::from(number < mode.clients % threads);
        Worker::new(tools, plan, share, number)
    };
    let workers = (0..threads).map(worker).collect::<Result<Vec<_>, Fail>>()?;
    let start = OnceLock::new();
    let waiting = &start;
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(move || worker.work(waiting.wait(), mode.time)))
            .collect();
        let before = Usage::now(target);
        let begun = Instant::now();
        let pace = mode.rate.map(|rate| Pace::new(begun, rate));
        let start = start.get_or_init(|| Start { begun, pace });
        let mut tally = Tally::new()?;
        for thread in threads {
            tally.merge(&thread.join().map_err(|_| "a worker panicked")??)?;
        }
        if let (Some(pace), Some(time)) = (&start.pace, mode.time) {
            tally.fail(Failure::Unsent, pace.untaken(begun + time));
        }
        let seconds = begun.elapsed().as_secs_f64();
        thread::sleep(SETTLE);
        let usage = Usage::now(target).since(before);
        Ok(Ran {
            tally,
            seconds,
            usage,
        })
    })
}
