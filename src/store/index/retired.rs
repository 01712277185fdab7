//! Trees that are not needed any more: dropped once that is durable and nobody reads them.

use std::sync::Arc;

use super::run::Run;

/// What waits to be dropped.
#[derive(Debug, Default)]
pub struct Retired {
    /// Numbered in the order in which they came.
    waiting: Vec<(u64, Waiting)>,
    last: u64,
    durable: u64,
}

#[derive(Debug)]
enum Waiting {
    /// A run that has been merged into another.
    Run(Arc<Run>),
    /// A tree that no manifest names: of a run that was being written when the last process ended, or waited here.
    Tree(String),
}

impl Retired {
    /// A run has been merged into another.
    pub fn run(&mut self, run: Arc<Run>) {
        self.add(Waiting::Run(run));
    }

    /// A tree has been found that no manifest names.
    pub fn tree(&mut self, name: String) {
        self.add(Waiting::Tree(name));
    }

    fn add(&mut self, waiting: Waiting) {
        self.last += 1;
        self.waiting.push((self.last, waiting));
    }

    /// Up to where a checkpoint that begins now makes it durable.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// A checkpoint that began at `last` has ended.
    pub fn durable(&mut self, last: u64) {
        self.durable = self.durable.max(last);
    }

    /// The names of trees that can be dropped now, of one run.
    pub fn take(&mut self) -> Option<Vec<String>> {
        let free = |(number, waiting): &(u64, Waiting)| {
            *number <= self.durable
                && match waiting {
                    // Not in the list any more, so nobody begins to read it.
                    Waiting::Run(run) => Arc::strong_count(run) == 1,
                    Waiting::Tree(_) => true,
                }
        };
        let at = self.waiting.iter().position(free)?;
        Some(match self.waiting.remove(at).1 {
            Waiting::Run(run) => run.info.trees().collect(),
            Waiting::Tree(name) => vec![name],
        })
    }
}
