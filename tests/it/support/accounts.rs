//! Accounts and tokens through the management API, and the headers that carry them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Daemon, Request};

/// `Authorization` for a user and password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// `Authorization` for a token.
pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

impl Daemon {
    /// Creates a user with a visibility (`public`, `limited`, `private`).
    pub fn create_user(&self, name: &str, password: &str, visibility: &str) {
        self.create_user_with(json!({"username": name, "password": password, "visibility": visibility}));
    }

    /// Creates a user from the request's own fields.
    pub fn create_user_with(&self, fields: serde_json::Value) {
        let answer = self.as_admin(Request::new("POST", "/api/v1/admin/users").json(&fields));
        assert_eq!(answer.status, 201, "create {fields}: {}", answer.text());
    }

    /// Creates a token of `user` as admin; returns the secret.
    pub fn create_token(&self, user: &str, scopes: &[&str]) -> String {
        let name = format!("token {}", scopes.join(" "));
        let body = json!({"name": name, "scopes": scopes});
        let target = format!("/api/v1/users/{user}/tokens");
        let answer = self.as_admin(Request::new("POST", &target).json(&body));
        assert_eq!(
            answer.status,
            201,
            "token for {user} {scopes:?}: {}",
            answer.text()
        );
        answer.json()["sha1"]
            .as_str()
            .expect("the token is shown once, as sha1")
            .to_owned()
    }
}
