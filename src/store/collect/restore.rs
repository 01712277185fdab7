//! Manifests that are damaged are brought back from the footer of their journal file, which repeats them.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{CollectError, Kind, Pass};
use crate::chunk::Digest;
use crate::store::change::{Change, Original};
use crate::store::error::StoreError;
use crate::store::log::files;
use crate::store::log::format::{Binding, Trailer};
use crate::store::log::journal_footer;
use crate::store::log::record::Record;
use crate::store::log::scan::Found;
use crate::store::model::{FileKind, Manifest, Place};
use crate::store::position::Applied;

/// How long a pass waits for the active file to be sealed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Pass<'_> {
    /// The manifest whose copy at `place` is damaged, if the footer has it; it is then written again, so that who reads
    /// the file finds it too. A preview writes nothing.
    pub(super) fn restore(
        &self,
        blob: &Digest,
        place: Option<Place>,
    ) -> Result<Option<Manifest>, CollectError> {
        let Some(place) = place.filter(|place| place.kind == FileKind::Journal) else {
            return Ok(None);
        };
        let Some(manifest) = self.repeated(blob, &place)? else {
            return Ok(None);
        };
        if self.kind != Kind::Preview {
            let original = Original {
                place,
                record: Record::Manifest(*blob, manifest.clone()),
                bytes: Bytes::new(),
            };
            self.commit(Change::Copy(vec![original]))?;
            tracing::warn!(%blob, copy = files::describe(&place), "a damaged manifest was brought back from a footer");
        }
        Ok(Some(manifest))
    }

    fn repeated(&self, blob: &Digest, place: &Place) -> Result<Option<Manifest>, CollectError> {
        let disk = &*self.inner.disk;
        let binding = Binding {
            store: self.inner.identity.uuid,
            kind: place.kind,
            file: place.file,
        };
        let path = files::path(&self.inner.data, place.kind, place.file);
        let Ok(file) = disk.open(&path) else {
            return Ok(None);
        };
        let trailer = self.sealed(place.file, || Ok(journal_footer::trailer(disk, &file, &binding)?))?;
        let Some(trailer) = trailer else { return Ok(None) };
        let listed = journal_footer::read(disk, &file, &binding, trailer)
            .map_err(StoreError::from)?
            .unwrap_or_default();
        let mut records = listed.into_iter().flat_map(|found| match found {
            Found::Group { records, .. } => records,
            Found::Damaged { saved, .. } => saved,
        });
        Ok(records.find_map(|at| match at.record {
            Record::Manifest(digest, manifest) if digest == *blob && at.offset == place.offset => {
                Some(manifest)
            }
            _ => None,
        }))
    }

    /// The trailer of a journal file. The active one is ended first, and waited for.
    fn sealed(
        &self,
        number: u64,
        trailer: impl Fn() -> Result<Option<Trailer>, StoreError>,
    ) -> Result<Option<Trailer>, CollectError> {
        let mut found = trailer()?;
        let active = Applied::load(&self.inner.index)?.map(|applied| applied.file);
        if found.is_some() || self.kind == Kind::Preview {
            return Ok(found);
        }
        if active == Some(number) {
            self.commit(Change::Mark { last_of_file: true })?;
        }
        let deadline = Instant::now() + PATIENCE;
        while found.is_none() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
            self.may_go_on(0)?;
            found = trailer()?;
        }
        Ok(found)
    }
}
