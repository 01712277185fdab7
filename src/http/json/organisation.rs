//! Gitea's `Organization`, its members, and what makes or changes them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::fields::word;
use super::super::head::Head;
use super::user::{User, visibility};
use super::{ShownVisibility, asked_visibility};
use crate::store::model::{Account, Id, Permission, Visibility};

/// An organisation. What Larder does not have is there with the value of "none".
#[derive(Serialize, ToSchema)]
pub struct Organization {
    id: Id,
    name: String,
    full_name: &'static str,
    email: String,
    avatar_url: &'static str,
    html_url: String,
    description: &'static str,
    website: &'static str,
    location: &'static str,
    #[schema(value_type = ShownVisibility)]
    visibility: Visibility,
    repo_admin_change_team_access: bool,
    username: String,
}

impl Organization {
    /// As the client of this request sees it.
    pub fn of(account: &Account, head: Head<'_>) -> Self {
        Organization {
            id: account.id,
            name: account.name.clone(),
            full_name: "",
            email: account.email.clone(),
            avatar_url: "",
            html_url: format!("{}/{}", head.base_url(), account.name),
            description: "",
            website: "",
            location: "",
            visibility: account.visibility,
            repo_admin_change_team_access: false,
            username: account.name.clone(),
        }
    }
}

/// An organisation to be created.
#[derive(Deserialize, ToSchema)]
pub struct CreateOrganization {
    /// Letters and digits with single `-`, `_`, `.` between them; unique in any case.
    #[schema(
        min_length = 1,
        max_length = 40,
        pattern = "^[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*$"
    )]
    pub username: String,
    /// Who may read what it owns; public unless said otherwise.
    #[serde(default, deserialize_with = "visibility")]
    #[schema(required = false, schema_with = asked_visibility)]
    pub visibility: Option<Visibility>,
}

/// What is to change of an organisation; what is absent stays as it is.
#[derive(Deserialize, ToSchema)]
pub struct EditOrganization {
    /// Who may read what it owns.
    #[serde(default, deserialize_with = "visibility")]
    #[schema(required = false, schema_with = asked_visibility)]
    pub visibility: Option<Visibility>,
}

/// A user with what they may do in an organisation.
#[derive(Serialize, ToSchema)]
pub struct Member {
    #[serde(flatten)]
    user: User,
    #[schema(value_type = MemberPermission)]
    permission: Permission,
}

impl Member {
    /// As the client of this request sees it.
    pub fn of(account: &Account, permission: Permission, head: Head<'_>) -> Self {
        Member {
            user: User::of(account, head),
            permission,
        }
    }
}

/// What a member is to be allowed.
#[derive(Deserialize, ToSchema)]
pub struct PutMember {
    /// Each includes those before it.
    #[serde(deserialize_with = "word")]
    #[schema(value_type = MemberPermission)]
    pub permission: Permission,
}

/// What a member may do. Each includes those before it.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described, never made")]
pub enum MemberPermission {
    /// Download.
    Read,
    /// Publish and remove.
    Write,
    /// Manage members and settings.
    Admin,
}
