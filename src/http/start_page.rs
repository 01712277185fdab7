//! `/` and `/api/swagger.json`: what this is, for somebody, or some program, that finds the address.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

/// A short page, readable in a terminal too.
pub async fn serve(request: HttpRequest) -> HttpResponse {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    // The client's own words come back to it; plain text keeps them harmless.
    let page = format!(
        "Larder {version}: storage for CI artifacts and build caches.\n\
         \n\
         publish:   curl -u USER:PASSWORD --upload-file FILE http://{host}/api/packages/OWNER/generic/NAME/VERSION/FILE\n\
         download:  curl -O http://{host}/api/packages/OWNER/generic/NAME/VERSION/FILE\n\
         \n\
         health:    /livez /readyz\n\
         metrics:   /metrics\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    HttpResponse::Ok()
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type("text/plain; charset=utf-8")
        .body(page)
}

/// The OpenAPI document.
pub async fn openapi() -> HttpResponse {
    let document = include_str!("openapi.json").replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    HttpResponse::Ok().content_type("application/json").body(document)
}
