//! `/metrics`: the Prometheus text format, version 0.0.4.

use actix_web::HttpResponse;

use crate::telemetry::metrics;

/// All families.
pub async fn serve() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics::render())
}
