//! The pages that say what this is: the start page, the documentation, the API document; and refusals as problem details.

use serde_json::json;

use crate::support::{Request, Setup, path};

/// What a browser sends.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[test]
fn the_start_page_is_text_for_curl_and_html_for_browsers() {
    let daemon = Setup::default().start();
    let line = "curl --fail --user OWNER:TOKEN --upload-file FILE \
                http://larder.test/api/packages/OWNER/generic/NAME/VERSION/FILE";
    let curl = daemon.send(&Request::get("/").header("Accept", "*/*"));
    assert_eq!(curl.status, 200);
    assert_eq!(curl.header("content-type"), Some("text/plain; charset=utf-8"));
    for part in [
        line,
        "State: ready",
        "http://larder.test/metrics",
        "http://larder.test/api/docs/README.md",
    ] {
        assert!(curl.text().contains(part), "{part} in\n{}", curl.text());
    }
    let browser = daemon.send(&Request::get("/").header("Accept", BROWSER));
    assert_eq!(browser.status, 200);
    assert_eq!(browser.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(browser.header("vary"), Some("Accept"));
    assert!(
        browser
            .header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
    let page = browser.text();
    for part in [
        line,
        "class=\"state ready\">ready<",
        "/api/swagger.json",
        "/readyz?verbose",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("{{"), "{page}");
    // Every link of the page leads somewhere.
    let links = page.split("href=\"http://larder.test").skip(1);
    let links: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        assert_eq!(daemon.get(link).status, 200, "{link}");
    }
    assert_eq!(daemon.send(&Request::head("/")).status, 200);
}

#[test]
fn the_documentation_of_this_version_is_served() {
    let daemon = Setup::default().start();
    let readme = daemon.get("/api/docs/README.md");
    assert_eq!(readme.body, include_bytes!("../../README.md"));
    assert_eq!(readme.header("content-type"), Some("text/plain; charset=utf-8"));
    for nothing in ["/api/docs/none.md", "/api/docs/..%2FREADME.md", "/api/docs"] {
        assert_eq!(daemon.get(nothing).status, 404, "{nothing}");
    }
}

#[test]
fn the_api_document_needs_no_credentials() {
    let daemon = Setup::default().start();
    let answer = daemon.get("/api/swagger.json");
    assert_eq!(answer.status, 200);
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let put = "/paths/~1api~1packages~1{owner}~1generic~1{package_name}~1{package_version}~1{file_name}/put";
    assert!(document.pointer(put).is_some());
}

#[test]
fn clients_that_prefer_json_get_problem_details() {
    let daemon = Setup::default().start();
    let file = path("app", "1", "f");
    assert_eq!(daemon.put(&file, "x"), 201);
    let json = |request: Request| request.header("Accept", "application/json");
    for (request, status, code, title, detail) in [
        (
            Request::get(&path("app", "2", "f")),
            404,
            "package-not-found",
            "There is no such package or version",
            "package does not exist",
        ),
        (
            Request::put(&file, "y"),
            400,
            "version-exists",
            "The version is published already",
            "package version already exists",
        ),
        (
            Request::new("POST", &file),
            405,
            "method-not-allowed",
            "The path does not take this method",
            "method not allowed",
        ),
        (
            Request::get("/nowhere"),
            404,
            "not-found",
            "Nothing is at this path",
            "404 page not found",
        ),
    ] {
        let answer = daemon.as_admin(json(request));
        assert_eq!(answer.status, status, "{code}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let expected = json!({
            "type": format!("urn:larder:error:{code}"), "title": title, "status": status, "detail": detail,
            "code": code,
        });
        assert_eq!(answer.json(), expected);
    }
    // Everybody else gets the line of text, and the management API has Gitea's form whatever is preferred.
    let text = daemon.as_admin(Request::put(&file, "y").header("Accept", "*/*"));
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(text.text(), "package version already exists");
    let api = daemon.as_admin(json(Request::get("/api/v1/packages/nobody")));
    let url = "http://larder.test/api/swagger.json";
    assert_eq!(api.json(), json!({"message": "Not found.", "url": url}));
}
