//! The steps of `docs/performance.md`, and what Larder is to reach in each.

use crate::Fail;
use crate::workload::Step;

/// A step, and how many times as much CPU time an operation nginx is to need.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The step.
    pub step: Step,
    /// nginx's CPU time for an operation over Larder's; none where something else is asked for.
    pub ratio: Option<f64>,
}

/// All of them. In the last row one client stores 4 KiB and nobody else is there: its latency is what counts.
pub fn all() -> Result<Vec<Goal>, Fail> {
    let goals = [
        ("put:4KiB:64", Some(1.7)),
        ("put:64KiB:32", Some(1.3)),
        ("put:1MiB:16", Some(1.15)),
        ("put:64MiB:4", Some(1.15)),
        ("known:64MiB:4", Some(1.5)),
        ("similar:64MiB:4", Some(1.2)),
        ("mixed:1KiB..8MiB:32", Some(1.3)),
        ("get:4KiB:64", Some(1.2)),
        ("get:64KiB:32", Some(1.2)),
        ("get:1MiB:16", Some(1.2)),
        ("get:64MiB:4", Some(1.2)),
        ("miss:4KiB:64", Some(1.2)),
        ("head:4KiB:64", Some(1.2)),
        ("delete:4KiB:64", Some(4.0)),
        ("put:4KiB:1", None),
    ];
    let parse = |(step, ratio): &(&str, Option<f64>)| {
        Ok(Goal {
            step: step.parse()?,
            ratio: *ratio,
        })
    };
    goals.iter().map(parse).collect()
}
