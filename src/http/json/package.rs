//! Gitea's `Package`, which is one version, and `PackageFile`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::head::Head;
use super::time;
use super::user::User;
use crate::artifact::browse::Listed;
use crate::store::model::{Account, Checksums, File, Id};

/// What is escaped in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A version of a package.
#[derive(Serialize, ToSchema)]
pub struct Package {
    /// Of the version.
    id: Id,
    owner: User,
    /// Always null: Larder has no repositories.
    #[schema(value_type = Option<Object>, required = true)]
    repository: (),
    creator: User,
    #[schema(example = "generic")]
    r#type: &'static str,
    name: String,
    version: String,
    html_url: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// Retention and eviction leave it alone.
    pinned: bool,
}

impl Package {
    /// As the client of this request sees it.
    pub fn of(listed: &Listed, owner: &Account, creator: User, pinned: bool, head: Head<'_>) -> Self {
        let Listed { package, version } = listed;
        let segment = |name: &str| utf8_percent_encode(&name.to_ascii_lowercase(), SEGMENT).to_string();
        Package {
            id: version.id,
            owner: User::of(owner, head),
            repository: (),
            creator,
            r#type: "generic",
            name: package.name.clone(),
            version: version.name.clone(),
            html_url: format!(
                "{}/{}/-/packages/generic/{}/{}",
                head.base_url(),
                owner.name,
                segment(&package.name),
                segment(&version.name)
            ),
            created_at: time(version.created),
            pinned,
        }
    }
}

/// A file of a version. The checksums beside blake3 are computed when first asked for, and kept; those of a file whose
/// stored bytes are damaged are null.
#[derive(Serialize, ToSchema)]
pub struct PackageFile {
    id: Id,
    /// In bytes.
    size: u64,
    name: String,
    #[schema(pattern = "^[0-9a-f]{32}$", required = true)]
    md5: Option<String>,
    #[schema(pattern = "^[0-9a-f]{40}$", required = true)]
    sha1: Option<String>,
    #[schema(pattern = "^[0-9a-f]{64}$", required = true)]
    sha256: Option<String>,
    #[schema(pattern = "^[0-9a-f]{128}$", required = true)]
    sha512: Option<String>,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    blake3: String,
}

impl PackageFile {
    /// With the checksums that are known.
    pub fn of(file: &File, checksums: Option<&Checksums>) -> Self {
        PackageFile {
            id: file.id,
            size: file.size,
            name: file.name.clone(),
            md5: checksums.map(|sums| hex::encode(sums.md5)),
            sha1: checksums.map(|sums| hex::encode(sums.sha1)),
            sha256: checksums.map(|sums| hex::encode(sums.sha256)),
            sha512: checksums.map(|sums| hex::encode(sums.sha512.as_flattened())),
            blake3: file.blob.to_string(),
        }
    }
}
