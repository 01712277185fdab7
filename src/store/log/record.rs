//! The records of the journal, decoded.
//!
//! Records carry their results (ids, times, spellings), so replaying them decides nothing anew, and each is complete
//! in itself, so any of them can be copied by compaction or saved from a damaged group.

use serde::{Deserialize, Serialize};

use super::format::{Codec, FormatError, RecordHeader, RecordKind, SegmentPosition};
use super::segment::end_of;
use crate::chunk::Digest;
use crate::store::model::{
    Account, Checksums, File, Holder, Id, Manifest, Membership, OwnerSettings, Package, Pin, Place,
    RetentionRule, Token, TokenUse, Totals, Version,
};

/// Version of all payload encodings below.
const PAYLOAD_VERSION: u16 = 1;

/// A record of the journal other than a group's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A small body; the bytes stay in the file.
    Chunk(Digest),
    /// The chunks of the blob with this digest.
    Manifest(Digest, Manifest),
    /// Where bulk chunks lie.
    Places(Vec<PlacedChunk>),
    /// A file was published.
    Publish(Published),
    /// A file was removed.
    RemoveFile(RemovedFile),
    /// A version was removed.
    RemoveVersion(RemovedVersion),
    /// An account was created or changed.
    Account(Account),
    /// A token was created.
    Token(Token),
    /// A token was revoked.
    RemoveToken(Token),
    /// Tokens were used.
    TokenUses(Vec<TokenUse>),
    /// Files of a removed version were swept from the index.
    Sweep(Sweep),
    /// An account was removed.
    RemoveAccount(RemovedAccount),
    /// Somebody became a member of an organisation, or has another permission there.
    Member(Membership),
    /// Somebody left an organisation.
    RemoveMember(Membership),
    /// A package was removed; [`SweepPackage`] records follow.
    RemovePackage(RemovedPackage),
    /// Versions of a removed package were swept from the index.
    SweepPackage(SweepPackage),
    /// What owners and packages hold after the group.
    Totals(Vec<Counted>),
    /// Checksums of the blob with this digest.
    Checksums(Digest, Checksums),
    /// A version was pinned.
    Pin(Pinned),
    /// The version with this id is pinned no more.
    Unpin(Id),
    /// An owner has other rules of retention.
    Rules(OwnerRules),
    /// Collection dropped chunks and manifests that no name led to.
    Drop(Dropped),
    /// A copy is damaged and not to be served; lifted when the chunk has another place.
    Quarantine(PlacedChunk),
    /// What is set for an owner was changed.
    Settings(OwnerSet),
}

/// A pinned version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The version.
    pub version: Id,
    /// Who pinned it, and when.
    pub pin: Pin,
}

/// The rules of retention of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRules {
    /// The owner.
    pub owner: Id,
    /// The rules; `None`: none of its own.
    pub rules: Option<Vec<RetentionRule>>,
}

/// A bulk chunk and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedChunk {
    /// The chunk.
    pub digest: Digest,
    /// Where it lies.
    pub place: Place,
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Owner of the package.
    pub owner: Id,
    /// The package, new or not.
    pub package: Package,
    /// The version, new or not.
    pub version: Version,
    /// The file, in place of any of the same name.
    pub file: File,
}

/// A removal of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedFile {
    /// Owner of the package.
    pub owner: Id,
    /// The package.
    pub package: Package,
    /// The version.
    pub version: Version,
    /// Id of the file.
    pub file: Id,
    /// Its name.
    pub name: String,
    /// It was the version's last file: the version went with it.
    pub version_gone: bool,
    /// It was the package's last version: the package went with it.
    pub package_gone: bool,
}

/// A removal of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedVersion {
    /// Owner of the package.
    pub owner: Id,
    /// The package.
    pub package: Package,
    /// The version.
    pub version: Version,
    /// It was the package's last version: the package went with it.
    pub package_gone: bool,
    /// Its files are too many to leave the index at once: [`Sweep`] records follow.
    pub swept_later: bool,
}

/// A step of sweeping: all file keys of the version up to and including `through` left the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The removed version.
    pub version: Id,
    /// The last key of this step.
    pub through: Vec<u8>,
    /// Nothing is left.
    pub done: bool,
}

/// A step of collection: these left the index. Their bytes stay where they are until compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Chunks.
    pub chunks: Vec<Digest>,
    /// Manifests, by the digest of their blob.
    pub manifests: Vec<Digest>,
}

/// A removal of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedPackage {
    /// Owner of the package.
    pub owner: Id,
    /// The package.
    pub package: Package,
}

/// What is set for an owner from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerSet {
    /// The owner.
    pub owner: Id,
    /// All of it, not a change.
    pub settings: OwnerSettings,
}

/// What an owner or a package holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Whose totals.
    pub holder: Holder,
    /// Absolute, not a change.
    pub totals: Totals,
}

/// A step of sweeping a removed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepPackage {
    /// The removed package.
    pub package: Package,
    /// Versions, by id and name, that left the index with their files.
    pub versions: Vec<(Id, String)>,
    /// One more that left it, but whose files are too many to go at once: [`Sweep`] records follow.
    pub large: Option<(Id, String)>,
    /// Nothing is left.
    pub done: bool,
}

/// A removal of an account that owns no packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedAccount {
    /// The account.
    pub account: Account,
    /// Its tokens, by id and hash: they went with it.
    pub tokens: Vec<(Id, [u8; 32])>,
    /// Its memberships and, of an organisation, its members, as (organisation, user).
    pub memberships: Vec<(Id, Id)>,
}

impl Record {
    /// Type, digest and payload of every record but a chunk, whose payload is raw bytes.
    pub fn encode(&self) -> Result<(RecordKind, Option<Digest>, Vec<u8>), postcard::Error> {
        Ok(match self {
            Record::Chunk(digest) => (RecordKind::Chunk, Some(*digest), Vec::new()),
            Record::Manifest(blob, manifest) => {
                (RecordKind::Manifest, Some(*blob), postcard::to_stdvec(manifest)?)
            }
            Record::Places(places) => (RecordKind::Places, None, postcard::to_stdvec(places)?),
            Record::Publish(published) => (RecordKind::Publish, None, postcard::to_stdvec(published)?),
            Record::RemoveFile(removed) => (RecordKind::RemoveFile, None, postcard::to_stdvec(removed)?),
            Record::RemoveVersion(removed) => {
                (RecordKind::RemoveVersion, None, postcard::to_stdvec(removed)?)
            }
            Record::Account(account) => (RecordKind::Account, None, postcard::to_stdvec(account)?),
            Record::Token(token) => (RecordKind::Token, None, postcard::to_stdvec(token)?),
            Record::RemoveToken(token) => (RecordKind::RemoveToken, None, postcard::to_stdvec(token)?),
            Record::TokenUses(uses) => (RecordKind::TokenUses, None, postcard::to_stdvec(uses)?),
            Record::Sweep(sweep) => (RecordKind::Sweep, None, postcard::to_stdvec(sweep)?),
            Record::RemoveAccount(removed) => {
                (RecordKind::RemoveAccount, None, postcard::to_stdvec(removed)?)
            }
            Record::RemovePackage(removed) => {
                (RecordKind::RemovePackage, None, postcard::to_stdvec(removed)?)
            }
            Record::Checksums(blob, checksums) => (
                RecordKind::Checksums,
                Some(*blob),
                postcard::to_stdvec(checksums)?,
            ),
            Record::Pin(pinned) => (RecordKind::Pin, None, postcard::to_stdvec(pinned)?),
            Record::Unpin(version) => (RecordKind::Unpin, None, postcard::to_stdvec(version)?),
            Record::Rules(rules) => (RecordKind::Rules, None, postcard::to_stdvec(rules)?),
            Record::Totals(counted) => (RecordKind::Totals, None, postcard::to_stdvec(counted)?),
            Record::SweepPackage(step) => (RecordKind::SweepPackage, None, postcard::to_stdvec(step)?),
            Record::Member(member) => (RecordKind::Member, None, postcard::to_stdvec(member)?),
            Record::RemoveMember(member) => (RecordKind::RemoveMember, None, postcard::to_stdvec(member)?),
            Record::Drop(dropped) => (RecordKind::Drop, None, postcard::to_stdvec(dropped)?),
            Record::Quarantine(copy) => (RecordKind::Quarantine, None, postcard::to_stdvec(copy)?),
            Record::Settings(set) => (RecordKind::Settings, None, postcard::to_stdvec(set)?),
        })
    }

    /// How far segments must have been synced before the record was written.
    pub fn relies_on(&self) -> Option<SegmentPosition> {
        match self {
            Record::Places(places) => places.iter().map(|placed| end_of(&placed.place)).max(),
            _ => None,
        }
    }

    /// The highest id that the record speaks of.
    pub fn highest_id(&self) -> Id {
        match self {
            Record::Chunk(_)
            | Record::Manifest(..)
            | Record::Places(_)
            | Record::Drop(_)
            | Record::Quarantine(_)
            | Record::Totals(_)
            | Record::TokenUses(_)
            | Record::Checksums(..) => 0,
            Record::Publish(Published {
                package,
                version,
                file,
                ..
            }) => package.id.max(version.id).max(file.id),
            Record::RemoveFile(removed) => removed.version.id.max(removed.file),
            Record::RemoveVersion(removed) => removed.version.id,
            Record::Pin(pinned) => pinned.version,
            Record::Unpin(version) => *version,
            Record::Rules(rules) => rules.owner,
            Record::Account(account) => account.id,
            Record::Token(token) | Record::RemoveToken(token) => token.id,
            Record::Sweep(sweep) => sweep.version,
            Record::Settings(set) => set.owner,
            Record::RemoveAccount(removed) => removed.account.id,
            Record::RemovePackage(removed) => removed.package.id,
            Record::SweepPackage(step) => step.package.id,
            Record::Member(member) | Record::RemoveMember(member) => member.organisation.max(member.user),
        }
    }

    /// Reads a record whose checksums have been checked. The payload of a chunk is not looked at.
    pub fn decode(header: &RecordHeader, payload: &[u8]) -> Result<Self, FormatError> {
        if header.version != PAYLOAD_VERSION || header.codec != Codec::Raw {
            return Err(FormatError {
                what: "payload version",
            });
        }
        Ok(match header.kind {
            RecordKind::Chunk => Record::Chunk(header.digest),
            RecordKind::Manifest => Record::Manifest(header.digest, from_payload(payload)?),
            RecordKind::Places => Record::Places(from_payload(payload)?),
            RecordKind::Publish => Record::Publish(from_payload(payload)?),
            RecordKind::RemoveFile => Record::RemoveFile(from_payload(payload)?),
            RecordKind::RemoveVersion => Record::RemoveVersion(from_payload(payload)?),
            RecordKind::Account => Record::Account(from_payload(payload)?),
            RecordKind::Token => Record::Token(from_payload(payload)?),
            RecordKind::RemoveToken => Record::RemoveToken(from_payload(payload)?),
            RecordKind::TokenUses => Record::TokenUses(from_payload(payload)?),
            RecordKind::Sweep => Record::Sweep(from_payload(payload)?),
            RecordKind::RemoveAccount => Record::RemoveAccount(from_payload(payload)?),
            RecordKind::RemovePackage => Record::RemovePackage(from_payload(payload)?),
            RecordKind::Checksums => Record::Checksums(header.digest, from_payload(payload)?),
            RecordKind::Pin => Record::Pin(from_payload(payload)?),
            RecordKind::Unpin => Record::Unpin(from_payload(payload)?),
            RecordKind::Rules => Record::Rules(from_payload(payload)?),
            RecordKind::Totals => Record::Totals(from_payload(payload)?),
            RecordKind::SweepPackage => Record::SweepPackage(from_payload(payload)?),
            RecordKind::Member => Record::Member(from_payload(payload)?),
            RecordKind::RemoveMember => Record::RemoveMember(from_payload(payload)?),
            RecordKind::Drop => Record::Drop(from_payload(payload)?),
            RecordKind::Quarantine => Record::Quarantine(from_payload(payload)?),
            RecordKind::Settings => Record::Settings(from_payload(payload)?),
            RecordKind::Group | RecordKind::Footer => {
                return Err(FormatError { what: "record type" });
            }
        })
    }
}

fn from_payload<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, FormatError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(FormatError {
            what: "payload is too long",
        }),
        Err(_) => Err(FormatError {
            what: "payload encoding",
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::crc32c;
    use crate::store::model::{ChunkRef, FileKind, Limit, PackagePolicy, Policy, Shape};

    fn places() -> impl Strategy<Value = Record> {
        prop::collection::vec(
            (any::<[u8; 32]>(), any::<u64>(), any::<u64>(), any::<u32>()),
            0..5,
        )
        .prop_map(|chunks| {
            Record::Places(
                chunks
                    .into_iter()
                    .map(|(digest, file, offset, stored_len)| PlacedChunk {
                        digest: digest.into(),
                        place: Place {
                            kind: FileKind::Segment,
                            file,
                            offset,
                            stored_len,
                        },
                    })
                    .collect(),
            )
        })
    }

    fn quarantines() -> impl Strategy<Value = Record> {
        (any::<[u8; 32]>(), any::<u64>(), any::<u32>()).prop_map(|(digest, offset, stored_len)| {
            Record::Quarantine(PlacedChunk {
                digest: digest.into(),
                place: Place {
                    kind: FileKind::Journal,
                    file: 1,
                    offset,
                    stored_len,
                },
            })
        })
    }

    fn manifest() -> impl Strategy<Value = Record> {
        (
            any::<[u8; 32]>(),
            prop::collection::vec((any::<[u8; 32]>(), any::<u32>()), 0..9),
        )
            .prop_map(|(blob, chunks)| {
                let chunks = chunks
                    .into_iter()
                    .map(|(digest, len)| ChunkRef {
                        digest: digest.into(),
                        len,
                    })
                    .collect();
                Record::Manifest(blob.into(), Manifest { chunks })
            })
    }

    fn names() -> impl Strategy<Value = (Package, Version, File)> {
        (
            any::<[u64; 3]>(),
            ".{0,20}",
            ".{0,20}",
            any::<bool>(),
            any::<i64>(),
            any::<Option<[u8; 32]>>(),
        )
            .prop_map(|(ids, one, two, flag, time, sha256)| {
                (
                    Package {
                        id: ids[0],
                        name: one.clone(),
                        exact_case: flag,
                        created: time,
                    },
                    Version {
                        id: ids[1],
                        name: two.clone(),
                        created: time,
                        creator: ids[2],
                    },
                    File {
                        id: ids[2],
                        name: one,
                        blob: Digest::of(two.as_bytes()),
                        size: ids[0],
                        shape: if flag { Shape::Single } else { Shape::Chunked },
                        created: time,
                        creator: ids[0],
                        sha256,
                    },
                )
            })
    }

    fn records() -> impl Strategy<Value = Record> {
        prop_oneof![
            places(),
            quarantines(),
            manifest(),
            (any::<u64>(), names()).prop_map(|(owner, (package, version, file))| Record::Publish(
                Published {
                    owner,
                    package,
                    version,
                    file
                }
            )),
            (any::<u64>(), names(), any::<bool>()).prop_map(|(owner, (package, version, _), flag)| {
                Record::RemoveVersion(RemovedVersion {
                    owner,
                    package,
                    version,
                    package_gone: flag,
                    swept_later: !flag,
                })
            }),
            (any::<Vec<[u8; 32]>>(), any::<Vec<[u8; 32]>>()).prop_map(|(chunks, manifests)| {
                Record::Drop(Dropped {
                    chunks: chunks.into_iter().map(Digest::from).collect(),
                    manifests: manifests.into_iter().map(Digest::from).collect(),
                })
            }),
            (any::<u64>(), any::<Vec<u8>>(), any::<bool>()).prop_map(|(version, through, done)| {
                Record::Sweep(Sweep {
                    version,
                    through,
                    done,
                })
            }),
        ]
    }

    fn header(record: &Record) -> (RecordHeader, Vec<u8>) {
        let (kind, digest, payload) = record.encode().unwrap();
        let digest = digest.unwrap_or_else(|| Digest::of(&payload));
        (
            RecordHeader::raw(kind, 1, digest, payload.len() as u32, crc32c::of(&payload)),
            payload,
        )
    }

    proptest! {
        #[test]
        fn records_round_trip(record in records()) {
            let (header, payload) = header(&record);
            prop_assert_eq!(Record::decode(&header, &payload), Ok(record));
        }

        #[test]
        fn decoding_never_panics(record in records(), junk in any::<Vec<u8>>(), cut in any::<prop::sample::Index>()) {
            let (header, mut payload) = header(&record);
            let _ = Record::decode(&header, &junk);
            if !payload.is_empty() {
                payload.truncate(cut.index(payload.len()));
                prop_assert!(Record::decode(&header, &payload).is_err());
            }
        }
    }

    #[test]
    fn golden_settings() {
        let settings = OwnerSettings {
            policy: Some(Policy::Cache),
            policies: vec![PackagePolicy {
                packages: "rel-*".into(),
                policy: Policy::Release,
            }],
            max_bytes: Some(Limit::AtMost(1000)),
            max_versions: Some(Limit::Unlimited),
            max_file_size: None,
        };
        let record = Record::Settings(OwnerSet { owner: 1, settings });
        let (header, payload) = header(&record);
        let bytes = "01 0103 01 05 72656c2d2a 00 0101e807 0100 00";
        assert_eq!(hex::encode(&payload), bytes.replace(' ', ""));
        assert_eq!(Record::decode(&header, &payload), Ok(record));
    }

    #[test]
    fn golden_publication() {
        let record = Record::Publish(Published {
            owner: 1,
            package: Package {
                id: 2,
                name: "tool".into(),
                exact_case: false,
                created: 1_000,
            },
            version: Version {
                id: 3,
                name: "1.0".into(),
                created: 1_000,
                creator: 1,
            },
            file: File {
                id: 4,
                name: "a.bin".into(),
                blob: [0xab; 32].into(),
                size: 5,
                shape: Shape::Single,
                created: 1_000,
                creator: 1,
                sha256: None,
            },
        });
        let (_, _, payload) = record.encode().unwrap();
        assert_eq!(
            hex::encode(payload),
            format!(
                "010204746f6f6c00d00f0303312e30d00f010405612e62696e{}0500d00f0100",
                "ab".repeat(32)
            )
        );
    }
}
