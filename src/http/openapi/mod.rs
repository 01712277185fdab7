//! The API document at `/api/swagger.json` (OpenAPI 3.1), generated from the handlers and the structs they read and
//! send.
//!
//! # How to add a route
//!
//! 1. Route it: `path.rs` (a variant of `Route`, its path, its methods), `routes.rs` (its handler).
//! 2. Write `#[utoipa::path(...)]` above the handler. The first line of its doc comment becomes the summary. Its
//!    parameters are structs of [`params`]; its body and its answer are structs of `super::json` that derive `ToSchema`;
//!    its refusals are the groups of [`refusals`] that fit. `packages.rs` has examples of everything.
//! 3. Name the handler in `paths(...)` below.
//!
//! Three tests then hold it: `every_route_is_documented_with_its_methods` here (both directions);
//! `tests/it/support/documented.rs`, through which every answer of every integration test passes, refuses a status that
//! is not documented; and `.ci/api-fuzz` sends a running daemon what the document allows and forbids, and checks the
//! answers against it.

mod params;
mod refusals;

use std::sync::LazyLock;

use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::json::problem::{ApiError, Problem};
use super::{
    admin, documents, download, gc, generic, health, organisations, owners, packages, pins, reload,
    retention, scrape, start,
};
pub use params::{
    AtFile, AtName, AtOrganization, AtOwner, AtUser, AtVersion, Checked, DryRun, Paging, Purge, Reading,
    Search, Verbose, Verdicts,
};
pub use refusals::{BadBody, BadQuery, Missing, Refused, Unready, Writing, file};

/// What can be asked here, for machines.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Larder",
        description = "Storage for CI artifacts and build caches, with Gitea's generic package API.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ApiError, Problem)),
    modifiers(&Security),
    security(("basic" = []), ("token" = [])),
    tags(
        (name = "files", description = "Artifacts and cache entries, in the URL shape of Gitea's generic packages."),
        (name = "packages", description = "What an owner has."),
        (name = "accounts", description = "Users, organisations, their members, and tokens."),
        (name = "administration", description = "For admins."),
        (name = "operations", description = "Health, metrics, and what this is; without credentials."),
    ),
    paths(
        download::get,
        download::head,
        generic::put,
        generic::delete_file,
        generic::delete_version,
        packages::list,
        packages::package,
        packages::delete_package,
        packages::latest,
        packages::version,
        packages::delete_version,
        packages::files,
        admin::me,
        admin::users,
        admin::create_user,
        admin::edit_user,
        admin::delete_user,
        admin::tokens,
        admin::create_token,
        admin::revoke_token,
        organisations::create,
        organisations::get,
        organisations::edit,
        organisations::delete,
        organisations::members,
        organisations::put_member,
        organisations::remove_member,
        owners::show,
        owners::change,
        retention::get,
        retention::put,
        retention::preview,
        retention::start,
        pins::put,
        pins::delete,
        gc::collect,
        reload::reload,
        start::page,
        documents::document,
        health::livez,
        health::readyz,
        health::healthz,
        health::api_healthz,
        scrape::metrics,
        health::version,
        health::swagger,
    )
)]
struct Document;

/// The ways to sign in.
struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut Description) {
        let components = document.components.get_or_insert_default();
        let http = |scheme, says: &str| {
            let mut scheme = Http::new(scheme);
            scheme.description = Some(says.to_owned());
            SecurityScheme::Http(scheme)
        };
        let query = |name: &str| {
            let says = "A token in the query, which beats the header, where that is switched on (`server.query_tokens`).";
            SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(name, says)))
        };
        for (name, scheme) in [
            (
                "basic",
                http(
                    HttpAuthScheme::Basic,
                    "A user with a password, or any user with a token as password.",
                ),
            ),
            ("token", http(HttpAuthScheme::Bearer, "A token.")),
            ("query_token", query("token")),
            ("query_access_token", query("access_token")),
        ] {
            components.add_security_scheme(name, scheme);
        }
    }
}

/// The document as JSON, made once.
static JSON: LazyLock<Result<String, serde_json::Error>> = LazyLock::new(|| Document::openapi().to_json());

/// The document as JSON.
///
/// # Errors
/// Where it cannot be written as JSON, which only a mistake in its making can bring about.
pub fn document() -> Result<&'static str, &'static serde_json::Error> {
    JSON.as_deref()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeSet, HashSet};
    use std::mem::discriminant;

    use serde_json::{Value, json};
    use strum::EnumCount;

    use super::*;
    use crate::http::path::{self, Route};

    /// Stand for all that is not there.
    const UNDOCUMENTED: usize = 3;

    fn parsed() -> Value {
        serde_json::from_str(document().unwrap()).unwrap()
    }

    /// Paths, methods and operations.
    fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                found.push((path.as_str(), method.as_str(), operation));
            }
        }
        found
    }

    #[test]
    fn every_route_is_documented_with_its_methods() {
        let document = parsed();
        let mut found = HashSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let route = path::parse(&path.replace(['{', '}'], "")).unwrap();
            assert!(route.exists(), "{path}");
            found.insert(discriminant(&route));
            let methods = item.as_object().unwrap().keys();
            let mut documented: BTreeSet<String> = methods.map(|method| method.to_uppercase()).collect();
            // HEAD goes without saying beside GET, except where it has its own answer.
            if documented.contains("GET") {
                documented.insert("HEAD".to_owned());
            }
            let routed: BTreeSet<String> = route
                .methods()
                .iter()
                .map(|method| (*method).to_owned())
                .collect();
            assert_eq!(documented, routed, "{path}");
        }
        assert_eq!(
            found.len(),
            Route::COUNT - UNDOCUMENTED,
            "a route is not documented"
        );
    }

    #[test]
    fn the_document_is_whole() {
        let document = parsed();
        assert_eq!(document["info"]["version"], json!(env!("CARGO_PKG_VERSION")));
        let mut ids = HashSet::new();
        for (path, method, operation) in operations(&document) {
            let place = format!("{method} {path}");
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{place}: the id is taken"
            );
            assert!(
                operation["summary"].as_str().is_some_and(|says| says.len() > 5),
                "{place}"
            );
            let given = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            let mut in_path: Vec<String> = given
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                .collect();
            in_path.sort();
            let mut named: Vec<&str> = path
                .split('/')
                .filter(|segment| segment.starts_with('{'))
                .collect();
            named.sort_unstable();
            assert_eq!(in_path, named, "{place}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{place}");
            let says = |response: &Value| {
                response["description"]
                    .as_str()
                    .is_some_and(|says| !says.is_empty())
            };
            assert!(responses.values().all(says), "{place}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = parsed();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
