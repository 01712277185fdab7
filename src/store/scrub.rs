//! Verification of a running store, one sealed file at a time. What is damaged and in use is quarantined.

use std::fs::File;

use super::check::{self, Target, is_gone};
use super::error::StoreError;
use super::index::keys;
use super::log::files;
use super::log::format::Binding;
use super::model::{FileKind, Place};
use super::pace::Pace;
use super::{Store, snapshot};

/// What reading one file gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes read.
    pub bytes: u64,
    /// Damaged places.
    pub damaged: u64,
}

impl Store {
    /// The log files there are, in the order of a scrub.
    pub fn log_files(&self) -> Result<Vec<(FileKind, u64)>, StoreError> {
        let mut all = Vec::new();
        for kind in [FileKind::Journal, FileKind::Segment] {
            let numbers = files::list(&self.inner.data, kind)?;
            all.extend(numbers.into_iter().map(|number| (kind, number)));
        }
        Ok(all)
    }

    /// Reads all of a sealed file; `None` for one that is being written or is gone.
    ///
    /// # Errors
    /// `Closed` where the pace says that it is time to end.
    pub fn scrub(&self, kind: FileKind, file: u64, pace: &dyn Pace) -> Result<Option<Scrubbed>, StoreError> {
        let data = &self.inner.data;
        let binding = Binding {
            store: self.inner.identity.uuid,
            kind,
            file,
        };
        let opened = File::open(files::path(data, kind, file)).map_err(StoreError::from);
        let sealed = opened.and_then(|opened| Ok(snapshot::is_sealed(&opened, &binding)?));
        match sealed {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let target = Target {
            data,
            binding,
            end: None,
        };
        let checked = match check::file(target, pace) {
            Err(error) if is_gone(&error) => return Ok(None),
            checked => checked?,
        };
        for finding in &checked.findings {
            let check::Finding {
                offset, len, what, ..
            } = finding;
            tracing::error!(?kind, file, offset, len, what, "a stretch of the log is damaged");
            for (digest, place) in &finding.copies {
                let mut in_use = false;
                for key in [keys::chunk(digest), keys::manifest(digest)] {
                    in_use |= self.get::<Place>(&key)?.as_ref() == Some(place);
                }
                if in_use {
                    self.inner.readers.damage().report(*digest, Some(*place));
                }
            }
        }
        Ok(Some(Scrubbed {
            bytes: checked.bytes,
            damaged: checked.findings.len() as u64,
        }))
    }
}
