//! One round of a step: clients on threads of their own, the plan they share, and what it took.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::CreationError;

use crate::body::Source;
use crate::client::Client;
use crate::draw::Random;
use crate::open_loop::{Pace, wait_until};
use crate::stats::{Failure, Tally};
use crate::target::Target;
use crate::workload::Plan;
use crate::{Fail, process};

/// A client needs little more than the slices of one vectored write.
const STACK: usize = 256 * 1024;
/// What a server does after its last answer (index, write-back) still belongs to the round.
const SETTLE: Duration = Duration::from_millis(300);

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Connections.
    pub clients: u64,
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
            client: process::cpu_seconds(std::process::id()),
        }
    }

    fn since(self, before: Self) -> Self {
        Usage {
            server: self.server.zip(before.server).map(|(now, then)| now - then),
            client: self.client.zip(before.client).map(|(now, then)| now - then),
        }
    }
}

/// What the clients wait for.
struct Start {
    begun: Instant,
    pace: Option<Pace>,
}

/// Carries out `plan` against `target`.
pub fn run(target: &Target, source: &Source, plan: &Plan, mode: Mode) -> Result<Ran, Fail> {
    let ready = AtomicU64::new(0);
    let start = OnceLock::new();
    let client = |number| {
        let mut client = Client::new(target, source, mode.keep_alive);
        // A failure shows again at the first request.
        let _ = client.connect();
        ready.fetch_add(1, Ordering::Relaxed);
        work(&mut client, plan, mode, start.wait(), number)
    };
    let client = &client;
    thread::scope(|scope| {
        let spawn = |number| {
            let builder = thread::Builder::new().stack_size(STACK);
            builder.spawn_scoped(scope, move || client(number))
        };
        let threads: Vec<_> = (0..mode.clients).map_while(|number| spawn(number).ok()).collect();
        while ready.load(Ordering::Relaxed) < threads.len() as u64 {
            thread::sleep(Duration::from_millis(1));
        }
        let before = Usage::now(target);
        let begun = Instant::now();
        let pace = mode.rate.map(|rate| Pace::new(begun, rate));
        let start = start.get_or_init(|| Start { begun, pace });
        if threads.len() as u64 != mode.clients {
            return Err(format!("only {} clients could be started", threads.len()).into());
        }
        let mut tally = Tally::new()?;
        for thread in threads {
            tally.merge(&thread.join().map_err(|_| "a client panicked")??)?;
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

/// The requests of one client.
fn work(
    client: &mut Client<'_>,
    plan: &Plan,
    mode: Mode,
    start: &Start,
    number: u64,
) -> Result<Tally, CreationError> {
    let mut random = Random::new(number);
    let mut tally = Tally::new()?;
    let end = mode.time.map(|time| start.begun + time);
    loop {
        // A server that falls behind a set rate gets as long again for what was due in time.
        if mode.time.is_some_and(|time| start.begun.elapsed() > time * 2) {
            return Ok(tally);
        }
        let due = start.pace.as_ref().map_or_else(Instant::now, Pace::next);
        if end.is_some_and(|end| due >= end) {
            return Ok(tally);
        }
        let Some(job) = plan.next(&mut random) else {
            return Ok(tally);
        };
        wait_until(due);
        let result = client.perform(&job);
        if result == Err(Failure::Connect) {
            thread::sleep(Duration::from_millis(10));
        }
        tally.record(due.elapsed(), result);
    }
}
