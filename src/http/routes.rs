//! All routes, on one screen.

use actix_web::Route;
use actix_web::guard::{Any, Get, Head};
use actix_web::web::{self, ServiceConfig, delete, get, post};

use super::server::Surface;
use super::{admin, health, metrics_page, packages, start_page};

/// Registers what a listener serves.
pub fn configure(config: &mut ServiceConfig, surface: Surface) {
    config
        .route("/livez", read().to(health::live))
        .route("/readyz", read().to(health::ready))
        .route("/healthz", read().to(health::ready))
        .route("/api/healthz", read().to(health::gitea));
    if surface != Surface::WithoutMetrics {
        config.route("/metrics", read().to(metrics_page::serve));
    }
    if surface == Surface::MetricsOnly {
        return;
    }
    config
        .route("/", read().to(start_page::serve))
        .route("/api/swagger.json", read().to(start_page::openapi))
        .route("/api/v1/version", read().to(health::version))
        .route("/api/v1/user", get().to(admin::who_am_i))
        .route("/api/v1/admin/users", get().to(admin::list_users))
        .route("/api/v1/admin/users", post().to(admin::create_user))
        .route("/api/v1/users/{name}/tokens", get().to(admin::list_tokens))
        .route("/api/v1/users/{name}/tokens", post().to(admin::create_token))
        .route(
            "/api/v1/users/{name}/tokens/{token}",
            delete().to(admin::revoke_token),
        )
        .service(web::scope("/api/v1").default_service(web::to(admin::unknown)))
        // Package paths are split before they are decoded, so they are not actix's to match.
        .default_service(web::to(packages::serve));
}

/// GET, and HEAD with it.
fn read() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}
