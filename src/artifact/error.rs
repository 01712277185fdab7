//! Why a verb refused or failed. `http::error` alone turns these into status codes.

use crate::owner::OwnerError;
use crate::owner::decide::Refusal;
use crate::store::change::CommitError;
use crate::store::error::StoreError;

use super::checksum::ChecksumMismatch;
use super::names::NameError;

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A name breaks the rules: 400.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A precondition does not hold: 412.
    #[error("precondition failed")]
    Precondition,
    /// `release`, and the version is there: 400.
    #[error("package version already exists")]
    VersionExists,
    /// `package` or `write-once`, and the file is there: 409.
    #[error("package file already exists")]
    FileExists,
    /// The owner would hold more bytes than its quota: 403.
    #[error("maximum allowed package storage quota exceeded")]
    OverBytes,
    /// The owner would hold more versions than its quota: 403.
    #[error("maximum allowed package count exceeded")]
    OverVersions,
    /// Larger than the limit for one file: 413.
    #[error("the file is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// No room: 507.
    #[error("no space left in the store")]
    NoSpace,
    /// A bounded queue is full: 503 with Retry-After.
    #[error("too busy: {0}")]
    Busy(&'static str),
    /// A checksum header that the body does not match: 400.
    #[error(transparent)]
    Checksum(#[from] ChecksumMismatch),
    /// The body broke off, or its length is not the announced one: 400, if anyone still listens.
    #[error("the body is incomplete: {0}")]
    Incomplete(String),
    /// The body came too slowly: 408.
    #[error("the body came too slowly: less than {bytes} bytes in {seconds} s")]
    Stalled {
        /// What had to come.
        bytes: u64,
        /// Within this time.
        seconds: u64,
    },
    /// No such package or version: 404.
    #[error("package does not exist")]
    NoVersion,
    /// No such owner: 404.
    #[error("owner does not exist")]
    NoOwner,
    /// The version has no such file: 404.
    #[error("package file does not exist")]
    NoFile,
    /// The version is pinned, and only a removal by name takes it: 409.
    #[error("the version is pinned")]
    Pinned,
    /// Stored bytes are damaged: 500.
    #[error("stored data is damaged")]
    Damaged,
    /// The store could not say or do it: 500 or 503.
    #[error(transparent)]
    Store(StoreError),
    /// The commit failed: 500 or 503.
    #[error(transparent)]
    Commit(CommitError),
}

impl From<StoreError> for ArtifactError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace => ArtifactError::NoSpace,
            StoreError::Damaged(_) => ArtifactError::Damaged,
            error => ArtifactError::Store(error),
        }
    }
}

impl From<CommitError> for ArtifactError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoSpace => ArtifactError::NoSpace,
            CommitError::Busy => ArtifactError::Busy("too many commits are waiting"),
            error => ArtifactError::Commit(error),
        }
    }
}

impl From<Refusal> for ArtifactError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Precondition => ArtifactError::Precondition,
            Refusal::VersionExists => ArtifactError::VersionExists,
            Refusal::FileExists => ArtifactError::FileExists,
            Refusal::OverBytes => ArtifactError::OverBytes,
            Refusal::OverVersions => ArtifactError::OverVersions,
            Refusal::NoVersion => ArtifactError::NoVersion,
            Refusal::NoFile => ArtifactError::NoFile,
            Refusal::Pinned => ArtifactError::Pinned,
        }
    }
}

impl From<OwnerError> for ArtifactError {
    fn from(error: OwnerError) -> Self {
        match error {
            OwnerError::Refused(refusal) => refusal.into(),
            OwnerError::Busy(what) => ArtifactError::Busy(what),
            OwnerError::Store(error) => error.into(),
            OwnerError::Commit(error) => error.into(),
            OwnerError::Closed => ArtifactError::Store(StoreError::Closed),
        }
    }
}
