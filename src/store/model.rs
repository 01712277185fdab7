//! What the store knows: the values behind names, as they stand in the index and in log records.
//!
//! Encoded with postcard. A change to a type that log records carry needs a new payload version
//! (see `log::format`), never an edit in place.

use serde::{Deserialize, Serialize};

use crate::chunk::Digest;

/// Identifies an account, package, version or file for ever. One counter feeds them all, so a larger id was
/// created later; ids are never reused.
pub type Id = u64;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// Who may see what an account owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Anyone reads.
    #[default]
    Public,
    /// Anyone signed in reads.
    Limited,
    /// Only the owner, its members and admins read.
    Private,
}

/// A user or an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountKind {
    /// Signs in with a password or a token.
    User,
    /// Owned by its members; cannot sign in.
    Organisation,
}

/// An owner of packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Never changes.
    pub id: Id,
    /// First spelling; matched without regard to ASCII case.
    pub name: String,
    /// User or organisation.
    pub kind: AccountKind,
    /// Who may read what it owns.
    pub visibility: Visibility,
    /// An inactive user cannot sign in.
    pub active: bool,
    /// May do everything.
    pub admin: bool,
    /// For people; may be empty.
    pub email: String,
    /// Argon2 hash in PHC string form; `None` cannot sign in with a password.
    pub password: Option<String>,
    /// When it was created.
    pub created: Millis,
}

/// What a member may do with the packages of an organisation. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Download.
    Read,
    /// Publish and remove.
    Write,
    /// Manage members and settings.
    Admin,
}

/// Somebody's place in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The organisation.
    pub organisation: Id,
    /// The user.
    pub user: Id,
    /// What the user may do there.
    pub permission: Permission,
}

/// An access token. Only a hash of the secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Never changes.
    pub id: Id,
    /// The account it speaks for.
    pub account: Id,
    /// Unique within the account.
    pub name: String,
    /// Hash of the secret, see `access::token`.
    pub hash: [u8; 32],
    /// Last eight characters of the secret, to tell tokens apart in lists.
    pub last_eight: String,
    /// Bit set, see `access::Scopes`.
    pub scopes: u32,
    /// When it was created.
    pub created: Millis,
    /// From when on it is wrong; `None`: never.
    pub expires: Option<Millis>,
    /// What it is narrowed to; empty: everything that its account may do.
    pub grants: Vec<Grant>,
}

/// A part of what an account may do, for a narrowed token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `owner/package`, each a name or a glob.
    pub packages: String,
    /// Whether it may publish and remove there, or only download.
    pub write: bool,
}

/// That a token was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// Hash of the token's secret.
    pub token: [u8; 32],
    /// When it was last used, about.
    pub at: Millis,
}

/// What happens to a name that is taken (API.md §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// A version is published once, with one file.
    #[default]
    Release,
    /// New files join a version; a file is published once.
    Package,
    /// New files join; the same bytes again are fine, other bytes are refused.
    WriteOnce,
    /// New files join; a file is replaced; may be evicted.
    Cache,
}

/// What is set for one owner in place of what the configuration says. The default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerSettings {
    /// The policy of packages that `policies` does not mean.
    pub policy: Option<Policy>,
    /// Policies of some packages.
    pub policies: Vec<PackagePolicy>,
    /// Most bytes of all files together.
    pub max_bytes: Option<Limit>,
    /// Most versions.
    pub max_versions: Option<Limit>,
    /// Most bytes of one file.
    pub max_file_size: Option<Limit>,
}

/// The policy of some packages of one owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagePolicy {
    /// A name or a glob, without the owner.
    pub packages: String,
    /// What holds for them.
    pub policy: Policy,
}

/// A limit that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// No limit, whatever the configuration says.
    Unlimited,
    /// At most this.
    AtMost(u64),
}

/// A package: a name under an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Never changes.
    pub id: Id,
    /// First spelling; matched without regard to ASCII case.
    pub name: String,
    /// Whether version and file names are matched exactly (true under `cache` and `write-once`). Fixed at creation.
    pub exact_case: bool,
    /// When it was created.
    pub created: Millis,
}

/// A version of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Never changes; also the order of creation.
    pub id: Id,
    /// First spelling.
    pub name: String,
    /// When it was created.
    pub created: Millis,
    /// The account that created it.
    pub creator: Id,
}

/// A file of a version: a name for a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// A new one at each publication, also when a file is replaced: it tells one content of a name from the next.
    pub id: Id,
    /// First spelling.
    pub name: String,
    /// The blake3 of the whole body.
    pub blob: Digest,
    /// Length of the body in bytes.
    pub size: u64,
    /// Whether the blob is one chunk (its digest then names the chunk) or has a manifest.
    pub shape: Shape,
    /// When it was published.
    pub created: Millis,
    /// The account that published it.
    pub creator: Id,
    /// SHA-256 of the body, where the client had it checked.
    pub sha256: Option<[u8; 32]>,
}

/// How a blob is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// One chunk with the blob's own digest.
    Single,
    /// Several chunks, listed by the manifest with the blob's digest.
    Chunked,
}

/// One chunk of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Names the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub len: u32,
}

/// The chunks of a blob in order; names content, never places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// In the order of the body.
    pub chunks: Vec<ChunkRef>,
}

/// Whose totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Holder {
    /// An account.
    Owner(Id),
    /// A package.
    Package(Id),
}

/// What an owner or a package holds. Files of a removed version that is too large to go at once count until they are
/// swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes of the files, each counted in full, whoever else has the same bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Versions.
    pub versions: u64,
}

/// Checksums of a blob beside its blake3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksums {
    /// MD5.
    pub md5: [u8; 16],
    /// SHA-1.
    pub sha1: [u8; 20],
    /// SHA-256.
    pub sha256: [u8; 32],
    /// SHA-512, in two halves.
    pub sha512: [[u8; 32]; 2],
}

/// Whom the files of a removed version are charged to until they are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    /// The account that owns the package.
    pub owner: Id,
    /// The package.
    pub package: Id,
}

/// A version that rules and eviction leave alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The account that pinned it.
    pub by: Id,
    /// Since when.
    pub since: Millis,
}

/// A rule of retention as its owner wrote it (`artifact::retention` says what it means).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRule {
    /// The packages that it is about: a name or a glob.
    pub packages: String,
    /// So many of the newest versions stay.
    pub keep_newest: Option<u32>,
    /// Versions that stay: globs.
    pub keep: Vec<String>,
    /// Versions that may go: globs; empty: all.
    pub remove: Vec<String>,
    /// Versions go so long after they were created, in milliseconds.
    pub older_than: Option<Millis>,
    /// Versions go so long after their last download, in milliseconds.
    pub unused_for: Option<Millis>,
}

/// Which of the two kinds of log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// `journal/<id>.log`: names, manifests and small bodies.
    Journal,
    /// `segments/<id>.seg`: bulk chunks.
    Segment,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Kind of the file.
    pub kind: FileKind,
    /// Number of the file.
    pub file: u64,
    /// Offset of the record's header in the file, in bytes.
    pub offset: u64,
    /// Length of the payload as stored, in bytes.
    pub stored_len: u32,
}
