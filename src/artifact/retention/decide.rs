//! What becomes of a version under the rules: the one function that says so, for previews as for removals.

use super::rules::Rule;
use crate::store::model::Millis;

/// What is known of a version.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a str,
    /// When it was created.
    pub created: Millis,
    /// When a file of it was last asked for, as far as is known.
    pub last_used: Option<Millis>,
    /// Whether it is pinned.
    pub is_pinned: bool,
}

/// What becomes of it. Rules are named by their number, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays: it is pinned.
    Pinned,
    /// It stays: a rule keeps the newest of those that it means.
    Newest {
        /// Which rule.
        rule: usize,
        /// The version's place among them, from 1.
        place: u32,
    },
    /// It stays: a rule keeps it by name.
    Named {
        /// Which rule.
        rule: usize,
        /// The glob that names it.
        glob: String,
    },
    /// It stays: no rule removes it.
    Unmentioned,
    /// It goes then, if nothing changes before.
    Due {
        /// By which rule.
        rule: usize,
        /// When.
        at: Millis,
    },
    /// It goes now.
    Expired {
        /// By which rule.
        rule: usize,
        /// Since when.
        since: Millis,
    },
}

/// Counts the versions of one package that each rule means; to be asked about them from the newest to the oldest.
#[derive(Debug)]
pub struct Judge<'a> {
    rules: Vec<(usize, &'a Rule)>,
    /// How many versions each rule has meant so far.
    met: Vec<u32>,
    now: Millis,
}

impl<'a> Judge<'a> {
    /// For a package that these rules mean, at this time.
    pub fn new(rules: Vec<(usize, &'a Rule)>, met: Vec<u32>, now: Millis) -> Self {
        let mut met = met;
        met.resize(rules.len(), 0);
        Judge { rules, met, now }
    }

    /// How many versions each rule has meant, to go on from there.
    pub fn into_met(self) -> Vec<u32> {
        self.met
    }

    /// What becomes of the next older version.
    pub fn judge(&mut self, facts: Facts<'_>) -> Verdict {
        for (met, (_, rule)) in self.met.iter_mut().zip(&self.rules) {
            *met += u32::from(rule.means(facts.name));
        }
        decide(&self.rules, &self.met, facts, self.now)
    }
}

/// What becomes of a version. `places`: its place, from 1, among the versions that each rule means.
fn decide(rules: &[(usize, &Rule)], places: &[u32], facts: Facts<'_>, now: Millis) -> Verdict {
    if facts.is_pinned {
        return Verdict::Pinned;
    }
    let last_used = facts.created.max(facts.last_used.unwrap_or(facts.created));
    let mut due: Option<(Millis, usize)> = None;
    for ((number, rule), place) in rules.iter().zip(places) {
        if let Some(glob) = rule.kept_by(facts.name) {
            let (rule, glob) = (*number, glob.to_owned());
            return Verdict::Named { rule, glob };
        }
        if !rule.means(facts.name) {
            continue;
        }
        if rule.given.keep_newest.is_some_and(|kept| *place <= kept) {
            let (rule, place) = (*number, *place);
            return Verdict::Newest { rule, place };
        }
        if let Some(at) = rule.due(facts.created, last_used)
            && due.is_none_or(|(earliest, _)| at < earliest)
        {
            due = Some((at, *number));
        }
    }
    match due {
        None => Verdict::Unmentioned,
        Some((since, rule)) if since <= now => Verdict::Expired { rule, since },
        Some((at, rule)) => Verdict::Due { rule, at },
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
