//! What a daemon says about itself: metrics, and what the kernel knows of its memory.

use std::fs;

use super::{Daemon, PATIENCE, Request, within};

impl Daemon {
    /// The whole text of `/metrics`.
    pub fn metrics(&self) -> String {
        let answer = self.send(&Request::get("/metrics"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Sum of the samples of `name` that carry `label` (any, when it is empty); 0 when there is none.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.metrics();
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (family, labels) = series.split_once('{').unwrap_or((series, ""));
            (family == name && labels.contains(label)).then(|| value.parse::<f64>().expect("a number"))
        });
        samples.sum::<f64>() as u64
    }

    /// Waits until a request of this operation is under way.
    pub fn takes_up(&self, op: &str) {
        let label = format!("op=\"{op}\"");
        let under_way = || self.metric("larder_http_requests_in_flight", &label) > 0;
        assert!(within(PATIENCE, under_way), "no {op} has begun");
    }

    /// A field of `/proc/PID/status` in bytes, for instance `VmHWM`.
    pub fn memory(&self, field: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("the field is known");
        let kilobytes = line.trim_start_matches(':').trim().trim_end_matches(" kB");
        kilobytes.parse::<usize>().expect("a number of kB") * 1024
    }
}
