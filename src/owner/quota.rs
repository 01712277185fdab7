//! What an owner may hold, and whether a publication fits in: plain code, called by the actor, and from committed
//! state before a body has come.
//!
//! The actor's look is the second of three, and like the first it only refuses early. Last the committer proves the
//! quota, over everything before it, as it proves whatever else a publication expects. So neither publications that
//! are under way at the same time nor an actor that dies can bring an owner over its quota.

use super::decide::Refusal;
use super::names::Standing;
use crate::store::counts::{Delta, Exceeded, Quota};
use crate::store::model::{Limit, OwnerSettings, Totals};

/// The limits of one owner. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files, each counted in full, whoever else has the same bytes.
    pub bytes: Option<u64>,
    /// Versions of all packages.
    pub versions: Option<u64>,
    /// Bytes of one file. Admins are not exempt from this one: it guards the server.
    pub file_size: Option<u64>,
}

impl Limits {
    /// These, except where something else is set for the owner.
    pub fn unless_set(self, settings: &OwnerSettings) -> Self {
        Limits {
            bytes: set_or(settings.max_bytes, self.bytes),
            versions: set_or(settings.max_versions, self.versions),
            file_size: set_or(settings.max_file_size, self.file_size),
        }
    }

    /// What the owner may hold in all.
    pub fn quota(self) -> Quota {
        Quota {
            bytes: self.bytes,
            versions: self.versions,
        }
    }
}

fn set_or(set: Option<Limit>, configured: Option<u64>) -> Option<u64> {
    match set {
        None => configured,
        Some(Limit::Unlimited) => None,
        Some(Limit::AtMost(limit)) => Some(limit),
    }
}

/// Whether a body of `size` bytes may take its place, given what stands there and what the owner holds.
///
/// # Errors
/// With the part of the quota that it would exceed.
pub fn decide_quota(quota: Quota, held: Totals, standing: &Standing, size: u64) -> Result<(), Refusal> {
    let mut delta = Delta::file(size, 1);
    if let Some(replaced) = &standing.file {
        delta += Delta::file(replaced.size, -1);
    }
    delta.versions = i64::from(standing.version.is_none());
    match quota.exceeded(held, delta) {
        None => Ok(()),
        Some(Exceeded::Bytes) => Err(Refusal::OverBytes),
        Some(Exceeded::Versions) => Err(Refusal::OverVersions),
    }
}

/// How long a body may become that takes its place, in bytes.
pub fn room(quota: Quota, held: Totals, standing: &Standing) -> u64 {
    let replaced = standing.file.as_ref().map_or(0, |file| file.size);
    let left = |limit: u64| limit.saturating_sub(held.bytes).saturating_add(replaced);
    quota.bytes.map_or(u64::MAX, left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Digest;
    use crate::store::model::{File, Shape, Version};

    fn quota(bytes: Option<u64>, versions: Option<u64>) -> Quota {
        Quota { bytes, versions }
    }

    fn held(bytes: u64, versions: u64) -> Totals {
        Totals {
            bytes,
            versions,
            files: versions,
        }
    }

    /// Nothing; a version without the file; a file of `size` bytes.
    fn standing(version: bool, size: Option<u64>) -> Standing {
        Standing {
            package: None,
            version: version.then(|| Version {
                id: 1,
                name: "1".into(),
                created: 0,
                creator: 1,
            }),
            file: size.map(|size| File {
                id: 2,
                name: "f".into(),
                blob: Digest::of(b""),
                size,
                shape: Shape::Single,
                created: 0,
                creator: 1,
                sha256: None,
            }),
        }
    }

    #[test]
    fn a_limit_is_what_may_be_reached() {
        let (over_bytes, over_versions) = (Err(Refusal::OverBytes), Err(Refusal::OverVersions));
        #[rustfmt::skip]
        let table = [
            // quota                   held           there                       size  answer
            (quota(None, None),        held(9, 9),    standing(false, None),      9,    Ok(())),
            (quota(Some(10), None),    held(9, 9),    standing(false, None),      1,    Ok(())),
            (quota(Some(10), None),    held(9, 9),    standing(false, None),      2,    over_bytes),
            (quota(Some(0), None),     held(0, 0),    standing(false, None),      0,    Ok(())),
            (quota(Some(0), None),     held(0, 0),    standing(false, None),      1,    over_bytes),
            (quota(None, Some(9)),     held(0, 8),    standing(false, None),      1,    Ok(())),
            (quota(None, Some(9)),     held(0, 9),    standing(false, None),      0,    over_versions),
            (quota(None, Some(9)),     held(0, 9),    standing(true, None),       1,    Ok(())),
            (quota(Some(1), Some(1)),  held(1, 1),    standing(false, None),      1,    over_versions),
            // Replacing frees the old bytes in the same decision,
            (quota(Some(10), None),    held(10, 1),   standing(true, Some(4)),    4,    Ok(())),
            (quota(Some(10), None),    held(10, 1),   standing(true, Some(4)),    5,    over_bytes),
            // and what shrinks is welcome above a quota that was lowered; what only joins is not.
            (quota(Some(5), Some(1)),  held(10, 9),   standing(true, Some(4)),    4,    Ok(())),
            (quota(Some(5), Some(1)),  held(10, 9),   standing(true, Some(4)),    5,    over_bytes),
            (quota(Some(5), None),     held(10, 9),   standing(true, None),       0,    Ok(())),
            // Nothing overflows.
            (quota(Some(9), None),     held(8, 1),    standing(true, None),       u64::MAX, over_bytes),
        ];
        for (number, (quota, held, standing, size, answer)) in table.into_iter().enumerate() {
            assert_eq!(decide_quota(quota, held, &standing, size), answer, "row {number}");
        }
    }

    #[test]
    fn what_is_set_beats_what_is_configured_in_both_directions() {
        let configured = Limits {
            bytes: Some(10),
            versions: None,
            file_size: Some(5),
        };
        assert_eq!(configured.unless_set(&OwnerSettings::default()), configured);
        let settings = OwnerSettings {
            max_bytes: Some(Limit::AtMost(20)),
            max_versions: Some(Limit::AtMost(0)),
            max_file_size: Some(Limit::Unlimited),
            ..OwnerSettings::default()
        };
        let expected = Limits {
            bytes: Some(20),
            versions: Some(0),
            file_size: None,
        };
        assert_eq!(configured.unless_set(&settings), expected);
    }

    proptest! {
        /// The room is exactly what the decision lets through.
        #[test]
        fn the_room_is_what_still_fits(
            limit in any::<Option<u8>>(), bytes in any::<u8>(), replaced in any::<Option<u8>>(), size in any::<u16>()
        ) {
            let quota = quota(limit.map(u64::from), None);
            let held = held(u64::from(bytes), 1);
            // What stands is held.
            let replaced = replaced.map(u64::from).filter(|replaced| *replaced <= held.bytes);
            let standing = standing(true, replaced);
            let fits = decide_quota(quota, held, &standing, u64::from(size)).is_ok();
            prop_assert_eq!(fits, u64::from(size) <= room(quota, held, &standing));
        }
    }
}
