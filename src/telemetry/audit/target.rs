//! What an event is about, where its object does not name it: what has been created lives at no path yet.

use serde::Serialize;

/// An account or a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Of which kind.
    pub kind: Kind,
    /// What it is called.
    pub name: String,
    /// Its id; none where it was not created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A user.
    User,
    /// An organisation.
    Organisation,
    /// A token of a user. Never the secret itself.
    Token,
}

/// Something that is asked for, and has no id yet.
impl From<(Kind, &str)> for Target {
    fn from((kind, name): (Kind, &str)) -> Self {
        Target {
            kind,
            name: name.to_owned(),
            id: None,
        }
    }
}
