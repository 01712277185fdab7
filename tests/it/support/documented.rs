//! Whether answers are as the API document says: every answer that the harness reads passes here.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::{Request, Response};

/// The statuses that are documented, by method.
type Operations = HashMap<String, Vec<String>>;

/// The operations by path, in segments.
struct Documented(Vec<(Vec<String>, Operations)>);

static DOCUMENTED: LazyLock<Documented> = LazyLock::new(|| {
    let text = larder::http::api_document().expect("there is an API document");
    Documented::read(&serde_json::from_str(text).expect("it is JSON"))
});

impl Documented {
    fn read(document: &Value) -> Self {
        let paths = document["paths"].as_object().expect("paths").iter();
        let statuses = |operation: &Value| {
            let responses = operation["responses"].as_object().expect("responses");
            responses.keys().cloned().collect()
        };
        let mut read: Vec<_> = paths
            .map(|(path, item)| {
                let operations = item.as_object().expect("operations").iter();
                let operations = operations.map(|(method, of)| (method.to_uppercase(), statuses(of)));
                (segments(path), operations.collect())
            })
            .collect();
        // What has more literal segments is more special: `-/latest` is no version.
        read.sort_by_key(|(path, _): &(Vec<String>, Operations)| {
            path.iter().filter(|piece| piece.starts_with('{')).count()
        });
        Documented(read)
    }

    /// The statuses for a request, if there is such a route.
    fn statuses(&self, method: &str, target: &str) -> Option<&[String]> {
        let asked = segments(target.split('?').next()?);
        let fits = |path: &[String]| {
            path.len() == asked.len()
                && path
                    .iter()
                    .zip(&asked)
                    .all(|(known, asked)| known.starts_with('{') || known == asked)
        };
        let (_, operations) = self.0.iter().find(|(path, _)| fits(path))?;
        // HEAD is answered as GET where it has no entry of its own.
        let other = if method == "HEAD" { "GET" } else { method };
        operations
            .get(method)
            .or_else(|| operations.get(other))
            .map(Vec::as_slice)
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Fails the test if a routed request is answered with a status that is not documented.
pub fn check(request: &Request, answer: &Response) {
    let (method, target) = (request.method(), request.target());
    // Before anything is routed: an escape that is none, and a head that cannot be read.
    if answer.status == 100 || answer.status == 400 && (target.contains('%') || answer.body.is_empty()) {
        return;
    }
    if let Some(statuses) = DOCUMENTED.statuses(method, target) {
        assert!(
            statuses.contains(&answer.status.to_string()),
            "{method} {target} is answered with {}, which the API document does not say: {statuses:?}",
            answer.status
        );
    }
}
