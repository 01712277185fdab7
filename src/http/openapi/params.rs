//! Parameters that several routes have. These structs are only described: paths are parsed in `super::super::path`.

#![expect(dead_code, reason = "only described, never made")]

use utoipa::IntoParams;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Schema, Type};

/// Whose.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AtOwner {
    /// A user or an organisation, in any ASCII case.
    owner: String,
}

/// Which package.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AtName {
    /// The package, in any ASCII case.
    package_name: String,
}

/// Which version.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AtVersion {
    /// The version; `%2F` in it is part of its name.
    package_version: String,
}

/// Which file.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AtFile {
    /// The file.
    file_name: String,
}

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The page; 0, empty and absent are the first, 1.
    #[param(required = false, schema_with = whole_number)]
    page: Option<u64>,
    /// Items on a page; 0, empty and absent are the default, and more than the most counts as the most.
    #[param(required = false, schema_with = whole_number)]
    limit: Option<u64>,
}

/// From 0, or left empty.
fn whole_number() -> Schema {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .maximum(Some(u64::MAX));
    let empty = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([""]));
    OneOfBuilder::new().item(number).item(empty).build().into()
}

/// Which packages.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Search {
    /// A part of the package's name, in any ASCII case.
    q: Option<String>,
    /// `generic`; there are no packages of other types.
    r#type: Option<String>,
}

/// Which versions of a preview.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Verdicts {
    /// `removed`: only those that would go now.
    #[param(pattern = "^(removed)?$")]
    verdict: Option<String>,
}

/// Whether the packages go with their owner.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Purge {
    /// Remove the packages, too.
    purge: Option<bool>,
}

/// Whether to do it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DryRun {
    /// Only say what would go.
    dry_run: Option<bool>,
}

/// How much to say.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Verbose {
    /// Also say what is well. The value does not matter.
    verbose: Option<String>,
}

/// Which user.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AtUser {
    /// A user, in any ASCII case.
    user: String,
}

/// Which organisation.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AtOrganization {
    /// An organisation, in any ASCII case.
    org: String,
}

/// What is wanted of a file.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Reading {
    /// Ranges of bytes (RFC 9110).
    #[param(rename = "Range")]
    range: Option<String>,
    /// The range only if the file is this one, else all of it.
    #[param(rename = "If-Range")]
    if_range: Option<String>,
    /// 412 unless the file is one of these.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
    /// 304 if the file is one of these.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
    /// 304 unless published later.
    #[param(rename = "If-Modified-Since")]
    if_modified_since: Option<String>,
    /// 412 if published later.
    #[param(rename = "If-Unmodified-Since")]
    if_unmodified_since: Option<String>,
}

/// What is to be checked before anything is published.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Checked {
    /// `*`: 412 if the file exists, whatever the policy.
    #[param(rename = "If-None-Match", pattern = r"^\*$")]
    if_none_match: Option<String>,
    /// 412 unless the file is this one, which is replaced where the policy allows it.
    #[param(rename = "If-Match", pattern = r#"^"[0-9a-f]{64}"$"#)]
    if_match: Option<String>,
    /// What the body must hash to, in hexadecimal.
    #[param(rename = "X-Checksum-Sha256", pattern = "^[0-9A-Fa-f]{64}$")]
    sha256: Option<String>,
    /// What the body must hash to, in hexadecimal.
    #[param(rename = "X-Checksum-Blake3", pattern = "^[0-9A-Fa-f]{64}$")]
    blake3: Option<String>,
    /// What the body must hash to, in base64.
    #[param(rename = "Content-MD5", pattern = "^[A-Za-z0-9+/]{21}[AQgw]==$")]
    md5: Option<String>,
    /// What the body must hash to (RFC 9530): sha-256 and sha-512.
    #[param(
        rename = "Content-Digest",
        pattern = "^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$"
    )]
    content_digest: Option<String>,
    /// The same as `Content-Digest` here.
    #[param(
        rename = "Repr-Digest",
        pattern = "^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$"
    )]
    repr_digest: Option<String>,
}
