//! The keys of the index: one byte for the kind, big-endian numbers, folded names.
//!
//! | key | value |
//! |---|---|
//! | `c` chunk digest | [`Place`](crate::store::model::Place) of the chunk |
//! | `b` blob digest | place of the blob's manifest (blobs of several chunks) |
//! | `f` version id, file name | [`File`](crate::store::model::File) |
//! | `o` package id, version id | version name: the order of creation |
//! | `v` package id, version name | [`Version`](crate::store::model::Version) |
//! | `p` owner id, package name | [`Package`] |
//! | `a` account name | [`Account`](crate::store::model::Account) |
//! | `i` account id | account name |
//! | `t` token hash | [`Token`](crate::store::model::Token) |
//! | `u` account id, token id | token hash |
//! | `w` token hash | when it was last used, where that has been kept |
//! | `s` account id | [`OwnerSettings`](crate::store::model::OwnerSettings), absent where nothing is set |
//! | `g` organisation id, user id | what the user may do there |
//! | `n` user id, organisation id | that the user is a member there |
//! | `x` version id | [`Charged`](crate::store::model::Charged) or not: a removed version whose files are still to be swept |
//! | `y` package id | a removed [`Package`] whose versions are still to be swept |
//! | `q` account id, `k` package id | [`Totals`](crate::store::model::Totals), absent where nothing is held |
//! | `h` blob digest | [`Checksums`](crate::store::model::Checksums), where somebody asked for them |
//! | `z` version id | [`Pin`](crate::store::model::Pin) of a version that is pinned |
//! | `r` owner id | the owner's [`RetentionRule`](crate::store::model::RetentionRule)s, where there are some |
//! | `d` digest | place of a damaged copy of the chunk, or of the blob's manifest |
//! | `m` word | about the index itself |
//!
//! A name in a key is its ASCII-folded spelling and a zero byte, then, where the package matches names exactly, the
//! exact spelling. So both kinds of package are looked up with one point read.

use crate::chunk::Digest;
use crate::store::model::{Holder, Id, Package};

/// A key of the index.
pub type Key = Vec<u8>;

/// `kind` followed by a number.
fn numbered(kind: u8, number: Id, spare: usize) -> Key {
    let mut key = Vec::with_capacity(9 + spare);
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn push_name(key: &mut Key, name: &str, exact: bool) {
    key.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
    key.push(0);
    if exact {
        key.extend_from_slice(name.as_bytes());
    }
}

/// Where a chunk lies.
pub fn chunk(digest: &Digest) -> Key {
    let mut key = Vec::with_capacity(1 + Digest::LEN);
    key.push(b'c');
    key.extend_from_slice(digest.as_bytes());
    key
}

/// Where a blob's manifest lies.
pub fn manifest(blob: &Digest) -> Key {
    let mut key = chunk(blob);
    key[0] = b'b';
    key
}

/// A damaged copy of a chunk or manifest.
pub fn quarantine(digest: &Digest) -> Key {
    let mut key = chunk(digest);
    key[0] = b'd';
    key
}

/// Prefix of all damaged copies.
pub fn quarantines() -> Key {
    vec![b'd']
}

/// A file of a version.
pub fn file(package: &Package, version: Id, name: &str) -> Key {
    let mut key = files(version);
    key.reserve(2 * name.len() + 1);
    push_name(&mut key, name, package.exact_case);
    key
}

/// Prefix of the files of all versions.
pub fn all_files() -> Key {
    vec![b'f']
}

/// The digest in the key of a chunk or manifest; `None` for other keys.
pub fn digest(key: &[u8]) -> Option<Digest> {
    match key.split_first()? {
        (b'c' | b'b', digest) => Some(Digest::from(<[u8; Digest::LEN]>::try_from(digest).ok()?)),
        _ => None,
    }
}

/// Prefix of all files of a version.
pub fn files(version: Id) -> Key {
    numbered(b'f', version, 0)
}

/// A version's place in the order of creation.
pub fn creation(package: Id, version: Id) -> Key {
    let mut key = creations(package);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// Prefix of all versions of a package in order of creation.
pub fn creations(package: Id) -> Key {
    numbered(b'o', package, 8)
}

/// A version by name.
pub fn version(package: &Package, name: &str) -> Key {
    let mut key = numbered(b'v', package.id, 2 * name.len() + 1);
    push_name(&mut key, name, package.exact_case);
    key
}

/// Prefix of all packages of an owner.
pub fn packages(owner: Id) -> Key {
    numbered(b'p', owner, 0)
}

/// A package by name.
pub fn package(owner: Id, name: &str) -> Key {
    let mut key = packages(owner);
    key.reserve(name.len() + 1);
    push_name(&mut key, name, false);
    key
}

/// An account by name.
pub fn account(name: &str) -> Key {
    let mut key = accounts();
    push_name(&mut key, name, false);
    key
}

/// Prefix of all accounts.
pub fn accounts() -> Key {
    vec![b'a']
}

/// An account's name by id.
pub fn account_id(id: Id) -> Key {
    numbered(b'i', id, 0)
}

/// A token by hash.
pub fn token(hash: &[u8; 32]) -> Key {
    let mut key = Vec::with_capacity(33);
    key.push(b't');
    key.extend_from_slice(hash);
    key
}

/// When a token was last used.
pub fn token_use(hash: &[u8; 32]) -> Key {
    let mut key = token(hash);
    key[0] = b'w';
    key
}

/// A token of an account, in order of creation.
pub fn token_of(account: Id, token: Id) -> Key {
    let mut key = tokens_of(account);
    key.extend_from_slice(&token.to_be_bytes());
    key
}

/// Prefix of all tokens of an account.
pub fn tokens_of(account: Id) -> Key {
    numbered(b'u', account, 8)
}

/// A member of an organisation.
pub fn member(organisation: Id, user: Id) -> Key {
    let mut key = members(organisation);
    key.extend_from_slice(&user.to_be_bytes());
    key
}

/// Prefix of all members of an organisation.
pub fn members(organisation: Id) -> Key {
    numbered(b'g', organisation, 8)
}

/// An organisation that a user is a member of.
pub fn membership(user: Id, organisation: Id) -> Key {
    let mut key = memberships(user);
    key.extend_from_slice(&organisation.to_be_bytes());
    key
}

/// Prefix of all organisations that a user is a member of.
pub fn memberships(user: Id) -> Key {
    numbered(b'n', user, 8)
}

/// The number of a key that has one, such as [`totals`].
pub fn one_id(key: &[u8]) -> Option<Id> {
    Some(Id::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// The two numbers of a key that has two, such as [`member`].
pub fn two_ids(key: &[u8]) -> Option<(Id, Id)> {
    let (first, second) = key.get(1..17)?.split_at(8);
    Some((
        Id::from_be_bytes(first.try_into().ok()?),
        Id::from_be_bytes(second.try_into().ok()?),
    ))
}

/// What is set for an owner.
pub fn settings(owner: Id) -> Key {
    numbered(b's', owner, 0)
}

/// A version to be swept.
pub fn sweep(version: Id) -> Key {
    numbered(b'x', version, 0)
}

/// Prefix of all versions to be swept.
pub fn sweeps() -> Key {
    vec![b'x']
}

/// Whether a version is pinned.
pub fn pin(version: Id) -> Key {
    numbered(b'z', version, 0)
}

/// The rules of retention of an owner.
pub fn retention(owner: Id) -> Key {
    numbered(b'r', owner, 0)
}

/// The checksums of a blob.
pub fn checksums(blob: &Digest) -> Key {
    let mut key = chunk(blob);
    key[0] = b'h';
    key
}

/// What an owner or a package holds.
pub fn totals(holder: Holder) -> Key {
    match holder {
        Holder::Owner(id) => numbered(b'q', id, 0),
        Holder::Package(id) => numbered(b'k', id, 0),
    }
}

/// Prefix of what all owners hold.
pub fn owner_totals() -> Key {
    vec![b'q']
}

/// A package to be swept.
pub fn package_sweep(package: Id) -> Key {
    numbered(b'y', package, 0)
}

/// Prefix of all packages to be swept.
pub fn package_sweeps() -> Key {
    vec![b'y']
}

/// How far the log has been applied.
pub const APPLIED: &[u8] = b"mapplied";
/// Whether the index was closed cleanly, or who has it open.
pub const STATE: &[u8] = b"mstate";

/// Kinds whose keys are a digest or hash behind the kind: they come in no order. The kinds are in order here.
pub const DIGEST_KINDS: [u8; 6] = *b"bcdhtw";
/// Length of such a key.
pub const DIGEST_LEN: usize = 33;

/// What all keys of one package, version, owner or account of this kind begin with: those of the other kinds have no
/// such beginning. Also of a prefix, where it is long enough.
pub fn family(key: &[u8]) -> Option<&[u8]> {
    let digest = DIGEST_KINDS.contains(key.first()?) || matches!(key[0], b'a' | b'm');
    if digest { None } else { key.get(..9) }
}

/// Whether rows of this kind stand between the name of a file and its bytes: package, version, file and chunk.
pub fn leads_to_bytes(key: &[u8]) -> bool {
    matches!(key.first(), Some(b'p' | b'v' | b'f' | b'c'))
}

/// Whether each request of somebody asks for a key of this kind, which most often has no value: its absence is worth
/// remembering.
pub fn is_asked_often(key: &[u8]) -> bool {
    matches!(key.first(), Some(b's' | b'g'))
}

/// Order in which the keys of a group are written, so that a name shows when the last key behind it is in; removals
/// go in the opposite order, before everything that is written.
pub fn rank(key: &[u8]) -> u8 {
    match key.first() {
        Some(b'c') => 0,
        Some(b'b') => 1,
        Some(b'f') => 2,
        Some(b'o') => 3,
        Some(b'v') => 4,
        Some(b'p') => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package_with(exact_case: bool) -> Package {
        Package {
            id: 1,
            name: "p".into(),
            exact_case,
            created: 0,
        }
    }

    #[test]
    fn case_counts_only_where_the_package_says_so() {
        let folded = package_with(false);
        assert_eq!(version(&folded, "V1"), version(&folded, "v1"));
        let exact = package_with(true);
        assert_ne!(version(&exact, "V1"), version(&exact, "v1"));
    }

    #[test]
    fn no_name_is_a_prefix_of_another() {
        let exact = package_with(true);
        assert!(!file(&exact, 1, "ab").starts_with(&file(&exact, 1, "a")));
        assert!(!file(&package_with(false), 1, "ab").starts_with(&file(&package_with(false), 1, "a")));
    }

    #[test]
    fn numbers_sort_as_numbers() {
        assert!(creation(1, 255) < creation(1, 256));
        assert!(files(1) < files(256));
    }
}
