//! Gitea's `User`, and what makes or changes one.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::super::head::Head;
use super::{ShownVisibility, asked_visibility, time};
use crate::access::{AccountEdit, NewUser};
use crate::store::model::{Account, Visibility};

/// A user, or an organisation as an owner. What Larder does not have is there with the value of "none".
#[derive(Serialize, ToSchema)]
pub struct User {
    id: i64,
    login: String,
    login_name: &'static str,
    source_id: u64,
    full_name: &'static str,
    email: String,
    avatar_url: &'static str,
    html_url: String,
    language: &'static str,
    is_admin: bool,
    #[schema(format = DateTime)]
    last_login: String,
    #[schema(format = DateTime)]
    created: String,
    restricted: bool,
    active: bool,
    prohibit_login: bool,
    location: &'static str,
    website: &'static str,
    description: &'static str,
    #[schema(value_type = ShownVisibility)]
    visibility: Visibility,
    followers_count: u64,
    following_count: u64,
    starred_repos_count: u64,
    username: String,
}

impl User {
    /// As the client of this request sees it.
    pub fn of(account: &Account, head: Head<'_>) -> Self {
        User {
            id: i64::try_from(account.id).unwrap_or(i64::MAX),
            email: account.email.clone(),
            html_url: format!("{}/{}", head.base_url(), account.name),
            is_admin: account.admin,
            created: time(account.created),
            active: account.active,
            visibility: account.visibility,
            ..User::named(&account.name)
        }
    }

    /// Who stands for an account that is gone, as with Gitea.
    pub fn ghost() -> Self {
        User::named("Ghost")
    }

    fn named(name: &str) -> Self {
        User {
            id: -1,
            login: name.to_owned(),
            login_name: "",
            source_id: 0,
            full_name: "",
            email: String::new(),
            avatar_url: "",
            html_url: String::new(),
            language: "",
            is_admin: false,
            last_login: time(0),
            created: time(0),
            restricted: false,
            active: false,
            prohibit_login: false,
            location: "",
            website: "",
            description: "",
            visibility: Visibility::Public,
            followers_count: 0,
            following_count: 0,
            starred_repos_count: 0,
            username: name.to_owned(),
        }
    }
}

/// A user to be created. Gitea's other fields are accepted and ignored.
#[derive(Deserialize, ToSchema)]
#[cfg_attr(test, derive(Debug))]
pub struct CreateUser {
    /// Letters and digits with single `-`, `_`, `.` between them; unique in any case.
    #[schema(
        min_length = 1,
        max_length = 40,
        pattern = "^[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*$"
    )]
    username: String,
    /// No rule but its length.
    #[schema(min_length = 8, max_length = 256)]
    password: String,
    /// For people: `name@domain`, or empty.
    #[schema(
        max_length = 254,
        pattern = "^([A-Za-z0-9.!#$%&'*+/=?^_`{|}~][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]*@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*)?$"
    )]
    email: Option<String>,
    /// Who may read what the user owns; public unless said otherwise.
    #[serde(default, deserialize_with = "visibility")]
    #[schema(required = false, schema_with = asked_visibility)]
    visibility: Option<Visibility>,
    /// Whether the user may sign in; true unless said otherwise.
    active: Option<bool>,
    /// Whether the user may do everything.
    admin: Option<bool>,
}

impl From<CreateUser> for NewUser {
    fn from(user: CreateUser) -> Self {
        NewUser {
            name: user.username,
            password: Some(user.password),
            email: user.email.unwrap_or_default(),
            visibility: user.visibility.unwrap_or_default(),
            active: user.active.unwrap_or(true),
            admin: user.admin.unwrap_or(false),
        }
    }
}

/// What is to change of a user; what is absent stays as it is.
#[derive(Deserialize, ToSchema)]
pub struct EditUser {
    /// No rule but its length.
    #[schema(min_length = 8, max_length = 256)]
    password: Option<String>,
    /// For people: `name@domain`, or empty.
    #[schema(
        max_length = 254,
        pattern = "^([A-Za-z0-9.!#$%&'*+/=?^_`{|}~][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]*@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*)?$"
    )]
    email: Option<String>,
    /// Who may read what the user owns.
    #[serde(default, deserialize_with = "visibility")]
    #[schema(required = false, schema_with = asked_visibility)]
    visibility: Option<Visibility>,
    /// Whether the user may sign in.
    active: Option<bool>,
    /// Whether the user may do everything.
    admin: Option<bool>,
}

impl From<EditUser> for AccountEdit {
    fn from(edit: EditUser) -> Self {
        AccountEdit {
            password: edit.password,
            email: edit.email,
            visibility: edit.visibility,
            active: edit.active,
            admin: edit.admin,
        }
    }
}

/// A visibility that may be absent, `null` or, as clients of Gitea send it, empty.
pub fn visibility<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Visibility>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be public, limited or private")]
    enum Sent {
        Said(Visibility),
        Unsaid(Empty),
    }
    #[derive(Deserialize)]
    enum Empty {
        #[serde(rename = "")]
        Empty,
    }
    Ok(match Option::<Sent>::deserialize(json)? {
        Some(Sent::Said(visibility)) => Some(visibility),
        Some(Sent::Unsaid(Empty::Empty)) | None => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::http::fields::parse;
    use crate::store::model::AccountKind;

    fn parsed(text: &str) -> Result<NewUser, String> {
        let user = parse::<CreateUser>(text.as_bytes());
        user.map(NewUser::from).map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_public_and_active_unless_said_otherwise() {
        for text in [
            r#"{"username": "ann", "password": "p", "must_change_password": true}"#,
            r#"{"username": "ann", "password": "p", "visibility": "", "active": null, "email": null}"#,
        ] {
            let user = parsed(text).unwrap();
            assert_eq!(
                (user.visibility, user.active, user.admin),
                (Visibility::Public, true, false)
            );
            assert_eq!((user.name.as_str(), user.email.as_str()), ("ann", ""));
        }
        let user = parsed(
            r#"{"username": "bot", "password": "p", "visibility": "private", "active": false, "admin": true}"#,
        );
        let user = user.unwrap();
        assert_eq!(
            (user.visibility, user.active, user.admin),
            (Visibility::Private, false, true)
        );
    }

    #[test]
    fn what_is_wrong_with_a_user_is_named() {
        for (text, message) in [
            (r#"{"password": "p"}"#, "username is missing"),
            (
                r#"{"username": 5, "password": "p"}"#,
                "username must be a string, not a number",
            ),
            (
                r#"{"username": "a", "password": "p", "admin": "yes"}"#,
                "admin must be true or false, not a string",
            ),
            (
                r#"{"username": "a", "password": "p", "visibility": "secret"}"#,
                "visibility must be public, limited or private",
            ),
        ] {
            assert_eq!(parsed(text).err().as_deref(), Some(message), "{text}");
        }
    }

    #[tokio::test]
    async fn users_have_giteas_shape_and_no_secrets() {
        let account = Account {
            id: 7,
            name: "Ann".to_owned(),
            kind: AccountKind::User,
            visibility: Visibility::Limited,
            active: true,
            admin: false,
            email: "ann@example.org".to_owned(),
            password: Some("$argon2id$secret".to_owned()),
            created: 1_234_567_890_123,
        };
        let request = TestRequest::get()
            .insert_header(("host", "example.org"))
            .to_http_request();
        let shown = serde_json::to_value(User::of(&account, Head::from(&request))).unwrap();
        assert_eq!(shown["login"], "Ann");
        assert_eq!(shown["visibility"], "limited");
        assert_eq!(shown["created"], "2009-02-13T23:31:30Z");
        assert_eq!(shown["html_url"], "http://example.org/Ann");
        assert!(!shown.to_string().contains("argon2"));
        let ghost = serde_json::to_value(User::ghost()).unwrap();
        assert_eq!((&ghost["id"], &ghost["login"]), (&(-1).into(), &"Ghost".into()));
    }
}
