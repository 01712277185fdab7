//! A thread of clients: hands requests to connections that are free and goes on with those that can.

use std::io;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event};

use crate::Fail;
use crate::connection::{Connection, Done, Tools};
use crate::draw::Random;
use crate::open_loop::Pace;
use crate::run::Start;
use crate::stats::{Failure, Tally};
use crate::workload::Plan;

/// How often requests without progress are looked for.
const TICK: Duration = Duration::from_secs(1);

/// The connections of one thread.
pub struct Worker<'a> {
    tools: Tools<'a>,
    plan: &'a Plan,
    random: Random,
    connections: Vec<Connection>,
    free: Vec<usize>,
    tally: Tally,
    /// When the request is due that could not be sent yet.
    next_due: Option<Instant>,
}

/// What there is to do for a free connection.
enum Offer {
    Nothing,
    Until(Instant),
    Now(Instant),
}

impl<'a> Worker<'a> {
    /// A worker with `connections` connections, opened ahead of the first request if they are kept.
    pub fn new(tools: Tools<'a>, plan: &'a Plan, connections: u64, seed: u64) -> Result<Self, Fail> {
        let mut opened: Vec<Connection> = (0..connections).map(Connection::new).collect();
        if tools.keep_alive {
            for connection in &mut opened {
                // A failure shows again at the first request.
                let _ = connection.connect(&tools);
            }
        }
        Ok(Worker {
            tools,
            plan,
            random: Random::new(seed),
            free: (0..opened.len()).collect(),
            connections: opened,
            tally: Tally::new()?,
            next_due: None,
        })
    }

    /// Carries out its share of the plan.
    pub fn work(mut self, start: &Start, time: Option<Duration>) -> Result<Tally, Fail> {
        let mut events = Vec::with_capacity(256);
        let mut looked = Instant::now();
        loop {
            let due = self.hand_out(start, time);
            if due.is_none() && self.free.len() == self.connections.len() {
                return Ok(self.tally);
            }
            self.wait(&mut events, due)?;
            for event in events.drain(..) {
                self.advance(event.data.u64() as usize);
            }
            if looked.elapsed() > TICK {
                looked = Instant::now();
                (0..self.connections.len()).for_each(|index| {
                    let done = self.connections[index].give_up();
                    self.settle(index, done);
                });
            }
        }
    }

    /// Gives free connections work. When there will be more, if there will.
    fn hand_out(&mut self, start: &Start, time: Option<Duration>) -> Option<Instant> {
        while let Some(&index) = self.free.last() {
            let due = match self.offer(start, time) {
                Offer::Nothing => return None,
                Offer::Until(due) => return Some(due),
                Offer::Now(due) => due,
            };
            let job = self.plan.next(&mut self.random)?;
            self.free.pop();
            self.connections[index].begin(&self.tools, job, due);
            self.advance(index);
        }
        None
    }

    fn offer(&mut self, start: &Start, time: Option<Duration>) -> Offer {
        let now = Instant::now();
        // A server that falls behind a set rate gets as long again for what was due in time.
        if time.is_some_and(|time| now > start.begun + time * 2) {
            return Offer::Nothing;
        }
        let due = self
            .next_due
            .take()
            .or_else(|| start.pace.as_ref().map(Pace::next));
        let due = due.unwrap_or(now);
        if time.is_some_and(|time| due >= start.begun + time) {
            return Offer::Nothing;
        }
        if due > now {
            self.next_due = Some(due);
            return Offer::Until(due);
        }
        Offer::Now(due)
    }

    fn wait(&self, events: &mut Vec<Event>, due: Option<Instant>) -> io::Result<()> {
        let left = due.map_or(TICK, |due| {
            due.saturating_duration_since(Instant::now()).min(TICK)
        });
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match epoll::wait(&self.tools.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn advance(&mut self, index: usize) {
        let done = self.connections[index].advance(&mut self.tools);
        self.settle(index, done);
    }

    /// Counts a request that is done, and frees its connection.
    fn settle(&mut self, index: usize, done: Option<Done>) {
        let Some(done) = done else { return };
        if done.result == Err(Failure::Connect) {
            // A server that is not there is not to be asked a million times.
            std::thread::sleep(Duration::from_millis(1));
        }
        self.tally.record(done.due.elapsed(), done.result);
        self.free.push(index);
    }
}
