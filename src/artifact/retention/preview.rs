//! What a pass of retention would do now, without doing it.

use std::sync::Arc;

use super::decide::Verdict;
use super::{Judged, Rules, Survey};
use crate::artifact::browse::Window;
use crate::artifact::{ArtifactError, Artifacts, walk};
use crate::store::model::{Account, Millis};

/// Versions by what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// They stay.
    pub kept: u64,
    /// They will go, unless something changes.
    pub due: u64,
    /// They go now.
    pub removed: u64,
}

/// A part of what a pass would do.
#[derive(Clone, Debug)]
pub struct Preview {
    /// All versions of the owner.
    pub tally: Tally,
    /// Those of the window.
    pub versions: Vec<Judged>,
    /// How many there are on all pages.
    pub total: u64,
}

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Due { .. } => self.due += 1,
            Verdict::Expired { .. } => self.removed += 1,
            _ => self.kept += 1,
        }
    }
}

impl Artifacts {
    /// What a pass would do with an owner's versions at this time; of them those in the window. `only_removed`: only
    /// those that would go now. Looks at every version, at a bounded number of them for all who ask at once.
    pub async fn preview_retention(
        &self,
        owner: &Account,
        rules: Arc<Rules>,
        now: Millis,
        window: Window,
        only_removed: bool,
    ) -> Result<Preview, ArtifactError> {
        // Never closed.
        let _turn = self.previews.acquire().await;
        let mut survey = self.survey(owner, rules, now);
        let mut preview = Preview {
            tally: Tally::default(),
            versions: Vec::new(),
            total: 0,
        };
        let first = window.skip() as u64;
        let end = first.saturating_add(window.limit.get() as u64);
        loop {
            let judged;
            (survey, judged) = walk::step(survey, Survey::step).await?;
            let Some(judged) = judged? else {
                return Ok(preview);
            };
            for judged in judged {
                preview.tally.count(&judged.verdict);
                if only_removed && !matches!(judged.verdict, Verdict::Expired { .. }) {
                    continue;
                }
                if (first..end).contains(&preview.total) {
                    preview.versions.push(judged);
                }
                preview.total += 1;
            }
        }
    }
}
