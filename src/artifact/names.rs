//! Names of packages, versions and files (API.md §1, Names).

/// Where a file lives under its owner: decoded, in the client's spelling, not validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinates {
    /// Package name.
    pub package: String,
    /// Version.
    pub version: String,
    /// File name.
    pub file: String,
}

/// Which name breaks the rules. The texts are Gitea's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The package name.
    #[error("invalid package name")]
    Package,
    /// The version.
    #[error("invalid package version")]
    Version,
    /// The file name.
    #[error("invalid filename")]
    File,
}

impl Coordinates {
    /// Checks all three names, in the order package, file, version.
    pub fn validate(&self) -> Result<(), NameError> {
        todo!()
    }
}
