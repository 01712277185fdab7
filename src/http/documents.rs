//! The documentation of this version, as it is in the repository's `docs/`.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};

use super::error::Refusal;
use super::openapi::file;

/// One file of it, in Markdown.
#[derive(Debug)]
pub struct Document {
    /// As in the path.
    pub name: &'static str,
    text: &'static str,
}

impl Document {
    /// Its first heading.
    pub fn title(&self) -> &'static str {
        let heading = self.text.lines().find_map(|line| line.strip_prefix("# "));
        heading.unwrap_or(self.name)
    }
}

macro_rules! documents {
    ($($name:literal: $file:literal,)*) => {
        /// All there are.
        pub const DOCUMENTS: &[Document] = &[$(Document { name: $name, text: include_str!($file) }),*];
    };
}

documents! {
    "README.md": "../../README.md",
    "accounts.md": "../../docs/accounts.md",
    "backup.md": "../../docs/backup.md",
    "errors.md": "../../docs/errors.md",
    "format.md": "../../docs/format.md",
    "metrics.md": "../../docs/metrics.md",
    "monitoring.md": "../../docs/monitoring.md",
    "operations.md": "../../docs/operations.md",
    "performance.md": "../../docs/performance.md",
    "retention.md": "../../docs/retention.md",
    "runbooks.md": "../../docs/runbooks.md",
}

/// A page of the documentation
#[utoipa::path(
    get,
    operation_id = "documentation",
    path = "/api/docs/{document}",
    tag = "operations",
    security(()),
    params(("document" = String, Path, description = "As the start page lists them.", example = "README.md")),
    responses(
        (status = 200, description = "In Markdown.", body = String, content_type = "text/plain; charset=utf-8"),
        (status = 404, description = "No such page.", body = String, content_type = "text/plain; charset=utf-8"),
        file::Unready
    )
)]
pub fn document(name: &str) -> Result<HttpResponse, Refusal> {
    let found = DOCUMENTS.iter().find(|document| document.name == name);
    let document = found.ok_or_else(Refusal::no_page)?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(document.text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn whatever_is_in_docs_is_served() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let names = std::fs::read_dir(docs)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".md"));
        names.insert("README.md".to_owned());
        let served: BTreeSet<String> = DOCUMENTS
            .iter()
            .map(|document| document.name.to_owned())
            .collect();
        assert_eq!(served, names, "name it in `documents!`");
        for document in DOCUMENTS {
            assert_ne!(document.title(), document.name, "{} has a heading", document.name);
        }
    }
}
