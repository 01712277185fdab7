//! Decisions about names, as plain functions over plain data: called by the actor, and tested without it.

use super::names::Standing;
use super::policy::Policy;
use super::precondition::WriteCondition;
use crate::chunk::Digest;
use crate::store::model::{File, Id, Package, Version};

/// What a publication wants, apart from its name.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Preconditions; they come before the policy.
    pub condition: &'a WriteCondition,
    /// The blake3 of the body. `None` while it is not known: then in doubt for the publication.
    pub digest: Option<Digest>,
}

/// What becomes of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Accept {
        /// The file that it replaces; `None`: the name is free.
        replaces: Option<Id>,
    },
    /// The file is there with the same bytes, and the policy is content with that. Nothing is written.
    AlreadyThere(File),
    /// It does not.
    Refuse(Refusal),
}

/// Why the names do not allow what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A precondition does not hold.
    Precondition,
    /// `release`, and the version is there.
    VersionExists,
    /// `package` or `write-once`, and the file is there.
    FileExists,
    /// The owner would hold more bytes than its quota.
    OverBytes,
    /// The owner would hold more versions than its quota.
    OverVersions,
    /// There is no such package or version.
    NoVersion,
    /// The version has no such file.
    NoFile,
    /// The version is pinned, and this removal spares what is pinned.
    Pinned,
}

/// Decides about a publication, given what stands under its name (API.md §4, §5).
pub fn decide_publish(policy: Policy, standing: &Standing, wish: Wish<'_>) -> Decision {
    let current = standing.file.as_ref();
    if !wish.condition.holds(current) {
        return Decision::Refuse(Refusal::Precondition);
    }
    let replace = Decision::Accept {
        replaces: current.map(|file| file.id),
    };
    match (policy, current) {
        (Policy::Release, _) if standing.version.is_some() => Decision::Refuse(Refusal::VersionExists),
        (_, None) | (Policy::Cache, Some(_)) => replace,
        // The precondition holds, so this is the file that the client means to replace.
        (Policy::Package, Some(_)) if wish.condition.if_match.is_some() => replace,
        (Policy::WriteOnce, Some(file)) if is_same(wish.digest, file) => Decision::AlreadyThere(file.clone()),
        (_, Some(_)) => Decision::Refuse(Refusal::FileExists),
    }
}

/// The file whose damage would turn this decision of the policy into an acceptance: a body with the recorded digest
/// heals a damaged file under every policy (API.md §1, Damage).
pub fn could_heal<'a>(decision: &Decision, standing: &'a Standing, wish: Wish<'_>) -> Option<&'a File> {
    match decision {
        Decision::AlreadyThere(_) | Decision::Refuse(Refusal::VersionExists | Refusal::FileExists) => {
            standing.file.as_ref().filter(|file| is_same(wish.digest, file))
        }
        _ => None,
    }
}

fn is_same(digest: Option<Digest>, file: &File) -> bool {
    digest.is_none_or(|digest| digest == file.blob)
}

/// What a removal of a file takes away, or why there is nothing to remove.
pub fn decide_remove_file(standing: Standing) -> Result<(Package, Version, File), Refusal> {
    let (package, version) = (standing.package, standing.version);
    match (package.zip(version), standing.file) {
        (Some((package, version)), Some(file)) => Ok((package, version, file)),
        (Some(_), None) => Err(Refusal::NoFile),
        (None, _) => Err(Refusal::NoVersion),
    }
}

/// Whether upkeep may remove what stands: it must be the very thing that it has judged, and not be pinned since.
pub fn decide_expendable(stands: Id, judged: Id, is_pinned: bool, gone: Refusal) -> Result<(), Refusal> {
    match (stands == judged, is_pinned) {
        (false, _) => Err(gone),
        (true, true) => Err(Refusal::Pinned),
        (true, false) => Ok(()),
    }
}

/// What a removal of a package takes away, or why there is nothing to remove.
pub fn decide_remove_package(standing: Standing) -> Result<Package, Refusal> {
    standing.package.ok_or(Refusal::NoVersion)
}

/// What a removal of a version takes away, or why there is nothing to remove.
pub fn decide_remove_version(standing: Standing) -> Result<(Package, Version), Refusal> {
    standing.package.zip(standing.version).ok_or(Refusal::NoVersion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::precondition::EtagSet;
    use crate::store::model::Shape;
    use Policy::{Cache, Package as Pkg, Release, WriteOnce};

    const FREE: Decision = Decision::Accept { replaces: None };
    const REPLACE: Decision = Decision::Accept { replaces: Some(7) };
    const PRECONDITION: Decision = Decision::Refuse(Refusal::Precondition);
    const VERSION: Decision = Decision::Refuse(Refusal::VersionExists);
    const FILE: Decision = Decision::Refuse(Refusal::FileExists);

    fn package() -> Package {
        Package {
            id: 1,
            name: "app".into(),
            exact_case: false,
            created: 0,
        }
    }

    fn version() -> Version {
        Version {
            id: 2,
            name: "1".into(),
            created: 0,
            creator: 1,
        }
    }

    fn file() -> File {
        File {
            id: 7,
            name: "f".into(),
            blob: Digest::of(b"old"),
            size: 3,
            shape: Shape::Single,
            created: 10_000,
            creator: 1,
            sha256: None,
        }
    }

    fn same() -> Decision {
        Decision::AlreadyThere(file())
    }

    /// Nothing at all; the package; a version without this file; the file.
    fn standings() -> [Standing; 4] {
        let nothing = Standing::default();
        let package = Standing {
            package: Some(package()),
            ..nothing.clone()
        };
        let version = Standing {
            version: Some(version()),
            ..package.clone()
        };
        let file = Standing {
            file: Some(file()),
            ..version.clone()
        };
        [nothing, package, version, file]
    }

    fn condition(name: &str) -> WriteCondition {
        let old = || Some(EtagSet::Tags(vec![Digest::of(b"old")]));
        let other = || Some(EtagSet::Tags(vec![Digest::of(b"other")]));
        let mut condition = WriteCondition::default();
        match name {
            "" => {}
            "If-Match: *" => condition.if_match = Some(EtagSet::Any),
            "If-Match: old" => condition.if_match = old(),
            "If-Match: other" => condition.if_match = other(),
            "If-None-Match: *" => condition.if_none_match = Some(EtagSet::Any),
            "If-None-Match: old" => condition.if_none_match = old(),
            "If-None-Match: other" => condition.if_none_match = other(),
            "If-Unmodified-Since: before" => condition.if_unmodified_since = Some(9_000),
            "If-Unmodified-Since: after" => condition.if_unmodified_since = Some(10_000),
            _ => unreachable!("no such condition"),
        }
        condition
    }

    /// Without a file, only `release` minds a version, and only `If-Match` minds that there is no file.
    #[test]
    fn a_free_name() {
        for policy in [Release, Pkg, WriteOnce, Cache] {
            for name in [
                "",
                "If-None-Match: *",
                "If-None-Match: old",
                "If-Unmodified-Since: before",
                "If-Match: *",
                "If-Match: old",
            ] {
                let [nothing, package, version, _] = standings();
                for (standing, has_version) in [(nothing, false), (package, false), (version, true)] {
                    let expected = if name.starts_with("If-Match") {
                        PRECONDITION
                    } else if policy == Release && has_version {
                        VERSION
                    } else {
                        FREE
                    };
                    for digest in [None, Some(Digest::of(b"new"))] {
                        let condition = condition(name);
                        let wish = Wish {
                            condition: &condition,
                            digest,
                        };
                        assert_eq!(
                            decide_publish(policy, &standing, wish),
                            expected,
                            "{policy:?} {name} {standing:?}"
                        );
                    }
                }
            }
        }
    }

    /// The file is there: policy by precondition, for other bytes and for the same.
    #[test]
    fn a_taken_name() {
        #[rustfmt::skip]
        let table = [
            // condition                    policy     other bytes   same bytes
            ("",                            Release,   VERSION,      VERSION),
            ("",                            Pkg,       FILE,         FILE),
            ("",                            WriteOnce, FILE,         same()),
            ("",                            Cache,     REPLACE,      REPLACE),
            ("If-Match: *",                 Release,   VERSION,      VERSION),
            ("If-Match: *",                 Pkg,       REPLACE,      REPLACE),
            ("If-Match: *",                 WriteOnce, FILE,         same()),
            ("If-Match: *",                 Cache,     REPLACE,      REPLACE),
            ("If-Match: old",               Release,   VERSION,      VERSION),
            ("If-Match: old",               Pkg,       REPLACE,      REPLACE),
            ("If-Match: old",               WriteOnce, FILE,         same()),
            ("If-Match: old",               Cache,     REPLACE,      REPLACE),
            ("If-None-Match: other",        Release,   VERSION,      VERSION),
            ("If-None-Match: other",        Pkg,       FILE,         FILE),
            ("If-None-Match: other",        WriteOnce, FILE,         same()),
            ("If-None-Match: other",        Cache,     REPLACE,      REPLACE),
            ("If-Unmodified-Since: after",  Release,   VERSION,      VERSION),
            ("If-Unmodified-Since: after",  Pkg,       FILE,         FILE),
            ("If-Unmodified-Since: after",  WriteOnce, FILE,         same()),
            ("If-Unmodified-Since: after",  Cache,     REPLACE,      REPLACE),
        ];
        let [.., standing] = standings();
        for (name, policy, other, again) in table {
            let condition = condition(name);
            for (digest, expected) in [(b"new", &other), (b"old", &again)] {
                let wish = Wish {
                    condition: &condition,
                    digest: Some(Digest::of(digest)),
                };
                assert_eq!(
                    &decide_publish(policy, &standing, wish),
                    expected,
                    "{policy:?} {name}"
                );
            }
            // Before the body is known, only what refuses the same bytes too may refuse.
            let unknown = Wish {
                condition: &condition,
                digest: None,
            };
            assert_eq!(
                decide_publish(policy, &standing, unknown),
                again,
                "{policy:?} {name}"
            );
        }
    }

    #[test]
    fn preconditions_come_before_every_policy() {
        let [.., standing] = standings();
        for name in [
            "If-Match: other",
            "If-None-Match: *",
            "If-None-Match: old",
            "If-Unmodified-Since: before",
        ] {
            for policy in [Release, Pkg, WriteOnce, Cache] {
                for digest in [None, Some(Digest::of(b"old")), Some(Digest::of(b"new"))] {
                    let condition = condition(name);
                    let wish = Wish {
                        condition: &condition,
                        digest,
                    };
                    assert_eq!(decide_publish(policy, &standing, wish), PRECONDITION);
                }
            }
        }
    }

    #[test]
    fn only_the_recorded_bytes_heal_and_only_what_the_policy_refused() {
        let [.., version, standing] = standings();
        let condition = WriteCondition::default();
        let wish = |digest: Option<&[u8]>| Wish {
            condition: &condition,
            digest: digest.map(Digest::of),
        };
        for decision in [same(), VERSION, FILE] {
            assert_eq!(
                could_heal(&decision, &standing, wish(Some(b"old"))),
                Some(&file())
            );
            assert_eq!(could_heal(&decision, &standing, wish(None)), Some(&file()));
            assert_eq!(could_heal(&decision, &standing, wish(Some(b"new"))), None);
            assert_eq!(could_heal(&decision, &version, wish(Some(b"old"))), None);
        }
        assert_eq!(could_heal(&PRECONDITION, &standing, wish(Some(b"old"))), None);
        assert_eq!(could_heal(&REPLACE, &standing, wish(Some(b"old"))), None);
    }

    #[test]
    fn removal_says_what_is_missing() {
        let [nothing, package, version, file] = standings();
        assert_eq!(decide_remove_file(nothing.clone()), Err(Refusal::NoVersion));
        assert_eq!(decide_remove_file(package.clone()), Err(Refusal::NoVersion));
        assert_eq!(decide_remove_file(version.clone()), Err(Refusal::NoFile));
        assert!(decide_remove_file(file.clone()).is_ok_and(|(.., file)| file.id == 7));
        assert_eq!(decide_remove_version(nothing), Err(Refusal::NoVersion));
        assert_eq!(decide_remove_version(package), Err(Refusal::NoVersion));
        assert!(decide_remove_version(version).is_ok());
        assert!(decide_remove_version(file).is_ok());
    }
}
