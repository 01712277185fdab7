//! Refusals: Gitea's for the management API, RFC 9457 elsewhere for clients that prefer JSON.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

/// A refusal of the management API.
#[derive(Serialize, ToSchema)]
pub struct ApiError<'a> {
    /// For people.
    pub message: &'a str,
    /// Where the API is described.
    pub url: String,
}

/// A refusal as problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem<'a> {
    /// `urn:larder:error:` and the code; never changes its meaning.
    #[schema(example = "urn:larder:error:version-exists")]
    pub r#type: String,
    /// What this type of problem is, in short.
    pub title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong with this request.
    #[schema(value_type = String)]
    pub detail: &'a Cow<'static, str>,
    /// The last part of the type, for programs.
    #[schema(example = "version-exists")]
    pub code: &'static str,
}
